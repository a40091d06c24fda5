//! Which places of a value are worth a look: a table with one byte for each hash of four bytes, asked for every place, or
//! every other or fourth place where all texts are long enough that one of their keys must begin there.
//!
//! The table is of one of four sizes that are known when this is compiled, so that no access needs a check.

use super::gram::{self, GRAM};

/// Bytes of the table for each key, so that few other keys share one.
const BYTES_A_KEY: usize = 24;
/// Places that are looked at together, so that one branch serves them all.
const TOGETHER: usize = 4;

/// Tells places whose four bytes may be one of some keys.
#[derive(Debug, Default)]
pub(crate) enum Filter {
    #[default]
    Empty,
    Small(Box<[u8; 1 << 10]>),
    Middle(Box<[u8; 1 << 13]>),
    Large(Box<[u8; 1 << 16]>),
    Huge(Box<[u8; 1 << 19]>),
}

fn table<const N: usize>(keys: &[u32]) -> Box<[u8; N]> {
    // Made on the heap: a large one does not fit every stack.
    let table: Box<[u8]> = vec![0u8; N].into_boxed_slice();
    let mut table: Box<[u8; N]> = table.try_into().unwrap_or_else(|_| Box::new([0; N]));
    keys.iter().for_each(|key| table[place::<N>(*key)] = 1);
    table
}

#[inline(always)]
fn place<const N: usize>(key: u32) -> usize {
    gram::place(key, N.trailing_zeros())
}

impl Filter {
    /// A filter for these keys.
    pub(crate) fn new(keys: &[u32]) -> Self {
        match keys.len() * BYTES_A_KEY {
            0 => Self::Empty,
            1..=0x400 => Self::Small(table(keys)),
            0x401..=0x2000 => Self::Middle(table(keys)),
            0x2001..=0x1_0000 => Self::Large(table(keys)),
            _ => Self::Huge(table(keys)),
        }
    }

    /// How many bytes lie between two blocks of places that are looked at together.
    #[inline]
    pub(crate) fn block(&self, step: usize) -> usize {
        TOGETHER * step
    }

    /// Tells every `step`-th place, from the first, whose four bytes may be a key.
    #[inline]
    pub(crate) fn each(&self, value: &[u8], step: usize, mut tell: impl FnMut(usize, u32)) {
        let mut at = 0;
        loop {
            at = self.marked(value, step, at, 0);
            // Behind the last block are single places, less than there are in one.
            for _ in 0..TOGETHER {
                let Some(four) = value.get(at..).and_then(|rest| rest.first_chunk::<GRAM>()) else { return };
                let key = u32::from_le_bytes(*four);
                if self.may_be(key) {
                    tell(at, key);
                }
                at += step;
            }
        }
    }

    /// Whether four bytes may be a key.
    #[inline]
    pub(crate) fn may_be(&self, key: u32) -> bool {
        0 != match self {
            Self::Empty => 0,
            Self::Small(table) => table[place::<{ 1 << 10 }>(key)],
            Self::Middle(table) => table[place::<{ 1 << 13 }>(key)],
            Self::Large(table) => table[place::<{ 1 << 16 }>(key)],
            Self::Huge(table) => table[place::<{ 1 << 19 }>(key)],
        }
    }

    /// Where the first block begins, from a place on, in which some place may be a key; or where no block begins any more.
    /// These bits are set in the four bytes, as they are in all keys.
    #[inline(never)]
    pub(crate) fn marked(&self, value: &[u8], step: usize, at: usize, bits: u32) -> usize {
        match self {
            Self::Empty => value.len(),
            Self::Small(table) => walk(table, value, step, at, bits),
            Self::Middle(table) => walk(table, value, step, at, bits),
            Self::Large(table) => walk(table, value, step, at, bits),
            Self::Huge(table) => walk(table, value, step, at, bits),
        }
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Small(table) => table.len(),
            Self::Middle(table) => table.len(),
            Self::Large(table) => table.len(),
            Self::Huge(table) => table.len(),
        }
    }
}

#[inline(always)]
fn walk<const N: usize>(table: &[u8; N], value: &[u8], step: usize, at: usize, bits: u32) -> usize {
    match step {
        8 => walk_by::<N, 8>(table, value, at, bits),
        6 => walk_by::<N, 6>(table, value, at, bits),
        4 => walk_by::<N, 4>(table, value, at, bits),
        2 => walk_by::<N, 2>(table, value, at, bits),
        _ => walk_by::<N, 1>(table, value, at, bits),
    }
}

#[inline(always)]
fn walk_by<const N: usize, const STEP: usize>(table: &[u8; N], value: &[u8], mut at: usize, bits: u32) -> usize {
    let mut rest = value.get(at..).unwrap_or_default();
    while rest.len() >= (TOGETHER - 1) * STEP + GRAM {
        // One load of four bytes; four loads of one are not joined by the compiler.
        let mark = |start: usize| {
            let four = rest[start..].first_chunk::<GRAM>().map_or(0, |four| u32::from_le_bytes(*four));
            table[place::<N>(four | bits)]
        };
        if mark(0) | mark(STEP) | mark(2 * STEP) | mark(3 * STEP) != 0 {
            break;
        }
        at += TOGETHER * STEP;
        rest = rest.get(TOGETHER * STEP..).unwrap_or_default();
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_a_key_is_told_whatever_the_size_and_the_step() {
        for count in [1usize, 40, 300, 3_000, 60_000] {
            let keys: Vec<u32> = (0..count as u32).map(|number| number.wrapping_mul(0x0101_0503) | 1).collect();
            let filter = Filter::new(&keys);
            for (step, length) in [1usize, 2, 4, 6, 8].into_iter().flat_map(|step| (4..40).map(move |length| (step, length))) {
                for at in (0..=length - GRAM).step_by(step) {
                    let mut value = vec![0u8; length];
                    value[at..at + GRAM].copy_from_slice(&keys[count / 2].to_le_bytes());
                    let mut told = Vec::new();
                    filter.each(&value, step, |at, key| told.push((at, key)));
                    assert!(told.contains(&(at, keys[count / 2])), "{count} {step} {length} {at}: {told:?}");
                    assert!(told.iter().all(|(at, _)| at % step == 0));
                }
            }
        }
    }
}
