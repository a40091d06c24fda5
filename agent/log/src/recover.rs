//! Opening a log for writing: what a crash, a power cut or a bad disk has left is put in order without a person.
//!
//! Owns the decision between a torn tail (cut off, nothing was promised) and damage (kept, skipped and reported).
//! Only the last segment can be torn, because a segment is synced before its successor is made; so only that one
//! is read, unless everything is to be verified.

use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::files::{self, FILE_MODE, LOCK_MODE, LOCK_NAME, REPLACEMENT_NAME};
use crate::format::{HeaderCheck, Marker, NO_MARKER, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::options::{Options, Verify};
use crate::scan::{DamageReason, DamagedRange, Found, Segment, Window};
use crate::state::{State, StateFile};
use crate::writer::{Active, LogWriter, Sealed};

/// What opening a log found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Unreadable stretches. Their bytes stay in closed segments, so each is reported once here, and again by
    /// every reader that comes by.
    pub damaged: Vec<DamagedRange>,
    /// Bytes of unfinished appends cut off the end. No sync had covered them.
    pub truncated_bytes: u64,
    /// Left-over files of an interrupted replacement that were deleted.
    pub leftover_files: usize,
    /// Segments read and verified.
    pub verified_segments: usize,
    /// Records read and verified.
    pub verified_records: u64,
    /// The state file was absent or unreadable although there were segments, and was made anew.
    pub state_rebuilt: bool,
}

/// What one pass over a segment found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The offset after the last record, or the base.
    pub next_offset: u64,
    /// Byte after the last record.
    pub end: u64,
    pub times: Option<(i64, i64)>,
    pub records: u64,
    pub damaged: Vec<DamagedRange>,
    /// What is wrong with the bytes from `end` on; `None` when the file ends there.
    pub tail: Option<DamageReason>,
}

/// Reads and verifies every record of a segment.
pub(crate) fn scan_segment(segment: &Segment<'_>) -> std::io::Result<Scan> {
    let mut window = Window::default();
    let mut scan =
        Scan { next_offset: segment.base, end: SEGMENT_HEADER_BYTES, times: None, records: 0, damaged: Vec::new(), tail: None };
    while scan.end < segment.limit {
        let at = scan.end;
        match window.record_at(segment, at)? {
            Found::Record(header) => scan.take(at, &header),
            Found::Bad(reason) => match window.find_record(segment, at + 1)? {
                Some((found, header)) => {
                    scan.damaged.push(DamagedRange {
                        first_offset: scan.next_offset,
                        end_offset: header.offset.max(scan.next_offset),
                        bytes: found - at,
                        reason,
                    });
                    scan.take(found, &header);
                }
                None => {
                    scan.tail = Some(reason);
                    break;
                }
            },
        }
    }
    Ok(scan)
}

impl Scan {
    fn take(&mut self, at: u64, header: &crate::format::RecordHeader) {
        let (first, newest) = self.times.unwrap_or((header.timestamp, header.timestamp));
        self.times = Some((first, newest.max(header.timestamp)));
        self.next_offset = self.next_offset.max(header.offset.saturating_add(1));
        self.end = at + header.record_bytes() as u64;
        self.records += 1;
    }
}

impl LogWriter {
    /// Opens the log in `dir` for writing, creating it if absent, and recovers it.
    ///
    /// # Errors
    /// [`Error::Locked`] when there is a writer already, [`Error::NewerFormat`] for a later format, and the
    /// operating system's errors. Damage is no error: it is in the [`Recovery`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<(Self, Recovery)> {
        let dir = dir.as_ref();
        options.check()?;
        files::ensure_dir(dir)?;
        let lock_path = dir.join(LOCK_NAME);
        let lock = files::open_rw(&lock_path, LOCK_MODE, false)?;
        files::lock(&lock, &lock_path)?;
        let mut recovery = Recovery::default();
        files::remove(&dir.join(REPLACEMENT_NAME))?;
        let listing = files::list(dir)?;
        for base in &listing.superseded {
            files::remove(&files::segment_path(dir, *base))?;
            recovery.leftover_files += 1;
        }
        let (state_file, published) = StateFile::open(dir)?;
        recovery.state_rebuilt = published.is_none() && !listing.bases.is_empty();
        let marker = known_marker(dir, published.as_ref())?;
        let recovered = &mut recovery;
        let mut opening = Opening { dir, marker, published, recovery: recovered, must_seal: false, foreign_marker: false };
        let (active, next_offset) = opening.open_last(listing.bases.last().copied(), options.min_next_offset)?;
        let (must_seal, foreign_marker) = (opening.must_seal, opening.foreign_marker);
        let sealed = opening.open_sealed(&listing, options.verify)?;
        let mut writer = Self {
            dir: dir.to_path_buf(),
            state: opening.first_state(&active, next_offset)?,
            options,
            state_file,
            sealed_bytes: sealed.iter().map(|s| s.bytes).sum(),
            sealed,
            active,
            next_offset,
            synced_offset: next_offset,
            scratch: Vec::new(),
            _lock: lock,
        };
        files::sync_dir(dir)?;
        if must_seal || foreign_marker {
            match writer.start_segment() {
                // On a full disk appending behind the damage is as good; readers find the way.
                Err(e) if e.is_no_space() && !foreign_marker => {}
                other => other?,
            }
        }
        writer.publish(writer.state.generation.wrapping_add(1))?;
        Ok((writer, recovery))
    }
}

/// The log's marker: from the state, else from any intact header, else a new one.
fn known_marker(dir: &Path, published: Option<&State>) -> Result<Marker> {
    if let Some(state) = published {
        return Ok(state.marker);
    }
    let mut marker = files::neighbour_marker(dir)?;
    while marker == NO_MARKER {
        marker = files::random()?;
    }
    Ok(marker)
}

/// The steps of opening, with what they share.
struct Opening<'a> {
    dir: &'a Path,
    marker: Marker,
    published: Option<State>,
    recovery: &'a mut Recovery,
    /// Damage was found in the last segment: it is closed, so that it is reported and read at open only once.
    must_seal: bool,
    /// The last segment's records carry another marker than new ones will: it must be closed.
    foreign_marker: bool,
}

impl Opening<'_> {
    /// Puts the last segment in order (or makes the first one) and finds the next offset.
    fn open_last(&mut self, last: Option<u64>, min_next_offset: u64) -> Result<(Active, u64)> {
        let promised = self.published.map_or(0, |s| s.end_offset);
        let (active, found) = match last {
            Some(base) => self.recover_active(base)?,
            None => {
                let base = promised.max(min_next_offset);
                (Active::create(self.dir, &self.marker, base)?, base)
            }
        };
        self.report_missing_segment(last, found, promised);
        Ok((active, found.max(promised).max(min_next_offset)))
    }

    /// Reads the last segment whole; repairs its header, cuts a torn tail, syncs what is adopted.
    fn recover_active(&mut self, base: u64) -> Result<(Active, u64)> {
        let path = files::segment_path(self.dir, base);
        let file = files::open_rw(&path, FILE_MODE, false)?;
        let io = |action, e| Error::io(action, &path, e);
        let length = file.metadata().map_err(|e| io("inspect", e))?.len();
        let marker = match files::read_header(&file, &path, base)? {
            HeaderCheck::Valid(header) => header.marker,
            HeaderCheck::Newer(version) => return Err(Error::NewerFormat { path, version }),
            HeaderCheck::Damaged => {
                self.note_bad_header(base, length);
                let header = SegmentHeader { marker: self.marker, base, replaced_below: 0 };
                file.write_all_at(&header.encode(), 0).map_err(|e| io("write", e))?;
                self.marker
            }
        };
        let segment = Segment { file: &file, marker: &marker, base, limit: length.max(SEGMENT_HEADER_BYTES) };
        let scan = scan_segment(&segment).map_err(|e| io("read", e))?;
        self.must_seal |= !scan.damaged.is_empty();
        self.foreign_marker = marker != self.marker;
        let len = self.judge_tail(&scan, base, segment.limit);
        if len < length {
            file.set_len(len).map_err(|e| io("truncate", e))?;
        }
        file.sync_all().map_err(|e| io("sync", e))?;
        // A segment with any bytes uses up its base, so that its successor gets another name.
        let least = if len > SEGMENT_HEADER_BYTES { base.saturating_add(1) } else { base };
        let (next_offset, times) = (scan.next_offset.max(least), scan.times);
        self.note_scan(scan);
        let active = Active { base, path, file, len, synced_len: len, times, needs_truncate: false };
        Ok((active, next_offset))
    }

    /// Where the last segment ends: torn bytes go, damaged ones (which a sync had covered) stay and are reported.
    fn judge_tail(&mut self, scan: &Scan, base: u64, limit: u64) -> u64 {
        let published = self.published.filter(|s| s.segment_base == base);
        let promised = published.map_or(0, |s| s.position);
        let lost_end = published.map_or(0, |s| s.end_offset).max(scan.next_offset);
        if scan.end < promised {
            self.must_seal = true;
            self.recovery.damaged.push(DamagedRange {
                first_offset: scan.next_offset,
                end_offset: lost_end,
                bytes: promised - scan.end,
                reason: scan.tail.unwrap_or(DamageReason::CutShort),
            });
            return limit;
        }
        self.recovery.truncated_bytes += limit - scan.end;
        scan.end
    }

    /// A header that was never finished belongs to a segment without records; anything else is damage.
    fn note_bad_header(&mut self, base: u64, length: u64) {
        if length > SEGMENT_HEADER_BYTES {
            self.recovery.damaged.push(DamagedRange {
                first_offset: base,
                end_offset: base,
                bytes: SEGMENT_HEADER_BYTES,
                reason: DamageReason::SegmentHeader,
            });
        }
    }

    /// The state speaks of a segment later than any that exists: somebody or something removed it.
    fn report_missing_segment(&mut self, last: Option<u64>, found: u64, promised: u64) {
        let Some(state) = self.published else { return };
        if last.is_none_or(|base| base < state.segment_base) && state.position > SEGMENT_HEADER_BYTES {
            self.must_seal = last.is_some();
            self.recovery.damaged.push(DamagedRange {
                first_offset: if last.is_some() { found } else { state.segment_base },
                end_offset: promised,
                bytes: state.position,
                reason: DamageReason::MissingSegment,
            });
        }
    }

    /// Lists the closed segments and, if asked, verifies them.
    fn open_sealed(&mut self, listing: &files::Listing, verify: Verify) -> Result<Vec<Sealed>> {
        let mut sealed = Vec::new();
        for pair in listing.bases.windows(2) {
            let (base, end) = (pair[0], pair[1]);
            let path = files::segment_path(self.dir, base);
            let file = files::open_ro(&path)?;
            let bytes = file.metadata().map_err(|e| Error::io("inspect", &path, e))?.len();
            let is_replacement = sealed.is_empty() && listing.oldest_is_replacement;
            let mut newest = None;
            if verify == Verify::Everything {
                newest = self.verify_sealed(&file, &path, base, end, bytes)?;
            }
            sealed.push(Sealed { base, bytes, is_replacement, newest });
        }
        Ok(sealed)
    }

    fn verify_sealed(&mut self, file: &std::fs::File, path: &Path, base: u64, end: u64, bytes: u64) -> Result<Option<i64>> {
        let marker = match files::read_header(file, path, base)? {
            HeaderCheck::Valid(header) => header.marker,
            HeaderCheck::Newer(version) => return Err(Error::NewerFormat { path: path.to_path_buf(), version }),
            HeaderCheck::Damaged => {
                self.note_bad_header(base, bytes);
                self.marker
            }
        };
        let segment = Segment { file, marker: &marker, base, limit: bytes };
        let mut scan = scan_segment(&segment).map_err(|e| Error::io("read", path, e))?;
        if let Some(reason) = scan.tail {
            scan.damaged.push(DamagedRange {
                first_offset: scan.next_offset,
                end_offset: end.max(scan.next_offset),
                bytes: bytes - scan.end,
                reason,
            });
        }
        let newest = scan.times.map(|(_, newest)| newest);
        self.note_scan(scan);
        Ok(newest)
    }

    fn note_scan(&mut self, scan: Scan) {
        self.recovery.verified_segments += 1;
        self.recovery.verified_records += scan.records;
        self.recovery.damaged.extend(scan.damaged);
    }

    /// The state before the first publication of this writer.
    fn first_state(&self, active: &Active, next_offset: u64) -> Result<State> {
        // Random, because the state found may be an older one than a reader that lives on has seen.
        let generation = u64::from_le_bytes(files::random()?);
        Ok(State {
            sequence: self.published.map_or(0, |s| s.sequence),
            marker: self.marker,
            generation,
            end_offset: next_offset,
            segment_base: active.base,
            position: active.synced_len,
        })
    }
}
