//! What a log may be told: sizes, limits and when it syncs.
//!
//! Owns the defaults and their reasons. Options that contradict each other are refused when the log is opened.

use crate::error::{Error, Result};
use crate::format::{RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES};

/// Default size at which a segment is closed: large enough that a busy log makes few files, small enough that
/// recovery (one segment is read) stays well under a second and eviction is fine-grained.
pub const DEFAULT_SEGMENT_BYTES: u64 = 32 * 1024 * 1024;

/// Default limit of a whole log. A spool on a workstation must never fill its disk.
pub const DEFAULT_MAX_BYTES: u64 = 512 * 1024 * 1024;

/// Default limit of one record: a signed batch is at most 900 KB, the rest is room for its envelope.
pub const DEFAULT_MAX_RECORD_BYTES: usize = 1024 * 1024;

/// No record may ever be larger, whatever the options say: what a reader is willing to hold in memory for a
/// length that it found on a disk.
pub const HARD_MAX_RECORD_BYTES: usize = 64 * 1024 * 1024;

/// Default span of append times in one segment (24 h, microseconds): retention removes whole segments, so this
/// is how much longer than its due date a record of a quiet log can stay.
pub const DEFAULT_SEGMENT_SPAN_MICROS: i64 = 24 * 3600 * 1_000_000;

/// Smallest accepted segment size: anything less makes more headers than records.
pub const MIN_SEGMENT_BYTES: u64 = 512;

/// When appended records are made durable and visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SyncPolicy {
    /// Every append returns after the disk has it. Simple, and as slow as the disk.
    EveryAppend,
    /// The caller calls [`crate::LogWriter::sync`] after a group of records (group commit).
    #[default]
    Manual,
}

/// How much of the log is verified when the writer opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Only the last segment: every other one was synced whole before its successor was created.
    #[default]
    LastSegment,
    /// Every record of every segment; reads the whole log.
    Everything,
}

/// Settings of a [`crate::LogWriter`].
#[derive(Debug, Clone)]
pub struct Options {
    /// A segment that would grow beyond this is closed first (bytes).
    pub segment_bytes: u64,
    /// Appends that would make the log larger are refused with [`Error::Full`] (bytes).
    /// `u64::MAX` for a log whose retention is run by the caller.
    pub max_bytes: u64,
    /// Largest payload accepted (bytes).
    pub max_record_bytes: usize,
    /// A segment whose first record is older than this at append time is closed (microseconds).
    pub segment_span_micros: i64,
    /// When records become durable and visible.
    pub sync: SyncPolicy,
    /// How much is verified at open.
    pub verify: Verify,
    /// The next offset is at least this. Give the highest cursor known: should the log's folder have been lost
    /// or restored from an older copy, no offset that a reader has already passed is used again.
    pub min_next_offset: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            max_bytes: DEFAULT_MAX_BYTES,
            max_record_bytes: DEFAULT_MAX_RECORD_BYTES,
            segment_span_micros: DEFAULT_SEGMENT_SPAN_MICROS,
            sync: SyncPolicy::default(),
            verify: Verify::default(),
            min_next_offset: 0,
        }
    }
}

impl Options {
    /// Largest number of bytes one batch may take in a file: a segment, or one record of the largest size.
    pub(crate) fn max_batch_bytes(&self) -> u64 {
        let one_record = (RECORD_HEADER_BYTES + self.max_record_bytes) as u64;
        one_record.max(self.segment_bytes - SEGMENT_HEADER_BYTES)
    }

    /// Refuses settings with which no record could ever be written.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |reason| Err(Error::InvalidOptions { reason });
        if self.segment_bytes < MIN_SEGMENT_BYTES {
            return refuse("segment_bytes is below 512");
        }
        if self.max_record_bytes == 0 || self.max_record_bytes > HARD_MAX_RECORD_BYTES {
            return refuse("max_record_bytes must be between 1 and 64 MiB");
        }
        if self.max_bytes < SEGMENT_HEADER_BYTES + (RECORD_HEADER_BYTES + self.max_record_bytes) as u64 {
            return refuse("max_bytes is too small for one record of max_record_bytes");
        }
        if self.segment_span_micros <= 0 {
            return refuse("segment_span_micros must be positive");
        }
        Ok(())
    }
}
