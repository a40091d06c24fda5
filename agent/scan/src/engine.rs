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
