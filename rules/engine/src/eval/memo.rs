//! What was found in values before. Machines repeat themselves: the same programs, users and folders stand in nearly every
//! event, and a value that is known costs a hash and a comparison instead of folding and scanning.
//!
//! One place for each hash, the newest value stays: memory is bounded, and whoever sends values that push each other out
//! gains nothing but that they are scanned. A value counts as known only when all of its bytes are the same.

use super::hash::hash;

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
    hash: u64,
    scan: u32,
    value: Vec<u8>,
    triggers: Vec<u32>,
}

/// Where to look for one value.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    hash: u64,
    scan: u32,
}

impl Key {
    /// The key of a value in a scan, by what [`mark`] gave for the value. Scans are numbered over all judges from 1.
    pub(crate) fn of(scan: u32, mark: u64) -> Self {
        Self { hash: mark ^ u64::from(scan).wrapping_mul(0x9e37_79b9_7f4a_7c15), scan }
    }

    fn place(self) -> usize {
        (self.hash >> 32) as usize % PLACES
    }
}

/// What a value is known by; none for values that are not kept.
pub(crate) fn mark(value: &[u8]) -> Option<u64> {
    (value.len() <= MAX_VALUE).then(|| hash(value))
}

impl Memo {
    /// The triggers of a value that is known.
    pub(crate) fn find(&self, key: Key, value: &[u8]) -> Option<&[u32]> {
        let known = self.places.get(key.place())?;
        let is_it = known.hash == key.hash && known.scan == key.scan && known.value == value;
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
        (known.hash, known.scan) = (key.hash, key.scan);
        known.value.clear();
        known.value.extend_from_slice(value);
        known.triggers.clear();
        known.triggers.extend_from_slice(triggers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_known_in_the_scan_that_saw_it_and_nowhere_else() {
        let mut memo = Memo::default();
        let key = |scan| Key::of(scan, mark(b"/bin/sh").unwrap());
        assert_eq!(memo.find(key(1), b"/bin/sh"), None);
        memo.keep(key(1), b"/bin/sh", &[7]);
        assert_eq!(memo.find(key(1), b"/bin/sh"), Some(&[7][..]));
        assert_eq!(memo.find(key(2), b"/bin/sh"), None);
        assert_eq!(memo.find(key(1), b"/bin/bh"), None);
        assert!(mark(&[0; MAX_VALUE + 1]).is_none());
    }

    #[test]
    fn a_hundred_thousand_values_take_no_more_memory_than_the_places() {
        let mut memo = Memo::default();
        for number in 0..100_000u32 {
            let value = number.to_le_bytes();
            memo.keep(Key::of(1, mark(&value).unwrap()), &value, &[number]);
        }
        assert_eq!(memo.places.len(), PLACES);
    }
}
