//! What is said beside the data: progress, what could not be read, and the summary.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use beffroi_engine::correlate::{Figures, StateOverflow};
use beffroi_sources::{Code, Input, Trouble, Troubles};
use indicatif::{ProgressBar, ProgressStyle};

use super::judge::Judged;
use crate::output::say;

/// Troubles that are told one by one; the summary counts all.
const MAX_TOLD: u64 = 50;
/// How often progress is drawn.
const DRAW: Duration = Duration::from_millis(200);

/// What is said of state that correlations had to give up.
pub fn overflow(overflow: &StateOverflow) -> String {
    let rule = overflow.rule.as_ref().map_or("all correlations", |rule| &rule.title);
    format!("{rule}: {} {} (a limit was reached): matches may be missing", overflow.count, overflow.kind.as_str())
}

/// Counts what happens and tells of it.
pub struct Tell {
    started: Instant,
    bar: ProgressBar,
    progress: Arc<AtomicU64>,
    told: u64,
    counts: BTreeMap<Code, u64>,
    files: usize,
    passed_over: u64,
    missing: usize,
    unfinished: u64,
    lost: u64,
    events: u64,
    unclaimed: u64,
    outside: u64,
    undated: u64,
    matches: u64,
}

impl Tell {
    /// Begins to count. `progress` grows by the bytes that are read of the inputs.
    pub fn new(inputs: &[Input], passed_over: u64, progress: Arc<AtomicU64>) -> Self {
        let sizes = inputs.iter().map(|input| match input {
            Input::File(path) => std::fs::metadata(path).map_or(0, |metadata| metadata.len()),
            Input::Stdin => 0,
        });
        let bar = if std::io::stderr().is_terminal() { ProgressBar::new(sizes.sum()) } else { ProgressBar::hidden() };
        if let Ok(style) = ProgressStyle::with_template("{bar:24} {bytes}/{total_bytes} {msg} {eta}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(DRAW);
        Self {
            started: Instant::now(),
            bar,
            progress,
            told: 0,
            counts: BTreeMap::new(),
            files: inputs.len(),
            passed_over,
            missing: 0,
            unfinished: 0,
            lost: 0,
            events: 0,
            unclaimed: 0,
            outside: 0,
            undated: 0,
            matches: 0,
        }
    }

    /// Arguments and files that are not there.
    pub fn missing(&mut self, missing: &[(PathBuf, String)]) {
        self.missing = missing.len();
        missing.iter().for_each(|(path, why)| self.line(&format!("cannot read {}: {why}", path.display())));
    }

    /// What became of one piece of work.
    pub fn judged(&mut self, judged: &Judged) {
        self.events += judged.events;
        self.unclaimed += judged.unclaimed;
        self.outside += judged.outside;
        self.undated += judged.undated;
        self.matches += judged.rows.len() as u64;
        self.troubles(&judged.file, &judged.troubles);
        if let Some(trouble) = &judged.ended {
            self.unfinished += 1;
            self.trouble(&judged.file, trouble);
            *self.counts.entry(trouble.code).or_insert(0) += 1;
        }
        self.bar.set_position(self.progress.load(Ordering::Relaxed));
        self.bar.set_message(format!("{} events, {} matches", self.events, self.matches));
    }

    /// A thread died over a piece of work.
    pub fn lost(&mut self) {
        self.lost += 1;
    }

    /// Correlations matched.
    pub fn correlated(&mut self, matches: usize, overflows: &[StateOverflow], figures: Figures) {
        self.matches += matches as u64;
        overflows.iter().for_each(|one| self.line(&overflow(one)));
        if figures.late > 0 {
            self.line(&format!("{} events came too late for correlations", figures.late));
        }
    }

    fn troubles(&mut self, file: &str, troubles: &Troubles) {
        troubles.first.iter().for_each(|trouble| self.trouble(file, trouble));
        for (code, count) in &troubles.counts {
            *self.counts.entry(*code).or_insert(0) += count;
        }
    }

    fn trouble(&mut self, file: &str, trouble: &Trouble) {
        self.told += 1;
        if self.told <= MAX_TOLD {
            let between = if trouble.record.is_some() { ":" } else { ": " };
            self.line(&format!("{file}{between}{trouble}"));
        } else if self.told == MAX_TOLD + 1 {
            self.line("more like these are only counted");
        }
    }

    fn line(&self, text: &str) {
        self.bar.suspend(|| say(text));
    }

    /// The last words. `rules` and `correlations` are in force.
    pub fn summary(&self, (rules, correlations): (usize, usize), panics: u64, interrupted: bool) {
        self.bar.finish_and_clear();
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = self.events as f64 / seconds.max(1e-6);
        say(&format!(
            "{} events of {} files judged by {rules} rules and {correlations} correlations: {} matches; {rate:.0} events/s, {seconds:.1} s{}",
            self.events,
            self.files,
            self.matches,
            ending(interrupted)
        ));
        self.left_out(panics);
    }

    /// The last words where costs were measured: of how many rules of all, and the time of their tests.
    pub fn costs(&self, (rules, all): (usize, usize), nanos: u64, panics: u64, interrupted: bool) {
        self.bar.finish_and_clear();
        say(&format!(
            "{} events of {} files, all of them measured: {rules} of {all} rules were looked at, their tests took {:.3} s in {:.1} s{}",
            self.events,
            self.files,
            nanos as f64 / 1e9,
            self.started.elapsed().as_secs_f64(),
            ending(interrupted)
        ));
        self.left_out(panics);
    }

    /// What was not judged, and why.
    fn left_out(&self, panics: u64) {
        let skipped = |(code, count): (&Code, &u64)| {
            format!("{count} {}{}", code.name(), if code.skips() { "" } else { " (read all the same)" })
        };
        if !self.counts.is_empty() {
            say(&format!("skipped: {}", self.counts.iter().map(skipped).collect::<Vec<_>>().join(", ")));
        }
        for (count, what) in [
            (
                self.unclaimed,
                "events are of no logsource that a rule is meant for (--logsource names it, where the events do not)",
            ),
            (self.outside, "events are outside of --since and --until, or have no time"),
            (self.undated, "matches have no time, and no correlation counted them"),
            (self.passed_over, "files of folders were passed over: their names end like no event file's (--format reads them)"),
            (self.lost, "blocks were lost by a fault in this program"),
            (panics, "times a rule failed on an event by a fault in this program"),
        ] {
            if count > 0 {
                say(&format!("{count} {what}"));
            }
        }
    }

    /// How many events were judged.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many matches there were.
    pub fn matches(&self) -> u64 {
        self.matches
    }

    /// Whether some input could not be read, or nothing of what was read was an event.
    pub fn is_incomplete(&self) -> bool {
        let skipped = self.counts.iter().any(|(code, _)| code.skips());
        let refused = [Code::Format, Code::Batch].iter().any(|code| self.counts.contains_key(code));
        self.missing > 0 || self.unfinished > 0 || self.lost > 0 || refused || (skipped && self.events + self.outside == 0)
    }
}

fn ending(interrupted: bool) -> &'static str {
    if interrupted { "; interrupted, the rest was not read" } else { "" }
}
