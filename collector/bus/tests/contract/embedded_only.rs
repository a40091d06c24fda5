//! What only the embedded bus has to promise: acknowledged records survive `kill -9`, and one process at a time.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use beffroi_bus::{Bus, BusError, BusOptions, EmbeddedOptions, Outgoing, Topic};

use crate::harness::{Harness, commit_all, read};

const CHILD_DIR: &str = "BEFFROI_BUS_TEST_DIR";
/// Acknowledgements after which the child is killed.
const ACKNOWLEDGED: usize = 3000;

/// Publishes for ever and says what was acknowledged, until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of acknowledged_records_survive_kill_9"]
async fn child_that_publishes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let bus = Bus::open(BusOptions::Embedded(EmbeddedOptions { dir: dir.into(), ..Default::default() })).await.expect("open");
    let publish = |worker: u32| {
        let bus = bus.clone();
        async move {
            for number in 0u64.. {
                let value = format!("{worker}-{number}");
                let record = Outgoing::new(format!("agent-{worker}"), value.clone()).header("n", vec![9; 200]);
                let position = bus.publish(Topic::Events, record).await.expect("published");
                let mut out = std::io::stdout().lock();
                let told = writeln!(out, "\nACK {} {} {value}", position.partition, position.offset).and_then(|()| out.flush());
                if told.is_err() {
                    return;
                }
            }
        }
    };
    futures::future::join_all((0..32).map(publish)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_records_survive_kill_9() {
    let harness = Harness::embedded();
    let BusOptions::Embedded(options) = &harness.options else { unreachable!("embedded") };
    for round in 1..=2 {
        let acknowledged = publish_and_kill(&options.dir);
        assert!(acknowledged.len() >= ACKNOWLEDGED);
        let bus = harness.open().await;
        let mut consumer = bus.subscribe(Topic::Events, &format!("g{round}")).await.expect("subscribe");
        let lag: i64 = bus.lag(Topic::Events, "none").await.expect("lag").iter().map(beffroi_bus::PartitionLag::records).sum();
        let records = read(&mut consumer, lag as usize).await;
        let found: BTreeMap<(i32, i64), &[u8]> = records.iter().map(|r| ((r.partition, r.offset), r.value.as_ref())).collect();
        for (position, value) in &acknowledged {
            assert_eq!(found.get(position).copied(), Some(value.as_bytes()), "round {round}, {position:?}");
        }
        commit_all(&mut consumer, &records, "").await;
        drop(consumer);
        bus.close().await;
    }
}

fn publish_and_kill(dir: &std::path::Path) -> Vec<((i32, i64), String)> {
    let mut child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "embedded_only::child_that_publishes_until_it_is_killed", "--ignored", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("child");
    let lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
    let mut acknowledged = Vec::new();
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        if let ["ACK", partition, offset, value] = words[..] {
            acknowledged.push(((partition.parse().expect("partition"), offset.parse().expect("offset")), value.to_owned()));
        }
        if acknowledged.len() == ACKNOWLEDGED {
            child.kill().expect("kill -9");
        }
    }
    child.wait().expect("ended");
    acknowledged
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_use_is_refused_and_free_again_after_close() {
    let harness = Harness::embedded();
    let bus = harness.open().await;
    let refused = Bus::open(harness.options.clone()).await.expect_err("in use");
    assert!(matches!(&refused, BusError::Unavailable { hint, .. } if hint.contains("only one collector")), "{refused}");
    bus.clone().close().await;
    assert!(matches!(bus.publish(Topic::Events, Outgoing::new("k", "v")).await, Err(BusError::Closed)));
    assert!(matches!(bus.check().await, Err(BusError::Closed)));
    harness.open().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_number_of_partitions_is_refused() {
    let harness = Harness::embedded();
    harness.open().await.close().await;
    let BusOptions::Embedded(options) = harness.options.clone() else { unreachable!("embedded") };
    let refused = Bus::open(BusOptions::Embedded(EmbeddedOptions { partitions: 8, ..options })).await.expect_err("refused");
    assert!(refused.to_string().contains("bus.partitions"), "{refused}");
}
