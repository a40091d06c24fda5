//! JSON objects as records: trees of the Windows event log, flat objects of forwarders and of other products, our own
//! events.

use beffroi_engine::windows;
use beffroi_schema::json::parse_time;
use serde_json::{Map, Value as Json};

use crate::format::Format;
use crate::limits::{MAX_FLAT_DEPTH, MAX_FLAT_FIELDS};
use crate::own::{self, OwnEvent};
use crate::parse::Options;
use crate::record::Record;
use crate::trouble::{Code, Trouble, Troubles};

/// Names of the time of an event, the surest first.
pub(crate) const TIMES: [&str; 10] =
    ["ts", "TimeCreated", "SystemTime", "@timestamp", "UtcTime", "EventTime", "TimeGenerated", "timestamp", "eventTime", "time"];

/// The record that stands in these bytes.
pub(crate) fn record(bytes: &[u8], number: u64, options: &Options, troubles: &mut Troubles) -> Option<Record> {
    match object(bytes, number, troubles) {
        Ok(object) => of_object(object, number, options).map_err(|trouble| troubles.push(trouble)).ok(),
        Err(trouble) => {
            troubles.push(trouble);
            None
        }
    }
}

fn object(bytes: &[u8], number: u64, troubles: &mut Troubles) -> Result<Map<String, Json>, Trouble> {
    let broken = |error: serde_json::Error| Trouble::at(Code::Json, number, format!("no JSON object: {error}"));
    match serde_json::from_slice(bytes) {
        Ok(object) => Ok(object),
        Err(error) if std::str::from_utf8(bytes).is_ok() => Err(broken(error)),
        Err(_) => {
            let object = serde_json::from_str(&String::from_utf8_lossy(bytes)).map_err(broken)?;
            troubles.push(Trouble::at(Code::Encoding, number, "bytes that are no UTF-8 were replaced"));
            Ok(object)
        }
    }
}

fn of_object(object: Map<String, Json>, number: u64, options: &Options) -> Result<Record, Trouble> {
    let is_own = options.format == Some(Format::Events) || (options.format.is_none() && own::is_own(&object));
    if is_own && options.logsource.is_none() {
        return of_ours(object, number);
    }
    let mut record = if is_windows(&object) {
        Record::of_windows(number, windows_time(&object), flattened(object))
    } else {
        let time = TIMES.iter().find_map(|name| parse_time(object.get(*name)?));
        Record::flat(number, time, Vec::new(), dotted(object))
    };
    if let Some(view) = &options.logsource {
        record.views = vec![view.clone()];
    }
    Ok(record)
}

fn of_ours(object: Map<String, Json>, number: u64) -> Result<Record, Trouble> {
    let time_us = object.get("ts").and_then(parse_time);
    let own = OwnEvent::from_json(object).map_err(|error| Trouble::at(Code::Event, number, error.to_string()))?;
    Ok(Record::of_ours(number, time_us, own))
}

/// The tree of the event log, the flat form that names a channel, or that of Winlogbeat.
fn is_windows(object: &Map<String, Json>) -> bool {
    let inner = object.get("Event").and_then(Json::as_object).unwrap_or(object);
    inner.get("System").is_some_and(Json::is_object)
        || object.get("Channel").is_some_and(Json::is_string)
        || object.contains_key("event_data")
        || (object.contains_key("log_name") && object.contains_key("event_id"))
}

fn windows_time(object: &Map<String, Json>) -> Option<i64> {
    let inner = object.get("Event").and_then(Json::as_object).unwrap_or(object);
    let created = inner.get("System").and_then(|system| system.get("TimeCreated"));
    created.and_then(created_us).or_else(|| TIMES.iter().find_map(|name| parse_time(inner.get(*name)?)))
}

/// What the System block says of the time: an attribute of it, or itself.
pub(crate) fn created_us(created: &Json) -> Option<i64> {
    let attribute = created.pointer("/#attributes/SystemTime").or(created.get("SystemTime"));
    parse_time(attribute.unwrap_or(created))
}

/// What [`windows::flatten`] gives. Most events of forwarders are flat already and are not copied.
fn flattened(mut object: Map<String, Json>) -> Map<String, Json> {
    let is_flat = object.get("Channel").is_some_and(Json::is_string)
        && !object.contains_key("event_data")
        && !object.contains_key("log_name")
        && object.iter().all(|(name, value)| !value.is_object() && !value.is_array() && !name.contains(' '));
    if !is_flat {
        return windows::flatten(&object);
    }
    for (from, to) in [("SourceName", "Provider_Name"), ("Hostname", "Computer")] {
        if let Some(value) = object.get(from).cloned() {
            object.entry(to).or_insert(value);
        }
    }
    object
}

/// Objects inside of objects become names with dots, as rules for other products write them; lists stay lists.
fn dotted(object: Map<String, Json>) -> Map<String, Json> {
    if !object.values().any(|value| value.is_object() || value.is_array()) {
        return object;
    }
    let mut flat = Map::new();
    for (name, value) in object {
        put(&mut flat, name, value, 0);
    }
    flat
}

fn put(flat: &mut Map<String, Json>, name: String, value: Json, depth: usize) {
    if depth > MAX_FLAT_DEPTH || flat.len() >= MAX_FLAT_FIELDS {
        return;
    }
    match value {
        Json::Object(object) => {
            for (inner, value) in object {
                put(flat, format!("{name}.{inner}"), value, depth + 1);
            }
        }
        Json::Array(list) => {
            let (objects, scalars): (Vec<Json>, Vec<Json>) =
                list.into_iter().partition(|value| value.is_object() || value.is_array());
            if !scalars.is_empty() || objects.is_empty() {
                add(flat, name.clone(), Json::Array(scalars));
            }
            for object in objects {
                put(flat, name.clone(), object, depth + 1);
            }
        }
        scalar => add(flat, name, scalar),
    }
}

/// Sets a field, or adds to what an earlier element of the same list put there.
fn add(flat: &mut Map<String, Json>, name: String, value: Json) {
    let Some(existing) = flat.get_mut(&name) else {
        flat.insert(name, value);
        return;
    };
    let mut list = match existing.take() {
        Json::Array(list) => list,
        scalar => vec![scalar],
    };
    match value {
        Json::Array(more) => list.extend(more),
        scalar => list.push(scalar),
    }
    *existing = Json::Array(list);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Body, View};
    use serde_json::json;

    fn read(text: &str) -> (Option<Record>, Troubles) {
        read_as(text.as_bytes(), &Options::default())
    }

    fn read_as(bytes: &[u8], options: &Options) -> (Option<Record>, Troubles) {
        let mut troubles = Troubles::default();
        (record(bytes, 7, options, &mut troubles), troubles)
    }

    fn fields(record: &Record) -> Json {
        record.to_json()
    }

    #[test]
    fn a_tree_and_a_flat_object_of_windows_are_the_same_record() {
        let tree = json!({"Event": {"System": {"EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "Computer": "pc",
            "EventRecordID": 12, "TimeCreated": {"#attributes": {"SystemTime": "2021-11-18T07:40:29.566033Z"}}},
            "EventData": {"Image": "C:\\x.exe"}}});
        let flat = json!({"EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "Hostname": "pc", "RecordNumber": 12,
            "EventTime": "2021-11-18 07:40:29.566033", "Image": "C:\\x.exe"});
        for object in [tree, flat] {
            let record = read(&object.to_string()).0.unwrap();
            assert_eq!((record.number, record.event_record_id, record.time_us), (7, Some(12), Some(1_637_221_229_566_033)));
            assert_eq!((record.computer().as_deref(), record.event_id()), (Some("pc"), Some(json!(1))));
            assert_eq!(record.views, [View::named("windows", "process_creation", "sysmon")]);
            assert_eq!(fields(&record)["Image"], "C:\\x.exe");
        }
    }

    #[test]
    fn what_is_flat_already_is_what_the_table_of_windows_makes_of_it() {
        for object in [
            json!({"Channel": "Security", "SourceName": "P", "Hostname": "pc", "EventID": 1, "Null": null}),
            json!({"Channel": "Security", "SourceName": "P", "Computer": "own", "Hostname": "pc"}),
            json!({"Channel": "Security", "Threat Name": "T", "List": [1, 2]}),
            json!({"Channel": "Security", "Object": {"#text": 1}}),
            json!({"Channel": "Security", "event_data": {"A": 1}, "event_id": 3}),
        ] {
            let object = object.as_object().unwrap();
            assert_eq!(flattened(object.clone()), windows::flatten(object));
        }
    }

    #[test]
    fn nested_objects_get_names_with_dots_and_lists_stay_lists() {
        let object = json!({"eventSource": "s3", "requestParameters": {"bucket": {"name": "b"}, "ids": [1, 2]},
            "items": [{"id": "x"}, {"id": "y"}], "argv": ["a", "b"], "none": null, "empty": []});
        let record = read(&object.to_string()).0.unwrap();
        assert_eq!(
            fields(&record),
            json!({"eventSource": "s3", "requestParameters.bucket.name": "b", "requestParameters.ids": [1, 2],
                "items.id": ["x", "y"], "argv": ["a", "b"], "none": null, "empty": []})
        );
        assert!(record.views.is_empty());
    }

    #[test]
    fn an_event_of_ours_is_known_by_its_time_and_its_kind() {
        let object = json!({"ts": "2026-11-21T10:00:00Z", "category": "process_creation", "product": "linux", "Image": "/bin/sh", "host": "app-07"});
        let record = read(&object.to_string()).0.unwrap();
        assert_eq!(record.own().map(|own| own.event.text(beffroi_schema::Field::IMAGE).into_owned()), Some("/bin/sh".into()));
        assert_eq!((record.computer().as_deref(), record.time_us), (Some("app-07"), Some(1_795_255_200_000_000)));
        let options = Options { format: Some(Format::Events), ..Options::default() };
        let (record, troubles) = read_as(br#"{"category": "no_such"}"#, &options);
        assert!(record.is_none() && troubles.first[0].code == Code::Event, "{troubles:?}");
    }

    #[test]
    fn a_logsource_that_is_named_wins() {
        let view = View::named("linux", "process_creation", "");
        let options = Options { logsource: Some(view.clone()), ..Options::default() };
        for object in [r#"{"Image": "/bin/sh"}"#, r#"{"ts": 1, "category": "file_event", "Image": "/bin/sh"}"#] {
            let record = read_as(object.as_bytes(), &options).0.unwrap();
            assert_eq!((&record.views[..], &fields(&record)["Image"]), (&[view.clone()][..], &json!("/bin/sh")));
        }
    }

    #[test]
    fn what_is_no_object_is_told_and_what_is_no_utf_8_is_read_all_the_same() {
        let deep = "{\"a\":".repeat(100_000);
        for text in ["", "{", "[]", "1", "{\"a\": }", deep.as_str()] {
            let (record, troubles) = read(text);
            assert!(
                record.is_none() && troubles.first[0].code == Code::Json && troubles.first[0].record == Some(7),
                "{text:.20}"
            );
        }
        let (record, troubles) = read_as(b"{\"a\": \"\xff\"}", &Options::default());
        assert_eq!(fields(&record.unwrap()), json!({"a": "\u{fffd}"}));
        assert_eq!(troubles.counts, [(Code::Encoding, 1)]);
    }

    #[test]
    fn a_deep_or_wide_object_has_an_end() {
        let wide = format!("{{\"l\": [{}]}}", (0..20_000).map(|at| format!("{{\"k{at}\": 1}}")).collect::<Vec<_>>().join(","));
        let Body::Flat(parts) = read(&wide).0.unwrap().body else { panic!("flat") };
        assert_eq!(parts[0].fields.len(), MAX_FLAT_FIELDS);
        let deep = format!("{}1{}", "{\"a\":".repeat(100), "}".repeat(100));
        assert_eq!(fields(&read(&deep).0.unwrap()), json!({}));
    }
}
