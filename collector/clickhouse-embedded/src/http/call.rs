//! What a request asks for: its query, settings, parameters and formats, read from URL, headers, form and body.
//!
//! Owns the list of arguments that are ours rather than engine settings. Refusals are [`Failure`]s in ClickHouse's
//! words; settings' names are checked to be identifiers here, because they become part of a `SET`.

use axum::http::{HeaderMap, StatusCode};

use super::reply::{Failure, code};

/// The format when neither request nor text names one.
const DEFAULT_FORMAT: &str = "TabSeparated";
/// More settings than any client sends.
const SETTINGS_MAX: usize = 128;
/// Longest query id accepted from a client.
const QUERY_ID_MAX_BYTES: usize = 128;

/// Arguments of ClickHouse's HTTP interface that do not reach the engine: answers are always complete before they
/// are sent (`wait_end_of_query`), never compressed over HTTP (loopback), and carry no stack traces.
const IGNORED: &[&str] = &[
    "wait_end_of_query",
    "buffer_size",
    "enable_http_compression",
    "http_zlib_compression_level",
    "send_progress_in_http_headers",
    "http_headers_progress_interval_ms",
    "cancel_http_readonly_queries_on_client_close",
    "http_write_exception_in_output_format",
    "client_protocol_version",
    "quota_key",
    "stacktrace",
    "session_timeout",
    "session_check",
    "close_session",
];

/// A request's arguments.
#[derive(Debug, Default)]
pub(super) struct Call {
    pub(super) query: Vec<u8>,
    pub(super) format: String,
    pub(super) database: Option<String>,
    pub(super) query_id: Option<String>,
    pub(super) settings: Vec<(String, String)>,
    pub(super) parameters: Vec<(String, Vec<u8>)>,
    pub(super) compressed_body: bool,
    pub(super) compressed_answer: bool,
}

impl Call {
    /// Reads headers and URL arguments. `ceilings` are settings a request may lower but not raise.
    pub(super) fn read(headers: &HeaderMap, arguments: Vec<(String, String)>, ceilings: &[(&str, u64)]) -> Result<Self, Failure> {
        let header = |name: &str| headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let mut call = Self {
            format: header("x-clickhouse-format").unwrap_or_else(|| DEFAULT_FORMAT.to_owned()),
            database: header("x-clickhouse-database"),
            ..Self::default()
        };
        if let Some(encoding) = header("content-encoding").filter(|e| !e.eq_ignore_ascii_case("identity")) {
            let what = format!("Content-Encoding {encoding} is not supported here; send the body as it is or with decompress=1");
            return Err(Failure::coded(code::NOT_IMPLEMENTED, what));
        }
        for (name, value) in arguments {
            call.argument(&name, value.into_bytes(), ceilings)?;
        }
        Ok(call)
    }

    /// Takes one argument, from the URL or a form field.
    pub(super) fn argument(&mut self, name: &str, value: Vec<u8>, ceilings: &[(&str, u64)]) -> Result<(), Failure> {
        if name == "query" {
            self.query = value;
            return Ok(());
        }
        if let Some(parameter) = name.strip_prefix("param_") {
            self.parameters.push((parameter.to_owned(), value));
            return Ok(());
        }
        let text =
            String::from_utf8(value).map_err(|_| Failure::coded(code::BAD_ARGUMENTS, format!("argument {name} is not UTF-8")))?;
        match name {
            "database" => self.database = Some(text).filter(|d| !d.is_empty()),
            "default_format" => self.format = text,
            "query_id" => self.query_id = Some(text).filter(|id| is_query_id(id)),
            "decompress" => self.compressed_body = text == "1",
            "compress" => self.compressed_answer = text == "1",
            "user" | "password" => {
                let what = "user and password in the URL are refused (URLs end up in logs): use the X-ClickHouse-User and X-ClickHouse-Key headers";
                return Err(Failure::coded(code::AUTHENTICATION_FAILED, what));
            }
            "session_id" | "role" => {
                let what = format!("{name} is not supported by the embedded engine");
                return Err(Failure::coded(code::NOT_IMPLEMENTED, what));
            }
            ignored if IGNORED.contains(&ignored) => {}
            setting => self.setting(setting, text, ceilings)?,
        }
        Ok(())
    }

    fn setting(&mut self, name: &str, value: String, ceilings: &[(&str, u64)]) -> Result<(), Failure> {
        if !is_identifier(name) {
            return Err(Failure::coded(code::UNKNOWN_SETTING, format!("Unknown setting '{}'", name.escape_default())));
        }
        if let Some((_, ceiling)) = ceilings.iter().find(|(limited, _)| *limited == name) {
            // 0 means "no limit" in ClickHouse.
            if !value.parse::<u64>().is_ok_and(|asked| asked > 0 && asked <= *ceiling) {
                let what = format!("Setting {name} must be between 1 and {ceiling} here, not '{value}'");
                return Err(Failure::new(StatusCode::BAD_REQUEST, code::SETTING_CONSTRAINT, what));
            }
        }
        if self.settings.len() >= SETTINGS_MAX {
            let what = format!("more than {SETTINGS_MAX} settings in one request");
            return Err(Failure::coded(code::BAD_ARGUMENTS, what));
        }
        self.settings.push((name.to_owned(), value));
        Ok(())
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Ids go into a response header: visible ASCII only.
fn is_query_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= QUERY_ID_MAX_BYTES && id.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CEILINGS: &[(&str, u64)] = &[("max_execution_time", 60)];

    fn read(arguments: &[(&str, &str)]) -> Result<Call, Failure> {
        let arguments = arguments.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Call::read(&HeaderMap::new(), arguments, CEILINGS)
    }

    #[test]
    fn arguments_are_sorted_into_their_places() {
        let call = read(&[
            ("query", "SELECT {x:String}"),
            ("param_x", "v"),
            ("database", "d"),
            ("default_format", "RowBinary"),
            ("decompress", "1"),
            ("wait_end_of_query", "1"),
            ("max_threads", "2"),
        ])
        .unwrap();
        assert_eq!(call.query, b"SELECT {x:String}");
        assert_eq!(call.parameters, [("x".to_owned(), b"v".to_vec())]);
        assert_eq!(call.settings, [("max_threads".to_owned(), "2".to_owned())]);
        assert_eq!((call.database.as_deref(), call.format.as_str()), (Some("d"), "RowBinary"));
        assert!(call.compressed_body && !call.compressed_answer);
    }

    #[test]
    fn a_settings_name_cannot_carry_sql() {
        assert_eq!(read(&[("a=1, readonly", "0")]).unwrap_err().code, code::UNKNOWN_SETTING);
    }

    #[test]
    fn a_limit_may_be_lowered_but_not_raised() {
        assert!(read(&[("max_execution_time", "5")]).is_ok());
        for raised in ["61", "0", "x", "-1"] {
            assert_eq!(read(&[("max_execution_time", raised)]).unwrap_err().code, code::SETTING_CONSTRAINT);
        }
    }

    #[test]
    fn a_password_in_the_url_is_refused() {
        assert_eq!(read(&[("password", "x")]).unwrap_err().status, StatusCode::FORBIDDEN);
    }
}
