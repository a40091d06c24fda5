//! Without probes the sensor still sees processes, and says what it does not see. Needs no privilege.

// A test that unwraps a failure fails, which is what it is for.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use beffroi_schema::batch::Record;
use beffroi_schema::{AgentId, Category, Event, Field, Value};
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

/// Whether the process connector can be had here; says so where it cannot.
fn has_connector() -> bool {
    let has = nix::unistd::geteuid().is_root() && connector_sensor().hooks()[0].name == "proc_connector";
    if !has {
        eprintln!("SKIPPED: the process connector needs CAP_NET_ADMIN and CONFIG_PROC_EVENTS");
    }
    has
}

fn connector_sensor() -> Sensor {
    let mut options = SensorOptions::new(AgentId([7; 16]), boot_id().unwrap());
    options.source = Source::Connector;
    Sensor::start(options).unwrap()
}

#[test]
fn without_probes_the_connector_tells_of_processes_however_short_and_how_they_end() {
    if !has_connector() {
        return;
    }
    let mut sensor = connector_sensor();
    assert!(!sensor.has_probes());
    // Ended and collected before the sensor looks for the first time.
    let start = || {
        let mut child = Command::new("/bin/false").spawn().unwrap();
        child.wait().unwrap();
        u64::from(child.id())
    };
    let started: Vec<u64> = (0..20).map(|_| start()).collect();
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    let deadline = Instant::now() + Duration::from_secs(20);
    while ends.len() < started.len() {
        assert!(Instant::now() < deadline, "only {} of {} ends were seen", ends.len(), started.len());
        let mut sink = |record| match record {
            Record::Event(event) if event.uint(Field::PROCESS_ID).is_some_and(|pid| started.contains(&pid)) => {
                match event.logsource.category {
                    Category::ProcessCreation => begins.push(event),
                    Category::ProcessTermination => ends.push(event),
                    _ => {}
                }
            }
            _ => {}
        };
        sensor.poll(Duration::from_millis(100), &mut sink).unwrap();
    }
    assert_eq!(begins.iter().filter_map(|event| event.uint(Field::PROCESS_ID)).collect::<Vec<_>>(), started);
    for (begin, end) in begins.iter().zip(&ends) {
        assert_eq!(begin.uint(Field::PARENT_PROCESS_ID), Some(u64::from(std::process::id())));
        assert_eq!(begin.text(Field::PARENT_IMAGE), std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!(begin.text(Field::IMAGE), "", "nobody can know it any more");
        assert_eq!(begin.get(Field::TRUNCATED), Some(&Value::Bool(true)), "and the event says that something is missing");
        assert_eq!(end.get(Field::EXIT_CODE), Some(&Value::Int(1)));
        assert_eq!(end.get(Field::PROCESS_GUID), begin.get(Field::PROCESS_GUID));
    }
}

#[test]
fn without_probes_the_connector_names_what_a_living_process_runs_and_its_exit_code() {
    if !has_connector() {
        return;
    }
    let mut sensor = connector_sensor();
    let mut child = Command::new("/bin/sh").args(["-c", "read line; exit 7"]).stdin(Stdio::piped()).spawn().unwrap();
    let pid = u64::from(child.id());
    let begin = wait_for(&mut sensor, |event| {
        event.logsource.category == Category::ProcessCreation && event.uint(Field::PROCESS_ID) == Some(pid)
    });
    assert_eq!(begin.text(Field::COMMAND_LINE), "/bin/sh -c read line; exit 7");
    assert_eq!(begin.text(Field::IMAGE), std::fs::canonicalize("/bin/sh").unwrap().to_str().unwrap());
    assert_eq!(begin.get(Field::TRUNCATED), None);
    drop(child.stdin.take());
    child.wait().unwrap();
    let end = wait_for(&mut sensor, |event| {
        event.logsource.category == Category::ProcessTermination && event.uint(Field::PROCESS_ID) == Some(pid)
    });
    assert_eq!(end.get(Field::EXIT_CODE), Some(&Value::Int(7)));
    assert_eq!(end.get(Field::PROCESS_GUID), begin.get(Field::PROCESS_GUID));
}

#[test]
fn a_ring_that_is_no_power_of_two_is_refused_with_the_reason() {
    let mut options = SensorOptions::new(AgentId([7; 16]), boot_id().unwrap());
    options.process_ring_bytes = 5_000;
    let error = Sensor::start(options).err().unwrap().to_string();
    assert!(error.contains("process_ring_bytes is 5000") && error.contains("power of two"), "{error}");
}
