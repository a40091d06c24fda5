//! The HTTP interface as its clients use it: the official crate, plain requests, JSON readers.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use clickhouse::Row;
use common::{Answer, Server};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Row, Serialize, Deserialize)]
struct Event {
    id: u64,
    host: String,
    command: String,
    pid: u32,
}

fn event(id: u64) -> Event {
    Event { id, host: format!("host-{}", id % 50), command: format!("/usr/bin/curl --retry {id}"), pid: id as u32 }
}

async fn with_table(server: &Server) {
    server
        .run("CREATE TABLE events (id UInt64, host String, command String, pid UInt32) ENGINE = MergeTree ORDER BY id SETTINGS non_replicated_deduplication_window = 1000")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_come_back_as_they_were_written() {
    let Some(server) = Server::start(&[]).await else { return };
    with_table(&server).await;
    let client = server.client();
    let mut insert = client.insert::<Event>("events").await.unwrap();
    for id in 0..100_000 {
        insert.write(&event(id)).await.unwrap();
    }
    insert.end().await.unwrap();
    let rows = client.query("SELECT ?fields FROM events ORDER BY id").fetch_all::<Event>().await.unwrap();
    assert_eq!(rows.len(), 100_000);
    assert!(rows.iter().enumerate().all(|(id, row)| *row == event(id as u64)));
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_lines_inside_values_and_between_rows_survive() {
    let Some(server) = Server::start(&[]).await else { return };
    with_table(&server).await;
    let client = server.client();
    let mut odd = event(0x0a0a_0a0a_0a0a_0a0a);
    odd.command = "a\n\nb\r\n\r\n\n\n'\\\0".to_owned();
    let mut insert = client.insert::<Event>("events").await.unwrap();
    insert.write(&odd).await.unwrap();
    insert.write(&event(1)).await.unwrap();
    insert.end().await.unwrap();
    server.run("INSERT INTO events VALUES (2, 'h', 'a\n\nb', 2),\n\n(3, 'h', 'FORMAT', 3)").await;
    let text = "{\"id\":4,\"host\":\"h\"}\n\n\n{\"id\":5,\"host\":\"h\"}\n".to_owned();
    let answer = Answer::of(server.post(&[("query", "INSERT INTO events FORMAT JSONEachRow")], text)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let rows = client.query("SELECT ?fields FROM events ORDER BY id").fetch_all::<Event>().await.unwrap();
    assert_eq!(rows.iter().map(|r| r.id).collect::<Vec<_>>(), [1, 2, 3, 4, 5, odd.id]);
    assert_eq!(rows[5], odd);
    assert_eq!(rows[1].command, "a\n\nb");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_seen_before_adds_no_row() {
    let Some(server) = Server::start(&[]).await else { return };
    with_table(&server).await;
    let client = server.client();
    for (token, rows) in [("bus-1", 10), ("bus-1", 10), ("bus-2", 10), ("bus-1", 10)] {
        let mut insert = client.insert::<Event>("events").await.unwrap().with_setting("insert_deduplication_token", token);
        for id in 0..rows {
            insert.write(&event(id)).await.unwrap();
        }
        insert.end().await.unwrap();
    }
    assert_eq!(server.run("SELECT count() FROM events").await, "20\n");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_are_bound_and_never_become_sql() {
    let Some(server) = Server::start(&[]).await else { return };
    let hostile = "x', (SELECT 1)) -- \\ \n\t\u{e9}{y:String}";
    let echo: String = server.client().query("SELECT {x:String}").param("x", hostile).fetch_one().await.unwrap();
    assert_eq!(echo, hostile);
    let sum: u64 =
        server.client().query("SELECT {a:UInt64} + {b:UInt64}").param("a", 40).param("b", 2).fetch_one().await.unwrap();
    assert_eq!(sum, 42);
    let answer = Answer::of(server.get(&[("query", "SELECT {x:String}"), ("param_x", "a'b")])).await;
    assert_eq!(answer.text, "a\\'b\n");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_requests_settings_and_database_end_with_it() {
    let Some(server) = Server::start(&[]).await else { return };
    server.run("CREATE DATABASE other").await;
    let state = "SELECT currentDatabase(), getSetting('max_block_size'), getSetting('max_execution_time')";
    let changed = [("database", "other"), ("max_block_size", "77"), ("max_execution_time", "5"), ("query_id", "q-1")];
    let answer = Answer::of(server.post(&changed, state)).await;
    assert_eq!(answer.text, "other\t77\t5\n");
    assert_eq!(answer.headers["x-clickhouse-query-id"], "q-1");
    server.run("SET max_block_size = 5").await;
    server.run("USE other").await;
    server.run("CREATE TEMPORARY TABLE gone (a Int8)").await;
    assert_eq!(server.refused("SELECT * FROM gone").await.code, Some(60));
    for _ in 0..3 {
        assert_eq!(server.run(state).await, "default\t65409\t60\n");
    }
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_served_with_its_type_and_a_summary() {
    let Some(server) = Server::start(&[]).await else { return };
    let sql = "SELECT number AS n FROM numbers(3) FORMAT JSON";
    let answer = Answer::of(server.get(&[("query", sql), ("wait_end_of_query", "1")])).await;
    assert!(answer.headers["content-type"].to_str().unwrap().starts_with("application/json"));
    assert_eq!(answer.headers["x-clickhouse-format"], "JSON");
    assert!(answer.headers["x-clickhouse-summary"].to_str().unwrap().contains("\"read_rows\":\"3\""));
    assert!(answer.text.contains("\"rows\": 3"), "{}", answer.text);
    let packed = server.post(&[("compress", "1")], "SELECT 'abc'").send().await.unwrap().bytes().await.unwrap();
    assert_eq!(packed[16], 0x82, "the answer is one LZ4 block");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_the_engines_message_code_and_status() {
    let Some(server) = Server::start(&[]).await else { return };
    for (sql, status, code, text) in [
        ("SELEC 1", 400, 62, "Syntax error"),
        ("SELECT * FROM nosuch", 404, 60, "nosuch"),
        ("SELECT 1; DROP TABLE t", 400, 62, "Multi-statements"),
        ("  ", 400, 62, "empty query"),
        ("SELECT count() FROM numbers(1000000000000) SETTINGS max_execution_time = 1", 408, 159, "Timeout"),
    ] {
        let answer = server.refused(sql).await;
        assert_eq!((answer.status, answer.code), (status, Some(code)), "{sql}: {}", answer.text);
        assert!(answer.text.contains(text), "{sql}: {}", answer.text);
    }
    let error = server.client().query("SELECT nosuch").fetch_one::<u8>().await.unwrap_err().to_string();
    assert!(error.contains("Code: 47") && error.contains("nosuch"), "{error}");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_get_request_cannot_write() {
    let Some(server) = Server::start(&[]).await else { return };
    with_table(&server).await;
    let answer = Answer::of(server.get(&[("query", "DROP TABLE events")])).await;
    assert_eq!(answer.code, Some(164), "{}", answer.text);
    assert_eq!(server.run("SELECT count() FROM events").await, "0\n");
    server.embedded.stop().await;
}
