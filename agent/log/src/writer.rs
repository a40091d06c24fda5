//! The single writer of a log: append, sync, roll to a new segment.
//!
//! Owns the lock, the active segment and the published state. What a failed call had written is taken back by
//! truncation, so that the log is always either as before or as promised. Recovery at open is in `recover.rs`,
//! removal of old segments in `evict.rs`.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{self, FILE_MODE};
use crate::format::{Marker, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, encode_record};
use crate::options::{Options, SyncPolicy};
use crate::state::{State, StateFile};

/// A scratch buffer larger than this is given back after use, so that one large batch is not held forever.
const KEPT_SCRATCH_BYTES: usize = 4 * 1024 * 1024;

/// One segment, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Offset in the file's name; no record in it is smaller.
    pub base: u64,
    /// Offset at which the next segment begins (for the active one, the next offset to be given).
    pub end: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// The segment was written by [`LogWriter::replace_oldest`].
    pub is_replacement: bool,
    /// The segment is being appended to.
    pub is_active: bool,
}

/// A segment that is no longer appended to.
#[derive(Debug)]
pub(crate) struct Sealed {
    pub base: u64,
    pub bytes: u64,
    pub is_replacement: bool,
    /// Largest append time in it; `None` until somebody asked.
    pub newest: Option<i64>,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(crate) struct Active {
    pub base: u64,
    pub path: PathBuf,
    pub file: File,
    /// Bytes that count; the file may be longer after a failed truncation.
    pub len: u64,
    /// Bytes known to be on the disk.
    pub synced_len: u64,
    /// Append times of its first record and the largest one.
    pub times: Option<(i64, i64)>,
    /// The file must be truncated to `len` before anything else is written.
    pub needs_truncate: bool,
}

/// The writer. See the crate's page for what it promises.
#[derive(Debug)]
pub struct LogWriter {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) state_file: StateFile,
    /// What was last published.
    pub(crate) state: State,
    pub(crate) sealed: Vec<Sealed>,
    /// Sum of their sizes, so that an append need not add them up.
    pub(crate) sealed_bytes: u64,
    pub(crate) active: Active,
    pub(crate) next_offset: u64,
    pub(crate) synced_offset: u64,
    pub(crate) scratch: Vec<u8>,
    pub(crate) _lock: File,
}

impl LogWriter {
    /// Appends one record and returns its offset. `timestamp` is the caller's append time in microseconds since
    /// 1970; retention goes by it. The record is durable, and visible to readers, after the next sync.
    pub fn append(&mut self, timestamp: i64, payload: &[u8]) -> Result<u64> {
        self.append_batch(timestamp, [payload]).map(|offsets| offsets.start)
    }

    /// Appends records with consecutive offsets, all or none, in one write.
    ///
    /// # Errors
    /// [`Error::Full`] and [`Error::NoSpace`] leave the log as it was. [`Error::SyncFailed`] additionally takes
    /// back what was appended since the last good sync.
    pub fn append_batch<P: AsRef<[u8]>>(&mut self, timestamp: i64, payloads: impl IntoIterator<Item = P>) -> Result<Range<u64>> {
        let count = self.encode(timestamp, payloads)?;
        if count > 0 {
            self.make_room(self.scratch.len() as u64, timestamp)?;
            self.write_scratch(timestamp)?;
        }
        let first = self.next_offset;
        self.next_offset += count;
        if self.options.sync == SyncPolicy::EveryAppend {
            self.sync()?;
        }
        Ok(first..self.next_offset)
    }

    /// Makes every appended record durable and then visible to readers. Cheap when there is nothing to do.
    pub fn sync(&mut self) -> Result<()> {
        self.restore_length()?;
        if self.active.synced_len < self.active.len {
            if let Err(source) = self.active.sync_data() {
                return Err(self.take_back_unsynced(source));
            }
            self.active.synced_len = self.active.len;
        }
        self.synced_offset = self.next_offset;
        self.publish(self.state.generation)
    }

    /// Syncs and closes. Dropping the writer instead leaves unsynced records to the operating system.
    pub fn close(mut self) -> Result<()> {
        self.sync()
    }

    /// No record of the log has a smaller offset. Equal to [`LogWriter::next_offset`] when the log is empty.
    pub fn first_offset(&self) -> u64 {
        self.sealed.first().map_or(self.active.base, |s| s.base)
    }

    /// Offset that the next record gets, provided that no failed sync takes records back first.
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Every record below this offset is durable and visible.
    pub fn synced_offset(&self) -> u64 {
        self.synced_offset
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.sealed_bytes + self.active.len
    }

    /// Every segment, oldest first; the last one is active.
    pub fn segments(&self) -> Vec<SegmentInfo> {
        let ends = self.sealed.iter().skip(1).map(|s| s.base).chain([self.active.base]);
        let sealed = self.sealed.iter().zip(ends).map(|(s, end)| SegmentInfo {
            base: s.base,
            end,
            bytes: s.bytes,
            is_replacement: s.is_replacement,
            is_active: false,
        });
        let active = SegmentInfo {
            base: self.active.base,
            end: self.next_offset,
            bytes: self.active.len,
            is_replacement: false,
            is_active: true,
        };
        sealed.chain([active]).collect()
    }

    /// The log's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Closes the active segment and begins a new one. Does nothing when the active one holds no record.
    pub fn roll(&mut self) -> Result<()> {
        self.sync()?;
        if self.active.len == SEGMENT_HEADER_BYTES && self.active.base == self.next_offset {
            return Ok(());
        }
        self.start_segment()
    }

    /// Seals the (synced) active segment and makes the next one, even if the active one is empty.
    pub(crate) fn start_segment(&mut self) -> Result<()> {
        let base = self.next_offset.max(self.active.base + 1);
        let fresh = Active::create(&self.dir, &self.state.marker, base)?;
        let old = std::mem::replace(&mut self.active, fresh);
        self.sealed_bytes += old.len;
        self.sealed.push(Sealed {
            base: old.base,
            bytes: old.len,
            is_replacement: false,
            newest: old.times.map(|(_, newest)| newest),
        });
        self.next_offset = base;
        self.synced_offset = base;
        self.publish(self.state.generation)
    }

    /// Tells the readers where the durable part ends, if that has changed.
    pub(crate) fn publish(&mut self, generation: u64) -> Result<()> {
        let state = State {
            sequence: self.state.sequence,
            marker: self.state.marker,
            generation,
            end_offset: self.synced_offset,
            segment_base: self.active.base,
            position: self.active.synced_len,
        };
        if state != self.state {
            let state = State { sequence: state.sequence.wrapping_add(1), ..state };
            self.state_file.publish(&state)?;
            self.state = state;
        }
        Ok(())
    }

    /// Encodes the batch into the scratch buffer, within the limits, and returns the number of records.
    fn encode<P: AsRef<[u8]>>(&mut self, timestamp: i64, payloads: impl IntoIterator<Item = P>) -> Result<u64> {
        self.scratch.clear();
        self.scratch.shrink_to(KEPT_SCRATCH_BYTES);
        let limit = self.options.max_batch_bytes();
        let mut count = 0;
        for payload in payloads {
            let payload = payload.as_ref();
            if payload.len() > self.options.max_record_bytes {
                return Err(Error::RecordTooLarge { bytes: payload.len(), max: self.options.max_record_bytes });
            }
            let bytes = (self.scratch.len() + RECORD_HEADER_BYTES + payload.len()) as u64;
            if bytes > limit {
                return Err(Error::BatchTooLarge { bytes, max: limit });
            }
            encode_record(&mut self.scratch, &self.state.marker, self.next_offset + count, timestamp, payload);
            count += 1;
        }
        Ok(count)
    }

    /// Checks the log's limit and rolls when the batch does not fit into the active segment.
    fn make_room(&mut self, batch: u64, timestamp: i64) -> Result<()> {
        let holds_records = self.active.len > SEGMENT_HEADER_BYTES;
        let oversize = self.active.len + batch > self.options.segment_bytes;
        let span = self.active.times.map_or(0, |(first, _)| timestamp.saturating_sub(first));
        let roll = holds_records && (oversize || span > self.options.segment_span_micros);
        let needed = batch + if roll { SEGMENT_HEADER_BYTES } else { 0 };
        let bytes = self.bytes();
        if bytes.saturating_add(needed) > self.options.max_bytes {
            let max_bytes = self.options.max_bytes;
            return Err(Error::Full { path: self.dir.clone(), bytes, max_bytes, needed });
        }
        if roll { self.roll() } else { Ok(()) }
    }

    fn write_scratch(&mut self, timestamp: i64) -> Result<()> {
        self.restore_length()?;
        let active = &mut self.active;
        if let Err(e) = active.file.write_all_at(&self.scratch, active.len) {
            active.needs_truncate = true;
            let error = Error::io("append to", &active.path, e);
            // A failure here is met again, and reported, by the next append or sync.
            let _ = self.restore_length();
            return Err(error);
        }
        active.len += self.scratch.len() as u64;
        active.note_time(timestamp);
        Ok(())
    }

    /// Cuts off what a failed write has left. Until that works, nothing is appended.
    fn restore_length(&mut self) -> Result<()> {
        let active = &mut self.active;
        if active.needs_truncate {
            active.file.set_len(active.len).map_err(|e| Error::io("truncate", &active.path, e))?;
            active.needs_truncate = false;
        }
        Ok(())
    }

    /// After a failed sync the disk may hold anything of the unsynced part: it is dropped, and the caller told.
    fn take_back_unsynced(&mut self, source: std::io::Error) -> Error {
        let discarded = self.synced_offset..self.next_offset;
        self.next_offset = self.synced_offset;
        self.active.len = self.active.synced_len;
        self.active.needs_truncate = true;
        // A failure here is met again, and reported, by the next append or sync.
        let _ = self.restore_length();
        Error::SyncFailed { path: self.active.path.clone(), discarded, source }
    }
}

impl Active {
    /// Makes an empty segment, durable before its first record. A half-made file is removed again.
    pub(crate) fn create(dir: &Path, marker: &Marker, base: u64) -> Result<Self> {
        let path = files::segment_path(dir, base);
        let made = Self::make(&path, marker, base).and_then(|file| files::sync_dir(dir).map(|()| file));
        match made {
            Ok(file) => Ok(Self {
                base,
                path,
                file,
                len: SEGMENT_HEADER_BYTES,
                synced_len: SEGMENT_HEADER_BYTES,
                times: None,
                needs_truncate: false,
            }),
            Err(e) => {
                // An empty file that stays behind is harmless: the next attempt or the next open reuses it.
                let _ = files::remove(&path);
                Err(e)
            }
        }
    }

    fn make(path: &Path, marker: &Marker, base: u64) -> Result<File> {
        let file = files::open_rw(path, FILE_MODE, true)?;
        let header = SegmentHeader { marker: *marker, base, replaced_below: 0 }.encode();
        file.write_all_at(&header, 0).map_err(|e| Error::io("write", path, e))?;
        file.sync_all().map_err(|e| Error::io("sync", path, e))?;
        Ok(file)
    }

    pub(crate) fn note_time(&mut self, timestamp: i64) {
        let (first, newest) = self.times.unwrap_or((timestamp, timestamp));
        self.times = Some((first, newest.max(timestamp)));
    }

    #[cfg(not(test))]
    fn sync_data(&self) -> std::io::Result<()> {
        self.file.sync_data()
    }

    /// In this crate's own tests a disk can be made to refuse.
    #[cfg(test)]
    fn sync_data(&self) -> std::io::Result<()> {
        match FAILING_SYNCS.with(|left| left.replace(left.get().saturating_sub(1))) {
            0 => self.file.sync_data(),
            _ => Err(std::io::Error::from_raw_os_error(libc::EIO)),
        }
    }
}

#[cfg(test)]
thread_local! {
    /// How many of the next syncs fail on this thread.
    pub(crate) static FAILING_SYNCS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
