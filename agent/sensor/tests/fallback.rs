//! Without probes the sensor still sees processes, and says what it does not see. Needs no privilege.

// A test that unwraps a failure fails, which is what it is for.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::time::{Duration, Instant};

use beffroi_schema::batch::Record;
use beffroi_schema::{AgentId, Category, Event, Field};
use beffroi_sensor::{Sensor, SensorOptions, Source, boot_id};

fn wait_for(sensor: &mut Sensor, wanted: impl Fn(&Event) -> bool) -> Event {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut found = None;
    while found.is_none() {
        assert!(Instant::now() < deadline, "not seen");
        let mut sink = |record| match record {
            Record::Event(event) if wanted(&event) => found = Some(event),
            _ => {}
        };
        sensor.poll(Duration::from_millis(100), &mut sink).unwrap();
    }
    found.unwrap()
}

#[test]
fn a_scan_sees_a_process_begin_and_end_and_names_its_limits() {
    let mut options = SensorOptions::new(AgentId([7; 16]), boot_id().unwrap());
    options.source = Source::Scan;
    let mut sensor = Sensor::start(options).unwrap();
    let mut child = Command::new("/bin/sleep").arg("1000").spawn().unwrap();
    let pid = u64::from(child.id());
    let event = wait_for(&mut sensor, |event| {
        event.logsource.category == Category::ProcessCreation && event.text(Field::COMMAND_LINE) == "/bin/sleep 1000"
    });
    assert_eq!(event.uint(Field::PROCESS_ID), Some(pid));
    assert_eq!(event.text(Field::PARENT_IMAGE), std::env::current_exe().unwrap().to_str().unwrap());
    child.kill().unwrap();
    child.wait().unwrap();
    let end = wait_for(&mut sensor, |event| {
        event.logsource.category == Category::ProcessTermination && event.uint(Field::PROCESS_ID) == Some(pid)
    });
    assert_eq!(end.get(Field::EXIT_CODE), None, "a scan cannot know it");
    let hooks = sensor.hooks();
    assert!(hooks[0].on && hooks[0].why.contains("not seen"), "{:?}", hooks[0]);
    assert!(hooks[1..].iter().all(|hook| !hook.on && !hook.why.is_empty()));
    assert!(!sensor.has_probes());
}

#[test]
fn a_ring_that_is_no_power_of_two_is_refused_with_the_reason() {
    let mut options = SensorOptions::new(AgentId([7; 16]), boot_id().unwrap());
    options.process_ring_bytes = 5_000;
    let error = Sensor::start(options).err().unwrap().to_string();
    assert!(error.contains("process_ring_bytes is 5000") && error.contains("power of two"), "{error}");
}
