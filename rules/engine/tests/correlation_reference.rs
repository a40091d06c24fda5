//! The correlator against a naive one that keeps every event and computes each window anew, on random rules and streams.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod naive;

use beffroi_engine::RuleSet;
use beffroi_engine::correlate::{CorrelateOptions, CorrelationMatch, Correlator, Snapshot, Watermark};
use naive::{Fields, Seen, Spec, Stream};
use proptest::prelude::*;
use serde_json::{Map, Value as Json};

fn loaded(specs: &[Spec]) -> RuleSet {
    let (set, problems) = RuleSet::from_texts([("random.yml", naive::yaml(specs))]);
    assert!(problems.is_empty(), "{problems:?}\n{}", naive::yaml(specs));
    set
}

fn object(fields: &Fields) -> Map<String, Json> {
    fields.iter().map(|(name, value)| (name.clone(), value.clone().into())).collect()
}

fn seen(found: CorrelationMatch<u64>) -> Seen {
    Seen::new(found.rule.id.clone(), found.last_us, found.first_us, found.group, found.value)
}

/// Observes the events in the order of their arrival, with the watermark close behind; a restart after the event `stop`.
fn run(set: &RuleSet, stream: &Stream, lateness: i64, stop: usize) -> Vec<CorrelationMatch<u64>> {
    let mut correlator: Correlator<u64> = Correlator::new(set, CorrelateOptions::default()).unwrap();
    let mut watermark = Watermark::new(lateness);
    let mut found = Vec::new();
    let mut arriving: Vec<_> = stream.iter().collect();
    arriving.sort_by_key(|event| (event.arrives, event.number));
    for (at, event) in arriving.into_iter().enumerate() {
        let rules: Vec<String> = event.rules.iter().map(|rule| format!("r{rule}")).collect();
        correlator.observe("t", event.time, event.number, &object(&event.fields), rules.iter().map(String::as_str));
        watermark.see(0, event.time);
        // One microsecond earlier: an event may arrive just as the watermark reaches it.
        found.extend(correlator.advance(watermark.get().unwrap() - 1));
        if at == stop {
            let text = serde_json::to_string(&correlator.snapshot()).unwrap();
            let snapshot: Snapshot<u64> = serde_json::from_str(&text).unwrap();
            let mut fresh = Correlator::new(set, CorrelateOptions::default()).unwrap();
            assert_eq!(fresh.restore(snapshot.clone()).unwrap().left_out, 0);
            assert_eq!(fresh.snapshot(), snapshot);
            correlator = fresh;
        }
    }
    found.extend(correlator.finish());
    let figures = correlator.figures();
    assert_eq!((figures.late, figures.held), (0, 0));
    found
}

fn loaded_correlator(specs: &[Spec]) -> Correlator<u64> {
    Correlator::new(&loaded(specs), CorrelateOptions::default()).unwrap()
}

/// Observes the events; half of them are applied and the rest is held.
fn observe(correlator: &mut Correlator<u64>, stream: &Stream) {
    for event in stream {
        let rules: Vec<String> = event.rules.iter().map(|rule| format!("r{rule}")).collect();
        correlator.observe("t", event.time, event.number, &object(&event.fields), rules.iter().map(String::as_str));
    }
    if let Some(middle) = stream.get(stream.len() / 2) {
        correlator.advance(middle.time);
    }
}

/// The same events again, a few seconds later.
fn later(stream: &Stream) -> Stream {
    let move_on =
        |event: &naive::Event| naive::Event { number: event.number + 1_000, time: event.time + 5_000_000, ..event.clone() };
    stream.iter().map(move_on).collect()
}

fn sorted(mut found: Vec<Seen>) -> Vec<Seen> {
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_correlator_says_what_the_naive_one_says(specs in naive::specs(), stream in naive::stream(0)) {
        let found = run(&loaded(&specs), &stream, 0, usize::MAX);
        prop_assert_eq!(sorted(found.into_iter().map(seen).collect()), sorted(naive::run(&specs, &stream)));
    }

    #[test]
    fn the_order_of_arrival_changes_nothing_within_the_lateness(specs in naive::specs(), stream in naive::stream(20_000_000)) {
        let found = run(&loaded(&specs), &stream, 20_000_000, usize::MAX);
        prop_assert_eq!(sorted(found.into_iter().map(seen).collect()), sorted(naive::run(&specs, &stream)));
    }

    #[test]
    fn an_exchange_of_rules_leaves_the_state_that_a_restart_with_them_leaves(
        (specs, kept) in naive::specs().prop_flat_map(|specs| { let len = specs.len(); (Just(specs), 0..=len) }),
        stream in naive::stream(20_000_000),
        is_first_changed in any::<bool>(),
    ) {
        let mut correlator = loaded_correlator(&specs);
        observe(&mut correlator, &stream);
        let mut others = specs[..kept].to_vec();
        if let Some(first) = others.first_mut().filter(|_| is_first_changed) {
            first.seconds += 1;
        }
        let other = loaded_correlator(&others);
        let mut restarted = other.fresh();
        restarted.restore(correlator.snapshot()).unwrap();
        let groups = correlator.figures().groups;
        let left = correlator.exchange(&other);
        prop_assert_eq!(correlator.snapshot(), restarted.snapshot());
        prop_assert_eq!(correlator.figures().groups + left.groups(), groups);
        let (ours, theirs) = (correlator.figures(), restarted.figures());
        prop_assert_eq!((ours.groups, ours.held), (theirs.groups, theirs.held));
        observe(&mut correlator, &later(&stream));
        observe(&mut restarted, &later(&stream));
        prop_assert_eq!(correlator.finish(), restarted.finish());
    }

    #[test]
    fn a_restart_changes_nothing(specs in naive::specs(), stream in naive::stream(20_000_000), stop in 0usize..30) {
        let set = loaded(&specs);
        prop_assert_eq!(run(&set, &stream, 20_000_000, stop), run(&set, &stream, 20_000_000, usize::MAX));
    }
}
