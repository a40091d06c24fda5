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
//! A correlation is proven by sequences; its file's proof is for it, and the rules that it refers to in the same file
//! need none, unless they alert on their own. `at` counts from the beginning of the case (`s`, `m`, `h`, `d`; 0s where it
//! is missing), `repeat` gives the event several times, `every` apart (1s where it is missing); `{n}` in a value is the
//! number of the repetition, from 1:
//!
//! ```yaml
//! fires:
//!   - name: a hundred documents renamed in ten seconds
//!     events:
//!       - {at: 0s, event: {category: process_creation, product: linux, Image: /tmp/x}}
//!       - {at: 5s, repeat: 100, every: 0.1s, event: {category: file_rename, product: linux, TargetFilename: "/srv/{n}.locked"}}
//! ```
//!
//! Rules that group by host group by `Computer`, which the collector gives to every event that has none: the host's name
//! and id. A sequence stays on one host unless its events say otherwise.
//!
//! Where several documents of one file alert, each case says which it is for: `rule: ID` (or its name or title). Every case
//! is judged by the whole set, so routing and indexing are proven with the rules.

mod sequence;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use beffroi_schema::Event;
use beffroi_schema::alert::RuleInfo;
pub use beffroi_schema::proof::{MIN_FIRES, MIN_QUIET};
use beffroi_schema::proof::{ProofFailure, too_few};
use serde::Deserialize;

use crate::correlate::{CorrelateOptions, Correlator};
use crate::detector::{CompileError, Detector, SigmaDetector, compile};
use crate::loader::{PROOF_ENDING, read_text};
use crate::problem::RuleProblem;
use crate::rule::RuleSet;
use sequence::Step;

/// A proof file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proof {
    fires: Vec<Case>,
    quiet: Vec<Case>,
}

/// One event, or several, and what they stand for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    rule: Option<String>,
    #[serde(default)]
    event: Option<serde_json::Value>,
    #[serde(default)]
    events: Option<Vec<Step>>,
}

/// The outcome of all proofs of a folder.
pub type ProofReport = beffroi_schema::proof::ProofReport<RuleProblem>;

/// Runs the proofs of all Sigma rules under a folder.
pub fn run(folder: &Path) -> ProofReport {
    let (set, problems) = RuleSet::load(&[folder]);
    let mut report = ProofReport::new(problems);
    match Judges::of(&set) {
        Ok(judges) => judges.proven().iter().for_each(|proven| prove(proven, &judges, &mut report)),
        Err(error) => report.failed.push(ProofFailure::new(folder, "", "", error.to_string())),
    }
    report
}

/// What judges the cases.
struct Judges<'a> {
    set: &'a RuleSet,
    detector: SigmaDetector,
    /// Says which rules alert on their own; each case gets a correlator of its own.
    correlator: Correlator<usize>,
}

/// A rule or correlation that needs a proof.
struct Proven<'a> {
    info: &'a Arc<RuleInfo>,
    name: Option<&'a str>,
    path: &'a Path,
    /// Whether other documents of its file need one as well.
    has_others: bool,
}

impl Proven<'_> {
    /// Whether the case is for it.
    fn owns(&self, case: &Case) -> bool {
        match &case.rule {
            Some(rule) => *rule == self.info.id || *rule == self.info.title || self.name == Some(rule),
            None => !self.has_others,
        }
    }
}

impl<'a> Judges<'a> {
    fn of(set: &'a RuleSet) -> Result<Self, CompileError> {
        let correlator = Correlator::new(set, CorrelateOptions::offline())?;
        Ok(Self { set, detector: compile(set)?, correlator })
    }

    /// Everything that needs a proof. What a correlation of the same file refers to is proven with it.
    fn proven(&self) -> Vec<Proven<'a>> {
        let has_correlation = |path: &Path| self.set.correlations().iter().any(|correlation| correlation.path() == path);
        let is_proven_alone = |id: &str, path: &Path| self.correlator.alerts_alone(id) || !has_correlation(path);
        let rules = self.set.rules.iter().map(|rule| (&rule.info, rule.name.as_deref(), rule.path.as_path()));
        let correlations = self.set.correlations().iter().map(|one| (&one.info, None, one.path.as_path()));
        let all: Vec<_> = rules.chain(correlations).filter(|(info, _, path)| is_proven_alone(&info.id, path)).collect();
        let has_others = |at: usize, path: &Path| {
            has_correlation(path) && all.iter().enumerate().any(|(other, (.., file))| other != at && *file == path)
        };
        let proven = all.iter().enumerate();
        proven.map(|(at, (info, name, path))| Proven { info, name: *name, path, has_others: has_others(at, path) }).collect()
    }

    fn fires(&self, case: &Case, id: &str) -> Result<bool, String> {
        match (&case.event, &case.events) {
            (Some(event), None) => {
                let event = Event::from_json(event, 0).map_err(|error| error.to_string())?;
                Ok(self.detector.evaluate(&event).iter().any(|found| found.rule.id == id))
            }
            (None, Some(steps)) => self.sequence_fires(steps, id),
            _ => Err("a case has either `event` or `events`".into()),
        }
    }

    fn sequence_fires(&self, steps: &[Step], id: &str) -> Result<bool, String> {
        let mut correlator = Correlator::new(self.set, CorrelateOptions::offline()).map_err(|error| error.to_string())?;
        let mut fires = false;
        for (number, event) in sequence::events(steps)?.into_iter().enumerate() {
            let matches = self.detector.evaluate(&event);
            fires |= matches.iter().any(|found| found.rule.id == id);
            correlator.observe("", event.ts, number, &event, matches.iter().map(|found| found.rule.id.as_str()));
        }
        Ok(fires || correlator.finish().iter().any(|found| found.rule.id == id))
    }
}

fn prove(proven: &Proven<'_>, judges: &Judges<'_>, report: &mut ProofReport) {
    let path = proof_path(proven.path);
    if !path.exists() {
        return report.without_proof.push(proven.path.into());
    }
    let failure = |case: &str, why: String| ProofFailure::new(proven.path, &proven.info.title, case, why);
    let proof = match read_proof(&path) {
        Ok(proof) => proof,
        Err(why) => return report.failed.push(failure("", why)),
    };
    let failed_before = report.failed.len();
    if let Some(nobodys) = proof.fires.iter().chain(&proof.quiet).find(|case| case.rule.is_none() && proven.has_others) {
        report.failed.push(failure(&nobodys.name, "several documents of this file alert: say `rule:` in each case".into()));
    }
    let own = |cases: &[Case]| cases.iter().filter(|case| proven.owns(case)).cloned().collect::<Vec<_>>();
    let (fires, quiet) = (own(&proof.fires), own(&proof.quiet));
    if let Some(why) = too_few(fires.len(), quiet.len()) {
        report.failed.push(failure("", why));
    }
    let cases = fires.iter().map(|case| (case, true)).chain(quiet.iter().map(|case| (case, false)));
    for (case, must_fire) in cases {
        match judges.fires(case, &proven.info.id) {
            Ok(fires) if fires == must_fire => report.passed += 1,
            Ok(true) => report.failed.push(failure(&case.name, "it fires and must not".into())),
            Ok(false) => report.failed.push(failure(&case.name, "it does not fire and must".into())),
            Err(why) => report.failed.push(failure(&case.name, why)),
        }
    }
    report.proven += usize::from(report.failed.len() == failed_before);
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
