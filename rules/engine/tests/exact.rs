//! Promises of the fast evaluator: on any rules and any events it says what the reference evaluator says and, where that
//! engine is right, what rsigma-eval says; and no regular expression of a rule holds it up.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod made;

use std::time::Duration;

use beffroi_engine::eval::{Builder, Frame, Judge, Program, Scratch, Wanted, explain, fill_from_json, fill_from_text, reference};
use beffroi_engine::{Detector, RuleSet, compile};
use beffroi_schema::{Category, Event, Field, Product};
use made::{Taste, event, processor_time, rule};
use proptest::prelude::*;
use serde_json::{Map, Value as Json};

/// Rules and events of one case.
const RULES: usize = 8;
const EVENTS: usize = 4;

fn program(rules: &[Json]) -> Program {
    let mut builder = Builder::default();
    for rule in rules {
        // JSON is YAML. What cannot be judged is refused by both evaluators alike, before either is asked.
        let parsed = rsigma_parser::parse_sigma_yaml(&rule.to_string()).map(|set| set.rules).unwrap_or_default();
        parsed.iter().for_each(|rule| _ = builder.add(rule));
    }
    builder.finish()
}

fn by_the_book(program: &Program, event: &Map<String, Json>) -> Vec<u32> {
    let mut frame = Frame::new(&program.names);
    fill_from_json(&mut frame, &program.names, event);
    reference::matches(program, &frame).into_iter().map(|place| place as u32).collect()
}

/// From JSON text, with what no rule reads left out, into one frame, in two judges that share one memory.
fn fast(program: &Program, events: &[Map<String, Json>]) -> Vec<Vec<u32>> {
    let (even, odd): (Vec<usize>, Vec<usize>) = (0..program.rules.len()).partition(|place| place % 2 == 0);
    let judges = [even, odd].map(|rules| Judge::new(program, &rules).unwrap());
    let wanted = Wanted::union(judges.iter().map(|judge| judge.all().wanted()));
    let mut scratch = Scratch::default();
    let mut kept = Frame::new(&program.names);
    let mut judge = |event: &Map<String, Json>| {
        let text = Json::Object(event.clone()).to_string().into_bytes();
        let mut frame = std::mem::take(&mut kept).recycle_for(&program.names);
        fill_from_text(&mut frame, &program.names, &wanted, &text).unwrap();
        let mut matches = Vec::new();
        for judge in &judges {
            let found = judge.matches(program, &frame, &mut scratch).to_vec();
            // Also by a judge that was not the last to search the frame, or did not search it at all.
            for (rule, asked) in found.iter().flat_map(|rule| judges.iter().map(move |judge| (*rule as usize, judge))) {
                let why = asked.explain(asked.all(), program, rule, &frame, &mut scratch, usize::MAX);
                assert_eq!(why, explain(program, &program.rules[rule], &frame, usize::MAX));
            }
            matches.extend(found);
        }
        matches.sort_unstable();
        kept = frame.recycle();
        matches
    };
    // What was read and judged before changes nothing: each event comes again after the others.
    let rounds: Vec<Vec<Vec<u32>>> = (0..2).map(|_| events.iter().map(&mut judge).collect()).collect();
    assert_eq!(rounds[0], rounds[1]);
    rounds.into_iter().next().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_rules_on_any_events_are_judged_as_by_the_book(
        rules in proptest::collection::vec(rule(Taste::Everything), 1..=RULES),
        events in proptest::collection::vec(event(Taste::Everything), 1..=EVENTS),
    ) {
        let program = program(&rules);
        let slow: Vec<Vec<u32>> = events.iter().map(|event| by_the_book(&program, event)).collect();
        prop_assert_eq!(fast(&program, &events), slow);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rules_that_rsigma_judges_rightly_get_its_verdicts(
        rules in proptest::collection::vec(rule(Taste::Common), 1..=RULES),
        events in proptest::collection::vec(event(Taste::Common), 1..=EVENTS),
    ) {
        let parsed: Vec<_> = rules
            .iter()
            .flat_map(|rule| rsigma_parser::parse_sigma_yaml(&rule.to_string()).map(|set| set.rules).unwrap_or_default())
            .collect();
        let mut builder = Builder::default();
        let mut engine = rsigma_eval::Engine::new();
        // It refuses some that the specification allows (`all` over one value).
        for mut rule in parsed {
            rule.id = Some(engine.rule_count().to_string());
            if engine.add_rule(&rule).is_ok() {
                builder.add(&rule).unwrap();
            }
        }
        let program = builder.finish();
        for (event, ours) in events.iter().zip(fast(&program, &events)) {
            let json = Json::Object(event.clone());
            let found = engine.evaluate(&rsigma_eval::JsonEvent::borrow(&json));
            let mut theirs: Vec<u32> = found.iter().filter_map(|found| found.header.rule_id.as_ref()?.parse().ok()).collect();
            theirs.sort_unstable();
            prop_assert_eq!(&ours, &theirs, "{} on {}", Json::Array(rules.clone()), json);
        }
    }
}

/// Expressions that make engines which try one way after the other take for ever.
fn evil(number: usize) -> String {
    let atoms = ["a", "(a|a)", "(a|aa)", "[a-z]", "\\w", ".", "(a*)", "(a?)", "\\pL", "(?:a|b|ab)"];
    let quantifiers = ["*", "+", "{1,30}", "{0,50}", "?", "*?", "{10,}", "+?", "{100}", "{1,1000}"];
    let pick = |list: &[&'static str], shift: usize| list[(number / shift) % list.len()];
    let inner = format!("({}{})", pick(&atoms, 1), pick(&quantifiers, 10));
    let middle = format!("({inner}{})", pick(&quantifiers, 3));
    match number % 5 {
        0 => format!("^{middle}{}$", pick(&quantifiers, 7)),
        1 => format!("{middle}{}b", pick(&quantifiers, 11)),
        2 => format!("({middle}|{inner}){}c$", pick(&quantifiers, 13)),
        3 => format!("(?i)^({inner}{}){}!", pick(&quantifiers, 17), pick(&quantifiers, 2)),
        _ => format!("{}{middle}.*{inner}x", "a?".repeat(number % 60)),
    }
}

#[test]
fn no_evil_expression_takes_a_second() {
    let limit = Duration::from_secs(1);
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for number in 0..500 {
        let expression = evil(number);
        let detection = serde_json::json!({"s": {"CommandLine|re": expression}, "condition": "s"});
        let rule = serde_json::json!({"title": "t", "id": "r", "logsource": {"product": "linux", "category": "process_creation"},
            "detection": detection});
        let (set, problems) = RuleSet::from_texts([("t.yml", rule.to_string())]);
        if !problems.is_empty() {
            refused += 1;
        } else {
            let detector = compile(&set).unwrap();
            for word in ["a", "ab", "aab "] {
                let start = processor_time();
                let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
                event.set(Field::COMMAND_LINE, word.repeat(beffroi_schema::limits::MAX_TEXT_BYTES / word.len() - 1) + "!");
                let _either_verdict = detector.evaluate(&event);
                let taken = processor_time() - start;
                slowest = slowest.max(taken);
                assert!(taken < limit, "{expression} takes {taken:?} on {word}...");
            }
        }
    }
    eprintln!("{refused} of 500 refused, the slowest took {slowest:?}");
}
