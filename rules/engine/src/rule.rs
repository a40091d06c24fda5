//! A loaded rule and a loaded set of rules. Nothing here reads files (see `loader`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use beffroi_schema::alert::RuleInfo;
use sha2::{Digest, Sha256};

use crate::correlate::Plan;
use crate::logsource::{Route, RuleLogsource};
use crate::problem::RuleProblem;

/// One Sigma rule that loaded and compiled.
#[derive(Debug, Clone)]
pub struct Rule {
    pub(crate) info: Arc<RuleInfo>,
    pub(crate) name: Option<String>,
    pub(crate) path: PathBuf,
    pub(crate) line: u32,
    pub(crate) logsource: RuleLogsource,
    pub(crate) route: Route,
    pub(crate) ast: rsigma_parser::SigmaRule,
}

impl Rule {
    /// What alerts say of it.
    pub fn info(&self) -> &Arc<RuleInfo> {
        &self.info
    }

    /// File it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Line its document begins at.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Its logsource as written.
    pub fn logsource(&self) -> &RuleLogsource {
        &self.logsource
    }

    /// Its `status` as written: `stable`, `test`, `experimental`, `deprecated` or `unsupported`.
    pub fn status(&self) -> Option<&'static str> {
        self.ast.status.map(status_name)
    }
}

fn status_name(status: rsigma_parser::Status) -> &'static str {
    match status {
        rsigma_parser::Status::Stable => "stable",
        rsigma_parser::Status::Test => "test",
        rsigma_parser::Status::Experimental => "experimental",
        rsigma_parser::Status::Deprecated => "deprecated",
        rsigma_parser::Status::Unsupported => "unsupported",
    }
}

/// A correlation document: read, resolved and checked. [`crate::correlate::Correlator`] runs it.
#[derive(Debug, Clone)]
pub struct Correlation {
    pub(crate) info: Arc<RuleInfo>,
    pub(crate) path: PathBuf,
    pub(crate) line: u32,
    pub(crate) status: Option<rsigma_parser::Status>,
    pub(crate) plan: Plan,
}

impl Correlation {
    /// What alerts say of it.
    pub fn info(&self) -> &Arc<RuleInfo> {
        &self.info
    }

    /// File it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Line its document begins at.
    pub fn line(&self) -> u32 {
        self.line
    }

    /// Its `status` as written.
    pub fn status(&self) -> Option<&'static str> {
        self.status.map(status_name)
    }

    /// Ids of the rules and correlations it builds on; names in the text are resolved to ids.
    pub fn builds_on(&self) -> &[String] {
        &self.plan.rules
    }
}

/// Rules that loaded, in the order of their paths.
#[derive(Debug, Clone, Default)]
pub struct RuleSet {
    pub(crate) rules: Vec<Rule>,
    pub(crate) correlations: Vec<Correlation>,
}

impl RuleSet {
    /// Reads rules from texts that are in memory already, as (path to show, text).
    ///
    /// Every problem is returned with path and line; what is not broken is loaded.
    pub fn from_texts<P: Into<PathBuf>, T: AsRef<str>>(texts: impl IntoIterator<Item = (P, T)>) -> (Self, Vec<RuleProblem>) {
        crate::parse::assemble(texts.into_iter().map(|(path, text)| crate::parse::read(&path.into(), text.as_ref())))
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The correlations.
    pub fn correlations(&self) -> &[Correlation] {
        &self.correlations
    }

    /// Leaves out the rules that are not to be kept. Correlations stay; whoever leaves out what they build on silences them.
    pub fn retain(&mut self, keep: impl FnMut(&Rule) -> bool) {
        self.rules.retain(keep);
    }

    /// The rule with this id.
    pub fn find(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.info.id == id)
    }

    /// SHA-256 over the sorted hashes of all rule texts, hex: the same set has the same hash wherever it lies.
    pub fn hash(&self) -> String {
        let infos = self.rules.iter().map(|rule| &rule.info).chain(self.correlations.iter().map(|rule| &rule.info));
        let mut hashes: Vec<&str> = infos.map(|info| info.sha256.as_str()).collect();
        hashes.sort_unstable();
        let mut digest = Sha256::new();
        for hash in hashes {
            digest.update(hash);
            digest.update(b"\n");
        }
        hex::encode(digest.finalize())
    }
}
