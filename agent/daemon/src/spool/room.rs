//! Room for the next batch: the cap over all streams and what the disk must keep free.
//!
//! Owns the order in which things go: acknowledged segments, then the oldest batches of the lowest class. The disk is
//! asked at most once a second.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use beffroi_log::{LogWriter, SegmentRange};
use beffroi_schema::Stream;
use nix::sys::statvfs::statvfs;

use super::{Spool, evict};
use crate::config::SpoolConfig;

/// How long an answer about free disk space is believed.
const DISK_INTERVAL: Duration = Duration::from_secs(1);
/// A segment is at most this part of the cap: eviction frees little at once and loses little.
const SEGMENTS_PER_CAP: u64 = 128;
/// Least and most bytes of a segment.
const SEGMENT_BYTES: (u64, u64) = (256 << 10, 8 << 20);
/// A part of a log that is smaller than this is not worth evicting: the gap itself needs some of it.
const LEAST_EVICTED_BYTES: u64 = 16 << 10;
/// Segments evicted for one batch: a cap that shrank a lot is reached over several batches.
const MAX_EVICTIONS: usize = 16;
/// An active segment this full is closed once all of it is acknowledged, so that it can be deleted.
const LEAST_ROLL_BYTES: u64 = 64 << 10;

pub(super) fn segment_bytes(config: &SpoolConfig) -> u64 {
    (config.max_bytes / SEGMENTS_PER_CAP).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1)
}

/// What limits the spool.
pub(super) struct Room {
    path: PathBuf,
    pub(super) config: SpoolConfig,
    pub(super) asked: Option<Instant>,
    spare: u64,
}

impl Room {
    pub(super) fn new(path: &Path, config: &SpoolConfig) -> Self {
        Self { path: path.to_path_buf(), config: config.clone(), asked: None, spare: u64::MAX }
    }

    /// Bytes that the disk can give before what must stay free is touched.
    fn disk_spare(&mut self) -> u64 {
        let now = Instant::now();
        if self.asked.is_none_or(|asked| now - asked >= DISK_INTERVAL) {
            self.asked = Some(now);
            if let Ok(disk) = statvfs(&self.path) {
                let block = disk.fragment_size();
                let total = disk.blocks().saturating_mul(block);
                let percent = total / 100 * u64::from(self.config.keep_free_percent);
                let keep = self.config.keep_free_bytes.max(percent);
                self.spare = disk.blocks_available().saturating_mul(block).saturating_sub(keep);
            }
        }
        self.spare
    }

    fn fits(&mut self, used: u64, needed: u64) -> bool {
        used.saturating_add(needed) <= self.config.max_bytes && needed <= self.disk_spare()
    }

    fn spent(&mut self, bytes: u64) {
        self.spare = self.spare.saturating_sub(bytes);
    }

    fn freed(&mut self, bytes: u64) {
        self.spare = self.spare.saturating_add(bytes);
    }
}

impl Spool {
    /// Makes room for a batch of `needed` bytes. False when nothing more can go.
    pub(super) fn make_room(&mut self, needed: u64) -> bool {
        let used = self.bytes();
        if self.room.fits(used, needed) {
            self.room.spent(needed);
            return true;
        }
        // What is acknowledged goes first; the heads must be on the disk before the batches that show them are gone.
        if self.persist_heads(false).is_ok() {
            self.reap();
        }
        for _ in 0..MAX_EVICTIONS {
            let used = self.bytes();
            if self.room.fits(used, needed) {
                self.room.spent(needed);
                return true;
            }
            if !self.evict_lowest() {
                break;
            }
        }
        for spool in &mut self.streams {
            if spool.next_pending_bytes().is_some() {
                spool.refused(&"the spool is full and nothing in it can go");
            }
        }
        false
    }

    /// Deletes segments that the gateway has acknowledged as a whole.
    pub(super) fn reap(&mut self) {
        for spool in &mut self.streams {
            let acknowledged = spool.refresh_cursor(&self.layout);
            let all = acknowledged >= spool.log.next_offset();
            let active = spool.log.segments().last().map_or(0, |segment| segment.bytes);
            let rolled = if all && active >= LEAST_ROLL_BYTES { spool.log.roll() } else { Ok(()) };
            match rolled.and_then(|()| spool.log.drop_before(acknowledged)) {
                Ok(removed) => self.room.freed(removed.bytes),
                Err(error) => tracing::warn!(stream = spool.stream.name(), %error, "acknowledged batches stay on the disk"),
            }
        }
    }

    /// Takes the oldest batches of the lowest class that has any. False when no class has.
    fn evict_lowest(&mut self) -> bool {
        for stream in Stream::ALL.into_iter().rev() {
            let spool = &mut self.streams[usize::from(stream.number())];
            let Some(range) = evictable(&spool.log) else { continue };
            spool.refresh_cursor(&self.layout);
            match evict::evict(spool, &self.author, &range) {
                Ok(evicted) => {
                    tracing::warn!(stream = stream.name(), records = evicted.records, bytes = evicted.bytes, "the spool is full");
                    self.room.freed(evicted.bytes);
                    return true;
                }
                Err(error) => tracing::error!(stream = stream.name(), %error, "the oldest batches could not be evicted"),
            }
        }
        false
    }
}

/// The oldest segments of a log that together free enough to be worth a gap. Earlier gaps in front are taken along.
fn evictable(log: &LogWriter) -> Option<SegmentRange> {
    let segments = log.segments();
    let (mut bytes, mut freed) = (0, 0);
    for segment in &segments {
        bytes += segment.bytes;
        if !segment.is_replacement {
            freed += segment.bytes;
        }
        if freed >= LEAST_EVICTED_BYTES && segment.end > segment.base {
            return Some(SegmentRange { first: segments[0].base, last: segment.end - 1, bytes });
        }
    }
    None
}
