//! One stream of the spool: numbering, batch building, chaining, and the way of a sealed batch to the disk.
//!
//! Owns the order of the stream: sealed batches wait in `pending` until the log has taken them and in `unsynced` until
//! the disk has them. A failed write or sync puts them back in front; nothing overtakes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use beffroi_log::{LogReader, LogWriter, Options, SyncPolicy, read_cursor};
use beffroi_schema::batch::{BatchBuilder, Evicted, Gap, GapReason, Header, Record, SealedBatch, StreamHead};
use beffroi_schema::{BatchHash, Stream};

use super::{Author, SpoolError, gap};
use crate::clock::now_us;
use crate::layout::Layout;

/// A first record after a quiet time waits this long for company: it is what an analyst's latency is made of.
const LINGER: Duration = Duration::from_millis(5);
/// Shortest time between two batches of the classes that are watched live.
const URGENT_INTERVAL: Duration = Duration::from_millis(50);
/// The same for the other classes.
const INTERVAL: Duration = Duration::from_millis(100);
/// Longest time between two batches when the uplink lags: larger batches then are worth more than latency.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// Batches that may be unacknowledged before they are made larger.
const LAG_BATCHES: u64 = 20;
/// Sealed batches that may wait for a disk that refuses (bytes): then records are counted instead of kept.
const MAX_WAITING_BYTES: usize = 8 << 20;
/// Appended bytes that wait for a sync: a burst is made durable in between, not only at its end.
const MAX_UNSYNCED_BYTES: usize = 1 << 20;
/// Pause after a refused write before the next try.
const RETRY: Duration = Duration::from_millis(500);

/// How a stream stands.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StreamStats {
    /// Which.
    pub stream: Stream,
    /// Batches that are not acknowledged.
    pub batches: u64,
    /// Bytes of its log.
    pub bytes: u64,
    /// Time of its oldest batch that is not acknowledged, microseconds since 1970; 0 when there is none.
    pub oldest: i64,
    /// Last durable number.
    pub last_seq: u64,
    /// Records lost in this run because the spool was full.
    pub lost: u64,
}

struct Loss {
    count: u64,
    from: i64,
    to: i64,
}

/// One stream.
pub(super) struct StreamSpool {
    pub(super) stream: Stream,
    pub(super) log: LogWriter,
    pub(super) damaged_at_open: u64,
    pub(super) lost: u64,
    builder: Option<BatchBuilder>,
    /// Last number given.
    last_seq: u64,
    /// Last number sealed and its chain hash.
    sealed: (u64, BatchHash),
    /// Last number on the disk and its chain hash.
    durable: (u64, BatchHash),
    pending: VecDeque<SealedBatch>,
    unsynced: VecDeque<SealedBatch>,
    waiting_bytes: usize,
    loss: Option<Loss>,
    oldest_waiting: Option<Instant>,
    last_write: Option<Instant>,
    retry_at: Option<Instant>,
    acknowledged: u64,
}

impl StreamSpool {
    pub(super) fn open(layout: &Layout, stream: Stream, segment_bytes: u64) -> Result<Self, SpoolError> {
        let acknowledged = read_cursor(layout.cursor(stream)).ok().flatten().map_or(0, |cursor| cursor.offset);
        // The cap is over all streams together, so this log itself has none.
        let options = Options {
            segment_bytes,
            max_bytes: u64::MAX,
            sync: SyncPolicy::Manual,
            min_next_offset: acknowledged,
            ..Options::default()
        };
        let (log, recovery) = LogWriter::open(layout.spool(stream), options)?;
        let none = (0, BatchHash::default());
        Ok(Self {
            stream,
            log,
            damaged_at_open: recovery.damaged.len() as u64,
            lost: 0,
            builder: None,
            last_seq: 0,
            sealed: none,
            durable: none,
            pending: VecDeque::new(),
            unsynced: VecDeque::new(),
            waiting_bytes: 0,
            loss: None,
            oldest_waiting: None,
            last_write: None,
            retry_at: None,
            acknowledged,
        })
    }

    /// Numbers the record and adds it to the batch, or counts it when the disk has refused for too long.
    pub(super) fn push(&mut self, mut record: Record, author: &Author) {
        if self.waiting_bytes > MAX_WAITING_BYTES {
            let loss = self.loss.get_or_insert(Loss { count: 0, from: record.ts(), to: record.ts() });
            loss.count += 1;
            loss.from = loss.from.min(record.ts());
            loss.to = loss.to.max(record.ts());
            self.lost += 1;
            return;
        }
        self.declare_loss(author);
        self.add(&mut record, author);
    }

    /// The disk takes writes again: says what was lost meanwhile.
    fn declare_loss(&mut self, author: &Author) {
        if self.waiting_bytes <= MAX_WAITING_BYTES
            && let Some(loss) = self.loss.take()
        {
            let declared = gap(GapReason::SpoolEvicted, "spool", Some(loss.count), (loss.from, loss.to));
            self.add(&mut Record::Gap(declared), author);
        }
    }

    fn add(&mut self, record: &mut Record, author: &Author) {
        self.last_seq += 1;
        record.set_seq(self.last_seq);
        self.builder.get_or_insert_with(|| BatchBuilder::new(&author.host)).push(record);
        self.oldest_waiting.get_or_insert_with(Instant::now);
    }

    pub(super) fn must_seal_now(&self) -> bool {
        self.builder.as_ref().is_some_and(BatchBuilder::is_full)
    }

    pub(super) fn is_far_from_durable(&self) -> bool {
        self.waiting_bytes >= MAX_UNSYNCED_BYTES && self.retry_at.is_none()
    }

    /// When this stream should be written; `None` when nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        if let Some(retry) = self.retry_at {
            return Some(retry);
        }
        if !self.unsynced.is_empty() || self.loss.is_some() {
            return Some(Instant::now());
        }
        let linger = self.oldest_waiting? + LINGER;
        Some(self.last_write.map_or(linger, |last| linger.max(last + self.interval())))
    }

    fn interval(&self) -> Duration {
        let base = if self.stream <= Stream::Exec { URGENT_INTERVAL } else { INTERVAL };
        let lag = self.log.next_offset().saturating_sub(self.acknowledged) / LAG_BATCHES;
        (base * u32::try_from(lag.clamp(1, 20)).unwrap_or(1)).min(LONGEST_INTERVAL)
    }

    /// Makes a batch of what has been collected.
    pub(super) fn seal(&mut self, author: &Author) {
        self.declare_loss(author);
        let Some(builder) = self.builder.take() else { return };
        let header = header(author, self.stream, self.sealed.1);
        let (batch, hash) = match builder.seal(header, &author.key) {
            Ok(batch) => {
                let hash = batch.hash;
                (batch, hash)
            }
            // Cannot happen while records are made to fit; should it happen, the numbers are declared, not lost silently.
            Err(error) => {
                tracing::error!(stream = self.stream.name(), %error, "a batch could not be sealed; its records are declared lost");
                match self.unsealable(author) {
                    Some(batch) => (batch, self.sealed.1),
                    None => return,
                }
            }
        };
        self.sealed = (batch.header.last, hash);
        self.waiting_bytes += batch.bytes.len();
        self.pending.push_back(batch);
    }

    /// A gap in the place of records that no batch could carry. The chain goes on from the batch before them.
    fn unsealable(&mut self, author: &Author) -> Option<SealedBatch> {
        let (first, last) = (self.sealed.0 + 1, self.last_seq);
        let evicted = Some(Evicted { first, last, hash: self.sealed.1 });
        let lost =
            Gap { evicted, seq: first, ..gap(GapReason::Oversize, "sensor", Some(last - first + 1), (now_us(), now_us())) };
        self.lost += last - first + 1;
        let mut builder = BatchBuilder::new(&author.host);
        builder.push(&Record::Gap(lost));
        builder.seal(header(author, self.stream, self.sealed.1), &author.key).ok()
    }

    /// Size of the next batch that waits for the log.
    pub(super) fn next_pending_bytes(&mut self) -> Option<u64> {
        match self.pending.front() {
            Some(batch) => Some(batch.bytes.len() as u64),
            None => {
                self.written();
                None
            }
        }
    }

    fn written(&mut self) {
        self.retry_at = None;
        if self.oldest_waiting.take().is_some() {
            self.last_write = Some(Instant::now());
        }
    }

    /// Hands the next batch to the log. False when the log refuses; it is tried again later.
    pub(super) fn append_next(&mut self) -> bool {
        let Some(batch) = self.pending.pop_front() else { return false };
        match self.log.append(now_us(), &batch.bytes) {
            Ok(_) => {
                self.unsynced.push_back(batch);
                true
            }
            Err(error) => {
                self.refused(&error);
                self.pending.push_front(batch);
                false
            }
        }
    }

    /// No room: try again later.
    pub(super) fn refused(&mut self, error: &dyn std::fmt::Display) {
        if self.retry_at.is_none() {
            tracing::error!(stream = self.stream.name(), %error, "the spool cannot be written; batches wait in memory");
        }
        self.retry_at = Some(Instant::now() + RETRY);
    }

    /// Makes what was appended durable and visible to the uplink.
    pub(super) fn sync(&mut self) {
        if self.unsynced.is_empty() {
            return;
        }
        match self.log.sync() {
            Ok(()) => {
                for batch in self.unsynced.drain(..) {
                    self.waiting_bytes = self.waiting_bytes.saturating_sub(batch.bytes.len());
                    self.durable.0 = batch.header.last;
                }
                // The newest durable batch's chain hash: all that was sealed, unless some still waits.
                self.durable.1 = self.pending.front().map_or(self.sealed.1, |next| next.header.previous);
            }
            Err(error) => {
                if matches!(error, beffroi_log::Error::SyncFailed { .. }) {
                    while let Some(batch) = self.unsynced.pop_back() {
                        self.pending.push_front(batch);
                    }
                }
                self.refused(&error);
            }
        }
    }

    /// Records that are not durable.
    pub(super) fn not_durable(&self) -> u64 {
        self.last_seq - self.durable.0 + self.loss.as_ref().map_or(0, |loss| loss.count)
    }

    pub(super) fn head(&self) -> StreamHead {
        StreamHead { stream: self.stream, last_seq: self.durable.0, last_hash: self.durable.1 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.log.bytes()
    }

    /// Reads how far the uplink is.
    pub(super) fn refresh_cursor(&mut self, layout: &Layout) -> u64 {
        if let Ok(Some(cursor)) = read_cursor(layout.cursor(self.stream)) {
            self.acknowledged = self.acknowledged.max(cursor.offset);
        }
        self.acknowledged
    }

    /// How far the uplink was when it was last asked.
    pub(super) fn acknowledged_offset(&self) -> u64 {
        self.acknowledged
    }

    pub(super) fn stats(&self, layout: &Layout) -> StreamStats {
        let acknowledged = read_cursor(layout.cursor(self.stream)).ok().flatten().map_or(0, |cursor| cursor.offset);
        let batches = self.log.synced_offset().saturating_sub(acknowledged.max(self.log.first_offset()));
        let oldest = if batches == 0 { 0 } else { oldest_after(self.log.dir(), acknowledged).unwrap_or(0) };
        StreamStats { stream: self.stream, batches, bytes: self.bytes(), oldest, last_seq: self.durable.0, lost: self.lost }
    }
}

/// Append time of the first batch at or after `offset`.
pub(crate) fn oldest_after(log: &std::path::Path, offset: u64) -> Option<i64> {
    let mut reader = LogReader::open(log).ok()?;
    reader.seek(offset).ok()?;
    let batch = reader.read_batch(1, 1).ok()?;
    batch.records.first().map(|record| record.timestamp)
}

/// A header in which numbers, size, version and key are still to be filled in.
pub(super) fn header(author: &Author, stream: Stream, previous: BatchHash) -> Header {
    Header::unsealed(author.tenant.clone(), author.agent, author.epoch, stream, previous)
}
