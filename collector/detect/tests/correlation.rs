//! Correlations of the running detector on the embedded bus: over several hosts, behind restarts, and alerting once.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod guessing;

use std::path::Path;

use beffroi_bus::control::Control;
use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, Tail, TailFrom, Topic};
use beffroi_detect::{DetectHandle, DetectOptions, start};
use beffroi_schema::alert::Match;
use guessing::{LIMIT, RULES, START, TICK, batch, until};
use tokio_util::sync::CancellationToken;

struct Rig {
    bus: Bus,
    options: DetectOptions,
    alerts: Tail,
    _folder: tempfile::TempDir,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bus = open(&folder.path().join("bus")).await;
        std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
        let rules = vec![folder.path().join("rules.yml")];
        let options = DetectOptions { rules, reload: false, lateness_seconds: 0.3, ..Default::default() };
        let alerts = bus.tail(Topic::Alerts, TailFrom::Beginning).await.unwrap();
        Self { bus, options, alerts, _folder: folder }
    }

    async fn detector(&self) -> (DetectHandle, CancellationToken) {
        let stop = CancellationToken::new();
        let control = Control::start(self.bus.clone(), stop.clone()).await.unwrap();
        (start(self.options.clone(), self.bus.clone(), control, stop.clone()).await.unwrap(), stop)
    }

    async fn send(&self, batches: &[(u8, i64, &str, &str)]) {
        for (host, tick, user, command) in batches {
            self.bus.publish(Topic::Events, batch("sante", *host, *tick, user, command)).await.unwrap();
        }
    }

    async fn alert(&mut self) -> Match {
        let record = tokio::time::timeout(LIMIT, self.alerts.next()).await.expect("an alert within the limit").unwrap();
        serde_json::from_slice(&record.value).unwrap()
    }
}

async fn open(folder: &Path) -> Bus {
    let options = EmbeddedOptions { dir: folder.into(), partitions: 4, ..Default::default() };
    Bus::open(BusOptions::Embedded(options)).await.unwrap()
}

#[tokio::test]
async fn events_of_several_hosts_make_one_alert_with_its_evidence_and_rules_referred_to_are_quiet() {
    let mut rig = Rig::new().await;
    let (detector, stop) = rig.detector().await;
    rig.send(&[(1, 0, "alice", "wrong"), (2, 10, "alice", "wrong"), (3, 15, "bob", "wrong"), (4, 20, "alice", "wrong")]).await;
    let alert = rig.alert().await;
    assert_eq!((alert.rule.id.as_str(), alert.tenant.as_str()), ("guessing", "sante"));
    assert_eq!(alert.event_ids.len(), 3);
    assert_eq!(alert.events.iter().map(|event| event["User"].as_str().unwrap()).collect::<Vec<_>>(), ["alice"; 3]);
    assert_eq!(alert.host.info.hostname, "host-4");
    assert_eq!(alert.what, "Password guessing: 3 events in 0.2 s, User=alice");
    assert_eq!(alert.group_key, "sante/guessing/User=alice");
    assert_eq!((alert.event_time, alert.matched_fields[0].value.as_str()), (START + 20 * TICK, Some("alice")));
    rig.send(&[(5, 30, "alice", "end")]).await;
    assert_eq!(rig.alert().await.rule.id, "end", "nothing came between");
    stop.cancel();
    detector.join().await;
}

#[tokio::test]
async fn a_detector_that_stops_in_the_middle_of_a_window_goes_on_there_and_alerts_once() {
    let mut rig = Rig::new().await;
    let (detector, stop) = rig.detector().await;
    rig.send(&[(1, 0, "alice", "wrong"), (2, 10, "alice", "wrong")]).await;
    until(&detector, "correlation_groups", "1").await;
    until(&detector, "correlation_waiting", "0").await;
    stop.cancel();
    detector.join().await;

    let (detector, stop) = rig.detector().await;
    rig.send(&[(3, 20, "alice", "wrong")]).await;
    assert_eq!(rig.alert().await.event_ids.len(), 3);
    stop.cancel();
    detector.join().await;

    // The run goes on: neither the restart nor another event of it makes a second alert.
    let (detector, stop) = rig.detector().await;
    rig.send(&[(4, 30, "alice", "wrong"), (1, 31, "bob", "wrong")]).await;
    until(&detector, "correlation_groups", "2").await;
    until(&detector, "correlation_waiting", "0").await;
    rig.send(&[(1, 40, "alice", "end")]).await;
    assert_eq!(rig.alert().await.rule.id, "end");
    stop.cancel();
    detector.join().await;
}

#[tokio::test]
async fn events_that_wait_for_their_time_when_the_detector_stops_are_judged_after_it() {
    let mut rig = Rig::new().await;
    rig.options.lateness_seconds = 3_600.0;
    let (detector, stop) = rig.detector().await;
    rig.send(&[(1, 0, "alice", "wrong"), (2, 10, "alice", "wrong"), (3, 20, "alice", "wrong")]).await;
    until(&detector, "correlation_waiting", "3").await;
    stop.cancel();
    detector.join().await;
    rig.options.lateness_seconds = 0.1;
    let (detector, stop) = rig.detector().await;
    let alert = rig.alert().await;
    assert_eq!((alert.rule.id.as_str(), alert.event_ids.len()), ("guessing", 3));
    stop.cancel();
    detector.join().await;
}

#[tokio::test]
async fn a_detector_that_is_killed_before_it_wrote_anything_down_loses_no_event_of_a_window() {
    let mut rig = Rig::new().await;
    let killed = tokio::runtime::Runtime::new().unwrap();
    let (bus, options) = (rig.bus.clone(), rig.options.clone());
    let running = killed.spawn(async move {
        let stop = CancellationToken::new();
        let control = Control::start(bus.clone(), stop.clone()).await.unwrap();
        start(options, bus, control, stop).await.unwrap()
    });
    let detector = running.await.unwrap();
    rig.send(&[(1, 0, "alice", "wrong"), (2, 10, "alice", "wrong")]).await;
    until(&detector, "correlation_groups", "1").await;
    killed.shutdown_background();

    let (detector, stop) = rig.detector().await;
    rig.send(&[(3, 20, "alice", "wrong")]).await;
    let alert = rig.alert().await;
    assert_eq!((alert.rule.id.as_str(), alert.event_ids.len()), ("guessing", 3));
    stop.cancel();
    detector.join().await;
}

#[tokio::test]
async fn a_window_goes_over_to_another_detector() {
    let mut rig = Rig::new().await;
    let (first, stop_first) = rig.detector().await;
    rig.send(&[(1, 0, "alice", "wrong"), (2, 10, "alice", "wrong")]).await;
    until(&first, "correlation_groups", "1").await;
    let (second, stop_second) = rig.detector().await;
    stop_first.cancel();
    first.join().await;
    rig.send(&[(3, 20, "alice", "wrong")]).await;
    let alert = rig.alert().await;
    assert_eq!((alert.rule.id.as_str(), alert.event_ids.len()), ("guessing", 3));
    rig.send(&[(4, 30, "bob", "end")]).await;
    assert_eq!(rig.alert().await.rule.id, "end", "it alerts once");
    stop_second.cancel();
    second.join().await;
}
