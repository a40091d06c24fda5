//! What stands between the quotes of a JSON string (RFC 8259, section 7), escapes undone. Half of a surrogate pair becomes
//! the replacement character.

/// The bytes that an escape stands for.
#[derive(Clone, Copy)]
pub(crate) struct Made {
    bytes: [u8; 4],
    length: usize,
}

impl Made {
    fn of(letter: char) -> Self {
        let mut bytes = [0; 4];
        let length = letter.encode_utf8(&mut bytes).len();
        Self { bytes, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// The length of the escape that a text begins with, and what it stands for: never more bytes than it has itself.
pub(crate) fn escape(text: &[u8]) -> Option<(usize, Made)> {
    let letter = match text.get(1)? {
        b'u' => return unicode(text),
        b'n' => '\n',
        b't' => '\t',
        b'r' => '\r',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        other @ (b'"' | b'\\' | b'/') => char::from(*other),
        _ => return None,
    };
    Some((2, Made::of(letter)))
}

fn unicode(text: &[u8]) -> Option<(usize, Made)> {
    let unit = |text: &[u8]| {
        let digits = text.strip_prefix(b"\\u")?.first_chunk::<4>()?;
        digits.iter().try_fold(0u32, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    };
    let first = unit(text)?;
    if let Some(letter) = char::from_u32(first) {
        return Some((6, Made::of(letter)));
    }
    let second = unit(&text[6..]).filter(|second| first < 0xdc00 && (0xdc00..0xe000).contains(second));
    let pair = second.and_then(|second| char::from_u32(0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)));
    Some(match pair {
        Some(letter) => (12, Made::of(letter)),
        None => (6, Made::of(char::REPLACEMENT_CHARACTER)),
    })
}

/// The text without escapes; none where one of them is unknown.
pub(crate) fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(plain) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..plain]);
        // Nearly all that is escaped in paths and command lines.
        if let Some(byte @ (b'\\' | b'"')) = rest.get(plain + 1) {
            out.push(*byte);
            rest = &rest[plain + 2..];
            continue;
        }
        let (length, made) = escape(&rest[plain..])?;
        out.extend_from_slice(made.as_bytes());
        rest = &rest[plain + length..];
    }
    out.extend_from_slice(rest);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_unknown_ones_refused() {
        let of = |text: &str| unescaped(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
        assert_eq!(of(r#"C:\\x\n\"\/\u00c9\ud83d\ude00"#).as_deref(), Some("C:\\x\n\"/\u{c9}\u{1f600}"));
        assert_eq!(of(r"\ud83dx\udc00").as_deref(), Some("\u{fffd}x\u{fffd}"));
        assert_eq!([of(r"\x"), of(r"\u12"), of("a\\")], [None, None, None]);
    }
}
