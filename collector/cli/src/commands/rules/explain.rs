//! `rules explain`: why a rule matches an event or does not, node by node. Events are read in every form that `detect` reads.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use beffroi_engine::{CompileError, RecordDetector, RecordView, RuleSet, Why, compile, eval::Node};
use beffroi_sources::{Body, Input, Opened, Options, Record, Trouble, blocks};
use serde_json::{Map, Value, json};

use crate::args::Reading;
use crate::commands::detect;
use crate::errors::{Failure, Outcome};
use crate::output::{Output, say};
use crate::safe;

/// Values of a list that does not hold which are drawn; the others are counted.
const SHOWN: usize = 8;
/// What helps when an event cannot be found.
const NUMBERS: &str = "records are numbered as `detect` numbers them: by line, in an event log or batch by ordinal";

/// `rules explain RULE EVENT`.
pub fn explain(output: &Output, rule: &Path, event: &Path, record: Option<u64>, reading: &Reading) -> Outcome {
    super::exist(&[PathBuf::from(rule)])?;
    let record = find(event, record, &detect::reading(reading)?)?;
    let (set, problems) = RuleSet::load(&[rule]);
    problems.iter().for_each(|problem| say(&problem.to_string()));
    if set.rules().is_empty() {
        return Err(Failure::rules(format!("no rule of {} loads", rule.display()), "`beffroi rules check` says why"));
    }
    let answers = why(&set, &record).map_err(|error| Failure::rules(error.to_string(), "name one rule file"))?;
    let value = json!({ "rules": answers.iter().map(|(why, _)| as_json(why)).collect::<Vec<_>>() });
    let of = logsources(&record);
    output.page(&value, |_| answers.iter().map(|(why, logsource)| draw(why, logsource, &of)).collect::<Vec<_>>().join("\n\n"))
}

/// How each rule judges a record, and the logsource that each is for.
fn why(set: &RuleSet, record: &Record) -> Result<Vec<(Why, String)>, CompileError> {
    let rules = set.rules().iter();
    match &record.body {
        Body::Own(own) => {
            let detector = compile(set)?;
            let whys = |rule: &beffroi_engine::Rule| detector.why(&rule.info().id, &own.event);
            Ok(rules.flat_map(|rule| whys(rule).into_iter().map(|why| (why, logsource(rule)))).collect())
        }
        Body::Flat(parts) => {
            let detector = RecordDetector::compile(set)?;
            let fields: Vec<&Map<String, Value>> = parts.iter().map(|part| &part.fields).collect();
            let views: Vec<RecordView<'_>> = record.views.iter().map(|view| view.as_engine()).collect();
            Ok(rules.enumerate().map(|(place, rule)| (detector.why((place, rule), &fields, &views), logsource(rule))).collect())
        }
    }
}

/// The record of this number, or the first.
fn find(path: &Path, number: Option<u64>, options: &Options) -> Outcome<Record> {
    let input = if path == Path::new("-") { Input::Stdin } else { Input::File(path.into()) };
    let failed = |why: String| Failure::usage(format!("{}: {why}", path.display()), NUMBERS);
    let (mut found, mut trouble) = (None, None);
    let is_it = |record: &Record| number.is_none_or(|number| has_number(record, number));
    let opened = Opened::open(&input, &Default::default()).map_err(|trouble| failed(trouble.to_string()))?;
    let read = blocks(opened, options.format, &mut |block| {
        let told = block.records(options, |record: Record| {
            if found.is_none() && is_it(&record) {
                found = Some(record);
            }
        });
        let is_about_it = |trouble: &Trouble| number.is_none() || trouble.record.is_none() || trouble.record == number;
        trouble = trouble.take().or_else(|| told.first.into_iter().find(is_about_it));
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let why = || match (trouble.or(read.err()), number) {
        (Some(trouble), _) => trouble.to_string(),
        (None, Some(number)) => format!("there is no record {number}"),
        (None, None) => "it holds no event".into(),
    };
    found.ok_or_else(|| failed(why()))
}

fn has_number(record: &Record, number: u64) -> bool {
    record.number == number || matches!(&record.body, Body::Flat(parts) if parts.iter().any(|part| part.number == number))
}

/// The logsources of a record, for people.
fn logsources(record: &Record) -> String {
    let named = |parts: [&str; 3]| parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ");
    let names: Vec<String> = match &record.body {
        Body::Own(own) => {
            let source = &own.event.logsource;
            let service = source.service.as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            vec![named([source.product.name(), source.category.name(), &service])]
        }
        Body::Flat(_) => record.views.iter().map(|view| named([&view.product, &view.category, &view.service])).collect(),
    };
    names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" or ")
}

fn logsource(rule: &beffroi_engine::Rule) -> String {
    let named = rule.logsource();
    let parts = [&named.product, &named.category, &named.service].into_iter().flatten().cloned().collect::<Vec<_>>();
    if parts.is_empty() { "log lines".into() } else { parts.join(" ") }
}

fn as_json(why: &Why) -> Value {
    let mut value = serde_json::to_value(why).unwrap_or_default();
    value["id"] = why.rule.id.clone().into();
    value["title"] = why.rule.title.clone().into();
    value
}

fn draw(why: &Why, logsource: &str, of: &str) -> String {
    let verdict = match (why.matches, why.is_for_it) {
        (true, _) => "matches",
        (false, true) => "does not match",
        (false, false) => "is not for this event",
    };
    let mut text = format!("{} ({}): {verdict}", safe::terminal(&why.rule.title), safe::terminal(&why.rule.id));
    if !why.is_for_it {
        let of = if of.is_empty() { "of no logsource that is known (--logsource names one)" } else { of };
        text.push_str(&format!("\n  the rule is for {}, the event is {}", safe::terminal(logsource), safe::terminal(of)));
    }
    for (index, view) in why.views.iter().enumerate() {
        if why.views.len() > 1 {
            text.push_str(&format!("\n  view {}", index + 1));
        }
        node(view, 1, &mut text);
    }
    text
}

fn node(at: &Node, depth: usize, text: &mut String) {
    let mark = if at.holds { '+' } else { '-' };
    let found = match at.found.as_slice() {
        [] if at.inner.is_empty() && !at.holds => "   (absent)".to_string(),
        [] => String::new(),
        found => format!("   {}", found.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    };
    text.push_str(&format!("\n{}{mark} {}{}", "  ".repeat(depth), safe::terminal(&at.what), safe::terminal(&found)));
    // A list of a thousand names is not read by anybody: all that hold are drawn, and the first that do not.
    let (held, others): (Vec<&Node>, Vec<&Node>) = at.inner.iter().partition(|part| part.holds || at.inner.len() <= SHOWN);
    held.iter().chain(others.iter().take(SHOWN)).for_each(|part| node(part, depth + 1, text));
    if others.len() > SHOWN {
        text.push_str(&format!("\n{}- and {} more that do not hold", "  ".repeat(depth + 1), others.len() - SHOWN));
    }
}
