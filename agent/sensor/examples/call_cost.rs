//! What the sensor costs system calls: one that nobody waits for, and an open with its close. Runs without and with the
//! sensor take turns; the medians count. `cargo run --release --example call_cost -- 10000000 5`, as root.

use std::fs::File;
use std::time::{Duration, Instant};

use beffroi_schema::AgentId;
use beffroi_sensor::{Sensor, SensorOptions, Source, boot_id};

/// An open with its close is this much dearer than the cheapest call: fewer of them make a run of the same length.
const OPENS: u32 = 10;

/// Time of one call in a run (ns): the cheapest one, and an open with its close.
fn run(calls: u32) -> std::io::Result<[f64; 2]> {
    let per = |time: Duration, calls: u32| time.as_secs_f64() * 1e9 / f64::from(calls);
    let began = Instant::now();
    for _ in 0..calls {
        std::hint::black_box(nix::unistd::getppid());
    }
    let cheapest = per(began.elapsed(), calls);
    let began = Instant::now();
    for _ in 0..calls / OPENS {
        drop(File::open("/dev/null")?);
    }
    Ok([cheapest, per(began.elapsed(), calls / OPENS)])
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let number = |at: usize, default: u32| std::env::args().nth(at).map_or(Ok(default), |text| text.parse());
    let (calls, runs) = (number(1, 10_000_000)?, number(2, 5)?);
    run(calls / 10)?;
    let (mut bare, mut watched) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        bare.push(run(calls)?);
        let options = SensorOptions { source: Source::Kernel, ..SensorOptions::new(AgentId::default(), boot_id()?) };
        let sensor = Sensor::start(options)?;
        watched.push(run(calls)?);
        drop(sensor);
    }
    for (at, name) in ["getppid", "open and close of /dev/null"].into_iter().enumerate() {
        let of = |runs: &[[f64; 2]]| median(runs.iter().map(|run| run[at]).collect());
        let (without, with) = (of(&bare), of(&watched));
        println!("{name}: {without:.0} ns without the sensor, {with:.0} ns with it, {:.0} ns more", with - without);
    }
    Ok(())
}
