//! The running correlations: poll, take, publish, write the state down, commit.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use beffroi_bus::{Bus, BusError, Consumer, Record as BusRecord, Topic};
use beffroi_engine::correlate::Figures;
use beffroi_schema::alert::Match;
use beffroi_schema::health::RoleHealth;
use beffroi_schema::wire::GROUP_CORRELATE;
use futures::future::try_join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::detection::Detection;
use super::lane::Lane;
use super::state::{Covered, Gathering, is_piece, pack};
use crate::back_off::BackOff;
use crate::judge::RulesInForce;
use crate::service::json_record;

/// Detections of one turn.
const MAX_RECORDS: usize = 256;
/// Bytes of one turn.
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// How long a poll waits; also how exactly the wait for late events is kept.
const MAX_WAIT: Duration = Duration::from_millis(200);
/// How often a lane's state is written down, while it changes: what a crash makes to be read again.
const SAVE_EVERY: Duration = Duration::from_secs(10);
/// How often the state of a lane that does not change is written down again: long before the bus forgets the last one.
const REFRESH_EVERY: Duration = Duration::from_secs(6 * 3600);
/// A large state is written down less often: at most this many bytes a second.
const SAVE_BYTES_PER_SECOND: usize = 4 * 1024 * 1024;
/// How long the pieces of a state are looked for. They lie where the commit says; longer means that they are gone.
const GATHER_WAIT: Duration = Duration::from_secs(30);

/// Running correlations.
pub(crate) struct Handle {
    figures: Arc<Mutex<Figures>>,
    task: JoinHandle<()>,
}

impl Handle {
    /// Adds what they hold to the detector's health.
    pub(crate) fn figures(&self, health: RoleHealth) -> RoleHealth {
        let figures = *self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        health
            .figure("correlation_groups", figures.groups)
            .figure("correlation_waiting", figures.held)
            .figure("correlation_late", figures.late)
    }

    /// Waits until the state is written down after a shutdown was asked for.
    pub(crate) async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the correlations ended badly");
        }
    }
}

/// Begins to read `detections.v1`.
pub(crate) async fn start(
    lateness_us: i64,
    bus: Bus,
    rules: Arc<ArcSwap<RulesInForce>>,
    shutdown: CancellationToken,
) -> Result<Handle, BusError> {
    let consumer = bus.subscribe(Topic::Detections, GROUP_CORRELATE).await?;
    let figures = Arc::new(Mutex::new(Figures::default()));
    let in_force = rules.load_full();
    let service = Service {
        bus,
        consumer,
        rules,
        in_force,
        lateness_us,
        seats: BTreeMap::new(),
        // No generation of a consumer: the first turn looks at the assignment.
        generation: None,
        stash: VecDeque::new(),
        figures: figures.clone(),
    };
    Ok(Handle { figures, task: tokio::spawn(service.run(shutdown)) })
}

/// A partition that this detector has.
struct Seat {
    lane: Lane,
    /// Offset after the last record that was taken.
    next: Option<i64>,
    /// What was committed last.
    committed: Option<(i64, String)>,
    /// A key that leads to this partition.
    key: Vec<u8>,
    /// Alerts that are not published yet.
    outbox: Vec<Match>,
    is_dirty: bool,
    last_record: Instant,
    saved: Instant,
}

impl Seat {
    fn new(lane: Lane, key: Vec<u8>, committed: Option<(i64, String)>) -> Self {
        let now = Instant::now();
        Self { lane, next: None, committed, key, outbox: Vec::new(), is_dirty: false, last_record: now, saved: now }
    }

    fn is_due(&self) -> bool {
        let pause = SAVE_EVERY + Duration::from_secs((self.lane.figures().bytes / SAVE_BYTES_PER_SECOND) as u64);
        let age = self.saved.elapsed();
        self.is_dirty && age >= pause || !self.lane.is_empty() && age >= REFRESH_EVERY
    }

    fn is_settled(&self) -> bool {
        let lateness = Duration::from_micros(self.lane.lateness_us().unsigned_abs());
        !self.lane.is_waiting() || self.last_record.elapsed() < lateness
    }
}

struct Service {
    bus: Bus,
    consumer: Consumer,
    rules: Arc<ArcSwap<RulesInForce>>,
    in_force: Arc<RulesInForce>,
    lateness_us: i64,
    seats: BTreeMap<i32, Seat>,
    generation: Option<u64>,
    /// Records that were read and not taken yet.
    stash: VecDeque<BusRecord>,
    figures: Arc<Mutex<Figures>>,
}

fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

impl Service {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut back_off = BackOff::new();
        loop {
            let records = tokio::select! {
                () = shutdown.cancelled() => break,
                records = self.consumer.poll(MAX_RECORDS, MAX_BYTES, MAX_WAIT) => records,
            };
            let outcome = match records {
                Ok(records) => self.turn(records).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => back_off.worked(),
                Err(error) => {
                    tracing::warn!(%error, "correlations commit nothing; trying again in {:?}", back_off.pause());
                    if !back_off.wait(&shutdown).await {
                        break;
                    }
                }
            }
        }
        if let Err(error) = self.save(true).await {
            tracing::warn!(%error, "the state of correlations was not written down: it is made again from the last one");
        }
    }

    async fn turn(&mut self, records: Vec<BusRecord>) -> Result<(), BusError> {
        self.stash.extend(records);
        self.adopt().await?;
        self.exchange();
        while let Some(record) = self.stash.pop_front() {
            self.take(&record);
        }
        for seat in self.seats.values_mut().filter(|seat| !seat.is_settled()) {
            seat.outbox.extend(seat.lane.settle(&self.in_force, now_us()));
            seat.is_dirty = true;
        }
        self.publish().await?;
        self.save(false).await?;
        self.say();
        Ok(())
    }

    /// Follows the assignment: partitions that went are forgotten, those that came begin with the state of their commit.
    /// One that went and came back meanwhile is known by its commit, which is not ours.
    async fn adopt(&mut self) -> Result<(), BusError> {
        while self.generation != Some(self.consumer.generation()) {
            let generation = self.consumer.generation();
            let assigned = self.consumer.assigned();
            self.seats.retain(|partition, _| assigned.contains(partition));
            for partition in assigned {
                let committed = match self.consumer.committed(partition).await {
                    Err(BusError::NotAssigned { .. }) => continue,
                    other => other?,
                };
                if self.seats.get(&partition).is_some_and(|seat| seat.committed == committed) {
                    continue;
                }
                match self.recover(partition, committed).await {
                    Err(BusError::NotAssigned { .. }) => {}
                    other => other?,
                }
            }
            self.generation = Some(generation);
        }
        Ok(())
    }

    async fn recover(&mut self, partition: i32, committed: Option<(i64, String)>) -> Result<(), BusError> {
        let empty = Seat::new(Lane::new(&self.in_force, self.lateness_us), Vec::new(), committed.clone());
        let mut seat = empty;
        if let Some((next, metadata)) = &committed {
            if let Ok(covered) = serde_json::from_str::<Covered>(metadata) {
                seat = self.restore(partition, covered, seat).await?;
            }
            self.consumer.seek(partition, *next).await?;
            // What came of it so far is read again, after the state that covers what was before.
            self.stash.retain(|record| record.partition != partition);
        }
        self.seats.insert(partition, seat);
        Ok(())
    }

    /// Reads the pieces of a state. Without them windows begin anew.
    async fn restore(&mut self, partition: i32, covered: Covered, seat: Seat) -> Result<Seat, BusError> {
        self.consumer.seek(partition, covered.offset).await?;
        let mut gathering = Gathering::new(covered);
        let mut key = Vec::new();
        let begun = Instant::now();
        while !gathering.is_complete() {
            if begun.elapsed() > GATHER_WAIT {
                tracing::warn!(partition, "the state of correlations is gone: windows begin anew");
                return Ok(seat);
            }
            for record in self.consumer.poll(MAX_RECORDS, MAX_BYTES, MAX_WAIT).await? {
                match record.partition == partition {
                    true if is_piece(&record) => {
                        key = record.key.to_vec();
                        gathering.take(&record);
                    }
                    true => {}
                    false => self.stash.push_back(record),
                }
            }
        }
        match gathering.unpack() {
            Ok(state) => {
                let lane = Lane::restored(&self.in_force, self.lateness_us, state);
                tracing::info!(partition, groups = lane.figures().groups, "correlations go on where they were");
                Ok(Seat::new(lane, key, seat.committed))
            }
            Err(error) => {
                tracing::warn!(partition, %error, "windows begin anew");
                Ok(seat)
            }
        }
    }

    fn exchange(&mut self) {
        let rules = self.rules.load_full();
        if !Arc::ptr_eq(&rules, &self.in_force) {
            self.in_force = rules;
            let mut left = Vec::new();
            for seat in self.seats.values_mut() {
                left.extend(seat.lane.exchange(&self.in_force));
                seat.is_dirty = true;
            }
            // Nobody waits for this task.
            drop(tokio::task::spawn_blocking(move || drop(left)));
        }
    }

    fn take(&mut self, record: &BusRecord) {
        // A partition that went: whoever has it now reads this record.
        let Some(seat) = self.seats.get_mut(&record.partition) else { return };
        seat.next = Some(record.offset + 1);
        if is_piece(record) {
            return;
        }
        seat.is_dirty = true;
        seat.last_record = Instant::now();
        seat.key = record.key.to_vec();
        match serde_json::from_slice::<Detection>(&record.value) {
            Ok(detection) => seat.outbox.extend(seat.lane.take(detection, &self.in_force, now_us())),
            Err(error) => {
                metrics::counter!("beffroi_detect_detections_refused_total").increment(1);
                tracing::warn!(partition = record.partition, offset = record.offset, %error, "a detection cannot be read and is left out");
            }
        }
    }

    /// Publishes what was found. What cannot be published now stays, and nothing is committed before it.
    async fn publish(&mut self) -> Result<(), BusError> {
        for seat in self.seats.values_mut().filter(|seat| !seat.outbox.is_empty()) {
            let records = seat.outbox.iter().map(|found| json_record(found.match_id.to_string(), found));
            try_join_all(records.map(|record| self.bus.publish(Topic::Alerts, record))).await?;
            metrics::counter!("beffroi_detect_matches_total").increment(seat.outbox.len() as u64);
            seat.outbox.clear();
        }
        Ok(())
    }

    /// Writes down the state of lanes that are due, or of all that changed, and commits what it covers.
    async fn save(&mut self, all: bool) -> Result<(), BusError> {
        if all {
            self.publish().await?;
        }
        let due = |seat: &Seat| if all { seat.is_dirty } else { seat.is_due() };
        for (partition, seat) in self.seats.iter_mut().filter(|(_, seat)| due(seat)) {
            // A lane that took no record since it was restored is covered up to the same record as before.
            let Some(next) = seat.next.or(seat.committed.as_ref().map(|(next, _)| *next)) else { continue };
            let metadata = write_down(&self.bus, *partition, seat).await?;
            match self.consumer.commit(*partition, next, &metadata).await {
                Err(BusError::NotAssigned { .. }) => {}
                other => other?,
            }
            seat.committed = Some((next, metadata));
            seat.is_dirty = false;
            seat.saved = Instant::now();
        }
        Ok(())
    }

    fn say(&self) {
        let mut sum = Figures::default();
        for figures in self.seats.values().map(|seat| seat.lane.figures()) {
            sum.held += figures.held;
            sum.groups += figures.groups;
            sum.bytes += figures.bytes;
            sum.late += figures.late;
            sum.applied += figures.applied;
        }
        metrics::gauge!("beffroi_detect_correlation_groups").set(sum.groups as f64);
        metrics::gauge!("beffroi_detect_correlation_bytes").set(sum.bytes as f64);
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = sum;
    }
}

/// Publishes a lane's state into its own partition; what the commit says of it is returned.
async fn write_down(bus: &Bus, partition: i32, seat: &Seat) -> Result<String, BusError> {
    if seat.lane.is_empty() {
        return Ok(String::new());
    }
    let (id, records) = match pack(&seat.lane.state(), &seat.key) {
        Ok(packed) => packed,
        Err(error) => {
            tracing::error!(partition, %error, "a restart will begin its windows anew");
            return Ok(String::new());
        }
    };
    let pieces = records.len();
    let written = try_join_all(records.into_iter().map(|record| bus.publish(Topic::Detections, record))).await?;
    let offset = written.iter().map(|position| position.offset).min().unwrap_or(0);
    if written.iter().any(|position| position.partition != partition) {
        tracing::error!(partition, "the state of correlations went to another partition: a restart will begin its windows anew");
        return Ok(String::new());
    }
    serde_json::to_string(&Covered { offset, id, pieces })
        .map_err(|error| BusError::Invalid { what: "commit metadata", reason: error.to_string() })
}
