//! Refusals: one type for every "no" on the wire, always an [`ErrorBody`] with a code, what happened and what to do next.

use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use beffroi_schema::session::ErrorBody;
use http::{HeaderValue, StatusCode, header};

/// Longest `Retry-After`: whatever is wrong, an agent asks again within five minutes.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Why a request is not served.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) body: ErrorBody,
    pub(crate) retry_after: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &str, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, body: ErrorBody { code: code.into(), error: error.into(), hint: hint.into() }, retry_after: None }
    }

    /// Asks to come again after this time, rounded up to seconds, one to 300.
    pub(crate) fn after(mut self, wait: Duration) -> Self {
        let whole = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0));
        self.retry_after = Some(whole.clamp(1, MAX_RETRY_AFTER.as_secs()));
        self
    }

    pub(crate) fn malformed(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", error, hint)
    }

    pub(crate) fn no_certificate() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "certificate_required",
            "this path is for agents with a client certificate, and the connection has shown none",
            "enrol this host with a token, or renew its certificate",
        )
    }

    pub(crate) fn revoked() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "agent_revoked",
            "this host has been revoked",
            "ask an operator (`beffroi hosts show`); to bring it back, reinstall the agent and enrol it anew",
        )
    }

    pub(crate) fn unknown_agent() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "agent_unknown",
            "no host with this agent id is enrolled here",
            "enrol this host with a token; if it was enrolled, check that it talks to the right collector",
        )
    }

    /// One answer for an unknown token and a wrong secret: it says nothing about which tokens exist.
    pub(crate) fn wrong_token() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "token_wrong",
            "this enrolment token is not known here, or its secret is wrong",
            "check that the whole token was copied and that it is for this collector, or ask for a new one (`beffroi enroll token`)",
        )
    }

    pub(crate) fn not_ready(what: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", what, "keep the data and try again later")
            .after(Duration::from_secs(5))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        metrics::counter!("beffroi_gateway_refused_total", "code" => self.body.code.clone()).increment(1);
        let mut response = (self.status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_between_one_and_five_minutes() {
        let after = |wait| Refusal::not_ready("x").after(wait).retry_after.unwrap();
        assert_eq!(after(Duration::ZERO), 1);
        assert_eq!(after(Duration::from_millis(1_001)), 2);
        assert_eq!(after(Duration::from_secs(9_999)), 300);
        assert_eq!(after(Duration::MAX), 300);
    }
}
