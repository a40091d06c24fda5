//! Reading JSON text value by value, each where it stands. Depth is counted, not recursed.

use super::escape::unescaped;
use super::frame::{Datum, Frame};
use super::names::FieldId;
use super::quotes::{Kind, string};

/// A text is no JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object: {what}, {left} bytes before the end of the text")]
pub struct TextError {
    what: &'static str,
    left: usize,
}

/// Where reading stands. Names what is wrong only where it stops: what it passes over need not be JSON in every detail.
pub struct Reader<'a> {
    pub(crate) text: &'a [u8],
    pub(crate) at: usize,
    /// Some string had an escape that stands for something longer than a letter, or for nothing.
    pub(crate) is_odd: bool,
}

impl<'a> Reader<'a> {
    /// Before the first byte of a text.
    pub fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0, is_odd: false }
    }

    /// How many bytes stand before it.
    pub fn at(&self) -> usize {
        self.at
    }

    #[cold]
    pub(crate) fn wrong<T>(&self, what: &'static str) -> Result<T, TextError> {
        Err(TextError { what, left: self.text.len().saturating_sub(self.at) })
    }

    /// The next byte that is no white space; it stays.
    #[inline(always)]
    pub fn peek(&mut self) -> Option<u8> {
        match self.text.get(self.at) {
            Some(byte) if *byte <= b' ' => self.peek_behind_space(),
            other => other.copied(),
        }
    }

    #[inline(never)]
    fn peek_behind_space(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// The next byte that is no white space.
    #[inline(always)]
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    /// Passes over this byte, and white space before it.
    ///
    /// # Errors
    /// [`TextError`] of these words where another one stands.
    #[inline]
    pub fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), TextError> {
        if self.take() == Some(wanted) { Ok(()) } else { self.wrong(what) }
    }

    /// The string that begins here, as it stands in the text; its escapes are not looked at.
    ///
    /// # Errors
    /// [`TextError`]: none begins here (in these words), or it does not end.
    #[inline(always)]
    pub fn string(&mut self, otherwise: &'static str) -> Result<(&'a [u8], Kind), TextError> {
        if self.text.get(self.at) != Some(&b'"') {
            return self.wrong(otherwise);
        }
        let Some((end, kind)) = string(self.text, self.at) else { return self.wrong("a string does not end") };
        let text = &self.text[self.at + 1..end];
        self.at = end + 1;
        self.is_odd |= kind == Kind::Odd;
        Ok((text, kind))
    }

    /// The string that begins here, as a value that somebody looks at.
    #[inline(always)]
    pub(crate) fn wanted_string(&mut self, otherwise: &'static str) -> Result<(&'a [u8], Kind), TextError> {
        let (text, kind) = self.string(otherwise)?;
        if kind == Kind::Odd && unescaped(text).is_none() { self.wrong("an escape is unknown") } else { Ok((text, kind)) }
    }

    /// Adds a value of a field, or the values of a list.
    pub(crate) fn value(&mut self, frame: &mut Frame<'a>, field: Option<FieldId>) -> Result<(), TextError> {
        match self.peek() {
            Some(b'"') => {
                let (text, kind) = self.wanted_string("a value is no JSON")?;
                frame.push(field, if kind == Kind::Plain { Datum::Text(text) } else { Datum::Escaped(text) });
                Ok(())
            }
            Some(b'[') => self.list(frame, field),
            Some(b'{') => self.skip(),
            _ => {
                let datum = self.plain()?;
                frame.push(field, datum);
                Ok(())
            }
        }
    }

    fn list(&mut self, frame: &mut Frame<'a>, field: Option<FieldId>) -> Result<(), TextError> {
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            match self.peek() {
                Some(b'[' | b'{') => self.skip()?,
                _ => self.value(frame, field)?,
            }
            match self.take() {
                Some(b',') => {}
                Some(b']') => return Ok(()),
                _ => return self.wrong("a comma or bracket is missing"),
            }
        }
    }

    /// A number, a truth, or nothing.
    ///
    /// # Errors
    /// [`TextError`] where something else stands here.
    #[inline]
    pub fn plain(&mut self) -> Result<Datum<'static>, TextError> {
        match digits(self.text.get(self.at..).unwrap_or_default()) {
            Some((number, length)) => {
                self.at += length;
                Ok(Datum::Int(number))
            }
            None => match plain(self.word()) {
                Some(datum) => Ok(datum),
                None => self.wrong("a value is no JSON"),
            },
        }
    }

    /// Bytes up to the next one that ends a number or name.
    fn word(&mut self) -> &'a [u8] {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'{' | b'[' | b':');
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Passes over one value of any kind. Inside of lists and objects only strings and brackets are looked at.
    pub(crate) fn skip(&mut self) -> Result<(), TextError> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'"') => _ = self.string("a value is no JSON")?,
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => _ = self.plain()?,
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// Digits of a number that surely fits.
const MAX_DIGITS: usize = 18;

/// The number that a text begins with, if it is made of a few digits and nothing else, which nearly all are; and its
/// length.
#[inline]
pub(crate) fn digits(text: &[u8]) -> Option<(i64, usize)> {
    let (mut number, mut length) = text.first_chunk().map_or((0, 0), eight_digits);
    let after = loop {
        match text.get(length)? {
            digit @ b'0'..=b'9' if length < MAX_DIGITS => number = number * 10 + i64::from(digit - b'0'),
            other => break *other,
        }
        length += 1;
    };
    let is_number = length == 1 || length > 1 && text.first() != Some(&b'0');
    (is_number && matches!(after, b',' | b'}' | b']')).then_some((number, length))
}

/// The number that eight bytes begin with, and how many digits it has: each step joins neighbours, digits to pairs, pairs
/// to fours, and fours to one number.
#[inline(always)]
fn eight_digits(bytes: &[u8; 8]) -> (i64, usize) {
    const fn all(byte: u8) -> u64 {
        u64::from_le_bytes([byte; 8])
    }
    let word = u64::from_le_bytes(*bytes) ^ all(b'0');
    // Bytes of more than nine get their uppermost bit; what is carried out of one changes only those behind it.
    let others = (word.wrapping_add(all(0x80 - 10)) | word) & all(0x80);
    let length = others.trailing_zeros() as usize / 8;
    // Zeros before the first digit.
    let Some(digits) = word.checked_shl(64 - 8 * length as u32) else { return (0, 0) };
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let number = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    (number as i64, length)
}

/// A number, a truth, or nothing.
fn plain(word: &[u8]) -> Option<Datum<'static>> {
    match word {
        b"null" => return Some(Datum::Null),
        b"true" => return Some(Datum::Bool(true)),
        b"false" => return Some(Datum::Bool(false)),
        _ => {}
    }
    match serde_json::from_slice::<serde_json::Number>(word) {
        Ok(number) => Some(match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Datum::Int(number),
            (None, Some(number)) => Datum::Uint(number),
            (None, None) => Datum::Float(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_the_book(text: &str) -> Option<(i64, usize)> {
        let length = text.bytes().take_while(u8::is_ascii_digit).count();
        let ends = text[length..].starts_with([',', '}', ']']);
        let is_number = (1..=MAX_DIGITS).contains(&length) && (length == 1 || !text.starts_with('0'));
        (ends && is_number).then(|| (text[..length].parse().unwrap(), length))
    }

    #[test]
    fn a_number_of_few_digits_is_what_a_reader_of_single_digits_makes_of_it() {
        for (number, length) in ["1234567890123456789", "9999999999999999999", "0"]
            .into_iter()
            .flat_map(|number| (0..=number.len()).map(move |length| (number, length)))
        {
            for end in [",", "}", "]", ".", "a", "\u{ff}", " ", "-", ""] {
                for behind in ["", ",\"x\":1", "0,", "000000000000000000"] {
                    let text = format!("{}{end}{behind}", &number[..length]);
                    assert_eq!(digits(text.as_bytes()), by_the_book(&text), "{text}");
                }
            }
        }
    }
}
