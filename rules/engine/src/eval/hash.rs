//! Hashing and look-up of short keys that rules fix once and events only ask for: an event inserts nothing, so nobody
//! can make chains grow by choosing values, and a plain multiplicative hash is enough. Whoever puts in what events bring must
//! bound how much that is.

const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// A word spread over all bits; the upper ones are the better ones.
#[inline]
pub(crate) fn spread(word: u64) -> u64 {
    word.wrapping_mul(MIX)
}

/// A hash and one more word.
#[inline]
pub(crate) fn mix(hash: u64, word: u64) -> u64 {
    spread(hash.rotate_left(29) ^ word)
}

/// A hash of bytes; its upper bits are the better ones. Two words are taken in by one multiplication, whose halves are
/// joined.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut state = bytes.len() as u64;
    let mut take = |one: u64, other: u64| {
        let product = u128::from(state ^ one ^ MIX) * u128::from(other ^ MIX.rotate_left(32));
        state = product as u64 ^ (product >> 64) as u64;
    };
    let (pairs, rest) = bytes.as_chunks::<16>();
    pairs.iter().for_each(|pair| take(word(pair.first_chunk()), word(pair.last_chunk())));
    if bytes.len() >= 8 {
        // What was taken before is taken again where less than two words are left.
        let last = bytes.last_chunk::<16>().map_or(rest, |last| last);
        take(word(last.first_chunk()), word(last.last_chunk()));
    } else if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        take(u32::from_le_bytes(*first).into(), u32::from_le_bytes(*last).into());
    } else {
        take(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)), 0);
    }
    state
}

#[inline(always)]
fn word(bytes: Option<&[u8; 8]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// From a hash to the numbers that were put in under it, at most a few for each; the caller compares what it finds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// Key and number in one word; zero is an empty place. A power of two or none, at most half full.
    places: Vec<u64>,
    full: usize,
}

impl Table {
    /// A table of (hash, number).
    pub(crate) fn new(pairs: &[(u64, u32)]) -> Self {
        let mut table = Self { places: vec![0; (pairs.len() * 2).next_power_of_two().max(2)], full: 0 };
        pairs.iter().for_each(|(hash, number)| table.insert(*hash, *number));
        table
    }

    /// Puts a number under a hash.
    pub(crate) fn insert(&mut self, hash: u64, number: u32) {
        if self.places.len() < (self.full + 1) * 2 {
            self.grow();
        }
        self.put(hash >> 32, number);
    }

    /// Places are chosen by the upper half of the hash, which is what a place keeps, so that a table can grow.
    fn put(&mut self, key: u64, number: u32) {
        let last = self.places.len() - 1;
        let mut at = key as usize & last;
        while self.places[at] != 0 {
            at = (at + 1) & last;
        }
        self.places[at] = key << 32 | u64::from(number + 1);
        self.full += 1;
    }

    fn grow(&mut self) {
        let places = vec![0; (self.places.len() * 2).max(8)];
        let old = std::mem::replace(&mut self.places, places);
        self.full = 0;
        old.iter().filter(|place| **place != 0).for_each(|place| self.put(place >> 32, *place as u32 - 1));
    }

    /// The first number under this hash that is the one.
    #[inline]
    pub(crate) fn find_one(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let last = self.places.len().wrapping_sub(1);
        let mut at = (hash >> 32) as usize;
        loop {
            let place = *self.places.get(at & last)?;
            if place == 0 {
                return None;
            }
            if place >> 32 == hash >> 32 && is_it(place as u32 - 1) {
                return Some(place as u32 - 1);
            }
            at += 1;
        }
    }

    /// The numbers under this hash, and now and then another one.
    #[inline]
    pub(crate) fn find(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let last = self.places.len().wrapping_sub(1);
        let mut at = (hash >> 32) as usize & last;
        std::iter::from_fn(move || {
            loop {
                let place = *self.places.get(at)?;
                if place == 0 {
                    return None;
                }
                at = (at + 1) & last;
                if place >> 32 == hash >> 32 {
                    return Some(place as u32 - 1);
                }
            }
        })
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.places.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_found_under_its_hash() {
        let words: Vec<String> = (0..1_000).map(|number| format!("{number}-{}", "x".repeat(number % 20))).collect();
        let pairs: Vec<(u64, u32)> = words.iter().zip(0..).map(|(word, number)| (hash(word.as_bytes()), number)).collect();
        let table = Table::new(&pairs);
        for (word, number) in words.iter().zip(0..) {
            assert!(table.find(hash(word.as_bytes())).any(|found| found == number), "{word}");
        }
        assert_eq!(table.find(hash(b"not there")).count(), 0);
        assert_eq!(Table::default().find(hash(b"")).count(), 0);
    }

    #[test]
    fn texts_that_differ_in_one_byte_have_other_hashes() {
        for length in 1..40 {
            let text = vec![b'a'; length];
            for at in 0..length {
                let mut other = text.clone();
                other[at] = b'b';
                assert_ne!(hash(&text), hash(&other), "{length} {at}");
            }
        }
    }
}
