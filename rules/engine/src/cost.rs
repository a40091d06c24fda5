//! What each rule costs, so that an operator can find the one that burns a processor. There is no clock here: cost is the
//! number of bytes that a rule's tests were put to, the same on every machine. One event in [`SAMPLED_EVERY`] is measured,
//! after it was judged, so that the others pay nothing for it. Whoever asks offline what rules cost has every event
//! measured, and brings a [`Clock`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use beffroi_schema::alert::RuleInfo;

use crate::eval::reference::atom_holds;
use crate::eval::{Atom, Datum, Frame, Program, Scope, Test};

/// One event in so many is measured, the first one among them. A prime, so that no rhythm of the events decides which.
pub const SAMPLED_EVERY: u64 = 1_021;
/// Bytes that one byte counts for under a regular expression: those are walked byte by byte, what is plain text is searched
/// many bytes at once.
const REGEX_WEIGHT: u64 = 10;

/// Nanoseconds since a moment of its own choice.
pub type Clock = fn() -> u64;

/// How often a clock is read to know what reading it takes.
const READINGS: usize = 64;

/// What a rule has cost since the last question: estimates, made of the events that were measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleCost {
    /// The rule.
    pub rule: Arc<RuleInfo>,
    /// Events (for `auditd` rules: records) that made it be looked at, because they have its rarest part.
    pub looked: u64,
    /// Bytes that its tests were put to.
    pub bytes: u64,
    /// Time of those tests, where whoever measures has a clock.
    pub nanos: u64,
}

/// Counts of all rules of a detector, at the places of its rules.
#[derive(Debug)]
pub(crate) struct Costs {
    counts: Vec<Count>,
    /// One event in so many is measured.
    every: u64,
    /// A clock, and what reading it twice takes.
    clock: Option<(Clock, u64)>,
}

#[derive(Debug, Default)]
struct Count {
    looked: AtomicU64,
    bytes: AtomicU64,
    nanos: AtomicU64,
}

impl Costs {
    /// Of some events, without time.
    pub(crate) fn new(rules: usize) -> Self {
        Self { counts: (0..rules).map(|_| Count::default()).collect(), every: SAMPLED_EVERY, clock: None }
    }

    /// Of every event, with time.
    pub(crate) fn of_all(rules: usize, clock: Clock) -> Self {
        let reading = (0..READINGS).map(|_| since(clock, clock())).min().unwrap_or_default();
        Self { every: 1, clock: Some((clock, reading)), ..Self::new(rules) }
    }

    /// Whether the event with this number is measured.
    pub(crate) fn measures(&self, event: u64) -> bool {
        event.is_multiple_of(self.every)
    }

    /// Measures the rules that an event made the detector look at.
    pub(crate) fn measure(&self, program: &Program, rules: &[u32], frame: &Frame<'_>) {
        for rule in rules {
            let count = &self.counts[*rule as usize];
            count.looked.fetch_add(1, Ordering::Relaxed);
            count.bytes.fetch_add(bytes(program, *rule as usize, frame), Ordering::Relaxed);
            if let Some((clock, reading)) = self.clock {
                let start = clock();
                program.lean.holds(*rule as usize, &mut |id| atom_holds(&program.atoms[id.index()], frame));
                count.nanos.fetch_add(since(clock, start).saturating_sub(reading), Ordering::Relaxed);
            }
        }
    }

    /// What rules that were looked at cost since the last call. `rules` stand at the same places.
    pub(crate) fn take<'r>(&self, rules: impl Iterator<Item = &'r Arc<RuleInfo>>) -> Vec<RuleCost> {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed).saturating_mul(self.every);
        let costs = self.counts.iter().zip(rules).filter(|(count, _)| count.looked.load(Ordering::Relaxed) > 0);
        let cost = |(count, rule): (&Count, &Arc<RuleInfo>)| RuleCost {
            rule: rule.clone(),
            looked: take(&count.looked),
            bytes: take(&count.bytes),
            nanos: take(&count.nanos),
        };
        costs.map(cost).collect()
    }
}

/// What a clock says now, less what it said before.
fn since(clock: Clock, before: u64) -> u64 {
    clock().saturating_sub(before)
}

/// Bytes that the tests of a rule are put to: of those that are needed to know whether it matches, as if it were alone.
fn bytes(program: &Program, rule: usize, frame: &Frame<'_>) -> u64 {
    let mut sum = 0;
    program.lean.holds(rule, &mut |id| {
        let atom = &program.atoms[id.index()];
        sum += length(atom, frame);
        atom_holds(atom, frame)
    });
    sum
}

fn length(atom: &Atom, frame: &Frame<'_>) -> u64 {
    let of = |datum: Datum<'_>| match datum {
        Datum::Text(bytes) | Datum::Escaped(bytes) => bytes.len() as u64,
        _ => 1,
    };
    let bytes: u64 = match atom.scope {
        Scope::Field(field) => frame.values(field).iter().map(|datum| of(*datum)).sum(),
        Scope::Anywhere => frame.texts().map(of).sum(),
    };
    // Even a field that is not there takes a look.
    let bytes = bytes.max(1);
    if matches!(atom.test, Test::Regex { .. }) { bytes * REGEX_WEIGHT } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Detector, RuleSet, compile};
    use beffroi_schema::{Category, Event, Field, Product};

    fn rule(id: &str, line: &str) -> (String, String) {
        let text = format!(
            "title: {id}\nid: {id}\nlogsource: {{category: process_creation, product: linux}}\n\
             detection: {{s: {{Image: /bin/x, {line}}}, condition: s}}\n"
        );
        (format!("{id}.yml"), text)
    }

    fn event(image: &str, length: usize) -> Event {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
        event.set(Field::IMAGE, image).set(Field::COMMAND_LINE, "y".repeat(length));
        event
    }

    fn costs(detector: &impl Detector) -> Vec<(String, u64, u64)> {
        let costs = detector.take_costs().into_iter();
        costs.map(|cost| (cost.rule.id.clone(), cost.looked / SAMPLED_EVERY, cost.bytes / SAMPLED_EVERY)).collect()
    }

    #[test]
    fn the_dear_rule_stands_out_and_what_was_not_looked_at_is_not_told() {
        let mut other = rule("other", "CommandLine: z");
        other.1 = other.1.replace("/bin/x", "/bin/other");
        let rules = [rule("cheap", "CommandLine|endswith: z"), rule("dear", "CommandLine|re: '(z|zz)+$'"), other];
        let detector = compile(&RuleSet::from_texts(rules).0).unwrap();
        // Of so many events the first and the last are measured.
        for _ in 0..=SAMPLED_EVERY {
            detector.evaluate(&event("/bin/x", 1_000));
        }
        let costs = costs(&detector);
        let of = |id: &str| costs.iter().find(|(known, ..)| known == id).map(|(_, looked, bytes)| (*looked, *bytes));
        assert_eq!((of("cheap").unwrap().0, of("dear").unwrap().0, of("other")), (2, 2, None), "{costs:?}");
        assert!(of("dear").unwrap().1 > 9 * of("cheap").unwrap().1, "{costs:?}");
        assert!(detector.take_costs().is_empty(), "a question is answered once");
    }

    #[test]
    fn offline_every_event_is_measured_and_timed_without_what_the_clock_takes() {
        static TICKS: AtomicU64 = AtomicU64::new(0);
        // Each reading takes seven ticks, and nothing else takes any.
        let clock: Clock = || TICKS.fetch_add(7, Ordering::Relaxed);
        let detector = compile(&RuleSet::from_texts([rule("one", "CommandLine: z")]).0).unwrap().measuring(clock);
        (0..5).for_each(|_| drop(detector.evaluate(&event("/bin/x", 10))));
        let costs = detector.take_costs();
        assert_eq!((costs[0].looked, costs[0].nanos), (5, 0), "{costs:?}");
        // One that is slower once it is known: what it takes more is the rule's.
        let slow: Clock = || TICKS.fetch_add(if TICKS.load(Ordering::Relaxed) < 10_000 { 1 } else { 101 }, Ordering::Relaxed);
        let detector = compile(&RuleSet::from_texts([rule("one", "CommandLine: z")]).0).unwrap().measuring(slow);
        TICKS.store(10_000, Ordering::Relaxed);
        (0..5).for_each(|_| drop(detector.evaluate(&event("/bin/x", 10))));
        assert_eq!(detector.take_costs()[0].nanos, 500);
    }

    #[test]
    fn a_longer_value_costs_more() {
        let detector = compile(&RuleSet::from_texts([rule("one", "CommandLine|contains: z")]).0).unwrap();
        let cost = |length: usize| {
            (0..SAMPLED_EVERY).for_each(|_| drop(detector.evaluate(&event("/bin/x", length))));
            costs(&detector)[0].2
        };
        let (short, long) = (cost(10), cost(10_010));
        assert_eq!(long - short, 10_000);
    }
}
