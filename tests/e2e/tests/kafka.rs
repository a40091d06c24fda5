//! The same line with a real Apache Kafka between gateway and detector.

use std::time::Duration;

use anyhow::{Result, ensure};
use beffroi_bus::testing::KafkaFixture;
use beffroi_bus::{Bus, BusOptions, KafkaOptions, TailFrom, Topic};
use beffroi_e2e::{Collector, Host, Scratch, Story, alone, engine_or_skip, skip};

const EVENTS: usize = 2_000;
const LIMIT: Duration = Duration::from_secs(90);
/// Topics of this test, apart from anybody else's on the same brokers.
const PREFIX: &str = "e2e.";

fn kafka_or_skip() -> Option<KafkaFixture> {
    KafkaFixture::start().map_err(skip).ok()
}

fn settings(kafka: &KafkaFixture) -> String {
    let broker = kafka.broker();
    format!("[bus]\nkind = \"kafka\"\nbrokers = [\"{broker}\"]\ntopic_prefix = \"{PREFIX}\"\npartitions = 4\n")
}

#[test]
fn the_line_over_apache_kafka_finds_what_agents_send() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let kafka = match KafkaFixture::start() {
        Ok(kafka) => kafka,
        Err(absent) => {
            skip(absent);
            return Ok(());
        }
    };
    let scratch = Scratch::new()?;
    let bus =
        format!("[bus]\nkind = \"kafka\"\nbrokers = [\"{}\"]\ntopic_prefix = \"{PREFIX}\"\npartitions = 4\n", kafka.broker());
    let mut collector = Collector::start(&scratch, &bus)?;
    let stories = [("interieur", Story::new("gamma", EVENTS)), ("sante", Story::new("delta", EVENTS / 2))];
    for (tenant, story) in &stories {
        let host = Host::enroll(&collector, &scratch, tenant, &format!("pc-{tenant}"))?;
        let file = scratch.path(format!("{tenant}.jsonl"));
        story.write(&file)?;
        host.replay(&file, &[])?;
    }
    for (tenant, story) in &stories {
        story.wait(&collector, tenant, story.events(), LIMIT)?;
        story.verify(&collector, tenant)?;
    }
    ensure!(!collector.data().join("bus").exists(), "an embedded bus was used beside Kafka");
    ensure!(collector.stop(), "the collector did not drain in time");
    let expected = stories.iter().map(|(_, story)| story.events().div_ceil(40)).sum();
    the_topic_holds(&kafka, Topic::Alerts, expected)
}

#[test]
fn kafka_that_is_absent_at_start_is_named_and_the_line_works_once_it_comes() -> Result<()> {
    let _turn = alone();
    if !engine_or_skip() {
        return Ok(());
    }
    let Some(mut kafka) = kafka_or_skip() else { return Ok(()) };
    kafka.kill();
    let scratch = Scratch::new()?;
    let collector = Collector::start_unready(&scratch, &settings(&kafka))?;
    let bus = collector.role("bus")?;
    let named = bus["detail"].as_str().is_some_and(|detail| detail.contains(&kafka.broker()) && detail.contains("bus.brokers"));
    ensure!(bus["ready"] == false && named, "what is absent and what to check is not said: {bus}");
    kafka.restart();
    collector.wait_ready()?;
    let host = Host::enroll(&collector, &scratch, "interieur", "pc-1")?;
    let story = Story::new("late", 500);
    let file = scratch.path("story.jsonl");
    story.write(&file)?;
    host.replay(&file, &[])?;
    story.wait(&collector, "interieur", story.events(), LIMIT)?;
    story.verify(&collector, "interieur")
}

/// Reads a topic from the broker itself, as a consumer of its own.
fn the_topic_holds(kafka: &KafkaFixture, topic: Topic, expected: usize) -> Result<()> {
    let options = BusOptions::Kafka(KafkaOptions { create_topics: false, ..kafka.options(PREFIX) });
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let bus = Bus::open(options).await?;
        let mut tail = bus.tail(topic, TailFrom::Beginning).await?;
        for found in 0..expected {
            let record = tokio::time::timeout(LIMIT, tail.next()).await;
            ensure!(record.is_ok(), "{} holds {found} records, expected {expected}", topic.name());
            record??;
        }
        bus.close().await;
        Ok(())
    })
}
