//! Events a second on one core, both sides in turn, after their matches were compared; and memory.
//!
//! A round repeats a lane for as long for one side as for the other. Its first pass finds the processor's caches full of
//! what the other side left there and is told apart, as `cold`: a lane is done in a few milliseconds, of which filling
//! caches is half, and a collector does that once, not with every event. What our side learnt of values is forgotten
//! before each pass, so that no pass knows a value from the one before; of batches it keeps how it reads their shapes.

use std::collections::BTreeMap;
use std::path::Path;

use beffroi_engine::{RuleSet, compile};

use crate::clock::time;
use crate::figure::{Target, median, print};
use crate::ours::{Memory, Ours, Routes, batches, judge_batch};
use crate::theirs::{Routing, Theirs, logsource, parse};
use crate::{heap, lanes};

/// Rounds; each runs all sides.
const ROUNDS: usize = 15;
/// Seconds that each side works in a round: dozens of passes of ours and a few of the other's.
const ROUND_SECONDS: f64 = 0.1;

/// Measures and prints.
pub fn measure(folder: &Path) {
    let texts = crate::texts(folder);
    let rules = parse(&texts);
    let before = heap::live();
    let ours = Ours::compile(&rules);
    let our_bytes = heap::live() - before;
    let before = heap::live();
    let theirs = Theirs::compile(&rules);
    let their_bytes = heap::live() - before;
    let mib = |bytes: usize| bytes as f64 / f64::from(1 << 20);
    eprintln!("{} rules", rules.len());
    print("sigma.memory.ours", mib(our_bytes), "MiB", Target::AtMost(40.0));
    print("sigma.memory.rsigma", mib(their_bytes), "MiB", Target::None);
    print("sigma.memory.ratio", our_bytes as f64 / their_bytes as f64, "of_rsigma", Target::AtMost(1.0 / 3.0));
    let (set, problems) = RuleSet::from_texts(texts);
    eprintln!("{} rules load, {} problems", set.rules().len(), problems.len());
    problems.iter().for_each(|problem| eprintln!("  {problem}"));
    let detector = compile(&set).expect("the set is small enough");
    for name in lanes::LANES {
        let items = lanes::lane(folder, name);
        let lane = Lane::new(name, &items, &ours, &theirs, &detector);
        lane.compare();
        lane.time();
    }
}

struct Lane<'a> {
    name: &'a str,
    items: &'a [lanes::Item],
    ours: &'a Ours,
    theirs: &'a Theirs,
    detector: &'a beffroi_engine::SigmaDetector,
    routes: Routes<'a>,
    logsources: Vec<rsigma_parser::LogSource>,
    batches: Vec<Vec<u8>>,
}

impl<'a> Lane<'a> {
    fn new(
        name: &'a str,
        items: &'a [lanes::Item],
        ours: &'a Ours,
        theirs: &'a Theirs,
        detector: &'a beffroi_engine::SigmaDetector,
    ) -> Self {
        let bytes: usize = items.iter().map(|item| item.text.len()).sum();
        eprintln!("{name}: {} events of {} bytes", items.len(), bytes / items.len().max(1));
        Self {
            name,
            items,
            ours,
            theirs,
            detector,
            routes: ours.routes(items),
            logsources: items.iter().map(|item| logsource(&item.source)).collect(),
            batches: batches(items),
        }
    }

    /// Counts what both sides say, and names every rule on which they differ.
    fn compare(&self) {
        let mut memory = Memory::default();
        let (mut same, mut differ) = (0, BTreeMap::<String, (usize, usize)>::new());
        for (at, (item, logsource)) in self.items.iter().zip(&self.logsources).enumerate() {
            let (mut found, mut other) = (Vec::new(), Vec::new());
            self.ours.judge(item, self.routes.of(at), &mut memory, &mut found);
            let mut mine: Vec<String> = found.into_iter().map(String::from).collect();
            self.theirs.judge(item, logsource, Routing::Strict, &mut other);
            mine.sort();
            other.sort();
            same += mine.iter().filter(|id| other.contains(id)).count();
            mine.iter().filter(|id| !other.contains(id)).for_each(|id| differ.entry(id.clone()).or_default().0 += 1);
            other.iter().filter(|id| !mine.contains(id)).for_each(|id| differ.entry(id.clone()).or_default().1 += 1);
        }
        eprintln!("{}: {same} equal matches", self.name);
        differ.iter().for_each(|(id, (mine, other))| eprintln!("  {id}: {mine} only ours, {other} only rsigma-eval"));
        let missed: usize = differ.values().map(|(_, other)| other).sum();
        let extra: usize = differ.values().map(|(mine, _)| mine).sum();
        print(&format!("sigma.{}.matches.equal", self.name), same as f64, "matches", Target::None);
        print(&format!("sigma.{}.matches.only_rsigma", self.name), missed as f64, "matches", Target::None);
        print(&format!("sigma.{}.matches.only_ours", self.name), extra as f64, "matches", Target::None);
    }

    fn time(&self) {
        let (mut mine, mut strict, mut pruned, mut batch) = <(Rates, Rates, Rates, Rates)>::default();
        for _ in 0..ROUNDS {
            mine.add(self, || self.ask_ours());
            strict.add(self, || self.ask_theirs(Routing::Strict));
            pruned.add(self, || self.ask_theirs(Routing::Pruned));
            batch.add(self, || self.batches.iter().for_each(|bytes| _ = judge_batch(self.detector, bytes)));
        }
        // Against the faster of its two ways.
        let other = if median(strict.warm.clone()) < median(pruned.warm.clone()) { pruned } else { strict };
        let target = if self.name == "raw_lines" { 3.0 } else { 10.0 };
        let name = |part: &str| format!("sigma.{}.{part}", self.name);
        let cold = median(mine.cold) / median(other.cold);
        let (mine, batch, other) = (median(mine.warm), median(batch.warm), median(other.warm));
        print(&name("json.rate"), mine, "events/s", Target::None);
        print(&name("batch.rate"), batch, "events/s", Target::None);
        print(&name("rsigma.rate"), other, "events/s", Target::None);
        print(&name("json.faster"), mine / other, "times", Target::AtLeast(target));
        print(&name("json.faster.cold"), cold, "times", Target::None);
        print(&name("batch.faster"), batch / other, "times", Target::None);
    }

    fn ask_ours(&self) {
        let (mut memory, mut ids) = <(Memory, Vec<&str>)>::default();
        for (at, item) in self.items.iter().enumerate() {
            ids.clear();
            self.ours.judge(item, self.routes.of(at), &mut memory, &mut ids);
        }
    }

    fn ask_theirs(&self, routing: Routing) {
        let mut ids = Vec::new();
        for (item, logsource) in self.items.iter().zip(&self.logsources) {
            ids.clear();
            self.theirs.judge(item, logsource, routing, &mut ids);
        }
    }
}

/// Events in a second of processor time, one figure a round.
#[derive(Default)]
struct Rates {
    cold: Vec<f64>,
    warm: Vec<f64>,
}

impl Rates {
    /// One round: the first pass, and then as many as there is time for, two at least.
    fn add(&mut self, lane: &Lane<'_>, mut pass: impl FnMut()) {
        let events = lane.items.len() as f64;
        self.cold.push(events / time(&mut pass));
        let (mut passes, mut seconds) = (0.0, 0.0);
        while passes < 2.0 || seconds < ROUND_SECONDS {
            seconds += time(&mut pass);
            passes += 1.0;
        }
        self.warm.push(events * passes / seconds);
    }
}
