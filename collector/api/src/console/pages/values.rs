//! Fields of events as a page shows them.

use serde_json::{Map, Value};

/// Longest value that is shown whole, bytes: the API's answer holds all of it.
const MAX_VALUE: usize = 16 * 1024;

/// A field and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldRow {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl FieldRow {
    pub(crate) fn new(name: &str, value: &Value) -> Self {
        Self { name: name.to_owned(), value: shown(value) }
    }
}

/// A value as text: texts and numbers as they are, lists by their members, the rest as JSON.
pub(crate) fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(list) if list.iter().all(Value::is_string) => {
            list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" · ")
        }
        other => other.to_string(),
    };
    match text.char_indices().find(|(at, _)| *at >= MAX_VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A line of a table of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventRow {
    pub(crate) ts: String,
    pub(crate) category: String,
    pub(crate) user: String,
    pub(crate) image: String,
    pub(crate) detail: String,
    /// One of the alert's own events.
    pub(crate) ours: bool,
}

impl EventRow {
    /// The line of a flat event; `ours` are the ids of the alert's events.
    pub(crate) fn new(event: &Map<String, Value>, ours: &[String]) -> Self {
        let text = |name: &str| event.get(name).map(shown).unwrap_or_default();
        let category = match text("category") {
            category if category.is_empty() => text("service"),
            category => category,
        };
        Self {
            ts: text("ts"),
            user: text("User"),
            image: text("Image"),
            detail: detail(&category, &text),
            ours: event.get("event_id").and_then(Value::as_str).is_some_and(|id| ours.iter().any(|known| known == id)),
            category,
        }
    }
}

/// What stands out in an event of this category.
fn detail(category: &str, text: &impl Fn(&str) -> String) -> String {
    let join = |parts: &[&str], between: &str| {
        let parts = parts.iter().map(|name| text(name)).filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join(between)
    };
    match category {
        "process_creation" | "process_termination" => text("CommandLine"),
        "file_rename" => join(&["SourceFilename", "TargetFilename"], " → "),
        "file_event" | "file_change" | "file_delete" => text("TargetFilename"),
        "network_connection" if text("Initiated") == "false" => join(&["SourceIp", "SourcePort"], " : "),
        "network_connection" => join(&["DestinationHostname", "DestinationIp", "DestinationPort"], " : "),
        "network_listen" => join(&["SourceIp", "SourcePort"], " : "),
        "antivirus" => join(&["Signature", "Filename"], " · "),
        "scan" => join(&["Action", "Reason", "TargetFilename"], " · "),
        "dns_query" | "dns" => text("QueryName"),
        _ => match text("Message") {
            message if message.is_empty() => join(&["CommandLine", "TargetFilename"], " · "),
            message => message,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row(event: Value) -> EventRow {
        EventRow::new(event.as_object().unwrap(), &["e-1".to_owned()])
    }

    #[test]
    fn each_category_shows_what_stands_out() {
        let row_of = |event| row(event).detail;
        assert_eq!(row_of(json!({"category": "process_creation", "CommandLine": "sh -c id"})), "sh -c id");
        assert_eq!(row_of(json!({"category": "file_rename", "SourceFilename": "/a", "TargetFilename": "/b"})), "/a → /b");
        let out = json!({"category": "network_connection", "DestinationIp": "192.0.2.1", "DestinationPort": 443});
        assert_eq!(row_of(out), "192.0.2.1 : 443");
        let inwards = json!({"category": "network_connection", "Initiated": false, "SourceIp": "192.0.2.9", "SourcePort": 5});
        assert_eq!(row_of(inwards), "192.0.2.9 : 5");
        assert_eq!(row_of(json!({"service": "sshd", "Message": "Failed password"})), "Failed password");
    }

    #[test]
    fn the_alerts_own_events_are_marked() {
        assert!(row(json!({"event_id": "e-1"})).ours && !row(json!({"event_id": "e-2"})).ours && !row(json!({})).ours);
    }

    #[test]
    fn values_of_every_kind_become_text_and_long_ones_are_cut() {
        assert_eq!(shown(&json!(["a", "b"])), "a · b");
        assert_eq!(
            (shown(&json!(5)), shown(&json!(null)), shown(&json!({"a": 1}))),
            ("5".into(), String::new(), "{\"a\":1}".into())
        );
        let long = shown(&json!("é".repeat(MAX_VALUE)));
        assert!(long.ends_with('…') && long.len() <= MAX_VALUE + 8);
    }
}
