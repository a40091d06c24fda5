//! Batches as the collector stores them, judged offline: what a host signed is what rules see.
#![allow(clippy::unwrap_used, reason = "a scratch folder that cannot be used must end its test")]

mod common;

use std::path::PathBuf;

use beffroi_schema::batch::{BatchBuilder, Gap, GapReason, Header, HostInfo, Record};
use beffroi_schema::{AgentId, BatchHash, Category, Epoch, Event, Field, Product, SigningKey, Stream};
use common::{Ran, beffroi};
use serde_json::Value;
use tempfile::TempDir;

/// 2026-11-21T10:00:00Z.
const BEGIN_US: i64 = 1_795_255_200_000_000;
const RULES: &str = "title: Shell of a web server\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b01\nname: shell\n\
    logsource: {category: process_creation, product: linux}\ndetection:\n  selection: {Image|endswith: /sh, ParentImage|endswith: /nginx}\n  \
    condition: selection\nlevel: high\n---\n\
    title: Shells of one host\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b02\ncorrelation:\n  type: event_count\n  rules: [shell]\n  \
    group-by: [Computer]\n  timespan: 1m\n  condition: {gte: 2}\n  generate: true\nlevel: critical\n";

/// A batch of starts of shells, one a second for each parent, signed by a host.
fn batch(host: &str, parents: &[&str]) -> Vec<u8> {
    let started = |(number, parent)| Record::Event(start(number as u64 + 1, parent));
    sealed(host, &parents.iter().copied().enumerate().map(started).collect::<Vec<_>>())
}

fn start(seq: u64, parent: &str) -> Event {
    let mut event = Event::new(Category::ProcessCreation, Product::Linux, BEGIN_US + (seq as i64 - 1) * 1_000_000);
    event.set(Field::IMAGE, "/bin/sh").set(Field::PARENT_IMAGE, parent);
    event.seq = seq;
    event
}

fn sealed(host: &str, records: &[Record]) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[host.len() as u8; 32]);
    let mut builder = BatchBuilder::new(&HostInfo { hostname: host.into(), ..HostInfo::default() });
    records.iter().for_each(|record| builder.push(record));
    let header = Header::unsealed(
        "interieur".into(),
        AgentId::of_public_key(&key.verifying_key().to_bytes()),
        Epoch::new(BEGIN_US.unsigned_abs(), 1),
        Stream::Exec,
        BatchHash::default(),
    );
    builder.seal(header, &key).unwrap().bytes
}

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        std::fs::write(desk.path("rules.yml"), RULES).unwrap();
        std::fs::create_dir(desk.path("in")).unwrap();
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Judges the folder of batches.
    fn judge(&self) -> (Ran, Vec<Value>) {
        self.judge_with(&[])
    }

    fn judge_with(&self, options: &[&str]) -> (Ran, Vec<Value>) {
        let mut command = beffroi(&["detect", "--format", "events", "-o", "ndjson", "-r"]);
        let ran = Ran::of(command.arg(self.path("rules.yml")).arg(self.path("in")).args(options));
        let rows = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (ran, rows)
    }
}

#[test]
fn a_stored_batch_is_judged_with_its_host_and_the_number_of_each_event() {
    let desk = Desk::new();
    std::fs::write(desk.path("in/1.batch"), batch("app-07", &["/usr/sbin/nginx", "/bin/login", "/usr/sbin/nginx"])).unwrap();
    std::fs::write(desk.path("in/2.batch"), batch("app-107", &["/usr/sbin/nginx"])).unwrap();
    let (ran, rows) = desk.judge();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let of = |row: &Value| {
        let file = row["file"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (file, row["record"].as_u64().unwrap(), row["computer"].as_str().unwrap().to_owned(), row["kind"].clone())
    };
    let wanted = [("1.batch", 1, "app-07"), ("1.batch", 3, "app-07"), ("2.batch", 1, "app-107")];
    let found: Vec<_> = rows.iter().take(3).map(of).collect();
    assert_eq!(found, wanted.map(|(file, record, host)| (file.into(), record, host.into(), "rule".into())));
    assert_eq!(rows[0]["event_time"], "2026-11-21T10:00:00.000000Z");
    assert!(rows[0]["event_id"].as_str().unwrap().ends_with("-1"), "{}", rows[0]);
    // Two shells on one host are a correlation; the third, at the same time, is another host's.
    assert_eq!((rows.len(), &rows[3]["kind"], &rows[3]["record"]), (4, &Value::from("correlation"), &Value::from(3)));
    assert!(rows[3]["group"]["Computer"].as_str().unwrap().starts_with("app-07 "), "{}", rows[3]);
}

#[test]
fn a_damaged_batch_is_told_and_the_others_are_read() {
    let desk = Desk::new();
    let whole = batch("app-07", &["/usr/sbin/nginx"]);
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    std::fs::write(desk.path("in/1-changed.batch"), changed).unwrap();
    std::fs::write(desk.path("in/2-cut.batch"), &whole[..whole.len() / 2]).unwrap();
    std::fs::write(desk.path("in/3-whole.batch"), &whole).unwrap();
    let (ran, rows) = desk.judge();
    assert_eq!((ran.code, rows.len()), (Some(3), 1), "{ran:?}");
    assert!(rows[0]["file"].as_str().unwrap().ends_with("3-whole.batch"), "{}", rows[0]);
    let told = |file: &str| ran.talk.lines().find(|line| line.contains(file)).unwrap_or_default().to_owned();
    for file in ["1-changed.batch", "2-cut.batch"] {
        assert!(told(file).contains(": batch: ") || told(file).contains(": format: "), "{}", ran.talk);
    }
    assert!(ran.talk.contains("1 events of 3 files"), "{}", ran.talk);
}

#[test]
fn events_keep_their_numbers_beside_other_records_and_are_chosen_by_their_time() {
    let desk = Desk::new();
    let gap = Gap {
        seq: 6,
        ts: BEGIN_US,
        reason: GapReason::KernelDrop,
        hook: "exec".into(),
        count: Some(1),
        from: 0,
        to: 1,
        evicted: None,
    };
    let events = [4, 5, 7, 8].map(|seq| Record::Event(start(seq, if seq == 5 { "/bin/login" } else { "/usr/sbin/nginx" })));
    let records = [&events[..2], &[Record::Gap(gap)], &events[2..]].concat();
    std::fs::write(desk.path("in/1.batch"), sealed("app-07", &records)).unwrap();
    let numbers = |rows: &[Value]| {
        rows.iter().filter(|row| row["kind"] == "rule").map(|row| row["record"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let (ran, rows) = desk.judge();
    assert_eq!(numbers(&rows), [1, 4, 5], "{rows:?}");
    assert!(ran.talk.contains("4 events of 1 files"), "{ran:?}");
    // Number 7 happened six seconds after the beginning, number 8 one more.
    let (ran, rows) = desk.judge_with(&["--since", "2026-11-21T10:00:04Z", "--until", "2026-11-21T10:00:07Z"]);
    assert_eq!(numbers(&rows), [4], "{rows:?}");
    assert!(ran.talk.contains("2 events of 1 files") && ran.talk.contains("2 events are outside"), "{ran:?}");
    let (ran, rows) = desk.judge_with(&["--since", "2026-11-22"]);
    assert!(rows.is_empty() && ran.talk.contains("0 events of 1 files") && ran.talk.contains("4 events are outside"), "{ran:?}");
}

#[test]
fn costs_are_measured_in_batches_too() {
    let desk = Desk::new();
    std::fs::write(desk.path("in/1.batch"), batch("app-07", &["/usr/sbin/nginx", "/bin/login", "/usr/sbin/nginx"])).unwrap();
    let ran = Ran::of(
        beffroi(&["rules", "cost", "--format", "events", "-o", "ndjson", "-r"]).arg(desk.path("rules.yml")).arg(desk.path("in")),
    );
    let rows: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((ran.code, rows.len()), (Some(0), 1), "{ran:?}");
    assert!(rows[0]["matches"] == 2 && rows[0]["looked"].as_u64().unwrap() >= 2, "{rows:?}");
}
