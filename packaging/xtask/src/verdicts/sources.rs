//! Single rules: every source of `expected/sigma`, event logs both as JSON and as they lay on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use super::compare::{At, Tally};
use super::corpora::Corpora;
use super::detect::Detect;
use crate::show;

/// Where starts of processes on Linux belong, which those recordings do not say.
const STARTS: [&str; 2] = ["--logsource", "product=linux,category=process_creation"];

/// Compares every source.
pub fn compare(corpora: &Corpora, detect: &Detect) -> Result<Vec<Tally>> {
    let (both, all) = corpora.evaluated()?;
    let judged = |ours: BTreeSet<At>| -> BTreeSet<At> { ours.into_iter().filter(|(_, rule)| all.contains(rule)).collect() };
    let mut tallies = Vec::new();
    for name in ["sigma-regression", "evtx", "otrf-security-datasets", "splunk-attack-data", "linux"] {
        show::step(name);
        for ((source, file), theirs) in corpora.verdicts(&format!("{name}.jsonl.zst"))? {
            let ours = match source.as_str() {
                "linux/kunai" => kunai(corpora, detect)?,
                _ => detect.verdicts(&path(corpora, &source, &file), if name == "linux" { &STARTS } else { &[] })?,
            };
            let mut tally = Tally::new(&format!("{source} {file}"));
            tally.count(&source, &judged(ours), &theirs, &both);
            tallies.push(tally);
            if name == "evtx" {
                let mut tally = Tally::new(&format!("{source} (binary)"));
                tally.count(&source, &judged(logs(corpora, detect, &source)?), &theirs, &both);
                tallies.push(tally);
            }
        }
    }
    Ok(tallies)
}

fn path(corpora: &Corpora, source: &str, file: &str) -> PathBuf {
    corpora.path(&match source {
        "splunk-attack-data" => "splunk-attack-data/T1027.jsonl.zst".to_string(),
        "atomic-linux" => "atomic-linux/process-events-made.jsonl.zst".to_string(),
        linux if linux.starts_with("linux/") => format!("{linux}.jsonl.zst"),
        other if file.is_empty() => format!("{other}/events.jsonl.zst"),
        other => format!("{other}/events/{file}"),
    })
}

/// Verdicts on the event logs of a collection, numbered as its lines are.
fn logs(corpora: &Corpora, detect: &Detect, source: &str) -> Result<BTreeSet<At>> {
    let folder = detect.scratch.join(source.replace('/', "-"));
    corpora.unpack_logs(source, &folder)?;
    let mut first_lines = BTreeMap::new();
    for (first, _, path) in corpora.index(source)? {
        let file = folder.join("raw").join(path);
        // Some recordings are given as events only.
        if file.is_file() {
            first_lines.insert(file.display().to_string(), first);
        }
    }
    // One run for all of them: loading the rules takes longer than judging a recording.
    let files: Vec<OsString> = first_lines.keys().map(OsString::from).collect();
    let at = |row: &Value| {
        let first = first_lines.get(row["file"].as_str()?)?;
        Some((first + row["record"].as_u64()? - 1, row["rule_id"].as_str()?.to_string()))
    };
    detect.rows(&detect.rules, &files, &[])?.iter().map(|row| at(row).context("a match without a place")).collect()
}

/// Verdicts on the starts of processes among Kunai's events, with the names of fields that its README gives.
fn kunai(corpora: &Corpora, detect: &Detect) -> Result<BTreeSet<At>> {
    let file = detect.scratch.join("kunai.jsonl");
    let mut writer = std::fs::File::create(&file)?;
    let mut lines = BTreeMap::new();
    let events = corpora.lines("linux/kunai/events.jsonl.zst")?;
    for (line, start) in events.into_iter().filter_map(|(line, event)| Some((line, start(event)?))) {
        lines.insert(lines.len() as u64 + 1, line);
        writeln!(writer, "{}", Value::Object(start))?;
    }
    let found = detect.verdicts(&file, &STARTS)?.into_iter();
    found.map(|(record, rule)| Ok((*lines.get(&record).context("a line that was not written")?, rule))).collect()
}

fn start(event: Map<String, Value>) -> Option<Map<String, Value>> {
    let event = Value::Object(event);
    let kind = event.pointer("/info/event/name")?.as_str()?;
    if !matches!(kind, "execve" | "execve_script") {
        return None;
    }
    let fields = [
        ("Image", "/data/exe/path"),
        ("CommandLine", "/data/command_line"),
        ("ParentImage", "/data/parent_exe"),
        ("ParentCommandLine", "/data/parent_command_line"),
    ];
    Some(fields.iter().filter_map(|(name, path)| Some(((*name).to_string(), event.pointer(path)?.clone()))).collect())
}
