//! What was found in values before. Machines repeat themselves: the same programs, users and folders stand in nearly every
//! event, and a value that is known costs a hash and a comparison instead of folding and scanning.
//!
//! One place for each hash, the newest value stays, and when there are too many bytes all are forgotten: memory is bounded,
//! and whoever sends values that push each other out gains nothing but that they are scanned. A value counts as known only when all of its bytes are the same.

use std::ops::Range;

use super::hash::{hash, spread};
use super::program::AtomId;
use super::stamped::{Kept, Span, Stamped};

/// Places, each of one value in one scan.
const PLACES: usize = 4_096;
/// The longest value that is kept: longer ones seldom come twice.
const MAX_VALUE: usize = 512;
/// Triggers that are kept of one value; one with more is scanned each time.
const MAX_TRIGGERS: usize = 32;
/// Bytes of values that are kept, of usual ones several times as many as there are places. Then all are forgotten.
const MAX_BYTES: usize = 1 << 20;
/// The same for triggers.
const MAX_KEPT_TRIGGERS: usize = 1 << 18;
/// Room from the beginning, for what comes in the first seconds.
const USUAL_BYTES: usize = 1 << 16;
const USUAL_TRIGGERS: usize = 1 << 13;

/// What is known of values.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    places: Vec<Known>,
    /// Values, one behind the other; those that were pushed out of their places lie there until all are forgotten.
    values: Vec<u8>,
    /// Their triggers.
    triggers: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    key: Key,
    value: Range<u32>,
    triggers: Range<u32>,
}

/// What a value is known by, and what was looked for in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Key {
    hash: u64,
    /// Numbers of the scans, from 1; zero is none.
    scans: (u32, u32),
    kind: Kind,
}

/// What the bytes of a value are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    #[default]
    Text,
    Escaped,
    Number,
}

impl Key {
    /// The key of a value that these scans look at; none for values that are not kept.
    #[inline]
    pub(crate) fn of(scans: (u32, u32), value: &[u8], kind: Kind) -> Option<Self> {
        (value.len() <= MAX_VALUE).then(|| Self { hash: hash(value), scans, kind })
    }

    fn place(self) -> usize {
        let scans = u64::from(self.scans.0) << 32 | u64::from(self.scans.1);
        ((self.hash ^ spread(scans)) >> 32) as usize % PLACES
    }
}

impl Memo {
    /// The triggers of a value that is known.
    pub(crate) fn find(&self, key: Key, value: &[u8]) -> Option<&[u32]> {
        let known = self.places.get(key.place()).filter(|known| known.key == key)?;
        let is_it = self.values.get(places(&known.value)) == Some(value);
        if is_it { self.triggers.get(places(&known.triggers)) } else { None }
    }

    /// Keeps what was found.
    pub(crate) fn keep(&mut self, key: Key, value: &[u8], triggers: &[u32]) {
        if triggers.len() > MAX_TRIGGERS {
            return;
        }
        if self.places.is_empty() || self.values.len() > MAX_BYTES || self.triggers.len() > MAX_KEPT_TRIGGERS {
            self.begin();
        }
        let value = keep(&mut self.values, value);
        let triggers = keep(&mut self.triggers, triggers);
        self.places[key.place()] = Known { key, value, triggers };
    }

    /// Forgets all.
    fn begin(&mut self) {
        self.places.clear();
        self.places.resize(PLACES, Known::default());
        self.values.clear();
        self.values.reserve(USUAL_BYTES);
        self.triggers.clear();
        self.triggers.reserve(USUAL_TRIGGERS);
    }
}

fn places(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

/// Appends items; where they are. Limits of what is kept are far below what a word counts to.
fn keep<T: Copy>(all: &mut Vec<T>, items: &[T]) -> Range<u32> {
    let start = all.len() as u32;
    all.extend_from_slice(items);
    start..all.len() as u32
}

/// Places of [`Dictionary`] and of [`Held`], as a power of two.
const PLACES_BITS: u32 = 12;

/// What scans found in the strings of the batch in hand.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    /// By the numbers of the scans and of the string.
    known: Stamped<[u32; 3], Span, PLACES_BITS>,
    triggers: Kept<u32>,
}

impl Dictionary {
    /// Forgets all, for the next batch.
    pub(crate) fn begin(&mut self) {
        self.known.begin();
        self.triggers.begin();
    }

    #[inline]
    fn hash(scans: (u32, u32), string: u32) -> u64 {
        let scans = u64::from(scans.0) << 32 | u64::from(scans.1);
        spread(spread(scans) ^ u64::from(string))
    }

    /// What is found in a string, if that is known.
    #[inline]
    pub(crate) fn find(&self, scans: (u32, u32), string: u32) -> Option<&[u32]> {
        let span = self.known.get(Self::hash(scans, string), [scans.0, scans.1, string])?;
        Some(self.triggers.get(span))
    }

    /// Keeps what was found. Strings made of nothing but finds are searched each time.
    pub(crate) fn keep(&mut self, scans: (u32, u32), string: u32, triggers: &[u32]) {
        let Some(span) = self.triggers.put(triggers) else { return };
        self.known.put(Self::hash(scans, string), [scans.0, scans.1, string], span);
    }
}

/// Which atoms hold of which strings of the batch in hand.
#[derive(Debug, Default)]
pub(crate) struct Held(Stamped<[u32; 2], bool, PLACES_BITS>);

impl Held {
    /// Forgets all, for the next batch.
    pub(crate) fn begin(&mut self) {
        self.0.begin();
    }

    #[inline]
    fn hash(atom: AtomId, string: u32) -> u64 {
        spread(u64::from(atom.0) << 32 | u64::from(string))
    }

    /// Whether an atom holds of a string, if that is known.
    #[inline]
    pub(crate) fn get(&self, atom: AtomId, string: u32) -> Option<bool> {
        self.0.get(Self::hash(atom, string), [atom.0, string])
    }

    /// Remembers it.
    #[inline]
    pub(crate) fn put(&mut self, atom: AtomId, string: u32, held: bool) {
        self.0.put(Self::hash(atom, string), [atom.0, string], held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_scans_found_in_a_string_is_known_to_them_alone_and_in_its_batch() {
        let mut dictionary = Dictionary::default();
        for batch in 0..3 {
            dictionary.begin();
            for scans in [(1, 0), (0, 1), (5, 3), (513, 0)] {
                assert_eq!(dictionary.find(scans, 4), None, "{batch} {scans:?}");
                dictionary.keep(scans, 4, &[scans.0, scans.1, batch]);
                assert_eq!(dictionary.find(scans, 4), Some(&[scans.0, scans.1, batch][..]));
                assert_eq!(dictionary.find(scans, 5), None);
            }
        }
    }

    #[test]
    fn whether_an_atom_holds_is_known_of_its_string_alone_and_in_its_batch() {
        let mut held = Held::default();
        for batch in 0..3 {
            held.begin();
            for (atom, string) in [(0, 0), (0, 1), (1, 0), (7, 7)] {
                assert_eq!(held.get(AtomId(atom), string), None, "{batch}");
                held.put(AtomId(atom), string, batch == 1);
                assert_eq!(held.get(AtomId(atom), string), Some(batch == 1));
            }
        }
    }

    #[test]
    fn a_value_is_known_in_the_scan_that_saw_it_and_nowhere_else() {
        let mut memo = Memo::default();
        let key = |scan| Key::of((scan, 0), b"/bin/sh", Kind::Text).unwrap();
        assert_eq!(memo.find(key(1), b"/bin/sh"), None);
        memo.keep(key(1), b"/bin/sh", &[7]);
        assert_eq!(memo.find(key(1), b"/bin/sh"), Some(&[7][..]));
        assert_eq!(memo.find(key(2), b"/bin/sh"), None);
        assert_eq!(memo.find(key(1), b"/bin/bh"), None);
        assert_eq!(memo.find(Key::of((1, 0), b"/bin/sh", Kind::Escaped).unwrap(), b"/bin/sh"), None);
        assert_eq!(Key::of((1, 0), &[0; MAX_VALUE + 1], Kind::Text), None);
    }

    #[test]
    fn a_hundred_thousand_values_take_no_more_memory_than_the_limits_and_the_last_is_known() {
        let mut memo = Memo::default();
        for number in 0..100_000u32 {
            let value = [b'x'; MAX_VALUE];
            let mut value: Vec<u8> = value[..number as usize % MAX_VALUE].to_vec();
            value.extend_from_slice(&number.to_le_bytes());
            let Some(key) = Key::of((1, 0), &value, Kind::Text) else { continue };
            let triggers = vec![number; number as usize % MAX_TRIGGERS];
            memo.keep(key, &value, &triggers);
            assert_eq!(memo.find(key, &value), Some(&triggers[..]));
            assert!(memo.values.len() <= MAX_BYTES + MAX_VALUE && memo.triggers.len() <= MAX_KEPT_TRIGGERS + MAX_TRIGGERS);
        }
        assert_eq!(memo.places.len(), PLACES);
    }
}
