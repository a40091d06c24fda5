//! Two detectors on a real Apache Kafka say of hosts of many tenants what one says on the embedded bus, also when one of
//! them is killed in the middle of every window. Skips where there is no Kafka, and says so.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod guessing;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use beffroi_bus::control::Control;
use beffroi_bus::testing::KafkaFixture;
use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, KafkaOptions, Tail, TailFrom, Topic};
use beffroi_detect::{DetectHandle, DetectOptions, start};
use beffroi_schema::alert::Match;
use guessing::{LIMIT, RULES, batch, figure};
use tokio_util::sync::CancellationToken;

/// Enough that every partition has some.
const TENANTS: u8 = 8;
/// Ticks between two steps: longer than events may be late.
const STEP: i64 = 1_000;
/// Steps in which hosts say that all before is judged.
const ENDS: [u8; 3] = [20, 21, 22];
/// Topics of this test, apart from anybody else's on the same brokers.
const PREFIX: &str = "pair.";
/// Broker and rules of a detector that is started as a process of its own.
const BROKER: &str = "BEFFROI_TEST_BROKER";
const RULE_FILE: &str = "BEFFROI_TEST_RULES";
const POLL: Duration = Duration::from_millis(20);

fn options(rules: &Path) -> DetectOptions {
    DetectOptions { rules: vec![rules.into()], reload: false, lateness_seconds: 0.3, ..Default::default() }
}

fn kafka(broker: &str) -> BusOptions {
    let (brokers, topic_prefix) = (vec![broker.to_string()], PREFIX.to_string());
    BusOptions::Kafka(KafkaOptions { brokers, topic_prefix, partitions: 4, ..KafkaOptions::default() })
}

async fn detector(bus: &Bus, rules: &Path) -> (DetectHandle, CancellationToken) {
    let stop = CancellationToken::new();
    let control = Control::start(bus.clone(), stop.clone()).await.unwrap();
    (start(options(rules), bus.clone(), control, stop.clone()).await.unwrap(), stop)
}

fn tenant(number: u8) -> String {
    format!("tenant-{number}")
}

/// One event of each tenant, each of another host, all within a tenth of a second.
async fn send(bus: &Bus, step: u8, command: &str) {
    for number in 0..TENANTS {
        let (host, tick) = (step * TENANTS + number + 1, i64::from(step) * STEP + i64::from(number));
        bus.publish(Topic::Events, batch(&tenant(number), host, tick, "alice", command)).await.unwrap();
    }
}

/// What correlations said: tenant, id of the match, its events.
type Verdicts = BTreeSet<(String, String, Vec<String>)>;

#[derive(Default)]
struct Seen {
    verdicts: Verdicts,
    /// Matches of the rule that correlations do not refer to.
    ends: BTreeSet<String>,
}

impl Seen {
    fn take(&mut self, found: &Match) {
        if found.rule.id == "end" {
            self.ends.insert(found.match_id.to_string());
        } else {
            let events = found.event_ids.iter().map(ToString::to_string).collect();
            self.verdicts.insert((found.tenant.clone(), found.match_id.to_string(), events));
        }
    }

    async fn until(&mut self, alerts: &mut Tail, is_enough: impl Fn(&Self) -> bool) {
        while !is_enough(self) {
            let record = tokio::time::timeout(LIMIT, alerts.next()).await.expect("an alert within the limit").unwrap();
            self.take(&serde_json::from_slice(&record.value).unwrap());
        }
    }
}

/// What one detector says on the embedded bus.
async fn alone(rules: &Path, folder: &Path) -> Verdicts {
    let options = EmbeddedOptions { dir: folder.join("bus"), partitions: 4, ..Default::default() };
    let bus = Bus::open(BusOptions::Embedded(options)).await.unwrap();
    let mut alerts = bus.tail(Topic::Alerts, TailFrom::Beginning).await.unwrap();
    let (detector, stop) = detector(&bus, rules).await;
    let mut seen = Seen::default();
    for step in 0..3 {
        send(&bus, step, "wrong").await;
        // Steps lie further apart than events may be late.
        judged(&bus).await;
    }
    seen.until(&mut alerts, |seen| seen.verdicts.len() >= usize::from(TENANTS)).await;
    stop.cancel();
    detector.join().await;
    seen.verdicts
}

/// A detector in a process of its own, killed when it goes.
struct Other {
    child: Child,
    groups: Arc<Mutex<u64>>,
}

impl Other {
    fn start(broker: &str, rules: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "a_detector_in_a_process_of_its_own", "--nocapture"])
            .env(BROKER, broker)
            .env(RULE_FILE, rules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let groups = Arc::new(Mutex::new(0));
        let (said, known) = (BufReader::new(child.stdout.take().unwrap()), groups.clone());
        std::thread::spawn(move || {
            let numbers = said.lines().map_while(Result::ok).filter_map(|line| line.strip_prefix("groups ")?.parse().ok());
            numbers.for_each(|number| *known.lock().unwrap() = number);
        });
        Self { child, groups }
    }

    fn groups(&self) -> u64 {
        *self.groups.lock().unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn wait(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until every batch is judged and committed.
async fn judged(bus: &Bus) {
    let deadline = Instant::now() + LIMIT;
    loop {
        let lag = bus.lag(Topic::Events, &DetectOptions::default().group).await.unwrap();
        if lag.iter().map(|partition| partition.records()).sum::<i64>() == 0 {
            return;
        }
        assert!(Instant::now() < deadline, "batches are not judged: {lag:?}");
        tokio::time::sleep(POLL).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_detectors_say_what_one_says_and_one_that_is_killed_loses_and_doubles_nothing() {
    let Some(fixture) = KafkaFixture::start_or_skip() else { return };
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yml");
    std::fs::write(&rules, RULES).unwrap();
    let expected = alone(&rules, folder.path()).await;
    assert_eq!(expected.len(), usize::from(TENANTS));

    let bus = Bus::open(kafka(&fixture.broker())).await.unwrap();
    let mut alerts = bus.tail(Topic::Alerts, TailFrom::Beginning).await.unwrap();
    let mut seen = Seen::default();
    let mut other = Other::start(&fixture.broker(), &rules);
    send(&bus, 0, "wrong").await;
    wait("the first detector holds the windows of all tenants", || other.groups() == u64::from(TENANTS)).await;
    let (detector, stop) = detector(&bus, &rules).await;
    let ours = || figure(&detector, "correlation_groups").and_then(|groups| groups.parse().ok()).unwrap_or(0);
    let is_shared = || ours() > 0 && other.groups() > 0 && ours() + other.groups() == u64::from(TENANTS);
    wait("two detectors share the windows", is_shared).await;
    send(&bus, 1, "wrong").await;
    judged(&bus).await;

    other.kill();
    wait("the other detector has all windows", || ours() == u64::from(TENANTS)).await;
    // Three for each tenant, so that some lie in every partition: they are judged once this detector has all of them.
    for step in ENDS {
        send(&bus, step, "end").await;
    }
    seen.until(&mut alerts, |seen| seen.ends.len() == ENDS.len() * usize::from(TENANTS)).await;
    assert!(seen.verdicts.is_empty(), "two events of a tenant are no alert: {:?}", seen.verdicts);
    send(&bus, 2, "wrong").await;
    seen.until(&mut alerts, |seen| seen.verdicts.len() >= usize::from(TENANTS)).await;
    stop.cancel();
    detector.join().await;

    // Everything that was published, from the beginning: the same match may have been published again, no other one.
    let mut all = bus.tail(Topic::Alerts, TailFrom::Beginning).await.unwrap();
    let mut seen = Seen::default();
    while !all.caught_up().await.unwrap() {
        seen.take(&serde_json::from_slice(&all.next().await.unwrap().value).unwrap());
    }
    assert_eq!(seen.verdicts, expected);
    bus.close().await;
}

/// What [`Other`] runs. It tells how many windows it holds, and ends with whoever started it.
#[test]
#[ignore = "a process of the test above"]
fn a_detector_in_a_process_of_its_own() {
    let (Ok(broker), Some(rules)) = (std::env::var(BROKER), std::env::var_os(RULE_FILE)) else { return };
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let bus = Bus::open(kafka(&broker)).await.unwrap();
        let (detector, _stop) = detector(&bus, Path::new(&rules)).await;
        let mut known = None;
        loop {
            let groups = figure(&detector, "correlation_groups");
            if groups != known {
                println!("groups {}", groups.as_deref().unwrap_or("0"));
                known = groups;
            }
            tokio::time::sleep(POLL).await;
        }
    });
}
