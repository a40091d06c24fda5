//! A durable, segmented log of opaque records: the agent's spool and the collector's embedded bus.
#![forbid(unsafe_code)]

mod cursor;
mod error;
mod evict;
mod files;
mod format;
mod options;
mod reader;
mod recover;
mod scan;
mod state;
mod writer;

pub use cursor::{CursorFile, CursorHealth, CursorValue, MAX_CURSOR_METADATA_BYTES, read_cursor};
pub use error::{Error, Result};
pub use evict::{Removed, Replacement, SegmentRange, replacement_bytes};
pub use options::{
    DEFAULT_MAX_BYTES, DEFAULT_MAX_RECORD_BYTES, DEFAULT_SEGMENT_BYTES, DEFAULT_SEGMENT_SPAN_MICROS, HARD_MAX_RECORD_BYTES,
    MIN_SEGMENT_BYTES, Options, SyncPolicy, Verify,
};
pub use reader::{Batch, LogReader, Read, Record, Skipped, Sought};
pub use recover::Recovery;
pub use scan::{DamageReason, DamagedRange};
pub use writer::{LogWriter, SegmentInfo};
