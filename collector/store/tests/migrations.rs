//! Migrations: applied once, refused when the database was made by other files, retention follows the settings.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use support::{Engine, Rig, until};

#[tokio::test(flavor = "multi_thread")]
async fn migrations_are_applied_once_and_a_changed_one_is_refused() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    rig.ready().await;
    let applied = engine.number("SELECT count() FROM schema_migrations").await;
    assert!(applied >= 4);
    rig.halt().await;
    rig.options.event_days = 30;
    rig.go();
    rig.ready().await;
    assert_eq!(engine.number("SELECT count() FROM schema_migrations").await, applied);
    let table = engine.sql("SHOW CREATE TABLE events").await;
    assert!(table.contains("toIntervalDay(30)"), "{table}");
    rig.halt().await;
    engine.sql("INSERT INTO schema_migrations VALUES (2, '0002_coverage', 'somethingelse', now64(6))").await;
    engine.sql("OPTIMIZE TABLE schema_migrations FINAL").await;
    rig.go();
    let handle = rig.handle.as_ref().unwrap();
    until("the changed migration is refused", || async {
        let health = handle.health();
        !health.ready && health.detail.contains("0002_coverage") && health.detail.contains("checksum")
    })
    .await;
    rig.halt().await;
}
