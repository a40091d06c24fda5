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
    Ok(Some(PreviousEpoch { epoch: known.epoch, heads: known.heads, alive: known.alive, clean_stop: known.clean_stop }))
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
                let last_hash = evicted_hash(&envelope).unwrap_or(envelope.hash);
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
