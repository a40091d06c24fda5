//! Why the API cannot start, and how refusals are said to whoever asks.

use axum::Json;
use axum::response::{IntoResponse, Response};
use beffroi_bus::BusError;
use beffroi_schema::session::ErrorBody;
use beffroi_store::StoreError;
use http::{HeaderValue, StatusCode, header};

/// When to ask again what could not be answered now, seconds: a failover takes about as long.
const PASSING_SECONDS: u64 = 2;

/// The API cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// A setting is wrong.
    #[error("api setting {key}: {why}")]
    Options {
        /// Which key.
        key: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A file cannot be read or written.
    #[error("api: cannot {what} {path}: {source}; check the folder and its owner")]
    File {
        /// What was tried.
        what: &'static str,
        /// Which file.
        path: std::path::PathBuf,
        /// The reason.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("api: {path} is of no use: {why}")]
    Content {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong, what to do.
        why: String,
    },
    /// The address cannot be listened on.
    #[error("api: cannot listen on {address}: {source}; is another program there?")]
    Listen {
        /// Which address.
        address: std::net::SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
}

/// A call that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) body: ErrorBody,
    /// Seconds after which it makes sense to ask again.
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { code: code.into(), error: error.into(), hint: hint.into() }, retry_after: None }
    }

    /// Somebody who is known may not do this.
    pub(crate) fn forbidden(code: &str, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, error, hint)
    }

    /// Nobody who is known.
    pub(crate) fn unauthorized(code: &str, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, error, hint)
    }

    /// Too many calls; in `seconds` there is room again.
    pub(crate) fn too_many(whose: &str, seconds: u64) -> Self {
        let error = format!("too many calls {whose}");
        let hint = format!("ask again in {seconds} s");
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", error, hint) }
    }

    /// A change that did not win.
    pub(crate) fn lost(why: impl std::fmt::Display, hint: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "lost", why.to_string(), hint)
    }

    pub(crate) fn bad(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", error, hint)
    }

    /// The same words for what does not exist and for what another tenant has.
    pub(crate) fn unknown(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "unknown", format!("no such {what}"), "check the id; a prefix needs at least 6 digits")
    }

    pub(crate) fn ambiguous(what: &str, candidates: &[String]) -> Self {
        let error = format!("the {what} prefix fits {} of them", candidates.len());
        Self::new(StatusCode::CONFLICT, "ambiguous", error, format!("write more of the id; candidates: {}", candidates.join(" ")))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        let passing = (self.status == StatusCode::SERVICE_UNAVAILABLE).then_some(PASSING_SECONDS);
        if let Some(seconds) = self.retry_after.or(passing) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Filter { .. } => {
                Self::bad(error.to_string(), "see `beffroi events search --help` for fields and operations")
            }
            StoreError::Limit => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "limit", error.to_string(), "ask for a shorter time or fewer hosts")
            }
            other => {
                // What ClickHouse says may hold parts of the question and of the inside: it stays in the log.
                tracing::warn!(error = %other, "a question to the store failed");
                let hint = "try again; `beffroi status` shows how the store stands";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store cannot answer now", hint)
            }
        }
    }
}

impl From<BusError> for Refusal {
    fn from(error: BusError) -> Self {
        tracing::warn!(%error, "the bus did not take a record of the API");
        let hint = "try again; `beffroi status` shows how the bus stands";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "bus_unavailable", "the bus cannot take this now", hint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_says_of_the_inside_does_not_leave() {
        let error = StoreError::Refused { what: "events search", code: Some(62), why: "Syntax error near secret_column".into() };
        let refusal = Refusal::from(error);
        assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!format!("{:?}", refusal.body).contains("secret_column"));
    }
}
