//! What a reader hands out: records, and a word about everything that is no record.
//!
//! Owns plain values only. A notice (damage, jump) stands in the order in which it was met, so that it cannot be
//! overlooked between the records around it.

use bytes::Bytes;

use crate::scan::DamagedRange;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: u64,
    /// When it was appended, by the writer's clock (microseconds since 1970).
    pub timestamp: i64,
    /// Its content.
    pub payload: Bytes,
}

/// Offsets that hold no record: they were evicted, dropped, expired, or never given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// The offset that was looked for.
    pub expected: u64,
    /// The offset of the next record there is.
    pub resumed_at: u64,
}

/// What reading comes across, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// A verified record.
    Record(Record),
    /// Unreadable bytes; reading goes on behind them.
    Damaged(DamagedRange),
    /// A jump in the offsets without damage.
    Skipped(Skipped),
}

/// Several records, and what lay between them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// Verified records, ascending.
    pub records: Vec<Record>,
    /// Unreadable stretches met on the way.
    pub damaged: Vec<DamagedRange>,
    /// Jumps met on the way.
    pub skipped: Vec<Skipped>,
}

impl Batch {
    /// True when there is neither a record nor a notice.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.damaged.is_empty() && self.skipped.is_empty()
    }
}

/// Where a seek has led.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// The offset is within the log, below it (reading resumes at the oldest record and says so), or its end.
    Placed,
    /// The offset is above the log's end: the log was lost or restored from an older copy. Nothing is read until
    /// the log has grown that far; to go on now, seek to `end_offset` or lower.
    AheadOfLog {
        /// The log's end.
        end_offset: u64,
    },
}
