//! Proofs of YARA rules: beside `NAME.yar` lies `NAME.proof.yml` with content that must match and content that must not.
//!
//! Content is base64 or hex, so that no sample is a working file and no antivirus takes the checkout away. Where a file
//! has several rules, each needs its own cases, named by `rule`.
//!
//! ```yaml
//! fires:
//!   - {name: a dropper, rule: Beffroi_Demo_Dropper, base64: QkVGRlJPSQ==}
//! quiet:
//!   - {name: its documentation, rule: Beffroi_Demo_Dropper, hex: 424546}
//! ```

use std::path::{Path, PathBuf};

use base64::Engine;
use beffroi_schema::proof::{ProofFailure, too_few};
use serde::Deserialize;

use crate::limits::MAX_PROOF_BYTES;
use crate::pack::{PackProblem, RulePack, read_bytes};
use crate::scan::{ScanLimits, Scanner};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    fires: Vec<Case>,
    quiet: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// Rule that the case is about; the file's only rule where it is left out.
    rule: Option<String>,
    base64: Option<String>,
    hex: Option<String>,
}

/// The outcome of all proofs of a folder.
pub type ProofReport = beffroi_schema::proof::ProofReport<PackProblem>;

/// Runs the proofs of all YARA rules under a folder. Every case is scanned with the whole pack.
pub fn run(folder: &Path) -> ProofReport {
    let (pack, problems) = RulePack::compile(&[folder]);
    let mut report = ProofReport::new(problems);
    let mut scanner = Scanner::new(&pack, ScanLimits::default());
    let mut files: Vec<PathBuf> = walkdir::WalkDir::new(folder).into_iter().flatten().map(walkdir::DirEntry::into_path).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yar" || ending == "yara"));
    files.sort();
    for path in files {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let rules: Vec<String> = pack.rules().into_iter().filter(|rule| rule.namespace == stem).map(|rule| rule.rule).collect();
        let proof_path = path.with_file_name(format!("{stem}.proof.yml"));
        if proof_path.exists() {
            Prover { path: &path, namespace: &stem, scanner: &mut scanner, report: &mut report }.file(&proof_path, &rules);
        } else {
            report.without_proof.push(path);
        }
    }
    report
}

struct Prover<'a, 'p> {
    path: &'a Path,
    namespace: &'a str,
    scanner: &'a mut Scanner<'p>,
    report: &'a mut ProofReport,
}

impl Prover<'_, '_> {
    fn file(&mut self, proof_path: &Path, rules: &[String]) {
        let proof = match read_proof(proof_path) {
            Ok(proof) => proof,
            Err(why) => return self.fail("", "", why),
        };
        let is_about = |case: &Case, rule: &String| case.rule.as_ref().map_or(rules.len() == 1, |named| named == rule);
        for case in proof.fires.iter().chain(&proof.quiet).filter(|case| !rules.iter().any(|rule| is_about(case, rule))) {
            let why = "it names no rule of this file; set `rule`".to_string();
            self.fail(case.rule.as_deref().unwrap_or_default(), &case.name, why);
        }
        for rule in rules {
            let pick = |cases: &'_ [Case]| -> Vec<usize> {
                cases.iter().enumerate().filter(|(_, case)| is_about(case, rule)).map(|(index, _)| index).collect()
            };
            let (fires, quiet) = (pick(&proof.fires), pick(&proof.quiet));
            let failed_before = self.report.failed.len();
            if let Some(why) = too_few(fires.len(), quiet.len()) {
                self.fail(rule, "", why);
            }
            fires.iter().for_each(|index| self.case(rule, &proof.fires[*index], true));
            quiet.iter().for_each(|index| self.case(rule, &proof.quiet[*index], false));
            self.report.proven += usize::from(self.report.failed.len() == failed_before);
        }
    }

    fn case(&mut self, rule: &str, case: &Case, must_fire: bool) {
        let content = match content(case) {
            Ok(content) => content,
            Err(why) => return self.fail(rule, &case.name, why),
        };
        let report = self.scanner.scan_bytes(&content);
        let fires = report.matches.iter().any(|found| found.rule == rule && found.namespace == self.namespace);
        match (fires, must_fire) {
            (true, false) => self.fail(rule, &case.name, "it matches and must not".into()),
            (false, true) => self.fail(rule, &case.name, format!("it does not match and must ({:?})", report.outcome)),
            _ => self.report.passed += 1,
        }
    }

    fn fail(&mut self, rule: &str, case: &str, why: String) {
        self.report.failed.push(ProofFailure::new(self.path, rule, case, why));
    }
}

fn content(case: &Case) -> Result<Vec<u8>, String> {
    match (&case.base64, &case.hex) {
        (Some(text), None) => {
            let text: String = text.split_ascii_whitespace().collect();
            base64::engine::general_purpose::STANDARD.decode(text).map_err(|error| format!("bad base64: {error}"))
        }
        (None, Some(text)) => {
            let text: String = text.split_ascii_whitespace().collect();
            hex::decode(text).map_err(|error| format!("bad hex: {error}"))
        }
        _ => Err("give its content as either base64 or hex".into()),
    }
}

fn read_proof(path: &Path) -> Result<Proof, String> {
    let bytes = read_bytes(path, MAX_PROOF_BYTES).map_err(|problem| problem.to_string())?;
    serde_yaml_ng::from_slice(&bytes).map_err(|error| format!("{}: {error}", path.display()))
}
