//! `rules coverage`: which techniques of ATT&CK the rules look for, and how well that is founded: proven, loaded, or unable
//! to fire with the sensors of this fleet. Also as a layer of the ATT&CK Navigator (layer format 4.5).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use beffroi_engine::RuleSet;
use beffroi_schema::alert::RuleInfo;
use serde_json::{Value, json};

use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column, rest, say};

const TECHNIQUES: [Column; 6] = [
    column("TECHNIQUE", "/technique", 0),
    column("NAME", "/name", 48),
    column("STATE", "/state", 0),
    column("RULES", "/rules", 0),
    column("PROVEN", "/proven", 0),
    rest("TITLES", "/titles", 100),
];
/// State, score and colour of a technique, best last.
const STATES: [(&str, u32, &str); 3] = [("inert", 10, "#d9d9d9"), ("covered", 60, "#9ecae1"), ("proven", 100, "#31a354")];
/// Version of ATT&CK whose ids the engine names.
const ATTACK_VERSION: &str = "19";

/// One technique.
#[derive(Debug, Default)]
struct Technique {
    name: String,
    /// Titles of its rules, with the place of their state in [`STATES`].
    rules: BTreeMap<String, usize>,
}

impl Technique {
    fn best(&self) -> usize {
        self.rules.values().copied().max().unwrap_or(0)
    }

    fn count(&self, state: usize) -> usize {
        self.rules.values().filter(|at| **at == state).count()
    }

    fn row(&self, id: &str) -> Value {
        json!({"technique": id, "name": self.name, "state": STATES[self.best()].0, "rules": self.rules.len(),
            "proven": self.count(2), "inert": self.count(0), "titles": self.rules.keys().collect::<Vec<_>>()})
    }

    fn of_layer(&self, id: &str) -> Value {
        let (state, score, color) = STATES[self.best()];
        let titles: Vec<String> = self.rules.iter().map(|(title, at)| format!("{title} ({})", STATES[*at].0)).collect();
        json!({"techniqueID": id, "score": score, "color": color, "comment": titles.join("\n"), "enabled": true,
            "metadata": [{"name": "state", "value": state}, {"name": "rules", "value": self.rules.len().to_string()}]})
    }
}

/// `rules coverage`.
pub fn coverage(output: &Output, paths: &[PathBuf], navigator: Option<&Path>) -> Outcome {
    super::exist(paths)?;
    let (set, problems) = RuleSet::load(paths);
    let (inert, unproven) = (super::inert_ids(&set), unproven(paths));
    let mut techniques: BTreeMap<String, Technique> = BTreeMap::new();
    let mut untagged = 0;
    let rules = set.rules().iter().map(|rule| (rule.info(), rule.path()));
    for (info, path) in rules.chain(set.correlations().iter().map(|rule| (rule.info(), rule.path()))) {
        let state = match (inert.contains(&info.id), unproven.contains(path)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        untagged += usize::from(!add(&mut techniques, info, state));
    }
    let rows: Vec<Value> = techniques.iter().map(|(id, technique)| technique.row(id)).collect();
    output.rows(&TECHNIQUES, &rows)?;
    if let Some(file) = navigator {
        let failed = |error: std::io::Error| Failure::usage(format!("{}: {error}", file.display()), "can it be written?");
        std::fs::write(file, serde_json::to_vec_pretty(&layer(&techniques)).unwrap_or_default()).map_err(failed)?;
        say(&format!("layer for the ATT&CK Navigator written to {}", file.display()));
    }
    let of = |state: &str| rows.iter().filter(|row| row["state"] == state).count();
    say(&format!(
        "{} techniques: {} proven, {} covered without proof, {} by rules alone that cannot fire; {untagged} rules name none",
        rows.len(),
        of("proven"),
        of("covered"),
        of("inert")
    ));
    match problems.iter().filter(|problem| !problem.loaded).count() {
        0 => Ok(()),
        refused => Err(Failure::rules(format!("{refused} rules are refused"), "`beffroi rules check` says why")),
    }
}

/// Adds a rule to each technique that it names; false where it names none.
fn add(techniques: &mut BTreeMap<String, Technique>, info: &RuleInfo, state: usize) -> bool {
    let named = info.attack.iter().filter(|attack| attack.id.starts_with('T') && !attack.id.starts_with("TA"));
    let mut any = false;
    for attack in named {
        let technique = techniques.entry(attack.id.clone()).or_default();
        technique.name.clone_from(&attack.name);
        let held = technique.rules.entry(info.title.clone()).or_insert(state);
        *held = state.max(*held);
        any = true;
    }
    any
}

/// Files of rules that no proof stands behind.
fn unproven(paths: &[PathBuf]) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    // A proof lies beside its rule, so a single file is proven with its folder, and several of one folder together.
    let folder = |path: &PathBuf| if path.is_dir() { path.clone() } else { path.parent().unwrap_or(Path::new(".")).into() };
    let folders: BTreeSet<PathBuf> = paths.iter().map(folder).collect();
    for folder in &folders {
        let report = beffroi_engine::proof::run(folder);
        files.extend(report.without_proof);
        files.extend(report.failed.into_iter().map(|failure| failure.path));
    }
    files
}

fn layer(techniques: &BTreeMap<String, Technique>) -> Value {
    let legend = STATES.iter().map(|(state, _, color)| json!({"label": state, "color": color}));
    json!({
        "name": "Beffroi", "domain": "enterprise-attack", "versions": {"layer": "4.5", "attack": ATTACK_VERSION, "navigator": "5.1.0"},
        "description": "What the loaded rules look for: proven by events beside the rule, covered without a proof, or inert on this fleet's sensors",
        "hideDisabled": false, "legendItems": legend.collect::<Vec<_>>(),
        "techniques": techniques.iter().map(|(id, technique)| technique.of_layer(id)).collect::<Vec<_>>(),
    })
}
