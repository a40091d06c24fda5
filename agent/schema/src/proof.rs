//! What comes out of the proofs that lie beside rules, whatever engine they are for: `NAME.proof.yml` holds cases that
//! must fire and near misses that must not.
//!
//! Owns the report and how many cases a rule needs. Running proofs is the engines' matter.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// Cases that each rule needs at least: one that fires, and two near misses.
pub const MIN_FIRES: usize = 1;
/// See [`MIN_FIRES`].
pub const MIN_QUIET: usize = 2;

/// Why these are not enough cases for a rule; `None` when they are.
pub fn too_few(fires: usize, quiet: usize) -> Option<String> {
    let enough = fires >= MIN_FIRES && quiet >= MIN_QUIET;
    (!enough).then(|| format!("{fires} firing and {quiet} quiet cases; at least {MIN_FIRES} and {MIN_QUIET} are needed"))
}

/// A case that did not come out as its proof says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofFailure {
    /// File of the rule.
    pub path: PathBuf,
    /// Title or identifier of the rule; empty when the proof as a whole is wrong.
    pub rule: String,
    /// Name of the case; empty when the rule as a whole is not proven.
    pub case: String,
    /// What is wrong.
    pub why: String,
}

impl ProofFailure {
    /// A failure.
    pub fn new(path: &Path, rule: &str, case: &str, why: impl Into<String>) -> Self {
        Self { path: path.into(), rule: rule.into(), case: case.into(), why: why.into() }
    }
}

/// The outcome of all proofs of a folder; `P` is what an engine says of a rule that does not load.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofReport<P> {
    /// Rules with a proof whose every case came out right.
    pub proven: usize,
    /// Cases that came out right.
    pub passed: usize,
    /// What did not.
    pub failed: Vec<ProofFailure>,
    /// Files of rules without a proof.
    pub without_proof: Vec<PathBuf>,
    /// Rules that did not load at all.
    pub problems: Vec<P>,
}

impl<P> ProofReport<P> {
    /// Nothing proven yet.
    pub fn new(problems: Vec<P>) -> Self {
        Self { proven: 0, passed: 0, failed: Vec::new(), without_proof: Vec::new(), problems }
    }

    /// Whether every rule loaded, has a proof, and every case came out right.
    pub fn is_green(&self) -> bool {
        self.failed.is_empty() && self.without_proof.is_empty() && self.problems.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_green_only_without_any_flaw() {
        let green = ProofReport::<()> { proven: 1, passed: 3, ..ProofReport::new(Vec::new()) };
        assert!(green.is_green());
        assert!(!ProofReport { problems: vec![()], ..green.clone() }.is_green());
        assert!(!ProofReport { without_proof: vec!["a.yml".into()], ..green.clone() }.is_green());
        let failure = ProofFailure::new(Path::new("a.yml"), "A", "b", "it fires and must not");
        assert!(!ProofReport { failed: vec![failure], ..green }.is_green());
    }

    #[test]
    fn too_few_cases_are_named_with_what_is_needed() {
        assert_eq!(too_few(1, 2), None);
        assert!(too_few(0, 2).unwrap().contains("0 firing") && too_few(1, 1).unwrap().contains("at least 1 and 2"));
    }
}
