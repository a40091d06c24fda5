//! Events that wait for the watermark, in the order in which they will be applied.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fields::{FieldSource, Taken, take};
use super::shape::{Shape, Source};

/// Bytes of a held event beyond its fields.
const HELD_BYTES: usize = 160;

/// What correlations need of one event.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Rules that it matches, sorted.
    pub rules: Vec<Source>,
    pub fields: Taken,
}

impl Held {
    fn bytes(&self) -> usize {
        let fields: usize = self.fields.iter().map(|(_, value)| 40 + value.len()).sum();
        HELD_BYTES + self.rules.len() * size_of::<Source>() + fields
    }
}

/// Where an event stands among all: its time, itself, its scope.
pub(crate) type Place<R> = (i64, R, Arc<str>);

/// Held events by time, then by event.
#[derive(Debug)]
pub(crate) struct Buffer<R> {
    held: BTreeMap<Place<R>, Held>,
    bytes: usize,
}

impl<R> Default for Buffer<R> {
    fn default() -> Self {
        Self { held: BTreeMap::new(), bytes: 0 }
    }
}

impl<R: Ord> Buffer<R> {
    /// Adds rules that an event matches. What is known of the same event already is kept: it may be judged more than once.
    pub(crate) fn push(&mut self, key: Place<R>, shape: &Shape, rules: impl Iterator<Item = Source>, fields: &dyn FieldSource) {
        let held = self.held.entry(key).or_default();
        let before = if held.rules.is_empty() { 0 } else { held.bytes() };
        for rule in rules {
            if let Err(at) = held.rules.binary_search(&rule) {
                held.rules.insert(at, rule);
                take(fields, shape.needed(rule), &mut held.fields);
            }
        }
        self.bytes = self.bytes - before + held.bytes();
    }

    /// Gives rules their new numbers, by the old ones. Events that match none any more are let go.
    pub(crate) fn rename(&mut self, numbers: &[Option<Source>]) {
        let mut bytes = 0;
        self.held.retain(|_, held| {
            held.rules = held.rules.iter().filter_map(|rule| numbers[*rule]).collect();
            held.rules.sort_unstable();
            bytes += if held.rules.is_empty() { 0 } else { held.bytes() };
            !held.rules.is_empty()
        });
        self.bytes = bytes;
    }

    pub(crate) fn put(&mut self, key: Place<R>, held: Held) {
        self.bytes += held.bytes();
        if let Some(replaced) = self.held.insert(key, held) {
            self.bytes -= replaced.bytes();
        }
    }

    /// Takes the first event, if its time is not after `until`.
    pub(crate) fn pop(&mut self, until: i64) -> Option<(Place<R>, Held)> {
        let first = self.held.first_entry().filter(|first| first.key().0 <= until)?;
        let (key, held) = first.remove_entry();
        self.bytes -= held.bytes();
        Some((key, held))
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn first_time(&self) -> Option<i64> {
        self.held.first_key_value().map(|((time, ..), _)| *time)
    }

    pub(crate) fn last_time(&self) -> Option<i64> {
        self.held.last_key_value().map(|((time, ..), _)| *time)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Place<R>, &Held)> {
        self.held.iter()
    }
}
