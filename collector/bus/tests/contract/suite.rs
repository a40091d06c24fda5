//! The contract of a bus.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use beffroi_bus::{Bus, BusError, Consumer, MAX_METADATA_BYTES, MAX_RECORD_BYTES, Outgoing, TailFrom, Topic};

use crate::harness::{Harness, PATIENCE, commit_all, expect_nothing, publish_numbers, read, values};

pub async fn records_of_a_key_keep_their_order(harness: &Harness) {
    let bus = harness.open().await;
    let keys: Vec<String> = (0..10).map(|k| format!("agent-{k}")).collect();
    futures::future::join_all(keys.iter().map(|key| publish_numbers(&bus, Topic::Events, key, 0..40))).await;
    let mut consumer = bus.subscribe(Topic::Events, "detect").await.expect("subscribe");
    let mut seen: BTreeMap<Vec<u8>, Vec<String>> = BTreeMap::new();
    let mut partitions: BTreeMap<Vec<u8>, BTreeSet<i32>> = BTreeMap::new();
    for record in read(&mut consumer, 400).await {
        partitions.entry(record.key.to_vec()).or_default().insert(record.partition);
        seen.entry(record.key.to_vec()).or_default().push(String::from_utf8_lossy(&record.value).into_owned());
    }
    let expected: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    assert_eq!(seen.len(), 10);
    assert!(seen.values().all(|values| *values == expected), "{seen:?}");
    assert!(partitions.values().all(|p| p.len() == 1), "{partitions:?}");
    assert!(partitions.values().flatten().collect::<BTreeSet<_>>().len() > 1, "all keys lie in one partition");
}

pub async fn what_was_not_committed_comes_again_after_a_restart(harness: &Harness) {
    let bus = harness.open().await;
    publish_numbers(&bus, Topic::Events, "a", 0..10).await;
    let mut consumer = bus.subscribe(Topic::Events, "store").await.expect("subscribe");
    let first = read(&mut consumer, 10).await;
    drop(consumer);
    bus.close().await;
    let bus = harness.open().await;
    let mut consumer = bus.subscribe(Topic::Events, "store").await.expect("subscribe");
    assert_eq!(read(&mut consumer, 10).await, first);
}

pub async fn what_was_committed_does_not_come_again_and_its_metadata_does(harness: &Harness) {
    let bus = harness.open().await;
    publish_numbers(&bus, Topic::Events, "a", 0..10).await;
    let mut consumer = bus.subscribe(Topic::Events, "store").await.expect("subscribe");
    let records = read(&mut consumer, 10).await;
    let partition = records[0].partition;
    assert_eq!(consumer.committed(partition).await.expect("committed"), None);
    let metadata = r#"{"bounds":[0,6],"hash":"é"}"#;
    consumer.commit(partition, records[6].offset, metadata).await.expect("commit");
    drop(consumer);
    bus.close().await;
    let bus = harness.open().await;
    let mut consumer = bus.subscribe(Topic::Events, "store").await.expect("subscribe");
    assert_eq!(values(&read(&mut consumer, 4).await), ["6", "7", "8", "9"]);
    let committed = consumer.committed(partition).await.expect("committed");
    assert_eq!(committed, Some((records[6].offset, metadata.to_owned())));
}

/// Polls both until the condition holds on their partitions; returns what came meanwhile.
async fn poll_until(a: &mut Consumer, b: &mut Consumer, holds: impl Fn(&[i32], &[i32]) -> bool) -> Vec<String> {
    let (mut came, started) = (Vec::new(), Instant::now());
    while !holds(&a.assigned(), &b.assigned()) {
        assert!(started.elapsed() < PATIENCE, "assigned: {:?} and {:?}", a.assigned(), b.assigned());
        for consumer in [&mut *a, &mut *b] {
            let records = consumer.poll(100, 1 << 20, Duration::from_millis(100)).await.expect("poll");
            commit_all(consumer, &records, "").await;
            came.extend(values(&records));
        }
    }
    came
}

pub async fn two_members_share_the_partitions_and_the_last_one_gets_all(harness: &Harness) {
    let bus = harness.open().await;
    let mut a = bus.subscribe(Topic::Events, "detect").await.expect("subscribe");
    expect_nothing(&mut a).await;
    let generation = a.generation();
    let mut b = bus.subscribe(Topic::Events, "detect").await.expect("subscribe");
    poll_until(&mut a, &mut b, |a, b| a.len() == 2 && b.len() == 2).await;
    let all: BTreeSet<i32> = a.assigned().into_iter().chain(b.assigned()).collect();
    assert_eq!(all, BTreeSet::from([0, 1, 2, 3]));
    assert!(a.generation() > generation);
    for key in 0..20 {
        publish_numbers(&bus, Topic::Events, &format!("agent-{key}"), key..key + 1).await;
    }
    let mut came = Vec::new();
    let started = Instant::now();
    while came.len() < 20 {
        assert!(started.elapsed() < PATIENCE, "{came:?}");
        for consumer in [&mut a, &mut b] {
            let records = consumer.poll(100, 1 << 20, Duration::from_millis(50)).await.expect("poll");
            commit_all(consumer, &records, "").await;
            came.extend(values(&records));
        }
    }
    let once: BTreeSet<String> = came.iter().cloned().collect();
    assert_eq!((once.len(), came.len()), (20, 20), "each comes once");
    drop(b);
    let started = Instant::now();
    while a.assigned() != [0, 1, 2, 3] {
        assert!(started.elapsed() < PATIENCE, "assigned: {:?}", a.assigned());
        let records = a.poll(100, 1 << 20, Duration::from_millis(100)).await.expect("poll");
        assert!(records.is_empty(), "committed records came again: {records:?}");
    }
}

pub async fn a_member_cannot_commit_what_it_has_lost(harness: &Harness) {
    let bus = harness.open().await;
    let mut a = bus.subscribe(Topic::Events, "detect").await.expect("subscribe");
    expect_nothing(&mut a).await;
    let before = a.assigned();
    let mut b = bus.subscribe(Topic::Events, "detect").await.expect("subscribe");
    poll_until(&mut a, &mut b, |a, b| a.len() == 2 && b.len() == 2).await;
    let lost = before.into_iter().find(|p| !a.assigned().contains(p)).expect("one was lost");
    let refused = a.commit(lost, 1, "").await;
    assert!(matches!(refused, Err(BusError::NotAssigned { partition, .. }) if partition == lost), "{refused:?}");
    assert_eq!(b.committed(lost).await.expect("committed"), None);
}

pub async fn every_group_gets_every_record(harness: &Harness) {
    let bus = harness.open().await;
    publish_numbers(&bus, Topic::Alerts, "k", 0..5).await;
    for group in ["store-alerts", "notify"] {
        let mut consumer = bus.subscribe(Topic::Alerts, group).await.expect("subscribe");
        let records = read(&mut consumer, 5).await;
        assert_eq!(values(&records), ["0", "1", "2", "3", "4"]);
        commit_all(&mut consumer, &records, "").await;
    }
}

pub async fn a_tail_reads_everything_and_then_what_comes(harness: &Harness) {
    let bus = harness.open().await;
    publish_numbers(&bus, Topic::Orders, "o", 0..3).await;
    let mut tail = bus.tail(Topic::Orders, TailFrom::Beginning).await.expect("tail");
    for expected in 0..3 {
        assert!(!tail.caught_up().await.expect("caught up"));
        assert_eq!(tail.next().await.expect("record").value, expected.to_string());
    }
    assert!(tail.caught_up().await.expect("caught up"));
    let (record, ()) = tokio::join!(tail.next(), publish_numbers(&bus, Topic::Orders, "o", 3..4));
    assert_eq!(record.expect("record").value, "3");
    assert!(tail.caught_up().await.expect("caught up"));
}

pub async fn a_tail_from_now_sees_only_what_comes(harness: &Harness) {
    let bus = harness.open().await;
    publish_numbers(&bus, Topic::Alerts, "k", 0..3).await;
    let mut tail = bus.tail(Topic::Alerts, TailFrom::Now).await.expect("tail");
    assert!(tail.caught_up().await.expect("caught up"));
    publish_numbers(&bus, Topic::Alerts, "k", 3..5).await;
    assert_eq!(tail.next().await.expect("record").value, "3");
    assert_eq!(tail.next().await.expect("record").value, "4");
}

async fn lag(bus: &Bus) -> (i64, usize) {
    let lag = bus.lag(Topic::Events, "detect").await.expect("lag");
    (lag.iter().map(beffroi_bus::PartitionLag::records).sum(), lag.len())
}

pub async fn lag_counts_what_a_group_has_yet_to_read(harness: &Harness) {
    let bus = harness.open().await;
    assert_eq!(lag(&bus).await, (0, 4));
    for key in 0..8 {
        publish_numbers(&bus, Topic::Events, &format!("agent-{key}"), 0..5).await;
    }
    assert_eq!(lag(&bus).await, (40, 4));
    let mut consumer = bus.subscribe(Topic::Events, "detect").await.expect("subscribe");
    let records = read(&mut consumer, 40).await;
    assert_eq!(lag(&bus).await, (40, 4), "read is not committed");
    commit_all(&mut consumer, &records, "").await;
    assert_eq!(lag(&bus).await, (0, 4));
    publish_numbers(&bus, Topic::Events, "agent-1", 0..1).await;
    assert_eq!(lag(&bus).await, (1, 4));
}

pub async fn keys_headers_and_values_may_be_any_bytes(harness: &Harness) {
    let bus = harness.open().await;
    let any: Vec<u8> = (0..=255).collect();
    let record = Outgoing::new(any.clone(), any.clone()).header("beffroi-received-at", "17").header("binary", any.clone());
    let before = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("clock").as_micros() as i64;
    let position = bus.publish(Topic::Events, record.header("empty", "")).await.expect("published");
    bus.publish(Topic::Events, Outgoing::new(any.clone(), "")).await.expect("an empty value");
    let mut consumer = bus.subscribe(Topic::Events, "g").await.expect("subscribe");
    let records = read(&mut consumer, 2).await;
    let record = &records[0];
    assert_eq!((record.partition, record.offset, record.topic), (position.partition, position.offset, Topic::Events));
    assert_eq!((record.key.as_ref(), record.value.as_ref()), (any.as_slice(), any.as_slice()));
    assert_eq!(record.header("binary"), Some(any.as_slice()));
    assert_eq!((record.header("empty"), record.header("none")), (Some(&b""[..]), None));
    assert_eq!(record.headers.len(), 3);
    assert!((record.timestamp - before).abs() < 60_000_000, "{} is not near {before}", record.timestamp);
    assert!(records[1].value.is_empty());
}

pub async fn a_record_over_the_limit_is_refused_and_one_at_the_limit_passes(harness: &Harness) {
    let bus = harness.open().await;
    // Bytes that do not compress, so that the largest record is the largest on the wire as well.
    let mut state = 1u64;
    let noise: Vec<u8> = (0..MAX_RECORD_BYTES)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect();
    let refused = bus.publish(Topic::Events, Outgoing::new("k", noise.clone())).await.expect_err("too large");
    assert!(matches!(refused, BusError::TooLarge { bytes, max, .. } if bytes == MAX_RECORD_BYTES + 1 && max == MAX_RECORD_BYTES));
    assert!(refused.to_string().contains("split it"), "{refused}");
    assert!(!refused.is_retryable());
    bus.publish(Topic::Events, Outgoing::new("k", noise[1..].to_vec())).await.expect("at the limit");
    let mut consumer = bus.subscribe(Topic::Events, "g").await.expect("subscribe");
    assert_eq!(read(&mut consumer, 1).await[0].value, noise[1..]);
}

pub async fn a_seek_reads_again(harness: &Harness) {
    let bus = harness.open().await;
    publish_numbers(&bus, Topic::Events, "a", 0..20).await;
    let mut consumer = bus.subscribe(Topic::Events, "g").await.expect("subscribe");
    let records = read(&mut consumer, 20).await;
    consumer.seek(records[0].partition, records[15].offset).await.expect("seek");
    assert_eq!(values(&read(&mut consumer, 5).await), ["15", "16", "17", "18", "19"]);
    consumer.seek(records[0].partition, records[0].offset).await.expect("seek");
    assert_eq!(read(&mut consumer, 20).await, records);
    assert!(matches!(consumer.seek(77, 0).await, Err(BusError::NotAssigned { partition: 77, .. })));
}

pub async fn a_poll_keeps_to_its_limits(harness: &Harness) {
    let bus = harness.open().await;
    for _ in 0..10 {
        bus.publish(Topic::Events, Outgoing::new("k", vec![7u8; 1000])).await.expect("published");
    }
    let mut consumer = bus.subscribe(Topic::Events, "g").await.expect("subscribe");
    let mut sizes = Vec::new();
    let started = Instant::now();
    while sizes.iter().sum::<usize>() < 10 {
        assert!(started.elapsed() < PATIENCE, "{sizes:?}");
        sizes.push(consumer.poll(3, 2500, Duration::from_millis(500)).await.expect("poll").len());
    }
    assert!(sizes.iter().all(|size| *size <= 3), "{sizes:?}");
    consumer.seek(read_partition(&bus).await, 0).await.expect("seek");
    let first = loop {
        let records = consumer.poll(100, 1500, Duration::from_millis(500)).await.expect("poll");
        if !records.is_empty() {
            break records;
        }
        assert!(started.elapsed() < PATIENCE);
    };
    assert!(first.len() <= 2, "the record that reaches 1500 bytes is the last: {}", first.len());
    read(&mut consumer, 10 - first.len()).await;
    let started = Instant::now();
    assert!(consumer.poll(1, 1, Duration::from_millis(200)).await.expect("poll").is_empty());
    assert!((150..5000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
}

/// The one partition of the events topic that holds records.
async fn read_partition(bus: &Bus) -> i32 {
    let lag = bus.lag(Topic::Events, "g").await.expect("lag");
    lag.iter().find(|l| l.end > 0).expect("a partition with records").partition
}

pub async fn an_abandoned_poll_loses_nothing(harness: &Harness) {
    let bus = harness.open().await;
    let mut consumer = bus.subscribe(Topic::Events, "g").await.expect("subscribe");
    let mut came = Vec::new();
    for number in 0..50 {
        publish_numbers(&bus, Topic::Events, "a", number..number + 1).await;
        // Given up after a moment, at whatever point it is then.
        let moment = Duration::from_micros(u64::from(number) * 40);
        if let Ok(records) = tokio::time::timeout(moment, consumer.poll(10, 1 << 20, PATIENCE)).await {
            came.extend(values(&records.expect("poll")));
        }
    }
    let left = 50 - came.len();
    came.extend(values(&read(&mut consumer, left).await));
    assert_eq!(came, (0..50).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub async fn ids_stay_and_the_bus_says_that_it_works(harness: &Harness) {
    let bus = harness.open().await;
    bus.check().await.expect("works");
    let ids = (bus.id(), bus.topic_id(Topic::Events), bus.topic_id(Topic::Alerts));
    assert!(!ids.0.is_empty() && ids.1 != ids.2, "{ids:?}");
    bus.close().await;
    let bus = harness.open().await;
    assert_eq!((bus.id(), bus.topic_id(Topic::Events), bus.topic_id(Topic::Alerts)), ids);
}

pub async fn unusable_names_and_metadata_are_refused(harness: &Harness) {
    let bus = harness.open().await;
    for bad in ["", "..", "a/b", "a b", "é", &"x".repeat(101)] {
        assert!(matches!(bus.subscribe(Topic::Events, bad).await, Err(BusError::Invalid { .. })), "{bad:?}");
    }
    let mut consumer = bus.subscribe(Topic::Events, "g").await.expect("subscribe");
    expect_nothing(&mut consumer).await;
    let partition = consumer.assigned()[0];
    let too_long = "x".repeat(MAX_METADATA_BYTES + 1);
    assert!(matches!(consumer.commit(partition, 0, &too_long).await, Err(BusError::Invalid { .. })));
    assert!(matches!(consumer.commit(partition, -1, "").await, Err(BusError::Invalid { .. })));
    consumer.commit(partition, 0, &too_long[1..]).await.expect("longest metadata");
    let bad_header = Outgoing::new("k", "v").header("a\0b", "");
    assert!(matches!(bus.publish(Topic::Events, bad_header).await, Err(BusError::Invalid { .. })));
}
