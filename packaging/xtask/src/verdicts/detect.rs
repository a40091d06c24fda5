//! Runs the real binary and reads what it prints.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::compare::At;
use crate::line::binary;

/// `beffroi detect` with the rules of SigmaHQ, and a folder for what tests of it need.
pub struct Detect {
    program: PathBuf,
    /// SigmaHQ's rules.
    pub rules: PathBuf,
    /// Scratch folder.
    pub scratch: PathBuf,
}

impl Detect {
    /// With these rules.
    pub fn new(rules: PathBuf, scratch: PathBuf) -> Result<Self> {
        Ok(Self { program: binary("beffroi")?, rules, scratch })
    }

    /// Lines and rules that match in one file, by SigmaHQ's rules.
    pub fn verdicts(&self, file: &Path, options: &[&str]) -> Result<BTreeSet<At>> {
        let at = |row: &Value| Some((row["record"].as_u64()?, row["rule_id"].as_str()?.to_string()));
        let rows = self.rows(&self.rules, &[file.into()], options)?;
        rows.iter().map(|row| at(row).context("a match without a place")).collect()
    }

    /// The matches of any rules.
    pub fn rows(&self, rules: &Path, files: &[OsString], options: &[&str]) -> Result<Vec<Value>> {
        let mut command = Command::new(&self.program);
        command.args(["detect", "-o", "ndjson", "--rules"]).arg(rules).args(options).args(files);
        let ran = command.output().with_context(|| self.program.display().to_string())?;
        if !ran.status.success() {
            bail!("{command:?}: {}\n{}", ran.status, String::from_utf8_lossy(&ran.stderr));
        }
        let text = String::from_utf8(ran.stdout)?;
        text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }
}
