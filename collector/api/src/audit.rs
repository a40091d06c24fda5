//! Who did what: one record on `audit.v1` for every authenticated call, durable before the answer goes out.

use beffroi_bus::{Bus, BusError, Outgoing, Topic};
use serde::Serialize;

/// Bytes of a call's body that are kept: filters and reasons fit, and no secret ever comes in a body.
const MAX_BODY: usize = 4 * 1024;
/// Bytes of a query string that are kept.
const MAX_QUERY: usize = 2 * 1024;

/// One record.
#[derive(Debug, Serialize)]
pub(crate) struct Record {
    /// When, microseconds since 1970.
    pub(crate) ts: i64,
    /// Who.
    pub(crate) by: String,
    /// From where.
    pub(crate) remote: String,
    /// HTTP method.
    pub(crate) method: String,
    /// Path as asked.
    pub(crate) path: String,
    /// Query string, cut.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) query: String,
    /// Body, cut; bad UTF-8 replaced.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) body: String,
    /// HTTP status of the answer.
    pub(crate) status: u16,
    /// How long it took, milliseconds.
    pub(crate) ms: u64,
}

pub(crate) fn cut(text: &[u8], max: usize) -> String {
    let whole = text.len() <= max;
    let text = String::from_utf8_lossy(&text[..text.len().min(max)]).into_owned();
    if whole { text } else { format!("{text} ...") }
}

pub(crate) fn query(text: Option<&str>) -> String {
    cut(text.unwrap_or_default().as_bytes(), MAX_QUERY)
}

pub(crate) fn body(bytes: &[u8]) -> String {
    cut(bytes, MAX_BODY)
}

/// Writes the record; returns once it is durable.
pub(crate) async fn write(bus: &Bus, record: &Record) -> Result<(), BusError> {
    let value =
        serde_json::to_vec(record).map_err(|error| BusError::Invalid { what: "an audit record", reason: error.to_string() })?;
    bus.publish(Topic::Audit, Outgoing::new(record.by.as_bytes(), value)).await.map(drop)
}
