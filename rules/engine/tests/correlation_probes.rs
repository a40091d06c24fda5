//! Correlations over recorded Windows attacks, against the verdicts of two other engines.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod corpora;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use beffroi_engine::RuleSet;
use beffroi_engine::correlate::{CorrelateOptions, CorrelationMatch, Correlator};
use beffroi_engine::eval::{Builder, Frame, Judge, Scratch, fill_from_json};
use beffroi_engine::windows::{View, flatten, views};
use serde_json::{Map, Value as Json};

type Events = Vec<(usize, Map<String, Json>)>;

/// The event as rules see it in one view, with the names that the probes give to its logsource.
fn seen(flat: &Map<String, Json>, view: &View) -> Map<String, Json> {
    let mut seen = flat.clone();
    for (new, existing) in view.renamed {
        if let Some(value) = flat.get(*existing).cloned() {
            seen.entry(*new).or_insert(value);
        }
    }
    seen.insert("_ls_category".into(), view.category.unwrap_or("-").into());
    seen.insert("_ls_service".into(), view.service.unwrap_or("-").into());
    seen
}

fn time(event: &Map<String, Json>) -> i64 {
    let event = Json::Object(event.clone());
    let text = event.pointer("/Event/System/TimeCreated/#attributes/SystemTime").unwrap();
    text.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond()
}

/// Runs the correlations of a text over a recording that begins with empty state.
fn run(text: &str, events: &[(usize, Map<String, Json>)]) -> Vec<CorrelationMatch<usize>> {
    let (set, problems) = RuleSet::from_texts([("probe.yml", text)]);
    assert!(problems.is_empty(), "{problems:?}");
    let mut builder = Builder::default();
    let mut ids = Vec::new();
    for rule in rsigma_parser::parse_sigma_yaml(text).unwrap().rules {
        builder.add(&rule).unwrap();
        ids.push(rule.id.clone().unwrap());
    }
    let program = builder.finish();
    let judge = Judge::new(&program, &(0..ids.len()).collect::<Vec<_>>()).unwrap();
    let mut correlator = Correlator::new(&set, CorrelateOptions::offline()).unwrap();
    let mut scratch = Scratch::default();
    for (line, event) in events {
        let flat = flatten(event);
        for view in views(&flat) {
            let seen = seen(&flat, &view);
            let mut frame = Frame::new(&program.names);
            fill_from_json(&mut frame, &program.names, &seen);
            let matches = judge.matches(&program, &frame, &mut scratch).to_vec();
            correlator.observe("", time(event), *line, &seen, matches.iter().map(|rule| ids[*rule as usize].as_str()));
        }
    }
    let found = correlator.finish();
    assert!(correlator.take_overflows().is_empty());
    found
}

/// Reads each source once: probes name lines of it.
#[derive(Default)]
struct Sources(BTreeMap<String, Events>);

impl Sources {
    fn lines(&mut self, folder: &Path, row: &Map<String, Json>) -> &[(usize, Map<String, Json>)] {
        let source = row["source"].as_str().unwrap();
        let read = || corpora::lines(&folder.join(source).join("events.jsonl.zst")).collect();
        let events = self.0.entry(source.into()).or_insert_with(read);
        let number = |name: &str| row[name].as_u64().unwrap() as usize;
        &events[number("first_line") - 1..number("last_line")]
    }
}

fn groups(found: &[CorrelationMatch<usize>]) -> BTreeSet<String> {
    let value = |found: &CorrelationMatch<usize>| found.group[0].1.clone().unwrap_or_default().to_lowercase();
    found.iter().map(value).collect()
}

#[test]
fn every_agreed_probe_fires_for_the_same_groups() {
    let Some(folder) = corpora::corpora() else { return };
    let mut sources = Sources::default();
    let (mut agreed, mut wrong) = (0, Vec::new());
    for (line, probe) in corpora::lines(&folder.join("expected/correlation/probes.jsonl.zst")) {
        let found = run(probe["rules_yaml"].as_str().unwrap(), sources.lines(&folder, &probe));
        let theirs = |engine: &str| -> BTreeSet<String> {
            probe[engine]["groups"].as_array().unwrap().iter().map(|group| group.as_str().unwrap().to_lowercase()).collect()
        };
        let ours = groups(&found);
        if probe["verdict"] == "agreed" {
            assert_eq!(theirs("rsigma"), theirs("pysigma_sqlite"), "probe {line}");
            agreed += 1;
            if ours != theirs("rsigma") {
                wrong.push(format!("{line} {}: ours {ours:?}, theirs {:?}", probe["type"], theirs("rsigma")));
            }
        } else {
            let (one, other) = (theirs("rsigma"), theirs("pysigma_sqlite"));
            eprintln!("disputed {line} {}: we say {ours:?}, rsigma {one:?}, pySigma {other:?}", probe["type"]);
        }
    }
    eprintln!("{agreed} agreed probes, {} of them differ", wrong.len());
    assert!(agreed > 100 && wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn other_peoples_correlation_rules_fire_on_the_recordings_where_other_engines_say_so() {
    let Some(folder) = corpora::corpora() else { return };
    let mut sources = Sources::default();
    let rows: Vec<_> = std::fs::read_to_string(folder.join("expected/correlation/hayabusa-correlation-rules.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Map<String, Json>>(line).unwrap())
        .collect();
    assert!(!rows.is_empty());
    for entry in std::fs::read_dir(folder.join("expected/correlation")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "yml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for row in &rows {
            let found = run(&text, sources.lines(&folder, row));
            let must_fire = row["rule"] == path.file_name().unwrap().to_str().unwrap();
            assert_eq!(!found.is_empty(), must_fire, "{} on {}", path.display(), row["path"]);
        }
    }
}
