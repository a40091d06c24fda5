//! HTTP towards the gateway: enrolment, renewal, hello, batches, what comes down.
//!
//! Owns the client with its limits (time, answer size, no redirects, no proxy from the environment) and the sorting of
//! answers: unreachable, busy with a time to wait, refused with a code and what to do.

use std::time::Duration;

use beffroi_schema::limits::MAX_BLOB_BYTES;
use beffroi_schema::session::{CertificateResponse, EnrollRequest, ErrorBody, Hello, OrdersResponse, RenewRequest};
use beffroi_schema::wire::{CONTENT_TYPE_BATCH, PATH_BATCHES, PATH_BLOBS, PATH_ENROLL, PATH_HELLO, PATH_ORDERS, PATH_RENEW};
use bytes::Bytes;
use reqwest::{StatusCode, header};
use rustls::ClientConfig;
use serde::de::DeserializeOwned;

use crate::config::UplinkConfig;
use crate::tls::with_causes;

/// Largest answer that is read (bytes): certificates and errors are a few KiB.
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Largest answer to a poll: a MiB of envelopes and one of the largest on top, in base64.
const MAX_ORDERS_BYTES: usize = 2 * 1024 * 1024;
/// What a long poll may take beyond the time it asked for.
const POLL_GRACE: Duration = Duration::from_secs(15);
/// Longest pause that a gateway can ask for: a broken clock or a hostile proxy must not silence a host for a day.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
/// Longest error text taken over from an answer.
const MAX_ERROR_CHARS: usize = 400;

/// A request did not lead to what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The client itself could not be set up.
    #[error("the connection to the gateway cannot be set up: {0}")]
    Setup(String),
    /// No answer: name, connection, TLS or time.
    #[error("the gateway {url} cannot be reached: {why}")]
    Unreachable {
        /// Which gateway.
        url: String,
        /// All causes, innermost last.
        why: String,
    },
    /// An answer other than success.
    #[error("the gateway refused ({status} {code}): {error}; {hint}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable short code of the gateway.
        code: String,
        /// What it says.
        error: String,
        /// What it advises.
        hint: String,
        /// How long it wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// A success that makes no sense.
    #[error("the gateway's answer is not understood: {0}; is {1} really a Beffroi gateway?")]
    Garbage(String, String),
}

impl GatewayError {
    /// HTTP status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// A client of one gateway.
#[derive(Debug, Clone)]
pub struct Gateway {
    http: reqwest::Client,
    base: String,
}

impl Gateway {
    /// A client of the gateway at `base`.
    ///
    /// # Errors
    /// [`GatewayError::Setup`].
    pub fn new(base: &str, tls: ClientConfig, config: &UplinkConfig) -> Result<Self, GatewayError> {
        if !base.starts_with("https://") {
            return Err(GatewayError::Setup(format!("{base:?} is no https:// URL")));
        }
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("beffroi-agent/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(config.connect_timeout_seconds))
            .timeout(Duration::from_secs(config.request_timeout_seconds))
            .pool_idle_timeout(Duration::from_secs(90));
        if let Some(proxy) = &config.proxy {
            // The proxy's URL may hold a password: the error is given without it.
            let proxy = reqwest::Proxy::all(proxy).map_err(|_| GatewayError::Setup("uplink.proxy is no usable URL".into()))?;
            builder = builder.proxy(proxy);
        }
        let http = builder.build().map_err(|error| GatewayError::Setup(with_causes(&error)))?;
        Ok(Self { http, base: base.trim_end_matches('/').to_string() })
    }

    /// The gateway's URL.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// First contact.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn enroll(&self, request: &EnrollRequest) -> Result<CertificateResponse, GatewayError> {
        self.ask(self.http.post(self.at(PATH_ENROLL)).json(request)).await
    }

    /// A new certificate.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn renew(&self, request: &RenewRequest) -> Result<CertificateResponse, GatewayError> {
        self.ask(self.http.post(self.at(PATH_RENEW)).json(request)).await
    }

    /// First word of a session.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn hello(&self, hello: &Hello) -> Result<Hello, GatewayError> {
        self.ask(self.http.post(self.at(PATH_HELLO)).json(hello)).await
    }

    /// Sends a batch. Success means that the bus has it.
    ///
    /// # Errors
    /// [`GatewayError`]; the batch may have arrived all the same.
    pub async fn send_batch(&self, batch: Bytes) -> Result<(), GatewayError> {
        let request = self.http.post(self.at(PATH_BATCHES)).header(header::CONTENT_TYPE, CONTENT_TYPE_BATCH).body(batch);
        let (status, retry_after, body) = self.exchange(request, MAX_ANSWER_BYTES).await?;
        match status {
            StatusCode::ACCEPTED => Ok(()),
            // Anything else, other successes included, is no promise that the bus has it.
            other => Err(refusal(other, retry_after, &body)),
        }
    }

    /// Waits for what comes down after `after`, at most this long.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub async fn orders(&self, after: &str, wait: Duration) -> Result<OrdersResponse, GatewayError> {
        let query = [("after", after), ("wait", &wait.as_secs().to_string())];
        let request = self.http.get(self.at(PATH_ORDERS)).query(&query).timeout(wait + POLL_GRACE);
        self.ask_within(request, MAX_ORDERS_BYTES).await
    }

    /// A rule text by its SHA-256 in hex. The caller checks the hash.
    ///
    /// # Errors
    /// [`GatewayError`]; status 404 when the gateway does not have it.
    pub async fn blob(&self, sha256: &str) -> Result<Vec<u8>, GatewayError> {
        let request = self.http.get(self.at(&format!("{PATH_BLOBS}/{sha256}")));
        let (status, retry_after, body) = self.exchange(request, MAX_BLOB_BYTES).await?;
        if status.is_success() { Ok(body) } else { Err(refusal(status, retry_after, &body)) }
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    async fn ask<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<T, GatewayError> {
        self.ask_within(request, MAX_ANSWER_BYTES).await
    }

    async fn ask_within<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder, limit: usize) -> Result<T, GatewayError> {
        let (status, retry_after, body) = self.exchange(request, limit).await?;
        if !status.is_success() {
            return Err(refusal(status, retry_after, &body));
        }
        serde_json::from_slice(&body).map_err(|error| GatewayError::Garbage(error.to_string(), self.base.clone()))
    }

    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        limit: usize,
    ) -> Result<(StatusCode, Option<Duration>, Vec<u8>), GatewayError> {
        let unreachable =
            |error: reqwest::Error| GatewayError::Unreachable { url: self.base.clone(), why: with_causes(&error.without_url()) };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status();
        let retry_after = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > limit {
                return Err(GatewayError::Garbage("it is too long".into(), self.base.clone()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok((status, retry_after.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)), body))
    }
}

fn refusal(status: StatusCode, retry_after: Option<Duration>, body: &[u8]) -> GatewayError {
    let said = serde_json::from_slice::<ErrorBody>(body).unwrap_or_else(|_| ErrorBody {
        code: "unknown".into(),
        error: status.canonical_reason().unwrap_or("no reason was given").into(),
        hint: "is a proxy in between? check the gateway's log".into(),
    });
    let short = |text: String| text.chars().filter(|c| !c.is_control()).take(MAX_ERROR_CHARS).collect();
    GatewayError::Refused {
        status: status.as_u16(),
        code: short(said.code),
        error: short(said.error),
        hint: short(said.hint),
        retry_after,
    }
}
