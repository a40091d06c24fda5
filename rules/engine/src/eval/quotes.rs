//! Where the strings of a JSON text begin and end: quotes and escapes of 64 bytes are found at once, as bits of a word,
//! and the strings are then read off those bits.
//!
//! The way in which runs of backslashes are told apart follows Langdale and Lemire, "Parsing Gigabytes of JSON per
//! Second" (2019), section 3.1.1.

use beffroi_simd::{BLOCK, marks};

/// Every other bit, from the second.
const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// What stands in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// No escapes.
    Plain,
    /// Escapes of one letter.
    Escaped,
    /// Other escapes, among which may be unknown ones.
    Odd,
}

impl Kind {
    /// By the backslashes and the odd escapes of a string.
    #[inline]
    fn of(slashes: u64, odd: u64) -> Self {
        match (slashes, odd) {
            (0, _) => Self::Plain,
            (_, 0) => Self::Escaped,
            _ => Self::Odd,
        }
    }
}

/// Reads strings off a text, from its beginning to its end.
pub(crate) struct Quotes<'a> {
    text: &'a [u8],
    /// Where the block begins that the bits are of.
    block: usize,
    /// Quotes that begin or end a string and were not read yet.
    quotes: u64,
    slashes: u64,
    /// Bytes that are escaped, and stand for something longer or for nothing.
    odd: u64,
    /// Some block had odd escapes.
    is_odd: bool,
    /// The first byte of the next block is escaped.
    carry: bool,
}

impl<'a> Quotes<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Self {
        let mut quotes = Self { text, block: 0, quotes: 0, slashes: 0, odd: 0, is_odd: false, carry: false };
        quotes.load();
        quotes
    }

    #[inline]
    fn load(&mut self) {
        let [quotes, slashes] = marks(self.text, self.block, [b'"', b'\\']);
        let escaped = self.escaped(slashes);
        self.odd = self.odd_of(escaped & !(quotes | slashes));
        self.is_odd |= self.odd != 0;
        self.quotes = quotes & !escaped;
        self.slashes = slashes;
    }

    /// Those escaped bytes that stand for something longer, or for nothing.
    #[inline]
    fn odd_of(&self, escaped: u64) -> u64 {
        let (mut odd, mut left) = (escaped, escaped);
        while left != 0 {
            let bit = left & left.wrapping_neg();
            if matches!(self.text.get(self.block + left.trailing_zeros() as usize), Some(b'n' | b'r' | b't' | b'b' | b'f' | b'/'))
            {
                odd ^= bit;
            }
            left ^= bit;
        }
        odd
    }

    /// Which bytes of the block a backslash stands before that is none itself.
    #[inline]
    fn escaped(&mut self, slashes: u64) -> u64 {
        let first = u64::from(self.carry);
        if slashes == 0 {
            self.carry = false;
            return first;
        }
        let slashes = slashes & !first;
        let follows = slashes << 1 | first;
        // Runs that begin at an odd place: adding carries through them, which turns the meaning of even and odd around.
        let starts = slashes & ODD & !follows;
        let (sum, carry) = starts.overflowing_add(slashes);
        self.carry = carry;
        (!ODD ^ sum << 1) & follows
    }

    /// Whether what was read has escapes that stand for something longer or for nothing.
    pub(crate) fn is_odd(&self) -> bool {
        self.is_odd
    }

    /// Goes on to the next block; false where there is none.
    #[inline]
    fn advance(&mut self) -> bool {
        if self.block + BLOCK >= self.text.len() {
            return false;
        }
        self.block += BLOCK;
        self.load();
        true
    }

    /// The place of the next quote; it counts as read.
    #[inline]
    fn next(&mut self) -> Option<usize> {
        while self.quotes == 0 {
            if !self.advance() {
                return None;
            }
        }
        let at = self.block + self.quotes.trailing_zeros() as usize;
        self.quotes &= self.quotes - 1;
        Some(at)
    }

    /// Where the string ends whose opening quote stands at this place, and what is in it. None where none begins there or
    /// it does not end.
    #[inline(always)]
    pub(crate) fn string(&mut self, opening: usize) -> Option<(usize, Kind)> {
        let first = self.quotes.trailing_zeros();
        let after = self.quotes & self.quotes.wrapping_sub(1);
        // Most strings end in the block that they begin in.
        if after == 0 || self.block + first as usize != opening {
            return self.long(opening);
        }
        let end = after.trailing_zeros();
        self.quotes = after & (after - 1);
        let inside = (1 << end) - (1 << first);
        Some((self.block + end as usize, Kind::of(self.slashes & inside, self.odd & inside)))
    }

    /// The same for any string.
    fn long(&mut self, opening: usize) -> Option<(usize, Kind)> {
        if self.next() != Some(opening) {
            return None;
        }
        let mut from = u64::MAX << (opening - self.block);
        let (mut slashes, mut odd) = (0, 0);
        while self.quotes == 0 {
            slashes |= self.slashes & from;
            odd |= self.odd & from;
            if !self.advance() {
                return None;
            }
            from = u64::MAX;
        }
        let end = self.quotes.trailing_zeros();
        self.quotes &= self.quotes - 1;
        let inside = from & ((1 << end) - 1);
        Some((self.block + end as usize, Kind::of(slashes | self.slashes & inside, odd | self.odd & inside)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One byte after the other.
    fn by_the_book(text: &[u8], opening: usize) -> Option<(usize, Kind)> {
        let (mut at, mut kind) = (opening + 1, Kind::Plain);
        loop {
            match *text.get(at)? {
                b'"' => return Some((at, kind)),
                b'\\' => {
                    let is_usual = b"\"\\/bfnrt".contains(text.get(at + 1)?);
                    kind = if is_usual && kind != Kind::Odd { Kind::Escaped } else { Kind::Odd };
                    at += 2;
                }
                _ => at += 1,
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn strings_end_where_a_reader_of_single_bytes_ends_them(
            strings in proptest::collection::vec(r#"(a|b|\\\\|\\"|\\n|\\u|[ -!]{0,1}x){0,70}"#, 1..6),
        ) {
            let text = strings.iter().map(|string| format!("\"{string}\"")).collect::<Vec<_>>().join(":");
            let (mut quotes, mut at) = (Quotes::new(text.as_bytes()), 0);
            while text.as_bytes().get(at) == Some(&b'"') {
                let expected = by_the_book(text.as_bytes(), at);
                prop_assert_eq!(quotes.string(at), expected, "{} at {}", text, at);
                let Some((end, _)) = expected else { break };
                at = end + 2;
            }
        }
    }

    #[test]
    fn a_string_that_does_not_end_is_none() {
        for text in ["\"", "\"a\\\"", &format!("\"{}", "x".repeat(200))] {
            assert_eq!(Quotes::new(text.as_bytes()).string(0), None, "{text}");
        }
        assert_eq!(Quotes::new(b"a\"b\"").string(0), None);
    }
}
