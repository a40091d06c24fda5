//! `make bench-sigma`: our evaluator against rsigma-eval with all of SigmaHQ's rules, on five lanes of recorded events.
//!
//! Match sets are compared first. Speed is the median of interleaved runs in one process. Instructions are counted by
//! callgrind in one child process for each side: each lane judges 100 events that count for nothing, so that caches are
//! filled and load cancels, then 500 that count. Prints one `figure` line for each figure; a missed target is a figure, not
//! a failure. Without the corpora only correlations are measured, which need none, and that is said.
#![allow(missing_docs, reason = "a program")]

mod clock;
mod correlate;
mod count;
mod figure;
mod heap;
mod lanes;
mod mutate;
mod ours;
mod resident;
mod speed;
mod theirs;

use std::path::{Path, PathBuf};

/// What went wrong, as text.
type Failure = Box<dyn std::error::Error>;

#[global_allocator]
static HEAP: heap::Counting = heap::Counting;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if words == ["correlate"] {
        correlate::measure();
        return Ok(());
    }
    let Some(folder) = lanes::corpora() else { return Ok(()) };
    match words.as_slice() {
        ["count", side, lane @ ..] => {
            count::child(&folder, side, lane.first().copied());
            Ok(())
        }
        ["resident", side, rules] => resident::child(Path::new(rules), side),
        [] => all(&folder),
        ["resident"] => resident::measure(&folder),
        ["speed"] => {
            speed::measure(&folder);
            Ok(())
        }
        ["instructions"] => count::measure(),
        _ => Err("say `speed`, `instructions`, `correlate`, `resident`, or nothing for all".into()),
    }
}

fn all(folder: &Path) -> Result<(), Failure> {
    correlate::measure();
    resident::measure(folder)?;
    speed::measure(folder);
    count::measure()
}

/// Rule texts, unpacked once for each process.
fn texts(folder: &Path) -> Vec<(PathBuf, String)> {
    let texts = lanes::rules(folder);
    assert!(texts.len() > 3_000, "{} rules: the archive is not what it was", texts.len());
    texts
}
