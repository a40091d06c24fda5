//! What correlations mean, and what is refused when they are loaded.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use beffroi_engine::correlate::{CorrelateOptions, CorrelationMatch, Correlator, Observed, OverflowKind};
use beffroi_engine::{RuleProblem, RuleSet};
use beffroi_schema::{Category, Logsource, Product};
use serde_json::{Value as Json, json};

/// Rules `a`, `b` and `c` for single events, then the given documents.
fn text(documents: &str) -> String {
    let rule = |name: &str| {
        format!(
            "title: rule {name}\nid: id-{name}\nname: {name}\nlogsource: {{category: process_creation, product: linux}}\n\
             detection: {{s: {{Image: /{name}}}, condition: s}}\n---\n"
        )
    };
    format!("{}{}{}{documents}", rule("a"), rule("b"), rule("c"))
}

fn load(documents: &str) -> RuleSet {
    let (set, problems) = RuleSet::from_texts([("rules.yml", text(documents))]);
    assert!(problems.is_empty(), "{problems:#?}");
    set
}

fn refused(documents: &str) -> Vec<RuleProblem> {
    let (set, problems) = RuleSet::from_texts([("rules.yml", text(documents))]);
    assert_eq!(set.rules().len(), 3, "single rules load all the same");
    assert!(!problems.is_empty());
    problems
}

fn correlation(id: &str, section: &str) -> String {
    format!("title: {id}\nid: {id}\nname: n-{id}\nlevel: high\ncorrelation: {{{section}}}\n---\n")
}

fn correlator(documents: &str, options: CorrelateOptions) -> Correlator<u64> {
    Correlator::new(&load(documents.trim_end().trim_end_matches("---")), options).unwrap()
}

/// Feeds (second, rules, fields) in this order; each event is named by its place.
fn run(documents: &str, events: &[(i64, &[&str], Json)]) -> Vec<CorrelationMatch<u64>> {
    let mut correlator = correlator(documents, CorrelateOptions::offline());
    for (at, (second, rules, fields)) in events.iter().enumerate() {
        let ids: Vec<String> = rules.iter().map(|rule| format!("id-{rule}")).collect();
        correlator.observe("t", second * 1_000_000, at as u64, fields.as_object().unwrap(), ids.iter().map(String::as_str));
    }
    correlator.finish()
}

fn seconds(found: &[CorrelationMatch<u64>]) -> Vec<i64> {
    found.iter().map(|found| found.last_us / 1_000_000).collect()
}

const A: &[&str] = &["a"];
const B: &[&str] = &["b"];

#[test]
fn both_ends_of_the_window_belong_to_it() {
    let rule = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 10s, condition: {gte: 2}");
    let at = |second| run(&rule, &[(0, A, json!({"u": 1})), (second, A, json!({"u": 1}))]).len();
    assert_eq!((at(10), at(11)), (1, 0));
}

#[test]
fn a_condition_that_stays_true_makes_one_match_for_each_timespan_and_never_silence() {
    let rule = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 10s, condition: {gte: 3}");
    let events: Vec<_> = (0..30).map(|second| (second, A, json!({"u": 1}))).collect();
    let found = run(&rule, &events);
    assert_eq!(seconds(&found), [2, 13, 24]);
    assert_eq!(found[1].events, (3..=13).collect::<Vec<u64>>());
    assert_eq!((found[1].first_us, found[1].count, found[1].value), (3_000_000, 11, 11.0));
}

#[test]
fn a_condition_that_became_false_makes_a_new_match() {
    let rule = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 10s, condition: {eq: 2}");
    let events: Vec<_> = [0, 1, 2, 11, 12, 13].map(|second| (second, A, json!({"u": 1}))).into();
    // 2 at 1 s, 3 at 2 s and 11 s, 3 at 12 s (2, 11, 12), 3 at 13 s.
    assert_eq!(seconds(&run(&rule, &events)), [1]);
    let events: Vec<_> = [0, 1, 2, 12, 14].map(|second| (second, A, json!({"u": 1}))).into();
    // 2 at 1 s, 3 at 2 s, 2 at 12 s (2, 12), 2 at 14 s: still the same run.
    assert_eq!(seconds(&run(&rule, &events)), [1, 12]);
}

#[test]
fn groups_and_tenants_are_counted_apart_and_an_absent_field_is_a_group_of_its_own() {
    let rule = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 2}");
    let mut correlator = correlator(&rule, CorrelateOptions::offline());
    let events = [
        ("t", json!({"u": "1"})),
        ("t", json!({"u": "2"})),
        ("s", json!({"u": "1"})),
        ("t", json!({})),
        ("t", json!({"u": null})),
    ];
    for (at, (scope, fields)) in events.iter().enumerate() {
        correlator.observe(scope, 1, at as u64, fields.as_object().unwrap(), ["id-a"]);
    }
    let found = correlator.finish();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].group, [("u".to_string(), None)]);
}

#[test]
fn an_event_that_matches_two_rules_counts_once() {
    let rule = correlation("x", "type: event_count, rules: [a, b], group-by: [u], timespan: 1m, condition: {gte: 2}");
    assert!(run(&rule, &[(0, &["a", "b"], json!({}))]).is_empty());
    assert_eq!(run(&rule, &[(0, A, json!({})), (1, B, json!({}))]).len(), 1);
}

#[test]
fn an_event_that_is_sent_twice_counts_once() {
    let rule = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 2}");
    let mut correlator = correlator(&rule, CorrelateOptions::default());
    let nothing = json!({});
    let mut observe = |time| correlator.observe("t", time, 7, nothing.as_object().unwrap(), ["id-a"]);
    assert_eq!((observe(5), observe(5)), (Observed::Held, Observed::Held));
    assert!(correlator.advance(10).is_empty());
    assert_eq!(correlator.observe("t", 5, 7, nothing.as_object().unwrap(), ["id-a"]), Observed::Late);
    assert_eq!(correlator.figures().late, 1);
}

#[test]
fn values_are_counted_by_what_they_are_and_several_fields_make_one_value() {
    let rule = correlation("x", "type: value_count, rules: [a], group-by: [u], timespan: 1m, condition: {field: [v, w], gte: 3}");
    let event = |second, v: &str, w: &str| (second, A, json!({"v": v, "w": w}));
    assert!(run(&rule, &[event(0, "1", "1"), event(1, "1", "2"), event(2, "1", "2")]).is_empty());
    assert!(run(&rule, &[event(0, "1", "1"), event(1, "1", "2"), (2, A, json!({"v": "1"}))]).is_empty());
    assert_eq!(run(&rule, &[event(0, "1", "1"), event(1, "1", "2"), event(2, "2", "2")])[0].value, 3.0);
}

#[test]
fn sums_means_and_percentiles_are_exact_and_leave_out_what_is_no_number() {
    let of = |kind: &str, condition: &str| {
        let section = format!("type: {kind}, rules: [a], group-by: [u], timespan: 1m, condition: {{field: v, {condition}}}");
        let values = [json!("0.1"), json!(0.2), json!("x"), json!(null), json!("9.7"), json!(-4)];
        let events: Vec<_> = values.into_iter().zip(0..).map(|(value, second)| (second, A, json!({"v": value}))).collect();
        run(&correlation("x", &section), &events)
            .last()
            .map(|found| (found.last_us / 1_000_000, (found.value * 1e6).round() / 1e6))
    };
    assert_eq!(of("value_sum", "eq: 6"), Some((5, 6.0)), "tenths are exact");
    assert_eq!(of("value_sum", "gte: 9"), Some((4, 10.0)));
    assert_eq!(of("value_avg", "lt: 3, gt: 1"), Some((5, 1.5)));
    assert_eq!(of("value_median", "lte: 1, gte: 0"), Some((0, 0.1)));
    assert_eq!(of("value_percentile", "percentile: 100, gt: 9"), Some((4, 9.7)));
    assert_eq!(of("value_percentile", "percentile: 0, lt: -3"), Some((5, -4.0)));
    assert_eq!(of("value_sum", "lt: -3"), None);
}

#[test]
fn means_and_sums_are_compared_with_fractions() {
    let events = [(0, A, json!({"v": "0.25"})), (1, A, json!({"v": "0.5"})), (2, A, json!({"v": 0.75}))];
    for (condition, seen) in [
        ("value_avg, condition: {field: v, gte: 0.5}", [2].as_slice()),
        ("value_avg, condition: {field: v, gt: 0.5}", &[]),
        ("value_sum, condition: {field: v, gte: 0.7, lt: 1}", &[1]),
        ("value_median, condition: {field: v, eq: 375.0e-3}", &[1]),
    ] {
        let rule = correlation("x", &format!("type: {condition}, rules: [a], group-by: [u], timespan: 300d"));
        assert_eq!(seconds(&run(&rule, &events)), seen, "{condition}");
    }
}

#[test]
fn temporal_needs_every_rule_in_the_window_in_any_order() {
    let rule = correlation("x", "type: temporal, rules: [a, b], group-by: [u], timespan: 10s");
    assert_eq!(run(&rule, &[(0, B, json!({})), (10, A, json!({}))])[0].events, [0, 1]);
    assert!(run(&rule, &[(0, B, json!({})), (11, A, json!({}))]).is_empty());
    assert!(run(&rule, &[(0, B, json!({"u": 1})), (1, A, json!({"u": 2}))]).is_empty());
    let two_of_three = correlation("x", "type: temporal, rules: [a, b, c], group-by: [u], timespan: 10s, condition: {gte: 2}");
    assert_eq!(run(&two_of_three, &[(0, B, json!({})), (1, A, json!({}))]).len(), 1);
    let one = correlation("x", "type: temporal, rules: [a, b], group-by: [u], timespan: 10s, condition: {gte: 1}");
    assert_eq!(run(&one, &[(0, B, json!({}))]).len(), 1, "a condition that is written is the condition");
}

#[test]
fn a_temporal_condition_may_be_an_expression() {
    let rule = correlation("x", "type: temporal, rules: [a, b, c], group-by: [u], timespan: 10s, condition: a and b and not c");
    assert_eq!(run(&rule, &[(0, B, json!({})), (1, A, json!({}))]).len(), 1);
    assert!(run(&rule, &[(0, &["c"], json!({})), (1, B, json!({})), (2, A, json!({}))]).is_empty());
}

#[test]
fn temporal_ordered_needs_the_listed_order_by_time_and_then_by_event() {
    let rule = correlation("x", "type: temporal_ordered, rules: [a, b], group-by: [u], timespan: 10s");
    assert_eq!(run(&rule, &[(0, A, json!({})), (1, B, json!({}))]).len(), 1);
    assert!(run(&rule, &[(0, B, json!({})), (1, A, json!({}))]).is_empty());
    assert_eq!(run(&rule, &[(0, A, json!({})), (0, B, json!({}))]).len(), 1);
    assert!(run(&rule, &[(0, B, json!({})), (0, A, json!({}))]).is_empty());
    assert!(run(&rule, &[(0, &["a", "b"], json!({}))]).is_empty(), "one event is one step");
    let twice = correlation("x", "type: temporal_ordered, rules: [a, a, b], group-by: [u], timespan: 10s");
    assert!(run(&twice, &[(0, A, json!({})), (1, B, json!({}))]).is_empty());
    assert_eq!(run(&twice, &[(0, A, json!({})), (1, A, json!({})), (2, B, json!({}))]).len(), 1);
}

#[test]
fn aliases_bring_fields_of_different_names_together() {
    let rule = correlation(
        "x",
        "type: temporal, rules: [a, b], group-by: [ip], timespan: 10s, aliases: {ip: {a: source, b: destination}}",
    );
    let found = run(&rule, &[(0, A, json!({"source": "10.0.0.1"})), (1, B, json!({"destination": "10.0.0.1"}))]);
    assert_eq!(found[0].group, [("ip".to_string(), Some("10.0.0.1".to_string()))]);
    assert!(run(&rule, &[(0, A, json!({"source": "10.0.0.1"})), (1, B, json!({"source": "10.0.0.1"}))]).is_empty());
}

#[test]
fn a_chain_uses_its_own_group_as_the_specification_notes() {
    let many = correlation("many", "type: event_count, rules: [a], group-by: [host], timespan: 1m, condition: {gte: 2}");
    let then = correlation("then", "type: temporal_ordered, rules: [n-many, b], group-by: [user], timespan: 1m");
    let fails = |user: &str| {
        let fails = json!({"host": "h", "user": user});
        vec![(0, A, fails.clone()), (1, A, fails), (2, B, json!({"host": "i", "user": "alice"}))]
    };
    let found = run(&(many.clone() + &then), &fails("alice"));
    assert_eq!(found.iter().map(|found| found.rule.id.as_str()).collect::<Vec<_>>(), ["then"]);
    assert!(run(&(many + &then), &fails("bob")).is_empty());
}

#[test]
fn what_a_correlation_refers_to_is_quiet_unless_it_generates() {
    let quiet = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 2}");
    let loud = format!(
        "generate: true\n{}",
        correlation("y", "type: event_count, rules: [b], group-by: [u], timespan: 1m, condition: {gte: 2}")
    );
    let correlator = correlator(&(quiet + &loud), CorrelateOptions::default());
    let alone = ["id-a", "id-b", "id-c", "x", "y"].map(|id| correlator.alerts_alone(id));
    assert_eq!(alone, [false, true, true, true, true]);
}

#[test]
fn the_id_of_a_match_names_rule_scope_group_and_first_event() {
    let rule = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 10s, condition: {gte: 2}");
    let events = [(0, A, json!({"u": 1})), (1, A, json!({"u": 1})), (30, A, json!({"u": 1})), (31, A, json!({"u": 1}))];
    let (found, again) = (run(&rule, &events), run(&rule, &events));
    assert_eq!(found, again);
    assert_eq!(found.len(), 2);
    assert_ne!(found[0].id, found[1].id);
    let mut reversed = correlator(&rule, CorrelateOptions::offline());
    for (at, (second, _, fields)) in events.iter().enumerate().rev() {
        reversed.observe("t", second * 1_000_000, at as u64, fields.as_object().unwrap(), ["id-a"]);
    }
    assert_eq!(reversed.finish(), found, "the order of arrival changes nothing");
}

#[test]
fn a_flood_of_groups_pushes_out_itself_is_reported_and_leaves_others_alone() {
    let flood = correlation("flood", "type: event_count, rules: [a], group-by: [u], timespan: 1h, condition: {gte: 2}");
    let other = correlation("other", "type: event_count, rules: [b], group-by: [u], timespan: 1h, condition: {gte: 2}");
    let mut correlator = correlator(&(flood + &other), CorrelateOptions { max_groups: 1_000, ..CorrelateOptions::default() });
    let mut found = Vec::new();
    for at in 0..20_000u64 {
        let fields = json!({"u": "é".repeat(2_000) + &at.to_string()});
        let rule = if matches!(at, 0 | 19_999) { "id-b" } else { "id-a" };
        let fields = if rule == "id-b" { json!({"u": 1}) } else { fields };
        correlator.observe("t", at as i64, at, fields.as_object().unwrap(), [rule]);
        found.extend(correlator.advance(at as i64));
        assert!(correlator.figures().groups <= 1_001, "{:?}", correlator.figures());
    }
    assert_eq!(found.iter().map(|found| found.rule.id.as_str()).collect::<Vec<_>>(), ["other"]);
    let overflows = correlator.take_overflows();
    assert_eq!(overflows.len(), 1);
    assert_eq!((overflows[0].kind, &*overflows[0].scope), (OverflowKind::Groups, "t"));
    assert_eq!(overflows[0].rule.as_ref().unwrap().id, "flood");
    assert!(overflows[0].count >= 18_998 - 1_000, "{overflows:?}");
    assert!(correlator.take_overflows().is_empty(), "each is reported once");
}

#[test]
fn bytes_are_bounded_whatever_an_event_holds() {
    let rule = correlation("x", "type: value_count, rules: [a], group-by: [u], timespan: 1h, condition: {field: v, gte: 90000}");
    let options = CorrelateOptions { max_bytes: 1 << 20, ..CorrelateOptions::default() };
    let mut correlator = correlator(&rule, options);
    for at in 0..50_000u64 {
        let fields = json!({"u": at % 50, "v": at});
        correlator.observe("t", at as i64, at, fields.as_object().unwrap(), ["id-a"]);
        correlator.advance(at as i64);
        assert!(correlator.figures().bytes <= (1 << 20) + 4_096, "{:?}", correlator.figures());
    }
    assert!(correlator.take_overflows().iter().any(|overflow| overflow.kind == OverflowKind::Groups));
}

#[test]
fn a_full_window_and_a_full_buffer_are_reported() {
    let rule = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 1h, condition: {gte: 3}");
    let options = CorrelateOptions { max_entries: 5, max_held: 10, ..CorrelateOptions::default() };
    let mut correlator = correlator(&rule, options);
    for at in 0..30u64 {
        assert_eq!(correlator.observe("t", at as i64, at, json!({}).as_object().unwrap(), ["id-a"]), Observed::Held);
    }
    assert_eq!(correlator.figures().held, 10);
    assert_eq!(correlator.observe("t", 3, 99, json!({}).as_object().unwrap(), ["id-a"]), Observed::Late);
    let found = correlator.finish();
    assert_eq!(found.len(), 1, "what was applied early is judged all the same");
    let kinds: Vec<_> = correlator.take_overflows().iter().map(|overflow| (overflow.kind, overflow.count)).collect();
    assert_eq!(kinds, [(OverflowKind::Events, 25), (OverflowKind::Held, 20)]);
}

#[test]
fn groups_are_forgotten_when_their_windows_are_empty() {
    let rule = correlation("x", "type: event_count, rules: [a], group-by: [u], timespan: 10s, condition: {gte: 2}");
    let mut correlator = correlator(&rule, CorrelateOptions::default());
    for at in 0..1_000u64 {
        correlator.observe("t", at as i64, at, json!({"u": at}).as_object().unwrap(), ["id-a"]);
    }
    correlator.advance(1_000);
    assert_eq!(correlator.figures().groups, 1_000);
    correlator.advance(12_000_000);
    let figures = correlator.figures();
    assert_eq!((figures.groups, figures.bytes, figures.held), (0, 0, 0));
}

#[test]
fn a_changed_correlation_begins_anew_and_others_go_on() {
    let rule = |id: &str, count: u32| {
        correlation(id, &format!("type: event_count, rules: [a], group-by: [u], timespan: 1h, condition: {{gte: {count}}}"))
    };
    let mut before = correlator(&(rule("x", 2) + &rule("y", 2)), CorrelateOptions::default());
    before.observe("t", 1, 1, json!({}).as_object().unwrap(), ["id-a"]);
    before.advance(1);
    let mut after = correlator(&(rule("x", 2) + &rule("y", 1)), CorrelateOptions::default());
    let restored = after.restore(before.snapshot()).unwrap();
    assert_eq!((restored.groups, restored.left_out), (1, 1));
    let mut text = serde_json::to_value(before.snapshot()).unwrap();
    text["version"] = 99.into();
    let error = after.restore(serde_json::from_value(text).unwrap()).unwrap_err();
    assert!(error.to_string().contains("99"), "{error}");
}

#[test]
fn a_correlation_that_refers_to_itself_is_refused_and_so_is_what_needs_it() {
    let of = |id: &str, rules: &str| correlation(id, &format!("type: temporal, rules: [{rules}], group-by: [u], timespan: 1m"));
    let problems = refused((of("x", "n-y, a") + &of("y", "x, b") + &of("z", "x, c")).trim_end_matches("---\n"));
    let reasons: Vec<&str> = problems.iter().map(|problem| problem.reason.as_str()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert_eq!(reasons.iter().filter(|reason| reason.contains("refers to itself")).count(), 2);
    assert_eq!(reasons.iter().filter(|reason| reason.contains("'x', which did not load")).count(), 1);
    assert!(problems.iter().all(|problem| problem.line > 10 && !problem.loaded));
}

#[test]
fn what_could_never_hold_or_is_no_part_of_the_specification_is_refused_with_its_reason() {
    for (section, words) in [
        ("type: event_count, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 100001}", "never reached"),
        ("type: temporal, rules: [a, b], group-by: [u], timespan: 1m, condition: {gt: 2}", "never reached"),
        ("type: temporal, rules: [a, a], group-by: [u], timespan: 1m", "twice"),
        ("type: temporal, rules: [a, nobody], group-by: [u], timespan: 1m", "'nobody'"),
        ("type: temporal, rules: [], group-by: [u], timespan: 1m", "no rules"),
        ("type: temporal, rules: [a, b], group-by: [u], timespan: 1m, condition: a and d", "'d'"),
        ("type: temporal_ordered, rules: [a, b], group-by: [u], timespan: 1m, condition: a and b", "number"),
        ("type: value_count, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 2}", "needs a field"),
        ("type: value_sum, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 2, field: [v, w]}", "one field"),
        ("type: event_count, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 2, field: v}", "no field"),
        ("type: event_count, rules: [a], group-by: [u], timespan: 0s, condition: {gte: 2}", "timespan"),
        ("type: event_count, rules: [a], group-by: [u], timespan: 2y, condition: {gte: 2}", "timespan"),
        ("type: event_count, rules: [a], group-by: [u], timespan: 1m, window: tumbling, condition: {gte: 2}", "window"),
        (
            "type: value_percentile, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 2, field: v, percentile: 101}",
            "101",
        ),
        ("type: event_count, rules: [a], group-by: [u], timespan: 1m", "condition"),
        ("type: event_count, rules: [a], group-by: [u], timespan: 1m, condition: {gte: 2.5}", "fraction"),
        ("type: value_avg, rules: [a], group-by: [u], timespan: 1m, condition: {field: v, gte: .nan}", "no number"),
        (
            "type: value_percentile, rules: [a], group-by: [u], timespan: 1m, condition: {field: v, gte: 1, percentile: 99.5}",
            "99.5",
        ),
    ] {
        let problems = refused(correlation("x", section).trim_end_matches("---\n"));
        assert_eq!(problems.len(), 1, "{section}: {problems:#?}");
        assert!(problems[0].reason.contains(words), "{section}: {}", problems[0].reason);
    }
}

#[test]
fn a_name_means_the_rule_of_its_own_file_and_is_refused_where_it_could_mean_two() {
    let rule = |id: &str| {
        format!("title: t\nid: {id}\nname: same\nlogsource: {{product: linux}}\ndetection: {{s: {{x: 1}}, condition: s}}\n")
    };
    let count =
        "title: c\nid: c\ncorrelation: {type: event_count, rules: [same], group-by: [u], timespan: 1m, condition: {gte: 2}}\n";
    let (set, problems) = RuleSet::from_texts([("a.yml", rule("one")), ("b.yml", format!("{}---\n{count}", rule("two")))]);
    assert!(problems.is_empty(), "{problems:#?}");
    assert_eq!(set.correlations()[0].builds_on(), ["two"]);
    let (set, problems) = RuleSet::from_texts([("a.yml", rule("one")), ("b.yml", rule("two")), ("c.yml", count.into())]);
    assert!(set.correlations().is_empty());
    assert!(problems[0].reason.contains("several rules"), "{problems:#?}");
}

#[test]
fn a_correlation_over_audit_rules_is_inert_when_it_groups_by_what_differs_from_record_to_record() {
    let audit = "title: audit\nid: audit\nlogsource: {product: linux, service: auditd}\ndetection: {s: {type: EXECVE}, condition: s}\n---\n";
    let of = |id: &str, group: &str| {
        correlation(id, &format!("type: event_count, rules: [audit], group-by: [{group}], timespan: 1h, condition: {{gte: 2}}"))
    };
    let text = format!("{audit}{}{}{}", of("mapped", "exe, auid"), of("ours", "User"), of("argument", "a0"));
    let (set, problems) = RuleSet::from_texts([("rules.yml", text.trim_end_matches("---\n"))]);
    assert!(problems.is_empty(), "{problems:#?}");
    let sensor = |category, service: Option<&str>| Logsource {
        category,
        product: Product::Linux,
        service: service.map(|name| name.as_bytes().into()),
    };
    let inert = |sensors: &[Logsource]| set.inert(sensors).into_iter().map(|inert| inert.rule.id.clone()).collect::<Vec<_>>();
    assert_eq!(inert(&[sensor(Category::ProcessCreation, None)]), ["argument"]);
    let log = [sensor(Category::ProcessCreation, None), sensor(Category::None, Some("auditd"))];
    assert!(inert(&log).is_empty(), "records of auditd itself have fields of their own");
}

#[test]
fn a_correlation_is_inert_when_a_rule_or_a_field_that_it_needs_is() {
    let base = |name: &str, category: &str| {
        format!(
            "title: {name}\nid: {name}\nlogsource: {{category: {category}, product: linux}}\ndetection: {{s: {{Image: /a}}, condition: s}}\n---\n"
        )
    };
    let of = |id: &str, kind: &str, rules: &str, group: &str, condition: &str| {
        correlation(id, &format!("type: {kind}, rules: [{rules}], group-by: [{group}], timespan: 1m{condition}"))
    };
    let text = base("live", "process_creation")
        + &base("dead", "dns_query")
        + &of("all", "temporal", "live, dead", "User", "")
        + &of("any", "event_count", "live, dead", "User", ", condition: {gte: 2}")
        + &of("one", "temporal", "live, dead", "User", ", condition: {gte: 1}")
        + &of("not", "temporal", "live, dead", "User", ", condition: live and not dead")
        + &of("none", "event_count", "dead", "User", ", condition: {gte: 2}")
        + &of("over", "temporal", "all, live", "User", "")
        + &of("group", "event_count", "live", "NoSuchField", ", condition: {gte: 2}")
        + &of("value", "value_count", "live", "User", ", condition: {field: NoSuchField, gte: 2}");
    let (set, problems) = RuleSet::from_texts([("rules.yml", text.trim_end_matches("---\n"))]);
    assert!(problems.is_empty(), "{problems:#?}");
    let sensor = Logsource { category: Category::ProcessCreation, product: Product::Linux, service: None };
    let inert = set.inert(&[sensor]);
    let found: Vec<&str> = inert.iter().map(|inert| inert.rule.id.as_str()).collect();
    assert_eq!(found, ["dead", "all", "none", "group", "value", "over"]);
    assert!(inert[1].reason.contains("needs the rule dead") && inert[3].reason.contains("NoSuchField"), "{inert:#?}");
}
