//! `beffroi rules`: what can be said of rules without a collector, and what they would have found in what one has stored.

mod backtest;
mod coverage;
mod explain;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use beffroi_engine::{InertRule, RuleSet};
use beffroi_scanner::RulePack;
use beffroi_schema::event::{Category, Logsource, Product};
use serde_json::{Value, json};

use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column, rest, say};

pub use backtest::{Backtest, backtest};
pub use coverage::coverage;
pub use explain::explain;

const PROBLEMS: [Column; 6] = [
    column("FILE", "/file", 0),
    column("LINE", "/line", 0),
    column("CODE", "/code", 0),
    column("LOADED", "/loaded", 0),
    column("REASON", "/reason", 100),
    column("HINT", "/hint", 100),
];
const PROOFS: [Column; 5] = [
    column("FILE", "/file", 0),
    column("RULE", "/rule", 48),
    column("RESULT", "/result", 0),
    column("CASE", "/case", 48),
    rest("WHY", "/why", 120),
];
const INERT: [Column; 5] = [
    column("FILE", "/path", 0),
    column("LINE", "/line", 0),
    column("RULE", "/title", 60),
    column("ID", "/id", 0),
    rest("WHY", "/reason", 120),
];

fn exist(paths: &[PathBuf]) -> Outcome {
    match paths.iter().find(|path| !path.exists()) {
        None => Ok(()),
        Some(path) => Err(Failure::usage(format!("{} does not exist", path.display()), "name a rule file or a folder")),
    }
}

/// What the sensor of Linux hosts sends.
fn sensors() -> Vec<Logsource> {
    let sensor = |category: &Category| Logsource { category: *category, product: Product::Linux, service: None };
    Category::SENSED_ON_LINUX.iter().map(sensor).collect()
}

/// Ids of the rules that load and cannot fire on it.
fn inert_ids(set: &RuleSet) -> BTreeSet<String> {
    set.inert(&sensors()).into_iter().map(|rule| rule.rule.id.clone()).collect()
}

/// `rules inert`: rules that load and cannot fire on what the sensor sends. That is no fault of theirs: only rules that do
/// not load make it fail.
pub fn inert(output: &Output, paths: &[PathBuf]) -> Outcome {
    exist(paths)?;
    let (set, problems) = RuleSet::load(paths);
    let row = |rule: &InertRule| {
        json!({"path": rule.path.display().to_string(), "line": rule.line, "id": rule.rule.id, "title": rule.rule.title,
            "reason": rule.reason})
    };
    let rows: Vec<Value> = set.inert(&sensors()).iter().map(row).collect();
    output.rows(&INERT, &rows)?;
    let judged = set.rules().len() + set.correlations().len();
    say(&format!("{} of {judged} rules can never fire on what the sensor of Linux hosts sends", rows.len()));
    match problems.iter().filter(|problem| !problem.loaded).count() {
        0 => Ok(()),
        refused => Err(Failure::rules(format!("{refused} rules are refused"), "`beffroi rules check` says why")),
    }
}

/// `rules check`: every problem with file, line and reason; the rest loads.
pub fn check(output: &Output, paths: &[PathBuf]) -> Outcome {
    exist(paths)?;
    let (set, problems) = RuleSet::load(paths);
    let mut rows: Vec<Value> = problems
        .iter()
        .map(|problem| {
            json!({"file": problem.path.display().to_string(), "line": problem.line, "column": problem.column, "code": problem.code,
                "reason": problem.reason, "hint": problem.hint, "loaded": problem.loaded})
        })
        .collect();
    let (pack, yara) = RulePack::compile(paths);
    rows.extend(yara.iter().map(|problem| {
        json!({"file": problem.path.display().to_string(), "line": problem.line, "column": problem.column, "code": problem.code,
            "reason": problem.reason, "hint": problem.hint, "loaded": false})
    }));
    output.rows(&PROBLEMS, &rows)?;
    let refused = rows.iter().filter(|row| row["loaded"] == false).count();
    say(&format!(
        "{} Sigma rules, {} correlations and {} YARA rules load; {refused} refused",
        set.rules().len(),
        set.correlations().len(),
        pack.rules().len()
    ));
    if refused == 0 {
        Ok(())
    } else {
        Err(Failure::rules(format!("{refused} rules are refused"), "file, line and hint stand above"))
    }
}

/// `rules test`: the proofs beside the rules, a row for each rule.
pub fn test(output: &Output, folder: &Path) -> Outcome {
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{} is no folder", folder.display()), "name the folder with rules and their proofs"));
    }
    let sigma = beffroi_engine::proof::run(folder);
    let yara = beffroi_scanner::proof::run(folder);
    let row = |path: &Path, rule: &str, case: &str, why: &str| json!({"file": path.display().to_string(), "rule": rule, "case": case, "why": why});
    let mut failures: Vec<Value> = Vec::new();
    failures.extend(sigma.failed.iter().map(|f| row(&f.path, &f.rule, &f.case, &f.why)));
    failures.extend(yara.failed.iter().map(|f| row(&f.path, &f.rule, &f.case, &f.why)));
    failures
        .extend(sigma.without_proof.iter().chain(&yara.without_proof).map(|path| row(path, "", "", "has no proof beside it")));
    failures.extend(sigma.problems.iter().map(|p| row(&p.path, "", "", &p.reason)));
    failures.extend(yara.problems.iter().map(|p| row(&p.path, "", "", &p.reason)));
    failures.iter_mut().for_each(|failure| failure["result"] = "FAILED".into());
    let mut rows = proven(folder, &failures);
    let (cases, failed) = (sigma.passed + yara.passed, failures.len());
    rows.append(&mut failures);
    output.rows(&PROOFS, &rows)?;
    say(&format!("{} Sigma rules and {} YARA rules proven by {cases} cases", sigma.proven, yara.proven));
    say(&format!("{cases} passed, {failed} failed"));
    if sigma.proven + yara.proven == 0 {
        return Err(Failure::rules(format!("no rule below {} is proven", folder.display()), "is this the right folder?"));
    }
    if failed == 0 { Ok(()) } else { Err(Failure::rules(format!("{failed} failures"), "they stand above")) }
}

/// Rows of the rules that no failure names.
fn proven(folder: &Path, failures: &[Value]) -> Vec<Value> {
    let failed = |path: &str, rule: &str| {
        failures.iter().any(|failure| failure["file"] == path && (failure["rule"] == rule || failure["rule"] == ""))
    };
    let (set, _) = RuleSet::load(&[folder]);
    let sigma = set.rules().iter().filter_map(|rule| {
        let (path, title) = (rule.path().display().to_string(), &rule.info().title);
        (!failed(&path, title)).then(|| json!({"file": path, "rule": title, "case": "", "result": "proven", "why": ""}))
    });
    let (pack, _) = RulePack::compile(&[folder]);
    let yara = pack.rules().into_iter().filter_map(|rule| {
        // A rule of a pack knows its file by its name without ending, and its failures know it by identifier.
        let is_failed = failures.iter().any(|failure| {
            let file = Path::new(failure["file"].as_str().unwrap_or_default());
            file.file_stem().is_some_and(|stem| stem == rule.namespace.as_str())
                && (failure["rule"] == rule.rule.as_str() || failure["rule"] == "")
        });
        (!is_failed).then(|| json!({"file": rule.namespace, "rule": rule.rule, "case": "", "result": "proven", "why": ""}))
    });
    sigma.chain(yara).collect()
}
