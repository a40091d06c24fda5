//! Events per second through the whole line: generator, gateway, bus, detector with our rules, store, readable by the API.
//!
//! The clock runs from before the first batch is made until the last event can be read and neither detector nor store
//! has anything left to do. A rate is only reported when every event stands exactly once and every planted one became
//! an alert.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use beffroi_bus::testing::KafkaFixture;
use beffroi_schema::session::EnrollToken;
use serde_json::json;

use super::figure::{Figure, Target, median};
use super::fleet::{FakeHost, Sent};
use super::{Outcome, RUNS, mix, say};
use crate::line::{Line, Scratch, rule_id};
use crate::reader::Reader;

/// Hosts that send at the same time: each waits for its acknowledgement, so fewer would measure waiting.
const HOSTS: u64 = 16;
/// Between two looks at the lag. Each look costs the line something.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Without any progress for so long, something is stuck.
const STALL_LIMIT: Duration = Duration::from_secs(60);
/// Events may become visible a moment after the store's commit, alerts likewise; what is absent then is lost.
const VISIBLE_LIMIT: Duration = Duration::from_secs(20);
/// What the line must do on two cores, with the generator on them.
const TARGET: f64 = 20_000.0;
/// Quotas far above what a machine can make: a benchmark of quotas would measure nothing else.
const CONFIG: &str = "[gateway.quota]\nagent_bytes_per_second = 1000000000\nagent_batches_per_second = 100000\n\
    agent_burst_batches = 1000000\ntenant_bytes_per_second = 10000000000\ntenant_batches_per_second = 1000000\n\
    tenant_burst_batches = 10000000\n";

/// The embedded bus.
pub async fn embedded(seconds: u64) -> Result<Outcome> {
    let rate = median_rate("line.embedded", "", seconds).await?;
    Ok(outcome("line.embedded.events_per_second", rate))
}

/// A real Apache Kafka of one node, where Java and its jars are there.
pub async fn kafka(seconds: u64) -> Result<Outcome> {
    say("line.kafka: starting Apache Kafka");
    let broker = match tokio::task::spawn_blocking(KafkaFixture::start).await.context("Apache Kafka did not start")? {
        Ok(broker) => broker,
        Err(absent) => return Ok(Outcome::Skipped(absent.to_string())),
    };
    let options = broker.options("bench.");
    let bus = format!(
        "[bus]\nkind = \"kafka\"\nbrokers = [{:?}]\ntopic_prefix = {:?}\npartitions = {}\n",
        broker.broker(),
        options.topic_prefix,
        options.partitions
    );
    let rate = median_rate("line.kafka", &bus, seconds).await?;
    Ok(outcome("line.kafka.events_per_second", rate))
}

fn outcome(name: &'static str, rate: f64) -> Outcome {
    Outcome::Measured(vec![Figure::new(name, rate, "events/s").target(Target::AtLeast(TARGET))])
}

async fn median_rate(name: &str, bus: &str, seconds: u64) -> Result<f64> {
    let scratch = Scratch::new()?;
    let mut bench = Bench { line: Line::start(&scratch, &format!("{bus}\n{CONFIG}"))?, scratch: &scratch };
    let mut rates = Vec::new();
    for run in 1..=RUNS {
        let rate = bench.run(&format!("bench-{run}"), seconds).await.with_context(|| format!("{name}, run {run}"))?;
        say(&format!("{name}: run {run} of {RUNS}: {rate}"));
        rates.push(rate.per_second());
    }
    if !bench.line.stop() {
        say(&format!("{name}: the collector did not stop in time and was killed"));
    }
    median(&rates).context("no run")
}

/// What one run gave.
struct Rate {
    sent: Sent,
    /// From the first batch to the last acknowledgement.
    sending: Duration,
    /// From the first batch to the last readable event.
    whole: Duration,
}

impl Rate {
    fn per_second(&self) -> f64 {
        self.sent.events as f64 / self.whole.as_secs_f64()
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} events/s: {} events in {:.1} s, the last sent after {:.1} s, {:.1} bytes each, {} alerts, {} put off",
            self.per_second(),
            self.sent.events,
            self.whole.as_secs_f64(),
            self.sending.as_secs_f64(),
            self.sent.bytes as f64 / self.sent.events.max(1) as f64,
            self.sent.planted,
            self.sent.refused
        )
    }
}

struct Bench<'a> {
    line: Line,
    scratch: &'a Scratch,
}

impl Bench<'_> {
    /// One run with hosts and a tenant of its own.
    async fn run(&mut self, tenant: &str, seconds: u64) -> Result<Rate> {
        let reader = Reader::new(&self.line.addresses.api, &self.line.token)?;
        let hosts = self.enroll(tenant).await?;
        let started = Instant::now();
        let deadline = started + Duration::from_secs(seconds);
        let tasks: Vec<_> = hosts.into_iter().map(|host| tokio::spawn(host.send_until(deadline))).collect();
        let mut all = Vec::new();
        for task in tasks {
            all.push(task.await.context("a sending host")??);
        }
        let sending = started.elapsed();
        let sent: Sent = all.into_iter().sum();
        self.settle(&reader).await?;
        wait_exactly("events", sent.events, async || events(&reader, tenant).await).await?;
        let whole = started.elapsed();
        let rule = rule_id(mix::PLANTED_RULE)?;
        wait_exactly("planted matches", sent.planted, async || matches(&reader, tenant, &rule).await).await?;
        Ok(Rate { sent, sending, whole })
    }

    async fn enroll(&self, tenant: &str) -> Result<Vec<FakeHost>> {
        let file = self.line.token(self.scratch, tenant, &["site=bench"], HOSTS as u32)?;
        let token = EnrollToken::parse(&std::fs::read_to_string(&file)?)?;
        std::fs::remove_file(&file)?;
        let ca = self.line.ca()?;
        let mut hosts = Vec::new();
        for number in 1..=HOSTS {
            hosts.push(FakeHost::enroll(&token, &ca, number).await?);
        }
        Ok(hosts)
    }

    /// Waits until no group of the line has anything left to read.
    async fn settle(&mut self, reader: &Reader) -> Result<()> {
        let (mut least, mut moved) = (u64::MAX, Instant::now());
        loop {
            self.line.check()?;
            let left = lag(reader).await?;
            if left == 0 {
                return Ok(());
            }
            if left < least {
                (least, moved) = (left, Instant::now());
            } else if moved.elapsed() > STALL_LIMIT {
                bail!("{left} batches are left and none was taken for {} s", STALL_LIMIT.as_secs());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Records that detector and store have not taken yet.
async fn lag(reader: &Reader) -> Result<u64> {
    let status = reader.get("/v1/status").await?;
    let groups = status["lag"].as_array().context("the status has no lag")?;
    if groups.is_empty() || !status["bus_error"].is_null() {
        bail!("the lag cannot be read: {}", status["bus_error"]);
    }
    groups.iter().map(|group| group["records"].as_u64().context("a lag is no number")).sum()
}

/// Events of a tenant that can be read.
async fn events(reader: &Reader, tenant: &str) -> Result<u64> {
    let body = reader.post("/v1/events/search", &json!({ "tenant": tenant, "count": true })).await?;
    body["total"].as_u64().context("the search gave no total")
}

/// Distinct matches of a rule that can be read.
async fn matches(reader: &Reader, tenant: &str, rule: &str) -> Result<u64> {
    let alerts = reader.alerts().await?;
    Ok(alerts.iter().filter(|alert| alert.tenant == tenant && alert.rule_id == rule).map(|alert| alert.count).sum())
}

/// Waits until exactly so many can be read; too many is an error at once, too few after a while.
async fn wait_exactly(what: &str, expected: u64, count: impl AsyncFn() -> Result<u64>) -> Result<()> {
    let deadline = Instant::now() + VISIBLE_LIMIT;
    loop {
        let got = count().await?;
        if got == expected {
            return Ok(());
        }
        if got > expected {
            bail!("{got} {what} can be read, only {expected} were sent: some stand twice");
        }
        if Instant::now() > deadline {
            bail!("{got} of {expected} {what} can be read: the rest is lost");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
