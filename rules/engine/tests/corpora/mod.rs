//! Reads the corpora that lie beside the checkout: rules and events of other people, with other engines' verdicts.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "tests; each program uses a part")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};

/// The folder, if it is there; says loudly that a test skips where it is not.
pub fn corpora() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("SKIPPED: ../shared/corpora is not beside this checkout");
    None
}

fn open(path: &Path) -> impl Read + use<> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut decoder = zstd::Decoder::new(file).unwrap();
    decoder.window_log_max(27).unwrap();
    decoder
}

/// One JSON object a line, with the line's number from 1.
pub fn lines(path: &Path) -> impl Iterator<Item = (usize, Map<String, Json>)> + use<> {
    let lines = BufReader::new(open(path)).lines();
    lines.enumerate().filter_map(|(index, line)| match serde_json::from_str(&line.unwrap()) {
        Ok(Json::Object(object)) => Some((index + 1, object)),
        _ => None,
    })
}

/// SigmaHQ's rules by path.
pub fn sigmahq(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut archive = tar::Archive::new(open(&folder.join("sigma-rules/sigmahq-rules.tar.zst")));
    let mut rules = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        if path.extension().is_some_and(|extension| extension == "yml") && path.starts_with("rules")
            || path.starts_with("rules-emerging-threats")
        {
            let mut text = String::new();
            if entry.read_to_string(&mut text).is_ok() && path.extension().is_some_and(|extension| extension == "yml") {
                rules.push((path, text));
            }
        }
    }
    assert!(rules.len() > 3_000, "{} rules", rules.len());
    rules
}

/// Verdicts by source and file, then by (line, rule).
pub type Verdicts = BTreeMap<(String, String), BTreeMap<(usize, String), Verdict>>;

/// What others say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Agreed,
    OneEngine,
    Disputed,
}

/// Other people's verdicts of one file.
pub fn verdicts(folder: &Path, name: &str) -> Verdicts {
    let mut all = Verdicts::new();
    for (_, line) in lines(&folder.join("expected/sigma").join(name)) {
        let text = |field: &str| line.get(field).and_then(Json::as_str).unwrap_or_default().to_string();
        let verdict = match text("verdict").as_str() {
            "agreed" => Verdict::Agreed,
            "one engine" => Verdict::OneEngine,
            _ => Verdict::Disputed,
        };
        // The EVTX sources number the lines of their one file; `file` only names the recording a line came from.
        let file = if text("source").starts_with("otrf") { text("file") } else { String::new() };
        let number = line["line"].as_u64().unwrap() as usize;
        all.entry((text("source"), file)).or_default().insert((number, text("rule_id")), verdict);
    }
    all
}
