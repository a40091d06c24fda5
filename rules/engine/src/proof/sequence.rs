//! The sequences of events that prove a correlation.

use beffroi_schema::Event;
use serde::Deserialize;
use serde_json::Value as Json;

/// When every sequence begins: the time itself means nothing.
const BEGIN_US: i64 = 1_767_225_600_000_000;
/// Events of one case: twice what any window needs, and little memory.
const MAX_EVENTS: usize = 200_000;

/// An event of a sequence.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Step {
    #[serde(default)]
    at: Option<String>,
    #[serde(default)]
    repeat: Option<usize>,
    #[serde(default)]
    every: Option<String>,
    event: Json,
}

/// The events of a sequence, with their times.
pub(super) fn events(steps: &[Step]) -> Result<Vec<Event>, String> {
    let mut events = Vec::new();
    for step in steps {
        let at = step.at.as_deref().map_or(Ok(0), microseconds)?;
        let every = step.every.as_deref().map_or(Ok(1_000_000), microseconds)?;
        for number in 0..step.repeat.unwrap_or(1) {
            if events.len() >= MAX_EVENTS {
                return Err(format!("a case has at most {MAX_EVENTS} events"));
            }
            let time = BEGIN_US.saturating_add(at).saturating_add(every.saturating_mul(number as i64));
            let mut event = Event::from_json(&numbered(&step.event, number + 1), time).map_err(|error| error.to_string())?;
            event.ts = time;
            events.push(event);
        }
    }
    Ok(events)
}

/// A time such as `90s`, `0.5s` or `2m`.
fn microseconds(text: &str) -> Result<i64, String> {
    let bad = || format!("a time is a number and s, m, h or d, such as 90s; this is '{text}'");
    let (unit, length) = text.char_indices().next_back().map(|(at, unit)| (unit, at)).ok_or_else(bad)?;
    let seconds = match unit {
        's' => 1.0,
        'm' => 60.0,
        'h' => 3_600.0,
        'd' => 86_400.0,
        _ => return Err(bad()),
    };
    let number: f64 = text[..length].trim().parse().map_err(|_| bad())?;
    if !number.is_finite() || number < 0.0 {
        return Err(bad());
    }
    Ok((number * seconds * 1e6).round() as i64)
}

/// The event with the number of its repetition for `{n}`.
fn numbered(event: &Json, number: usize) -> Json {
    match event {
        Json::String(text) => text.replace("{n}", &number.to_string()).into(),
        Json::Array(list) => list.iter().map(|value| numbered(value, number)).collect(),
        Json::Object(object) => object.iter().map(|(name, value)| (name.clone(), numbered(value, number))).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_schema::Field;
    use serde_json::json;

    #[test]
    fn a_step_is_repeated_with_its_number_and_distance() {
        let step: Step = serde_json::from_value(json!({"at": "2m", "repeat": 3, "every": "0.5s",
            "event": {"category": "file_event", "product": "linux", "TargetFilename": "/srv/{n}.locked"}}))
        .unwrap();
        let events = events(&[step]).unwrap();
        let seen: Vec<_> = events.iter().map(|event| (event.ts - BEGIN_US, event.text(Field::TARGET_FILENAME))).collect();
        assert_eq!(
            seen,
            [(120_000_000, "/srv/1.locked".into()), (120_500_000, "/srv/2.locked".into()), (121_000_000, "/srv/3.locked".into())]
        );
    }

    #[test]
    fn what_is_no_time_is_named() {
        for text in ["", "5", "s", "-1s", "infs", "1y", "é"] {
            assert!(microseconds(text).unwrap_err().contains(&format!("'{text}'")), "{text}");
        }
    }
}
