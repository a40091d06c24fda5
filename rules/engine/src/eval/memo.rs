//! What was found in values before. Machines repeat themselves: the same programs, users and folders stand in nearly every
//! event, and a value that is known costs a hash and a comparison instead of folding and scanning.
//!
//! One place for each hash, the newest value stays: memory is bounded, and whoever sends values that push each other out
//! gains nothing but that they are scanned. A value counts as known only when all of its bytes are the same.

use super::hash::hash;
use super::numbered::Numbered;

/// Places, each of one value in one scan.
const PLACES: usize = 4_096;
/// The longest value that is kept: longer ones seldom come twice.
const MAX_VALUE: usize = 512;
/// Triggers that are kept of one value; one with more is scanned each time.
const MAX_TRIGGERS: usize = 32;

/// What is known of values.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    places: Vec<Known>,
}

#[derive(Debug, Clone, Default)]
struct Known {
    key: Key,
    value: Vec<u8>,
    triggers: Vec<u32>,
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
        ((self.hash ^ scans.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 32) as usize % PLACES
    }
}

impl Memo {
    /// The triggers of a value that is known.
    pub(crate) fn find(&self, key: Key, value: &[u8]) -> Option<&[u32]> {
        let known = self.places.get(key.place())?;
        let is_it = known.key == key && known.value == value;
        is_it.then_some(known.triggers.as_slice())
    }

    /// Keeps what was found.
    pub(crate) fn keep(&mut self, key: Key, value: &[u8], triggers: &[u32]) {
        if triggers.len() > MAX_TRIGGERS {
            return;
        }
        if self.places.is_empty() {
            self.places.resize(PLACES, Known::default());
        }
        let known = &mut self.places[key.place()];
        known.key = key;
        known.value.clear();
        known.value.extend_from_slice(value);
        known.triggers.clear();
        known.triggers.extend_from_slice(triggers);
    }
}

/// Scans whose finds in the strings of a batch are kept: one for each field that rules look at, and a few for keywords.
const MAX_ROWS: usize = 256;
/// Finds that are kept of one batch: its strings have one in a hundred values or so; strings made of nothing but finds are
/// searched each time.
const MAX_KEPT: usize = 1 << 20;

/// What scans found in the strings of the batch in hand.
#[derive(Debug, Default)]
pub(crate) struct Dictionary {
    rows: Vec<Numbered<(u32, u32)>>,
    /// By hash of the scans: their numbers, and their place in `rows`.
    slots: Vec<((u32, u32), u32)>,
    /// What was found, one string after the other.
    triggers: Vec<u32>,
}

impl Dictionary {
    /// Forgets all, for the next batch.
    pub(crate) fn begin(&mut self) {
        self.rows.iter_mut().for_each(Numbered::begin);
        self.triggers.clear();
    }

    /// Where finds of these scans are kept; none when there are too many scans.
    #[inline]
    pub(crate) fn row(&mut self, scans: (u32, u32)) -> Option<usize> {
        self.slots.resize(2 * MAX_ROWS, ((0, 0), 0));
        let mut slot = (scans.0.wrapping_mul(31) ^ scans.1) as usize % (2 * MAX_ROWS);
        loop {
            let (known, row) = self.slots[slot];
            if known == scans {
                return Some(row as usize);
            }
            if known == (0, 0) {
                return self.new_row(scans, slot);
            }
            slot = (slot + 1) % (2 * MAX_ROWS);
        }
    }

    #[cold]
    fn new_row(&mut self, scans: (u32, u32), slot: usize) -> Option<usize> {
        if self.rows.len() == MAX_ROWS {
            return None;
        }
        self.slots[slot] = (scans, self.rows.len() as u32);
        self.rows.push(Numbered::default());
        Some(self.rows.len() - 1)
    }

    /// What is found in a string, if that is known.
    #[inline]
    pub(crate) fn find(&self, row: usize, string: u32) -> Option<&[u32]> {
        let (first, end) = self.rows[row].get(string)?;
        self.triggers.get(first as usize..end as usize)
    }

    /// Keeps what was found.
    pub(crate) fn keep(&mut self, row: usize, string: u32, triggers: &[u32]) {
        let first = self.triggers.len() as u32;
        if self.triggers.len() + triggers.len() > MAX_KEPT {
            return;
        }
        self.triggers.extend_from_slice(triggers);
        self.rows[row].put(string, (first, self.triggers.len() as u32));
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
                let row = dictionary.row(scans).unwrap();
                assert_eq!(dictionary.find(row, 4), None, "{batch} {scans:?}");
                dictionary.keep(row, 4, &[scans.0, scans.1, batch]);
                assert_eq!(dictionary.find(row, 4), Some(&[scans.0, scans.1, batch][..]));
            }
        }
        assert!((10..MAX_ROWS as u32 + 6).all(|scan| dictionary.row((scan, 9)).is_some()));
        assert_eq!(dictionary.row((9_999, 9)), None);
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
    fn a_hundred_thousand_values_take_no_more_memory_than_the_places() {
        let mut memo = Memo::default();
        for number in 0..100_000u32 {
            let value = number.to_le_bytes();
            memo.keep(Key::of((1, 0), &value, Kind::Text).unwrap(), &value, &[number]);
        }
        assert_eq!(memo.places.len(), PLACES);
    }
}
