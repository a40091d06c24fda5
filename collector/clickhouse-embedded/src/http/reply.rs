//! Answers in ClickHouse's form: status codes, the exception header, the summary header, content types.
//!
//! Owns the table from ClickHouse's error codes to HTTP statuses. Answers are whole when they start (the engine's
//! result is complete), so a status 200 is never followed by an error inside the body.

use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::engine::EngineError;
use crate::engine::ffi::Counts;

/// ClickHouse's error codes that this server raises itself.
pub(super) mod code {
    /// BAD_ARGUMENTS
    pub(crate) const BAD_ARGUMENTS: u32 = 36;
    /// NOT_IMPLEMENTED
    pub(crate) const NOT_IMPLEMENTED: u32 = 48;
    /// SYNTAX_ERROR
    pub(crate) const SYNTAX_ERROR: u32 = 62;
    /// UNKNOWN_SETTING
    pub(crate) const UNKNOWN_SETTING: u32 = 115;
    /// TIMEOUT_EXCEEDED
    pub(crate) const TIMEOUT_EXCEEDED: u32 = 159;
    /// TOO_MANY_SIMULTANEOUS_QUERIES
    pub(crate) const TOO_MANY_QUERIES: u32 = 202;
    /// CANNOT_DECOMPRESS
    pub(crate) const CANNOT_DECOMPRESS: u32 = 271;
    /// TOO_MANY_BYTES
    pub(crate) const TOO_MANY_BYTES: u32 = 307;
    /// SETTING_CONSTRAINT_VIOLATION
    pub(crate) const SETTING_CONSTRAINT: u32 = 452;
    /// AUTHENTICATION_FAILED
    pub(crate) const AUTHENTICATION_FAILED: u32 = 516;
    /// SYSTEM_ERROR
    pub(crate) const SYSTEM_ERROR: u32 = 425;
}

/// Longest error text sent back; the engine can quote whole queries.
const MESSAGE_MAX_BYTES: usize = 16 << 10;

/// A refused or failed request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    pub(super) code: u32,
    pub(super) message: String,
}

impl Failure {
    /// A failure this server raises itself, worded like ClickHouse's.
    pub(super) fn new(status: StatusCode, code: u32, what: impl std::fmt::Display) -> Self {
        Self { status, code, message: format!("Code: {code}. DB::Exception: {what}") }
    }

    /// A failure with the status ClickHouse gives this code.
    pub(super) fn coded(code: u32, what: impl std::fmt::Display) -> Self {
        Self::new(status_of(code), code, what)
    }

    pub(super) fn into_response(self, query_id: &str) -> Response<Body> {
        let mut message = self.message;
        if message.len() > MESSAGE_MAX_BYTES {
            let cut = (0..=MESSAGE_MAX_BYTES).rev().find(|at| message.is_char_boundary(*at)).unwrap_or(0);
            message.truncate(cut);
            message.push_str(" ...");
        }
        message.push('\n');
        let mut response = base(self.status, query_id, "text/plain; charset=UTF-8", Body::from(message));
        response.headers_mut().insert("x-clickhouse-exception-code", HeaderValue::from(self.code));
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Query { code, message } => Self { status: status_of(code), code, message },
            other => Self::coded(code::SYSTEM_ERROR, other),
        }
    }
}

/// The HTTP status ClickHouse gives an error code (its `exceptionCodeToHTTPStatus`).
fn status_of(code: u32) -> StatusCode {
    match code {
        194 => StatusCode::UNAUTHORIZED,
        192 | 193 | 497 | 516 => StatusCode::FORBIDDEN,
        // BAD_ARGUMENTS, the CANNOT_PARSE_ family, syntax, columns and types that do not fit
        6 | 8 | 15 | 25 | 26 | 27 | 36 | 38 | 41 | 44 | 53 | 62 | 72 | 83 | 117 | 167 | 168 | 223 | 321 | 376 | 427 | 441 => {
            StatusCode::BAD_REQUEST
        }
        // UNKNOWN_ identifier, function, type, storage, table, aggregate, format, database, setting, role
        46 | 47 | 50 | 56 | 60 | 63 | 73 | 78 | 81 | 96 | 115 | 336 | 511 => StatusCode::NOT_FOUND,
        48 => StatusCode::NOT_IMPLEMENTED,
        159 => StatusCode::REQUEST_TIMEOUT,
        76 | 209 | 439 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A query's answer.
pub(super) fn success(body: Bytes, format: &str, query_id: &str, counts: Counts, elapsed_ns: u128) -> Response<Body> {
    let mut response = base(StatusCode::OK, query_id, content_type(format), Body::from(body));
    let summary = serde_json::json!({
        "read_rows": counts.read_rows.to_string(),
        "read_bytes": counts.read_bytes.to_string(),
        "written_rows": counts.written_rows.to_string(),
        "written_bytes": counts.written_bytes.to_string(),
        "elapsed_ns": elapsed_ns.to_string(),
    });
    if let Ok(value) = HeaderValue::from_str(&summary.to_string()) {
        response.headers_mut().insert("x-clickhouse-summary", value);
    }
    if let Ok(value) = HeaderValue::from_str(format) {
        response.headers_mut().insert("x-clickhouse-format", value);
    }
    response
}

/// A plain sentence (`/ping`, `/`).
pub(super) fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    base(status, "", "text/plain; charset=UTF-8", Body::from(text))
}

fn base(status: StatusCode, query_id: &str, content_type: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(HeaderName::from_static("x-clickhouse-server-display-name"), HeaderValue::from_static("clickhouse-embedded"));
    if !query_id.is_empty()
        && let Ok(value) = HeaderValue::from_str(query_id)
    {
        headers.insert("x-clickhouse-query-id", value);
    }
    response
}

fn content_type(format: &str) -> &'static str {
    match format {
        "TabSeparated" | "TSV" | "TabSeparatedRaw" | "TSVRaw" => "text/tab-separated-values; charset=UTF-8",
        "TabSeparatedWithNames" | "TSVWithNames" | "TabSeparatedWithNamesAndTypes" | "TSVWithNamesAndTypes" => {
            "text/tab-separated-values; charset=UTF-8; header=present"
        }
        "CSV" => "text/csv; charset=UTF-8; header=absent",
        "CSVWithNames" | "CSVWithNamesAndTypes" => "text/csv; charset=UTF-8; header=present",
        f if f.starts_with("JSONEachRow") || f.starts_with("JSONCompactEachRow") => "application/x-ndjson; charset=UTF-8",
        f if f.starts_with("JSON") => "application/json; charset=UTF-8",
        f if f.starts_with("RowBinary") || f == "Native" => "application/octet-stream",
        _ => "text/plain; charset=UTF-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_clickhouses_own() {
        for (code, status) in [(62, 400), (60, 404), (516, 403), (159, 408), (48, 501), (241, 500), (202, 500)] {
            assert_eq!(status_of(code).as_u16(), status, "code {code}");
        }
    }

    #[test]
    fn a_very_long_message_is_cut_at_a_character() {
        let failure = Failure::coded(62, "é".repeat(MESSAGE_MAX_BYTES));
        assert_eq!(failure.into_response("q").status(), StatusCode::BAD_REQUEST);
    }
}
