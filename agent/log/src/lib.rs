//! A durable, segmented log of opaque records: the agent's spool and the collector's embedded bus.
//!
//! One [`LogWriter`] appends; any number of [`LogReader`]s, usually in other processes and under other users, tail it;
//! a reader's place is a [`CursorFile`] of its own, outside the log's folder. The log knows nothing of events and
//! uses no async runtime: callers in one put its calls on a blocking thread.
//!
//! ```
//! # fn main() -> beffroi_log::Result<()> {
//! # let folder = tempfile::tempdir().expect("folder");
//! # let dir = folder.path().join("exec");
//! use beffroi_log::{CursorFile, LogReader, LogWriter, Options, Read};
//!
//! let (mut writer, recovery) = LogWriter::open(&dir, Options::default())?;
//! assert!(recovery.damaged.is_empty());
//! writer.append_batch(1_700_000_000_000_000, ["first", "second"])?;
//! writer.sync()?; // durable, and visible to readers, from here on
//!
//! let mut reader = LogReader::open(&dir)?;
//! let mut cursor = CursorFile::open(folder.path().join("uplink.cursor"))?;
//! reader.seek(cursor.get().map_or(0, |place| place.offset))?;
//! while let Some(read) = reader.next()? {
//!     if let Read::Record(record) = read {
//!         // deliver record.payload, and then:
//!         cursor.set(record.offset + 1, b"")?;
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Promises
//! - A record is durable when `sync` (or an append with [`SyncPolicy::EveryAppend`]) has returned. Readers see durable
//!   records only, so no crash takes back what a reader has seen, and no offset it has passed is given out again.
//! - Offsets ascend. They are dense as appended and become sparse by eviction, damage and recovery.
//! - A failed append leaves the log as it was. A failed sync takes back everything since the last good one and says
//!   so: after a failed sync a system may have dropped the data, and a second sync that succeeds would prove nothing.
//! - Damage costs the records whose bytes it hits. Each loss is declared with its offsets, by [`Recovery`] and by every
//!   reader that comes by. Bytes behind the last sync that hold no whole record are a torn append: they are cut off.
//! - Killing the writer at any moment needs no repair by a person. Whole records of an unfinished group that a crash
//!   has left are adopted: a caller that repeats the group may store it twice and should carry ids.
//! - A reader whose segment was removed resumes at the next record there is and is told the offset.
//! - A reader in the same process as the writer is woken by the caller (the bus does so after each sync); one in another
//!   process waits for [`Signs`], or polls [`LogReader::has_more`], which costs one small read.
//!
//! # Folder
//! | file | mode | content |
//! |---|---|---|
//! | folder | 0750 | owner: the writer's user; group: the readers' |
//! | `lock` | 0600 | empty; the writer holds an exclusive `flock`. Readers cannot open it, so they cannot block the writer |
//! | `log.state` | 0640 | how far the log is durable |
//! | `NNNNNNNNNNNNNNNNNNNN.seg` | 0640 | a segment; the name is its base offset, 20 decimal digits |
//! | `replacement.tmp` | 0640 | a replacement that is not in place yet; deleted at open |
//!
//! Modes are set whatever the umask is. An existing folder keeps its mode: give it the readers' group and the setgid
//! bit (2750), then new files belong to that group. Symbolic links are never followed. Other files are ignored.
//!
//! # Format, version 1
//! All integers are little-endian. CRC is CRC-32C (Castagnoli). Frozen: `tests/fixtures/v1` must load for ever.
//!
//! **Segment**: header, then records without padding up to the end of the file.
//!
//! | header at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `BEFFRSEG` |
//! | 8 | 2 | version, 1 |
//! | 10 | 2 | zero |
//! | 12 | 4 | CRC of bytes 0-11 and 16-39 |
//! | 16 | 8 | marker: random, not zero, the same in all segments of a log |
//! | 24 | 8 | base offset, as in the name; no record in the segment is smaller |
//! | 32 | 8 | replaced-below: segments with a base above this one's and below this value are superseded; 0 for none |
//!
//! | record at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | the segment's marker |
//! | 8 | 4 | CRC of bytes 12 to the end of the payload |
//! | 12 | 4 | length of the payload, at most 64 MiB |
//! | 16 | 8 | offset; larger than that of the record before |
//! | 24 | 8 | append time, signed, microseconds since 1970, given by the caller |
//! | 32 | length | payload |
//!
//! After damage, reading goes on at the next place where marker, length and CRC agree. The marker is random and secret
//! from whoever makes payloads, so a payload cannot hold a forged record. A damaged segment header loses nothing: base
//! and marker are known from the name, from `log.state` and from the other segments.
//!
//! **`log.state`**: two slots of 64 bytes at 0 and 512, written in turn (slot = sequence modulo 2), never synced; the
//! valid one with the larger sequence counts. Written after the segment was synced, so it never promises too much; after
//! a power cut it may promise less, until the writer is back. Without it (or with both slots damaged) readers show
//! every record that verifies, and the writer makes it anew.
//!
//! | slot at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `BEFFRSTA` |
//! | 8 | 8 | sequence |
//! | 16 | 8 | the log's marker |
//! | 24 | 8 | generation: changes at each open and whenever segments were replaced or deleted |
//! | 32 | 8 | end offset: all records below it are durable |
//! | 40 | 8 | base of the active segment |
//! | 48 | 8 | bytes of it that are durable |
//! | 56 | 4 | zero |
//! | 60 | 4 | CRC of bytes 0-59 |
//!
//! **Cursor**: 16 KiB, two slots at 0 and 8192, written in turn (slot = sequence modulo 2), allocated in full at once so
//! that a full disk cannot stop it.
//!
//! | slot at | bytes | field |
//! |---|---|---|
//! | 0 | 8 | `BEFFRCUR` |
//! | 8 | 8 | sequence, from 1 |
//! | 16 | 8 | offset |
//! | 24 | 4 | length of the metadata, at most 4096 |
//! | 28 | 4 | CRC of bytes 0-27 and the metadata |
//! | 32 | length | metadata |
#![forbid(unsafe_code)]

mod cursor;
mod error;
mod evict;
mod files;
mod format;
mod options;
mod read;
mod reader;
mod recover;
mod scan;
#[cfg(target_os = "linux")]
mod signs;
mod state;
mod writer;

pub use cursor::{CursorFile, CursorHealth, CursorValue, MAX_CURSOR_METADATA_BYTES, read_cursor};
pub use error::{Error, Result};
pub use evict::{Removed, Replacement, SegmentRange, replacement_bytes};
pub use options::{
    DEFAULT_MAX_BYTES, DEFAULT_MAX_RECORD_BYTES, DEFAULT_SEGMENT_BYTES, DEFAULT_SEGMENT_SPAN_MICROS, HARD_MAX_RECORD_BYTES,
    MIN_SEGMENT_BYTES, Options, SyncPolicy, Verify,
};
pub use read::{Batch, Read, Record, Skipped, Sought};
pub use reader::LogReader;
pub use recover::Recovery;
pub use scan::{DamageReason, DamagedRange};
#[cfg(target_os = "linux")]
pub use signs::Signs;
pub use writer::{LogWriter, SegmentInfo};
