//! What events wait for while all of SigmaHQ's rules are loaded anew and put in force. Part of `make bench-sigma`.
//!
//! A thread judges batches of a few events without a pause, each with the rules that are in force when it begins, as the
//! detector does; meanwhile a rule file changes again and again, the detector's own watch compiles the new set and puts it
//! in force, and lets the old one go. What a batch took is told in parts. What the detector answers for has a target: the
//! longest time that any batch slept (for a lock, for memory), and the longest that a batch at an exchange ran or slept.
//! The rest is the machine's: other programs and the compiler of the rules on the same processors, and what the host of a
//! virtual machine takes; it is told for the same load without any change as well.
#![allow(missing_docs, reason = "a program")]

#[path = "../../../../rules/engine/benches/sigma/clock.rs"]
#[allow(dead_code, reason = "shared with the evaluator's benchmark")]
mod clock;
#[path = "../../../../rules/engine/benches/sigma/figure.rs"]
#[allow(dead_code, reason = "shared with the evaluator's benchmark")]
mod figure;
#[path = "../../../../rules/engine/benches/sigma/lanes.rs"]
#[allow(dead_code, reason = "shared with the evaluator's benchmark")]
mod lanes;
mod load;
mod state;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use beffroi_detect::{RulesInForce, load_rules, watch};
use tokio_util::sync::CancellationToken;

use figure::{Target, print};
use load::{Load, Worst};

/// What went wrong, as text.
type Failure = Box<dyn std::error::Error>;

/// Sets of rules that are put in force under load.
const RELOADS: usize = 20;
/// How long the same load runs without any change.
const QUIET: Duration = Duration::from_secs(10);
/// Far longer than a reload takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);
/// What the detector's events may wait for a reload, in milliseconds.
const MOST: f64 = 5.0;

fn main() -> Result<(), Failure> {
    let Some(folder) = lanes::corpora() else { return Ok(()) };
    let rules = tempfile::tempdir()?;
    let mut changing = PathBuf::new();
    for (number, (_, text)) in lanes::rules(&folder).into_iter().enumerate() {
        changing = rules.path().join(format!("{number}.yml"));
        std::fs::write(&changing, text)?;
    }
    let paths = vec![rules.path().to_path_buf()];
    let in_force = Arc::new(ArcSwap::from_pointee(load_rules(&paths)?));
    println!("{} rules", in_force.load().detector.rules().len());
    let runtime = tokio::runtime::Runtime::new()?;
    let stop = CancellationToken::new();
    runtime.spawn(watch(paths, in_force.clone(), stop.clone()));

    let load = Load::start(&folder, in_force.clone());
    std::thread::sleep(QUIET);
    let quiet = load.take();
    for number in 0..RELOADS {
        reload(&changing, number, &in_force)?;
        until("judged by", || load.exchanges() > number as u64)?;
    }
    let reloading = load.stop();
    stop.cancel();
    tell(&quiet, &reloading);
    state::measure()
}

/// Changes a rule, and waits until the new set is in force and the old one is gone.
fn reload(changing: &Path, number: usize, in_force: &ArcSwap<RulesInForce>) -> Result<(), Failure> {
    let old: Weak<RulesInForce> = Arc::downgrade(&in_force.load_full());
    let text = std::fs::read_to_string(changing)?;
    std::fs::write(changing, format!("{text}\n# change {number}\n"))?;
    until("in force", || old.strong_count() == 0)
}

fn until(what: &str, is_so: impl Fn() -> bool) -> Result<(), Failure> {
    let begun = Instant::now();
    while !is_so() {
        if begun.elapsed() > LIMIT {
            return Err(format!("the changed rules are not {what} after {LIMIT:?}").into());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

fn tell(quiet: &Worst, reloading: &Worst) {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    print("detect.reload.reloads", reloading.exchanges as f64, "sets_put_in_force", Target::AtLeast(RELOADS as f64));
    print("detect.reload.batches", reloading.batches as f64, "batches_judged", Target::None);
    let delay = milliseconds(reloading.asleep.max(reloading.exchange));
    print("detect.reload.delay", delay, "ms_at_worst", Target::AtMost(MOST));
    for (name, worst) in [("quiet", quiet), ("reload", reloading)] {
        let print =
            |part: &str, time: Duration| print(&format!("detect.{name}.{part}"), milliseconds(time), "ms_at_worst", Target::None);
        print("asleep", worst.asleep);
        print("exchange", worst.exchange);
        print("running", worst.ran);
        print("with_other_programs", worst.wall);
    }
}
