//! Scanning bytes with a pack, within limits. What was cut short is never called clean.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::limits::{DEFAULT_MATCHES, DEFAULT_SCAN_BYTES, DEFAULT_TIMEOUT, MAX_REPORTED_RULES, MAX_REPORTED_STRINGS};
use crate::pack::{FILE_VARIABLES, RulePack, describe};

/// What one scan may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanLimits {
    /// Bytes of content that are looked at.
    pub max_bytes: usize,
    /// Wall-clock time. The engine looks at its clock about once a second, so a scan may take a second longer.
    pub timeout: Duration,
    /// Matches that are kept of one string of one rule.
    pub max_matches: usize,
}

impl Default for ScanLimits {
    fn default() -> Self {
        Self { max_bytes: DEFAULT_SCAN_BYTES, timeout: DEFAULT_TIMEOUT, max_matches: DEFAULT_MATCHES }
    }
}

/// One string of a rule, found in the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StringMatch {
    /// Its name in the rule, with the `$`.
    pub name: String,
    /// Bytes from the beginning of the content.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
}

/// One rule that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct YaraMatch {
    /// Rule identifier.
    pub rule: String,
    /// Namespace: the name of its file without the ending.
    pub namespace: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Metadata.
    pub meta: BTreeMap<String, String>,
    /// Strings that were found, at most [`MAX_REPORTED_STRINGS`].
    pub strings: Vec<StringMatch>,
}

/// Why nothing can be said of the content, or of all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Unknown {
    /// The time limit was reached.
    #[error("the scan was stopped after {0} ms")]
    Timeout(u64),
    /// Only the beginning was looked at.
    #[error("the content has {bytes} bytes, only the first {scanned} were looked at")]
    TooLarge {
        /// Bytes of the content.
        bytes: u64,
        /// Bytes that were looked at.
        scanned: u64,
    },
    /// The engine failed.
    #[error("the engine failed: {0}")]
    Engine(String),
}

/// What a scan says of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// No rule matches, and all of the content was looked at.
    Clean,
    /// At least one rule matches.
    Matched,
    /// No rule matches so far, but the scan was cut short.
    Unknown(Unknown),
}

impl Outcome {
    /// Short name for the field `ScanOutcome`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Matched => "matched",
            Self::Unknown(_) => "unknown",
        }
    }
}

/// The result of one scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanReport {
    /// Rules that match, at most [`MAX_REPORTED_RULES`].
    pub matches: Vec<YaraMatch>,
    /// Verdict.
    pub outcome: Outcome,
    /// Why more rules could match than are listed, where the scan was cut short although some matched.
    pub incomplete: Option<Unknown>,
}

/// Scans with one pack. Making one sets the engine up, so keep it; scans do not influence each other.
pub struct Scanner<'p> {
    pack: &'p RulePack,
    limits: ScanLimits,
    engine: yara_x::Scanner<'p>,
}

impl<'p> Scanner<'p> {
    /// A scanner for this pack.
    pub fn new(pack: &'p RulePack, limits: ScanLimits) -> Self {
        Self { pack, limits, engine: engine(pack, limits) }
    }

    /// Changes the time limit of the scans that follow.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.limits.timeout = timeout;
        self.engine.set_timeout(timeout);
    }

    /// Scans content that is in memory and has no name.
    pub fn scan_bytes(&mut self, content: &[u8]) -> ScanReport {
        self.scan_file_content(Path::new(""), content)
    }

    /// Scans content that was read from this path: rules may ask for the name. The path itself is not opened.
    pub fn scan_file_content(&mut self, path: &Path, content: &[u8]) -> ScanReport {
        if let Err(error) = self.name(path) {
            let why = Unknown::Engine(error);
            return ScanReport { matches: Vec::new(), outcome: Outcome::Unknown(why), incomplete: None };
        }
        self.scan(content)
    }

    fn name(&mut self, path: &Path) -> Result<(), String> {
        let text = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
        let extension = path.extension().map(|ending| format!(".{}", ending.to_string_lossy())).unwrap_or_default();
        let values = [text(path.file_name()), path.to_string_lossy().into_owned(), extension];
        for (name, value) in FILE_VARIABLES.into_iter().zip(values) {
            self.engine.set_global(name, value.as_str()).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn scan(&mut self, content: &[u8]) -> ScanReport {
        let scanned = &content[..content.len().min(self.limits.max_bytes)];
        // The engine runs compiled rules over hostile bytes; its panic costs this verdict, not the process.
        let result = catch_unwind(AssertUnwindSafe(|| match self.engine.scan(scanned) {
            Ok(results) => Ok(matches(&results)),
            Err(yara_x::ScanError::Timeout) => Err(Unknown::Timeout(self.limits.timeout.as_millis() as u64)),
            Err(error) => Err(Unknown::Engine(error.to_string())),
        }));
        let result = result.unwrap_or_else(|_| {
            self.engine = engine(self.pack, self.limits);
            Err(Unknown::Engine("it panicked on this content".into()))
        });
        let cut = (scanned.len() < content.len())
            .then_some(Unknown::TooLarge { bytes: content.len() as u64, scanned: scanned.len() as u64 });
        match (result, cut) {
            (Err(why), _) => ScanReport { matches: Vec::new(), outcome: Outcome::Unknown(why), incomplete: None },
            (Ok(matches), None) if matches.is_empty() => ScanReport { matches, outcome: Outcome::Clean, incomplete: None },
            (Ok(matches), Some(why)) if matches.is_empty() => {
                ScanReport { matches, outcome: Outcome::Unknown(why), incomplete: None }
            }
            (Ok(matches), cut) => ScanReport { matches, outcome: Outcome::Matched, incomplete: cut },
        }
    }
}

fn engine(pack: &RulePack, limits: ScanLimits) -> yara_x::Scanner<'_> {
    let mut engine = yara_x::Scanner::new(&pack.rules);
    engine.set_timeout(limits.timeout).max_matches_per_pattern(limits.max_matches).use_mmap(false);
    engine
}

fn matches(results: &yara_x::ScanResults<'_, '_>) -> Vec<YaraMatch> {
    let rules = results.matching_rules().take(MAX_REPORTED_RULES);
    rules
        .map(|rule| {
            let strings = rule.patterns().flat_map(|pattern| {
                let name = pattern.identifier().to_string();
                pattern.matches().map(move |found| {
                    let range = found.range();
                    StringMatch { name: name.clone(), offset: range.start as u64, len: range.len() as u64 }
                })
            });
            let strings = strings.take(MAX_REPORTED_STRINGS).collect();
            let about = describe(&rule);
            YaraMatch { rule: about.rule, namespace: about.namespace, tags: about.tags, meta: about.meta, strings }
        })
        .collect()
}
