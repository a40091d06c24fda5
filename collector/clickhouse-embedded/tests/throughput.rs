//! How fast inserts are, through the official crate. Ignored by default, because it measures instead of judging:
//! `cargo test --profile ci -p beffroi-clickhouse-embedded --test throughput -- --ignored --nocapture`
//!
//! Measured on two shared cores and a virtual disk (November 2026), rows of about 90 bytes: see the table in this
//! crate's `engine/boot.rs` for what syncing each insert costs.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::{Duration, Instant};

use clickhouse::Row;
use common::Server;
use serde::Serialize;

#[derive(Row, Serialize)]
struct Event<'a> {
    id: u64,
    host: &'a str,
    image: &'a str,
    command: String,
    pid: u32,
}

/// Inserts `batches` of `rows` and prints the rate and the median and worst insert.
async fn measure(server: &Server, what: &str, batches: u64, rows: u64) {
    server.run("CREATE OR REPLACE TABLE events (id UInt64, host String, image String, command String, pid UInt32) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000").await;
    let client = server.client();
    let started = Instant::now();
    let mut took: Vec<Duration> = Vec::new();
    for batch in 0..batches {
        let begin = Instant::now();
        let token = format!("t-{batch}");
        let mut insert = client.insert::<Event<'_>>("events").await.unwrap().with_setting("insert_deduplication_token", token);
        for row in 0..rows {
            let id = batch * rows + row;
            let command = format!("/usr/bin/curl --silent --output /tmp/{id} https://example.org/{}", id % 997);
            insert.write(&Event { id, host: "host-17", image: "/usr/bin/curl", command, pid: id as u32 }).await.unwrap();
        }
        insert.end().await.unwrap();
        took.push(begin.elapsed());
    }
    took.sort();
    println!(
        "{what}: {batches} x {rows} rows: {:.0} rows/s, insert p50 {:.1} ms, worst {:.1} ms",
        (batches * rows) as f64 / started.elapsed().as_secs_f64(),
        took[took.len() / 2].as_secs_f64() * 1e3,
        took[took.len() - 1].as_secs_f64() * 1e3,
    );
    assert_eq!(server.run("SELECT count() FROM events").await, format!("{}\n", batches * rows));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; see the file's head"]
async fn insert_rates_with_and_without_fsync() {
    for (what, arguments) in [("fsync", &[][..]), ("no fsync", &["--no-fsync"][..])] {
        let Some(server) = Server::start(arguments).await else { return };
        measure(&server, what, 200, 1_000).await;
        measure(&server, what, 40, 20_000).await;
        measure(&server, what, 10, 100_000).await;
        server.embedded.stop().await;
    }
}
