//! What retention promises: nothing unread goes by age, and `max_bytes` holds.

use std::time::Duration;

use super::partition::now_micros;
use super::*;

const DAY_US: i64 = 24 * 3_600_000_000;

fn options(dir: &std::path::Path) -> EmbeddedOptions {
    EmbeddedOptions { dir: dir.into(), partitions: 1, max_bytes: crate::options::EMBEDDED_MIN_BYTES, ..Default::default() }
}

async fn fill(bus: &EmbeddedBus, topic: Topic, records: usize) {
    let publish = |_| bus.shared.publish(topic, Outgoing::new("k", vec![7u8; 500 * 1024]));
    for published in futures::future::join_all((0..records).map(publish)).await {
        published.expect("published");
    }
}

#[tokio::test]
async fn expired_records_stay_until_every_group_has_read_them() {
    let dir = tempfile::tempdir().expect("folder");
    let bus = EmbeddedBus::open(options(dir.path())).await.expect("open");
    fill(&bus, Topic::Alerts, 40).await;
    let mut slow = bus.subscribe(Topic::Alerts, "slow").await.expect("group");
    let mut quick = bus.subscribe(Topic::Alerts, "quick").await.expect("group");
    let first = || bus.topic(Topic::Alerts).partitions[0].first();
    quick.commit(0, 40, "").await.expect("commit");
    retention::pass(&bus.shared, now_micros() + 30 * DAY_US).await.expect("pass");
    assert_eq!(first(), 0, "a group has read nothing yet");
    slow.commit(0, 25, "").await.expect("commit");
    retention::pass(&bus.shared, now_micros()).await.expect("pass");
    assert_eq!(first(), 0, "nothing is old yet");
    retention::pass(&bus.shared, now_micros() + 30 * DAY_US).await.expect("pass");
    assert!((1..=25).contains(&first()), "first is {}", first());
    slow.commit(0, 40, "").await.expect("commit");
    retention::pass(&bus.shared, now_micros() + 30 * DAY_US).await.expect("pass");
    assert_eq!(first(), 40, "all was read and is old");
}

#[tokio::test]
async fn a_full_bus_drops_the_oldest_even_if_unread_and_never_control() {
    let dir = tempfile::tempdir().expect("folder");
    let bus = EmbeddedBus::open(options(dir.path())).await.expect("open");
    let mut reader = bus.subscribe(Topic::Events, "slow").await.expect("group");
    fill(&bus, Topic::Control, 20).await;
    fill(&bus, Topic::Events, 160).await;
    retention::pass(&bus.shared, now_micros()).await.expect("pass");
    assert!(bus.shared.bytes() <= crate::options::EMBEDDED_MIN_BYTES, "{} bytes", bus.shared.bytes());
    let events = &bus.topic(Topic::Events).partitions[0];
    assert!(events.first() > 0 && events.end() == 160, "first {} end {}", events.first(), events.end());
    assert_eq!(bus.topic(Topic::Control).partitions[0].first(), 0);
    let records = reader.poll(1, 1, Duration::from_secs(5)).await.expect("what is left can be read");
    assert_eq!(records[0].offset, events.first());
}

#[tokio::test]
async fn dropping_the_oldest_counts_what_was_unread() {
    let dir = tempfile::tempdir().expect("folder");
    let bus = EmbeddedBus::open(options(dir.path())).await.expect("open");
    fill(&bus, Topic::Events, 3).await;
    let events = &bus.topic(Topic::Events).partitions[0];
    let dropped = events.drop_oldest(1).await.expect("dropped");
    assert_eq!(dropped.unread, 2);
    assert!(dropped.bytes > 1_500_000);
    let nothing = events.drop_oldest(0).await.expect("nothing left");
    assert_eq!(nothing, retention::Dropped::default());
}
