//! `rules explain`: why a rule matches an event or does not, node by node.

use std::io::Read;
use std::path::{Path, PathBuf};

use beffroi_engine::{RuleSet, Why, compile, eval::Node};
use beffroi_schema::Event;
use serde_json::{Value, json};

use crate::errors::{Failure, Outcome};
use crate::output::{Output, say};
use crate::safe;
use crate::when::now_us;

/// Largest file of events that is read: one event is wanted, a day's worth is a mistake.
const MAX_EVENT_BYTES: u64 = 64 * 1024 * 1024;
/// Values of a list that does not hold which are drawn; the others are counted.
const SHOWN: usize = 8;

/// `rules explain RULE EVENT`.
pub fn explain(output: &Output, rule: &Path, event: &Path, record: usize) -> Outcome {
    super::exist(&[PathBuf::from(rule)])?;
    let event = read_event(event, record)?;
    let (set, problems) = RuleSet::load(&[rule]);
    problems.iter().for_each(|problem| say(&problem.to_string()));
    if set.rules().is_empty() {
        return Err(Failure::rules(format!("no rule of {} loads", rule.display()), "`beffroi rules check` says why"));
    }
    let detector = compile(&set).map_err(|error| Failure::rules(error.to_string(), "name one rule file"))?;
    let mut answers = Vec::new();
    for rule in set.rules() {
        answers.extend(detector.why(&rule.info().id, &event).into_iter().map(|why| (why, logsource(rule))));
    }
    let value = json!({ "rules": answers.iter().map(|(why, _)| as_json(why)).collect::<Vec<_>>() });
    output.page(&value, |_| answers.iter().map(|(why, logsource)| draw(why, logsource, &event)).collect::<Vec<_>>().join("\n\n"))
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

/// The `record`th JSON object of a file, from 1: a file with one object over several lines counts as one.
fn read_event(path: &Path, record: usize) -> Outcome<Event> {
    let text = read_text(path)?;
    let bad = |why: String| {
        Failure::usage(format!("{}: {why}", path.display()), "give one JSON object a line, as `events search -o ndjson` does")
    };
    let mut objects = serde_json::Deserializer::from_str(&text).into_iter::<Value>();
    let value = match objects.nth(record.saturating_sub(1)) {
        Some(Ok(value)) => value,
        Some(Err(error)) => return Err(bad(error.to_string())),
        None => return Err(bad(format!("there is no record {record}"))),
    };
    Event::from_json(&value, now_us()).map_err(|error| bad(error.to_string()))
}

fn read_text(path: &Path) -> Outcome<String> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("{}: {error}", path.display()), "name a file with an event, or - for standard input")
    };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(MAX_EVENT_BYTES).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).map_err(failed)?.take(MAX_EVENT_BYTES).read_to_string(&mut text)
    };
    read.map_err(failed)?;
    Ok(text)
}

fn draw(why: &Why, logsource: &str, event: &Event) -> String {
    let verdict = match (why.matches, why.is_for_it) {
        (true, _) => "matches",
        (false, true) => "does not match",
        (false, false) => "is not for this event",
    };
    let mut text = format!("{} ({}): {verdict}", safe::terminal(&why.rule.title), safe::terminal(&why.rule.id));
    if !why.is_for_it {
        let own = [event.logsource.product.name(), event.logsource.category.name()].join(" ");
        text.push_str(&format!("\n  the rule is for {}, the event is {}", safe::terminal(logsource), own.trim()));
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
