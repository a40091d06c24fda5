//! An event as the evaluator sees it: borrowed values by field number. Made once for each event, judged by every rule.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use beffroi_schema::batch::{TextRef, ValueRef};
use serde_json::Value as Json;

use super::escape::unescaped;
use super::names::{FieldId, Names};
use super::recall::Recall;

/// One value of an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Datum<'a> {
    /// The field is there and says nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed number.
    Int(i64),
    /// An unsigned number.
    Uint(u64),
    /// A number with a fraction.
    Float(f64),
    /// Bytes, usually UTF-8.
    Text(&'a [u8]),
    /// The same as they stand between the quotes of a JSON text, with escapes.
    Escaped(&'a [u8]),
}

impl<'a> Datum<'a> {
    /// The value as text: numbers in decimal, bad UTF-8 replaced, null as nothing.
    pub fn text(self) -> Cow<'a, str> {
        match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(true) => Cow::Borrowed("true"),
            Self::Bool(false) => Cow::Borrowed("false"),
            Self::Int(number) => Cow::Owned(number.to_string()),
            Self::Uint(number) => Cow::Owned(number.to_string()),
            Self::Float(number) => Cow::Owned(number.to_string()),
            // The lossy reader takes several instructions a byte; nearly all values are good.
            Self::Text(bytes) => std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed),
            Self::Escaped(bytes) => Cow::Owned(owned(unescaped(bytes).unwrap_or_else(|| bytes.to_vec()))),
        }
    }

    /// Whether it is text, escaped or not.
    pub fn is_text(self) -> bool {
        matches!(self, Self::Text(_) | Self::Escaped(_))
    }

    /// The value as JSON, for alerts.
    pub fn to_json(self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(truth) => truth.into(),
            Self::Int(number) => number.into(),
            Self::Uint(number) => number.into(),
            Self::Float(number) => number.into(),
            Self::Text(_) | Self::Escaped(_) => self.text().into(),
        }
    }
}

fn owned(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// No field.
const NOBODY: u32 = u32::MAX;
/// Frames that were made, so that each fill of each frame has a number of its own.
static FRAMES: AtomicU64 = AtomicU64::new(1);
/// Fills of one frame before it takes a new number.
const FILLS: u64 = 1 << 24;

/// What is known of a value besides itself.
#[derive(Debug, Clone, Copy)]
struct Label {
    /// The field that it is found by, or [`NOBODY`].
    owner: u32,
    /// Which string of its batch it is, or [`NOBODY`].
    string: u32,
}

/// The values of one event. Values of one field stand together, so they are pushed one after the other.
#[derive(Debug, Default)]
pub struct Frame<'a> {
    /// First value and number of values of each field; none when the field is absent.
    slots: Vec<(u32, u32)>,
    values: Vec<Datum<'a>>,
    /// By value: who has it.
    labels: Vec<Label>,
    /// Which fill of which frame this is; zero before the first.
    stamp: u64,
    no_keywords: bool,
    /// What is remembered of texts that were read into it.
    pub(crate) recall: Option<Box<Recall>>,
}

impl<'a> Frame<'a> {
    /// An empty frame for events judged by rules that know these names.
    pub fn new(names: &Names) -> Self {
        Self { slots: vec![(0, 0); names.len()], stamp: next_stamp(0), ..Self::default() }
    }

    /// Adds the only value of a field, or the next one of a list. A field without number is kept for searches that name
    /// no field. A field that is named twice with others between keeps its first values.
    pub fn push(&mut self, field: Option<FieldId>, datum: Datum<'a>) {
        self.push_numbered(field, datum, NOBODY);
    }

    /// The same for a value of an event of ours; a list becomes one value for each of its texts.
    #[inline]
    pub(crate) fn push_value(&mut self, field: Option<FieldId>, value: ValueRef<'a>) {
        match value {
            ValueRef::Text(text) => self.push_text(field, text),
            ValueRef::Uint(number) => self.push(field, Datum::Uint(number)),
            ValueRef::Int(number) => self.push(field, Datum::Int(number)),
            ValueRef::Bool(truth) => self.push(field, Datum::Bool(truth)),
            ValueRef::List(list) => list.texts().for_each(|text| self.push_text(field, text)),
        }
    }

    fn push_text(&mut self, field: Option<FieldId>, text: TextRef<'a>) {
        self.push_numbered(field, Datum::Text(text.bytes), text.number.unwrap_or(NOBODY));
    }

    #[inline]
    fn push_numbered(&mut self, field: Option<FieldId>, datum: Datum<'a>, number: u32) {
        let at = self.values.len() as u32;
        let mut owner = NOBODY;
        if let Some(field) = field {
            let Some(slot) = self.slots.get_mut(field.index()) else { return };
            if slot.1 == 0 {
                *slot = (at, 1);
                owner = field.0;
            } else if slot.0 + slot.1 == at {
                slot.1 += 1;
                owner = field.0;
            }
        }
        self.values.push(datum);
        self.labels.push(Label { owner, string: number });
    }

    /// Adds the only value of a field; where it has one already, a value that only searches find that name no field.
    #[inline]
    pub(crate) fn push_first(&mut self, field: Option<FieldId>, datum: Datum<'a>) {
        let mut owner = NOBODY;
        if let Some(field) = field {
            let Some(slot) = self.slots.get_mut(field.index()) else { return };
            if slot.1 == 0 {
                *slot = (self.values.len() as u32, 1);
                owner = field.0;
            }
        }
        self.values.push(datum);
        self.labels.push(Label { owner, string: NOBODY });
    }

    /// The values of a field; empty when it is absent.
    pub fn values(&self, field: FieldId) -> &[Datum<'a>] {
        &self.values[self.places(field)]
    }

    /// Where the values of a field stand.
    pub(crate) fn places(&self, field: FieldId) -> Range<usize> {
        let (first, count) = self.slots.get(field.index()).copied().unwrap_or((0, 0));
        first as usize..(first + count) as usize
    }

    /// The field by which the value at a place is found.
    pub(crate) fn owner(&self, place: usize) -> Option<FieldId> {
        self.labels.get(place).filter(|label| label.owner != NOBODY).map(|label| FieldId(label.owner))
    }

    /// Which string of the batch in hand the value at a place is.
    #[inline]
    pub(crate) fn number(&self, place: usize) -> Option<u32> {
        self.labels.get(place).map(|label| label.string).filter(|string| *string != NOBODY)
    }

    /// The value at a place.
    pub(crate) fn at(&self, place: usize) -> Datum<'a> {
        self.values.get(place).copied().unwrap_or(Datum::Null)
    }

    /// How many values there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// The number of this fill; no other frame and no other fill has it.
    pub(crate) fn stamp(&self) -> u64 {
        self.stamp
    }

    /// Whether the field is there.
    pub fn has(&self, field: FieldId) -> bool {
        self.slots.get(field.index()).is_some_and(|slot| slot.1 > 0)
    }

    /// Remembers whether it is known that no keyword stands in the event: searches that name no field find nothing.
    pub(crate) fn has_no_keywords(&mut self, is_known: bool) {
        self.no_keywords = is_known;
    }

    /// Whether it is known that searches that name no field find nothing.
    pub(crate) fn is_without_keywords(&self) -> bool {
        self.no_keywords
    }

    /// Empties it for the same event.
    pub(crate) fn clear(&mut self) {
        *self = std::mem::take(self).recycle();
    }

    /// Every text of the event, for searches that name no field.
    pub fn texts(&self) -> impl Iterator<Item = Datum<'a>> + '_ {
        self.values.iter().copied().filter(|datum| datum.is_text())
    }

    /// Empties it for the next event of rules that know these names; memory is kept.
    pub fn recycle_for<'b>(self, names: &Names) -> Frame<'b> {
        let mut frame = self.recycle();
        frame.slots.resize(names.len(), (0, 0));
        frame
    }

    /// Empties it for the next event, which may live elsewhere; memory is kept.
    pub fn recycle<'b>(mut self) -> Frame<'b> {
        for label in &self.labels {
            if let Some(slot) = self.slots.get_mut(label.owner as usize) {
                *slot = (0, 0);
            }
        }
        self.labels.clear();
        let Self { slots, values, labels, stamp, recall, .. } = self;
        Frame { slots, values: reuse(values), labels, stamp: next_stamp(stamp), no_keywords: false, recall }
    }
}

fn next_stamp(stamp: u64) -> u64 {
    if stamp == 0 || stamp % FILLS == FILLS - 1 { FRAMES.fetch_add(1, Ordering::Relaxed) * FILLS } else { stamp + 1 }
}

/// The same memory for values of another life; collecting an emptied vector of the same layout allocates nothing.
fn reuse<'b>(mut values: Vec<Datum<'_>>) -> Vec<Datum<'b>> {
    values.clear();
    values.into_iter().map(|_| Datum::Null).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_by_field_and_a_recycled_frame_is_empty() {
        let mut names = Names::default();
        let (a, b) = (names.intern("a"), names.intern("b"));
        let mut frame = Frame::new(&names);
        frame.push(Some(a), Datum::Text(b"x"));
        frame.push(Some(a), Datum::Text(b"y"));
        frame.push(Some(b), Datum::Int(7));
        frame.push(None, Datum::Text(b"elsewhere"));
        assert_eq!(frame.values(a), [Datum::Text(b"x"), Datum::Text(b"y")]);
        assert_eq!(frame.values(b), [Datum::Int(7)]);
        assert_eq!(frame.texts().count(), 3);
        let frame: Frame<'_> = frame.recycle();
        assert!(frame.values(a).is_empty() && frame.values(b).is_empty());
        assert_eq!(frame.texts().count(), 0);
    }

    #[test]
    fn a_recycled_frame_keeps_its_memory() {
        let mut names = Names::default();
        let a = names.intern("a");
        let mut frame = Frame::new(&names);
        (0..100).for_each(|_| frame.push(Some(a), Datum::Null));
        let before = frame.values.capacity();
        assert_eq!(frame.recycle().values.capacity(), before);
    }
}
