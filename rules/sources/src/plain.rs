//! JSON text that is plain beyond doubt, walked value by value where it stands: names without escapes, strings whose escapes
//! everybody undoes alike, whole numbers of 64 bits, truths and nulls. Whatever else is met ends a walk with none, and the
//! record is read as a tree.

use std::ops::Range;

use beffroi_engine::eval::{Datum, Reader, StringKind};
use memchr::memchr;

/// Objects and lists inside of each other that are walked: trees of the event log have five.
const MAX_DEPTH: usize = 12;
/// What a reader is told to say; a walk asks only whether it failed.
const NOT_PLAIN: &str = "it is not plain";

/// What a value says when an element's text stands for the element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Scalar {
    /// Nothing: an object without a text.
    Nothing,
    /// What stands here: a string, a number, a truth or null.
    One(Range<usize>),
    /// The list that stands here.
    List(Range<usize>),
}

/// Gives each member of the object that begins here to `take`, which reads the value behind the name.
pub(crate) fn members<'a>(
    reader: &mut Reader<'a>,
    mut take: impl FnMut(&mut Reader<'a>, Range<usize>) -> Option<()>,
) -> Option<()> {
    reader.expect(b'{', NOT_PLAIN).ok()?;
    if reader.peek()? == b'}' {
        reader.take();
        return Some(());
    }
    loop {
        reader.peek()?;
        let start = reader.at() + 1;
        let (name, kind) = reader.string(NOT_PLAIN).ok()?;
        if kind != StringKind::Plain {
            return None;
        }
        reader.expect(b':', NOT_PLAIN).ok()?;
        take(reader, start..start + name.len())?;
        match reader.take()? {
            b',' => {}
            b'}' => return Some(()),
            _ => return None,
        }
    }
}

/// The same for the elements of a list.
pub(crate) fn elements<'a>(reader: &mut Reader<'a>, mut take: impl FnMut(&mut Reader<'a>) -> Option<()>) -> Option<()> {
    reader.expect(b'[', NOT_PLAIN).ok()?;
    if reader.peek()? == b']' {
        reader.take();
        return Some(());
    }
    loop {
        take(reader)?;
        match reader.take()? {
            b',' => {}
            b']' => return Some(()),
            _ => return None,
        }
    }
}

/// A string, a number, a truth or null.
pub(crate) fn one(reader: &mut Reader<'_>) -> Option<Range<usize>> {
    let is_string = reader.peek()? == b'"';
    let start = reader.at();
    let is_plain = if is_string {
        let (text, kind) = reader.string(NOT_PLAIN).ok()?;
        kind != StringKind::Odd || has_plain_escapes(text)
    } else {
        !matches!(reader.plain().ok()?, Datum::Float(_))
    };
    is_plain.then(|| start..reader.at())
}

/// Passes over any plain value.
pub(crate) fn pass(reader: &mut Reader<'_>) -> Option<Range<usize>> {
    pass_within(reader, MAX_DEPTH)
}

fn pass_within(reader: &mut Reader<'_>, depth: usize) -> Option<Range<usize>> {
    let first = reader.peek()?;
    let (start, depth) = (reader.at(), depth.checked_sub(1)?);
    match first {
        b'{' => members(reader, |reader, _| pass_within(reader, depth).map(drop))?,
        b'[' => elements(reader, |reader| pass_within(reader, depth).map(drop))?,
        _ => return one(reader),
    }
    Some(start..reader.at())
}

/// What a value says.
pub(crate) fn scalar(text: &[u8], reader: &mut Reader<'_>) -> Option<Scalar> {
    scalar_within(text, reader, MAX_DEPTH)
}

fn scalar_within(text: &[u8], reader: &mut Reader<'_>, depth: usize) -> Option<Scalar> {
    let depth = depth.checked_sub(1)?;
    match reader.peek()? {
        b'[' => Some(Scalar::List(pass_within(reader, depth)?)),
        b'{' => {
            let mut found = None;
            members(reader, |reader, name| match &text[name] {
                b"#text" => put(&mut found, scalar_within(text, reader, depth)?),
                _ => pass_within(reader, depth).map(drop),
            })?;
            Some(found.unwrap_or(Scalar::Nothing))
        }
        _ => one(reader).map(Scalar::One),
    }
}

/// Keeps what is found once; none the second time, because readers of JSON keep the last.
pub(crate) fn put<T>(slot: &mut Option<T>, found: T) -> Option<()> {
    slot.replace(found).is_none().then_some(())
}

/// Writes a list as the one string that its texts make, a line each.
pub(crate) fn join(text: &[u8], list: Range<usize>, out: &mut Vec<u8>) -> Option<()> {
    let text = &text[list];
    out.push(b'"');
    let mut is_first = true;
    elements(&mut Reader::new(text), |reader| {
        let found = match scalar(text, reader)? {
            Scalar::Nothing => return Some(()),
            Scalar::One(at) => &text[at],
            Scalar::List(_) => return None,
        };
        if !std::mem::take(&mut is_first) {
            out.extend_from_slice(b"\\n");
        }
        match found {
            b"null" => {}
            [b'"', inner @ .., b'"'] => out.extend_from_slice(inner),
            word => out.extend_from_slice(word),
        }
        Some(())
    })?;
    out.push(b'"');
    Some(())
}

/// Whether everybody undoes these escapes alike: half of a surrogate pair is left to others.
fn has_plain_escapes(mut text: &[u8]) -> bool {
    while let Some(at) = memchr(b'\\', text) {
        let length = match text.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
            Some(b'u') if is_plain_unit(&text[at + 2..]) => 6,
            _ => return false,
        };
        text = &text[at + length..];
    }
    true
}

fn is_plain_unit(text: &[u8]) -> bool {
    text.first_chunk::<4>()
        .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit) && !digits[0].eq_ignore_ascii_case(&b'd'))
}
