//! From one topic to its tables: gather records by partition, write down the intent, insert, commit.
//!
//! Order of one block: commit its bounds as metadata (offset unmoved), insert with a token made of bounds and content,
//! then move the offset. Whatever happens in between, the same records make the same block again.
//!
//! ClickHouse away: the block is tried again with growing waits, nothing more is read once [`BACKLOG_BYTES`] wait here, the
//! topic's lag grows, and health says why. Nothing is dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beffroi_bus::{Bus, BusError, Consumer, Record};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::feeds::Feed;
use crate::insert;
use crate::intent::Intent;
use crate::lane::{Batch, Bounds, Lane};
use crate::options::Options;
use crate::status::FeedStatus;

/// Records and bytes of one poll.
const POLL_RECORDS: usize = 1_000;
const POLL_BYTES: usize = 8 * 1024 * 1024;
/// Longest wait of one poll: after it lanes and health are looked at.
const POLL_WAIT: Duration = Duration::from_millis(500);
/// Blocks being inserted at once: one is decoded while another is written.
const INSERTS: usize = 2;
/// Raw bytes of batches that wait for their insert (in memory they are still compressed); beyond it nothing is read.
const BACKLOG_BYTES: usize = 128 * 1024 * 1024;
/// With a full backlog the group still wants a sign of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(20);
/// Wait after the bus failed.
const BUS_PAUSE: Duration = Duration::from_millis(500);
/// How long running inserts may finish after a stop; what is not done then is done after the restart.
const DRAIN: Duration = Duration::from_secs(5);

/// What ended: partition, its bounds, and whether it stands.
type Done = (i32, (i64, i64), bool);

/// One topic's way.
pub(crate) struct Pipeline {
    pub(crate) feed: Feed,
    pub(crate) bus: Bus,
    pub(crate) database: Database,
    pub(crate) options: Options,
    pub(crate) status: Arc<FeedStatus>,
    pub(crate) stop: CancellationToken,
}

struct Running<'a> {
    pipeline: &'a Pipeline,
    consumer: Consumer,
    generation: Option<u64>,
    lanes: BTreeMap<i32, Lane>,
    inserts: JoinSet<Done>,
}

impl Pipeline {
    /// Runs until stopped.
    pub(crate) async fn run(self) {
        while !self.stop.is_cancelled() {
            match self.bus.subscribe(self.feed.topic(), &self.feed.group()).await {
                Ok(consumer) => {
                    let running =
                        Running { pipeline: &self, consumer, generation: None, lanes: BTreeMap::new(), inserts: JoinSet::new() };
                    if let Err(error) = running.run().await {
                        self.bus_failed(&error).await;
                    }
                }
                Err(error) => self.bus_failed(&error).await,
            }
        }
    }

    async fn bus_failed(&self, error: &BusError) {
        if matches!(error, BusError::Closed) && self.stop.is_cancelled() {
            return;
        }
        self.status.bus_error(error.to_string());
        tracing::warn!(topic = self.feed.topic().name(), %error, "the store cannot read its topic: trying again");
        tokio::select! {
            () = tokio::time::sleep(BUS_PAUSE) => {}
            () = self.stop.cancelled() => {}
        }
    }
}

impl Running<'_> {
    fn bounds(&self) -> Bounds {
        let options = &self.pipeline.options;
        let linger = self.pipeline.feed.linger(options, self.lanes.len());
        Bounds { rows: options.batch_rows, bytes: options.batch_bytes, linger }
    }

    async fn run(mut self) -> Result<(), BusError> {
        while !self.pipeline.stop.is_cancelled() {
            self.launch().await?;
            if self.backlog() >= BACKLOG_BYTES {
                self.wait_for_room().await?;
                continue;
            }
            let wait = self.poll_wait();
            let stop = self.pipeline.stop.clone();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.inserts.join_next(), if !self.inserts.is_empty() => self.reap(done).await?,
                records = self.consumer.poll(POLL_RECORDS, POLL_BYTES, wait) => self.take(records?).await?,
            }
        }
        self.drain().await
    }

    /// No longer than until the next batch is due.
    fn poll_wait(&self) -> Duration {
        let (bounds, now) = (self.bounds(), Instant::now());
        let due = self.lanes.values().filter_map(|lane| lane.due(&bounds)).min();
        due.map_or(POLL_WAIT, |due| due.saturating_duration_since(now).clamp(Duration::from_millis(1), POLL_WAIT))
    }

    fn backlog(&self) -> usize {
        self.lanes.values().map(Lane::bytes).sum()
    }

    /// Takes in what was polled, after a change of assignment.
    async fn take(&mut self, records: Vec<Record>) -> Result<(), BusError> {
        self.pipeline.status.bus_works();
        if self.generation != Some(self.consumer.generation()) {
            self.adopt().await?;
        }
        let bounds = self.bounds();
        for record in records {
            let Some(lane) = self.lanes.get_mut(&record.partition) else { continue };
            let weight = self.pipeline.feed.weigh(&record);
            lane.add(record, weight, &bounds);
        }
        Ok(())
    }

    async fn adopt(&mut self) -> Result<(), BusError> {
        let assigned = self.consumer.assigned();
        self.lanes.retain(|partition, _| assigned.contains(partition));
        for partition in assigned {
            if self.lanes.contains_key(&partition) {
                continue;
            }
            let replay = self.intent(partition).await?;
            self.lanes.insert(partition, Lane::taken_over(replay));
        }
        self.generation = Some(self.consumer.generation());
        Ok(())
    }

    async fn intent(&mut self, partition: i32) -> Result<Option<Intent>, BusError> {
        let Some((next, metadata)) = self.consumer.committed(partition).await? else { return Ok(None) };
        let topic = self.pipeline.feed.topic().name();
        match Intent::from_metadata(next, &metadata) {
            Ok(intent) => {
                if intent.is_some() {
                    tracing::info!(topic, partition, next, metadata, "repeating the insert that a restart cut off");
                }
                Ok(intent)
            }
            Err(why) => {
                tracing::warn!(topic, partition, why, "offset metadata is not ours: going on without");
                Ok(None)
            }
        }
    }

    /// Starts inserts of batches that are due.
    async fn launch(&mut self) -> Result<(), BusError> {
        let bounds = self.bounds();
        // The one that has waited longest first: no partition starves.
        let due = self.lanes.iter().filter_map(|(partition, lane)| Some((lane.due(&bounds)?, *partition)));
        let mut due: Vec<(Instant, i32)> = due.collect();
        due.sort_unstable();
        for (_, partition) in due {
            if self.inserts.len() >= INSERTS {
                return Ok(());
            }
            let Some(batch) = self.lanes.get_mut(&partition).and_then(|lane| lane.take_ready(&bounds, Instant::now())) else {
                continue;
            };
            let (first, last) = batch.bounds();
            // Also commits what was inserted before it.
            match self.consumer.commit(partition, first, &Intent::new(first, last).to_metadata()).await {
                Ok(()) => {}
                Err(BusError::NotAssigned { .. }) => {
                    self.lanes.remove(&partition);
                    continue;
                }
                Err(error) => return Err(error),
            }
            self.spawn(partition, batch);
        }
        Ok(())
    }

    fn spawn(&mut self, partition: i32, batch: Batch) {
        let Pipeline { feed, bus, database, status, stop, .. } = self.pipeline;
        let (feed, bus, database, status, stop) = (*feed, bus.clone(), database.clone(), Arc::clone(status), stop.clone());
        let bounds = batch.bounds();
        self.inserts.spawn(async move {
            let stands = insert::batch(feed, &bus, &database, batch, &status, &stop).await;
            (partition, bounds, stands)
        });
    }

    /// An insert has ended: its offset moves.
    async fn reap(&mut self, done: Result<Done, tokio::task::JoinError>) -> Result<(), BusError> {
        let (partition, bounds, stands) = match done {
            Ok(done) => done,
            // A panic is a bug of ours: without its commit the batch is read again by whoever comes next.
            Err(error) => {
                return Err(BusError::Unavailable {
                    what: format!("an insert of {} ended: {error}", self.pipeline.feed.topic()),
                    hint: "this is a defect of the store; the batch is tried again".into(),
                });
            }
        };
        if !stands {
            return Ok(());
        }
        let now = self.bounds();
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(()) };
        if lane.inserting != Some(bounds) {
            return Ok(());
        }
        lane.inserting = None;
        // The next intent, if it comes at once, moves the offset as well.
        if lane.due(&now).is_some_and(|due| due <= Instant::now()) && !self.pipeline.stop.is_cancelled() {
            return Ok(());
        }
        match self.consumer.commit(partition, bounds.1 + 1, "").await {
            Err(BusError::NotAssigned { .. }) => {
                self.lanes.remove(&partition);
                Ok(())
            }
            other => other,
        }
    }

    /// With a full backlog: waits for an insert, and tells the group now and then that it lives.
    async fn wait_for_room(&mut self) -> Result<(), BusError> {
        let stop = self.pipeline.stop.clone();
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            Some(done) = self.inserts.join_next(), if !self.inserts.is_empty() => self.reap(done).await,
            () = tokio::time::sleep(SIGN_OF_LIFE) => {
                // The record is read again later: there is no room for it now.
                for record in self.consumer.poll(1, 1, Duration::ZERO).await? {
                    match self.consumer.seek(record.partition, record.offset).await {
                        Ok(()) | Err(BusError::NotAssigned { .. }) => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(())
            }
        }
    }

    async fn drain(mut self) -> Result<(), BusError> {
        let deadline = tokio::time::Instant::now() + DRAIN;
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.inserts.join_next()).await {
            self.reap(done).await?;
        }
        let left: usize = self.lanes.values().map(Lane::bytes).sum();
        tracing::info!(
            topic = self.pipeline.feed.topic().name(),
            bytes = left,
            "the store stopped reading; what waits stays on the bus"
        );
        Ok(())
    }
}
