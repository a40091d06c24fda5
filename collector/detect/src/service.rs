//! The running detector: poll, judge, publish, commit.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use beffroi_bus::control::Control;
use beffroi_bus::{Bus, BusError, Consumer, Outgoing, Record as BusRecord, Topic};
use beffroi_schema::alert::{DeadLetter, Match};
use beffroi_schema::health::RoleHealth;
use beffroi_schema::wire;
use bytes::Bytes;
use futures::future::try_join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::back_off::BackOff;
use crate::chains::{Chains, Link};
use crate::correlate::{self, Detection};
use crate::judge::{self, Judged, Refusal, RulesInForce};
use crate::options::DetectOptions;
use crate::reload::{self, RulesError};

/// Batches of one turn: a turn stays short, so that a reload or a stop is noticed soon.
const MAX_RECORDS: usize = 64;
/// Bytes of one turn: bounds what is decoded at once.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// How long a poll waits for the first record.
const MAX_WAIT: Duration = Duration::from_millis(500);
/// How often it is told what rules cost: as often as metrics are usually asked for.
const TELL_COSTS_EVERY: Duration = Duration::from_secs(10);

/// The detector could not start.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// No rules.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// No bus.
    #[error("the detector cannot read the bus: {0}")]
    Bus(#[from] BusError),
}

/// A running detector.
pub struct DetectHandle {
    health: Arc<Mutex<RoleHealth>>,
    rules: Arc<ArcSwap<RulesInForce>>,
    task: JoinHandle<()>,
    correlations: correlate::Handle,
}

impl DetectHandle {
    /// Whether it can work now.
    pub fn health(&self) -> RoleHealth {
        let health = self.health.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rules = self.rules.load();
        let health = self.correlations.figures(health);
        health.figure("rules", rules.detector.rules().len()).figure("ruleset", &rules.ruleset).figure("engine", &rules.engine)
    }

    /// Waits until the current turn is committed after a shutdown was asked for.
    pub async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the detector ended badly");
        }
        self.correlations.join().await;
    }
}

/// Loads the rules and begins to read.
///
/// # Errors
/// [`DetectError`] when no rule loads or the bus refuses the subscription.
pub async fn start(
    options: DetectOptions,
    bus: Bus,
    control: Control,
    shutdown: CancellationToken,
) -> Result<DetectHandle, DetectError> {
    let paths = options.rules.clone();
    let loaded = tokio::task::spawn_blocking(move || reload::load_rules(&paths));
    let loaded = loaded.await.map_err(|error| RulesError::Compile(error.to_string()))??;
    let rules = Arc::new(ArcSwap::from_pointee(loaded));
    if options.reload {
        tokio::spawn(reload::watch(options.rules.clone(), rules.clone(), shutdown.clone()));
    }
    let consumer = bus.subscribe(Topic::Events, &options.group).await?;
    let correlations = correlate::start(options.lateness_us(), bus.clone(), rules.clone(), shutdown.clone()).await?;
    let health = Arc::new(Mutex::new(RoleHealth::ready("detect", "waiting for events")));
    let service = Service {
        bus,
        consumer,
        control,
        rules: rules.clone(),
        chains: Arc::default(),
        health: health.clone(),
        last_received: None,
        costs_told: Instant::now(),
    };
    let task = tokio::spawn(service.run(shutdown));
    Ok(DetectHandle { health, rules, task, correlations })
}

/// What one turn found.
#[derive(Default)]
struct Findings {
    matches: Vec<Match>,
    detections: Vec<Detection>,
    letters: Vec<DeadLetter>,
    events: u64,
}

struct Service {
    bus: Bus,
    consumer: Consumer,
    control: Control,
    rules: Arc<ArcSwap<RulesInForce>>,
    chains: Arc<Mutex<Chains>>,
    health: Arc<Mutex<RoleHealth>>,
    last_received: Option<i64>,
    costs_told: Instant,
}

impl Service {
    async fn run(mut self, shutdown: CancellationToken) {
        let mut back_off = BackOff::new();
        loop {
            let records = tokio::select! {
                () = shutdown.cancelled() => return,
                records = self.consumer.poll(MAX_RECORDS, MAX_BYTES, MAX_WAIT) => records,
            };
            let outcome = match records {
                Ok(records) => self.turn(records).await,
                Err(error) => Err(error),
            };
            match outcome {
                Ok(()) => back_off.worked(),
                Err(error) => {
                    tracing::warn!(%error, "nothing is committed; trying again in {:?}", back_off.pause());
                    self.say(RoleHealth::not_ready("detect", error.to_string()));
                    if !back_off.wait(&shutdown).await {
                        return;
                    }
                }
            }
        }
    }

    fn say(&self, health: RoleHealth) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// Judges the records, publishes what was found, commits. When publishing fails, the consumer goes back to the first
    /// record of the turn: what it gave must not be skipped.
    async fn turn(&mut self, records: Vec<BusRecord>) -> Result<(), BusError> {
        if !records.is_empty() {
            let mut next: BTreeMap<i32, i64> = BTreeMap::new();
            for record in &records {
                next.insert(record.partition, record.offset + 1);
            }
            let first: BTreeMap<i32, i64> = records.iter().rev().map(|record| (record.partition, record.offset)).collect();
            if let Err(error) = self.judge_and_publish(records).await {
                for (partition, offset) in first {
                    self.consumer.seek(partition, offset).await?;
                }
                return Err(error);
            }
            for (partition, offset) in next {
                match self.consumer.commit(partition, offset, "").await {
                    // Another detector has the partition now and will read these records again: same ids, no harm.
                    Err(BusError::NotAssigned { .. }) => {}
                    other => other?,
                }
            }
        }
        let detail = self.last_received.map_or_else(
            || "waiting for events".to_string(),
            |ts| format!("last batch received {}", beffroi_schema::json::rfc3339(ts)),
        );
        self.say(RoleHealth::ready("detect", detail));
        Ok(())
    }

    async fn judge_and_publish(&mut self, records: Vec<BusRecord>) -> Result<(), BusError> {
        let batches = records.len();
        let rules = self.rules.load_full();
        let chains = self.chains.clone();
        let control = self.control.clone();
        let judging = rules.clone();
        let judged = tokio::task::spawn_blocking(move || judge_all(&records, &judging, &chains, &control));
        // Panics are caught record by record, so the task can only be missing when the runtime is going down.
        let (findings, last) = judged.await.map_err(|_| BusError::Closed)?;
        metrics::counter!("beffroi_detect_batches_total").increment(batches as u64);
        metrics::counter!("beffroi_detect_events_total").increment(findings.events);
        metrics::counter!("beffroi_detect_matches_total").increment(findings.matches.len() as u64);
        count_by_rule(&findings.matches);
        if self.costs_told.elapsed() >= TELL_COSTS_EVERY {
            self.costs_told = Instant::now();
            tell_costs(&rules);
        }
        publish(&self.bus, findings).await?;
        self.last_received = last.or(self.last_received);
        Ok(())
    }
}

/// Matches of each rule: which ones are loud, and which have never fired.
fn count_by_rule(matches: &[Match]) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    matches.iter().for_each(|found| *counts.entry(&found.rule.id).or_default() += 1);
    for (rule, count) in counts {
        metrics::counter!("beffroi_detect_rule_matches_total", "rule" => rule.to_owned()).increment(count);
    }
}

/// What rules cost: which one burns the processor. Only rules that some event made the detector look at have a figure.
fn tell_costs(rules: &RulesInForce) {
    for cost in rules.detector.take_costs() {
        let id = cost.rule.id.clone();
        metrics::counter!("beffroi_detect_rule_looked_total", "rule" => id.clone()).increment(cost.looked);
        metrics::counter!("beffroi_detect_rule_bytes_total", "rule" => id).increment(cost.bytes);
    }
}

async fn publish(bus: &Bus, findings: Findings) -> Result<(), BusError> {
    let matches = findings.matches.iter().map(|found| (Topic::Alerts, json_record(found.match_id.to_string(), found)));
    let letters = findings.letters.iter().map(|letter| (Topic::DeadLetters, json_record(letter.key.clone(), letter)));
    // One tenant, one partition: its correlations see all of its hosts.
    let detections = findings.detections.iter().map(|one| (Topic::Detections, json_record(one.evidence.tenant.clone(), one)));
    let sends = matches.chain(detections).chain(letters).map(|(topic, record)| bus.publish(topic, record));
    try_join_all(sends).await.map(drop)
}

pub(crate) fn json_record(key: String, value: &impl serde::Serialize) -> Outgoing {
    let value = serde_json::to_vec(value).expect("records of the contract are always JSON");
    let headers = vec![(wire::HEADER_CONTENT_TYPE.to_string(), b"application/json".to_vec())];
    Outgoing { key: key.into_bytes(), headers, value: Bytes::from(value) }
}

fn judge_all(records: &[BusRecord], rules: &RulesInForce, chains: &Mutex<Chains>, control: &Control) -> (Findings, Option<i64>) {
    let mut findings = Findings::default();
    let mut last = None;
    for record in records {
        let now = jiff::Timestamp::now().as_microsecond();
        let judged = catch_unwind(AssertUnwindSafe(|| judge_one(record, rules, chains, control, now)));
        let judged = judged.unwrap_or(Err(Refusal::Panicked)).map(|(events, judged)| {
            findings.events += events;
            findings.matches.extend(judged.matches);
            findings.detections.extend(judged.detections);
        });
        if let Err(refusal) = judged {
            tracing::warn!(partition = record.partition, offset = record.offset, code = refusal.code(), reason = %refusal, "batch put aside");
            metrics::counter!("beffroi_detect_dead_letters_total", "code" => refusal.code()).increment(1);
            findings.letters.push(judge::dead_letter(record, wire::TOPIC_EVENTS, &refusal, now));
        } else {
            last = Some(now);
        }
    }
    (findings, last)
}

fn judge_one(
    record: &BusRecord,
    rules: &RulesInForce,
    chains: &Mutex<Chains>,
    control: &Control,
    now: i64,
) -> Result<(u64, Judged), Refusal> {
    let opened = judge::open(record)?;
    let header = &opened.envelope.header;
    let link = chains.lock().unwrap_or_else(PoisonError::into_inner).link(&opened.envelope, opened.batch.others())?;
    if let Link::Hole { from, to } = link {
        tracing::warn!(agent = %header.agent, stream = %header.stream, from, to, "numbers are missing that no gap declared");
        metrics::counter!("beffroi_detect_holes_total").increment(1);
    }
    let labels = control.read(|state| state.agent(&header.agent).map(|agent| agent.labels.clone())).unwrap_or_default();
    metrics::histogram!("beffroi_detect_delay_seconds").record((now - opened.received_at) as f64 / 1e6);
    Ok((opened.batch.len() as u64, judge::evaluate(&opened, rules, labels, now)))
}
