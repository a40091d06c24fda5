//! Finding records in the bytes of one segment, and finding the way again after damage.
//!
//! Owns the read window. Works on any bytes: a length is used only when the record it announces lies within the
//! limit, and a record counts only when its checksum agrees.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::format::{Marker, RECORD_HEADER_BYTES, RecordHeader};

/// Bytes read at once: large enough that a read call costs nothing per record, small enough to stay in the cache.
const WINDOW_BYTES: usize = 256 * 1024;

/// What makes a stretch of a segment unusable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageReason {
    /// The segment's header does not verify. Its records are read nevertheless.
    SegmentHeader,
    /// No record begins where one should: overwritten, zeroed or misplaced bytes.
    NotARecord,
    /// A record begins here, and its checksum disagrees.
    Checksum,
    /// A record begins here, and the bytes end before it does.
    CutShort,
    /// A segment that was published as durable does not exist.
    MissingSegment,
}

/// A stretch of bytes that holds no readable record, and the offsets that are lost with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedRange {
    /// First lost offset.
    pub first_offset: u64,
    /// The offset after the last one lost; equal to `first_offset` when no record is lost.
    pub end_offset: u64,
    /// Unreadable bytes.
    pub bytes: u64,
    /// What is wrong with the first of them.
    pub reason: DamageReason,
}

/// A part of a file held in memory, moved along as it is read.
#[derive(Debug, Default)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    start: u64,
}

/// What stands at one position.
pub(crate) enum Found {
    Record(RecordHeader),
    Bad(DamageReason),
}

impl Window {
    /// Forgets everything, so that the next access reads the file.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// True when `len` bytes at `at` can be had without reading the file.
    pub(crate) fn holds(&self, at: u64, len: usize) -> bool {
        at >= self.start && at + len as u64 <= self.start + self.bytes.len() as u64
    }

    /// `len` bytes at `at`, never beyond `limit`; `None` when the file or the limit ends before.
    fn get(&mut self, file: &File, at: u64, len: usize, limit: u64) -> io::Result<Option<&[u8]>> {
        if at.saturating_add(len as u64) > limit {
            return Ok(None);
        }
        if !self.holds(at, len) {
            self.fill(file, at, len.max(WINDOW_BYTES).min((limit - at) as usize))?;
        }
        let from = at.wrapping_sub(self.start) as usize;
        Ok(self.bytes.get(from..from + len))
    }

    fn fill(&mut self, file: &File, at: u64, len: usize) -> io::Result<()> {
        self.start = at;
        self.bytes.resize(len, 0);
        let mut filled = 0;
        while filled < len {
            match file.read_at(&mut self.bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => {
                    self.clear();
                    return Err(e);
                }
            }
        }
        self.bytes.truncate(filled);
        Ok(())
    }

    /// The header at `at`, if it could be one. Nothing is verified yet.
    pub(crate) fn header_at(&mut self, bytes: &Segment<'_>, at: u64) -> io::Result<Option<RecordHeader>> {
        let found = self.get(bytes.file, at, RECORD_HEADER_BYTES, bytes.limit)?;
        Ok(found.and_then(|found| RecordHeader::decode(found, bytes.marker)))
    }

    /// The verified record at `at`. Its payload can then be had from [`Window::payload`].
    pub(crate) fn record_at(&mut self, bytes: &Segment<'_>, at: u64) -> io::Result<Found> {
        let Some(header) = self.header_at(bytes, at)? else {
            return Ok(Found::Bad(DamageReason::NotARecord));
        };
        let Some(record) = self.get(bytes.file, at, header.record_bytes(), bytes.limit)? else {
            return Ok(Found::Bad(DamageReason::CutShort));
        };
        match header.verifies(record) && header.offset >= bytes.base {
            true => Ok(Found::Record(header)),
            false => Ok(Found::Bad(DamageReason::Checksum)),
        }
    }

    /// Payload of the record that [`Window::record_at`] has just found at `at`.
    pub(crate) fn payload(&self, at: u64, header: &RecordHeader) -> &[u8] {
        let from = (at - self.start) as usize;
        &self.bytes[from + RECORD_HEADER_BYTES..from + header.record_bytes()]
    }

    /// The first verified record at or after `from`. A payload cannot forge one: it does not know the marker.
    pub(crate) fn find_record(&mut self, bytes: &Segment<'_>, from: u64) -> io::Result<Option<(u64, RecordHeader)>> {
        let mut at = from;
        while self.get(bytes.file, at, RECORD_HEADER_BYTES, bytes.limit)?.is_some() {
            let loaded = &self.bytes[(at - self.start) as usize..];
            match loaded.windows(bytes.marker.len()).position(|w| w == bytes.marker) {
                Some(skip) => {
                    at += skip as u64;
                    if let Found::Record(header) = self.record_at(bytes, at)? {
                        return Ok(Some((at, header)));
                    }
                    at += 1;
                }
                // A marker may begin in the last few bytes loaded and end beyond them.
                None => at += (loaded.len() - (bytes.marker.len() - 1)) as u64,
            }
        }
        Ok(None)
    }
}

/// The readable part of one segment.
pub(crate) struct Segment<'a> {
    pub file: &'a File,
    pub marker: &'a Marker,
    pub base: u64,
    /// Bytes that may be looked at.
    pub limit: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::encode_record;

    const MARKER: Marker = *b"marker!!";

    fn file_of(bytes: &[u8]) -> File {
        let file = tempfile::tempfile().expect("file");
        file.write_all_at(bytes, 0).expect("write");
        file
    }

    #[test]
    fn a_marker_across_two_windows_is_found() {
        for shift in 0..=40 {
            let mut bytes = vec![0x55; WINDOW_BYTES - shift];
            encode_record(&mut bytes, &MARKER, 9, 0, b"after the noise");
            let file = file_of(&bytes);
            let segment = Segment { file: &file, marker: &MARKER, base: 0, limit: bytes.len() as u64 };
            let found = Window::default().find_record(&segment, 0).expect("read").map(|(at, h)| (at as usize, h.offset));
            assert_eq!(found, Some((WINDOW_BYTES - shift, 9)), "shift {shift}");
        }
    }

    #[test]
    fn nothing_beyond_the_limit_is_looked_at() {
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &MARKER, 0, 0, b"whole");
        let file = file_of(&bytes);
        let segment = Segment { file: &file, marker: &MARKER, base: 0, limit: bytes.len() as u64 - 1 };
        let found = Window::default().record_at(&segment, 0).expect("read");
        assert!(matches!(found, Found::Bad(DamageReason::CutShort)));
    }

    #[test]
    fn a_record_larger_than_the_window_is_read_whole() {
        let payload = vec![7; 3 * WINDOW_BYTES];
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &MARKER, 4, 0, &payload);
        let file = file_of(&bytes);
        let segment = Segment { file: &file, marker: &MARKER, base: 0, limit: bytes.len() as u64 };
        let mut window = Window::default();
        let Found::Record(header) = window.record_at(&segment, 0).expect("read") else { panic!("a record") };
        assert_eq!(window.payload(0, &header), payload);
    }
}
