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
pub use beffroi_schema::proof::{MIN_FIRES, MIN_QUIET};
use beffroi_schema::proof::{ProofFailure, too_few};
use serde::Deserialize;

use crate::detector::{Detector, SigmaDetector, compile};
use crate::loader::{PROOF_ENDING, read_text};
use crate::problem::RuleProblem;
use crate::rule::{Rule, RuleSet};

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

/// The outcome of all proofs of a folder.
pub type ProofReport = beffroi_schema::proof::ProofReport<RuleProblem>;

/// Runs the proofs of all Sigma rules under a folder.
pub fn run(folder: &Path) -> ProofReport {
    let (set, problems) = RuleSet::load(&[folder]);
    let mut report = ProofReport::new(problems);
    let detector = match compile(&set) {
        Ok(detector) => detector,
        Err(error) => {
            report.failed.push(ProofFailure::new(folder, "", "", error.to_string()));
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
    let failure = |case: &str, why: String| ProofFailure::new(rule.path(), &rule.info().title, case, why);
    let proof = match read_proof(&path) {
        Ok(proof) => proof,
        Err(why) => return report.failed.push(failure("", why)),
    };
    let failed_before = report.failed.len();
    if let Some(why) = too_few(proof.fires.len(), proof.quiet.len()) {
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
