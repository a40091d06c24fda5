//! `beffroi rules`: what can be said of rules without a collector.

use std::path::{Path, PathBuf};

use beffroi_engine::RuleSet;
use beffroi_scanner::RulePack;
use serde_json::{Value, json};

use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column, say};

const PROBLEMS: [Column; 6] = [
    column("FILE", "/file", 0),
    column("LINE", "/line", 0),
    column("CODE", "/code", 0),
    column("LOADED", "/loaded", 0),
    column("REASON", "/reason", 100),
    column("HINT", "/hint", 100),
];
const FAILURES: [Column; 4] =
    [column("FILE", "/file", 0), column("RULE", "/rule", 48), column("CASE", "/case", 48), column("WHY", "/why", 120)];

/// `rules check`: every problem with file, line and reason; the rest loads.
pub fn check(output: &Output, paths: &[PathBuf]) -> Outcome {
    for path in paths {
        if !path.exists() {
            return Err(Failure::usage(format!("{} does not exist", path.display()), "name a rule file or a folder"));
        }
    }
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

/// `rules test`: the proofs beside the rules.
pub fn test(output: &Output, folder: &Path) -> Outcome {
    if !folder.is_dir() {
        return Err(Failure::usage(format!("{} is no folder", folder.display()), "name the folder with rules and their proofs"));
    }
    let sigma = beffroi_engine::proof::run(folder);
    let yara = beffroi_scanner::proof::run(folder);
    let failure = |path: &Path, rule: &str, case: &str, why: &str| json!({"file": path.display().to_string(), "rule": rule, "case": case, "why": why});
    let mut failures: Vec<Value> = Vec::new();
    failures.extend(sigma.failed.iter().map(|f| failure(&f.path, &f.rule, &f.case, &f.why)));
    failures.extend(yara.failed.iter().map(|f| failure(&f.path, &f.rule, &f.case, &f.why)));
    failures.extend(
        sigma.without_proof.iter().chain(&yara.without_proof).map(|path| failure(path, "", "", "has no proof beside it")),
    );
    failures.extend(sigma.problems.iter().map(|p| failure(&p.path, "", "", &p.reason)));
    failures.extend(yara.problems.iter().map(|p| failure(&p.path, "", "", &p.reason)));
    output.rows(&FAILURES, &failures)?;
    say(&format!("{} Sigma rules and {} YARA rules proven by {} cases", sigma.proven, yara.proven, sigma.passed + yara.passed));
    say(&format!("{} passed, {} failed", sigma.passed + yara.passed, failures.len()));
    if sigma.proven + yara.proven == 0 {
        return Err(Failure::rules(format!("no rule below {} is proven", folder.display()), "is this the right folder?"));
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::rules(format!("{} failures", failures.len()), "they stand above")) }
}
