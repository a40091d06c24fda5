//! Events as JSON objects with Sigma field names: `watch`, `replay`, evidence in alerts, proofs of rules.
//!
//! Reserved names beside the fields: `ts` (RFC 3339), `category`, `product`, `service`, `origin`, `event_id`.
//! Reading accepts what other tools write as well (`UtcTime`, `EventTime`, `@timestamp` as time).

use serde_json::{Map, Value as Json};

use crate::event::{Category, Event, Product, Value};
use crate::fields::{Field, Kind};
use crate::limits::{MAX_FIELDS, MAX_LIST, MAX_TEXT_BYTES};

/// A JSON value is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an event: {0}")]
pub struct JsonError(String);

/// The time as RFC 3339 with microseconds, in UTC; times outside of years -9999 to 9999 as a plain number.
pub fn rfc3339(ts_us: i64) -> String {
    match jiff::Timestamp::from_microsecond(ts_us) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => ts_us.to_string(),
    }
}

/// Microseconds since 1970 from RFC 3339 text, from `YYYY-MM-DD HH:MM:SS[.frac]` (taken as UTC), or from a number of
/// seconds, milliseconds or microseconds since 1970 by its size.
pub fn parse_time(value: &Json) -> Option<i64> {
    match value {
        Json::String(text) => {
            if let Ok(time) = text.parse::<jiff::Timestamp>() {
                return Some(time.as_microsecond());
            }
            let time: jiff::civil::DateTime = text.replacen(' ', "T", 1).parse().ok()?;
            Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_microsecond())
        }
        Json::Number(number) => {
            let number = number.as_f64()?;
            Some(match number {
                n if n < 1e11 => (n * 1e6) as i64,
                n if n < 1e14 => (n * 1e3) as i64,
                n => n as i64,
            })
        }
        _ => None,
    }
}

/// A value as JSON. Text that is no UTF-8 is written with replacement characters.
pub fn value_to_json(value: &Value) -> Json {
    match value {
        Value::Text(bytes) => String::from_utf8_lossy(bytes).into_owned().into(),
        Value::Uint(number) => (*number).into(),
        Value::Int(number) => (*number).into(),
        Value::Bool(truth) => (*truth).into(),
        Value::List(list) => list.iter().map(|text| Json::from(String::from_utf8_lossy(text).into_owned())).collect(),
    }
}

impl Event {
    /// The event as a flat JSON object.
    pub fn to_json(&self) -> Map<String, Json> {
        let mut object = Map::new();
        object.insert("ts".into(), rfc3339(self.ts).into());
        for (name, text) in [("category", self.logsource.category.name()), ("product", self.logsource.product.name())] {
            if !text.is_empty() {
                object.insert(name.into(), text.into());
            }
        }
        if let Some(service) = &self.logsource.service {
            object.insert("service".into(), String::from_utf8_lossy(service).into_owned().into());
        }
        if self.replayed {
            object.insert("origin".into(), "replay".into());
        }
        for (field, value) in self.fields() {
            object.insert(field.name().into_owned(), value_to_json(value));
        }
        for (name, value) in self.extra() {
            // A hostile extra name must not overwrite what the sensor said.
            object.entry(name.to_string()).or_insert_with(|| value_to_json(value));
        }
        object
    }

    /// Reads a flat JSON object. Without a time in it, `now_us` is taken; without a category, the event is a log line.
    /// Numbers, booleans and text are converted to the kind of the field where that loses nothing; nulls are absent.
    ///
    /// # Errors
    /// [`JsonError`] when it is no object, holds too many or too large values, or names an unknown category or product.
    pub fn from_json(json: &Json, now_us: i64) -> Result<Self, JsonError> {
        let object = json.as_object().ok_or_else(|| JsonError("a JSON object was expected".into()))?;
        if object.len() > MAX_FIELDS {
            return Err(JsonError(format!("{} fields, the limit is {MAX_FIELDS}", object.len())));
        }
        let ts = ["ts", "UtcTime", "EventTime", "@timestamp"].iter().find_map(|name| parse_time(object.get(*name)?));
        let category = named(object, "category", Category::from_name)?.unwrap_or(Category::None);
        let product = named(object, "product", Product::from_name)?.unwrap_or(Product::None);
        let mut event = Event::new(category, product, ts.unwrap_or(now_us));
        event.replayed = object.get("origin").and_then(Json::as_str) == Some("replay");
        event.logsource.service = object.get("service").and_then(Json::as_str).map(|text| text.as_bytes().into());
        for (name, value) in object {
            if !matches!(name.as_str(), "ts" | "category" | "product" | "service" | "origin" | "event_id")
                && let Some(value) = value_from_json(name, value)?
            {
                event.set_named(name, value);
            }
        }
        Ok(event)
    }
}

fn named<T>(object: &Map<String, Json>, name: &str, find: impl Fn(&str) -> Option<T>) -> Result<Option<T>, JsonError> {
    match object.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => match find(text) {
            Some(found) => Ok(Some(found)),
            None => Err(JsonError(format!("{name} {text:?} is not known"))),
        },
        Some(other) => Err(JsonError(format!("{name} must be text, not {other}"))),
    }
}

fn value_from_json(name: &str, json: &Json) -> Result<Option<Value>, JsonError> {
    let kind = Field::by_name(name).and_then(Field::info).map(|info| info.kind);
    let value = match (json, kind) {
        (Json::Null, _) => return Ok(None),
        (Json::String(text), _) if text.len() > MAX_TEXT_BYTES => {
            return Err(JsonError(format!("{name} has {} bytes, the limit is {MAX_TEXT_BYTES}", text.len())));
        }
        (Json::String(text), Some(Kind::Uint)) => text.parse().map(Value::Uint).unwrap_or_else(|_| Value::from(text.as_str())),
        (Json::String(text), Some(Kind::Int)) => text.parse().map(Value::Int).unwrap_or_else(|_| Value::from(text.as_str())),
        (Json::String(text), Some(Kind::Bool)) => text.parse().map(Value::Bool).unwrap_or_else(|_| Value::from(text.as_str())),
        (Json::String(text), _) => Value::from(text.as_str()),
        (Json::Bool(truth), Some(Kind::Text)) => Value::from(if *truth { "true" } else { "false" }),
        (Json::Bool(truth), _) => Value::Bool(*truth),
        (Json::Number(number), Some(Kind::Text)) => Value::from(number.to_string()),
        (Json::Number(number), Some(Kind::Int)) if number.is_i64() => Value::Int(number.as_i64().unwrap_or_default()),
        (Json::Number(number), _) => match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => Value::Uint(number),
            (None, Some(number)) => Value::Int(number),
            (None, None) => Value::from(number.to_string()),
        },
        (Json::Array(list), _) if list.len() > MAX_LIST => {
            return Err(JsonError(format!("{name} has {} elements, the limit is {MAX_LIST}", list.len())));
        }
        (Json::Array(list), _) => {
            let text = |json: &Json| match json {
                Json::String(text) => text.as_bytes().into(),
                other => other.to_string().into_bytes().into(),
            };
            Value::List(list.iter().map(text).collect())
        }
        (Json::Object(_), _) => Value::from(json.to_string()),
    };
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_survives_json() {
        let json = json!({"ts": "2026-11-21T10:00:00.000001Z", "category": "network_connection", "product": "linux",
            "Image": "/usr/bin/curl", "DestinationPort": 443, "Initiated": true, "argv": ["curl", "x"], "Odd": "y"});
        let event = Event::from_json(&json, 0).unwrap();
        assert_eq!(event.uint(Field::DESTINATION_PORT), Some(443));
        assert_eq!(event.get(Field::INITIATED), Some(&Value::Bool(true)));
        assert_eq!(Json::Object(event.to_json()), json);
    }

    #[test]
    fn times_of_other_tools_are_read() {
        for (text, micros) in [
            (json!("2026-11-21 10:00:00.123"), 1_795_255_200_123_000),
            (json!("2026-11-21T11:00:00+01:00"), 1_795_255_200_000_000),
            (json!(1_795_255_200), 1_795_255_200_000_000),
            (json!(1_795_255_200_000_i64), 1_795_255_200_000_000),
        ] {
            assert_eq!(parse_time(&text), Some(micros), "{text}");
        }
        assert_eq!(parse_time(&json!("yesterday")), None);
    }

    #[test]
    fn an_unknown_category_and_a_non_object_are_refused_with_a_reason() {
        assert!(Event::from_json(&json!([1]), 0).unwrap_err().to_string().contains("object"));
        assert!(Event::from_json(&json!({"category": "x"}), 0).unwrap_err().to_string().contains("not known"));
    }

    #[test]
    fn a_hostile_extra_name_does_not_hide_the_time() {
        let mut event = Event::new(Category::None, Product::Linux, 0);
        event.set_named("ts", Value::from("never"));
        assert_eq!(event.to_json()["ts"], "1970-01-01T00:00:00.000000Z");
    }
}
