//! Protobuf read in place: numbers and slices of a message, nothing copied (Protocol Buffers, "Encoding").

use super::BatchError;

/// One member of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Member<'a> {
    /// A varint.
    Number(u64),
    /// Bytes, a text, a message or packed numbers.
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no version of ours writes.
    Fixed,
}

/// Walks a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes that were not read yet.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next varint; none at the end.
    #[inline(always)]
    pub(super) fn number(&mut self) -> Result<Option<u64>, BatchError> {
        match *self.rest {
            [] => Ok(None),
            [first, ref rest @ ..] if first < 0x80 => {
                self.rest = rest;
                Ok(Some(u64::from(first)))
            }
            [first, second, ref rest @ ..] if second < 0x80 => {
                self.rest = rest;
                Ok(Some(u64::from(first & 0x7f) | u64::from(second) << 7))
            }
            [first, second, third, ref rest @ ..] if third < 0x80 => {
                self.rest = rest;
                Ok(Some(u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7 | u64::from(third) << 14))
            }
            _ => self.long().map(Some),
        }
    }

    /// Appends all varints that are left.
    pub(super) fn numbers(&mut self, out: &mut Vec<u64>) -> Result<(), BatchError> {
        let start = out.len();
        // Each takes a byte at least.
        out.resize(start + self.rest.len(), 0);
        let (mut reader, mut end) = (*self, start);
        for place in &mut out[start..] {
            let Some(number) = reader.number()? else { break };
            (*place, end) = (number, end + 1);
        }
        out.truncate(end);
        self.rest = reader.rest;
        Ok(())
    }

    fn long(&mut self) -> Result<u64, BatchError> {
        if let Some(eight) = self.rest.first_chunk::<8>() {
            let word = u64::from_le_bytes(*eight);
            let last = !word & CONTINUED;
            if last != 0 {
                // All bits up to the last byte's.
                self.rest = &self.rest[last.trailing_zeros() as usize / 8 + 1..];
                return Ok(joined(word & (last ^ (last - 1)) & !CONTINUED));
            }
        }
        self.longest()
    }

    #[cold]
    fn longest(&mut self) -> Result<u64, BatchError> {
        let mut number = 0;
        for (at, byte) in self.rest.iter().enumerate().take(MAX_VARINT) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                self.rest = &self.rest[at + 1..];
                return Ok(number);
            }
        }
        Err(malformed("a number has no end"))
    }

    /// The next member and its number; none at the end.
    #[inline(always)]
    pub(super) fn member(&mut self) -> Result<Option<(u64, Member<'a>)>, BatchError> {
        let Some(key) = self.number()? else { return Ok(None) };
        let cut = || malformed("it ends in the middle of a value");
        let value = match key & 7 {
            0 => Member::Number(self.number()?.ok_or_else(cut)?),
            1 => self.skip(8)?,
            2 => {
                let length = self.number()?.and_then(|length| usize::try_from(length).ok()).ok_or_else(cut)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(cut)?;
                self.rest = rest;
                Member::Bytes(bytes)
            }
            5 => self.skip(4)?,
            kind => return Err(malformed(&format!("wire type {kind}"))),
        };
        Ok(Some((key >> 3, value)))
    }

    /// The bytes of the next member, if it is bytes, has this number, from 0 to 15, and less than 128 bytes: most members of
    /// a body are short strings. Otherwise nothing is read.
    #[inline(always)]
    pub(super) fn short(&mut self, number: u8) -> Option<&'a [u8]> {
        let [key, length, rest @ ..] = self.rest else { return None };
        if *key != number << 3 | 2 || *length >= 0x80 {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some(bytes)
    }

    fn skip(&mut self, bytes: usize) -> Result<Member<'a>, BatchError> {
        self.rest = self.rest.get(bytes..).ok_or_else(|| malformed("it ends in the middle of a value"))?;
        Ok(Member::Fixed)
    }
}

/// The bit of each byte of a varint that says that another follows.
const CONTINUED: u64 = 0x8080_8080_8080_8080;

/// Seven bits of each of eight bytes, side by side.
fn joined(word: u64) -> u64 {
    let word = word & 0x007f_007f_007f_007f | (word & 0x7f00_7f00_7f00_7f00) >> 1;
    let word = word & 0x0000_3fff_0000_3fff | (word & 0x3fff_0000_3fff_0000) >> 2;
    word & 0x0fff_ffff | (word & 0x0fff_ffff_0000_0000) >> 4
}

/// Bytes of the longest varint: 64 bits, seven in each byte.
pub(super) const MAX_VARINT: usize = 10;

pub(super) fn malformed(why: &str) -> BatchError {
    BatchError::Malformed(why.to_string())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::proto;

    #[test]
    fn members_are_read_as_the_library_writes_them() {
        let event = proto::EventRecord { shape: 3, seq: u64::MAX, ts: -5, values: vec![0, 127, 128, u64::MAX] };
        let bytes = event.encode_to_vec();
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.member(), Ok(Some((1, Member::Number(3)))));
        assert_eq!(reader.member(), Ok(Some((2, Member::Number(u64::MAX)))));
        assert_eq!(reader.member(), Ok(Some((3, Member::Number(9)))));
        let Ok(Some((4, Member::Bytes(packed)))) = reader.member() else { panic!("no values") };
        let mut values = Reader::new(packed);
        assert_eq!(std::iter::from_fn(|| values.number().unwrap()).collect::<Vec<_>>(), event.values);
        assert_eq!(reader.member(), Ok(None));
    }

    #[test]
    fn numbers_of_any_length_are_read_as_the_library_writes_them() {
        let numbers: Vec<u64> = (0..64).flat_map(|bit| [1 << bit, (1u64 << bit) - 1, u64::MAX >> bit, 0x5555 << bit]).collect();
        for behind in 0..9 {
            for number in &numbers {
                let mut bytes = Vec::new();
                prost::encoding::encode_varint(*number, &mut bytes);
                bytes.extend(vec![7; behind]);
                let mut reader = Reader::new(&bytes);
                assert_eq!((reader.number(), reader.left()), (Ok(Some(*number)), behind));
                let mut all = vec![3];
                Reader::new(&bytes).numbers(&mut all).unwrap();
                assert_eq!(all, [&[3, *number][..], &vec![7; behind]].concat());
            }
        }
    }

    #[test]
    fn a_short_member_is_read_by_its_number_and_nothing_else_is() {
        let bytes = [0x0a, 2, b'a', b'b', 0x0a, 0, 0x12, 1, b'c', 0x0a, 0x80, 1];
        let mut reader = Reader::new(&bytes);
        assert_eq!([reader.short(1), reader.short(1)], [Some(&b"ab"[..]), Some(&b""[..])]);
        assert_eq!((reader.short(1), reader.left()), (None, 6));
        assert_eq!(reader.short(2), Some(&b"c"[..]));
        assert_eq!((reader.short(1), reader.left()), (None, 3));
        assert_eq!((Reader::new(&[0x0a, 1]).short(1), Reader::new(&[0x0a]).short(1)), (None, None));
    }

    #[test]
    fn what_ends_too_early_or_never_is_told() {
        for bytes in [&[0x08][..], &[0x12, 5, 1], &[0x09, 1], &[0x0d, 1, 2], &[0x0b], &[0x08, 0xff], &[0xff; 20]] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.member().unwrap_err().code(), "malformed", "{bytes:?}");
        }
    }
}
