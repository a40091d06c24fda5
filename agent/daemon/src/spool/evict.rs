//! Eviction: the oldest part of a stream's log makes way for signed gaps that carry its numbers and its last hash.
//!
//! Owns the promise that a full spool loses nothing silently: after an eviction the stream's chain still verifies and the
//! gap names exactly the numbers that are gone. What the uplink has acknowledged is not named.

use beffroi_log::{LogReader, Read, Replacement, SegmentRange};
use beffroi_schema::batch::{BatchBuilder, Envelope, Evicted, Gap, GapReason, Header, Record};
use beffroi_schema::{BatchHash, Epoch};

use super::stream::StreamSpool;
use super::{Author, SpoolError, gap};

/// A batch that holds only a gap is smaller than this before compression; larger ones need not be opened.
const MAX_GAP_BODY_BYTES: u32 = 4096;

/// What an eviction has done.
pub(super) struct Outcome {
    /// Records that are gone.
    pub(super) records: u64,
    /// Bytes freed.
    pub(super) bytes: u64,
}

/// Batches in a row of one epoch.
struct Run {
    first: Header,
    last: u64,
    hash: BatchHash,
    offset: u64,
    /// Records that were no gap before.
    fresh: u64,
    from: i64,
    to: i64,
}

/// Replaces the log's part `range` by gaps.
pub(super) fn evict(spool: &mut StreamSpool, author: &Author, range: &SegmentRange) -> Result<Outcome, SpoolError> {
    spool.sync();
    let acknowledged = spool.acknowledged_offset();
    if acknowledged > range.last {
        let removed = spool.log.roll().and_then(|()| spool.log.drop_before(acknowledged))?;
        return Ok(Outcome { records: 0, bytes: removed.bytes });
    }
    let runs = runs(spool, acknowledged.max(range.first), range.last)?;
    let mut gaps = Vec::with_capacity(runs.len());
    for run in &runs {
        gaps.push(gap_batch(run, author)?);
    }
    let replacements: Vec<Replacement<'_>> =
        runs.iter().zip(&gaps).map(|(run, payload)| Replacement { offset: run.offset, timestamp: run.to, payload }).collect();
    let removed = spool.log.replace_oldest(range.last, &replacements)?;
    let records = runs.iter().map(|run| run.fresh).sum();
    spool.lost += records;
    Ok(Outcome { records, bytes: removed.bytes })
}

/// The batches from offset `from` to `upto`, joined per epoch.
fn runs(spool: &StreamSpool, from: u64, upto: u64) -> Result<Vec<Run>, SpoolError> {
    let mut reader = LogReader::open(spool.log.dir())?;
    reader.seek(from)?;
    let mut runs: Vec<Run> = Vec::new();
    while let Some(read) = reader.next()? {
        // Damaged stretches are covered by the run around them: their numbers are gone as well.
        let Read::Record(record) = read else { continue };
        if record.offset > upto {
            break;
        }
        let Ok(envelope) = Envelope::parse(&record.payload) else { continue };
        let evicted = evicted_hash(&envelope);
        let hash = evicted.unwrap_or(envelope.hash());
        // What an earlier eviction has taken is declared again, but not lost again.
        let fresh = if evicted.is_some() { 0 } else { envelope.header.last - envelope.header.first + 1 };
        match runs.last_mut().filter(|run| same_epoch(run, envelope.header.epoch)) {
            Some(run) => {
                run.last = envelope.header.last.max(run.last);
                run.hash = hash;
                run.offset = record.offset;
                run.fresh += fresh;
                run.to = run.to.max(record.timestamp);
            }
            None => runs.push(Run {
                last: envelope.header.last,
                first: envelope.header,
                hash,
                offset: record.offset,
                fresh,
                from: record.timestamp,
                to: record.timestamp,
            }),
        }
    }
    // A reader in the middle of the removed part still gets the last gap.
    if let Some(last) = runs.last_mut() {
        last.offset = upto;
    }
    Ok(runs)
}

fn same_epoch(run: &Run, epoch: Epoch) -> bool {
    run.first.epoch == epoch
}

fn gap_batch(run: &Run, author: &Author) -> Result<Vec<u8>, SpoolError> {
    let first = run.first.first;
    let evicted = Some(Evicted { first, last: run.last, hash: run.hash });
    let declared = gap(GapReason::SpoolEvicted, "spool", Some(run.last - first + 1), (run.from, run.to));
    let mut builder = BatchBuilder::new(&author.host);
    builder.push(&Record::Gap(Gap { seq: first, evicted, ..declared }));
    let sealed = builder.seal(run.first.clone(), &author.key);
    sealed.map(|batch| batch.bytes).map_err(|error| SpoolError::Io(std::io::Error::other(error.to_string())))
}

/// The hash that an earlier eviction has put in this batch's place in the chain.
pub(super) fn evicted_hash(envelope: &Envelope) -> Option<BatchHash> {
    if envelope.header.raw_size > MAX_GAP_BODY_BYTES {
        return None;
    }
    match envelope.decode().ok()?.records.as_slice() {
        [Record::Gap(Gap { evicted: Some(evicted), .. })] => Some(evicted.hash),
        _ => None,
    }
}
