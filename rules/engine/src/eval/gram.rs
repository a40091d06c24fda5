//! Grams: the few bytes of a text by which it is looked for, and how rare they are.

use super::hash::spread;

/// Bytes of a key: long enough to be rare, short enough that nearly every text of a rule has one.
pub(crate) const GRAM: usize = 4;
/// Four bytes that no more texts of rules have are rare in values as well.
const RARE: u16 = 16;

/// The first `N` bytes, two or four, as a number.
#[inline]
pub(crate) fn gram<const N: usize>(window: &[u8]) -> u32 {
    match (window.first_chunk::<4>(), window.first_chunk::<2>()) {
        (Some(bytes), _) if N == 4 => u32::from_le_bytes(*bytes),
        (_, Some(bytes)) => u32::from(u16::from_le_bytes(*bytes)),
        _ => 0,
    }
}

/// What a gram is found by in a [`super::Table`].
#[inline]
pub(crate) fn key(gram: u32) -> u64 {
    spread(gram.into())
}

/// The place of a gram among so many powers of two.
#[inline(always)]
pub(crate) fn place(gram: u32, bits: u32) -> usize {
    (gram.wrapping_mul(0x9e37_79b1) >> (32 - bits)) as usize
}

/// Which gram of a text is the rarest among every `step`-th from `first`, by how common each is.
pub(crate) fn rarest(common: impl Iterator<Item = u16>, first: usize, step: usize) -> Option<usize> {
    let places = common.enumerate().skip(first).step_by(step);
    places.min_by_key(|(_, count)| *count).map(|(at, _)| at)
}

/// How often four bytes stand in the texts of all rules, roughly: what many rules name is common in events as well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rarity {
    counts: Vec<u16>,
}

impl Rarity {
    const BITS: u32 = 16;

    /// Counts what stands in these texts.
    pub(crate) fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let mut counts = vec![0u16; 1 << Self::BITS];
        for text in texts {
            for window in text.as_bytes().windows(GRAM) {
                let count = &mut counts[Self::place(window)];
                *count = count.saturating_add(1);
            }
        }
        Self { counts }
    }

    fn place(window: &[u8]) -> usize {
        place(gram::<GRAM>(window), Self::BITS)
    }

    /// How often these four bytes stand there.
    pub(crate) fn count(&self, window: &[u8]) -> u16 {
        self.counts.get(Self::place(window)).copied().unwrap_or(0)
    }

    /// Whether a text that is looked for in steps is rarely met by what it is looked for by.
    pub(super) fn is_rare(&self, text: &str, step: usize) -> bool {
        (0..step)
            .all(|first| self.rarest(text, first, step).is_some_and(|at| self.count(&text.as_bytes()[at..at + GRAM]) <= RARE))
    }

    /// Where the four bytes of a text stand that are the rarest in rules, among every `step`-th place from `first`.
    pub(super) fn rarest(&self, text: &str, first: usize, step: usize) -> Option<usize> {
        rarest(text.as_bytes().windows(GRAM).map(|window| self.count(window)), first, step)
    }
}
