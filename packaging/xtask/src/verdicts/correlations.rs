//! Correlations: probes around rules that both engines agree on, and published correlation rules, each on one recording.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::compare::Tally;
use super::corpora::Corpora;
use super::detect::Detect;
use crate::show;

/// Collections whose recordings the published rules were run on.
const COLLECTIONS: [&str; 5] =
    ["evtx/deepbluecli", "evtx/evtx-attack-samples", "evtx/evtx-to-mitre-attack", "evtx/pyevtx-samples", "evtx/yamato"];
/// What decides between events of one time.
const ORDER: &str =
    "\"requires in addition that the events appear in the order provided in the rule attribute\" (temporal_ordered)";

/// Compares probes and published rules.
pub fn compare(corpora: &Corpora, detect: &Detect) -> Result<Vec<Tally>> {
    show::step("correlations");
    Ok(vec![probes(corpora, detect)?, published(corpora, detect)?])
}

fn probes(corpora: &Corpora, detect: &Detect) -> Result<Tally> {
    let mut tally = Tally::new("correlation probes");
    let mut source = (String::new(), Vec::new());
    for (line, probe) in corpora.lines("expected/correlation/probes.jsonl.zst")? {
        let text = |field: &str| probe.get(field).and_then(Value::as_str).unwrap_or_default();
        if source.0 != text("source") {
            source = (text("source").to_string(), corpora.lines(&format!("{}/events.jsonl.zst", text("source")))?);
        }
        let ours = run(&probe, &source.1, detect).with_context(|| format!("probe {line}"))?;
        let theirs = (probe["rsigma"]["fires"] == true, groups(&probe["rsigma"]["groups"]));
        let name = format!("probe {line} ({} on {})", text("type"), text("path"));
        if text("verdict") != "agreed" {
            tally.disputed.push(format!("{name}: we say {}; {ORDER}", if ours.0 { "it fires" } else { "it does not fire" }));
        } else if ours == theirs {
            tally.hit += 1;
        } else if ours.0 && !theirs.0 {
            tally.extra.push(format!("{name}: groups {:?}", ours.1));
        } else {
            tally.missed.push(format!("{name}: groups {:?} instead of {:?}", ours.1, theirs.1));
        }
    }
    Ok(tally)
}

/// Whether a probe fires on its lines, and for which computers.
fn run(probe: &Map<String, Value>, events: &[(u64, Map<String, Value>)], detect: &Detect) -> Result<(bool, BTreeSet<String>)> {
    let bound = |name: &str| probe.get(name).and_then(Value::as_u64).context("a probe without lines");
    let (first, last) = (bound("first_line")?, bound("last_line")?);
    let (rules, file) = (detect.scratch.join("probe.yml"), detect.scratch.join("probe.jsonl"));
    std::fs::write(&rules, without_logsource(probe.get("rules_yaml").and_then(Value::as_str).context("a probe without rules")?))?;
    let mut writer = std::io::BufWriter::new(std::fs::File::create(&file)?);
    for (_, event) in events.iter().filter(|(line, _)| (first..=last).contains(line)) {
        writeln!(writer, "{}", Value::Object(event.clone()))?;
    }
    writer.flush()?;
    let rows = detect.rows(&rules, &[file.into()], &[])?;
    let fired: Vec<&Value> = rows.iter().filter(|row| row["kind"] == "correlation").collect();
    let of = |row: &&Value| row["group"]["Computer"].as_str().map(str::to_lowercase);
    Ok((!fired.is_empty(), fired.iter().filter_map(of).collect()))
}

/// The probes name the logsource of an event by fields that were made for engines without a table of logsources. Ours
/// routes by the rules' own logsource, so that selection asks for something that every event of Windows has.
fn without_logsource(rules: &str) -> String {
    let lines = rules.lines().filter(|line| !line.trim_start().starts_with("_ls_"));
    let lines = lines.map(|line| match line.trim_end() == "  zz_ls:" {
        true => "  zz_ls:\n    EventID|exists: true\n".to_string(),
        false => format!("{line}\n"),
    });
    lines.collect()
}

fn groups(list: &Value) -> BTreeSet<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_lowercase).collect()
}

/// Rules that others published: they fire on the recordings that are named, and on no other.
fn published(corpora: &Corpora, detect: &Detect) -> Result<Tally> {
    let mut tally = Tally::new("published correlation rules");
    let folder = corpora.path("expected/correlation");
    let text = std::fs::read_to_string(folder.join("hayabusa-correlation-rules.jsonl"))?;
    let rows: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let named = |rule: &str, source: &str, path: &str| {
        rows.iter().any(|row| row["rule"] == rule && row["source"] == source && row["path"] == path)
    };
    for source in COLLECTIONS {
        let logs = detect.scratch.join(source.replace('/', "-"));
        for (_, _, path) in corpora.index(source)? {
            let log = logs.join("raw").join(&path);
            if !log.is_file() {
                continue;
            }
            let found = detect.rows(&folder, &[log.into()], &[])?;
            let fired: BTreeSet<String> = found.iter().filter(|row| row["kind"] == "correlation").filter_map(file_name).collect();
            for rule in rows.iter().filter_map(|row| row["rule"].as_str()).filter(|rule| named(rule, source, &path)) {
                match fired.contains(rule) {
                    true => tally.hit += 1,
                    false => tally.missed.push(format!("{rule} on {path}")),
                }
            }
            tally.extra.extend(fired.iter().filter(|rule| !named(rule, source, &path)).map(|rule| format!("{rule} on {path}")));
        }
    }
    Ok(tally)
}

fn file_name(row: &Value) -> Option<String> {
    Some(Path::new(row["rule_path"].as_str()?).file_name()?.to_string_lossy().into_owned())
}
