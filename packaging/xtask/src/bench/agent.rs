//! The real agent on this machine: from a program's start to its readable alert, and what the agent costs while programs
//! start all the time. Needs root and a kernel with BTF; is skipped without them.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::execs::Execs;
use super::figure::{Figure, Target, median};
use super::usage::{self, Usage};
use super::{Outcome, RUNS, mix, say};
use crate::host::Host;
use crate::line::{Line, Scratch, rule_id};
use crate::reader::{LOOK_EVERY, Reader, now_us};
use crate::{acts, show};

/// Tenant of this machine.
const TENANT: &str = "bench";
/// Starts whose latency is measured: the 99th percentile is then the second worst.
const ROUNDS: usize = 120;
/// How long one alert may take before the measurement is given up.
const ALERT_LIMIT: Duration = Duration::from_secs(30);
/// The agent writes its counters down every few seconds.
const SEEN_LIMIT: Duration = Duration::from_secs(60);
/// From exec to readable alert, 99th percentile (ms).
const LATENCY_TARGET: f64 = 2_000.0;
/// Starts per second while the agent's cost is taken.
const EXEC_RATE: u32 = 1_000;

/// CPU time of the agent per program start (us).
const CPU_TARGET: f64 = 80.0;
/// Memory of the agent's processes together, what they share counted once (MiB).
const MEMORY_TARGET: f64 = 100.0;

/// The collector with this machine as its host.
pub struct Bench {
    host: Host,
    line: Line,
    reader: Reader,
    // Last, so that it is removed after the processes have ended.
    scratch: Scratch,
}

impl Bench {
    /// Starts everything. The reason is returned where the agent cannot see program starts.
    pub fn start() -> Result<std::result::Result<Self, String>> {
        say("agent: starting a collector and the agent of this machine");
        let scratch = Scratch::new()?;
        let line = Line::start(&scratch, "")?;
        let reader = Reader::new(&line.addresses.api, &line.token)?;
        let mut host = Host::enroll(&line, &scratch, TENANT)?;
        host.start()?;
        if !host.sees("exec") {
            return Ok(Err("the exec probe is not attached: root and a kernel with BTF are needed".into()));
        }
        Ok(Ok(Self { host, line, reader, scratch }))
    }

    /// Starts a program that a rule knows, again and again, each read back before the next.
    pub async fn latency(&mut self) -> Result<Outcome> {
        let rule = rule_id(mix::PLANTED_RULE)?;
        acts::hide_program(&self.scratch)?;
        let mut latencies = Vec::new();
        for round in 0..ROUNDS {
            self.check()?;
            let since = now_us();
            acts::hidden_start(&self.scratch)?;
            latencies.push(self.reader.wait_count(&rule, TENANT, round as u64, since, ALERT_LIMIT).await?);
        }
        latencies.sort_unstable();
        let (p50, p99) = show::percentiles(&latencies).context("no start was measured")?;
        let worst = latencies.last().copied().unwrap_or_default();
        say(&format!("latency: {ROUNDS} starts, the slowest took {} ms", worst.as_millis()));
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        Ok(Outcome::Measured(vec![
            Figure::new("latency.exec_to_alert.p50", ms(p50), "ms"),
            Figure::new("latency.exec_to_alert.p99", ms(p99), "ms").target(Target::AtMost(LATENCY_TARGET)),
        ]))
    }

    /// CPU time per program start and resident memory while programs start at a steady rate. CPU time that the probes take
    /// in the kernel belongs to the programs that start and is not in it; other work on this machine is.
    pub async fn cost(&mut self, seconds: u64) -> Result<Outcome> {
        let interval = Duration::from_secs(seconds);
        let idle = self.interval(interval, None).await?;
        say(&format!("agent: {:.1} % of a core before the load begins", idle.cpu.as_secs_f64() / seconds as f64 * 100.0));
        let seen = self.host.seen("exec")?;
        let mut started = 0;
        let (mut per_exec, mut rates) = (Vec::new(), Vec::new());
        let (mut resident, mut shared_out) = (Vec::new(), Vec::new());
        for run in 1..=RUNS {
            let execs = Execs::begin(EXEC_RATE)?;
            let cost = self.interval(interval, Some(&execs)).await?;
            started += execs.end()?;
            if cost.execs == 0 {
                bail!("no program could be started");
            }
            cost.say(run);
            per_exec.push(cost.cpu.as_secs_f64() * 1e6 / cost.execs as f64);
            rates.push(cost.execs as f64 / cost.took.as_secs_f64());
            resident.push(mib(cost.rss));
            shared_out.push(mib(cost.pss));
        }
        self.wait_seen(seen + started).await?;
        let figure = |name, values: &[f64], unit| Some(Figure::new(name, median(values)?, unit));
        let figures = [
            figure("agent.execs_per_second", &rates, "execs/s"),
            figure("agent.cpu_per_exec", &per_exec, "us").map(|figure| figure.target(Target::AtMost(CPU_TARGET))),
            figure("agent.rss", &resident, "MiB"),
            figure("agent.pss", &shared_out, "MiB").map(|figure| figure.target(Target::AtMost(MEMORY_TARGET))),
        ];
        Ok(Outcome::Measured(figures.into_iter().flatten().collect()))
    }

    /// An agent that does not see costs nothing: waits until it has counted every start.
    async fn wait_seen(&mut self, starts: u64) -> Result<()> {
        let deadline = Instant::now() + SEEN_LIMIT;
        loop {
            let seen = self.host.seen("exec")?;
            if seen >= starts {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the agent has seen {seen} program starts, at least {starts} happened; it lost {}", self.host.lost()?);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn interval(&mut self, length: Duration, execs: Option<&Execs>) -> Result<Cost> {
        let started = || execs.map_or(0, Execs::started);
        let (begun, first, before) = (Instant::now(), started(), usage::tree(self.host.pid()?)?);
        tokio::time::sleep(length).await;
        let (took, last, after) = (begun.elapsed(), started(), usage::tree(self.host.pid()?)?);
        self.check()?;
        let cpu = usage::cpu_between(&before, &after)?;
        let rss = after.iter().map(|usage| usage.rss).sum();
        let pss = after.iter().map(|usage| usage.pss).sum();
        Ok(Cost { took, execs: last - first, cpu, rss, pss, lost: self.host.lost()?, before, after })
    }

    fn check(&mut self) -> Result<()> {
        self.host.check()?;
        self.line.check()
    }

    /// Stops everything in order.
    pub fn end(mut self) {
        if !(self.host.stop() && self.line.stop()) {
            say("agent: a process did not stop in time and was killed");
        }
    }
}

/// What the agent used in one interval.
struct Cost {
    took: Duration,
    execs: u64,
    cpu: Duration,
    rss: u64,
    pss: u64,
    /// Records that the probes lost since the agent started, by its own account.
    lost: u64,
    before: Vec<Usage>,
    after: Vec<Usage>,
}

impl Cost {
    fn say(&self, run: usize) {
        say(&format!(
            "agent: run {run} of {RUNS}: {} starts in {:.1} s, {:.2} s of CPU, {:.0} MiB (resident {:.0}), {} records lost since its start",
            self.execs,
            self.took.as_secs_f64(),
            self.cpu.as_secs_f64(),
            mib(self.pss),
            mib(self.rss),
            self.lost
        ));
        for (before, after) in self.before.iter().zip(&self.after) {
            say(&format!(
                "agent:   {}: {:.2} s of CPU, {:.0} MiB (resident {:.0})",
                after.role,
                after.cpu.saturating_sub(before.cpu).as_secs_f64(),
                mib(after.pss),
                mib(after.rss)
            ));
        }
    }
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
