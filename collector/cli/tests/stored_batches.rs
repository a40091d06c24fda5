//! Batches as the collector stores them, judged offline: what a host signed is what rules see.
#![allow(clippy::unwrap_used, reason = "a scratch folder that cannot be used must end its test")]

mod common;

use std::path::PathBuf;

use beffroi_schema::batch::{BatchBuilder, Header, HostInfo, Record};
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

/// A batch of starts of shells, one for each parent, signed by a host.
fn batch(host: &str, parents: &[&str]) -> Vec<u8> {
    let key = SigningKey::from_bytes(&[host.len() as u8; 32]);
    let mut builder = BatchBuilder::new(&HostInfo { hostname: host.into(), ..HostInfo::default() });
    for (number, parent) in parents.iter().enumerate() {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, BEGIN_US + number as i64 * 1_000_000);
        event.set(Field::IMAGE, "/bin/sh").set(Field::PARENT_IMAGE, *parent);
        event.seq = number as u64 + 1;
        builder.push(&Record::Event(event));
    }
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
        let ran = Ran::of(
            beffroi(&["detect", "--format", "events", "-o", "ndjson", "-r"]).arg(self.path("rules.yml")).arg(self.path("in")),
        );
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
