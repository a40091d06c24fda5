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

/// The token of a try. The first one's is a function of the records, so that a batch repeated after a crash of ours is
/// taken once. Each further try has its own: ClickHouse notes a token before the rows stand, and where it ended or gave up
/// in between it would acknowledge the same token and drop the rows. Should both stand, the tables' key makes them one.
fn token_of_try(token: &str, tries: u32) -> String {
    match tries {
        0 => token.to_owned(),
        again => format!("{token}/again-{again}"),
    }
}

/// Inserts one block, for as long as it takes.
async fn stands(database: &Database, piece: Piece, status: &FeedStatus, stop: &CancellationToken) -> bool {
    let (statement, body) = (piece.table.insert(), Bytes::from(piece.block.body));
    let table = piece.table.name();
    let mut wait = BACKOFF_FIRST;
    let mut tries = 0;
    loop {
        let started = Instant::now();
        match database.insert(&statement, &token_of_try(&piece.token, tries), body.clone()).await {
            Ok(()) => {
                metrics::counter!("beffroi_store_rows_total", "table" => table).increment(piece.block.rows as u64);
                metrics::counter!("beffroi_store_bytes_total", "table" => table).increment(body.len() as u64);
                metrics::histogram!("beffroi_store_insert_seconds", "table" => table).record(started.elapsed().as_secs_f64());
                status.clickhouse_works();
                return true;
            }
            Err(error) => refused(&error, table, status, wait),
        }
        tries += 1;
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::http::{StatusCode, Uri};

    use super::*;
    use crate::options::Options;

    /// A ClickHouse that refuses the first inserts; returns its URL and the addresses that it was asked at.
    async fn refusing(inserts: usize) -> (String, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let answer = move |uri: Uri, _body: Bytes| async move {
            let mut seen = seen.lock().unwrap();
            seen.push(uri.to_string());
            if seen.len() <= inserts {
                (StatusCode::INTERNAL_SERVER_ERROR, "Code: 243. DB::Exception: no room")
            } else {
                (StatusCode::OK, "")
            }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, axum::Router::new().fallback(answer)).into_future());
        (url, asked)
    }

    #[tokio::test]
    async fn an_insert_that_failed_is_tried_again_under_a_token_of_its_own() {
        let _done_before = rustls::crypto::ring::default_provider().install_default();
        let (url, asked) = refusing(2).await;
        let database = Database::new(&Options { url, ..Options::default() }).unwrap();
        let block = TableBlock { body: vec![7], rows: 1 };
        let piece = Piece { table: Table::Gaps, token: "bus-topic".into(), block };
        assert!(stands(&database, piece, &FeedStatus::default(), &CancellationToken::new()).await);
        let asked = asked.lock().unwrap();
        let token = |uri: &String| {
            let parameter = uri.split(['?', '&']).find_map(|part| part.strip_prefix("insert_deduplication_token="));
            parameter.map(|token| token.replace("%2F", "/"))
        };
        let tokens: Vec<_> = asked.iter().filter_map(token).collect();
        assert_eq!(tokens, ["bus-topic", "bus-topic/again-1", "bus-topic/again-2"]);
    }
}
