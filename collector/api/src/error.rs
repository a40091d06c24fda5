//! Why the API cannot start, and how refusals are said to whoever asks.

use axum::Json;
use axum::response::{IntoResponse, Response};
use beffroi_bus::BusError;
use beffroi_schema::session::ErrorBody;
use beffroi_store::StoreError;
use http::StatusCode;

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
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { code: code.into(), error: error.into(), hint: hint.into() } }
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
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("2"));
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
