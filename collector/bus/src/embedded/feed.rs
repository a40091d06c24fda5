//! Reads records of several partitions in turn, off the async threads.
//!
//! One reading at a time runs on a blocking thread and takes the open readers with it. Its result is kept when the
//! caller stops waiting, so dropping a future loses no record. Damage and jumps in a log are counted and logged here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use beffroi_log::{Batch, LogReader};
use tokio::task::JoinHandle;

use super::frame;
use super::partition::log_error;
use super::topic::TopicLogs;
use crate::error::BusError;
use crate::record::Record;

/// Records taken from one partition before it is the next one's turn: a full partition must not starve the others.
const TURN_RECORDS: usize = 256;

/// One open partition.
struct Source {
    reader: LogReader,
    /// Everything below was read, or there is nothing readable there.
    seen: i64,
}

type Sources = BTreeMap<i32, Source>;

/// What a reading brings back.
struct Fetched {
    sources: Sources,
    records: Vec<Record>,
    error: Option<BusError>,
}

/// Reader of several partitions.
pub(super) struct Feed {
    topic: Arc<TopicLogs>,
    sources: Sources,
    buffered: VecDeque<Record>,
    job: Option<JoinHandle<Fetched>>,
    /// Partition that comes first next time.
    turn: i32,
}

impl Feed {
    pub fn new(topic: Arc<TopicLogs>) -> Self {
        Self { topic, sources: Sources::new(), buffered: VecDeque::new(), job: None, turn: 0 }
    }

    /// Reads these partitions from these offsets from now on. Those that were read already go on where they are.
    pub async fn assign(&mut self, wanted: &[(i32, u64)]) -> Result<(), BusError> {
        self.settle().await?;
        self.sources.retain(|p, _| wanted.iter().any(|(w, _)| w == p));
        self.buffered.retain(|record| wanted.iter().any(|(w, _)| *w == record.partition));
        for (partition, offset) in wanted {
            if !self.sources.contains_key(partition) {
                let source = open(&self.topic, *partition, *offset)?;
                self.sources.insert(*partition, source);
            }
        }
        Ok(())
    }

    /// Reads a partition on from `offset`.
    pub async fn seek(&mut self, partition: i32, offset: u64) -> Result<(), BusError> {
        self.settle().await?;
        self.buffered.retain(|record| record.partition != partition);
        let source = open(&self.topic, partition, offset)?;
        match self.sources.get_mut(&partition) {
            Some(old) => *old = source,
            None => return Err(BusError::NotAssigned { topic: self.topic.topic, partition }),
        }
        Ok(())
    }

    /// True when there is something to take or to read.
    pub fn has_work(&self) -> bool {
        !self.buffered.is_empty() || self.job.is_some() || self.sources.iter().any(|(p, s)| self.topic.end(*p) > s.seen)
    }

    /// True when everything below these offsets was read and taken.
    pub fn is_past(&self, targets: &[(i32, i64)]) -> bool {
        let waits = |p: i32, target: i64| self.buffered.iter().any(|r| r.partition == p && r.offset < target);
        let read = |p: i32, target: i64| self.sources.get(&p).is_some_and(|source| source.seen >= target);
        self.job.is_none() && targets.iter().all(|(p, target)| read(*p, *target) && !waits(*p, *target))
    }

    /// True when a record waits to be taken.
    pub fn is_filled(&self) -> bool {
        !self.buffered.is_empty()
    }

    /// Reads a round, unless something is buffered already. Dropping the future is fine.
    pub async fn fill(&mut self, max_records: usize, max_bytes: usize) -> Result<(), BusError> {
        if self.is_filled() {
            return Ok(());
        }
        if self.job.is_none() {
            let (topic, sources, turn) = (Arc::clone(&self.topic), std::mem::take(&mut self.sources), self.turn);
            self.turn = self.turn.wrapping_add(1);
            self.job = Some(tokio::task::spawn_blocking(move || read_round(&topic, sources, turn, max_records, max_bytes)));
        }
        self.settle().await
    }

    /// Takes what is buffered, ending with the record that reaches `max_bytes`.
    pub fn take(&mut self, max_records: usize, max_bytes: usize) -> Vec<Record> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < max_records && bytes < max_bytes {
            let Some(record) = self.buffered.pop_front() else { break };
            bytes += record.size();
            taken.push(record);
        }
        taken
    }

    /// Waits for the reading that runs, if one does.
    async fn settle(&mut self) -> Result<(), BusError> {
        let Some(job) = &mut self.job else { return Ok(()) };
        let fetched = job.await;
        self.job = None;
        match fetched {
            Ok(fetched) => {
                self.sources = fetched.sources;
                self.buffered.extend(fetched.records);
                fetched.error.map_or(Ok(()), Err)
            }
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(BusError::Closed),
        }
    }
}

/// Opens one partition at an offset. A few small reads of the page cache, so it may run on an async thread.
fn open(topic: &TopicLogs, partition: i32, offset: u64) -> Result<Source, BusError> {
    let dir = &topic.partition(partition).ok_or(BusError::NotAssigned { topic: topic.topic, partition })?.dir;
    let mut reader = LogReader::open(dir).map_err(|e| log_error(&e))?;
    if offset > 0 {
        reader.seek(offset).map_err(|e| log_error(&e))?;
    }
    Ok(Source { reader, seen: offset as i64 })
}

/// Reads partitions in turn until a limit is reached or nothing is left.
fn read_round(topic: &TopicLogs, mut sources: Sources, turn: i32, max_records: usize, max_bytes: usize) -> Fetched {
    let mut order: Vec<i32> = sources.keys().copied().collect();
    if !order.is_empty() {
        let first = turn.unsigned_abs() as usize % order.len();
        order.rotate_left(first);
    }
    let (mut records, mut bytes, mut error) = (Vec::new(), 0, None);
    loop {
        let before = records.len();
        for partition in &order {
            let Some(source) = sources.get_mut(partition) else { continue };
            let room = TURN_RECORDS.min(max_records - records.len());
            if room == 0 || bytes >= max_bytes {
                return Fetched { sources, records, error };
            }
            match read_turn(topic, *partition, source, room, max_bytes - bytes) {
                Ok(read) => {
                    bytes += read.iter().map(Record::size).sum::<usize>();
                    records.extend(read);
                }
                Err(failed) => error = Some(failed),
            }
        }
        if records.len() == before || error.is_some() {
            return Fetched { sources, records, error };
        }
    }
}

/// Reads one partition for one turn.
fn read_turn(topic: &TopicLogs, partition: i32, source: &mut Source, room: usize, bytes: usize) -> Result<Vec<Record>, BusError> {
    let end = topic.end(partition);
    if end <= source.seen {
        return Ok(Vec::new());
    }
    let batch = source.reader.read_batch(room, bytes).map_err(|e| log_error(&e))?;
    source.seen = match batch.records.len() {
        // Nothing readable up to there: do not look again before something new comes.
        0 if batch.is_empty() => end,
        _ => source.reader.position() as i64,
    };
    report(topic, partition, &batch);
    Ok(batch.records.into_iter().filter_map(|record| to_record(topic, partition, record)).collect())
}

fn to_record(topic: &TopicLogs, partition: i32, record: beffroi_log::Record) -> Option<Record> {
    let (offset, timestamp) = (record.offset as i64, record.timestamp);
    match frame::decode(record.payload) {
        Ok(frame::Frame { key, headers, value }) => {
            Some(Record { topic: topic.topic, partition, offset, timestamp, key, headers, value })
        }
        Err(reason) => {
            metrics::counter!("beffroi_bus_records_lost_total", "topic" => topic.topic.name()).increment(1);
            tracing::error!(topic = %topic.topic, partition, offset, reason, "a record of the bus is unreadable and was skipped");
            None
        }
    }
}

/// Says what lay between the records.
fn report(topic: &TopicLogs, partition: i32, batch: &Batch) {
    for skipped in &batch.skipped {
        metrics::counter!("beffroi_bus_records_lost_total", "topic" => topic.topic.name())
            .increment(skipped.resumed_at.saturating_sub(skipped.expected));
        tracing::warn!(topic = %topic.topic, partition, ?skipped, "offsets are gone from the bus: retention was faster than this reader");
    }
    for damaged in &batch.damaged {
        metrics::counter!("beffroi_bus_records_lost_total", "topic" => topic.topic.name()).increment(1);
        tracing::error!(topic = %topic.topic, partition, ?damaged, "a stretch of the bus is unreadable and was skipped; check the disk");
    }
}
