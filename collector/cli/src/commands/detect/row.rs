//! A match as a row: the same keys for rules and correlations, in every form of output.

use beffroi_engine::RecordMatch;
use beffroi_engine::correlate::CorrelationMatch;
use beffroi_schema::alert::RuleInfo;
use beffroi_schema::json::rfc3339;
use beffroi_sources::Record;
use serde_json::{Map, Value, json};

use super::place::Place;
use super::rules::Rules;
use crate::output::{Column, column, rest};

/// Columns of the table and of the timeline.
pub const COLUMNS: [Column; 12] = [
    column("TIME", "/event_time", 24),
    column("LEVEL", "/level", 13),
    column("RULE", "/rule_title", 56),
    column("COMPUTER", "/computer", 24),
    column("CHANNEL", "/channel", 24),
    column("EVENT", "/event_id", 6),
    column("KIND", "/kind", 11),
    column("FILE", "/file", 40),
    column("RECORD", "/record", 8),
    rest("FIELDS", "/matched_fields", 80),
    column("TAGS", "/tags", 32),
    column("RULE ID", "/rule_id", 36),
];

/// A match.
pub struct Row {
    /// When its event happened, microseconds since 1970.
    pub time_us: Option<i64>,
    /// What is shown of it.
    pub value: Value,
}

/// The row of a rule that matched a record. `number` is that of the part that it matched.
pub fn of_rule(record: &Record, place: &Place, number: u64, found: RecordMatch, rules: &Rules, include_event: bool) -> Row {
    let (info, path) = rules.rule(found.rule);
    let mut row = head(&place.file, number, record.event_record_id);
    about_rule(&mut row, info, &path.display().to_string());
    row.insert("event_time".into(), record.time_us.map(rfc3339).into());
    row.insert("computer".into(), record.computer().into());
    row.insert("channel".into(), record.channel().into());
    row.insert("event_id".into(), record.event_id().unwrap_or(Value::Null));
    row.insert("kind".into(), "rule".into());
    row.insert("matched_selections".into(), found.selections.into());
    let fields = found.fields.into_iter().map(|matched| json!({"field": matched.field, "value": matched.value}));
    row.insert("matched_fields".into(), fields.collect());
    if include_event {
        row.insert("event".into(), record.to_json());
    }
    Row { time_us: record.time_us, value: Value::Object(row) }
}

/// The row of a correlation; it stands at the event that completed it.
pub fn of_correlation(found: &CorrelationMatch<Place>, path: &str) -> Row {
    let last = found.events.last();
    let mut row = head(last.map_or("", |place| &place.file), last.map_or(0, |place| place.record), None);
    about_rule(&mut row, &found.rule, path);
    let group: Map<String, Value> = found.group.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect();
    row.insert("event_time".into(), rfc3339(found.last_us).into());
    row.insert("computer".into(), group.get("Computer").cloned().unwrap_or(Value::Null));
    row.insert("channel".into(), Value::Null);
    row.insert("event_id".into(), Value::Null);
    row.insert("kind".into(), "correlation".into());
    row.insert("group".into(), group.into());
    row.insert("matched_selections".into(), json!([]));
    let events: Vec<String> = found.events.iter().map(ToString::to_string).collect();
    let fields = [
        json!({"field": "value", "value": found.value}),
        json!({"field": "first_time", "value": rfc3339(found.first_us)}),
        json!({"field": "event_count", "value": found.count}),
        json!({"field": "events", "value": events}),
    ];
    row.insert("matched_fields".into(), fields.into_iter().collect());
    Row { time_us: Some(found.last_us), value: Value::Object(row) }
}

fn head(file: &str, record: u64, event_record_id: Option<u64>) -> Map<String, Value> {
    let mut row = Map::new();
    row.insert("file".into(), file.into());
    row.insert("record".into(), record.into());
    if let Some(id) = event_record_id {
        row.insert("event_record_id".into(), id.into());
    }
    row
}

fn about_rule(row: &mut Map<String, Value>, info: &RuleInfo, path: &str) {
    row.insert("rule_id".into(), info.id.clone().into());
    row.insert("rule_title".into(), info.title.clone().into());
    row.insert("rule_path".into(), path.into());
    row.insert("level".into(), info.level.name().into());
    row.insert("tags".into(), info.tags.clone().into());
    row.insert("author".into(), info.author.clone().into());
    row.insert("references".into(), info.references.clone().into());
}
