//! Events of every origin as frames: our own, and flat JSON.

use std::net::Ipv6Addr;

use beffroi_schema::batch::{EventRef, ValueRef};
use beffroi_schema::{Event, Field};
use serde_json::{Map, Value as Json};

use super::frame::{Datum, Frame};
use super::names::{FieldId, Names};
use super::wanted::Wanted;

/// What one of our own events says, however it is kept.
pub(crate) trait Subject<'a>: Copy {
    /// The value of a field of the table.
    fn get(self, field: Field) -> Option<ValueRef<'a>>;
}

impl<'a> Subject<'a> for &'a Event {
    fn get(self, field: Field) -> Option<ValueRef<'a>> {
        Event::get(self, field).map(ValueRef::from)
    }
}

impl<'a> Subject<'a> for EventRef<'a> {
    fn get(self, field: Field) -> Option<ValueRef<'a>> {
        EventRef::get(self, field)
    }
}

/// Fills a frame with one of our own events.
pub fn fill_from_event<'a>(frame: &mut Frame<'a>, names: &Names, event: &'a Event) {
    for (field, value) in event.fields() {
        frame.push_value(names.of_field(*field), value.into());
    }
    for (name, value) in event.extra() {
        frame.push_value(names.find(name), value.into());
    }
}

/// The same without the values that are not wanted.
pub fn fill_wanted_from_event<'a>(frame: &mut Frame<'a>, names: &Names, wanted: &Wanted, event: &'a Event) {
    let fields = event.fields().iter().map(|(field, value)| (names.of_field(*field), value));
    let extra = event.extra().iter().map(|(name, value)| (names.find(name), value));
    for (field, value) in fields.chain(extra).filter(|(field, _)| wanted.wants(*field)) {
        frame.push_value(field, value.into());
    }
}

/// Fills a frame with a flat JSON object: each member is a field, a list its several values. Objects inside of it are
/// no values: whoever reads trees flattens them first.
pub fn fill_from_json<'a>(frame: &mut Frame<'a>, names: &Names, object: &'a Map<String, Json>) {
    for (name, value) in object {
        let field = names.find(name);
        match value {
            Json::Array(list) => list.iter().for_each(|value| push_json(frame, field, value)),
            value => push_json(frame, field, value),
        }
    }
}

fn push_json<'a>(frame: &mut Frame<'a>, field: Option<FieldId>, value: &'a Json) {
    let datum = match value {
        Json::Null => Datum::Null,
        Json::Bool(truth) => Datum::Bool(*truth),
        Json::String(text) => Datum::Text(text.as_bytes()),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Datum::Int(number),
            (None, Some(number)) => Datum::Uint(number),
            (None, None) => Datum::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::Array(_) | Json::Object(_) => return,
    };
    frame.push(field, datum);
}

/// An IPv4 address in IPv6 clothes (`::ffff:10.0.0.1`, what a dual-stack socket reports) in its own.
pub(crate) fn unmapped(text: &[u8]) -> Option<String> {
    if text.len() < 9 || !text[..7].eq_ignore_ascii_case(b"::ffff:") {
        return None;
    }
    let address = std::str::from_utf8(text).ok()?.parse::<Ipv6Addr>().ok()?;
    Some(address.to_ipv4_mapped()?.to_string())
}
