//! What strangers, hostile requests and hostile SQL cannot do.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod common;

use std::process::Command;

use common::{Answer, Server, engine_is_here};

#[tokio::test(flavor = "multi_thread")]
async fn without_the_secret_nothing_is_answered() {
    let Some(server) = Server::start(&[]).await else { return };
    let wrong_key = server.bare().header("X-ClickHouse-User", "beffroi").header("X-ClickHouse-Key", "0".repeat(64));
    let wrong_user = server.bare().basic_auth("default", Some(server.embedded.key()));
    for request in [server.bare(), wrong_key, wrong_user] {
        let answer = Answer::of(request).await;
        assert_eq!((answer.status, answer.code), (403, Some(516)), "{}", answer.text);
    }
    let right = Answer::of(server.bare().basic_auth("beffroi", Some(server.embedded.key()))).await;
    assert_eq!((right.status, right.text.as_str()), (200, "Ok.\n"));
    let error = server.client().with_password("wrong").query("SELECT 1").fetch_one::<u8>().await.unwrap_err();
    assert!(error.to_string().contains("Code: 516"), "{error}");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_cannot_read_the_host() {
    let Some(server) = Server::start(&[]).await else { return };
    let secret = format!("{}.secret", server.data.display());
    let environment = format!("/proc/{}/environ", std::process::id());
    for file in ["/etc/passwd", "/etc/hostname", &secret, &environment] {
        for sql in [format!("SELECT file('{file}')"), format!("SELECT * FROM file('{file}', 'LineAsString', 'a String')")] {
            let answer = server.refused(&sql).await;
            assert!(!answer.text.contains("root:x:0"), "{}", answer.text);
        }
    }
    let (config, outside) = (server.data.join("engine.xml"), std::env::temp_dir().join("beffroi-must-not-exist.csv"));
    let before = std::fs::read(&config).unwrap();
    for file in [&config, &outside] {
        let sql = format!("INSERT INTO FUNCTION file('{}', 'LineAsString', 'a String') VALUES ('x')", file.display());
        server.refused(&sql).await;
    }
    assert_eq!(std::fs::read(&config).unwrap(), before);
    assert!(!outside.exists());
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sql_cannot_reach_the_network_or_run_programs() {
    let Some(server) = Server::start(&[]).await else { return };
    // A listener that would be found: the calls must fail although somebody answers.
    let bait = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    bait.set_nonblocking(true).unwrap();
    let address = bait.local_addr().unwrap();
    for sql in [
        format!("SELECT * FROM url('http://{address}/x', 'CSV', 'a String')"),
        format!("SELECT * FROM s3('http://{address}/bucket/x.csv', 'CSV', 'a String')"),
        format!("SELECT * FROM remote('{address}', system.one)"),
        format!("SELECT * FROM mysql('{address}', 'd', 't', 'u', 'p')"),
        "SELECT * FROM executable('sh', 'TSV', 'a String')".to_owned(),
    ] {
        server.refused(&sql).await;
    }
    assert_eq!(bait.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "somebody connected");
    // The server survived all of it.
    assert_eq!(server.run("SELECT 1").await, "1\n");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_packed_or_not() {
    let Some(server) = Server::start(&["--max-body-bytes", "100000"]).await else { return };
    server.run("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a").await;
    let query = [("query", "INSERT INTO t FORMAT LineAsString")];
    let answer = Answer::of(server.post(&query, vec![b'a'; 100_001])).await;
    assert_eq!((answer.status, answer.code), (413, Some(307)), "{}", answer.text);
    // 10 MB of one letter pack to some 40 kB: below the limit on the wire, above it unpacked.
    let mut insert = server.client().insert_formatted_with("INSERT INTO t FORMAT LineAsString");
    insert.send(vec![b'a'; 10_000_000].into()).await.unwrap();
    let error = insert.end().await.unwrap_err().to_string();
    assert!(error.contains("Code: 307"), "{error}");
    let junk = [("query", "INSERT INTO t FORMAT LineAsString"), ("decompress", "1")];
    let answer = Answer::of(server.post(&junk, vec![7; 1000])).await;
    assert_eq!((answer.status, answer.code), (400, Some(271)), "{}", answer.text);
    assert_eq!(server.run("SELECT count() FROM t").await, "0\n");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_over_the_limit_get_503_and_inserts_still_pass() {
    let Some(server) = Server::start(&["--max-queries", "3"]).await else { return };
    server.run("CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a").await;
    // One read at a time here (3 minus the 2 kept for inserts). The probes below may take it first: keep asking.
    let ask = server.post(&[], "SELECT sleep(3)");
    let slow = tokio::spawn(async move {
        loop {
            let status = ask.try_clone().unwrap().send().await.unwrap().status();
            if status != 503 {
                return status;
            }
        }
    });
    let refused = loop {
        let answer = Answer::of(server.post(&[], "SELECT 1")).await;
        if answer.status != 200 {
            break answer;
        }
        assert!(!slow.is_finished(), "the slow query ended unnoticed");
    };
    assert_eq!((refused.status, refused.code), (503, Some(202)), "{}", refused.text);
    assert!(refused.headers.contains_key("retry-after"));
    let started = std::time::Instant::now();
    let insert = Answer::of(server.post(&[("query", "INSERT INTO t FORMAT LineAsString")], "x\n")).await;
    assert_eq!(insert.status, 200, "{}", insert.text);
    assert!(!slow.is_finished(), "the insert waited {:?} for the slow query", started.elapsed());
    assert_eq!(slow.await.unwrap(), 200);
    assert_eq!(server.run("SELECT count() FROM t").await, "1\n");
    server.embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_may_not_be_raised_in_the_url() {
    let Some(server) = Server::start(&[]).await else { return };
    for (name, value) in [("max_execution_time", "0"), ("max_execution_time", "61"), ("max_memory_usage", "0")] {
        let answer = Answer::of(server.post(&[(name, value)], "SELECT 1")).await;
        assert_eq!((answer.status, answer.code), (400, Some(452)), "{}", answer.text);
    }
    let answer = Answer::of(server.post(&[("user", "beffroi"), ("password", "x")], "SELECT 1")).await;
    assert_eq!((answer.status, answer.code), (403, Some(516)), "{}", answer.text);
    server.embedded.stop().await;
}

fn start_error(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_clickhouse-embedded")).args(arguments).output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_in_use_and_an_outside_address_are_refused() {
    let Some(server) = Server::start(&[]).await else { return };
    let (data, secret) = (server.data.to_str().unwrap(), format!("{}.secret", server.data.display()));
    let in_use = start_error(&["--data", data, "--secret-file", &secret]);
    assert!(in_use.contains("already in use by process"), "{in_use}");
    let outside = start_error(&["--data", data, "--secret-file", &secret, "--listen", "0.0.0.0:0"]);
    assert!(outside.contains("for this machine only"), "{outside}");
    server.embedded.stop().await;
}

#[test]
fn the_process_holds_no_right_it_does_not_need() {
    if !engine_is_here() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let Some(server) = Server::start(&[]).await else { return };
        let beffroi_clickhouse_embedded::State::Ready { pid, .. } = server.embedded.state() else { panic!("not ready") };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(field("NoNewPrivs:"), "1");
        assert_eq!(field("Seccomp:"), "2");
        assert_eq!(field("CapEff:"), "0000000000000000");
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
        for text in [arguments, environment] {
            assert!(!String::from_utf8_lossy(&text).contains(server.embedded.key()));
        }
        server.embedded.stop().await;
    });
}
