//! The API over HTTP. Refusals of the server are shown with its own advice; a server that is not there is named.
//!
//! A question that came too early (429) is asked again after the time that the server names, within bounds; a change
//! never is: whoever asked for it decides.

use std::time::Duration;

use beffroi_schema::session::ErrorBody;
use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;

use crate::config::Config;
use crate::errors::{Failure, Outcome};
use crate::output::say;
use crate::safe;

/// Why a call is made; it stands in the audit.
const HEADER_REASON: &str = "x-beffroi-reason";
/// Longest reason (bytes): what the API takes.
pub const MAX_REASON: usize = 1_000;
/// How often a question is asked again after 429.
const MAX_RETRIES: u32 = 3;
/// Longest pause before it is asked again: whoever waits longer should know.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// Pause where the server names none.
const DEFAULT_PAUSE: Duration = Duration::from_secs(2);
/// A query may take as long as the server's own limit of 30 s, and some.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Largest answer that is read: 10,000 events with long command lines.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Client of one API.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
    /// Percent-encoded; empty: none was given.
    reason: String,
}

impl Client {
    /// A client for the configured API, which gives `reason` with every call.
    pub fn new(config: &Config, reason: Option<&str>) -> Outcome<Self> {
        let reason = reason.unwrap_or_default().trim();
        if reason.len() > MAX_REASON {
            return Err(Failure::usage(format!("--reason is longer than {MAX_REASON} bytes"), "name the ticket instead"));
        }
        let (base, token) = (config.api()?, config.token()?);
        // Where TLS is used, ring is its provider; installing it twice is harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().timeout(CALL_LIMIT).no_proxy().redirect(Policy::none());
        if let Some(trusted) = config.trusted()? {
            builder = builder.tls_certs_only(trusted);
        }
        let http = builder.build().map_err(|error| {
            let hint = "set ca_file in the configuration to the certificate that the API's is under";
            Failure::usage(format!("cannot set up HTTP: {}", source(&error)), hint)
        })?;
        Ok(Self { http, base, token, reason: percent(reason) })
    }

    /// `GET` with query parameters; empty values are left out.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Outcome<Value> {
        let query: Vec<_> = query.iter().filter(|(_, value)| !value.is_empty()).collect();
        self.patiently(|| self.request(Method::GET, path).query(&query)).await
    }

    /// `POST` of something that changes nothing, and so may be asked again.
    pub async fn question(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.patiently(|| self.request(Method::POST, path).json(body)).await
    }

    async fn patiently(&self, request: impl Fn() -> RequestBuilder) -> Outcome<Value> {
        for _ in 0..MAX_RETRIES {
            let answer = self.ask(request()).await?;
            let pause = match answer.status() {
                StatusCode::TOO_MANY_REQUESTS => pause(&answer),
                _ => return self.read(answer).await,
            };
            if pause > MAX_PAUSE {
                return self.read(answer).await;
            }
            say(&format!("the API asks for a pause; asking again in {} s", pause.as_secs_f32().ceil()));
            tokio::time::sleep(pause).await;
        }
        self.send(request()).await
    }

    /// `POST` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Outcome<Value> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// `DELETE`.
    pub async fn delete(&self, path: &str) -> Outcome<Value> {
        self.send(self.request(Method::DELETE, path)).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token);
        if self.reason.is_empty() { request } else { request.header(HEADER_REASON, &self.reason) }
    }

    async fn send(&self, request: RequestBuilder) -> Outcome<Value> {
        let answer = self.ask(request).await?;
        self.read(answer).await
    }

    async fn ask(&self, request: RequestBuilder) -> Outcome<Response> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = source(error);
        let hint = if why.contains("certificate") {
            "is ca_file in the configuration the certificate that the API's is under, and `api` the name in it?"
        } else {
            "is the collector running, and is `api` in the configuration (or --api) its address?"
        };
        Failure::server(format!("the API at {} cannot be reached: {why}", self.base), hint).passing()
    }

    async fn read(&self, mut answer: Response) -> Outcome<Value> {
        let status = answer.status();
        let pause = pause(&answer);
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(Failure::server(
                    format!("the answer is larger than {MAX_ANSWER_BYTES} bytes"),
                    "ask for less: --limit, --since, filters",
                ));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| {
                Failure::server(
                    format!("the API at {} gave no JSON: {error}", self.base),
                    "is this address really a Beffroi API?",
                )
            });
        }
        let refusal = match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(refusal) => refused(status, &refusal, pause),
            Err(_) => {
                Failure::server(format!("the API at {} answered {status}", self.base), "is this address really a Beffroi API?")
            }
        };
        Err(if is_passing(status) { refusal.passing() } else { refusal })
    }
}

/// A refusal of the API, with what its reader can do about it here. Made safe here, where a line that is not ours would
/// look like one of ours.
fn refused(status: StatusCode, refusal: &ErrorBody, pause: Duration) -> Failure {
    let (what, hint) = (safe::terminal(&refusal.error), safe::terminal(&refusal.hint));
    let hint = match status {
        // The server's own advice is about HTTP headers.
        StatusCode::UNAUTHORIZED => {
            "is the file of --token-file (token_file) the right one? A new token comes from an admin: `beffroi token create`"
                .into()
        }
        StatusCode::FORBIDDEN if hint.is_empty() => "`beffroi whoami` shows what your token may do".into(),
        StatusCode::FORBIDDEN => format!("{hint}; `beffroi whoami` shows what your token may do"),
        StatusCode::TOO_MANY_REQUESTS => format!("ask again in {} s", pause.as_secs_f32().ceil()),
        _ => hint,
    };
    Failure::server(what, hint)
}

/// How long the server asks to wait (Retry-After in seconds, RFC 9110).
fn pause(answer: &Response) -> Duration {
    let seconds = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(DEFAULT_PAUSE, Duration::from_secs)
}

/// Answers of a server, or of a proxy before it, that says: later.
fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The innermost reason: "connection refused" rather than "error sending request".
fn source(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(next) = inner.source() {
        inner = next;
    }
    inner.to_string()
}

/// The rows under `name` in an answer.
pub fn rows(answer: &Value, name: &str) -> Vec<Value> {
    answer.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// Text as one segment of a path: everything that could end it is percent-encoded, and so are the dots of `.` and `..`,
/// which would leave it.
pub fn segment(text: &str) -> String {
    let is_dots = text.bytes().all(|byte| byte == b'.');
    let safe = percent(text);
    if is_dots { safe.replace('.', "%2E") } else { safe }
}

/// UTF-8 with everything percent-encoded that is neither letter, digit, `-`, `_` nor `.`.
fn percent(text: &str) -> String {
    let mut safe = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => safe.push(byte as char),
            other => safe.push_str(&format!("%{other:02X}")),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_leave_its_segment_of_the_path() {
        assert_eq!(segment("ab12.x"), "ab12.x");
        assert_eq!(segment("../v1/x?y#z"), "..%2Fv1%2Fx%3Fy%23z");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(percent("étage 2\r\nX: y"), "%C3%A9tage%202%0D%0AX%3A%20y");
    }
}
