//! YARA as the worker's engine: rules are compiled once, before the cell is locked.
//!
//! Owns the translation of the scanner's answers into the protocol's. A rule file that is broken is a warning and the
//! rest is loaded; no rule at all is an error, because a scanner that can find nothing must not look as if it worked.

use std::time::Duration;

use beffroi_scanner::{Outcome, RulePack, ScanLimits, Scanner, YaraMatch};

use crate::protocol::{Hit, MAX_HITS, MAX_STRINGS, cut};
use crate::worker::{Engine, WorkerOptions};

/// Matches kept of one string: the protocol names fewer.
const MAX_MATCHES: usize = MAX_STRINGS;

/// The compiled rules.
pub struct YaraEngine {
    pack: RulePack,
    warnings: Vec<String>,
    max_bytes: usize,
}

impl YaraEngine {
    /// Compiles the rules that the options name.
    ///
    /// # Errors
    /// No rule could be loaded.
    pub fn load(options: &WorkerOptions) -> Result<Self, String> {
        let (pack, problems) = RulePack::compile(&options.rules);
        let warnings: Vec<String> = problems.iter().map(|problem| problem.to_string()).collect();
        if pack.is_empty() {
            let why = warnings.first().map_or("there is no rule in them", String::as_str);
            return Err(format!("no YARA rule in {:?}: {why}; install rules or change scan.rules", options.rules));
        }
        let max_bytes = usize::try_from(options.max_file_bytes).unwrap_or(usize::MAX);
        Ok(Self { pack, warnings, max_bytes })
    }
}

impl Engine for YaraEngine {
    fn ruleset(&self) -> String {
        self.pack.hash()
    }

    fn rules(&self) -> usize {
        self.pack.len()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn scan(&self, bytes: &[u8], budget: Duration) -> Result<Vec<Hit>, String> {
        let limits = ScanLimits { max_bytes: self.max_bytes, timeout: budget, max_matches: MAX_MATCHES };
        // A scanner costs about a millisecond and keeps nothing of the file before.
        let report = Scanner::new(&self.pack, limits).scan_bytes(bytes);
        match report.outcome {
            Outcome::Clean => Ok(Vec::new()),
            Outcome::Matched => Ok(report.matches.iter().take(MAX_HITS).map(hit).collect()),
            Outcome::Unknown(why) => Err(why.to_string()),
        }
    }
}

fn hit(found: &YaraMatch) -> Hit {
    let strings = found.strings.iter().take(MAX_STRINGS).map(|string| cut(&format!("{}@{:#x}", string.name, string.offset)));
    Hit { rule: cut(&found.rule), namespace: cut(&found.namespace), strings: strings.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(rules: &str) -> (tempfile::TempDir, WorkerOptions) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("r.yar"), rules).unwrap();
        let options = WorkerOptions {
            rules: vec![dir.path().to_path_buf()],
            max_file_bytes: 1000,
            timeout_ms: 1000,
            memory_bytes: 0,
            identity: None,
            parent: 0,
        };
        (dir, options)
    }

    #[test]
    fn a_rule_finds_its_bytes_and_a_broken_one_beside_it_is_a_warning() {
        let good = "rule Good { strings: $a = \"marker\" condition: $a }\n";
        let (_dir, options) = options(&format!("{good}rule Broken {{ condition: nothing }}\n"));
        let engine = YaraEngine::load(&options).unwrap();
        assert!(!engine.warnings().is_empty());
        let hits = engine.scan(b"a marker", Duration::from_secs(1)).unwrap();
        assert_eq!((hits[0].rule.as_str(), hits[0].strings.as_slice()), ("Good", &["$a@0x2".to_string()][..]));
        assert_eq!(engine.scan(b"clean", Duration::from_secs(1)).unwrap(), []);
    }

    #[test]
    fn rules_of_which_none_loads_are_refused() {
        let (_dir, options) = options("rule Broken { condition: nothing }");
        let Err(why) = YaraEngine::load(&options) else { panic!("an engine without rules") };
        assert!(why.contains("scan.rules"), "{why}");
    }
}
