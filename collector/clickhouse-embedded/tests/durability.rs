//! What survives: kill -9, restarts, drains, and the end of the process that started it.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use beffroi_clickhouse_embedded::{Embedded, State};
use common::{Answer, Server, config, engine_is_here};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// More than any of these waits takes; a test that reaches it fails.
const PATIENCE: Duration = Duration::from_secs(60);

fn pid(state: &State) -> Option<Pid> {
    match state {
        State::Ready { pid, .. } => Some(Pid::from_raw(*pid)),
        _ => None,
    }
}

const TABLE_THAT_DEDUPLICATES: &str =
    "CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a SETTINGS non_replicated_deduplication_window = 10000";

/// Inserts batch `n` (1,000 rows) under its token until it is acknowledged.
async fn insert_until_acknowledged(server: &Server, n: u64) {
    let body: String = (0..1000).map(|row| format!("{}\n", n * 1000 + row)).collect();
    let token = format!("batch-{n}");
    let arguments = [("query", "INSERT INTO t FORMAT TSV"), ("insert_deduplication_token", token.as_str())];
    let started = Instant::now();
    loop {
        if let Ok(answer) = server.post(&arguments, body.clone()).send().await
            && answer.status() == 200
        {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "batch {n} was never acknowledged");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_inserts_loses_and_doubles_nothing() {
    let Some(server) = Server::start(&[]).await else { return };
    server.run(TABLE_THAT_DEDUPLICATES).await;
    let mut states = server.embedded.watch();
    let killer = tokio::spawn(async move {
        for restarts in 0..3 {
            let ready = |s: &State| matches!(s, State::Ready { restarts: r, .. } if *r == restarts);
            let victim = pid(&states.wait_for(ready).await.unwrap()).unwrap();
            // Somewhere inside the stream of inserts.
            tokio::time::sleep(Duration::from_millis(150)).await;
            kill(victim, Signal::SIGKILL).unwrap();
        }
    });
    let mut batches = 0;
    while !killer.is_finished() || batches < 50 {
        insert_until_acknowledged(&server, batches).await;
        batches += 1;
    }
    killer.await.unwrap();
    insert_until_acknowledged(&server, batches).await;
    let rows = (batches + 1) * 1000;
    let text = server.run("SELECT count(), uniqExact(a), max(a) FROM t").await;
    assert_eq!(text, format!("{rows}\t{rows}\t{}\n", rows - 1));
    assert!(matches!(server.embedded.state(), State::Ready { restarts: 3, .. }), "{:?}", server.embedded.state());
    server.embedded.stop().await;
}

/// The engine notes a token before the rows stand; a kill in between is too short to hit, so its traces are laid.
#[tokio::test(flavor = "multi_thread")]
async fn an_insert_that_was_cut_off_after_its_token_was_noted_is_taken_when_it_is_sent_again() {
    let Some(server) = Server::start(&[]).await else { return };
    server.run(TABLE_THAT_DEDUPLICATES).await;
    for n in 0..3 {
        insert_until_acknowledged(&server, n).await;
    }
    let part = server.run("SELECT path FROM system.parts WHERE table = 't' AND name = 'all_3_3_0'").await;
    let Server { embedded, folder, .. } = server;
    embedded.stop().await;
    std::fs::remove_dir_all(part.trim_end()).unwrap();
    let server = Server::over(folder, &[]).await;
    for n in 0..4 {
        insert_until_acknowledged(&server, n).await;
    }
    assert_eq!(server.run("SELECT count(), uniqExact(a) FROM t").await, "4000\t4000\n");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_hangs_is_killed_and_serves_again() {
    if !engine_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path().join("data"), &[]);
    config.hung_after = Duration::from_secs(3);
    let embedded = Embedded::spawn(config).await.unwrap();
    let mut states = embedded.watch();
    kill(pid(&embedded.state()).unwrap(), Signal::SIGSTOP).unwrap();
    let restarting = states.wait_for(|s| matches!(s, State::Restarting { .. })).await.unwrap().clone();
    let State::Restarting { reason, .. } = restarting else { unreachable!("it was waited for") };
    assert!(reason.contains("ran no statement"), "{reason}");
    states.wait_for(|s| matches!(s, State::Ready { restarts: 1, .. })).await.unwrap();
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_lets_a_running_query_finish_and_the_data_is_there_afterwards() {
    let Some(server) = Server::start(&[]).await else { return };
    server.run("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a").await;
    server.run("INSERT INTO t VALUES (7)").await;
    let slow = tokio::spawn(server.post(&[], "SELECT sleep(1), 'done'").send());
    let running = "SELECT count() FROM system.processes WHERE query LIKE '%done%' AND query NOT LIKE '%processes%'";
    while server.run(running).await != "1\n" {}
    let Server { embedded, data, folder, .. } = server;
    embedded.stop().await;
    let answer = slow.await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.text().await.unwrap(), "0\tdone\n");
    let second = Embedded::spawn(config(data, &[])).await.unwrap();
    let client = clickhouse::Client::default().with_url(second.url()).with_user(second.user()).with_password(second.key());
    assert_eq!(client.query("SELECT a FROM t").fetch_one::<u8>().await.unwrap(), 7);
    second.stop().await;
    drop(folder);
}

#[test]
fn the_engine_ends_with_the_process_that_started_it() {
    if !engine_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (data, port, secret) = (folder.path().join("d"), folder.path().join("port"), folder.path().join("secret"));
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let script = "\"$0\" --data \"$1\" --port-file \"$2\" --secret-file \"$3\" --die-with-parent & echo $!; wait";
    let mut parent = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_clickhouse-embedded")])
        .args([&data, &port, &secret])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let started = Instant::now();
    while std::fs::read_to_string(&port).map_or(true, |line| !line.ends_with('\n')) {
        assert!(started.elapsed() < PATIENCE, "never ready");
        std::thread::sleep(Duration::from_millis(20));
    }
    let child = std::fs::read_to_string(data.join("lock")).unwrap();
    let child = format!("/proc/{}", child.trim());
    assert!(std::path::Path::new(&child).exists());
    parent.kill().unwrap();
    parent.wait().unwrap();
    let killed = Instant::now();
    while std::path::Path::new(&child).exists() {
        assert!(killed.elapsed() < PATIENCE, "still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_made_during_a_restart_wait_for_it() {
    let Some(server) = Server::start(&[]).await else { return };
    let victim = pid(&server.embedded.state()).unwrap();
    kill(victim, Signal::SIGKILL).unwrap();
    let mut states = server.embedded.watch();
    states.wait_for(|s| matches!(s, State::Restarting { .. })).await.unwrap();
    let answer = Answer::of(server.post(&[], "SELECT 1")).await;
    assert_eq!(answer.text, "1\n");
    assert!(matches!(server.embedded.state(), State::Ready { restarts: 1, .. }));
    server.embedded.stop().await;
}
