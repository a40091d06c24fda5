//! One partition on its way into ClickHouse: what is being gathered, what is being inserted, what must be repeated.
//! No I/O: the pipeline asks, the lane answers.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use beffroi_bus::Record;

use crate::feeds::Weight;
use crate::intent::Intent;

/// Days that one block may touch: each is a part, and the engine refuses a block with more than 100.
const MAX_DAYS: usize = 16;

/// When a batch is full.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    pub(crate) linger: Duration,
}

/// Records that will be one block.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) records: Vec<Record>,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    days: BTreeSet<i64>,
    opened: Instant,
    full: bool,
}

impl Batch {
    pub(crate) fn bounds(&self) -> (i64, i64) {
        let first = self.records.first().map_or(0, |record| record.offset);
        (first, self.records.last().map_or(0, |record| record.offset))
    }
}

/// State of one partition.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// Full batches in order, the last one still gathering.
    batches: std::collections::VecDeque<Batch>,
    /// Offsets that are being inserted.
    pub(crate) inserting: Option<(i64, i64)>,
    /// An insert that was intended before a restart: the next batch has exactly these bounds.
    pub(crate) replay: Option<Intent>,
    /// Last offset that was inserted or is being so.
    done: Option<i64>,
}

impl Lane {
    /// A lane whose partition was taken over with this intent.
    pub(crate) fn taken_over(replay: Option<Intent>) -> Self {
        Self { replay, ..Self::default() }
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.bytes).sum()
    }

    /// Adds the partition's next record.
    pub(crate) fn add(&mut self, record: Record, weight: Weight, bounds: &Bounds) {
        if self.done.is_some_and(|done| record.offset <= done) {
            return;
        }
        // The partition was lost and found between two polls: it is read anew, and what was gathered comes again.
        if self.batches.back().is_some_and(|batch| record.offset <= batch.bounds().1) {
            self.batches.clear();
        }
        let replay_to = self.replay.as_ref().map(|intent| intent.last);
        if replay_to.is_some_and(|last| record.offset > last) {
            // The intended records are gathered, or retention has taken them.
            self.close();
            self.replay = None;
        }
        let replaying = self.replay.is_some();
        if !replaying && self.batches.back().is_some_and(|batch| overflows(batch, weight, bounds)) {
            self.close();
        }
        self.push(record, weight);
        if replaying && replay_to.is_some_and(|last| self.batches.back().is_some_and(|batch| batch.bounds().1 >= last)) {
            self.close();
            self.replay = None;
        }
    }

    fn close(&mut self) {
        if let Some(batch) = self.batches.back_mut() {
            batch.full = true;
        }
    }

    fn push(&mut self, record: Record, weight: Weight) {
        if self.batches.back().is_none_or(|batch| batch.full) {
            let batch =
                Batch { records: Vec::new(), rows: 0, bytes: 0, days: BTreeSet::new(), opened: Instant::now(), full: false };
            self.batches.push_back(batch);
        }
        if let Some(batch) = self.batches.back_mut() {
            batch.records.push(record);
            batch.rows += weight.rows;
            batch.bytes += weight.bytes;
            batch.days.insert(weight.day);
        }
    }

    /// The next batch, if nothing of the partition is being inserted and the batch is full or has waited long enough.
    pub(crate) fn take_ready(&mut self, bounds: &Bounds, now: Instant) -> Option<Batch> {
        if self.inserting.is_some() || self.due(bounds).is_none_or(|due| due > now) {
            return None;
        }
        let batch = self.batches.pop_front()?;
        self.inserting = Some(batch.bounds());
        self.done = Some(batch.bounds().1);
        Some(batch)
    }

    /// When the next batch is due; none while an insert runs, while a repeated batch is incomplete, or with nothing to do.
    pub(crate) fn due(&self, bounds: &Bounds) -> Option<Instant> {
        let batch = self.batches.front()?;
        if self.inserting.is_some() {
            return None;
        }
        if self.replay.is_some() && !batch.full {
            return None;
        }
        if batch.full || batch.rows >= bounds.rows || batch.bytes >= bounds.bytes {
            return Some(batch.opened);
        }
        Some(batch.opened + bounds.linger)
    }
}

fn overflows(batch: &Batch, weight: Weight, bounds: &Bounds) -> bool {
    batch.rows + weight.rows > bounds.rows
        || batch.bytes + weight.bytes > bounds.bytes
        || (batch.days.len() >= MAX_DAYS && !batch.days.contains(&weight.day))
}

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_bus::Topic;

    const BOUNDS: Bounds = Bounds { rows: 10, bytes: 1_000, linger: Duration::from_secs(3600) };

    fn record(offset: i64) -> Record {
        Record {
            topic: Topic::Events,
            partition: 0,
            offset,
            timestamp: 0,
            key: Default::default(),
            headers: Vec::new(),
            value: Default::default(),
        }
    }

    fn add(lane: &mut Lane, offsets: impl IntoIterator<Item = i64>) {
        for offset in offsets {
            lane.add(record(offset), Weight { rows: 4, bytes: 10, day: 0 }, &BOUNDS);
        }
    }

    fn ready(lane: &mut Lane) -> Option<(i64, i64)> {
        lane.take_ready(&BOUNDS, Instant::now()).map(|batch| batch.bounds())
    }

    #[test]
    fn a_full_batch_goes_and_the_next_waits_for_it() {
        let mut lane = Lane::default();
        add(&mut lane, 0..5);
        assert_eq!(ready(&mut lane), Some((0, 1)));
        assert_eq!(ready(&mut lane), None);
        lane.inserting = None;
        assert_eq!(ready(&mut lane), Some((2, 3)));
        lane.inserting = None;
        assert_eq!(ready(&mut lane), None);
    }

    #[test]
    fn an_intent_is_repeated_with_exactly_its_bounds() {
        let mut lane = Lane::taken_over(Some(Intent::new(3, 7)));
        add(&mut lane, 3..7);
        assert_eq!(ready(&mut lane), None, "bounds of rows do not cut a repeated batch");
        add(&mut lane, 7..9);
        assert_eq!(ready(&mut lane), Some((3, 7)));
    }

    #[test]
    fn an_intent_whose_records_are_gone_is_forgotten() {
        let mut lane = Lane::taken_over(Some(Intent::new(3, 7)));
        add(&mut lane, [20, 21, 22]);
        assert_eq!(ready(&mut lane), Some((20, 21)));
    }

    #[test]
    fn records_that_come_again_are_taken_once() {
        let mut lane = Lane::default();
        add(&mut lane, 0..3);
        assert_eq!(ready(&mut lane), Some((0, 1)));
        add(&mut lane, 0..5);
        lane.inserting = None;
        assert_eq!(ready(&mut lane), Some((2, 3)));
    }

    #[test]
    fn a_block_never_touches_more_days_than_the_engine_takes() {
        let mut lane = Lane::default();
        let bounds = Bounds { rows: 1_000, bytes: 1_000_000, ..BOUNDS };
        for offset in 0..40 {
            lane.add(record(offset), Weight { rows: 1, bytes: 1, day: offset }, &bounds);
        }
        let batch = lane.take_ready(&bounds, Instant::now()).unwrap();
        assert_eq!(batch.bounds(), (0, MAX_DAYS as i64 - 1));
    }
}
