//! `beffroi detect`: files of events judged by Sigma rules, without a collector.
//!
//! One thread reads and cuts, the others read records and judge them, and this one correlates and writes, in the order of
//! the input. Memory is bounded by the queues between them, whatever the size of the files; a timeline goes to scratch
//! files when it grows. What cannot be read is told with file and record, and the rest is judged.

mod costs;
mod judge;
mod options;
mod pipeline;
mod place;
mod row;
mod rules;
mod show;
mod tell;
mod timeline;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use beffroi_engine::correlate::Correlator;
use beffroi_sources::{Format, Input, Opened, blocks, find};

use crate::args::Detect;
use crate::errors::{Exit, Failure, Outcome};
use crate::output::Output;

pub use costs::costs;
use judge::{Judge, Judged, Shared, Work};
pub use options::reading;
pub use tell::overflow;

use options::Asked;
use pipeline::{End, Run, Stop};
use place::Place;
use rules::Rules;
use show::Show;
use tell::Tell;

/// Judges the files.
pub fn run(output: &Output, arguments: &Detect) -> Outcome {
    let asked = Asked::new(arguments)?;
    let inputs = find(&asked.files, asked.reading.format);
    let rules = Rules::load(&arguments.judging.rules, arguments.strict, &asked)?;
    let progress = Arc::new(AtomicU64::new(0));
    let mut tell = Tell::new(&inputs.found, inputs.passed_over, Arc::clone(&progress));
    tell.missing(&inputs.missing);
    let shared = Arc::new(Shared { asked, rules });
    let end = judge_all(output, &shared, inputs.found, &progress, &mut tell)?;
    tell.summary(shared.rules.counts(), shared.rules.panics(), end == End::Interrupted);
    match end {
        End::Interrupted => Err(Failure::interrupted()),
        End::Done if tell.is_incomplete() => Err(Failure::silent(Exit::Usage)),
        End::Done if arguments.fail_on_detection && tell.matches() > 0 => Err(Failure::silent(Exit::Found)),
        End::Done => Ok(()),
    }
}

fn judge_all(
    output: &Output,
    shared: &Arc<Shared>,
    inputs: Vec<Input>,
    progress: &Arc<AtomicU64>,
    tell: &mut Tell,
) -> Outcome<End> {
    let refused = |error: beffroi_engine::CompileError| Failure::rules(error.to_string(), "");
    let mut correlator = shared.rules.correlator().map_err(refused)?;
    let mut show = Show::begin(output)?;
    let end = begin(shared, inputs, progress)?.each(|judged: Option<Judged>| match judged {
        None => {
            tell.lost();
            Ok(())
        }
        Some(judged) => {
            tell.judged(&judged);
            observe(&mut correlator, &judged, &shared.rules);
            show.rows(&judged.rows)
        }
    })?;
    correlate(&mut correlator, &shared.rules, &mut show, tell)?;
    show.end()?;
    Ok(end)
}

/// Begins to read and to judge; Ctrl-C ends it early.
fn begin(shared: &Arc<Shared>, inputs: Vec<Input>, progress: &Arc<AtomicU64>) -> Outcome<Run<Judged>> {
    let (format, progress) = (shared.asked.reading.format, Arc::clone(progress));
    let workers = Arc::clone(shared);
    let run = pipeline::begin(
        shared.asked.threads,
        move |give: &mut dyn FnMut(Work) -> ControlFlow<()>| read(inputs, format, &progress, give),
        move |jobs| {
            let mut judge = Judge::new(&workers);
            jobs.work(|work| judge.judge(work));
        },
    );
    let run = run.map_err(|error| Failure::usage(format!("cannot start threads: {error}"), "try --threads 1"))?;
    on_interrupt(run.stop());
    Ok(run)
}

/// Reads every input, and says why where one has no end.
fn read(inputs: Vec<Input>, format: Option<Format>, progress: &Arc<AtomicU64>, give: &mut dyn FnMut(Work) -> ControlFlow<()>) {
    for (input, source) in inputs.into_iter().enumerate() {
        let file: Arc<str> = source.name().into();
        let mut flow = ControlFlow::Continue(());
        let read = Opened::open(&source, progress).and_then(|opened| {
            blocks(opened, format, &mut |block| {
                flow = give(Work { input, file: Arc::clone(&file), block: Ok(block) });
                flow
            })
        });
        if let Err(trouble) = read {
            flow = give(Work { input, file, block: Err(trouble) });
        }
        if flow.is_break() {
            return;
        }
    }
}

fn observe(correlator: &mut Correlator<Place>, judged: &Judged, rules: &Rules) {
    for seen in &judged.seen {
        let ids = seen.rules.iter().map(|rule| rules.rule(*rule).0.id.as_str());
        // What comes is held until the end, so nothing is late.
        correlator.observe(&seen.tenant, seen.time_us, seen.place.clone(), seen.fields.as_ref(), ids);
    }
}

fn correlate(correlator: &mut Correlator<Place>, rules: &Rules, show: &mut Show<'_>, tell: &mut Tell) -> Outcome {
    let found = correlator.finish();
    let shown = found.iter().filter_map(|found| {
        let path = rules.correlation(&found.rule.id)?;
        Some(row::of_correlation(found, &path.display().to_string()))
    });
    let rows: Vec<row::Row> = shown.collect();
    tell.correlated(rows.len(), &correlator.take_overflows(), correlator.figures());
    show.rows(&rows)
}

/// Ctrl-C ends the run after what is judged already, so that it is written whole.
fn on_interrupt(stop: Stop<Judged>) {
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        if runtime.is_ok_and(|runtime| runtime.block_on(tokio::signal::ctrl_c()).is_ok()) {
            stop.interrupt();
        }
    };
    // Without this thread Ctrl-C ends the program at once, as it does any other.
    let _ = std::thread::Builder::new().name("interrupt".into()).spawn(wait);
}
