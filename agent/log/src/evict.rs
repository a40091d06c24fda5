//! Removing old segments: replaced by a few records (a full spool), dropped (acknowledged), or expired (retention).
//!
//! Owns the order of file operations that makes a replacement atomic: new file, sync, rename over the oldest
//! segment, sync of the folder, and only then deletion of the others, which the new header already declares
//! superseded. After a crash in between, readers ignore them and the next open deletes them.

use std::os::unix::fs::FileExt;

use crate::error::{Error, Result};
use crate::files::{self, FILE_MODE, REPLACEMENT_NAME};
use crate::format::{HeaderCheck, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, encode_record};
use crate::recover::scan_segment;
use crate::scan::{Found, Segment, Window};
use crate::writer::{LogWriter, Sealed};

/// The oldest part of a log, as much of it as must go for room to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRange {
    /// No record of the log has a smaller offset.
    pub first: u64,
    /// Last offset of the part; hand this to [`LogWriter::replace_oldest`].
    pub last: u64,
    /// Bytes that the part takes now.
    pub bytes: u64,
}

/// A record that takes the place of removed ones.
#[derive(Debug, Clone, Copy)]
pub struct Replacement<'a> {
    /// Its offset, within the replaced range.
    pub offset: u64,
    /// Append time, microseconds since 1970.
    pub timestamp: i64,
    /// Its content.
    pub payload: &'a [u8],
}

/// What a removal has freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Files deleted.
    pub segments: usize,
    /// Their bytes.
    pub bytes: u64,
}

impl LogWriter {
    /// The oldest part that frees room: the oldest segment, together with the replacement before it, if any.
    /// `None` when the log holds no record that could go.
    pub fn oldest_segment_range(&self) -> Option<SegmentRange> {
        let segments = self.segments();
        let index = segments.iter().position(|s| !s.is_replacement)?;
        let oldest = &segments[index];
        if oldest.is_active && oldest.bytes == SEGMENT_HEADER_BYTES {
            return None;
        }
        let bytes = segments[..=index].iter().map(|s| s.bytes).sum();
        Some(SegmentRange { first: segments[0].base, last: oldest.end - 1, bytes })
    }

    /// Atomically puts `records` in the place of every record with an offset up to and including `upto`.
    ///
    /// Offsets of `records` must ascend and lie between [`LogWriter::first_offset`] and `upto`. Give the last of
    /// them the offset `upto` itself: then a reader that was in the middle of the removed part still gets it.
    /// Needs room on the disk for the new file; when there is none the log stays as it was (use
    /// [`LogWriter::drop_before`], which needs none).
    pub fn replace_oldest(&mut self, upto: u64, records: &[Replacement<'_>]) -> Result<Removed> {
        self.check_replacement(upto, records)?;
        if self.active.base <= upto {
            self.roll()?;
        }
        let count = self.sealed.partition_point(|s| s.base <= upto);
        let end = self.sealed.get(count).map_or(self.active.base, |s| s.base);
        let base = self.sealed[0].base;
        let before = self.bytes();
        let bytes = self.write_replacement(upto, end, records, count)?;
        let victims: Vec<Sealed> = self.sealed.drain(..count).collect();
        self.sealed_bytes = self.sealed_bytes - victims.iter().map(|s| s.bytes).sum::<u64>() + bytes;
        self.sealed.insert(0, Sealed { base, bytes, is_replacement: true, newest: None });
        for victim in victims.iter().skip(1) {
            files::remove(&files::segment_path(&self.dir, victim.base))?;
        }
        self.removed(count, before)
    }

    fn check_replacement(&self, upto: u64, records: &[Replacement<'_>]) -> Result<()> {
        let refuse = |reason: String| Err(Error::InvalidReplacement { reason });
        let first = self.first_offset();
        if upto < first || upto >= self.next_offset {
            return refuse(format!("{upto} is not among the log's offsets {first} to {}", self.next_offset));
        }
        let mut lowest = first;
        for record in records {
            if record.offset < lowest || record.offset > upto {
                return refuse(format!("record offset {} is not within {lowest} to {upto}", record.offset));
            }
            let (bytes, max) = (record.payload.len(), self.options.max_record_bytes);
            if bytes > max {
                return Err(Error::RecordTooLarge { bytes, max });
            }
            lowest = record.offset + 1;
        }
        Ok(())
    }

    /// Writes the new file and renames it over the oldest segment; on any error it is removed again.
    fn write_replacement(&self, upto: u64, end: u64, records: &[Replacement<'_>], count: usize) -> Result<u64> {
        let temporary = self.dir.join(REPLACEMENT_NAME);
        let base = self.sealed[0].base;
        let target = files::segment_path(&self.dir, base);
        let marker = self.state.marker;
        let mut content = SegmentHeader { marker, base, replaced_below: end }.encode().to_vec();
        for record in records {
            encode_record(&mut content, &marker, record.offset, record.timestamp, record.payload);
        }
        if upto + 1 < end {
            self.copy_survivors(upto, &self.sealed[count - 1], &mut content)?;
        }
        let written = (|| {
            let file = files::open_rw(&temporary, FILE_MODE, true)?;
            file.write_all_at(&content, 0).map_err(|e| Error::io("write", &temporary, e))?;
            file.sync_all().map_err(|e| Error::io("sync", &temporary, e))?;
            std::fs::rename(&temporary, &target).map_err(|e| Error::io("rename into place", &temporary, e))
        })();
        if let Err(e) = written {
            // A leftover is overwritten by the next attempt and deleted by the next open.
            let _ = files::remove(&temporary);
            return Err(e);
        }
        files::sync_dir(&self.dir)?;
        Ok(content.len() as u64)
    }

    /// Adds the records above `upto` of the segment in which `upto` lies; at most one segment's worth.
    fn copy_survivors(&self, upto: u64, last: &Sealed, out: &mut Vec<u8>) -> Result<()> {
        let path = files::segment_path(&self.dir, last.base);
        let file = files::open_ro(&path)?;
        let marker = self.marker_of(&file, &path, last.base)?;
        let segment = Segment { file: &file, marker: &marker, base: last.base, limit: last.bytes };
        let mut window = Window::default();
        let io = |e| Error::io("read", &path, e);
        let mut next = match window.record_at(&segment, SEGMENT_HEADER_BYTES).map_err(io)? {
            Found::Record(header) => Some((SEGMENT_HEADER_BYTES, header)),
            Found::Bad(_) => window.find_record(&segment, SEGMENT_HEADER_BYTES + 1).map_err(io)?,
        };
        while let Some((at, header)) = next {
            if header.offset > upto {
                let payload = window.payload(at, &header);
                encode_record(out, &self.state.marker, header.offset, header.timestamp, payload);
            }
            next = window.find_record(&segment, at + header.record_bytes() as u64).map_err(io)?;
        }
        Ok(())
    }

    fn marker_of(&self, file: &std::fs::File, path: &std::path::Path, base: u64) -> Result<crate::format::Marker> {
        match files::read_header(file, path, base)? {
            HeaderCheck::Valid(header) => Ok(header.marker),
            HeaderCheck::Newer(version) => Err(Error::NewerFormat { path: path.to_path_buf(), version }),
            HeaderCheck::Damaged => Ok(self.state.marker),
        }
    }

    /// Deletes every closed segment whose records all lie below `offset`.
    pub fn drop_before(&mut self, offset: u64) -> Result<Removed> {
        let count = self.segments().iter().take_while(|s| !s.is_active && s.end <= offset).count();
        self.remove_oldest(count)
    }

    /// Retention: deletes the oldest segments while all their records were appended before `cutoff`
    /// (microseconds), and while the log is larger than `max_bytes`. An expired active segment is closed and
    /// deleted as well; a log that is only too large keeps its active segment.
    pub fn retain(&mut self, cutoff: Option<i64>, max_bytes: Option<u64>) -> Result<Removed> {
        let expired = |newest: Option<i64>| matches!((newest, cutoff), (Some(n), Some(c)) if n < c);
        if expired(self.active.times.map(|(_, newest)| newest)) {
            self.roll()?;
        }
        let mut left = self.bytes();
        let mut count = 0;
        while count < self.sealed.len() {
            let oversize = max_bytes.is_some_and(|max| left > max);
            // Size first: asking for the age may read the whole segment.
            let goes = oversize || (cutoff.is_some() && expired(self.newest_of(count)?));
            if !goes {
                break;
            }
            left -= self.sealed[count].bytes;
            count += 1;
        }
        self.remove_oldest(count)
    }

    /// Largest append time in a closed segment; read from the file when first asked. A segment without a readable
    /// record has expired long ago.
    fn newest_of(&mut self, index: usize) -> Result<Option<i64>> {
        let sealed = &self.sealed[index];
        if sealed.newest.is_none() {
            let path = files::segment_path(&self.dir, sealed.base);
            let file = files::open_ro(&path)?;
            let marker = self.marker_of(&file, &path, sealed.base)?;
            let segment = Segment { file: &file, marker: &marker, base: sealed.base, limit: sealed.bytes };
            let times = scan_segment(&segment).map_err(|e| Error::io("read", &path, e))?.times;
            self.sealed[index].newest = Some(times.map_or(i64::MIN, |(_, newest)| newest));
        }
        Ok(self.sealed[index].newest)
    }

    /// Deletes the `count` oldest closed segments, oldest first, so that a crash leaves no hole.
    fn remove_oldest(&mut self, count: usize) -> Result<Removed> {
        if count == 0 {
            return Ok(Removed::default());
        }
        let before = self.bytes();
        for _ in 0..count {
            files::remove(&files::segment_path(&self.dir, self.sealed[0].base))?;
            self.sealed_bytes -= self.sealed.remove(0).bytes;
        }
        files::sync_dir(&self.dir)?;
        self.removed(count, before)
    }

    /// Tells the readers that files have changed.
    fn removed(&mut self, segments: usize, before: u64) -> Result<Removed> {
        files::sync_dir(&self.dir)?;
        self.publish(self.state.generation.wrapping_add(1))?;
        Ok(Removed { segments, bytes: before.saturating_sub(self.bytes()) })
    }
}

/// Bytes that a replacement of these payloads takes in the file.
pub fn replacement_bytes(payload_lengths: impl IntoIterator<Item = usize>) -> u64 {
    let records = payload_lengths.into_iter().map(|length| (RECORD_HEADER_BYTES + length) as u64);
    SEGMENT_HEADER_BYTES + records.sum::<u64>()
}
