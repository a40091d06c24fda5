//! One stream on its way up: reading its log, holding one batch until it is acknowledged, moving the cursor.
//!
//! Owns the reader and the cursor. The cursor moves on an acknowledgement and on nothing else; a batch that the gateway
//! does not want stays where it is. What cannot be read is reported and stepped over: it is gone on the disk.

use std::path::PathBuf;
use std::time::Duration;

use beffroi_log::{CursorFile, LogReader, Read, Record, Sought};
use beffroi_schema::Stream;
use beffroi_schema::batch::Envelope;
use bytes::Bytes;
use tokio::time::Instant;

use crate::layout::Layout;

/// Pause before a batch is offered again that the gateway does not understand or finds too large.
const BLOCKED_PAUSE: Duration = Duration::from_secs(60);

/// The numbers of a batch, for people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Acknowledged {
    /// Stream.
    pub stream: Stream,
    /// First number.
    pub first: u64,
    /// Last number.
    pub last: u64,
    /// When the gateway acknowledged it, microseconds since 1970.
    pub at: i64,
    /// When it was spooled, microseconds since 1970.
    pub spooled_at: i64,
}

/// One stream.
pub(super) struct Lane {
    pub(super) stream: Stream,
    reader: LogReader,
    cursor: CursorFile,
    next: Option<Record>,
    in_flight: bool,
    /// Everything was read, and nothing has been heard of since.
    is_read: bool,
    blocked_until: Option<Instant>,
    /// Why the gateway does not take the next batch, if so.
    pub(super) blocked: Option<String>,
    /// Unreadable bytes met and not reported yet.
    pub(super) damaged_bytes: u64,
    log: PathBuf,
}

impl Lane {
    pub(super) fn open(layout: &Layout, stream: Stream) -> Result<Self, beffroi_log::Error> {
        let cursor = CursorFile::open_relaxed(layout.cursor(stream))?;
        let log = layout.spool(stream);
        let mut reader = LogReader::open(&log)?;
        if let Some(value) = cursor.get()
            && let Sought::AheadOfLog { end_offset } = reader.seek(value.offset)?
        {
            tracing::warn!(stream = stream.name(), cursor = value.offset, end_offset, "the spool is older than the cursor");
            reader.seek(end_offset)?;
        }
        Ok(Self {
            stream,
            reader,
            cursor,
            next: None,
            in_flight: false,
            is_read: false,
            blocked_until: None,
            blocked: None,
            damaged_bytes: 0,
            log,
        })
    }

    /// There may be something new in the log.
    pub(super) fn hear(&mut self) {
        self.is_read = false;
    }

    /// Whether a batch can be sent now. Looks at the log when none is held, unless it was read and nothing was heard since.
    pub(super) fn is_ready(&mut self) -> bool {
        if self.in_flight || self.is_read || self.blocked_until.is_some_and(|until| until > Instant::now()) {
            return false;
        }
        while self.next.is_none() {
            match self.reader.next() {
                Ok(Some(Read::Record(record))) => self.next = Some(record),
                Ok(Some(Read::Damaged(range))) => {
                    tracing::error!(stream = self.stream.name(), bytes = range.bytes, "a part of the spool is unreadable");
                    self.damaged_bytes += range.bytes;
                }
                // Evicted: the gap that stands for it comes next.
                Ok(Some(Read::Skipped(_))) => {}
                Ok(None) => {
                    self.is_read = true;
                    return false;
                }
                Err(error) => {
                    tracing::error!(log = %self.log.display(), %error, "the spool cannot be read");
                    self.block(error.to_string());
                    return false;
                }
            }
        }
        true
    }

    /// Takes the batch to send. It stays the lane's until it is acknowledged.
    pub(super) fn begin(&mut self) -> Option<Bytes> {
        let payload = self.next.as_ref()?.payload.clone();
        self.in_flight = true;
        Some(payload)
    }

    /// The gateway has it: the cursor moves.
    pub(super) fn acknowledged(&mut self, at: i64) -> Result<Option<Acknowledged>, beffroi_log::Error> {
        self.in_flight = false;
        self.blocked = None;
        let Some(record) = self.next.take() else { return Ok(None) };
        if let Err(error) = self.cursor.set(record.offset + 1, &[]) {
            // It is sent again after a restart; the collector knows it then.
            tracing::error!(stream = self.stream.name(), %error, "the cursor could not be stored");
            return Err(error);
        }
        let spooled_at = record.timestamp;
        Ok(Envelope::parse(&record.payload).ok().map(|envelope| Acknowledged {
            stream: self.stream,
            first: envelope.header.first,
            last: envelope.header.last,
            at,
            spooled_at,
        }))
    }

    /// It did not arrive: the same batch goes again, unless the spool has replaced it meanwhile.
    pub(super) fn failed(&mut self) {
        self.in_flight = false;
        self.is_read = false;
        if let Some(record) = self.next.take()
            && let Err(error) = self.reader.seek(record.offset)
        {
            tracing::error!(stream = self.stream.name(), %error, "the spool cannot be read");
            self.next = Some(record);
        }
    }

    /// The gateway does not take this batch: later again, it is not lost.
    pub(super) fn block(&mut self, why: String) {
        self.failed();
        self.blocked = Some(why);
        self.blocked_until = Some(Instant::now() + BLOCKED_PAUSE);
    }

    /// Offset of the next batch that is not acknowledged.
    pub(super) fn position(&self) -> u64 {
        self.cursor.get().map_or(0, |value| value.offset)
    }
}
