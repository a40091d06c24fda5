//! The correlator against another engine's, on random rules and streams where that one follows the specification: not over
//! chains, not for events of one second in order, not for temporal rules without a condition, not for negative numbers and
//! fractions.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod naive;

use std::collections::BTreeSet;

use beffroi_engine::RuleSet;
use beffroi_engine::correlate::{CorrelateOptions, Correlator};
use naive::{Event, Spec, Stream};
use proptest::prelude::*;
use rsigma_eval::{CorrelationConfig, CorrelationEngine, JsonEvent, ResultBody};
use serde_json::{Map, Value as Json};

/// (second, group) of every event at which the other engine says that a correlation holds.
type Holds = BTreeSet<(i64, Vec<(String, String)>)>;

fn object(event: &Event, rule: usize) -> Map<String, Json> {
    let fields = event.fields.iter().map(|(name, value)| (name.clone(), value.clone().into()));
    fields.chain([("Image".to_string(), format!("/x{rule}").into())]).collect()
}

fn theirs(text: &str, stream: &Stream) -> Holds {
    let mut engine = CorrelationEngine::new(CorrelationConfig::default());
    engine.add_collection(&rsigma_parser::parse_sigma_yaml(text).unwrap()).unwrap();
    let mut holds = Holds::new();
    for event in stream {
        let second = event.time / 1_000_000;
        let json = Json::Object(object(event, event.rules[0]));
        for result in engine.process_event_at(&JsonEvent::borrow(&json), second) {
            if let ResultBody::Correlation(body) = result.body {
                holds.insert((second, body.group_key));
            }
        }
    }
    holds
}

fn ours(text: &str, stream: &Stream) -> Holds {
    let (set, problems) = RuleSet::from_texts([("random.yml", text)]);
    assert!(problems.is_empty(), "{problems:?}");
    let mut correlator = Correlator::new(&set, CorrelateOptions::offline()).unwrap();
    for event in stream {
        let (time, rule) = (event.time / 1_000_000 * 1_000_000, format!("r{}", event.rules[0]));
        correlator.observe("", time, event.number, &object(event, event.rules[0]), [rule.as_str()]);
    }
    let known =
        |group: Vec<(String, Option<String>)>| group.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    correlator.finish().into_iter().map(|found| (found.last_us / 1_000_000, known(found.group))).collect()
}

fn is_comparable(spec: &Spec) -> bool {
    let is_unknown = spec.condition.iter().any(|(_, number)| *number < 0.0 || number.fract() != 0.0);
    // Their percentile fires whatever its condition says.
    let is_ours_alone = matches!(spec.kind, "temporal_ordered" | "value_percentile");
    let needs_every_rule = spec.kind == "temporal" && spec.condition.is_empty();
    !(is_ours_alone || is_unknown || needs_every_rule)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, max_global_rejects: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn another_engine_fires_for_the_same_groups(spec in naive::spec(0), mut stream in naive::stream(0)) {
        prop_assume!(is_comparable(&spec));
        // Theirs judges a window without any number as if its sum were 0.
        let is_number = |event: &Event| event.fields.get("v").is_some_and(|value| value.parse::<f64>().is_ok());
        stream.retain(|event| !spec.kind.starts_with("value") || is_number(event));
        let text = naive::yaml(&[spec]);
        let (ours, theirs) = (ours(&text, &stream), theirs(&text, &stream));
        // They repeat an alert at each event, we say it once for a run.
        prop_assert!(ours.is_subset(&theirs), "{ours:?}\n{theirs:?}\n{text}");
        let groups = |holds: &Holds| holds.iter().map(|(_, group)| group.clone()).collect::<BTreeSet<_>>();
        prop_assert_eq!(groups(&ours), groups(&theirs));
    }
}
