//! What the tests of the probes share: a sensor with its events so far, and the wait for the one that must follow.

// Each test program uses a part of it.
#![allow(dead_code, clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use beffroi_schema::batch::{Gap, Record};
use beffroi_schema::{AgentId, Category, Event, Field};
use beffroi_sensor::{Sensor, SensorOptions, Source, boot_id};

/// An effect that does not follow within this time counts as missing.
const PATIENCE: Duration = Duration::from_secs(20);
/// Who senses.
pub const AGENT: AgentId = AgentId([7; 16]);

/// One sensor at a time: the tests count what the whole host does.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A sensor, and what it has told.
pub struct Eyes {
    pub sensor: Option<Sensor>,
    pub events: Vec<Event>,
    pub gaps: Vec<Gap>,
    _turn: MutexGuard<'static, ()>,
}

/// Probes or an error.
pub fn options() -> SensorOptions {
    let mut options = SensorOptions::new(AGENT, boot_id().unwrap());
    options.source = Source::Kernel;
    options
}

/// A sensor with these options; none where there can be no probes.
pub fn eyes_with(options: SensorOptions) -> Option<Eyes> {
    let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    if !nix::unistd::geteuid().is_root() || !fs::exists("/sys/kernel/btf/vmlinux").unwrap() {
        eprintln!("SKIPPED: kernel probes need root and BTF (/sys/kernel/btf/vmlinux)");
        return None;
    }
    let sensor = Sensor::start(options).expect("root and BTF are there, so the probes must load");
    Some(Eyes { sensor: Some(sensor), events: Vec::new(), gaps: Vec::new(), _turn: turn })
}

/// A sensor; none where there can be no probes.
pub fn eyes() -> Option<Eyes> {
    eyes_with(options())
}

impl Eyes {
    pub fn poll(&mut self) {
        let (events, gaps) = (&mut self.events, &mut self.gaps);
        let mut sink = |record| match record {
            Record::Event(event) => events.push(event),
            Record::Gap(gap) => gaps.push(gap),
            other => panic!("the sensor makes no {other:?}"),
        };
        self.sensor.as_mut().unwrap().poll(Duration::from_millis(50), &mut sink).unwrap();
    }

    /// Polls until the condition holds.
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "not seen within {PATIENCE:?}: {what}");
            self.poll();
        }
    }

    pub fn find(&mut self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        self.until(what, |eyes| eyes.events.iter().any(&wanted));
        self.events.iter().find(|event| wanted(event)).unwrap().clone()
    }

    pub fn counter(&self, name: &str) -> u64 {
        let counters = self.sensor.as_ref().unwrap().counters();
        counters.into_iter().find(|(known, _)| known == name).unwrap().1
    }
}

/// A command that reads and says nothing.
pub fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Whether this is the start of that process.
pub fn is_exec(event: &Event, pid: u32) -> bool {
    event.logsource.category == Category::ProcessCreation && event.uint(Field::PROCESS_ID) == Some(u64::from(pid))
}

/// Whether this process did it.
pub fn by_me(event: &Event, category: Category) -> bool {
    event.logsource.category == category && event.uint(Field::PROCESS_ID) == Some(u64::from(std::process::id()))
}
