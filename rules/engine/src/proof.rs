//! Proofs: beside each rule `NAME.yml` lies `NAME.proof.yml` with events that must make it fire and near misses that
//! must not. A rule without a proof, and a proof without enough cases, fail as much as a wrong verdict.
//!
//! ```yaml
//! fires:
//!   - name: nginx starts a shell
//!     event: {category: process_creation, product: linux, ParentImage: /usr/sbin/nginx, Image: /bin/sh}
//! quiet:
//!   - name: nginx starts its worker
//!     event: {category: process_creation, product: linux, ParentImage: /usr/sbin/nginx, Image: /usr/sbin/nginx}
//! ```
//!
//! Every case is judged by the whole set, so routing and indexing are proven with the rules.

use std::path::{Path, PathBuf};

use beffroi_schema::Event;
use serde::{Deserialize, Serialize};

use crate::detector::{Detector, SigmaDetector, compile};
use crate::loader::{PROOF_ENDING, read_text};
use crate::problem::RuleProblem;
use crate::rule::{Rule, RuleSet};

/// Cases that a proof needs at least: one that fires, and two near misses.
pub const MIN_FIRES: usize = 1;
/// See [`MIN_FIRES`].
pub const MIN_QUIET: usize = 2;

/// A proof file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    fires: Vec<Case>,
    quiet: Vec<Case>,
}

/// One event and what it stands for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    event: serde_json::Value,
}

/// A case that did not come out as its proof says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofFailure {
    /// File of the rule.
    pub path: PathBuf,
    /// Title of the rule.
    pub rule: String,
    /// Name of the case; empty when the proof as a whole is wrong.
    pub case: String,
    /// What is wrong.
    pub why: String,
}

/// The outcome of all proofs of a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ProofReport {
    /// Rules with a proof whose every case came out right.
    pub proven: usize,
    /// Cases that came out right.
    pub passed: usize,
    /// What did not.
    pub failed: Vec<ProofFailure>,
    /// Files of rules without a proof.
    pub without_proof: Vec<PathBuf>,
    /// Rules that did not load at all.
    pub problems: Vec<RuleProblem>,
}

impl ProofReport {
    /// Whether every rule loaded, has a proof, and every case came out right.
    pub fn is_green(&self) -> bool {
        self.failed.is_empty() && self.without_proof.is_empty() && self.problems.is_empty()
    }
}

/// Runs the proofs of all Sigma rules under a folder.
pub fn run(folder: &Path) -> ProofReport {
    let (set, problems) = RuleSet::load(&[folder]);
    let mut report = ProofReport { problems, ..ProofReport::default() };
    let detector = match compile(&set) {
        Ok(detector) => detector,
        Err(error) => {
            let why = error.to_string();
            report.failed.push(ProofFailure { path: folder.into(), rule: String::new(), case: String::new(), why });
            return report;
        }
    };
    for rule in set.rules() {
        prove(rule, &detector, &mut report);
    }
    report
}

fn prove(rule: &Rule, detector: &SigmaDetector, report: &mut ProofReport) {
    let path = proof_path(rule.path());
    if !path.exists() {
        return report.without_proof.push(rule.path().into());
    }
    let failure = |case: &str, why: String| ProofFailure {
        path: rule.path().into(),
        rule: rule.info().title.clone(),
        case: case.into(),
        why,
    };
    let proof = match read_proof(&path) {
        Ok(proof) => proof,
        Err(why) => return report.failed.push(failure("", why)),
    };
    let failed_before = report.failed.len();
    if proof.fires.len() < MIN_FIRES || proof.quiet.len() < MIN_QUIET {
        let (fires, quiet) = (proof.fires.len(), proof.quiet.len());
        let why = format!("{fires} firing and {quiet} quiet cases; at least {MIN_FIRES} and {MIN_QUIET} are needed");
        report.failed.push(failure("", why));
    }
    let cases = proof.fires.iter().map(|case| (case, true)).chain(proof.quiet.iter().map(|case| (case, false)));
    for (case, must_fire) in cases {
        match judge(case, rule, detector) {
            Ok(fires) if fires == must_fire => report.passed += 1,
            Ok(true) => report.failed.push(failure(&case.name, "it fires and must not".into())),
            Ok(false) => report.failed.push(failure(&case.name, "it does not fire and must".into())),
            Err(why) => report.failed.push(failure(&case.name, why)),
        }
    }
    report.proven += usize::from(report.failed.len() == failed_before);
}

fn judge(case: &Case, rule: &Rule, detector: &SigmaDetector) -> Result<bool, String> {
    let event = Event::from_json(&case.event, 0).map_err(|error| error.to_string())?;
    Ok(detector.evaluate(&event).iter().any(|found| found.rule.id == rule.info().id))
}

/// `a/b.yml` has its proof in `a/b.proof.yml`.
fn proof_path(rule: &Path) -> PathBuf {
    let stem = rule.file_stem().unwrap_or_default().to_string_lossy();
    rule.with_file_name(format!("{stem}{PROOF_ENDING}"))
}

fn read_proof(path: &Path) -> Result<Proof, String> {
    let text = read_text(path).map_err(|problem| problem.to_string())?;
    serde_yaml_ng::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}
