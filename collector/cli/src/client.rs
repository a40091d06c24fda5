//! The API over HTTP. Refusals of the server are shown with its own advice; a server that is not there is named.

use std::time::Duration;

use beffroi_schema::session::ErrorBody;
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, StatusCode};
use serde_json::Value;

use crate::config::Config;
use crate::errors::{Failure, Outcome};
use crate::safe;

/// A query may take as long as the server's own limit of 30 s, and some.
const CALL_LIMIT: Duration = Duration::from_secs(60);
/// Largest answer that is read: 10,000 events with long command lines.
const MAX_ANSWER_BYTES: usize = 256 * 1024 * 1024;

/// Client of one API.
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    /// A client for the configured API.
    pub fn new(config: &Config) -> Outcome<Self> {
        // Where TLS is used, ring is its provider; installing it twice is harmless.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .timeout(CALL_LIMIT)
            .no_proxy()
            .redirect(Policy::none())
            .build()
            .map_err(|error| Failure::usage(format!("cannot set up HTTP: {error}"), ""))?;
        Ok(Self { http, base: config.api()?, token: config.token()? })
    }

    /// `GET` with query parameters; empty values are left out.
    pub async fn get(&self, path: &str, query: &[(&str, String)]) -> Outcome<Value> {
        let query: Vec<_> = query.iter().filter(|(_, value)| !value.is_empty()).collect();
        self.send(self.request(Method::GET, path).query(&query)).await
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
        self.http.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn send(&self, request: RequestBuilder) -> Outcome<Value> {
        let unreachable = |error: reqwest::Error| {
            Failure::server(
                format!("the API at {} cannot be reached: {}", self.base, source(&error)),
                "is the collector running, and is `api` in the configuration (or --api) its address?",
            )
            .passing()
        };
        let mut answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
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
            // Here, where a line that is not ours would look like one of ours.
            Ok(refusal) => Failure::server(safe::terminal(&refusal.error), safe::terminal(&refusal.hint)),
            Err(_) => {
                Failure::server(format!("the API at {} answered {status}", self.base), "is this address really a Beffroi API?")
            }
        };
        Err(if is_passing(status) { refusal.passing() } else { refusal })
    }
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
    let mut safe = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => safe.push(byte as char),
            b'.' if !is_dots => safe.push('.'),
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
    }
}
