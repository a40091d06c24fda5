//! A correlator that keeps every event and computes each window anew, with the rules and streams to try it on. It shares
//! nothing with the engine's but the meaning.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "tests; each program uses a part")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use proptest::prelude::*;

/// Rules that judge single events: r0, r1, r2.
const RULES: usize = 3;

pub type Fields = BTreeMap<String, String>;
pub type Group = Vec<(String, Option<String>)>;
pub type Stream = Vec<Event>;

#[derive(Debug, Clone)]
pub struct Event {
    pub number: u64,
    pub time: i64,
    pub arrives: i64,
    pub rules: Vec<usize>,
    pub fields: Fields,
}

/// A correlation, c0, c1, ...: its rules are below `RULES`, or `RULES` and the number of an earlier correlation.
#[derive(Debug, Clone)]
pub struct Spec {
    pub kind: &'static str,
    pub rules: Vec<usize>,
    pub group_by: Vec<&'static str>,
    pub seconds: i64,
    pub condition: Vec<(&'static str, f64)>,
    pub percentile: i64,
    pub generate: bool,
    /// r1 has the group's first field under the name `h`.
    pub is_aliased: bool,
}

/// What is compared of a match.
#[derive(Debug, Clone, PartialEq, PartialOrd)]
pub struct Seen {
    pub rule: String,
    pub at: i64,
    pub first: i64,
    pub group: Group,
    pub value: f64,
}

impl Seen {
    /// The engine is exact; numbers for people are rounded.
    pub fn new(rule: String, at: i64, first: i64, group: Group, value: f64) -> Self {
        Self { rule, at, first, group, value: (value * 1e6).round() / 1e6 }
    }
}

fn name(rule: usize) -> String {
    if rule < RULES { format!("r{rule}") } else { format!("c{}", rule - RULES) }
}

pub fn yaml(specs: &[Spec]) -> String {
    let mut text = String::new();
    for rule in 0..RULES {
        writeln!(text, "title: rule {rule}\nid: r{rule}\nlogsource: {{category: process_creation, product: linux}}").unwrap();
        writeln!(text, "detection: {{s: {{Image: /x{rule}}}, condition: s}}\n---").unwrap();
    }
    for (at, spec) in specs.iter().enumerate() {
        let rules: Vec<String> = spec.rules.iter().map(|rule| name(*rule)).collect();
        writeln!(text, "title: correlation {at}\nid: c{at}\ngenerate: {}\ncorrelation:", spec.generate).unwrap();
        writeln!(text, "  type: {}\n  rules: [{}]\n  timespan: {}s", spec.kind, rules.join(", "), spec.seconds).unwrap();
        writeln!(text, "  group-by: [{}]", spec.group_by.join(", ")).unwrap();
        if spec.is_aliased {
            writeln!(text, "  aliases: {{g: {{r1: h}}}}").unwrap();
        }
        let mut condition: Vec<String> = spec.condition.iter().map(|(order, number)| format!("{order}: {number}")).collect();
        if spec.kind.starts_with("value") {
            condition.push("field: v".into());
        }
        if spec.kind == "value_percentile" {
            condition.push(format!("percentile: {}", spec.percentile));
        }
        if !condition.is_empty() {
            writeln!(text, "  condition: {{{}}}", condition.join(", ")).unwrap();
        }
        writeln!(text, "---").unwrap();
    }
    text.trim_end().trim_end_matches("---").into()
}

const KINDS: [&str; 8] =
    ["event_count", "value_count", "temporal", "temporal_ordered", "value_sum", "value_avg", "value_percentile", "value_median"];

fn condition(kind: &'static str, rules: usize) -> BoxedStrategy<Vec<(&'static str, f64)>> {
    if kind.starts_with("temporal") {
        let most = rules as i64;
        let some =
            (prop::sample::select(vec!["gte", "eq", "lte"]), 1..=most).prop_map(|(order, number)| vec![(order, number as f64)]);
        return prop_oneof![3 => Just(Vec::new()), 1 => some].boxed();
    }
    let orders = prop::sample::select(vec!["gt", "gte", "lt", "lte", "eq", "neq"]);
    // Halves where there are fractions: a mean of halves is compared exactly by both sides.
    let step = if kind.ends_with("count") { 1.0 } else { 0.5 };
    let one = (orders, -2i32..5).prop_map(move |(order, number)| vec![(order, f64::from(number) * step)]);
    let range = (0i32..4, 1i32..4)
        .prop_map(move |(from, more)| vec![("gte", f64::from(from) * step), ("lt", f64::from(from + more) * step)]);
    prop_oneof![3 => one, 1 => range].boxed()
}

pub fn spec(earlier: usize) -> impl Strategy<Value = Spec> {
    let rules = prop::collection::btree_set(0..RULES + earlier, 1..4).prop_map(|set| set.into_iter().collect::<Vec<_>>());
    let groups = prop::sample::select(vec![vec![], vec!["g"], vec!["g", "h"], vec!["h"]]);
    (prop::sample::select(KINDS.to_vec()), rules.prop_shuffle(), groups, 1i64..40, 0i64..=100, any::<bool>(), any::<bool>())
        .prop_flat_map(|(kind, rules, group_by, seconds, percentile, generate, is_aliased)| {
            condition(kind, rules.len()).prop_map(move |condition| Spec {
                kind,
                rules: rules.clone(),
                is_aliased: is_aliased && rules.contains(&1) && group_by.contains(&"g"),
                group_by: group_by.clone(),
                seconds,
                condition,
                percentile,
                generate,
            })
        })
}

pub fn specs() -> impl Strategy<Value = Vec<Spec>> {
    prop_oneof![
        3 => spec(0).prop_map(|one| vec![one]),
        1 => (spec(0), spec(1)).prop_map(|(a, b)| vec![a, b]),
        1 => (spec(0), spec(1), spec(2)).prop_map(|(a, b, c)| vec![a, b, c]),
    ]
}

/// Events of a minute or two; each arrives at most `lateness` after its time.
pub fn stream(lateness: i64) -> impl Strategy<Value = Stream> {
    let some = |values: Vec<&'static str>| prop::option::weighted(0.9, prop::sample::select(values));
    let event = (
        0i64..12,
        0..=lateness,
        prop::collection::btree_set(0..RULES, 1..3),
        some(vec!["a", "b"]),
        some(vec!["a", "b", ""]),
        some(vec!["1", "2", "-1", "0.5", "x", "1e1"]),
    );
    prop::collection::vec(event, 0..30).prop_map(|events| {
        let mut time = 1_000_000_000_000_000;
        let build = |(number, (step, delay, rules, g, h, v)): (usize, (i64, i64, BTreeSet<usize>, _, _, _))| {
            // Often several events of one moment.
            time += (step / 3) * 2_500_000;
            let fields = [("g", g), ("h", h), ("v", v)];
            let fields = fields.into_iter().filter_map(|(name, value): (&str, Option<&str>)| Some((name.into(), value?.into())));
            Event {
                number: number as u64,
                time,
                arrives: time + delay,
                rules: rules.into_iter().collect(),
                fields: fields.collect(),
            }
        };
        events.into_iter().enumerate().map(build).collect()
    })
}

/// Something that a correlation sees: an event by one of its rules, or another correlation.
#[derive(Debug, Clone)]
struct Input {
    at: (i64, u64),
    source: usize,
    is_match: bool,
    group: Group,
    fields: Fields,
}

impl Input {
    fn field(&self, name: &str) -> Option<String> {
        match self.group.iter().find(|(known, _)| known == name) {
            Some((_, value)) => value.clone(),
            None => self.fields.get(name).cloned(),
        }
    }
}

pub fn run(specs: &[Spec], stream: &Stream) -> Vec<Seen> {
    let mut inputs: Vec<Input> = Vec::new();
    for event in stream {
        let input = |rule: &usize| Input {
            at: (event.time, event.number),
            source: *rule,
            is_match: true,
            group: Vec::new(),
            fields: event.fields.clone(),
        };
        inputs.extend(event.rules.iter().map(input));
    }
    let referred = |by_generating: bool, at: usize| {
        specs.iter().any(|spec| spec.generate == by_generating && spec.rules.contains(&(RULES + at)))
    };
    let mut all = Vec::new();
    for (at, spec) in specs.iter().enumerate() {
        let (held, matches) = correlate(at, spec, &inputs);
        inputs.extend(held);
        if referred(true, at) || !referred(false, at) {
            all.extend(matches);
        }
    }
    all
}

fn correlate(number: usize, spec: &Spec, inputs: &[Input]) -> (Vec<Input>, Vec<Seen>) {
    let is_temporal = spec.kind.starts_with("temporal");
    let ours = |input: &&Input| spec.rules.contains(&input.source) && (input.is_match || is_temporal);
    let mut groups: BTreeMap<Group, Vec<&Input>> = BTreeMap::new();
    for input in inputs.iter().filter(ours).filter(|input| counts(spec, input)) {
        let name =
            |field: &str| if spec.is_aliased && input.source == 1 && field == "g" { "h".into() } else { field.to_string() };
        let group = spec.group_by.iter().map(|field| (field.to_string(), input.field(&name(field)))).collect();
        groups.entry(group).or_default().push(input);
    }
    let (mut held, mut matches) = (Vec::new(), Vec::new());
    for (group, inputs) in groups {
        let moments: BTreeSet<(i64, u64)> = inputs.iter().map(|input| input.at).collect();
        let mut matched: Option<i64> = None;
        for at in moments {
            let start = at.0 - spec.seconds * 1_000_000;
            let window: Vec<&Input> = inputs.iter().filter(|input| input.at.0 >= start && input.at <= at).copied().collect();
            let Some((value, first)) = measure(spec, &window).filter(|(value, _)| holds(spec, *value)) else {
                matched = None;
                continue;
            };
            let is_match = matched.is_none_or(|matched| matched < start);
            if is_match {
                matched = Some(at.0);
                matches.push(Seen::new(format!("c{number}"), at.0, first, group.clone(), value));
            }
            let fields = window.iter().find(|input| input.at == at).unwrap().fields.clone();
            held.push(Input { at, source: RULES + number, is_match, group: group.clone(), fields });
        }
    }
    (held, matches)
}

fn number(input: &Input) -> Option<f64> {
    input.field("v")?.parse().ok()
}

fn counts(spec: &Spec, input: &Input) -> bool {
    match spec.kind {
        "value_count" => input.field("v").is_some(),
        kind if kind.starts_with("value") => number(input).is_some(),
        _ => true,
    }
}

fn holds(spec: &Spec, value: f64) -> bool {
    if spec.condition.is_empty() {
        return value == spec.rules.len() as f64;
    }
    spec.condition.iter().all(|(order, number)| match *order {
        "gt" => value > *number,
        "gte" => value >= *number,
        "lt" => value < *number,
        "lte" => value <= *number,
        "eq" => value == *number,
        _ => value != *number,
    })
}

/// What the window measures, and the time of the first event that counts.
fn measure(spec: &Spec, window: &[&Input]) -> Option<(f64, i64)> {
    let first = window.iter().map(|input| input.at.0).min()?;
    let by_event: BTreeSet<((i64, u64), String)> =
        window.iter().map(|input| (input.at, input.field("v").unwrap_or_default())).collect();
    let mut numbers: Vec<f64> = by_event.iter().filter_map(|(_, value)| value.parse().ok()).collect();
    numbers.sort_by(f64::total_cmp);
    Some(match spec.kind {
        "event_count" => (window.iter().map(|input| input.at).collect::<BTreeSet<_>>().len() as f64, first),
        "value_count" => (window.iter().map(|input| input.field("v")).collect::<BTreeSet<_>>().len() as f64, first),
        "value_sum" => (numbers.iter().sum(), first),
        "value_avg" => (numbers.iter().sum::<f64>() / numbers.len() as f64, first),
        "value_median" => (percentile(&numbers, 50), first),
        "value_percentile" => (percentile(&numbers, spec.percentile), first),
        "temporal" => {
            let newest = |rule: &usize| window.iter().filter(|input| input.source == *rule).map(|input| input.at.0).max();
            let newest: Vec<i64> = spec.rules.iter().filter_map(newest).collect();
            (newest.len() as f64, newest.into_iter().min()?)
        }
        _ => chain(spec, window),
    })
}

fn percentile(sorted: &[f64], percent: i64) -> f64 {
    let rank = percent * (sorted.len() as i64 - 1);
    let (below, rest) = ((rank / 100) as usize, (rank % 100) as f64);
    let above = sorted[(below + 1).min(sorted.len() - 1)];
    (100.0 * sorted[below] + (above - sorted[below]) * rest) / 100.0
}

/// The longest run of rules in their order, over all ways to choose events; of equal ones the one that began last.
fn chain(spec: &Spec, window: &[&Input]) -> (f64, i64) {
    let mut moments: BTreeMap<(i64, u64), BTreeSet<usize>> = BTreeMap::new();
    for input in window {
        let position = spec.rules.iter().position(|rule| *rule == input.source).unwrap();
        moments.entry(input.at).or_default().insert(position);
    }
    // Every chain that can be chosen, as (length, position of its end, beginning).
    let mut chains: BTreeSet<(usize, usize, i64)> = BTreeSet::new();
    for ((time, _), positions) in &moments {
        let mut longer = Vec::new();
        for position in positions {
            longer.push((1, *position, *time));
            for (length, end, began) in &chains {
                if end < position {
                    longer.push((length + 1, *position, *began));
                }
            }
        }
        chains.extend(longer);
    }
    let (length, began) = chains.iter().map(|(length, _, began)| (*length, *began)).max().unwrap();
    (length as f64, began)
}
