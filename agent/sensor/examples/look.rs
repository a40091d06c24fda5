//! Prints what the sensor sees for some seconds (default 5), one JSON object a line, then hooks and counters to stderr.
//! A way to try a kernel: `cargo run --example look -- 10`.

use std::time::{Duration, Instant};

use beffroi_schema::AgentId;
use beffroi_schema::batch::Record;
use beffroi_sensor::{Sensor, SensorOptions, boot_id};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(5), |text| text.parse())?;
    let mut options = SensorOptions::new(AgentId::default(), boot_id()?);
    options.exclude_tgids = vec![std::process::id()];
    let mut sensor = Sensor::start(options)?;
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut print = |record: Record| match record {
        Record::Event(event) => println!("{}", serde_json::Value::Object(event.to_json())),
        other => println!("{other:?}"),
    };
    while Instant::now() < until {
        sensor.poll(until.saturating_duration_since(Instant::now()), &mut print)?;
    }
    for hook in sensor.hooks() {
        eprintln!(
            "{:12} {} seen {} dropped {} {}",
            hook.name,
            if hook.on { "on " } else { "off" },
            hook.seen,
            hook.dropped,
            hook.why
        );
    }
    for (name, number) in sensor.counters() {
        eprintln!("{name} {number}");
    }
    sensor.finish(&mut print)?;
    Ok(())
}
