//! What is wrong with a rule file, and where.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One thing wrong with one rule file. The rule is left out unless `loaded`; all other rules are loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleProblem {
    /// File.
    pub path: PathBuf,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// Stable short code, for example `yaml`, `condition`, `duplicate_id`.
    pub code: &'static str,
    /// What is wrong.
    pub reason: String,
    /// What to do about it.
    pub hint: String,
    /// The rule is in force in spite of it (a warning).
    pub loaded: bool,
}

impl RuleProblem {
    pub(crate) fn new(path: &Path, line: u32, code: &'static str, reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.into(), line, column: 1, code, reason: reason.into(), hint: hint.into(), loaded: false }
    }

    pub(crate) fn at_column(mut self, column: u32) -> Self {
        self.column = column;
        self
    }

    pub(crate) fn warning(mut self) -> Self {
        self.loaded = true;
        self
    }
}

impl fmt::Display for RuleProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, code, reason, hint, .. } = self;
        write!(f, "{}:{line}:{column}: {code}: {reason} ({hint})", path.display())
    }
}
