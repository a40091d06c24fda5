//! Encoders among Sigma's modifiers: what a rule's text looks like inside of encoded data.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// Characters that a Windows command line may have where a rule writes `-` or `/` (specification, modifier `windash`).
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];
/// Spellings of one value: five for each of at most three options; a value with more is spelt one way at a time.
const MAX_SPELLINGS: usize = 125;

/// A unit of sixteen bits, lowest byte first.
pub(crate) fn utf16le(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A unit of sixteen bits, highest byte first.
pub(crate) fn utf16be(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// With the mark of its byte order before it.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    [0xff, 0xfe].into_iter().chain(utf16le(text)).collect()
}

/// The whole value in base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The characters that bytes have for certain inside of longer encoded data, at each of the three places in a group of
/// three bytes; places at which nothing is certain are left out.
pub(crate) fn base64_offsets(bytes: &[u8]) -> Vec<String> {
    let texts = (0..3usize).map(|before| {
        let padded = [&b"\0\0"[..before], bytes].concat();
        let encoded = STANDARD_NO_PAD.encode(&padded);
        // The first characters mix with what stands before, the last one with what follows.
        let start = (before * 4).div_ceil(3);
        let end = padded.len() * 4 / 3;
        encoded[start.min(end)..end].to_string()
    });
    texts.filter(|text| !text.is_empty()).collect()
}

/// Every spelling of a text whose options may begin with another dash. A dash counts as an option's when no word
/// character stands before it and one follows.
pub(crate) fn windash(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    let is_word = |at: usize| characters.get(at).is_some_and(|c| c.is_alphanumeric() || *c == '_');
    let places: Vec<usize> = (0..characters.len())
        .filter(|at| matches!(characters[*at], '-' | '/') && !(*at > 0 && is_word(at - 1)) && is_word(at + 1))
        .collect();
    let mut spellings = vec![characters];
    for place in places {
        if spellings.len() * DASHES.len() > MAX_SPELLINGS {
            break;
        }
        spellings = spellings
            .into_iter()
            .flat_map(|spelling| {
                DASHES.into_iter().map(move |dash| {
                    let mut other = spelling.clone();
                    other[place] = dash;
                    other
                })
            })
            .collect();
    }
    spellings.into_iter().map(String::from_iter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_is_found_behind_every_dash() {
        let spellings = windash(" -enc");
        assert_eq!(spellings.len(), 5);
        assert!(spellings.contains(&" /enc".to_string()) && spellings.contains(&" \u{2015}enc".to_string()));
        assert_eq!(windash("a-b"), ["a-b"]);
    }

    #[test]
    fn a_text_is_found_at_each_place_of_a_longer_one() {
        for before in ["", "x", "xy", "xyz"] {
            let encoded = base64(format!("{before}/bin/sh -c id").as_bytes());
            assert!(base64_offsets(b"/bin/sh").iter().any(|text| encoded.contains(text)), "{before}");
        }
    }

    #[test]
    fn sixteen_bit_units_stand_in_both_orders() {
        assert_eq!(utf16le("ab"), b"a\0b\0");
        assert_eq!(utf16be("ab"), b"\0a\0b");
        assert_eq!(utf16("a"), b"\xff\xfea\0");
    }
}
