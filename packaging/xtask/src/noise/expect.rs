//! What must fire on recorded attacks: the titles in a file, one a line. Every rule of the pack stands there, if not to fire
//! then as `- TITLE: REASON`, so that no rule is left unproven on real events by having been forgotten.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::judge::Tally;

/// A file of titles.
#[derive(Debug)]
pub struct Expected {
    file: PathBuf,
    wanted: Vec<String>,
    /// Reasons by title.
    excused: BTreeMap<String, String>,
}

impl Expected {
    /// Reads the file; empty lines and those that begin with `#` say nothing.
    ///
    /// # Errors
    /// When it cannot be read, or an excuse has no reason.
    pub fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut expected = Self { file: file.into(), wanted: Vec::new(), excused: BTreeMap::new() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some(excuse) = line.strip_prefix("- ") else {
                expected.wanted.push(line.into());
                continue;
            };
            let Some((title, reason)) = excuse.split_once(": ") else {
                bail!("{}: write `- TITLE: REASON` instead of `{line}`", file.display());
            };
            expected.excused.insert(title.into(), reason.into());
        }
        Ok(expected)
    }

    /// Prints what fired and what was not tried.
    ///
    /// # Errors
    /// When an expected rule did not fire, or a rule is not in the file.
    pub fn compare(&self, rules: &BTreeMap<String, Tally>) -> Result<()> {
        let fired: HashSet<&str> = rules.values().filter(|tally| tally.alerts > 0).map(|tally| tally.title.as_str()).collect();
        let silent: Vec<&str> = self.wanted.iter().map(String::as_str).filter(|title| !fired.contains(title)).collect();
        println!("{} of {} expected rules fired on recorded attacks", self.wanted.len() - silent.len(), self.wanted.len());
        for (title, reason) in &self.excused {
            println!("not tried: {title} ({reason})");
        }
        if !silent.is_empty() {
            bail!("silent on what they are for: {}", silent.join("; "));
        }
        let forgotten = self.forgotten(rules);
        if !forgotten.is_empty() {
            bail!("neither expected nor excused in {}: {}", self.file.display(), forgotten.join("; "));
        }
        Ok(())
    }

    /// Rules that the file does not know.
    fn forgotten<'a>(&self, rules: &'a BTreeMap<String, Tally>) -> Vec<&'a str> {
        let is_known = |title: &&str| self.wanted.iter().any(|wanted| wanted == title) || self.excused.contains_key(*title);
        rules.values().map(|tally| tally.title.as_str()).filter(|title| !is_known(title)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::judge::alerting;
    use beffroi_engine::RuleSet;

    #[test]
    fn every_rule_of_the_pack_is_tried_on_recorded_attacks_or_excused() {
        let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let (set, problems) = RuleSet::load(&[top.join("rules/sigma").as_path()]);
        assert!(problems.is_empty(), "{problems:?}");
        let rules = alerting(&set).expect("they compile");
        let expected = Expected::read(&top.join("tests/noise/attacks.txt")).expect("it is read");
        assert_eq!(expected.forgotten(&rules), Vec::<&str>::new());
        let titles: HashSet<&str> = rules.values().map(|tally| tally.title.as_str()).collect();
        let gone: Vec<_> =
            expected.wanted.iter().chain(expected.excused.keys()).filter(|title| !titles.contains(title.as_str())).collect();
        assert!(gone.is_empty(), "the pack has no such rules: {gone:?}");
    }

    #[test]
    fn an_excuse_without_a_reason_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("list");
        std::fs::write(&file, "Rule\n- Another\n").expect("a file");
        assert!(Expected::read(&file).expect_err("no reason").to_string().contains("`- Another`"));
    }
}
