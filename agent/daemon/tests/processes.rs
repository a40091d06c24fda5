//! The agent as processes: a killed sensor comes back with a new epoch that names the old one, and a stop is a drain.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::collections::HashMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use beffroi_agent::layout::{Layout, read_json};
use beffroi_agent::status::SensorStatus;
use beffroi_log::{LogReader, Read};
use beffroi_schema::batch::{ChainHead, ChainState, Envelope, Record};
use beffroi_schema::{Epoch, Stream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::{FakeGateway, say, until};

/// The agent, killed when the test ends early.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn agent(state: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_beffroi-agent"));
    let config = state.with_extension("toml");
    // A scan of /proc needs no privilege, so that this test runs everywhere.
    std::fs::write(&config, "[sensor]\nsource = \"scan\"\n[scan]\nenabled = false\n").unwrap();
    command.arg("--config").arg(config).arg("--state").arg(state).args(arguments).stdin(Stdio::null());
    command
}

/// A folder that the uplink's user can reach.
fn folder() -> (tempfile::TempDir, std::path::PathBuf) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let state = dir.path().join("state");
    (dir, state)
}

fn sensor(layout: &Layout) -> Option<SensorStatus> {
    read_json(&layout.sensor_status()).ok().flatten()
}

/// The records of a stream on the spool, verified and chained, by epoch.
fn records(layout: &Layout, stream: Stream) -> Vec<(Epoch, Record)> {
    let mut reader = LogReader::open(layout.spool(stream)).unwrap();
    let mut heads: HashMap<Epoch, ChainHead> = HashMap::new();
    let mut records = Vec::new();
    while let Some(read) = reader.next().unwrap() {
        let Read::Record(record) = read else { panic!("{read:?}") };
        let envelope = Envelope::parse(&record.payload).unwrap();
        envelope.verify().unwrap();
        let (epoch, contents) = (envelope.header.epoch, envelope.decode().unwrap());
        match envelope.follows(heads.get(&epoch).copied(), &contents.records).unwrap() {
            ChainState::Follows(head) => heads.insert(epoch, head),
            other => panic!("{other:?}"),
        };
        records.extend(contents.records.into_iter().map(|record| (epoch, record)));
    }
    records
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sensor_comes_back_with_a_new_epoch_that_names_the_last_numbers() {
    let gateway = FakeGateway::start("CA").await;
    gateway.book.lock().unwrap().always = Some(say(503));
    let (_dir, state) = folder();
    let (layout, enrolment) = gateway.enrol(&state).await;
    let mut supervisor = Agent(agent(&state, &["run"]).spawn().unwrap());
    let first = until("the sensor", || sensor(&layout).filter(|status| status.running)).await;
    // Until something was recorded besides the epoch's beginning.
    until("an event", || (records(&layout, Stream::Detection).len() > 1).then_some(())).await;
    kill(Pid::from_raw(first.pid.cast_signed()), Signal::SIGKILL).unwrap();
    let second = until("another sensor", || sensor(&layout).filter(|status| status.running && status.pid != first.pid)).await;
    kill(Pid::from_raw(supervisor.0.id().cast_signed()), Signal::SIGTERM).unwrap();
    let ended = until("the stop", || supervisor.0.try_wait().unwrap()).await;
    assert!(ended.success(), "{ended}");
    for stream in Stream::ALL {
        let records = records(&layout, stream);
        let old = records.iter().filter(|(epoch, _)| *epoch == first.epoch).map(|(_, record)| record.seq()).max().unwrap();
        let start = records.iter().find_map(|(epoch, record)| match record {
            Record::EpochStart(start) if *epoch == second.epoch => Some(start.clone()),
            _ => None,
        });
        let previous = start.unwrap().previous.unwrap();
        assert_eq!((previous.epoch, previous.clean_stop), (first.epoch, false));
        let named = previous.heads.iter().find(|head| head.stream == stream).unwrap();
        assert_eq!(named.last_seq, old, "{stream}");
    }
    assert!(!sensor(&layout).unwrap().running, "the last word after a stop in order");
    assert!(gateway.book.lock().unwrap().keys.contains_key(&enrolment.agent_id));
    assert!(!gateway.book.lock().unwrap().answered.is_empty(), "the uplink never tried");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_arrives_whole_and_says_so_by_its_exit_code() {
    let gateway = FakeGateway::start("CA").await;
    let (dir, state) = folder();
    let (_layout, _) = gateway.enrol(&state).await;
    let file = dir.path().join("events.jsonl");
    let line = r#"{"ts":"2026-11-21T10:00:00Z","category":"process_creation","Image":"/bin/id","CommandLine":"id"}"#;
    std::fs::write(&file, format!("{}\n", vec![line; 500].join("\n"))).unwrap();
    let run = |file: &Path| {
        let mut command = agent(&state, &["replay", "--format", "jsonl", "--host", "ws-17"]);
        command.arg(file).status().unwrap().code()
    };
    assert_eq!(tokio::task::block_in_place(|| run(&file)), Some(0));
    std::fs::write(&file, format!("{line}\nno json\n")).unwrap();
    assert_eq!(tokio::task::block_in_place(|| run(&file)), Some(3));
    let book = gateway.book.lock().unwrap();
    let mut events = 0;
    for bytes in &book.accepted {
        let contents = Envelope::parse(bytes).unwrap().decode().unwrap();
        assert_eq!(contents.host.hostname, "ws-17");
        for record in contents.records {
            if let Record::Event(event) = record {
                assert!(event.replayed);
                events += 1;
            }
        }
    }
    assert_eq!(events, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_enrolled_is_told_what_to_do() {
    let (_dir, state) = folder();
    for command in [&["run"][..], &["sensor"], &["replay", "--format", "jsonl", "-"]] {
        let output = agent(&state, command).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains("enroll --token-file"), "{command:?}: {text}");
    }
    assert!(agent(&state, &["status", "--output", "json"]).output().unwrap().status.success());
}
