//! Makes a record fit the contract's limits before it is numbered: longer texts and lists are cut and marked, an event
//! that is still too large becomes a declared gap.

use beffroi_schema::Field;
use beffroi_schema::batch::{GapReason, Record};
use beffroi_schema::event::{Event, Text, Value};
use beffroi_schema::limits::{MAX_FIELDS, MAX_LIST, MAX_TEXT_BYTES};

use super::gap;

/// One event may take this much of a batch: together with a batch that is just not full it stays within every limit.
const MAX_EVENT_BYTES: usize = 384 * 1024;

pub(super) fn fit(record: Record) -> Record {
    let Record::Event(mut event) = record else { return record };
    let too_long: Vec<String> = event
        .fields()
        .iter()
        .map(|(field, value)| (field.name().into_owned(), value))
        .chain(event.extra().iter().map(|(name, value)| (name.to_string(), value)))
        .filter(|(_, value)| shortened(value).is_some())
        .map(|(name, _)| name)
        .collect();
    for name in too_long {
        if let Some(value) = event.get_named(&name).and_then(shortened) {
            event.set_named(&name, value);
            event.set(Field::TRUNCATED, true);
        }
    }
    if event_bytes(&event) > MAX_EVENT_BYTES || event.fields().len() + event.extra().len() > MAX_FIELDS {
        return Record::Gap(gap(GapReason::Oversize, event.logsource.category.name(), Some(1), (event.ts, event.ts)));
    }
    Record::Event(event)
}

fn shortened(value: &Value) -> Option<Value> {
    match value {
        Value::Text(text) if text.len() > MAX_TEXT_BYTES => Some(Value::Text(cut(text))),
        Value::List(list) if list.len() > MAX_LIST || list.iter().any(|text| text.len() > MAX_TEXT_BYTES) => {
            Some(Value::List(list.iter().take(MAX_LIST).map(cut).collect()))
        }
        _ => None,
    }
}

fn cut(text: &Text) -> Text {
    if text.len() > MAX_TEXT_BYTES { text[..MAX_TEXT_BYTES].into() } else { text.clone() }
}

fn event_bytes(event: &Event) -> usize {
    let bytes = |value: &Value| match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.iter().map(|text| text.len() + 4).sum(),
        _ => 8,
    };
    let fields = event.fields().iter().map(|(_, value)| 4 + bytes(value));
    let extra = event.extra().iter().map(|(name, value)| 8 + name.len() + bytes(value));
    fields.chain(extra).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_schema::{Category, Product};

    #[test]
    fn a_text_beyond_the_limit_is_cut_and_marked() {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 1);
        event.set(Field::COMMAND_LINE, "x".repeat(MAX_TEXT_BYTES + 1));
        let Record::Event(event) = fit(Record::Event(event)) else { panic!("an event stays an event") };
        assert_eq!(event.text(Field::COMMAND_LINE).len(), MAX_TEXT_BYTES);
        assert_eq!(event.get(Field::TRUNCATED), Some(&Value::Bool(true)));
    }

    #[test]
    fn an_event_beyond_every_limit_is_a_declared_gap() {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 7);
        for number in 0..4 {
            event.set_named(&format!("Odd{number}"), Value::from("x".repeat(MAX_TEXT_BYTES)));
        }
        let Record::Gap(gap) = fit(Record::Event(event)) else { panic!("a gap was expected") };
        assert_eq!((gap.reason, gap.count, gap.from), (GapReason::Oversize, Some(1), 7));
    }
}
