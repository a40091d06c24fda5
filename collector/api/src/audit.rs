//! Who did what: one record on `audit.v1` for every call of somebody who is known, durable before the answer goes out.
//! No secret ever stands in it: tokens are masked wherever somebody wrote one, and answers are not recorded.

use std::borrow::Cow;

use beffroi_bus::{Bus, BusError, Outgoing, Topic};
use serde::Serialize;
use serde_json::Value as Json;

use crate::auth::{TOKEN_CHARS, TOKEN_PREFIX};

/// Bytes of what was asked for that are kept.
const MAX_ASKED: usize = 4 * 1024;
/// Bytes of a path, a query string or a reason that are kept.
const MAX_TEXT: usize = 2 * 1024;
/// What stands for a token that somebody wrote where it does not belong.
const MASKED: &str = "bft_(masked)";

/// One record.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Record {
    /// When, microseconds since 1970.
    pub(crate) ts: i64,
    /// Who.
    pub(crate) by: String,
    /// By which token.
    pub(crate) token_id: String,
    /// What they may do.
    pub(crate) scope: &'static str,
    /// Tenants that they may see.
    pub(crate) tenants: Vec<String>,
    /// From where.
    pub(crate) remote: String,
    /// Through which door: `api` or `console`.
    pub(crate) door: &'static str,
    /// What, by its name in the API's document; empty for a path that is none.
    pub(crate) operation: String,
    /// HTTP method.
    pub(crate) method: String,
    /// Path as asked.
    pub(crate) path: String,
    /// Query string, cut.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) query: String,
    /// What was asked for, as it was understood.
    #[serde(skip_serializing_if = "Json::is_null")]
    pub(crate) asked: Json,
    /// Tenant that was asked for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) tenant: String,
    /// Why, in the asker's words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) reason: String,
    /// Rows in the answer.
    pub(crate) rows: u64,
    /// HTTP status of the answer.
    pub(crate) status: u16,
    /// Code of a refusal.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) code: String,
    /// How long it took, milliseconds.
    pub(crate) ms: u64,
}

/// Text as it is kept: masked and cut.
pub(crate) fn text(text: &str) -> String {
    cut(&masked(text), MAX_TEXT)
}

/// What was asked for as it is kept: without what was left out, masked and cut.
pub(crate) fn asked(asked: Json) -> Json {
    let Json::Object(mut fields) = asked else { return Json::Null };
    fields.retain(|_, value| match value {
        Json::Null => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(list) => !list.is_empty(),
        Json::Object(fields) => !fields.is_empty(),
        Json::Bool(truth) => *truth,
        Json::Number(number) => number.as_u64() != Some(0),
    });
    if fields.is_empty() {
        return Json::Null;
    }
    let mut whole = Json::Object(fields);
    mask(&mut whole);
    let text = whole.to_string();
    if text.len() <= MAX_ASKED { whole } else { Json::String(cut(&text, MAX_ASKED)) }
}

/// Masks every text in it.
fn mask(value: &mut Json) {
    match value {
        Json::String(text) => {
            if let Cow::Owned(clean) = masked(text) {
                *text = clean;
            }
        }
        Json::Array(list) => list.iter_mut().for_each(mask),
        Json::Object(fields) => fields.values_mut().for_each(mask),
        _ => {}
    }
}

fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{} ...", &text[..end])
}

/// The text without the secret of any personal token.
fn masked(text: &str) -> Cow<'_, str> {
    if !text.contains(TOKEN_PREFIX) {
        return Cow::Borrowed(text);
    }
    let mut parts = text.split(TOKEN_PREFIX);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let secret = part.bytes().take(TOKEN_CHARS).take_while(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_')).count();
        clean.push_str(MASKED);
        clean.push_str(&part[secret..]);
    }
    Cow::Owned(clean)
}

/// Writes the record; returns once it is durable.
pub(crate) async fn write(bus: &Bus, record: &Record) -> Result<(), BusError> {
    let value =
        serde_json::to_vec(record).map_err(|error| BusError::Invalid { what: "an audit record", reason: error.to_string() })?;
    bus.publish(Topic::Audit, Outgoing::new(record.by.as_bytes(), value)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_token_that_somebody_wrote_into_a_filter_is_masked() {
        let token = crate::auth::new_token().unwrap();
        let kept = asked(json!({"filters": [{"field": "CommandLine", "value": format!("curl -H {token}'")}]})).to_string();
        assert!(!kept.contains(&token[8..]) && kept.contains(MASKED) && kept.contains("CommandLine"), "{kept}");
        let kept = text(&format!("/v1/tokens/{token}?x={token}&y"));
        assert_eq!(kept, format!("/v1/tokens/{MASKED}?x={MASKED}&y"));
        assert_eq!(text("bft_é"), format!("{MASKED}é"));
    }

    #[test]
    fn what_was_left_out_is_not_kept_and_what_is_long_is_cut() {
        assert_eq!(asked(json!({"limit": 0, "tenant": "a", "host": null, "filters": []})), json!({"tenant": "a"}));
        assert_eq!(asked(json!({"limit": 0})), Json::Null);
        let long = asked(json!({"host": "é".repeat(9_000)})).to_string();
        assert!(long.len() < MAX_ASKED + 100 && long.contains("..."), "{}", long.len());
    }
}
