//! The spool: what was recorded and is not acknowledged yet, one log per stream, under one cap.
//!
//! Owns the logs, the numbering, the hash chains and the signing. A record is numbered when it is taken in, sealed into
//! a batch within 100 ms, and durable one sync later. When cap or disk is reached, acknowledged segments go first, then
//! the lowest class loses its oldest batches to a signed gap. When the disk refuses altogether, sealed batches wait in
//! bounded memory, further records are counted, and the loss is declared as soon as the disk takes writes again.

mod evict;
mod fit;
mod heads;
mod room;
mod stream;

use std::io;
use std::time::{Duration, Instant};

use beffroi_schema::batch::{EpochStart, Gap, GapReason, Heartbeat, HostInfo, PreviousEpoch, Record, StreamHead};
use beffroi_schema::{AgentId, Epoch, SigningKey, Stream};

use crate::clock::now_us;
use crate::config::SpoolConfig;
use crate::layout::Layout;

pub use heads::Heads;
pub use stream::StreamStats;

use room::Room;
use stream::StreamSpool;

/// How often heads are made durable and acknowledged segments are deleted.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(3);

/// How often the uplink's cursors are read: its lag decides how large batches become.
const CURSOR_INTERVAL: Duration = Duration::from_millis(200);

/// Who writes: everything that a batch header says of its author.
#[derive(Clone)]
pub struct Author {
    /// Tenant of this host.
    pub tenant: String,
    /// Id of this host.
    pub agent: AgentId,
    /// This run.
    pub epoch: Epoch,
    /// Identity key.
    pub key: SigningKey,
    /// What the host says of itself.
    pub host: HostInfo,
}

impl Author {
    /// A new epoch: start time and 64 random bits, so that no restart, clone or restored machine reuses numbers.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn new_epoch(now_us: i64) -> io::Result<Epoch> {
        let random = getrandom::u64().map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
        Ok(Epoch::new(now_us.max(0).cast_unsigned(), random))
    }
}

/// The spool cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpoolError {
    /// A log refuses.
    #[error(transparent)]
    Log(#[from] beffroi_log::Error),
    /// The heads or the folder.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl SpoolError {
    /// Another process writes this spool.
    pub fn is_locked(&self) -> bool {
        matches!(self, Self::Log(beffroi_log::Error::Locked { .. }))
    }
}

/// Whose records a spool takes: the difference is what its epoch says of the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The sensor of this host: its epoch names the last one and keeps the heads file.
    Sensor,
    /// A replay: an epoch of its own that stands beside the sensor's.
    Replay,
}

/// The spool of one run.
pub struct Spool {
    author: Author,
    layout: Layout,
    role: Role,
    streams: Vec<StreamSpool>,
    room: Room,
    upkeep_due: Instant,
    cursors_due: Instant,
}

impl Spool {
    /// Opens every log, starts the epoch in each stream and makes that durable.
    ///
    /// # Errors
    /// [`SpoolError`]; [`SpoolError::is_locked`] when another process has it.
    pub fn open(layout: &Layout, author: Author, config: &SpoolConfig, role: Role) -> Result<Self, SpoolError> {
        let mut streams = Vec::with_capacity(Stream::ALL.len());
        for stream in Stream::ALL {
            streams.push(StreamSpool::open(layout, stream, room::segment_bytes(config))?);
        }
        let previous = match role {
            Role::Sensor => heads::previous_epoch(layout, &mut streams)?,
            Role::Replay => None,
        };
        let room = Room::new(layout.root(), config);
        let now = Instant::now();
        let layout = layout.clone();
        let mut spool = Self { author, layout, role, streams, room, upkeep_due: now + UPKEEP_INTERVAL, cursors_due: now };
        // From now on the heads file names this epoch, so that the next one can tell its batches on the spool.
        spool.persist_heads(false)?;
        spool.start_epoch(previous);
        spool.declare_damage();
        spool.flush();
        Ok(spool)
    }

    fn start_epoch(&mut self, previous: Option<PreviousEpoch>) {
        let ts = self.author.epoch.started_us().cast_signed();
        let boot_id = self.author.host.boot_id.clone();
        for stream in Stream::ALL {
            let start = EpochStart { seq: 0, ts, previous: previous.clone(), boot_id: boot_id.clone() };
            self.push(stream, Record::EpochStart(start));
        }
    }

    fn declare_damage(&mut self) {
        let damaged: Vec<(Stream, u64)> = self
            .streams
            .iter()
            .filter(|spool| spool.damaged_at_open > 0)
            .map(|spool| (spool.stream, spool.damaged_at_open))
            .collect();
        for (stream, ranges) in damaged {
            tracing::warn!(stream = stream.name(), ranges, "the spool is damaged; what could not be read is declared lost");
            self.push(Stream::Detection, Record::Gap(gap(GapReason::SpoolDamaged, stream.name(), None, (now_us(), now_us()))));
        }
    }

    /// Takes in a record. An event that no batch can carry becomes a gap; a record for which there is no room is counted.
    pub fn push(&mut self, stream: Stream, record: Record) {
        let record = fit::fit(record);
        let spool = &mut self.streams[usize::from(stream.number())];
        spool.push(record, &self.author);
        if spool.must_seal_now() {
            self.write_out(stream);
            if self.streams[usize::from(stream.number())].is_far_from_durable() {
                self.sync();
            }
        }
    }

    /// When [`Spool::tick`] should be called next; `None` when nothing waits.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.streams.iter().filter_map(StreamSpool::due).min()
    }

    /// Seals, writes and syncs what is due; keeps heads and acknowledged segments in order.
    pub fn tick(&mut self) {
        let now = Instant::now();
        if now >= self.cursors_due {
            self.cursors_due = now + CURSOR_INTERVAL;
            for spool in &mut self.streams {
                spool.refresh_cursor(&self.layout);
            }
        }
        for stream in Stream::ALL {
            if self.streams[usize::from(stream.number())].due().is_some_and(|due| due <= now) {
                self.write_out(stream);
            }
        }
        self.sync();
        if now >= self.upkeep_due {
            self.upkeep_due = now + UPKEEP_INTERVAL;
            if let Err(error) = self.persist_heads(false) {
                tracing::warn!(%error, "the heads of the streams could not be stored");
            } else {
                self.reap();
            }
        }
    }

    /// Seals, writes and syncs everything. Returns how many records could not be made durable.
    pub fn flush(&mut self) -> u64 {
        // Twice: a loss is declared only when what waited before it has been written.
        for _ in 0..2 {
            for stream in Stream::ALL {
                self.write_out(stream);
            }
            self.sync();
        }
        self.streams.iter().map(StreamSpool::not_durable).sum()
    }

    /// Adds a heartbeat that says nothing but the heads: what a run without a sensor ends with, so that a missing tail is
    /// found.
    pub fn last_heartbeat(&mut self) {
        let heartbeat = Heartbeat {
            seq: 0,
            ts: now_us(),
            heads: self.heads(),
            hooks: Vec::new(),
            counters: Vec::new(),
            spool_bytes: self.bytes(),
            spool_oldest: 0,
            cpu_us: 0,
            rss_bytes: 0,
            policy_version: 0,
        };
        self.push(Stream::Detection, Record::Heartbeat(heartbeat));
    }

    /// Ends the run in order: everything durable, the heads stored as a clean stop. Returns the records abandoned.
    pub fn close(mut self) -> u64 {
        let abandoned = self.flush();
        if let Err(error) = self.persist_heads(abandoned == 0) {
            tracing::warn!(%error, "the clean stop could not be stored; the next run will call it unclean");
        }
        abandoned
    }

    /// Every stream's last durable number and hash.
    pub fn heads(&self) -> Vec<StreamHead> {
        self.streams.iter().map(StreamSpool::head).collect()
    }

    /// How every stream stands.
    pub fn stats(&self) -> Vec<StreamStats> {
        self.streams.iter().map(|spool| spool.stats(&self.layout)).collect()
    }

    /// Bytes of all logs.
    pub fn bytes(&self) -> u64 {
        self.streams.iter().map(StreamSpool::bytes).sum()
    }

    /// Who writes.
    pub fn author(&self) -> &Author {
        &self.author
    }

    fn write_out(&mut self, stream: Stream) {
        let index = usize::from(stream.number());
        self.streams[index].seal(&self.author);
        while let Some(bytes) = self.streams[index].next_pending_bytes() {
            if !self.make_room(bytes) || !self.streams[index].append_next() {
                break;
            }
        }
    }

    fn sync(&mut self) {
        for spool in &mut self.streams {
            spool.sync();
        }
    }

    fn persist_heads(&self, clean_stop: bool) -> io::Result<()> {
        if self.role == Role::Replay {
            return Ok(());
        }
        Heads { epoch: self.author.epoch, heads: self.heads(), alive: now_us(), clean_stop }.store(&self.layout)
    }
}

/// A gap that has no number yet.
pub fn gap(reason: GapReason, hook: &str, count: Option<u64>, (from, to): (i64, i64)) -> Gap {
    Gap { seq: 0, ts: now_us(), reason, hook: hook.into(), count, from, to, evicted: None }
}

#[cfg(test)]
mod tests;
