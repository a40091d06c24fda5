//! The fields of an event that correlations need: taken when the event is observed, cut to a bound, and made into group
//! keys when it is applied.

use std::borrow::Cow;
use std::sync::Arc;

use beffroi_schema::{Event, Value};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};

use crate::limits::MAX_GROUP_VALUE_BYTES;

/// What correlations may ask an event.
pub trait FieldSource {
    /// The value of a field as text; none where the field is absent or null. A list is one value.
    fn text(&self, name: &str) -> Option<Cow<'_, str>>;
}

impl FieldSource for Event {
    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        self.get_named(name).map(Value::to_text)
    }
}

impl FieldSource for Map<String, Json> {
    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.get(name)? {
            Json::Null => None,
            Json::String(text) => Some(Cow::Borrowed(text)),
            other => Some(Cow::Owned(other.to_string())),
        }
    }
}

/// Fields by name, those that are there.
pub(crate) type Taken = Vec<(Arc<str>, Box<str>)>;

/// The group of a correlation: its fields and their values.
pub(crate) type Group = Arc<[(Arc<str>, Option<Box<str>>)]>;

/// Takes fields from an event that were not taken yet.
pub(crate) fn take(fields: &dyn FieldSource, names: &[Arc<str>], taken: &mut Taken) {
    for name in names {
        if find(taken, name).is_none()
            && let Some(value) = fields.text(name)
        {
            taken.push((name.clone(), bounded(&value)));
        }
    }
}

/// The value of a field that was taken.
pub(crate) fn find<'a>(taken: &'a Taken, name: &str) -> Option<&'a str> {
    taken.iter().find(|(known, _)| **known == *name).map(|(_, value)| &**value)
}

/// A value within the limit: a longer one is cut and gets its hash, so that different values stay different.
fn bounded(value: &str) -> Box<str> {
    if value.len() <= MAX_GROUP_VALUE_BYTES {
        return value.into();
    }
    let mut end = MAX_GROUP_VALUE_BYTES;
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    let hash = hex::encode(&Sha256::digest(value)[..16]);
    format!("{}... (sha256 {hash})", &value[..end]).into()
}

/// Names a group, or a value, by 128 bits of SHA-256: nobody can make two values look like one.
pub(crate) fn key<'a>(values: impl Iterator<Item = Option<&'a str>>) -> u128 {
    let mut hash = Sha256::new();
    for value in values {
        match value {
            None => hash.update([0]),
            Some(value) => {
                hash.update([1]);
                hash.update((value.len() as u64).to_le_bytes());
                hash.update(value);
            }
        }
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    u128::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_long_value_is_cut_and_stays_different_from_others() {
        let long = "é".repeat(MAX_GROUP_VALUE_BYTES);
        let (one, other) = (bounded(&format!("{long}a")), bounded(&format!("{long}b")));
        assert_ne!(one, other);
        assert!(one.len() < MAX_GROUP_VALUE_BYTES + 64);
        assert_eq!(&*bounded("short"), "short");
    }

    #[test]
    fn absent_and_empty_values_and_moved_borders_are_different_groups() {
        let keys = [
            key([Some("a"), Some("b")].into_iter()),
            key([Some("ab"), Some("")].into_iter()),
            key([Some("ab"), None].into_iter()),
            key([None, Some("ab")].into_iter()),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert_eq!(keys.iter().position(|other| other == key), Some(at));
        }
    }

    #[test]
    fn null_is_absent_and_numbers_are_text() {
        let event = json!({"a": null, "b": 4444, "c": true, "d": "x"});
        let event = event.as_object().unwrap();
        let read = ["a", "b", "c", "d", "e"].map(|name| FieldSource::text(event, name).map(Cow::into_owned));
        assert_eq!(read, [None, Some("4444".into()), Some("true".into()), Some("x".into()), None]);
    }
}
