//! A bus to test, which can be closed and opened again on the same data.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use beffroi_bus::testing::KafkaFixture;
use beffroi_bus::{Bus, BusOptions, Consumer, EmbeddedOptions, Outgoing, Record, Topic};

/// Longest wait for something that must happen; a rebalance on two busy cores takes some seconds.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// One bus for one test.
pub struct Harness {
    pub options: BusOptions,
    _dir: Option<tempfile::TempDir>,
}

/// The broker that all tests of this process share.
pub fn broker() -> Option<&'static KafkaFixture> {
    static BROKER: OnceLock<Option<KafkaFixture>> = OnceLock::new();
    BROKER.get_or_init(KafkaFixture::start_or_skip).as_ref()
}

impl Harness {
    pub fn embedded() -> Self {
        let dir = tempfile::tempdir().expect("folder");
        let options = EmbeddedOptions { dir: dir.path().join("bus"), ..Default::default() };
        Self { options: BusOptions::Embedded(options), _dir: Some(dir) }
    }

    /// `None`, with a word on stderr, when there is no Kafka. Each test has a prefix of its own.
    pub async fn kafka(test: &str) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let broker = tokio::task::spawn_blocking(broker).await.expect("fixture");
        let Some(broker) = broker else {
            eprintln!("SKIPPED: {test} on Kafka");
            return None;
        };
        let prefix = format!("t{}.", NUMBER.fetch_add(1, Ordering::Relaxed));
        Some(Self { options: BusOptions::Kafka(broker.options(&prefix)), _dir: None })
    }

    pub async fn open(&self) -> Bus {
        Bus::open(self.options.clone()).await.expect("bus opens")
    }
}

/// Publishes `count` records of one key, values `0..count` in decimal.
pub async fn publish_numbers(bus: &Bus, topic: Topic, key: &str, range: std::ops::Range<u32>) {
    for number in range {
        bus.publish(topic, Outgoing::new(key, number.to_string())).await.expect("published");
    }
}

/// Polls until `count` records came.
pub async fn read(consumer: &mut Consumer, count: usize) -> Vec<Record> {
    let (mut records, started) = (Vec::new(), Instant::now());
    while records.len() < count {
        assert!(started.elapsed() < PATIENCE, "only {} of {count} records came", records.len());
        records.extend(consumer.poll(1000, 8 << 20, Duration::from_millis(500)).await.expect("poll"));
    }
    records
}

/// Polls for a while and says that nothing came.
pub async fn expect_nothing(consumer: &mut Consumer) {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(1) || consumer.assigned().is_empty() {
        assert!(started.elapsed() < PATIENCE, "no partition was ever assigned");
        let records = consumer.poll(10, 1 << 20, Duration::from_millis(200)).await.expect("poll");
        assert!(records.is_empty(), "unexpected: {records:?}");
    }
}

/// Commits everything that was read.
pub async fn commit_all(consumer: &mut Consumer, records: &[Record], metadata: &str) {
    let mut next = BTreeMap::new();
    for record in records {
        next.insert(record.partition, record.offset + 1);
    }
    for (partition, offset) in next {
        consumer.commit(partition, offset, metadata).await.expect("commit");
    }
}

/// Values as text.
pub fn values(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.value).into_owned()).collect()
}
