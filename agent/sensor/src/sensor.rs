//! The sensor: start, poll, hooks, counters.

use std::time::{Duration, Instant};

use beffroi_schema::AgentId;
use beffroi_schema::batch::{Gap, GapReason, HookState, Record};

use crate::clock::{self, Clock};
use crate::compose::Composer;
use crate::error::SensorError;
use crate::fallback::Fallback;
use crate::hooks::HOOKS;
use crate::kernel::{Counters, Kernel};
use crate::order::{Order, WINDOW_NS};

/// Drains are at least this far apart: bounds the wake-ups to 100 a second under load, and adds at most this to an event's
/// latency, far less than the spool's own. An idle host causes none, because the first record wakes the sensor.
const MIN_DRAIN_INTERVAL: Duration = Duration::from_millis(10);
/// Counters are read, gaps declared and the clock measured this often.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Smallest ring: one page.
const MIN_RING: u32 = 4_096;
/// Largest ring: locked kernel memory.
const MAX_RING: u32 = 256 << 20;

/// Where events come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Source {
    /// Kernel probes; where they cannot be used, the best of the others.
    #[default]
    Auto,
    /// Kernel probes or an error.
    Kernel,
    /// The kernel's process connector; a scan of /proc where it cannot be used.
    Connector,
    /// A scan of /proc.
    Scan,
}

/// How to sense.
#[derive(Debug, Clone)]
pub struct SensorOptions {
    /// Who senses: part of every ProcessGuid.
    pub agent: AgentId,
    /// Kernel boot id ([`crate::boot_id`]): part of every ProcessGuid.
    pub boot_id: String,
    /// Processes whose doings are left out (and counted): the agent's own, by number, never by name.
    pub exclude_tgids: Vec<u32>,
    /// Ring for exec, fork and exit; a power of two, 4 KiB to 256 MiB.
    pub process_ring_bytes: u32,
    /// Ring for files and network; a power of two, 4 KiB to 256 MiB.
    pub activity_ring_bytes: u32,
    /// Also report forks as `process_fork` events (class bulk). The process table knows them either way.
    pub report_forks: bool,
    /// Where events come from.
    pub source: Source,
}

impl SensorOptions {
    /// The defaults for this agent on this boot.
    pub fn new(agent: AgentId, boot_id: impl Into<String>) -> Self {
        Self {
            agent,
            boot_id: boot_id.into(),
            exclude_tgids: Vec::new(),
            // About 12,000 program starts, or half a second of the worst fork bomb.
            process_ring_bytes: 8 << 20,
            activity_ring_bytes: 4 << 20,
            report_forks: true,
            source: Source::Auto,
        }
    }

    fn check(&self) -> Result<(), SensorError> {
        for (option, bytes) in
            [("process_ring_bytes", self.process_ring_bytes), ("activity_ring_bytes", self.activity_ring_bytes)]
        {
            if !bytes.is_power_of_two() || !(MIN_RING..=MAX_RING).contains(&bytes) {
                let why = "it must be a power of two from 4096 to 268435456";
                return Err(SensorError::Option { option, got: bytes.to_string(), why });
            }
        }
        Ok(())
    }
}

enum Eyes {
    Kernel(Box<Kernel>),
    Fallback(Fallback),
}

/// A sensor at work. One thread drives it with [`Sensor::poll`].
pub struct Sensor {
    eyes: Eyes,
    composer: Composer,
    order: Order,
    /// Why there are no probes.
    without_probes: String,
    last_drain: Instant,
    last_housekeeping: Instant,
    /// Counters and malformed records as of the last housekeeping, and when that was.
    declared: Vec<Counters>,
    declared_malformed: u64,
    declared_fallback: u64,
    malformed: u64,
    declared_at: i64,
}

impl Sensor {
    /// Loads the probes, then reads the running processes: what starts in between is seen by the probes.
    ///
    /// # Errors
    /// [`SensorError::Option`]; [`SensorError::Kernel`] when probes are demanded and cannot be used.
    pub fn start(options: SensorOptions) -> Result<Self, SensorError> {
        options.check()?;
        let mut without_probes = "not asked for".to_owned();
        let kernel = match options.source {
            Source::Connector | Source::Scan => None,
            Source::Kernel => Some(Kernel::start(&options)?),
            Source::Auto => Kernel::start(&options).map_err(|error| without_probes = error.to_string()).ok(),
        };
        let mut composer = Composer::new(options.agent, options.boot_id, options.report_forks);
        composer.load_running();
        let eyes = match kernel {
            Some(kernel) => Eyes::Kernel(Box::new(kernel)),
            None => {
                let fallback = Fallback::new(&options.exclude_tgids, options.source != Source::Scan);
                tracing::warn!(
                    why = without_probes,
                    instead = fallback.name(),
                    "no kernel probes: files and network are not seen"
                );
                Eyes::Fallback(fallback)
            }
        };
        let now = Instant::now();
        Ok(Self {
            eyes,
            composer,
            order: Order::default(),
            without_probes,
            last_drain: now - MIN_DRAIN_INTERVAL,
            last_housekeeping: now,
            declared: vec![Counters::default(); HOOKS.len()],
            declared_malformed: 0,
            declared_fallback: 0,
            malformed: 0,
            declared_at: clock::wall_us(),
        })
    }

    /// Waits up to `timeout` for something to report and hands over what there is, in the order of time. Gaps come as
    /// records among the events. Returns after one turn; call it again.
    ///
    /// # Errors
    /// [`SensorError::Wait`] when the kernel's rings cannot be waited for.
    pub fn poll(&mut self, timeout: Duration, sink: &mut dyn FnMut(Record)) -> Result<(), SensorError> {
        self.wait(timeout)?;
        let complete_until = self.drain();
        while let Some(raw) = self.order.pop(complete_until) {
            if let Some(event) = self.composer.compose(&raw) {
                sink(Record::Event(event));
            }
        }
        if self.last_housekeeping.elapsed() >= HOUSEKEEPING {
            self.housekeeping(sink);
        }
        Ok(())
    }

    fn wait(&mut self, timeout: Duration) -> Result<(), SensorError> {
        let housekeeping = HOUSEKEEPING.saturating_sub(self.last_housekeeping.elapsed());
        let mut timeout = timeout.min(housekeeping.max(Duration::from_millis(1)));
        if !self.order.is_empty() {
            timeout = timeout.min(Duration::from_nanos(WINDOW_NS) + Duration::from_millis(1));
        }
        match &self.eyes {
            Eyes::Kernel(kernel) => {
                let pause = MIN_DRAIN_INTERVAL.saturating_sub(self.last_drain.elapsed()).min(timeout);
                std::thread::sleep(pause);
                kernel.wait(timeout.saturating_sub(pause))
            }
            Eyes::Fallback(fallback) => fallback.wait(timeout),
        }
    }

    /// Moves what the source has into the order; returns the time up to which it is complete.
    fn drain(&mut self) -> u64 {
        let began = clock::boot_ns();
        match &mut self.eyes {
            Eyes::Kernel(kernel) => {
                let drained = kernel.drain();
                self.last_drain = Instant::now();
                self.malformed = drained.malformed;
                drained.records.into_iter().for_each(|record| self.order.push(record));
                drained.complete_until.map_or(began, |until| until.min(began))
            }
            Eyes::Fallback(fallback) => {
                fallback.drain(began, &mut |record| self.order.push(record));
                u64::MAX
            }
        }
    }

    fn housekeeping(&mut self, sink: &mut dyn FnMut(Record)) {
        self.last_housekeeping = Instant::now();
        self.composer.clock = Clock::measure();
        let (from, to) = (self.declared_at, clock::wall_us());
        self.declared_at = to;
        match &self.eyes {
            Eyes::Kernel(kernel) => {
                let counters = kernel.counters();
                for ((hook, now), before) in HOOKS.iter().zip(&counters).zip(&self.declared) {
                    let lost = now.dropped.saturating_sub(before.dropped);
                    declare(sink, GapReason::KernelDrop, hook.name, lost, from, to);
                }
                self.declared = counters;
                let lost = self.malformed.saturating_sub(self.declared_malformed);
                declare(sink, GapReason::SourceLost, "decoder", lost, from, to);
                self.declared_malformed = self.malformed;
            }
            Eyes::Fallback(fallback) => {
                let lost = fallback.lost();
                declare(sink, GapReason::KernelDrop, fallback.name(), lost.saturating_sub(self.declared_fallback), from, to);
                self.declared_fallback = lost;
            }
        }
    }

    /// Delivers everything that waits and declares the last losses: the end of a run.
    ///
    /// # Errors
    /// As [`Sensor::poll`].
    pub fn finish(mut self, sink: &mut dyn FnMut(Record)) -> Result<(), SensorError> {
        self.drain();
        while let Some(raw) = self.order.pop(u64::MAX) {
            if let Some(event) = self.composer.compose(&raw) {
                sink(Record::Event(event));
            }
        }
        self.housekeeping(sink);
        Ok(())
    }

    /// Leaves out what this process does from now on, until it ends. False when that cannot be noted.
    pub fn exclude(&mut self, tgid: u32) -> bool {
        match &mut self.eyes {
            Eyes::Kernel(kernel) => kernel.exclude(tgid),
            Eyes::Fallback(fallback) => {
                fallback.exclude(tgid);
                true
            }
        }
    }

    /// Whether kernel probes are at work.
    pub fn has_probes(&self) -> bool {
        matches!(self.eyes, Eyes::Kernel(_))
    }

    /// State of every hook and source.
    pub fn hooks(&self) -> Vec<HookState> {
        match &self.eyes {
            Eyes::Kernel(kernel) => {
                let counters = kernel.counters();
                let state = |index: usize| HookState {
                    name: HOOKS[index].name.into(),
                    on: kernel.on()[index],
                    why: kernel.why()[index].clone(),
                    seen: counters[index].seen,
                    dropped: counters[index].dropped,
                };
                (0..HOOKS.len()).map(state).collect()
            }
            Eyes::Fallback(fallback) => {
                let off = |name: &str| HookState {
                    name: name.into(),
                    on: false,
                    why: self.without_probes.clone(),
                    seen: 0,
                    dropped: 0,
                };
                std::iter::once(fallback.state()).chain(HOOKS.iter().map(|hook| off(hook.name))).collect()
            }
        }
    }

    /// Named counters since the start: `exec.seen`, `exec.submitted`, `exec.dropped`, `exec.oversized`, `exec.excluded` and
    /// so on for each hook, `decoder.malformed`, `processes`.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let mut named = vec![("processes".to_owned(), self.composer.processes() as u64)];
        if let Eyes::Kernel(kernel) = &self.eyes {
            for (hook, counters) in HOOKS.iter().zip(kernel.counters()) {
                for (what, number) in [
                    ("seen", counters.seen),
                    ("submitted", counters.submitted),
                    ("dropped", counters.dropped),
                    ("oversized", counters.oversized),
                    ("excluded", counters.excluded),
                ] {
                    named.push((format!("{}.{what}", hook.name), number));
                }
            }
            named.push(("decoder.malformed".into(), self.malformed));
        }
        named
    }
}

fn declare(sink: &mut dyn FnMut(Record), reason: GapReason, hook: &str, count: u64, from: i64, to: i64) {
    if count > 0 {
        tracing::warn!(hook, count, "records were lost");
        sink(Record::Gap(Gap { seq: 0, ts: to, reason, hook: hook.into(), count: Some(count), from, to, evicted: None }));
    }
}
