//! Text in the form in which case does not matter, made sixteen bytes at a time; escapes of JSON are undone on the way.

use std::borrow::Cow;

use beffroi_simd::{self as simd, WIDTH};

use super::escape::{escape, unescaped};
use super::pattern::fold;

/// The one letter whose lower case depends on what stands beside it.
const SIGMA: char = '\u{3a3}';

/// Appends a text in lower case, bad UTF-8 replaced, as [`fold`] makes it. True when all of it is ASCII.
pub(crate) fn push_folded(text: &[u8], is_escaped: bool, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    if !is_escaped {
        if push_ascii(text, out) {
            return true;
        }
        out.truncate(start);
    }
    // What is written is at no place longer than what was read; a chunk may reach beyond.
    out.resize(start + text.len() + WIDTH, 0);
    match write_folded(text, is_escaped, &mut out[start..]) {
        Some((length, is_ascii)) => {
            out.truncate(start + length);
            is_ascii
        }
        None => {
            out.truncate(start);
            whole(text, is_escaped, out);
            false
        }
    }
}

/// Appends a text in lower case; false where it is not all ASCII, and then what was appended is part of it.
fn push_ascii(text: &[u8], out: &mut Vec<u8>) -> bool {
    let (chunks, rest) = text.as_chunks::<WIDTH>();
    out.reserve(text.len());
    for chunk in chunks.iter().map(simd::Chunk::of) {
        if chunk.beyond_ascii() != 0 {
            return false;
        }
        out.extend_from_slice(&chunk.lower());
    }
    let last = simd::at(text, text.len() - rest.len());
    out.extend_from_slice(last.lower().get(..rest.len()).unwrap_or_default());
    last.beyond_ascii() == 0
}

/// Writes the folded text: its length, and whether all of it is ASCII. None for what is not folded letter by letter.
fn write_folded(text: &[u8], is_escaped: bool, out: &mut [u8]) -> Option<(usize, bool)> {
    let (mut read, mut write, mut is_ascii) = (0, 0, true);
    while read < text.len() {
        let chunk = simd::at(text, read);
        *out.get_mut(write..)?.first_chunk_mut()? = chunk.lower();
        let slashes = if is_escaped { chunk.equal(b'\\') } else { 0 };
        let plain = u32::from(chunk.beyond_ascii() | slashes) | 1 << WIDTH;
        let plain = (plain.trailing_zeros() as usize).min(text.len() - read);
        (read, write) = (read + plain, write + plain);
        if plain == WIDTH || read == text.len() {
            continue;
        }
        if let ([b'\\', second, ..], true) = (&text[read..], is_escaped)
            && let Some(made) = short(*second)
        {
            out[write] = made;
            (read, write) = (read + 2, write + 1);
            continue;
        }
        let (length, made, more_ascii) = special(&text[read..], is_escaped, out.get_mut(write..)?)?;
        (read, write, is_ascii) = (read + length, write + made, is_ascii && more_ascii);
    }
    Some((write, is_ascii))
}

/// What a backslash and this byte stand for, in lower case.
#[inline]
fn short(second: u8) -> Option<u8> {
    Some(match second {
        b'\\' | b'"' | b'/' => second,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        _ => return None,
    })
}

/// Writes the letter or escape that a text begins with: how long it is, how long what was written, and whether that is
/// ASCII. None for what cannot be folded by itself.
fn special(text: &[u8], is_escaped: bool, out: &mut [u8]) -> Option<(usize, usize, bool)> {
    if is_escaped && text[0] == b'\\' {
        let (length, made) = escape(text)?;
        if let [byte] = made.as_bytes() {
            *out.first_mut()? = byte.to_ascii_lowercase();
            return Some((length, 1, true));
        }
        let (_, written) = write_letter(made.as_bytes(), out)?;
        return (written <= length).then_some((length, written, false));
    }
    let (length, written) = write_letter(text, out)?;
    (written <= length).then_some((length, written, false))
}

/// Writes the letter that a text begins with; its length and what it became. None where it is no UTF-8 or folds by its
/// neighbours.
fn write_letter(text: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
    let length = match text.first()? {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return None,
    };
    let letter = std::str::from_utf8(text.get(..length)?).ok()?.chars().next().filter(|letter| *letter != SIGMA)?;
    let (mut bytes, mut written) = ([0; 4], 0);
    for small in letter.to_lowercase() {
        let small = small.encode_utf8(&mut bytes).as_bytes();
        out.get_mut(written..written + small.len())?.copy_from_slice(small);
        written += small.len();
    }
    Some((length, written))
}

/// The slow way, for texts with something that is not folded letter by letter.
fn whole(text: &[u8], is_escaped: bool, out: &mut Vec<u8>) {
    let plain = match is_escaped {
        true => unescaped(text).map_or(Cow::Borrowed(text), Cow::Owned),
        false => Cow::Borrowed(text),
    };
    out.extend_from_slice(fold(&String::from_utf8_lossy(&plain)).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn folded(text: &[u8], is_escaped: bool) -> (String, bool) {
        let mut out = b"before".to_vec();
        let is_ascii = push_folded(text, is_escaped, &mut out);
        (String::from_utf8(out).unwrap().strip_prefix("before").unwrap().to_string(), is_ascii)
    }

    #[test]
    fn letters_that_fold_by_their_neighbours_and_bad_bytes_are_folded_as_a_whole() {
        for text in
            ["\u{39f}\u{394}\u{39f}\u{3a3} X", "\u{130}stanbul \u{df}\u{1e9e}", "Microsoft\u{ae} Windows\u{ae} OPERATING System"]
        {
            assert_eq!(folded(text.as_bytes(), false).0, text.to_lowercase());
        }
        assert_eq!(folded(b"ABC\xff\xc3DEF\xf0\x9f", false).0, "abc\u{fffd}\u{fffd}def\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_text_is_folded_as_the_library_folds_it(text in ".{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(folded(text.as_bytes(), false), (text.to_lowercase(), text.is_ascii()));
            prop_assert_eq!(folded(&bytes, false).0, String::from_utf8_lossy(&bytes).to_lowercase());
            let json = serde_json::Value::from(text.as_str()).to_string();
            prop_assert_eq!(folded(&json.as_bytes()[1..json.len() - 1], true).0, text.to_lowercase());
        }
    }
}
