//! The running detector on the embedded bus: what is broken is put aside and the partition goes on, a restart repeats
//! nothing that was committed, changed rules come into force and broken ones do not.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

use std::path::Path;
use std::time::{Duration, Instant};

use beffroi_bus::control::Control;
use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, Outgoing, Tail, TailFrom, Topic};
use beffroi_detect::{DetectOptions, start};
use beffroi_schema::alert::{DeadLetter, Match};
use beffroi_schema::batch::{BatchBuilder, Header, HostInfo, Record};
use beffroi_schema::{AgentId, BatchHash, Category, Epoch, Event, Field, Product, SigningKey, Stream, wire};
use tokio_util::sync::CancellationToken;

/// Longer than any step takes on a busy machine; a step that needs it has failed.
const LIMIT: Duration = Duration::from_secs(30);

fn rule(word: &str) -> String {
    format!(
        "title: Says {word}\nid: 00000000-0000-4000-8000-000000000001\nlevel: low\nlogsource: {{category: process_creation, product: linux}}\n\
         detection:\n  word: {{CommandLine|contains: {word}}}\n  condition: word\n"
    )
}

fn batch(seq: u64, command: &str) -> Outgoing {
    let key = SigningKey::from_bytes(&[7; 32]);
    let agent = AgentId::of_public_key(&key.verifying_key().to_bytes());
    let mut event = Event::new(Category::ProcessCreation, Product::Linux, 1_795_255_200_000_000);
    event.seq = seq;
    event.set(Field::COMMAND_LINE, command);
    let mut builder = BatchBuilder::new(&HostInfo::default());
    builder.push(&Record::Event(event));
    // An epoch of its own for each batch: this test is not about chains.
    let header = Header::unsealed("sante".into(), agent, Epoch::new(seq, 1), Stream::Exec, BatchHash::default());
    outgoing(agent, builder.seal(header, &key).unwrap().bytes)
}

fn outgoing(agent: AgentId, value: Vec<u8>) -> Outgoing {
    let header = |name: &str, value: &str| (name.to_string(), value.as_bytes().to_vec());
    Outgoing {
        key: agent.to_string().into_bytes(),
        headers: vec![header(wire::HEADER_RECEIVED_AT, "1795255201000000"), header(wire::HEADER_TENANT, "sante")],
        value: value.into(),
    }
}

async fn bus(folder: &Path) -> Bus {
    let options = EmbeddedOptions { dir: folder.join("bus"), partitions: 1, ..Default::default() };
    Bus::open(BusOptions::Embedded(options)).await.unwrap()
}

async fn next<T: serde::de::DeserializeOwned>(tail: &mut Tail) -> T {
    let record = tokio::time::timeout(LIMIT, tail.next()).await.expect("a record within the limit").unwrap();
    serde_json::from_slice(&record.value).unwrap()
}

#[tokio::test]
async fn a_broken_batch_is_put_aside_whole_and_the_partition_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rule.yml"), rule("bell")).unwrap();
    let bus = bus(folder.path()).await;
    let stop = CancellationToken::new();
    let control = Control::start(bus.clone(), stop.clone()).await.unwrap();
    let mut alerts = bus.tail(Topic::Alerts, TailFrom::Beginning).await.unwrap();
    let mut letters = bus.tail(Topic::DeadLetters, TailFrom::Beginning).await.unwrap();
    let options = DetectOptions { rules: vec![folder.path().join("rule.yml")], reload: false, ..Default::default() };
    let detect = start(options.clone(), bus.clone(), control.clone(), stop.clone()).await.unwrap();
    bus.publish(Topic::Events, batch(1, "ring the bell")).await.unwrap();
    bus.publish(Topic::Events, outgoing(AgentId([9; 16]), b"garbage".to_vec())).await.unwrap();
    bus.publish(Topic::Events, batch(2, "another bell")).await.unwrap();
    let (first, second): (Match, Match) = (next(&mut alerts).await, next(&mut alerts).await);
    assert_eq!((first.command_line.as_str(), second.command_line.as_str()), ("ring the bell", "another bell"));
    let letter: DeadLetter = next(&mut letters).await;
    assert_eq!((letter.code.as_str(), letter.offset), ("malformed", 1));
    assert!(detect.health().ready);
    stop.cancel();
    detect.join().await;

    // A second run reads on from the commit: only what is new is judged.
    let stop = CancellationToken::new();
    let detect = start(options, bus.clone(), control, stop.clone()).await.unwrap();
    bus.publish(Topic::Events, batch(3, "third bell")).await.unwrap();
    let third: Match = next(&mut alerts).await;
    assert_eq!(third.command_line, "third bell");
    stop.cancel();
    detect.join().await;
}

#[tokio::test]
async fn changed_rules_come_into_force_and_broken_ones_leave_the_old_set() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules");
    std::fs::create_dir(&rules).unwrap();
    std::fs::write(rules.join("rule.yml"), rule("bell")).unwrap();
    let bus = bus(folder.path()).await;
    let stop = CancellationToken::new();
    let control = Control::start(bus.clone(), stop.clone()).await.unwrap();
    let mut alerts = bus.tail(Topic::Alerts, TailFrom::Beginning).await.unwrap();
    let options = DetectOptions { rules: vec![rules.clone()], ..Default::default() };
    let detect = start(options, bus.clone(), control, stop.clone()).await.unwrap();
    let ruleset = |detect: &beffroi_detect::DetectHandle| {
        detect.health().figures.into_iter().find(|(name, _)| name == "ruleset").map(|(_, value)| value).unwrap()
    };
    let before = ruleset(&detect);
    std::fs::write(rules.join("rule.yml"), rule("tower")).unwrap();
    let deadline = Instant::now() + LIMIT;
    while ruleset(&detect) == before {
        assert!(Instant::now() < deadline, "the changed rule did not come into force");
        tokio::task::yield_now().await;
    }
    bus.publish(Topic::Events, batch(1, "bell")).await.unwrap();
    bus.publish(Topic::Events, batch(2, "tower")).await.unwrap();
    let found: Match = next(&mut alerts).await;
    assert_eq!(found.rule.title, "Says tower");

    std::fs::write(rules.join("rule.yml"), "title: [broken").unwrap();
    std::fs::write(rules.join("second.yml"), "also: broken").unwrap();
    bus.publish(Topic::Events, batch(3, "tower")).await.unwrap();
    let found: Match = next(&mut alerts).await;
    assert_eq!(found.rule.title, "Says tower");
    stop.cancel();
    detect.join().await;
}

#[tokio::test]
async fn without_any_rule_the_start_is_refused_with_the_command_that_says_why() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("bad.yml"), "title: [broken").unwrap();
    let bus = bus(folder.path()).await;
    let stop = CancellationToken::new();
    let control = Control::start(bus.clone(), stop.clone()).await.unwrap();
    let options = DetectOptions { rules: vec![folder.path().join("bad.yml")], ..Default::default() };
    let error = start(options, bus, control, stop).await.err().expect("no rule loads").to_string();
    assert!(error.contains("beffroi rules check"), "{error}");
}
