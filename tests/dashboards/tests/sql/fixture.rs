//! What the dashboards are asked about: two tenants with hosts that are well, silent, wrong about the time or hostile, and
//! rows of every kind that a panel draws. Everything goes over the bus and is written by the store itself.

use beffroi_bus::{Bus, Outgoing, Topic};
use beffroi_schema::alert::{Attack, DeadLetter, Level};
use beffroi_schema::batch::{Gap, GapReason, Heartbeat, HookState, Record, StreamHead};
use beffroi_schema::{BatchHash, Stream, wire};

use crate::support::{Agent, Engine, Rig, execs, found, now, outgoing};

const MINUTE: i64 = 60_000_000;
/// A name that would end a string of SQL and begin another condition, did anything build SQL of it.
pub const HOSTILE: &str = "\\') OR 1=1 --";

/// The store with everything in it.
pub async fn fill(engine: &Engine) -> Rig {
    let rig = Rig::start(engine.options()).await;
    rig.ready().await;
    let (bus, now) = (&rig.bus, now());
    well(bus, now).await;
    silent(bus, now).await;
    hostile(bus, now).await;
    alerts(bus, now).await;
    dead_letters(bus, now).await;
    for (topic, group) in beffroi_store::consumer_groups() {
        rig.caught_up(topic, &group).await;
    }
    rig
}

/// A host that sends everything, with one hook off and a declared loss of each kind.
async fn well(bus: &Bus, now: i64) {
    let mut agent = named(1, "interieur", "pc-well");
    let exec = agent.batch(Stream::Exec, execs(20));
    agent.send(bus, &exec, now - 2 * MINUTE).await;
    let mut records = vec![beat(now - 3 * MINUTE, 1), beat(now - 3 * MINUTE + 10_000_000, 2)];
    records.push(lost(GapReason::KernelDrop, "exec", Some(17), now - 5 * MINUTE, now - 4 * MINUTE));
    records.push(lost(GapReason::Stopped, "sensor", None, now - 30 * MINUTE, now - 20 * MINUTE));
    let detection = agent.batch(Stream::Detection, records);
    agent.send(bus, &detection, now - 2 * MINUTE).await;
}

async fn silent(bus: &Bus, now: i64) {
    let mut agent = named(2, "sante", "pc-silent");
    let exec = agent.batch(Stream::Exec, execs(5));
    agent.send(bus, &exec, now - 90 * MINUTE).await;
}

/// A host whose clock is two hours behind and whose name is an attack.
async fn hostile(bus: &Bus, now: i64) {
    let mut agent = named(3, "sante", HOSTILE);
    let detection = agent.batch(Stream::Detection, vec![beat(now - 120 * MINUTE, 1), beat(now - 119 * MINUTE, 2)]);
    agent.send(bus, &detection, now - MINUTE).await;
}

fn named(number: u8, tenant: &str, name: &str) -> Agent {
    let mut agent = Agent::new(number, tenant);
    agent.host.hostname = name.into();
    agent.host.agent_version = format!("0.{number}.0");
    agent
}

fn beat(ts: i64, turn: u64) -> Record {
    let hook =
        |name: &str, on: bool, why: &str| HookState { name: name.into(), on, why: why.into(), seen: 100 * turn, dropped: turn };
    Record::Heartbeat(Heartbeat {
        seq: 0,
        ts,
        heads: vec![StreamHead { stream: Stream::Exec, last_seq: 20, last_hash: BatchHash::default() }],
        hooks: vec![hook("exec", true, ""), hook("file_open", false, "the kernel refuses it")],
        counters: vec![("ring_dropped".into(), turn)],
        spool_bytes: 4096 * turn,
        spool_oldest: ts - MINUTE,
        cpu_us: 50_000 * turn,
        rss_bytes: 40 << 20,
        policy_version: 0,
    })
}

fn lost(reason: GapReason, hook: &str, count: Option<u64>, from: i64, to: i64) -> Record {
    Record::Gap(Gap { seq: 0, ts: to, reason, hook: hook.into(), count, from, to, evicted: None })
}

/// An alert of every level.
async fn alerts(bus: &Bus, now: i64) {
    for (number, level) in (1u64..).zip(Level::ALL) {
        let agent = Agent::new(if number % 2 == 0 { 2 } else { 1 }, if number % 2 == 0 { "sante" } else { "interieur" });
        let mut alert = found(&agent.tenant, agent.id(), &format!("rule-{number}"), number, now - number as i64 * MINUTE);
        alert.rule.level = level;
        alert.rule.attack = vec![Attack { id: "T1059.004".into(), name: "Unix Shell".into() }];
        alert.host.info.hostname = if number % 2 == 0 { HOSTILE.into() } else { "pc-well".into() };
        bus.publish(Topic::Alerts, outgoing(&alert)).await.expect("published");
    }
}

async fn dead_letters(bus: &Bus, now: i64) {
    for (offset, index) in [(7, None), (9, Some(3))] {
        let letter = DeadLetter {
            topic: wire::TOPIC_EVENTS.into(),
            partition: 0,
            offset,
            index,
            code: "signature".into(),
            reason: "the batch was altered or forged".into(),
            ts: now - MINUTE,
            tenant: "sante".into(),
            key: "00".repeat(16),
            headers: Default::default(),
            value: String::new(),
        };
        let value = serde_json::to_vec(&letter).expect("a letter is JSON");
        bus.publish(Topic::DeadLetters, Outgoing::new("key", value)).await.expect("published");
    }
}
