//! What the store promises about rows: none missing, none visible twice, whatever is repeated, killed or absent.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::time::Duration;

use beffroi_bus::Topic;
use beffroi_schema::{Stream, wire};
use beffroi_store::{EventSearch, Found, TenantScope};
use support::{Agent, Engine, Rig, exec, execs, now, until};

const GROUP: &str = wire::GROUP_STORE;

async fn total(rig: &Rig) -> u64 {
    let search = EventSearch { count: true, ..EventSearch::default() };
    match rig.store().search(&TenantScope::all(), &search).await.unwrap() {
        Found::Total(total) => total,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_batch_adds_no_row() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(1, "a");
    let batch = agent.batch(Stream::Exec, execs(50));
    agent.send(&rig.bus, &batch, now()).await;
    rig.caught_up(Topic::Events, GROUP).await;
    // The agent did not get its 202 and sends again, after midnight.
    agent.send(&rig.bus, &batch, now()).await;
    agent.send(&rig.bus, &batch, now() - 86_400_000_000).await;
    rig.caught_up(Topic::Events, GROUP).await;
    assert_eq!(total(&rig).await, 50);
    // The same events in other batches, as after "split it".
    let half = execs(2);
    let (first, ..) = agent.batch_from(Stream::File, half.clone(), 1, Default::default());
    let (one, _, hash) = agent.batch_from(Stream::File, half[..1].to_vec(), 1, Default::default());
    let (two, ..) = agent.batch_from(Stream::File, half[1..].to_vec(), 2, hash);
    for batch in [first, one, two] {
        agent.send(&rig.bus, &batch, now()).await;
    }
    rig.caught_up(Topic::Events, GROUP).await;
    assert_eq!(total(&rig).await, 52);
    assert!(rig.store().conflicts(&TenantScope::all()).await.unwrap().is_empty());
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_inserted_again_after_a_crash_before_its_commit_adds_no_row_not_even_a_hidden_one() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(2, "a");
    let batch = agent.batch(Stream::Exec, execs(20));
    agent.send(&rig.bus, &batch, now()).await;
    rig.caught_up(Topic::Events, GROUP).await;
    rig.halt().await;
    let hidden = engine.number("SELECT count() FROM events").await;
    assert_eq!(hidden, 20);
    // Else a merge might hide what was written twice.
    engine.sql("SYSTEM STOP MERGES events").await;
    // The crash: the offset stands where it stood before the insert, with the intent beside it.
    let mut consumer = rig.bus.subscribe(Topic::Events, GROUP).await.unwrap();
    let _nothing = consumer.poll(10, 1 << 20, Duration::from_millis(300)).await.unwrap();
    let lag = rig.bus.lag(Topic::Events, GROUP).await.unwrap();
    let moved = lag.iter().find(|lag| lag.end > 0).unwrap();
    consumer.commit(moved.partition, 0, r#"{"v":1,"first":0,"last":0}"#).await.unwrap();
    drop(consumer);
    let more = agent.batch(Stream::Exec, execs(5));
    agent.send(&rig.bus, &more, now()).await;
    rig.go();
    rig.caught_up(Topic::Events, GROUP).await;
    assert_eq!(engine.number("SELECT count() FROM events").await, 25, "the token was the same, so nothing was written twice");
    assert_eq!(total(&rig).await, 25);
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_the_engine_in_mid_stream_loses_and_doubles_nothing() {
    let Some(mut engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(3, "a");
    let mut sent = 0;
    for round in 0..4 {
        for _ in 0..10 {
            let batch = agent.batch(Stream::Exec, execs(500));
            agent.send(&rig.bus, &batch, now()).await;
            sent += 500;
        }
        if round < 3 {
            // In the middle of what was just sent, wherever that is.
            tokio::time::sleep(Duration::from_millis(60 + 40 * round)).await;
            engine.kill();
            engine.restart();
        }
    }
    rig.caught_up(Topic::Events, GROUP).await;
    assert_eq!(total(&rig).await, sent);
    assert!(rig.store().conflicts(&TenantScope::all()).await.unwrap().is_empty());
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clickhouse_may_come_after_the_store_and_go_again() {
    let Some(mut engine) = Engine::start() else { return };
    let options = engine.options();
    engine.kill();
    let mut rig = Rig::start(options).await;
    let mut agent = Agent::new(4, "a");
    for _ in 0..3 {
        let batch = agent.batch(Stream::Exec, execs(10));
        agent.send(&rig.bus, &batch, now()).await;
    }
    let health = || rig.handle.as_ref().unwrap().health();
    until("health names the reason", || async { !health().ready && health().detail.contains("ClickHouse does not answer") })
        .await;
    let waiting: i64 = rig.bus.lag(Topic::Events, GROUP).await.unwrap().iter().map(|lag| lag.records()).sum();
    assert_eq!(waiting, 3, "the bus keeps what comes");
    engine.restart();
    rig.ready().await;
    rig.caught_up(Topic::Events, GROUP).await;
    assert_eq!(total(&rig).await, 30);
    engine.kill();
    until("health sees that ClickHouse has gone", || async { !health().ready }).await;
    engine.restart();
    rig.ready().await;
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_id_with_another_content_stands_apart_and_is_told() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let agent = Agent::new(5, "a");
    let (one, ..) = agent.batch_from(Stream::Exec, vec![exec(now(), "/bin/a", "honest")], 1, Default::default());
    let (two, ..) = agent.batch_from(Stream::Exec, vec![exec(now(), "/bin/a", "forged")], 1, Default::default());
    agent.send(&rig.bus, &one, now()).await;
    agent.send(&rig.bus, &two, now()).await;
    rig.caught_up(Topic::Events, GROUP).await;
    assert_eq!(total(&rig).await, 2);
    let conflicts = rig.store().conflicts(&TenantScope::all()).await.unwrap();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].event_id, format!("{}-{}-1-1", agent.id(), agent.epoch));
    assert!(rig.store().conflicts(&TenantScope::only(["b"])).await.unwrap().is_empty());
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_of_1970_and_2090_neither_open_partitions_nor_lose_rows() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(6, "a");
    let year = 365 * 86_400_000_000i64;
    let clocks = [0, 120 * year, i64::MIN, i64::MAX, -1];
    let mut records: Vec<_> = clocks.iter().map(|ts| exec(*ts, "/bin/x", "x")).collect();
    records.extend((0..300).map(|day| exec(day * 86_400_000_000, "/bin/x", "x")));
    let batch = agent.batch(Stream::Exec, records);
    agent.send(&rig.bus, &batch, now()).await;
    rig.caught_up(Topic::Events, GROUP).await;
    assert_eq!(total(&rig).await, 305);
    engine.sql("OPTIMIZE TABLE events FINAL").await;
    assert_eq!(total(&rig).await, 305, "life follows the gateway's clock");
    assert_eq!(engine.number("SELECT uniqExact(partition) FROM system.parts WHERE active AND table = 'events'").await, 1);
    assert_eq!(engine.number("SELECT count() FROM events WHERE clock_suspect").await, 305);
    assert_eq!(engine.number(&format!("SELECT count() FROM events WHERE extra['ts_us'] = '{}'", i64::MIN)).await, 1);
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_whose_clock_jumps_through_the_years_stops_nothing() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(7, "a");
    for day in 0..120i64 {
        let batch = agent.batch(Stream::Exec, execs(1));
        let clock = match day % 40 {
            7 => i64::MIN,
            8 => i64::MAX,
            _ => now() - day * 86_400_000_000,
        };
        agent.send(&rig.bus, &batch, clock).await;
    }
    rig.caught_up(Topic::Events, GROUP).await;
    // Rows older than their life vanish by design; what is younger stands.
    assert!(engine.number("SELECT count() FROM events FINAL").await >= 80);
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_broken_or_foreign_batch_is_left_out_and_nothing_else_is_lost() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(8, "a");
    let good = agent.batch(Stream::Exec, execs(3));
    let mut forged = good.clone();
    let at = forged.len() - 80;
    forged[at] ^= 1;
    let key = agent.id().to_string();
    support::send_as(&rig.bus, "a", &key, &forged, now()).await;
    support::send_as(&rig.bus, "a", &key, b"no batch at all", now()).await;
    support::send_as(&rig.bus, "other-tenant", &key, &good, now()).await;
    agent.send(&rig.bus, &good, now()).await;
    rig.caught_up(Topic::Events, GROUP).await;
    assert_eq!(total(&rig).await, 3);
    assert_eq!(engine.number("SELECT count() FROM events WHERE tenant != 'a'").await, 0);
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_that_no_agent_declared_is_found_and_closes_when_it_is_filled() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(9, "a");
    // A minute ago: older than the grace.
    let then = now() - 60_000_000;
    let one = agent.batch(Stream::Exec, execs(5));
    let lost = agent.batch(Stream::Exec, execs(4));
    let two = agent.batch(Stream::Exec, execs(5));
    agent.send(&rig.bus, &one, then).await;
    agent.send(&rig.bus, &two, then).await;
    rig.caught_up(Topic::Events, GROUP).await;
    let holes = rig.store().holes(&TenantScope::all(), None, None).await.unwrap();
    assert_eq!(holes.iter().map(|hole| (hole.first_seq, hole.last_seq)).collect::<Vec<_>>(), [(6, 9)]);
    assert!(rig.store().holes(&TenantScope::only(["b"]), None, None).await.unwrap().is_empty());
    agent.send(&rig.bus, &lost, then).await;
    rig.caught_up(Topic::Events, GROUP).await;
    assert!(rig.store().holes(&TenantScope::all(), None, None).await.unwrap().is_empty());
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_tail_is_found_from_a_heartbeat_once_the_spool_is_empty() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let mut agent = Agent::new(10, "a");
    let then = now() - 60_000_000;
    let exec = agent.batch(Stream::Exec, execs(5));
    agent.send(&rig.bus, &exec, then).await;
    let beat = |ts, spool_oldest| support::heartbeat(ts, spool_oldest, vec![(Stream::Exec, 12)]);
    let waiting = agent.batch(Stream::Detection, vec![beat(then, then - 1_000_000)]);
    agent.send(&rig.bus, &waiting, then).await;
    rig.caught_up(Topic::Events, GROUP).await;
    assert!(rig.store().holes(&TenantScope::all(), None, None).await.unwrap().is_empty(), "what is in the spool is not missing");
    let empty = agent.batch(Stream::Detection, vec![beat(then + 1_000_000, 0)]);
    agent.send(&rig.bus, &empty, then).await;
    rig.caught_up(Topic::Events, GROUP).await;
    let holes = rig.store().holes(&TenantScope::all(), None, None).await.unwrap();
    assert_eq!(holes.iter().map(|hole| (hole.stream, hole.first_seq, hole.last_seq)).collect::<Vec<_>>(), [(1, 6, 12)]);
    rig.halt().await;
}
