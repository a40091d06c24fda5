//! Signed orders from a gateway to a real agent and back as events: obeyed once, under the pinned root, whatever else comes.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use beffroi_agent::clock::now_us;
use beffroi_agent::identity::Enrolment;
use beffroi_agent::layout::{Layout, read_json};
use beffroi_agent::orders::OrderState;
use beffroi_agent::status::SensorStatus;
use beffroi_schema::batch::{Envelope, Record};
use beffroi_schema::down::{
    CancelOrder, Grant, OperatorKey, Order, ROLE_SCAN, ScanOrder, SignedKind, Target, blob_name, certify, order,
    root_certificate, sign,
};
use beffroi_schema::{Category, Epoch, Event, Field, OrderId};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prost::Message;
use support::{FakeGateway, until};

const MINUTE: i64 = 60_000_000;
/// Slower than any budget of one file.
const ENDLESS: &[u8] = b"rule Endless { condition: for all i in (1..9000000000) : ( i > 0 ) }\n";
const RULE: &[u8] = b"rule Marker { strings: $a = \"beffroi-harmless-marker\" condition: $a }\n";

/// A root with one operator of tenant `interieur`.
struct Csirt {
    root: OperatorKey,
    root_certificate: Vec<u8>,
    operator: OperatorKey,
}

impl Csirt {
    fn new() -> Self {
        let root = OperatorKey::generate_p256().unwrap();
        let life = (now_us() - MINUTE, now_us() + 1_000 * MINUTE);
        let root_certificate = root_certificate(&root, "Racine", life.0, life.1).unwrap().encode_to_vec();
        Self { root, root_certificate, operator: OperatorKey::generate_ed25519().unwrap() }
    }

    fn sign(&self, order: &Order) -> Vec<u8> {
        let grant = Grant {
            name: "Alice".into(),
            tenants: vec!["interieur".into()],
            roles: vec![ROLE_SCAN.into()],
            not_before: now_us() - MINUTE,
            not_after: now_us() + 100 * MINUTE,
            version: 1,
        };
        let certificate = certify(&self.root, self.root_certificate.clone(), &self.operator.public_key(), grant).unwrap();
        sign(SignedKind::Order, order, &self.operator, certificate.encode_to_vec()).unwrap().encode_to_vec()
    }
}

fn order(seed: u8, enrolment: &Enrolment, action: order::Action) -> Order {
    Order {
        order_id: vec![seed; 16],
        target: Some(Target {
            tenant: enrolment.tenant.clone(),
            agent_ids: vec![enrolment.agent_id.0.to_vec()],
            whole_tenant: false,
        }),
        issued: now_us(),
        expires: now_us() + 15 * MINUTE,
        action: Some(action),
        ..Default::default()
    }
}

fn scan(seed: u8, enrolment: &Enrolment, folder: &Path) -> Order {
    scan_with(RULE, seed, enrolment, folder)
}

fn scan_with(rule: &[u8], seed: u8, enrolment: &Enrolment, folder: &Path) -> Order {
    let scan = ScanOrder {
        rules_sha256: vec![blob_name(rule).to_vec()],
        paths: vec![folder.to_str().unwrap().into()],
        recursive: true,
        ..Default::default()
    };
    order(seed, enrolment, order::Action::Scan(scan))
}

fn cancel(seed: u8, enrolment: &Enrolment, target: u8) -> Order {
    order(seed, enrolment, order::Action::Cancel(CancelOrder { order_id: vec![target; 16] }))
}

/// The agent, killed when the test ends early.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Rig {
    gateway: Arc<FakeGateway>,
    csirt: Csirt,
    layout: Layout,
    enrolment: Enrolment,
    folder: PathBuf,
    _dir: tempfile::TempDir,
    _agent: Agent,
}

impl Rig {
    /// An enrolled agent under the CSIRT's root, running; `prepare` makes the tree that will be scanned.
    async fn start(prepare: impl FnOnce(&Path)) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let (gateway, csirt) = (FakeGateway::start("CA").await, Csirt::new());
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let folder = dir.path().join("srv");
        std::fs::create_dir(&folder).unwrap();
        prepare(&folder);
        // The server would like to be the root itself; the token decides.
        gateway.book.lock().unwrap().root = "ab".repeat(32);
        let state = dir.path().join("state");
        let (layout, enrolment) = gateway.enrol_under(&state, &csirt.root.key_id().to_string()).await;
        let config = dir.path().join("agent.toml");
        // A scan of /proc needs no privilege, so that this test runs everywhere.
        std::fs::write(&config, "[sensor]\nsource = \"scan\"\n[scan]\nenabled = false\n").unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_beffroi-agent"));
        command.arg("--config").arg(&config).arg("--state").arg(&state).arg("run").stdin(Stdio::null());
        let agent = Agent(command.spawn().unwrap());
        Self { gateway, csirt, layout, enrolment, folder, _dir: dir, _agent: agent }
    }

    fn send(&self, envelopes: impl IntoIterator<Item = Vec<u8>>) {
        self.gateway.book.lock().unwrap().down.extend(envelopes);
    }

    fn publish(&self, rule: &[u8]) {
        self.gateway.book.lock().unwrap().texts.insert(hex::encode(blob_name(rule)), rule.to_vec());
    }

    fn sign(&self, order: &Order) -> Vec<u8> {
        self.csirt.sign(order)
    }

    /// Every record that the gateway has acknowledged, with its epoch.
    fn records(&self) -> Vec<(Epoch, Record)> {
        let accepted = self.gateway.book.lock().unwrap().accepted.clone();
        let batches = accepted.iter().map(|bytes| Envelope::parse(bytes).unwrap());
        let records = |batch: Envelope| {
            let epoch = batch.header.epoch;
            batch.decode().unwrap().records.into_iter().map(move |record| (epoch, record))
        };
        batches.flat_map(records).collect()
    }

    /// Every event about orders that the gateway has acknowledged.
    fn events(&self) -> Vec<Event> {
        let events = self.records().into_iter().filter_map(|(_, record)| match record {
            Record::Event(event) => Some(event),
            _ => None,
        });
        events.filter(|event| [Category::Scan, Category::Antivirus].contains(&event.logsource.category)).collect()
    }

    fn answers(&self, seed: u8) -> Vec<String> {
        let id = OrderId([seed; 16]).to_string();
        let of_order = self.events().into_iter().filter(|event| event.text(Field::ORDER_ID) == id);
        of_order
            .filter(|event| event.logsource.category == Category::Scan)
            .map(|event| event.text(Field::ACTION).into_owned())
            .collect()
    }

    async fn until_answered(&self, seed: u8, action: &str) {
        until(&format!("{action} of order {seed}"), || self.answers(seed).iter().any(|answer| answer == action).then_some(()))
            .await;
    }

    fn sensor(&self) -> Option<SensorStatus> {
        read_json(&self.layout.sensor_status()).ok().flatten().filter(|status: &SensorStatus| status.running)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_scan_is_obeyed_once_and_nothing_else_that_comes_with_it() {
    let rig = Rig::start(|folder| {
        std::fs::write(folder.join("good.txt"), "nothing").unwrap();
        std::fs::write(folder.join("bad.jsp"), "a beffroi-harmless-marker b").unwrap();
        nix::unistd::mkfifo(&folder.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    })
    .await;
    assert_eq!(rig.enrolment.root(), Some(rig.csirt.root.key_id()), "the token decides, not the server");
    rig.publish(RULE);
    let good = rig.sign(&scan(1, &rig.enrolment, &rig.folder));
    let mut altered = rig.sign(&scan(2, &rig.enrolment, &rig.folder));
    let place = altered.windows(16).position(|bytes| bytes == [2; 16]).unwrap();
    altered[place..place + 16].fill(3);
    let expired = Order { issued: now_us() - 20 * MINUTE, expires: now_us() - MINUTE, ..scan(4, &rig.enrolment, &rig.folder) };
    let foreign = Enrolment { tenant: "justice".into(), ..rig.enrolment.clone() };
    let other_host = Enrolment { agent_id: Default::default(), ..rig.enrolment.clone() };
    rig.send([
        b"garbage".to_vec(),
        Csirt::new().sign(&scan(5, &rig.enrolment, &rig.folder)),
        altered,
        rig.sign(&expired),
        rig.sign(&scan(6, &foreign, &rig.folder)),
        rig.sign(&scan(7, &other_host, &rig.folder)),
        good.clone(),
        good,
    ]);
    rig.until_answered(1, "done").await;
    let reason = |seed: u8| {
        let id = OrderId([seed; 16]).to_string();
        let events = rig.events();
        let of_order = events.iter().find(|event| event.text(Field::ORDER_ID) == id);
        of_order.map(|event| event.text(Field::REASON).split(':').next().unwrap().to_owned()).unwrap_or_default()
    };
    let found = [3, 4, 5, 6, 7].map(reason);
    assert_eq!(found, ["bad_signature", "expired", "unknown_operator", "other_tenant", "other_host"]);
    let answers = rig.answers(1);
    assert_eq!(answers.iter().filter(|answer| *answer == "accepted").count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| *answer == "done").count(), 1, "{answers:?}");
    let events = rig.events();
    let hits: Vec<&Event> = events.iter().filter(|event| event.logsource.category == Category::Antivirus).collect();
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].text(Field::SIGNATURE), "Marker");
    assert!(hits[0].text(Field::FILENAME).ends_with("/srv/bad.jsp") && hits[0].text(Field::ORDER_ID) == "01".repeat(16));
    let done = events.iter().find(|event| event.text(Field::ACTION) == "done").unwrap();
    let figures = [Field::FILES_SCANNED, Field::FILES_MATCHED, Field::FILES_SKIPPED].map(|field| done.text(field).into_owned());
    assert_eq!(figures, ["2", "1", "1"]);
    let pipe = events.iter().find(|event| event.text(Field::ACTION) == "unknown").unwrap();
    assert!(pipe.text(Field::TARGET_FILENAME).ends_with("/srv/pipe") && pipe.text(Field::REASON).contains("named pipe"));
    until("the report", || rig.sensor().filter(|status| status.orders.repeated == 1 && status.orders.accepted == 1)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancellation_that_comes_first_wins_and_the_cursor_survives_the_uplink() {
    let rig = Rig::start(|_| {}).await;
    rig.publish(RULE);
    rig.send([rig.sign(&cancel(11, &rig.enrolment, 1)), rig.sign(&scan(1, &rig.enrolment, &rig.folder))]);
    rig.until_answered(1, "cancelled").await;
    assert_eq!(rig.answers(1), ["accepted", "cancelled"]);
    assert_eq!(rig.answers(11), ["accepted", "done"]);
    let status: beffroi_agent::uplink::UplinkStatus = read_json(&rig.layout.uplink_status()).unwrap().unwrap();
    kill(Pid::from_raw(status.pid.cast_signed()), Signal::SIGKILL).unwrap();
    rig.send([rig.sign(&scan(2, &rig.enrolment, &rig.folder))]);
    rig.until_answered(2, "done").await;
    let sensor = until("the report", || rig.sensor().filter(|status| status.orders.accepted == 3)).await;
    assert_eq!(sensor.orders.repeated, 0, "what was handed in before came again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_for_which_no_worker_can_be_had_has_failed_and_is_not_done() {
    const BROKEN: &[u8] = b"rule Broken { condition: nothing }\n";
    let rig = Rig::start(|_| {}).await;
    rig.publish(BROKEN);
    rig.send([rig.sign(&scan_with(BROKEN, 1, &rig.enrolment, &rig.folder))]);
    rig.until_answered(1, "failed").await;
    assert_eq!(rig.answers(1), ["accepted", "failed"]);
    let events = rig.events();
    let failed = events.iter().find(|event| event.text(Field::ACTION) == "failed").unwrap();
    assert!(failed.text(Field::REASON).starts_with("nothing was scanned: the scan worker cannot work"), "{failed:?}");
    assert_eq!(failed.text(Field::FILES_SCANNED), "0");
    until("an empty book", || rig.sensor().filter(|status| status.orders.pending.is_empty())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_enrolled_again_under_another_root_obeys_that_one_without_being_restarted() {
    let rig = Rig::start(|_| {}).await;
    let before = until("the sensor", || rig.sensor()).await;
    let other = Csirt::new();
    rig.publish(RULE);
    let (_, enrolment) = rig.gateway.enrol_under(rig.layout.root(), &other.root.key_id().to_string()).await;
    assert_eq!(enrolment.agent_id, rig.enrolment.agent_id);
    rig.send([other.sign(&scan(1, &enrolment, &rig.folder)), rig.sign(&scan(2, &rig.enrolment, &rig.folder))]);
    rig.until_answered(1, "done").await;
    rig.until_answered(2, "refused").await;
    assert_eq!((rig.answers(1), rig.answers(2)), (vec!["accepted".into(), "done".into()], vec!["refused".to_owned()]));
    let after = until("another sensor", || rig.sensor().filter(|status| status.pid != before.pid)).await;
    let start = rig.records().into_iter().find_map(|(epoch, record)| match record {
        Record::EpochStart(start) if epoch == after.epoch => start.previous,
        _ => None,
    });
    assert!(start.is_some_and(|previous| previous.epoch == before.epoch && previous.clean_stop), "the sensor before drained");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_survives_sensors_killed_while_it_waits_and_while_it_runs() {
    let rig = Rig::start(|folder| std::fs::write(folder.join("a.jsp"), "beffroi-harmless-marker").unwrap()).await;
    rig.send([rig.sign(&scan(1, &rig.enrolment, &rig.folder))]);
    rig.until_answered(1, "accepted").await;
    until("a request for the rules", || (rig.gateway.book.lock().unwrap().texts_missed > 0).then_some(())).await;
    let first = until("the sensor", || rig.sensor()).await;
    kill(Pid::from_raw(first.pid.cast_signed()), Signal::SIGKILL).unwrap();
    let second = until("another sensor", || rig.sensor().filter(|status| status.pid != first.pid)).await;
    rig.publish(RULE);
    rig.until_answered(1, "done").await;
    assert_eq!(rig.answers(1), ["accepted", "done"]);
    assert!(rig.events().iter().any(|event| event.logsource.category == Category::Antivirus));
    // Now one that does not end by itself, so that it is certain to be killed in the middle.
    rig.publish(ENDLESS);
    rig.send([rig.sign(&scan_with(ENDLESS, 2, &rig.enrolment, &rig.folder))]);
    let runs = |not: u32| {
        let status = rig.sensor().filter(|status| status.pid != not)?;
        status.orders.pending.first().is_some_and(|order| order.state == OrderState::Running).then_some(status.pid)
    };
    let running = until("the scan", || runs(0)).await;
    assert_eq!(running, second.pid);
    kill(Pid::from_raw(running.cast_signed()), Signal::SIGKILL).unwrap();
    until("the scan in another sensor", || runs(running)).await;
    rig.send([rig.sign(&cancel(3, &rig.enrolment, 2))]);
    rig.until_answered(2, "cancelled").await;
    assert_eq!(rig.answers(2), ["accepted", "cancelled"]);
}
