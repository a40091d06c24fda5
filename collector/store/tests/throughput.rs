//! How fast rows become readable: `cargo test --release -p beffroi-store --test throughput -- --ignored --nocapture`.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::time::Instant;

use beffroi_bus::Topic;
use beffroi_schema::batch::Record;
use beffroi_schema::{Category, Event, Field, Product, Stream, Value, wire};
use support::{Agent, Engine, Rig, now};

const AGENTS: usize = 20;
const BATCHES: usize = 200;
const EVENTS: usize = 1_000;

/// A process start as the sensor tells it: about thirty fields, six ancestors.
fn process(number: usize) -> Record {
    let mut event = Event::new(Category::ProcessCreation, Product::Linux, now());
    let parent = number % 97;
    for (field, text) in [
        (Field::IMAGE, format!("/usr/bin/tool-{}", number % 60)),
        (Field::COMMAND_LINE, format!("/usr/bin/tool-{} --in /srv/data/{number}.bin --verbose", number % 60)),
        (Field::PARENT_IMAGE, format!("/usr/bin/parent-{parent}")),
        (Field::PARENT_COMMAND_LINE, format!("/usr/bin/parent-{parent} run all")),
        (Field::USER, "builder".into()),
        (Field::LOGIN_USER, "alice".into()),
        (Field::CURRENT_DIRECTORY, "/srv/build".into()),
        (Field::PROCESS_GUID, format!("00000000-0000-8000-8000-{number:012}")),
        (Field::PARENT_PROCESS_GUID, format!("00000000-0000-8000-8000-{parent:012}")),
        (Field::SHA256, format!("{:064x}", number % 60)),
    ] {
        event.set(field, text);
    }
    for (field, value) in [
        (Field::PROCESS_ID, number as u64),
        (Field::PARENT_PROCESS_ID, parent as u64),
        (Field::UID, 1000),
        (Field::GID, 1000),
        (Field::EUID, 1000),
        (Field::LOGIN_UID, 1000),
        (Field::EXEC_SEQ, 1),
        (Field::LOGON_ID, 7),
    ] {
        event.set(field, value);
    }
    let list =
        |make: &dyn Fn(usize) -> String, count: usize| Value::List((0..count).map(|n| make(n).into_bytes().into()).collect());
    event.set(Field::ARGV, list(&|n| format!("argument-{n}"), 4));
    event.set(Field::ANCESTOR_GUIDS, list(&|n| format!("00000000-0000-8000-8000-{:012}", parent + n), 6));
    event.set(Field::ANCESTOR_IMAGES, list(&|n| format!("/usr/bin/parent-{}", parent + n), 6));
    event.set(Field::ANCESTOR_COMMAND_LINES, list(&|n| format!("/usr/bin/parent-{} run all", parent + n), 6));
    Record::Event(event)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn rows_become_readable_at_this_rate() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    rig.options.batch_ms = 1_000;
    rig.ready().await;
    rig.halt().await;
    let mut agents: Vec<_> = (0..AGENTS).map(|n| Agent::new(n as u8 + 1, "a")).collect();
    let mut bytes = 0;
    for batch in 0..BATCHES {
        let agent = &mut agents[batch % AGENTS];
        let records = (0..EVENTS).map(|n| process(batch * EVENTS + n)).collect();
        let batch = agent.batch(Stream::Exec, records);
        bytes += batch.len();
        agent.send(&rig.bus, &batch, now()).await;
    }
    let started = Instant::now();
    rig.go();
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    let (rows, seconds) = (BATCHES * EVENTS, started.elapsed().as_secs_f64());
    assert_eq!(engine.number("SELECT count() FROM events_v").await, rows as u64);
    println!("{rows} rows in {seconds:.2} s: {:.0} rows/s, {} bytes a row on the wire", rows as f64 / seconds, bytes / rows);
    println!("bytes on disk: {}", engine.sql("SELECT table, sum(bytes_on_disk), sum(rows), count() FROM system.parts WHERE active GROUP BY table ORDER BY 2 DESC").await);
    rig.halt().await;
}
