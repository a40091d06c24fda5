//! One member of a JSON object as it last stood in a text, and which names followed it.

use beffroi_simd::{self as simd, Chunk, WIDTH};

use super::frame::Datum;
use super::names::FieldId;

/// The longest member that is remembered: longer ones seldom come twice.
pub(crate) const MAX_MEMBER: usize = 96;
/// Names that are remembered to have followed one.
pub(crate) const FOLLOWERS: usize = 4;

/// A value, but for its text, which stands elsewhere.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held(Datum<'static>);

impl Held {
    /// Text without escapes.
    pub(crate) const TEXT: Self = Self(Datum::Text(b""));
    /// Text with escapes of one letter.
    pub(crate) const ESCAPED: Self = Self(Datum::Escaped(b""));

    /// Anything else.
    pub(crate) fn other(datum: Datum<'static>) -> Self {
        Self(datum)
    }

    /// The value, given where it stands if it is a text.
    #[inline(always)]
    pub(crate) fn datum<'a>(self, text: &'a [u8], (from, to): (usize, usize)) -> Datum<'a> {
        let value = || text.get(from..to).unwrap_or_default();
        match self.0 {
            Datum::Text(_) => Datum::Text(value()),
            Datum::Escaped(_) => Datum::Escaped(value()),
            other => other,
        }
    }
}

/// One member, and what followed it.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    /// From the quote before its name on; what stands behind the member means nothing.
    text: [u8; MAX_MEMBER],
    /// Length of the name with its quotes and colon; zero where nothing is remembered.
    pub(crate) name: u8,
    /// Length of all of it with the comma or brace behind it; zero where only the name is remembered.
    whole: u8,
    /// Where a text begins and ends.
    value: (u8, u8),
    /// A brace follows.
    pub(crate) is_last: bool,
    /// The places of the names that followed it, the last one first; zero for none.
    pub(crate) next: [u16; FOLLOWERS],
    pub(crate) field: Option<FieldId>,
    held: Held,
    /// How many bytes are compared: all of it, or the name.
    compared: u8,
    /// The keywords that are known not to stand in the value; zero for none.
    pub(crate) free_of: u64,
}

impl Member {
    pub(crate) fn empty() -> Self {
        Self {
            text: [0; MAX_MEMBER],
            name: 0,
            whole: 0,
            value: (0, 0),
            is_last: false,
            next: [0; FOLLOWERS],
            field: None,
            held: Held::TEXT,
            compared: 0,
            free_of: 0,
        }
    }

    /// How many bytes of what is left of a text are those that are remembered; what exceeds the member means nothing.
    #[inline(always)]
    pub(crate) fn same(&self, rest: &[u8]) -> usize {
        match rest.first_chunk::<MAX_MEMBER>() {
            Some(bytes) => self.same_as(bytes.as_chunks().0),
            None => self.same_at_end(rest),
        }
    }

    /// The same where less than the longest member is left.
    #[inline(never)]
    fn same_at_end(&self, rest: &[u8]) -> usize {
        if rest.len() >= usize::from(self.compared).next_multiple_of(WIDTH) {
            return self.same_as(rest.as_chunks().0);
        }
        // All of it, the name, or nothing.
        let is_same = |length: &usize| *length > 0 && self.text.get(..*length).is_some_and(|part| rest.starts_with(part));
        [self.whole, self.name].map(usize::from).into_iter().find(is_same).unwrap_or(0)
    }

    /// The same of chunks, of which there are enough for what is compared.
    #[inline(always)]
    fn same_as(&self, others: &[[u8; WIDTH]]) -> usize {
        let (parts, _) = self.text.as_chunks::<WIDTH>();
        let mut same = 0;
        for (part, other) in parts.iter().zip(others) {
            let equal = Chunk::of(part).same(Chunk::of(other));
            if equal != u16::MAX {
                return same + equal.trailing_ones() as usize;
            }
            same += WIDTH;
            if same >= usize::from(self.compared) {
                break;
            }
        }
        same
    }

    /// The length of the member, when so many bytes of it are the same.
    #[inline(always)]
    pub(crate) fn whole(&self, same: usize) -> Option<usize> {
        let whole = usize::from(self.whole);
        (whole != 0 && same >= whole).then_some(whole)
    }

    /// Where its value begins and ends, if it is a text.
    pub(crate) fn span(&self) -> (usize, usize) {
        (self.value.0.into(), self.value.1.into())
    }

    /// The length of its name with quotes and colon, when so many bytes of it are the same.
    #[inline(always)]
    pub(crate) fn name(&self, same: usize) -> Option<usize> {
        let name = usize::from(self.name);
        (name != 0 && same >= name).then_some(name)
    }

    /// Its value, where it stands first in what is left of a text.
    #[inline(always)]
    pub(crate) fn datum<'a>(&self, rest: &'a [u8]) -> Datum<'a> {
        self.held.datum(rest, self.span())
    }

    /// A name that stands there and is short enough.
    pub(crate) fn named(rest: &[u8], length: usize, field: Option<FieldId>) -> Self {
        let mut member = Self { name: length as u8, compared: length as u8, field, ..Self::empty() };
        member.copy(rest, length);
        member
    }

    /// Puts a name that followed it before those of lower rank; the one that had this rank is forgotten.
    pub(crate) fn put_first(&mut self, rank: usize, place: u16) {
        let [first, second, third, fourth] = self.next;
        self.next = match rank {
            0 => self.next,
            1 => [place, first, third, fourth],
            2 => [place, first, second, fourth],
            _ => [place, first, second, third],
        };
    }

    /// Copies so many bytes, and some behind them.
    #[inline(always)]
    fn copy(&mut self, rest: &[u8], length: usize) {
        let (parts, _) = self.text.as_chunks_mut::<WIDTH>();
        if let Some(bytes) = rest.first_chunk::<MAX_MEMBER>() {
            let (others, _) = bytes.as_chunks::<WIDTH>();
            for ((number, part), other) in parts.iter_mut().enumerate().zip(others) {
                if number * WIDTH >= length {
                    break;
                }
                *part = *other;
            }
        } else {
            for (part, at) in parts.iter_mut().zip((0..length).step_by(WIDTH)) {
                *part = simd::at(rest, at).bytes();
            }
        }
    }

    /// Keeps the value of the member that stands first, with so many bytes, if that is short enough.
    #[inline(always)]
    pub(crate) fn keep(&mut self, rest: &[u8], length: usize, seen: Seen) {
        if length > MAX_MEMBER {
            return self.forget_value();
        }
        self.copy(rest, length);
        (self.whole, self.compared) = (length as u8, length as u8);
        self.is_last = seen.is_last;
        self.held = seen.held;
        // Both lie before the end.
        self.value = (seen.value.0 as u8, seen.value.1 as u8);
        self.free_of = seen.free_of;
    }

    /// Keeps its name alone.
    #[inline]
    pub(crate) fn forget_value(&mut self) {
        (self.whole, self.compared) = (0, self.name);
    }
}

/// What was read of a member.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) held: Held,
    /// Where its text begins and ends, from the member's first byte on.
    pub(crate) value: (usize, usize),
    pub(crate) is_last: bool,
    pub(crate) free_of: u64,
}
