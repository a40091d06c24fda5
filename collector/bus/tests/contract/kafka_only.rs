//! What only Kafka can do wrong: topics that must exist, a broker that is away, a password that is refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use beffroi_bus::testing::{KafkaFixture, SASL_PASSWORD, SASL_USER};
use beffroi_bus::{Bus, BusError, BusOptions, KafkaOptions, Outgoing, SaslMechanism, SaslOptions, TailFrom, Topic};

use crate::harness::{Harness, PATIENCE, broker, publish_numbers, read, values};

async fn options(test: &str) -> Option<KafkaOptions> {
    match Harness::kafka(test).await?.options {
        BusOptions::Kafka(options) => Some(options),
        BusOptions::Embedded(_) => unreachable!("a Kafka harness"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_that_must_exist_are_named_with_the_command_that_creates_them() {
    let Some(options) = options("missing topics").await else { return };
    let strict = KafkaOptions { create_topics: false, ..options.clone() };
    let error = Bus::open(BusOptions::Kafka(strict.clone())).await.expect_err("no topics yet");
    let BusError::MissingTopics { missing, list } = &error else { panic!("{error}") };
    assert_eq!(missing.len(), Topic::ALL.len(), "{list}");
    let line = list.lines().find(|line| line.contains("control.v1 is missing")).expect("control is named");
    assert!(line.contains(&format!("--create --topic {}control.v1 --partitions 1", options.topic_prefix)), "{line}");
    Bus::open(BusOptions::Kafka(options)).await.expect("creates them").check().await.expect("works");
    Bus::open(BusOptions::Kafka(strict)).await.expect("they exist").check().await.expect("works");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_keeps_two_buses_on_one_cluster_apart() {
    let (Some(a), Some(b)) = (options("prefix").await, options("prefix").await) else { return };
    assert_ne!(a.topic_prefix, b.topic_prefix);
    let prefix = a.topic_prefix.clone();
    let (a, b) = (Bus::open(BusOptions::Kafka(a)).await.expect("a"), Bus::open(BusOptions::Kafka(b)).await.expect("b"));
    publish_numbers(&a, Topic::Orders, "k", 0..1).await;
    publish_numbers(&b, Topic::Orders, "k", 7..8).await;
    let mut tail = b.tail(Topic::Orders, TailFrom::Beginning).await.expect("tail");
    assert_eq!(tail.next().await.expect("record").value, "7");
    assert!(tail.caught_up().await.expect("caught up"));
    assert_eq!(a.topic_id(Topic::Orders), format!("{prefix}orders.v1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_a_password_gets_in_and_one_with_a_wrong_password_is_told_why() {
    let Some(options) = options("SASL").await else { return };
    let dir = tempfile::tempdir().expect("folder");
    let with = |password: &str| {
        let password_file = dir.path().join(password);
        std::fs::write(&password_file, format!("{password}\n")).expect("write");
        let sasl = SaslOptions { mechanism: SaslMechanism::Plain, username: SASL_USER.into(), password_file };
        let brokers = vec![broker().expect("broker").sasl_broker()];
        BusOptions::Kafka(KafkaOptions { brokers, sasl: Some(sasl), ..options.clone() })
    };
    let bus = Bus::open(with(SASL_PASSWORD)).await.expect("opens");
    bus.publish(Topic::Alerts, Outgoing::new("k", "v")).await.expect("published");
    let bus = Bus::open(with("wrong")).await.expect("opens and keeps trying");
    let error = bus.check().await.expect_err("refused").to_string();
    assert!(error.to_lowercase().contains("authentication failed") && error.contains("bus.sasl"), "{error}");
    assert!(!error.contains("wrong"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_is_away_is_said_and_waited_for() {
    let started = tokio::task::spawn_blocking(KafkaFixture::start_or_skip).await.expect("fixture");
    let Some(mut fixture) = started else { return };
    let options = BusOptions::Kafka(fixture.options("away."));
    fixture.kill();
    let bus = Bus::open(options.clone()).await.expect("opens without a broker");
    let error = bus.check().await.expect_err("away");
    assert!(error.is_retryable() && error.to_string().contains("does not answer"), "{error}");
    assert_eq!(bus.id(), "");
    let begun = Instant::now();
    let refused = bus.publish(Topic::Events, Outgoing::new("k", "lost?")).await.expect_err("away");
    assert!(refused.is_retryable() && begun.elapsed() < Duration::from_secs(25), "{refused} after {:?}", begun.elapsed());
    let mut consumer = bus.subscribe(Topic::Events, "g").await.expect("subscribes at once");
    assert!(consumer.poll(1, 1, Duration::from_millis(100)).await.expect_err("away").is_retryable());
    let fixture = restart(fixture).await;
    let begun = Instant::now();
    while bus.check().await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "never came back");
    }
    assert!(!bus.id().is_empty());
    publish_numbers(&bus, Topic::Events, "k", 0..3).await;
    let first = read(&mut consumer, 3).await;
    assert_eq!(values(&first), ["0", "1", "2"]);
    // In mid-stream: killed and started again. Nothing is lost; doubled is at most what its publisher was not sure of.
    let publishing = tokio::spawn({
        let bus = bus.clone();
        async move {
            let mut unsure = 0;
            for number in 3..200u32 {
                while bus.publish(Topic::Events, Outgoing::new("k", number.to_string())).await.is_err() {
                    unsure += 1;
                }
            }
            unsure
        }
    });
    let mut came: BTreeMap<i64, String> =
        first.iter().map(|record| (record.offset, String::from_utf8_lossy(&record.value).into_owned())).collect();
    let (mut fixture, mut came_back) = (Some(fixture), None);
    while came.values().next_back().is_none_or(|last| last != "199") {
        let records = consumer.poll(100, 1 << 20, Duration::from_millis(500)).await.unwrap_or_default();
        for record in records {
            let value = String::from_utf8_lossy(&record.value).into_owned();
            // What was read and not committed comes again after the broker's end: the same offset with the same value.
            let before = came.insert(record.offset, value.clone());
            assert!(before.is_none_or(|before| before == value));
        }
        if came.len() > 20
            && let Some(running) = fixture.take()
        {
            came_back = Some(restart(running).await);
        }
        assert!(begun.elapsed() < 3 * PATIENCE, "{} came", came.len());
    }
    assert!(came_back.is_some(), "the broker was restarted in mid-stream");
    let unsure = publishing.await.expect("all published");
    let mut values: Vec<String> = came.into_values().collect();
    let stored = values.len();
    values.dedup();
    assert_eq!(values, (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(stored - values.len() <= unsure, "{stored} are stored, {unsure} were unsure");
}

async fn restart(mut fixture: KafkaFixture) -> KafkaFixture {
    let restarted = tokio::task::spawn_blocking(move || {
        fixture.restart();
        fixture
    });
    restarted.await.expect("restarted")
}
