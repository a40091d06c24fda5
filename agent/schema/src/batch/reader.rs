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
    #[inline]
    pub(super) fn number(&mut self) -> Result<Option<u64>, BatchError> {
        match self.rest {
            [] => Ok(None),
            [first, rest @ ..] if *first < 0x80 => {
                self.rest = rest;
                Ok(Some(u64::from(*first)))
            }
            _ => self.long().map(Some),
        }
    }

    fn long(&mut self) -> Result<u64, BatchError> {
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
    #[inline]
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

    fn skip(&mut self, bytes: usize) -> Result<Member<'a>, BatchError> {
        self.rest = self.rest.get(bytes..).ok_or_else(|| malformed("it ends in the middle of a value"))?;
        Ok(Member::Fixed)
    }
}

/// Bytes of the longest varint: 64 bits, seven in each byte.
const MAX_VARINT: usize = 10;

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
    fn what_ends_too_early_or_never_is_told() {
        for bytes in [&[0x08][..], &[0x12, 5, 1], &[0x09, 1], &[0x0d, 1, 2], &[0x0b], &[0x08, 0xff], &[0xff; 20]] {
            let mut reader = Reader::new(bytes);
            assert_eq!(reader.member().unwrap_err().code(), "malformed", "{bytes:?}");
        }
    }
}
