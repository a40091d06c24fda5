//! One batch becomes blocks, each block is inserted until it stands. Decoding runs on a thread of its own and hands blocks
//! over one by one, so that memory stays bounded whatever the rows expand to.

use std::time::{Duration, Instant};

use beffroi_bus::Bus;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::error::StoreError;
use crate::feeds::Feed;
use crate::intent::token;
use crate::lane::Batch;
use crate::rows::{Blocks, Table, TableBlock};
use crate::status::FeedStatus;

/// First wait after a failed insert.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest wait: so long at most ClickHouse is back before anybody notices.
const BACKOFF_LAST: Duration = Duration::from_secs(5);

/// One insert: its table, its rows, its token.
struct Piece {
    table: Table,
    token: String,
    block: TableBlock,
}

/// Inserts a batch; false when it was stopped before all of it stood.
pub(crate) async fn batch(
    feed: Feed,
    bus: &Bus,
    database: &Database,
    batch: Batch,
    status: &FeedStatus,
    stop: &CancellationToken,
) -> bool {
    let (sender, mut pieces) = mpsc::channel::<Piece>(1);
    let (bus_id, topic_id, started) = (bus.id(), bus.topic_id(feed.topic()), Instant::now());
    let records = batch.records.len();
    let decode = tokio::task::spawn_blocking(move || decode(feed, &bus_id, &topic_id, &batch, &sender));
    let mut rows = 0;
    while let Some(piece) = pieces.recv().await {
        rows += piece.block.rows;
        if !stands(database, piece, status, stop).await {
            return false;
        }
    }
    if let Err(error) = decode.await {
        // Not all of the batch was decoded: its offset must not move.
        std::panic::resume_unwind(error.into_panic());
    }
    status.batch(rows, started.elapsed());
    let topic = feed.topic().name();
    metrics::counter!("beffroi_store_records_total", "topic" => topic).increment(records as u64);
    metrics::histogram!("beffroi_store_batch_seconds", "topic" => topic).record(started.elapsed().as_secs_f64());
    true
}

fn decode(feed: Feed, bus_id: &str, topic_id: &str, batch: &Batch, sender: &mpsc::Sender<Piece>) {
    let token = token(bus_id, topic_id, &batch.records);
    let mut number = 0;
    let mut sink = |table, block| {
        let piece = Piece { table, token: format!("{token}/{number}"), block };
        number += 1;
        sender.blocking_send(piece).is_ok()
    };
    let mut blocks = Blocks::new(&mut sink);
    feed.rows(bus_id, &batch.records, crate::time::now(), &mut blocks);
    blocks.finish();
}

/// Inserts one block, for as long as it takes.
async fn stands(database: &Database, piece: Piece, status: &FeedStatus, stop: &CancellationToken) -> bool {
    let (statement, body) = (piece.table.insert(), Bytes::from(piece.block.body));
    let table = piece.table.name();
    let mut wait = BACKOFF_FIRST;
    loop {
        let started = Instant::now();
        match database.insert(&statement, &piece.token, body.clone()).await {
            Ok(()) => {
                metrics::counter!("beffroi_store_rows_total", "table" => table).increment(piece.block.rows as u64);
                metrics::counter!("beffroi_store_bytes_total", "table" => table).increment(body.len() as u64);
                metrics::histogram!("beffroi_store_insert_seconds", "table" => table).record(started.elapsed().as_secs_f64());
                status.clickhouse_works();
                return true;
            }
            Err(error) => refused(&error, table, status, wait),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(BACKOFF_LAST),
            () = stop.cancelled() => return false,
        }
    }
}

fn refused(error: &StoreError, table: &'static str, status: &FeedStatus, wait: Duration) {
    metrics::counter!("beffroi_store_insert_errors_total", "table" => table).increment(1);
    status.clickhouse_error(error.to_string());
    let wait = wait.as_millis() as u64;
    if error.is_passing() {
        tracing::warn!(table, %error, wait_ms = wait, "insert failed: trying again");
    } else {
        tracing::error!(table, %error, wait_ms = wait, "ClickHouse refuses an insert: trying again, nothing is dropped");
    }
}
