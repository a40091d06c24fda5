//! Every process of the line is killed (SIGKILL) in mid-stream and comes back: what was acknowledged or spooled is there
//! once, and the time in which nobody watched is a gap.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use beffroi_bus::testing::KafkaFixture;
use beffroi_e2e::{
    Collector, Gap, Host, Process, Scratch, Story, alone, children, engine_or_skip, run, skip, spooled_command_lines, wait_for,
};
use jiff::Timestamp;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Events of one kill.
const EVENTS: usize = 6_000;
/// Events a second: the stream lasts six seconds, so that a kill falls into it.
const RATE: &str = "1000";
/// Events that are visible when something is killed: the stream is under way everywhere.
const UNDER_WAY: usize = 200;
/// For what follows a kill, waiting included: agents wait up to 10 s when the bus was away.
const LIMIT: Duration = Duration::from_secs(120);

/// A collector, a host, and a story that is being replayed.
struct Stage {
    story: Story,
    replay: Process,
    host: Host,
    collector: Collector,
    // Last: the folder must outlive the processes.
    _scratch: Scratch,
}

impl Stage {
    /// Starts everything and returns in mid-stream.
    fn under_way(marker: &str, config: &str) -> Result<Self> {
        let scratch = Scratch::new()?;
        let collector = Collector::start(&scratch, config)?;
        let host = Host::enroll(&collector, &scratch, "interieur", "pc-1")?;
        let story = Story::new(marker, EVENTS);
        let replay = host.start_replay(&written(&scratch, &story)?, &["--rate", RATE])?;
        story.wait(&collector, "interieur", UNDER_WAY, LIMIT)?;
        let mut stage = Self { story, replay, host, collector, _scratch: scratch };
        stage.replay.check()?;
        Ok(stage)
    }

    /// The stream goes on to its end: everything was acknowledged, and everything is there once.
    fn ends_well(mut self) -> Result<()> {
        let status = self.replay.wait(LIMIT)?;
        ensure!(status.success(), "the replay ended with {status}:\n{}", self.replay.tail());
        ensure!(self.host.waiting()? == 0, "acknowledged batches are left on the spool");
        self.story.wait(&self.collector, "interieur", EVENTS, LIMIT)?;
        self.story.verify(&self.collector, "interieur")?;
        let gaps = self.collector.gaps()?;
        ensure!(gaps.is_empty(), "nothing was lost, but gaps are shown: {gaps:?}");
        Ok(())
    }
}

fn written(scratch: &Scratch, story: &Story) -> Result<PathBuf> {
    let file = scratch.path("story.jsonl");
    story.write(&file)?;
    Ok(file)
}

#[test]
fn a_killed_collector_loses_nothing_and_doubles_nothing() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let mut stage = Stage::under_way("collector", "")?;
    stage.collector.kill();
    stage.collector.restart()?;
    stage.ends_well()
}

#[test]
fn a_killed_clickhouse_loses_nothing_and_doubles_nothing() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let stage = Stage::under_way("engine", "")?;
    let before = stage.collector.engine_pid()?;
    kill(before, Signal::SIGKILL).context("the engine cannot be killed")?;
    wait_for("another engine", LIMIT, || Ok(stage.collector.engine_pid()? != before))?;
    stage.ends_well()
}

#[test]
fn a_killed_kafka_broker_loses_nothing_and_doubles_nothing() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let mut kafka = match KafkaFixture::start() {
        Ok(kafka) => kafka,
        Err(absent) => {
            skip(absent);
            return Ok(());
        }
    };
    let broker = kafka.broker();
    let bus = format!("[bus]\nkind = \"kafka\"\nbrokers = [\"{broker}\"]\ntopic_prefix = \"kills.\"\npartitions = 4\n");
    let stage = Stage::under_way("broker", &bus)?;
    kafka.kill();
    wait_for("a bus that says it is away", LIMIT, || Ok(stage.collector.role("bus")?["ready"] == false))?;
    kafka.restart();
    stage.collector.wait_ready()?;
    stage.ends_well()
}

/// A gateway that takes few batches at once: the uplink is killed while some are sent and some are not.
const SLOW: &str = "[gateway.quota]\nagent_batches_per_second = 4\nagent_burst_batches = 6\n";

#[test]
fn what_a_killed_agent_has_spooled_arrives_although_its_uplink_is_killed_as_well() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let collector = Collector::start(&scratch, SLOW)?;
    let host = Host::enroll(&collector, &scratch, "interieur", "pc-1")?;
    let story = Story::new("agent", EVENTS);
    let mut replay = host.start_replay(&written(&scratch, &story)?, &["--rate", RATE, "--no-wait"])?;
    wait_for("half of the story on the spool", LIMIT, || {
        replay.check()?;
        Ok(spooled_command_lines(&host)?.len() > EVENTS / 2)
    })?;
    replay.kill();
    let promised = spooled_command_lines(&host)?;
    ensure!(promised.len() < EVENTS, "the replay was not killed in mid-stream");
    let mut uplink = host.start("uplink", None)?;
    story.wait(&collector, "interieur", 1, LIMIT)?;
    uplink.kill();
    ensure!(host.waiting()? > 0, "the uplink was not killed in mid-stream");
    host.send_spool(LIMIT)?;
    story.wait(&collector, "interieur", promised.len(), LIMIT)?;
    story.verify_only(&collector, "interieur", |line| promised.contains(line))
}

/// One program that was started, and when.
struct Started {
    line: String,
    began: Timestamp,
    ended: Timestamp,
}

fn start_program(marker: &str, number: usize) -> Result<Started> {
    let began = Timestamp::now();
    let marker = own(marker);
    run(Command::new("/bin/true").arg(&marker).arg(format!("{number:05}")))?;
    Ok(Started { line: format!("/bin/true {marker} {number:05}"), began, ended: Timestamp::now() })
}

#[test]
fn dead_time_of_a_killed_sensor_is_a_gap_and_everything_outside_of_it_is_there_once() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() || !std::path::Path::new("/sys/kernel/btf/vmlinux").exists() {
        skip("watching this machine needs root and BTF");
        return Ok(());
    }
    let scratch = Scratch::new()?;
    let collector = Collector::start(&scratch, "")?;
    let host = Host::enroll(&collector, &scratch, "interieur", "pc-1")?;
    let config = scratch.path("agent.toml");
    std::fs::write(&config, "[sensor]\nsource = \"kernel\"\n[scan]\nenabled = false\n")?;
    let mut agent = host.start("run", Some(&config))?;
    let visible = |marker: &str| collector.count("interieur", &live_filter(marker));
    wait_for("the first event of this machine", LIMIT, || {
        agent.check()?;
        start_program("first", 0)?;
        Ok(visible("first")? > 0)
    })?;
    let mut started = Vec::new();
    stream_programs(&mut started, Duration::from_secs(2))?;
    let sensor = kill_child(&agent, "sensor")?;
    // Nobody watches now: the supervisor pauses before it starts another.
    started.push(start_program("live", started.len())?);
    another_child(&agent, "sensor", sensor)?;
    stream_programs(&mut started, Duration::from_secs(4))?;
    let uplink = kill_child(&agent, "uplink")?;
    another_child(&agent, "uplink", uplink)?;
    stream_programs(&mut started, Duration::from_secs(1))?;
    wait_for("an event of the new sensor", LIMIT, || {
        start_program("again", 0)?;
        Ok(visible("again")? > 0)
    })?;
    wait_for("a gap", LIMIT, || Ok(!stopped(&collector)?.is_empty()))?;
    ensure!(agent.stop(), "the agent did not stop in time");
    collector.wait_settled()?;
    judge(&collector, &started)
}

fn live_filter(marker: &str) -> String {
    format!("CommandLine~/bin/true {} ", own(marker))
}

/// The marker of this run: the sensor sees the whole machine, also another run of this very test.
fn own(marker: &str) -> String {
    format!("{marker}-{}", std::process::id())
}

/// Starts programs for a while, one after another.
fn stream_programs(started: &mut Vec<Started>, how_long: Duration) -> Result<()> {
    let until = Instant::now() + how_long;
    while Instant::now() < until {
        started.push(start_program("live", started.len())?);
    }
    Ok(())
}

/// Kills a process of the agent.
fn kill_child(agent: &Process, name: &str) -> Result<Pid> {
    let running = children(agent.pid(), name);
    let [pid] = running.as_slice() else { bail!("one {name} was expected below the agent: {running:?}\n{}", agent.tail()) };
    kill(*pid, Signal::SIGKILL)?;
    Ok(*pid)
}

/// Waits until the supervisor has started another.
fn another_child(agent: &Process, name: &str, killed: Pid) -> Result<()> {
    wait_for(&format!("another {name}"), LIMIT, || Ok(children(agent.pid(), name).iter().any(|pid| *pid != killed)))
}

fn stopped(collector: &Collector) -> Result<Vec<Gap>> {
    Ok(collector.gaps()?.into_iter().filter(|gap| gap.reason == "stopped").collect())
}

/// Every program is there once, or it ran within a declared gap: the sensor's dead time, or (on a machine that is so busy)
/// a ring that was full.
fn judge(collector: &Collector, started: &[Started]) -> Result<()> {
    let found = collector.groups("interieur", "CommandLine", &live_filter("live"))?;
    let (gaps, dead) = (collector.gaps()?, stopped(collector)?);
    ensure!(dead.len() == 1, "one dead time was expected: {gaps:?}");
    let twice: Vec<_> = found.iter().filter(|(_, count)| **count != 1).collect();
    ensure!(twice.is_empty(), "visible twice: {twice:?}");
    let within = |one: &Started| gaps.iter().any(|gap| one.ended >= gap.from && one.began <= gap.to);
    let missing: Vec<_> = started.iter().filter(|one| !found.contains_key(&one.line)).collect();
    let lost: Vec<_> = missing.iter().filter(|one| !within(one)).map(|one| (&one.line, one.began, one.ended)).collect();
    let shown = &lost[..lost.len().min(5)];
    ensure!(lost.is_empty(), "{} of {} lost outside of the gap {gaps:?}: {shown:?}", lost.len(), started.len());
    ensure!(!missing.is_empty(), "a program that ran while no sensor did is visible");
    let foreign = found.keys().find(|line| !started.iter().any(|one| one.line == **line));
    ensure!(foreign.is_none(), "an event without a program: {foreign:?}");
    let length = dead[0].to.as_microsecond() - dead[0].from.as_microsecond();
    ensure!((0..30_000_000).contains(&length), "a dead time of {length} us for a restart of some seconds");
    Ok(())
}
