//! The heads of all streams and the last sign of life, kept beside the spool: what the next epoch says of this one.
//!
//! Owns one small file, written as a whole every few seconds. It may lag behind the spool by those seconds: what the
//! logs still hold of its epoch is newer and wins.

use std::io;

use beffroi_log::{LogReader, Read};
use beffroi_schema::batch::{Envelope, PreviousEpoch, StreamHead};
use beffroi_schema::{BatchHash, Epoch, Stream};
use serde::{Deserialize, Serialize};

use super::SpoolError;
use super::evict::evicted_hash;
use super::stream::StreamSpool;
use crate::layout::{Layout, read_json, write_whole};

/// Time from an event to the disk: the longest interval of a stream (1 s) and a slow sync. What a crash finds younger than
/// this may be lost although a later sign of life is known, in another stream or in the same one.
const IN_FLIGHT_US: i64 = 1_500_000;

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heads {
    /// The run.
    pub epoch: Epoch,
    /// Its last durable numbers.
    pub heads: Vec<StreamHead>,
    /// When it was last known to be sensing, microseconds since 1970.
    pub alive: i64,
    /// It stopped in order and everything was durable.
    pub clean_stop: bool,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    epoch: Epoch,
    heads: Vec<(Stream, u64, BatchHash)>,
    alive: i64,
    clean_stop: bool,
}

impl Heads {
    /// Writes the file.
    ///
    /// # Errors
    /// The operating system's.
    pub fn store(&self, layout: &Layout) -> io::Result<()> {
        let heads = self.heads.iter().map(|head| (head.stream, head.last_seq, head.last_hash)).collect();
        let stored = Stored { epoch: self.epoch, heads, alive: self.alive, clean_stop: self.clean_stop };
        write_whole(&layout.heads(), &serde_json::to_vec(&stored)?, 0o644, None)
    }

    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// It cannot be read or is damaged.
    pub fn load(layout: &Layout) -> io::Result<Option<Self>> {
        let stored: Option<Stored> = read_json(&layout.heads())?;
        Ok(stored.map(|stored| Self {
            epoch: stored.epoch,
            heads: stored
                .heads
                .into_iter()
                .map(|(stream, last_seq, last_hash)| StreamHead { stream, last_seq, last_hash })
                .collect(),
            alive: stored.alive,
            clean_stop: stored.clean_stop,
        }))
    }
}

/// What this run has to say of the one before: the heads file, corrected by what the spool holds.
pub(super) fn previous_epoch(layout: &Layout, streams: &mut [StreamSpool]) -> Result<Option<PreviousEpoch>, SpoolError> {
    let mut known = match Heads::load(layout) {
        Ok(Some(known)) => known,
        Ok(None) => return Ok(None),
        Err(error) => {
            tracing::error!(%error, "the heads of the last run are lost; this run names none");
            return Ok(None);
        }
    };
    for spool in streams {
        if let Some((head, written)) = newest_on_spool(spool, known.epoch)? {
            known.alive = known.alive.max(written);
            match known.heads.iter_mut().find(|old| old.stream == head.stream) {
                Some(old) if old.last_seq < head.last_seq => *old = head,
                Some(_) => {}
                None => known.heads.push(head),
            }
        }
    }
    let alive = if known.clean_stop { known.alive } else { surely_alive(known.epoch, known.alive) };
    Ok(Some(PreviousEpoch { epoch: known.epoch, heads: known.heads, alive, clean_stop: known.clean_stop }))
}

/// Until when everything of a run that crashed is on the disk: rather a gap too long than a loss outside of it.
fn surely_alive(epoch: Epoch, last_sign: i64) -> i64 {
    let began = i64::try_from(epoch.started_us()).unwrap_or(i64::MAX);
    last_sign.saturating_sub(IN_FLIGHT_US).max(began.min(last_sign))
}

/// The newest batch of `epoch` in the newest segment that has one, with its append time.
fn newest_on_spool(spool: &StreamSpool, epoch: Epoch) -> Result<Option<(StreamHead, i64)>, SpoolError> {
    let mut reader = LogReader::open(spool.log.dir())?;
    for segment in spool.log.segments().iter().rev() {
        reader.seek(segment.base)?;
        let mut newest = None;
        while let Some(read) = reader.next()? {
            let Read::Record(record) = read else { continue };
            if record.offset >= segment.end {
                break;
            }
            let Ok(envelope) = Envelope::parse(&record.payload) else { continue };
            if envelope.header.epoch == epoch {
                let last_hash = evicted_hash(&envelope).unwrap_or(envelope.hash());
                let head = StreamHead { stream: spool.stream, last_seq: envelope.header.last, last_hash };
                newest = Some((head, record.timestamp));
            }
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dead_time_of_a_crash_begins_where_records_may_have_been_in_flight_but_not_before_the_run() {
        let epoch = Epoch::new(10_000_000, 1);
        assert_eq!(surely_alive(epoch, 60_000_000), 58_500_000);
        assert_eq!(surely_alive(epoch, 10_400_000), 10_000_000);
        // A clock that was set back: never later than the last sign of life.
        assert_eq!(surely_alive(epoch, 5_000_000), 5_000_000);
    }
}
