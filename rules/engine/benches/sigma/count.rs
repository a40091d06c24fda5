//! Instructions, counted by callgrind: one child process for each side runs through phases, and callgrind writes down
//! what each phase cost whenever [`phase_ends`] is called.

use std::path::Path;
use std::process::Command;

use beffroi_engine::{RuleSet, compile};

use crate::Failure;
use crate::figure::{Target, print};
use crate::lanes::{self, Item, LANES};
use crate::mutate::copies;
use crate::ours::{Memory, Ours, batches, judge_batch, open_batch};
use crate::theirs::{Routing, Theirs, logsource, parse};

/// Events that fill caches and count for nothing.
const WARM: usize = 100;
/// Events that count.
const COUNTED: usize = 500;
/// Mutated copies of each rule.
const COPIES: usize = 9;

/// Callgrind writes its counts down here.
#[inline(never)]
fn phase_ends() {
    std::hint::black_box(());
}

/// One side under callgrind, in all lanes or, for profiles, in one. Phases: load, compile, then for each lane what is before, 100 events, 500 events.
pub fn child(folder: &Path, side: &str, only: Option<&str>) {
    let texts = crate::texts(folder);
    let mut rules = parse(&texts);
    if side == "tenfold" {
        rules = copies(&rules, COPIES);
    }
    let set = if side == "batch" { RuleSet::from_texts(texts).0 } else { RuleSet::default() };
    phase_ends();
    match side {
        "rsigma" | "rsigma-pruned" => {
            let routing = if side == "rsigma" { Routing::Strict } else { Routing::Pruned };
            let theirs = Theirs::compile(&rules);
            phase_ends();
            each_lane(folder, only, |items| {
                let logsources: Vec<_> = items.iter().map(|item| logsource(&item.source)).collect();
                let mut ids = Vec::new();
                run(&mut |index| {
                    let at = index % items.len();
                    ids.clear();
                    theirs.judge(&items[at], &logsources[at], routing, &mut ids);
                });
            });
        }
        "batch" => {
            let detector = compile(&set).expect("the set is small enough");
            phase_ends();
            each_lane(folder, only, |items| batch_phases(items, &detector));
        }
        _ => {
            let ours = Ours::compile(&rules);
            phase_ends();
            each_lane(folder, only, |items| {
                let routes = ours.routes(items);
                let (mut memory, mut ids) = (Memory::default(), Vec::new());
                run(&mut |index| {
                    let at = index % items.len();
                    ids.clear();
                    ours.judge(&items[at], routes.of(at), &mut memory, &mut ids);
                });
            });
        }
    }
}

fn each_lane(folder: &Path, only: Option<&str>, mut judge: impl FnMut(&[Item])) {
    for name in LANES.into_iter().filter(|name| only.is_none_or(|only| only == *name)) {
        let items = lanes::lane(folder, name);
        // Evenly from the whole lane: recordings stand one after the other.
        let step = (items.len() / (WARM + COUNTED)).max(1);
        let items: Vec<Item> = items.into_iter().step_by(step).collect();
        phase_ends();
        judge(&items);
    }
}

fn run(judge: &mut dyn FnMut(usize)) {
    (0..WARM).for_each(&mut *judge);
    phase_ends();
    (WARM..WARM + COUNTED).for_each(&mut *judge);
    phase_ends();
}

/// The events that count are one batch, which is opened and judged, and then opened alone.
fn batch_phases(items: &[Item], detector: &beffroi_engine::SigmaDetector) {
    let events = |range: std::ops::Range<usize>| -> Vec<Item> { range.map(|index| items[index % items.len()].clone()).collect() };
    let (warm, counted) = (batches(&events(0..WARM)), batches(&events(WARM..WARM + COUNTED)));
    phase_ends();
    warm.iter().for_each(|bytes| _ = judge_batch(detector, bytes));
    phase_ends();
    counted.iter().for_each(|bytes| _ = judge_batch(detector, bytes));
    phase_ends();
    counted.iter().for_each(|bytes| drop(std::hint::black_box(open_batch(bytes))));
    phase_ends();
}

/// What one side cost.
struct Counts {
    compile: f64,
    /// Instructions for each event, by lane and phase.
    lanes: Vec<Vec<f64>>,
}

/// Phases of a lane: what is before, 100 events, 500 events.
const PHASES: usize = 3;
/// The one that counts.
const JUDGED: usize = 2;
/// The same for batches: making them comes before, and behind it they are opened.
const BATCH_PHASES: usize = 5;
const BATCH_JUDGED: usize = 3;
const BATCH_OPENED: usize = 4;

/// Counts and prints.
///
/// # Errors
/// When valgrind is not installed or a child fails.
pub fn measure() -> Result<(), Failure> {
    let mine = counts("ours", PHASES)?;
    let batch = counts("batch", BATCH_PHASES)?;
    let other = counts("rsigma", PHASES)?;
    let pruned = counts("rsigma-pruned", PHASES)?;
    let tenfold = counts("tenfold", PHASES)?;
    print("sigma.compile.ours", mine.compile / 1e6, "million_instructions", Target::None);
    print("sigma.compile.rsigma", other.compile / 1e6, "million_instructions", Target::None);
    print("sigma.compile.ratio", mine.compile / other.compile, "of_rsigma", Target::AtMost(1.0 / 3.0));
    for (index, lane) in LANES.iter().enumerate() {
        let raw = *lane == "raw_lines";
        let judged = |side: &Counts| side.lanes[index][JUDGED];
        let theirs = judged(&other).min(judged(&pruned));
        let (ours, sent, opened) = (judged(&mine), batch.lanes[index][BATCH_JUDGED], batch.lanes[index][BATCH_OPENED]);
        let name = |part: &str| format!("sigma.{lane}.{part}");
        print(&name("rsigma.instructions"), theirs, "an_event", Target::None);
        print(&name("json.instructions"), ours, "an_event", Target::None);
        print(&name("batch.instructions"), sent, "an_event", Target::None);
        print(&name("batch.opening"), opened, "instructions_an_event", Target::None);
        print(&name("json.ratio"), theirs / ours, "times_fewer", Target::AtLeast(if raw { 3.0 } else { 10.0 }));
        let target = if raw { Target::None } else { Target::AtLeast(20.0) };
        print(&name("batch.ratio"), theirs / sent, "times_fewer", target);
        print(&name("tenfold_rules"), judged(&tenfold) / ours, "times_the_cost", Target::AtMost(2.0));
    }
    Ok(())
}

/// Runs one side under callgrind; each lane has so many phases.
fn counts(side: &str, phases: usize) -> Result<Counts, Failure> {
    eprintln!("counting {side} ...");
    let folder = tempfile::tempdir()?;
    let out = folder.path().join("out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-before=*phase_ends*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args(["count", side])
        .output()
        .map_err(|error| format!("valgrind: {error}; install Debian's package valgrind"))?;
    if !output.status.success() {
        return Err(format!("{side} under callgrind: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    // Dump n is what came before the n-th call.
    let phase = |number: usize| -> Result<f64, Failure> { instructions(&folder.path().join(format!("out.{number}"))) };
    let per_event = |number: usize| Ok(phase(number)? / COUNTED as f64);
    let lane = |lane: usize| (0..phases).map(|at| per_event(3 + lane * phases + at)).collect();
    Ok(Counts { compile: phase(2)?, lanes: (0..LANES.len()).map(lane).collect::<Result<_, Failure>>()? })
}

fn instructions(path: &Path) -> Result<f64, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("summary: ").or_else(|| line.strip_prefix("totals: ")));
    Ok(total.ok_or("callgrind wrote no total")?.trim().parse()?)
}
