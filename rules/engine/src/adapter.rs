//! Our event as the evaluator wants to see it, without a detour over JSON.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use beffroi_schema::{Event, Value};
use rsigma_eval::EventValue;

/// An event seen by the evaluator.
pub(crate) struct EventView<'a>(pub &'a Event);

impl EventView<'_> {
    fn visit(&self, visit: &mut dyn FnMut(&str) -> bool) -> bool {
        let values = self.0.fields().iter().map(|(_, value)| value);
        values.chain(self.0.extra().iter().map(|(_, value)| value)).any(|value| match value {
            Value::Text(text) => visit(&String::from_utf8_lossy(text)),
            Value::List(list) => list.iter().any(|text| visit(&String::from_utf8_lossy(text))),
            Value::Uint(_) | Value::Int(_) | Value::Bool(_) => false,
        })
    }
}

impl rsigma_eval::Event for EventView<'_> {
    fn get_field(&self, path: &str) -> Option<EventValue<'_>> {
        #[cfg(test)]
        assert_ne!(path, "PanicsInTheEvaluator", "a test asked for this panic");
        // The parser writes brackets of field names as `\[`; our names are flat, so they are only unescaped.
        if path.contains('\\') {
            return self.0.get_named(&path.replace("\\[", "[").replace("\\]", "]")).map(to_value);
        }
        self.0.get_named(path).map(to_value)
    }

    fn any_string_value(&self, pred: &dyn Fn(&str) -> bool) -> bool {
        self.visit(&mut |text| pred(text))
    }

    fn all_string_values(&self) -> Vec<Cow<'_, str>> {
        let mut all = Vec::new();
        self.visit(&mut |text| {
            all.push(Cow::Owned(text.to_owned()));
            false
        });
        all
    }

    fn visit_string_values(&self, visit: &mut dyn FnMut(&str)) {
        self.visit(&mut |text| {
            visit(text);
            false
        });
    }

    fn to_json(&self) -> serde_json::Value {
        serde_json::Value::Object(self.0.to_json())
    }

    fn visit_top_level_keys(&self, visit: &mut dyn FnMut(&str)) -> bool {
        for (field, _) in self.0.fields() {
            visit(&field.name());
        }
        for (name, _) in self.0.extra() {
            visit(name);
            // A name with dots is looked for under its first part as well.
            if let Some((root, _)) = name.split_once(['.', '[']) {
                visit(root);
            }
        }
        true
    }
}

fn to_value(value: &Value) -> EventValue<'_> {
    match value {
        Value::Text(text) => text_value(String::from_utf8_lossy(text)),
        Value::Uint(number) => match i64::try_from(*number) {
            Ok(number) => EventValue::Int(number),
            // Beyond 63 bits only the text is exact.
            Err(_) => EventValue::Str(number.to_string().into()),
        },
        Value::Int(number) => EventValue::Int(*number),
        Value::Bool(truth) => EventValue::Bool(*truth),
        Value::List(list) => EventValue::Array(list.iter().map(|text| EventValue::Str(String::from_utf8_lossy(text))).collect()),
    }
}

/// An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`, what a dual-stack socket reports) is shown both ways, so that
/// networks and literals in either notation match.
fn text_value(text: Cow<'_, str>) -> EventValue<'_> {
    if text.len() >= 9
        && text.as_bytes()[..7].eq_ignore_ascii_case(b"::ffff:")
        && let Some(mapped) = text.parse::<Ipv6Addr>().ok().and_then(|address| address.to_ipv4_mapped())
    {
        return EventValue::Array(vec![EventValue::Str(text), EventValue::Str(mapped.to_string().into())]);
    }
    EventValue::Str(text)
}
