//! The judging thread and what its batches took.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use beffroi_bus::{Record as BusRecord, Topic};
use beffroi_detect::{Opened, RulesInForce, evaluate, open};
use beffroi_schema::batch::{BatchBuilder, Header, HostInfo, Record};
use beffroi_schema::{AgentId, BatchHash, Epoch, Event, SigningKey, Stream, wire};
use bytes::Bytes;
use nix::sys::resource::{UsageWho, getrusage};

use crate::clock::processor_time;
use crate::lanes::{self, Item};

/// Events of one batch: few, so that what it takes is what each of them waits.
const BATCH: usize = 8;
/// Any time will do.
const NOW: i64 = 1_795_000_000_000_000;

/// The worst of some batches, each part for itself.
#[derive(Debug, Default, Clone)]
pub struct Worst {
    /// Batches.
    pub batches: u64,
    /// How often other rules were in force than before.
    pub exchanges: u64,
    /// Asleep: waiting for a lock or for memory. Every wait of that kind is counted by the kernel as a voluntary switch,
    /// so what a host takes from a virtual machine does not look like one.
    pub asleep: Duration,
    /// Running and asleep in the last batch with old rules, which lets them go, or the first with new ones.
    pub exchange: Duration,
    /// Running.
    pub ran: Duration,
    /// From beginning to end, with all that other programs took.
    pub wall: Duration,
}

impl Worst {
    fn add(&mut self, took: Took) {
        self.batches += 1;
        self.asleep = self.asleep.max(took.asleep);
        self.ran = self.ran.max(took.ran);
        self.wall = self.wall.max(took.wall);
    }

    fn exchange(&mut self, last: Took, first: Took) {
        self.exchanges += 1;
        self.exchange = self.exchange.max(last.ran + last.asleep).max(first.ran + first.asleep);
    }
}

/// A thread that judges without a pause.
pub struct Load {
    worst: Arc<Mutex<Worst>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Load {
    /// Begins.
    pub fn start(folder: &Path, rules: Arc<ArcSwap<RulesInForce>>) -> Self {
        let batches: Vec<Opened> = lanes::lane(folder, "linux_exec").chunks(BATCH).map(opened).collect();
        let (worst, stop) = (Arc::new(Mutex::new(Worst::default())), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (worst, stop) = (worst.clone(), stop.clone());
            move || judge(&batches, &rules, &worst, &stop)
        });
        Self { worst, stop, thread }
    }

    /// What was seen so far; it begins anew.
    pub fn take(&self) -> Worst {
        std::mem::take(&mut self.worst.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How often other rules were in force than before.
    pub fn exchanges(&self) -> u64 {
        self.worst.lock().unwrap_or_else(PoisonError::into_inner).exchanges
    }

    /// Ends.
    pub fn stop(self) -> Worst {
        self.stop.store(true, Ordering::Relaxed);
        let worst = self.worst.clone();
        self.thread.join().expect("the judging thread ended in order");
        std::mem::take(&mut worst.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn judge(batches: &[Opened], rules: &ArcSwap<RulesInForce>, worst: &Mutex<Worst>, stop: &AtomicBool) {
    let watch = Watch::new();
    let (mut last, mut known) = (Took::default(), rules.load().ruleset.clone());
    for opened in batches.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let before = watch.now();
        let in_force = rules.load_full();
        std::hint::black_box(evaluate(opened, &in_force, BTreeMap::new(), NOW));
        let ruleset = in_force.ruleset.clone();
        // As the detector's turn: the rules are let go before the next batch.
        drop(in_force);
        let took = watch.now().since(&before);
        let mut worst = worst.lock().unwrap_or_else(PoisonError::into_inner);
        worst.add(took);
        if ruleset != known {
            worst.exchange(last, took);
        }
        (last, known) = (took, ruleset);
    }
}

/// What a batch took.
#[derive(Debug, Default, Clone, Copy)]
struct Took {
    wall: Duration,
    ran: Duration,
    asleep: Duration,
}

/// The clocks of this thread.
struct Watch(File);

/// What they show at one time.
struct Shown {
    wall: Instant,
    ran: f64,
    /// Time in which the thread waited for a processor.
    queued: Duration,
    /// How often it went to sleep.
    sleeps: i64,
}

impl Watch {
    fn new() -> Self {
        Self(File::open("/proc/thread-self/schedstat").expect("Linux counts what threads wait"))
    }

    /// All clocks at one time: when the thread lost its processor between two of them, they are read again.
    fn now(&self) -> Shown {
        let usage = || getrusage(UsageWho::RUSAGE_THREAD).expect("Linux knows it");
        loop {
            let queued = self.queued();
            let shown =
                Shown { wall: Instant::now(), ran: processor_time(), queued, sleeps: usage().voluntary_context_switches() };
            if self.queued() == queued {
                return shown;
            }
        }
    }

    fn queued(&self) -> Duration {
        let mut text = [0; 128];
        let len = self.0.read_at(&mut text, 0).expect("it is there as long as the thread");
        let numbers = std::str::from_utf8(&text[..len]).expect("digits");
        let nanoseconds = numbers.split_whitespace().nth(1).and_then(|number| number.parse().ok());
        Duration::from_nanos(nanoseconds.expect("the second number is the time in the queue"))
    }
}

impl Shown {
    fn since(&self, before: &Self) -> Took {
        let wall = self.wall - before.wall;
        let ran = Duration::from_secs_f64((self.ran - before.ran).max(0.0));
        let rest = wall.saturating_sub(ran).saturating_sub(self.queued - before.queued);
        Took { wall, ran, asleep: if self.sleeps > before.sleeps { rest } else { Duration::ZERO } }
    }
}

fn opened(items: &[Item]) -> Opened {
    let key = SigningKey::from_bytes(&[7; 32]);
    let agent = AgentId::of_public_key(&key.verifying_key().to_bytes());
    let mut builder = BatchBuilder::new(&HostInfo::default());
    for (index, item) in items.iter().enumerate() {
        let mut json: serde_json::Value = serde_json::from_str(&item.text).expect("JSON");
        json["category"] = item.source.category.as_str().into();
        json["product"] = item.source.product.as_str().into();
        let mut event = Event::from_json(&json, NOW).expect("an event");
        event.seq = index as u64 + 1;
        builder.push(&Record::Event(event));
    }
    let header = Header::unsealed("interieur".into(), agent, Epoch::new(NOW as u64, 1), Stream::Exec, BatchHash::default());
    let sealed = builder.seal(header, &key).expect("it is small enough");
    let header = |name: &str, value: &str| (name.to_string(), Bytes::copy_from_slice(value.as_bytes()));
    let record = BusRecord {
        topic: Topic::Events,
        partition: 0,
        offset: 0,
        timestamp: 0,
        key: Bytes::from(agent.to_string()),
        headers: vec![
            header(wire::HEADER_RECEIVED_AT, &NOW.to_string()),
            header(wire::HEADER_TENANT, "interieur"),
            header(wire::HEADER_REMOTE, "192.0.2.17"),
        ],
        value: Bytes::from(sealed.bytes),
    };
    open(&record).expect("a batch of ours")
}
