//! Passwords that are guessed on several hosts, and the rules that see it together.
#![allow(dead_code, clippy::unwrap_used, reason = "tests; each program uses a part")]

use std::time::{Duration, Instant};

use beffroi_bus::Outgoing;
use beffroi_detect::DetectHandle;
use beffroi_schema::batch::{BatchBuilder, Header, HostInfo, Record};
use beffroi_schema::{AgentId, BatchHash, Category, Epoch, Event, Field, Product, SigningKey, Stream, wire};

/// Longer than any step takes on a busy machine; a step that needs it has failed.
pub const LIMIT: Duration = Duration::from_secs(60);
pub const START: i64 = 1_795_255_200_000_000;
/// A hundredth of a second.
pub const TICK: i64 = 10_000;

/// Three wrong passwords of one user in an hour, wherever; `end` is a rule of its own that says that all is judged.
pub const RULES: &str = "title: Password guessing\nid: guessing\nlevel: high\n\
    correlation: {type: event_count, rules: [wrong], group-by: [User], timespan: 1h, condition: {gte: 3}}\n---\n\
    title: Wrong password\nid: wrong-id\nname: wrong\nlogsource: {category: process_creation, product: linux}\n\
    detection: {s: {CommandLine: wrong}, condition: s}\n---\n\
    title: End\nid: end\nlogsource: {category: process_creation, product: linux}\n\
    detection: {s: {CommandLine: end}, condition: s}\n";

/// A batch of one event of a host of a tenant, `tick` hundredths of a second after the beginning: batches of different hosts come in
/// any order, so those of one step lie closer together than events may be late.
pub fn batch(tenant: &str, host: u8, tick: i64, user: &str, command: &str) -> Outgoing {
    let key = SigningKey::from_bytes(&[host; 32]);
    let agent = AgentId::of_public_key(&key.verifying_key().to_bytes());
    let time = START + tick * TICK;
    let mut event = Event::new(Category::ProcessCreation, Product::Linux, time);
    event.seq = 1;
    event.set(Field::COMMAND_LINE, command).set(Field::USER, user);
    let mut builder = BatchBuilder::new(&HostInfo { hostname: format!("host-{host}"), ..Default::default() });
    builder.push(&Record::Event(event));
    // An epoch of its own for each batch: this test is not about chains.
    let header = Header::unsealed(tenant.into(), agent, Epoch::new(time as u64, 1), Stream::Exec, BatchHash::default());
    let stamp = |name: &str, value: String| (name.to_string(), value.into_bytes());
    Outgoing {
        key: agent.to_string().into_bytes(),
        headers: vec![stamp(wire::HEADER_RECEIVED_AT, time.to_string()), stamp(wire::HEADER_TENANT, tenant.into())],
        value: builder.seal(header, &key).unwrap().bytes.into(),
    }
}

/// A figure of the detector's health.
pub fn figure(detector: &DetectHandle, name: &str) -> Option<String> {
    detector.health().figures.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
}

/// Waits until a figure of the detector's health has this value.
pub async fn until(detector: &DetectHandle, name: &str, value: &str) {
    let deadline = Instant::now() + LIMIT;
    while figure(detector, name).as_deref() != Some(value) {
        assert!(Instant::now() < deadline, "{name} is {:?} and not {value}", figure(detector, name));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
