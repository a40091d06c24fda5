//! Reading a log from another process: tailing, seeking, stepping over damage and over what was removed meanwhile.
//!
//! Owns nothing on the disk and needs only read permission. Shows durable records only (below the published end),
//! so nothing it has returned can be taken back by a crash of the writer.

use std::collections::VecDeque;
use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::files;
use crate::format::{HeaderCheck, Marker, NO_MARKER, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES};
use crate::read::{Batch, Read, Record, Skipped, Sought};
use crate::scan::{DamageReason, DamagedRange, Found, Segment, Window};
use crate::state::{State, StateReader};

/// The segment being read.
#[derive(Debug)]
struct Current {
    base: u64,
    file: File,
    path: PathBuf,
    identity: (u64, u64),
    marker: Marker,
    /// Next byte to look at.
    at: u64,
    /// Bytes that may be looked at.
    limit: u64,
    /// It will not grow any more.
    is_sealed: bool,
}

impl Current {
    fn segment(&self) -> Segment<'_> {
        Segment { file: &self.file, marker: &self.marker, base: self.base, limit: self.limit }
    }
}

/// A reader. Any number of them may read one log.
#[derive(Debug)]
pub struct LogReader {
    dir: PathBuf,
    state_reader: StateReader,
    state: Option<State>,
    current: Option<Current>,
    /// Next offset wanted.
    expected: u64,
    /// No offset was asked for yet: wherever the log begins is fine.
    from_oldest: bool,
    window: Window,
    pending: VecDeque<Read>,
}

impl LogReader {
    /// Opens the log at its oldest record. A log without segments yet is fine.
    ///
    /// # Errors
    /// The folder does not exist or may not be read.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        files::list(dir)?;
        let mut state_reader = StateReader::new(dir);
        let state = state_reader.read()?;
        Ok(Self {
            dir: dir.to_path_buf(),
            state_reader,
            state,
            current: None,
            expected: 0,
            from_oldest: true,
            window: Window::default(),
            pending: VecDeque::new(),
        })
    }

    /// Continues at the first record whose offset is `offset` or larger.
    pub fn seek(&mut self, offset: u64) -> Result<Sought> {
        self.pending.clear();
        self.forget_segment();
        self.expected = offset;
        self.from_oldest = false;
        self.state = self.state_reader.read()?;
        Ok(match self.state {
            Some(state) if offset > state.end_offset => Sought::AheadOfLog { end_offset: state.end_offset },
            _ => Sought::Placed,
        })
    }

    /// Offset at which reading continues; store this in the cursor after the records before it are done with.
    pub fn position(&self) -> u64 {
        let waiting = self.pending.iter().find_map(|read| match read {
            Read::Record(record) => Some(record.offset),
            _ => None,
        });
        waiting.unwrap_or(self.expected)
    }

    /// No record has a smaller offset; `None` while the log has no segment.
    pub fn first_offset(&self) -> Result<Option<u64>> {
        Ok(files::list(&self.dir)?.bases.first().copied())
    }

    /// The offset after the last durable record; `None` when the writer has published none.
    pub fn end_offset(&mut self) -> Result<Option<u64>> {
        Ok(self.state_reader.read()?.map(|state| state.end_offset))
    }

    /// True when [`LogReader::next`] would find something. Costs one small read of the state file.
    pub fn has_more(&mut self) -> Result<bool> {
        Ok(!self.pending.is_empty() || self.end_offset()?.is_none_or(|end| end > self.expected))
    }

    /// The next record or notice; `None` when everything durable has been read. Poll again later, or when the
    /// writer's side has given a sign.
    #[allow(clippy::should_implement_trait)] // An iterator would end for good at the first `None`.
    pub fn next(&mut self) -> Result<Option<Read>> {
        loop {
            if let Some(read) = self.pending.pop_front() {
                return Ok(Some(read));
            }
            if !self.advance()? {
                return Ok(None);
            }
        }
    }

    /// Up to `max_records` records of together at most `max_bytes` payload, but at least one if there is one.
    pub fn read_batch(&mut self, max_records: usize, max_bytes: usize) -> Result<Batch> {
        let (mut batch, mut bytes) = (Batch::default(), 0usize);
        while batch.records.len() < max_records {
            match self.next()? {
                Some(Read::Record(record)) => {
                    bytes = bytes.saturating_add(record.payload.len());
                    if bytes > max_bytes && !batch.records.is_empty() {
                        self.pending.push_front(Read::Record(record));
                        break;
                    }
                    batch.records.push(record);
                }
                Some(Read::Damaged(range)) => batch.damaged.push(range),
                Some(Read::Skipped(skipped)) => batch.skipped.push(skipped),
                None => break,
            }
        }
        Ok(batch)
    }

    /// Takes one step: a record, a stretch of damage, or the next segment. False when there is nothing now.
    fn advance(&mut self) -> Result<bool> {
        let Some(current) = &self.current else {
            return self.locate();
        };
        if current.at >= current.limit {
            return self.past_limit();
        }
        if !self.window.holds(current.at, RECORD_HEADER_BYTES) {
            self.refresh()?;
        }
        let Some(current) = &self.current else {
            return Ok(true);
        };
        let found = self.window.record_at(&current.segment(), current.at);
        match found.map_err(|e| Error::io("read", &current.path, e))? {
            Found::Record(header) if header.offset <= self.expected || self.from_oldest => self.deliver(&header),
            Found::Record(header) => self.deliver_after_jump(&header)?,
            Found::Bad(reason) => return self.step_over(reason),
        }
        Ok(true)
    }

    /// A jump may come from bytes that were replaced since they were read; then the new ones count.
    fn deliver_after_jump(&mut self, header: &RecordHeader) -> Result<()> {
        self.refresh()?;
        if self.current.is_some() {
            self.deliver(header);
        }
        Ok(())
    }

    /// Hands out the record at the current place, unless it lies before the wanted offset.
    fn deliver(&mut self, header: &RecordHeader) {
        let Some(current) = &mut self.current else { return };
        let at = current.at;
        current.at += header.record_bytes() as u64;
        if header.offset < self.expected {
            return;
        }
        if header.offset > self.expected && !self.from_oldest {
            self.pending.push_back(Read::Skipped(Skipped { expected: self.expected, resumed_at: header.offset }));
        }
        self.from_oldest = false;
        self.expected = header.offset.saturating_add(1);
        self.pending.push_back(Read::Record(Record {
            offset: header.offset,
            timestamp: header.timestamp,
            payload: Bytes::copy_from_slice(self.window.payload(at, header)),
        }));
    }

    /// Goes on behind unreadable bytes and reports them, unless they are an append that is not finished yet.
    fn step_over(&mut self, reason: DamageReason) -> Result<bool> {
        // The damaged part may just have been replaced; what stands there now counts.
        self.refresh()?;
        let Some(current) = &mut self.current else { return Ok(true) };
        let segment = Segment { file: &current.file, marker: &current.marker, base: current.base, limit: current.limit };
        let found = self.window.find_record(&segment, current.at + 1);
        let found = found.map_err(|e| Error::io("read", &current.path, e))?;
        let from = current.at;
        let (at, end_offset) = match found {
            Some((at, header)) => (at, header.offset),
            None => match self.end_of_current()? {
                Some(end_offset) => (self.current.as_ref().map_or(from, |c| c.limit), end_offset),
                None => {
                    self.window.clear();
                    return Ok(false);
                }
            },
        };
        if let Some(current) = &mut self.current {
            current.at = at;
        }
        self.report_damage(end_offset, at - from, reason);
        Ok(true)
    }

    /// Damage that lies wholly before the wanted offset is not this reader's business.
    fn report_damage(&mut self, end_offset: u64, bytes: u64, reason: DamageReason) {
        if end_offset < self.expected {
            return;
        }
        let base = self.current.as_ref().map_or(0, |current| current.base);
        let first_offset = if self.from_oldest { self.expected.max(base).min(end_offset) } else { self.expected };
        self.pending.push_back(Read::Damaged(DamagedRange { first_offset, end_offset, bytes, reason }));
        self.expected = end_offset;
        self.from_oldest = false;
    }

    fn end_of_current(&self) -> Result<Option<u64>> {
        self.current.as_ref().map_or(Ok(None), |current| self.end_of(current))
    }

    /// First offset behind a segment's readable part; `None` when more may still be written there.
    fn end_of(&self, current: &Current) -> Result<Option<u64>> {
        let promised = self.state.map(|state| state.end_offset);
        if !current.is_sealed {
            return Ok(promised);
        }
        let next = self.visible_bases()?.into_iter().find(|base| *base > current.base);
        Ok(next.or(promised))
    }

    /// At the end of what may be read here: look for more, then for the next segment.
    fn past_limit(&mut self) -> Result<bool> {
        self.refresh()?;
        let Some(current) = &self.current else {
            return Ok(true);
        };
        if current.at < current.limit {
            return Ok(true);
        }
        if !current.is_sealed {
            return Ok(false);
        }
        if !self.is_in_place()? {
            self.forget_segment();
            return Ok(true);
        }
        let base = current.base;
        match self.visible_bases()?.into_iter().find(|next| *next > base) {
            Some(next) => self.enter(next),
            None => Ok(false),
        }
    }

    /// Learns what the writer has published since, and leaves a segment that was replaced or deleted.
    fn refresh(&mut self) -> Result<()> {
        let before = self.state.map(|state| state.generation);
        self.state = self.state_reader.read()?;
        let is_changed = self.state.map(|state| state.generation) != before;
        // A reader that waits at the start of a segment may have got a replacement behind its back.
        let is_ahead = self.current.as_ref().is_some_and(|current| current.base > self.expected);
        if is_changed && (is_ahead || !self.is_in_place()?) {
            self.forget_segment();
        }
        if let Some(mut current) = self.current.take() {
            self.set_limit(&mut current)?;
            self.current = Some(current);
        }
        Ok(())
    }

    /// Whether the file being read is still the one in the folder.
    fn is_in_place(&self) -> Result<bool> {
        let Some(current) = &self.current else { return Ok(false) };
        match std::fs::symlink_metadata(&current.path) {
            Ok(meta) => Ok(files::identity(&meta) == current.identity),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("inspect", &current.path, e)),
        }
    }

    fn forget_segment(&mut self) {
        self.current = None;
        self.window.clear();
    }

    /// Segments that may be read: those up to the published one.
    fn visible_bases(&self) -> Result<Vec<u64>> {
        let mut bases = files::list(&self.dir)?.bases;
        if let Some(state) = self.state {
            bases.retain(|base| *base <= state.segment_base);
        }
        Ok(bases)
    }

    /// Finds the segment of the wanted offset. False when there is none yet.
    fn locate(&mut self) -> Result<bool> {
        self.state = self.state_reader.read()?;
        let bases = self.visible_bases()?;
        let index = bases.partition_point(|base| *base <= self.expected).saturating_sub(1);
        match bases.get(index) {
            Some(base) => self.enter(*base),
            None => Ok(false),
        }
    }

    /// Opens a segment and goes to the wanted offset in it. False when it was deleted a moment ago: try later.
    fn enter(&mut self, base: u64) -> Result<bool> {
        self.forget_segment();
        let path = files::segment_path(&self.dir, base);
        let file = match files::open_ro(&path) {
            Ok(file) => file,
            Err(e) if e.is_not_found() => return Ok(false),
            Err(e) => return Err(e),
        };
        let meta = file.metadata().map_err(|e| Error::io("inspect", &path, e))?;
        let (marker, is_damaged) = self.marker_of(&file, &path, base)?;
        let identity = files::identity(&meta);
        let (at, limit) = (SEGMENT_HEADER_BYTES, 0);
        let mut current = Current { base, file, path, identity, marker, at, limit, is_sealed: false };
        self.set_limit(&mut current)?;
        if current.marker == NO_MARKER && !current.is_sealed {
            // The writer is making its very first segment at this moment.
            return Ok(false);
        }
        if is_damaged && current.limit > SEGMENT_HEADER_BYTES && self.expected <= base {
            let (bytes, reason) = (SEGMENT_HEADER_BYTES, DamageReason::SegmentHeader);
            let range = DamagedRange { first_offset: base, end_offset: base, bytes, reason };
            self.pending.push_back(Read::Damaged(range));
        }
        self.hop(&mut current)?;
        self.current = Some(current);
        Ok(true)
    }

    /// The marker of a segment's records; when its header is damaged, the log's.
    fn marker_of(&self, file: &File, path: &Path, base: u64) -> Result<(Marker, bool)> {
        match (files::read_header(file, path, base)?, self.state) {
            (HeaderCheck::Valid(header), _) => Ok((header.marker, false)),
            (HeaderCheck::Newer(version), _) => Err(Error::NewerFormat { path: path.to_path_buf(), version }),
            (HeaderCheck::Damaged, Some(state)) => Ok((state.marker, true)),
            (HeaderCheck::Damaged, None) => Ok((files::neighbour_marker(&self.dir)?, true)),
        }
    }

    /// How far the segment may be read: to the published position, or whole once it is closed.
    fn set_limit(&self, current: &mut Current) -> Result<()> {
        current.is_sealed = match self.state {
            Some(state) => current.base < state.segment_base,
            None => files::list(&self.dir)?.bases.last().is_some_and(|last| *last > current.base),
        };
        current.limit = match self.state {
            // The common case of a tail that is looked at again and again: no question to the file system.
            Some(state) if !current.is_sealed => state.position,
            _ => current.file.metadata().map_err(|e| Error::io("inspect", &current.path, e))?.len(),
        };
        Ok(())
    }

    /// Jumps from header to header up to the wanted offset, without reading payloads. Any doubt (damage, a jump in
    /// the offsets) leads back to the start of the segment, from where every record is then verified.
    fn hop(&mut self, current: &mut Current) -> Result<()> {
        let mut previous = None;
        while current.at < current.limit {
            let found = self.window.header_at(&current.segment(), current.at);
            let header = found.map_err(|e| Error::io("read", &current.path, e))?;
            let next = header.filter(|h| previous.is_none_or(|p| h.offset.checked_sub(1) == Some(p)));
            match next {
                Some(header) if header.offset >= self.expected => return Ok(()),
                Some(header) => {
                    previous = Some(header.offset);
                    current.at += header.record_bytes() as u64;
                }
                None => break,
            }
        }
        let arrived = current.at == current.limit && self.end_of(current)? == previous.map(|p| p.saturating_add(1));
        if !arrived {
            current.at = SEGMENT_HEADER_BYTES;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "reader_tests.rs"]
mod tests;
