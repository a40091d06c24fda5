//! Where the strings of a JSON text end: quotes and backslashes are looked for sixteen bytes at a time; from the first
//! backslash on they are found for 64 bytes at once, as bits of a word.
//!
//! The way in which runs of backslashes are told apart follows Langdale and Lemire, "Parsing Gigabytes of JSON per
//! Second" (2019), section 3.1.1.

use beffroi_simd::{self as simd, BLOCK, WIDTH, marks};

/// Every other bit, from the second.
const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// What stands in a string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No escapes.
    Plain,
    /// Escapes of one letter.
    Escaped,
    /// Other escapes, among which may be unknown ones.
    Odd,
}

/// Where the string ends whose opening quote stands at this place, and what is in it. None where it does not end.
#[inline(always)]
pub(crate) fn string(text: &[u8], opening: usize) -> Option<(usize, Kind)> {
    let mut at = opening + 1;
    while at < text.len() {
        let found = simd::at(text, at).either([b'"', b'\\']);
        if found != 0 {
            let first = at + found.trailing_zeros() as usize;
            return if text.get(first) == Some(&b'"') { Some((first, Kind::Plain)) } else { with_escapes(text, first) };
        }
        at += WIDTH;
    }
    None
}

/// The same for a string whose first backslash stands at this place.
fn with_escapes(text: &[u8], first: usize) -> Option<(usize, Kind)> {
    let (mut block, mut carry, mut odd) = (first, false, false);
    while block < text.len() {
        let [quotes, slashes] = marks(text, block, [b'"', b'\\']);
        let escaped = escaped(slashes, &mut carry);
        let ends = quotes & !escaped;
        // Bits before the first one.
        let inside = ends.wrapping_sub(1) & !ends;
        let others = escaped & !(quotes | slashes) & inside;
        odd = odd || others != 0 && has_odd(text, block, others);
        if ends != 0 {
            return Some((block + ends.trailing_zeros() as usize, if odd { Kind::Odd } else { Kind::Escaped }));
        }
        block += BLOCK;
    }
    None
}

/// Whether one of these escaped bytes stands for something longer, or for nothing.
fn has_odd(text: &[u8], block: usize, mut escaped: u64) -> bool {
    while escaped != 0 {
        if !matches!(text.get(block + escaped.trailing_zeros() as usize), Some(b'n' | b'r' | b't' | b'b' | b'f' | b'/')) {
            return true;
        }
        escaped &= escaped - 1;
    }
    false
}

/// Which bytes of a block a backslash stands before that is none itself; `carry` tells it of the first byte.
#[inline]
fn escaped(slashes: u64, carry: &mut bool) -> u64 {
    let first = u64::from(*carry);
    if slashes == 0 {
        *carry = false;
        return first;
    }
    let slashes = slashes & !first;
    let follows = slashes << 1 | first;
    // Runs that begin at an odd place: adding carries through them, which turns the meaning of even and odd around.
    let starts = slashes & ODD & !follows;
    let sum;
    (sum, *carry) = starts.overflowing_add(slashes);
    (!ODD ^ sum << 1) & follows
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
            let mut at = 0;
            while text.as_bytes().get(at) == Some(&b'"') {
                let expected = by_the_book(text.as_bytes(), at);
                prop_assert_eq!(string(text.as_bytes(), at), expected, "{} at {}", text, at);
                let Some((end, _)) = expected else { break };
                at = end + 2;
            }
        }
    }

    #[test]
    fn a_string_that_does_not_end_is_none() {
        for text in ["\"", "\"a\\\"", &format!("\"{}", "x".repeat(200))] {
            assert_eq!(string(text.as_bytes(), 0), None, "{text}");
        }
    }
}
