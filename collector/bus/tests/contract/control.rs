//! Control state over a real transport: one winner, for everybody, for good.

use std::collections::BTreeMap;
use std::time::Duration;

use beffroi_bus::control::{Control, Loss, Outcome};
use beffroi_bus::{Bus, Outgoing, Topic};
use beffroi_schema::AgentId;
use beffroi_schema::batch::HostInfo;
use beffroi_schema::control::{AgentEnrolled, Change, TokenCreated};
use tokio_util::sync::CancellationToken;

use crate::harness::{Harness, PATIENCE};

fn token(uses: u32) -> Change {
    Change::TokenCreated(TokenCreated {
        token_id: "t".into(),
        secret_hash: "h".into(),
        tenant: "interieur".into(),
        uses,
        expires: i64::MAX,
        cidrs: vec![],
        labels: BTreeMap::new(),
    })
}

fn host(number: u32) -> AgentEnrolled {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    AgentEnrolled {
        agent_id: AgentId::of_public_key(&key),
        public_key: key.iter().map(|b| format!("{b:02x}")).collect(),
        tenant: "interieur".into(),
        token_id: "t".into(),
        labels: BTreeMap::new(),
        host: HostInfo::default(),
        remote: "127.0.0.1:1".into(),
    }
}

/// Control that stops when it is dropped.
struct Running(Control, CancellationToken);

impl Drop for Running {
    fn drop(&mut self) {
        self.1.cancel();
    }
}

async fn start(bus: &Bus) -> Running {
    let stop = CancellationToken::new();
    let control = Control::start(bus.clone(), stop.clone()).await.expect("control");
    let ready = tokio::time::timeout(PATIENCE, control.wait_ready()).await.expect("ready in time");
    assert!(ready && control.ready());
    Running(control, stop)
}

pub async fn of_a_thousand_hosts_with_a_token_for_one_exactly_one_wins(harness: &Harness) {
    let bus = harness.open().await;
    let control = start(&bus).await;
    assert_eq!(control.0.submit("alice", token(1)).await.expect("token"), Outcome::Won);
    let asks = (0..1000).map(|number| control.0.submit("enroll", Change::AgentEnrolled(host(number))));
    let outcomes = futures::future::join_all(asks).await;
    let count = |wanted: &Outcome| outcomes.iter().filter(|o| o.as_ref().is_ok_and(|o| o == wanted)).count();
    assert_eq!((count(&Outcome::Won), count(&Outcome::Lost(Loss::TokenUsedUp))), (1, 999));
    assert_eq!(control.0.read(|state| state.agents().count()), 1);
}

pub async fn state_is_the_same_after_a_restart_and_for_every_reader(harness: &Harness) {
    let bus = harness.open().await;
    let (a, b) = (start(&bus).await, start(&bus).await);
    a.0.submit("alice", token(2)).await.expect("token");
    b.0.submit("enroll", Change::AgentEnrolled(host(1))).await.expect("host");
    let revoke = Change::AgentRevoked { agent_id: host(1).agent_id, reason: "lost".into() };
    assert_eq!(a.0.submit("bob", revoke).await.expect("revoked"), Outcome::Won);
    let again = b.0.submit("enroll", Change::AgentEnrolled(host(1))).await.expect("answered");
    assert_eq!(again, Outcome::Lost(Loss::AgentRevoked));
    let last = b.0.read(|state| state.applied());
    let mut changed = a.0.changed();
    while a.0.read(|state| state.applied()) < last {
        tokio::time::timeout(PATIENCE, changed.changed()).await.expect("in time").expect("running");
    }
    let state = a.0.read(Clone::clone);
    assert_eq!(b.0.read(Clone::clone), state);
    assert_eq!(state.revocation(&host(1).agent_id).map(|r| r.by.as_str()), Some("bob"));
    drop((a, b));
    bus.close().await;
    let bus = harness.open().await;
    assert_eq!(start(&bus).await.0.read(Clone::clone), state);
}

pub async fn what_is_no_control_record_is_skipped(harness: &Harness) {
    let bus = harness.open().await;
    for junk in ["", "{", r#"{"record_id":"1","ts":1,"by":"x","kind":"hunt_started"}"#, "\u{0}\u{0}"] {
        bus.publish(Topic::Control, Outgoing::new("k", junk)).await.expect("published");
    }
    let control = start(&bus).await;
    assert_eq!(control.0.submit("alice", token(1)).await.expect("token"), Outcome::Won);
    control.1.cancel();
    let mut changed = control.0.changed();
    let _ = tokio::time::timeout(Duration::from_millis(1), changed.changed()).await;
    assert!(control.0.submit("alice", token(2)).await.is_err(), "nothing is promised after the end");
}
