//! What the sensor costs: CPU time of this process and time the probes add, per program start.
//! `cargo run --release --example exec_cost -- 5000`, as root.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use beffroi_schema::AgentId;
use beffroi_schema::batch::Record;
use beffroi_sensor::{Sensor, SensorOptions, Source, boot_id};

/// Records of one kind of interest and of all kinds.
#[derive(Default)]
struct Seen {
    execs: AtomicU64,
    all: AtomicU64,
    gaps: AtomicU64,
}

fn run_programs(count: u32) -> Result<Duration, Box<dyn std::error::Error>> {
    let before = Instant::now();
    for _ in 0..count {
        Command::new("/bin/true").stdin(Stdio::null()).status()?;
    }
    Ok(before.elapsed())
}

/// CPU time of the calling thread.
fn thread_cpu() -> Duration {
    use nix::sys::time::TimeValLike;
    let clock = nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID;
    nix::time::clock_gettime(clock).map_or(Duration::ZERO, |time| Duration::from_nanos(time.num_nanoseconds().unsigned_abs()))
}

fn watch(mut sensor: Sensor, seen: &Seen, stop: &AtomicBool) -> Result<Duration, beffroi_sensor::SensorError> {
    let before = thread_cpu();
    let mut sink = |record: Record| match record {
        Record::Event(event) => {
            seen.all.fetch_add(1, Ordering::Relaxed);
            let exec = event.logsource.category == beffroi_schema::Category::ProcessCreation;
            seen.execs.fetch_add(u64::from(exec), Ordering::Relaxed);
        }
        _ => {
            seen.gaps.fetch_add(1, Ordering::Relaxed);
        }
    };
    while !stop.load(Ordering::Relaxed) {
        sensor.poll(Duration::from_millis(100), &mut sink)?;
    }
    let spent = thread_cpu() - before;
    sensor.finish(&mut sink)?;
    Ok(spent)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let count: u32 = std::env::args().nth(1).map_or(Ok(2_000), |text| text.parse())?;
    run_programs(100)?;
    let bare = run_programs(count)?;

    let mut options = SensorOptions::new(AgentId::default(), boot_id()?);
    options.source = Source::Kernel;
    let before = Instant::now();
    let sensor = Sensor::start(options)?;
    let started = before.elapsed();
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let watcher = {
        let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
        std::thread::Builder::new().name("watch".into()).spawn(move || watch(sensor, &seen, &stop))?
    };
    let watched = run_programs(count)?;
    std::thread::sleep(Duration::from_millis(200));
    stop.store(true, Ordering::Relaxed);
    let cpu = watcher.join().map_err(|_| "the watching thread died")??;

    let per = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
    println!("start of the sensor: {} ms", started.as_millis());
    println!("one start of /bin/true: {:.1} us without the sensor, {:.1} us with it", per(bare), per(watched));
    println!("sensor CPU per exec (with its fork, exit and file events): {:.1} us", per(cpu));
    println!(
        "events {}, execs {} of {count}, gaps {}",
        seen.all.load(Ordering::Relaxed),
        seen.execs.load(Ordering::Relaxed),
        seen.gaps.load(Ordering::Relaxed)
    );
    Ok(())
}
