//! YARA as the worker's engine: rules are compiled once.
//!
//! Owns the translation of the scanner's answers into the protocol's. A rule file that is broken is a warning and the
//! rest is loaded; no rule at all is an error, because a scanner that can find nothing must not look as if it worked.

use std::time::Duration;

use beffroi_scanner::{Outcome, RulePack, ScanLimits, Scanner, StringMatch, Unknown, YaraMatch};

use crate::protocol::{Hit, MAX_HITS, MAX_META, MAX_STRINGS, cut};
use crate::worker::{Content, Engine, Judge, Unjudged, WorkerOptions};

/// Matches kept of one string: the protocol names fewer.
const MAX_MATCHES: usize = MAX_STRINGS;
/// Bytes of a matched string that are shown.
const SHOWN_BYTES: usize = 48;

/// The compiled rules.
pub struct YaraEngine {
    pack: RulePack,
    warnings: Vec<String>,
}

impl YaraEngine {
    /// Compiles the rules that the options name or hold.
    ///
    /// # Errors
    /// No rule could be loaded.
    pub fn load(options: &WorkerOptions) -> Result<Self, String> {
        let (pack, warnings) = if options.texts.is_empty() { from_files(options) } else { from_texts(options) };
        if pack.is_empty() {
            let why = warnings.first().map_or("there is no rule in them", String::as_str);
            return Err(match options.texts.is_empty() {
                true => format!("no YARA rule in {:?}: {why}; install rules or change scan.rules", options.rules),
                false => format!("no YARA rule in the {} rule texts: {why}", options.texts.len()),
            });
        }
        Ok(Self { pack, warnings })
    }
}

fn from_files(options: &WorkerOptions) -> (RulePack, Vec<String>) {
    let (pack, problems) = RulePack::compile(&options.rules);
    (pack, problems.iter().map(ToString::to_string).collect())
}

fn from_texts(options: &WorkerOptions) -> (RulePack, Vec<String>) {
    let mut warnings = Vec::new();
    let texts = options.texts.iter().filter_map(|text| match std::str::from_utf8(text.bytes()) {
        Ok(rules) => Some((text.name(), rules)),
        Err(error) => {
            warnings.push(format!("{}: byte {} is no UTF-8", text.name(), error.valid_up_to()));
            None
        }
    });
    let (pack, problems) = RulePack::compile_texts(texts.collect::<Vec<_>>());
    warnings.extend(problems.iter().map(ToString::to_string));
    (pack, warnings)
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

    fn judge(&self) -> Box<dyn Judge + '_> {
        // The worker bounds what it reads; the engine's own limit would only cut again.
        let limits = ScanLimits { max_bytes: usize::MAX, timeout: Duration::from_secs(1), max_matches: MAX_MATCHES };
        Box::new(YaraJudge { scanner: Scanner::new(&self.pack, limits) })
    }
}

struct YaraJudge<'p> {
    scanner: Scanner<'p>,
}

impl Judge for YaraJudge<'_> {
    fn scan(&mut self, content: &Content<'_>) -> Result<Vec<Hit>, Unjudged> {
        self.scanner.set_timeout(content.budget);
        let report = self.scanner.scan_file_content(content.name, content.bytes);
        match report.outcome {
            Outcome::Clean => Ok(Vec::new()),
            Outcome::Matched => Ok(report.matches.iter().take(MAX_HITS).map(|found| hit(found, content)).collect()),
            Outcome::Unknown(why) => Err(Unjudged { timed_out: matches!(why, Unknown::Timeout(_)), reason: why.to_string() }),
        }
    }
}

fn hit(found: &YaraMatch, content: &Content<'_>) -> Hit {
    let strings = found.strings.iter().take(MAX_STRINGS);
    let strings = strings.map(|string| cut(&if content.details { shown(string, content.bytes) } else { place(string) }));
    let meta = found.meta.iter().take(if content.details { MAX_META } else { 0 });
    Hit {
        rule: cut(&found.rule),
        namespace: cut(&found.namespace),
        strings: strings.collect(),
        meta: meta.map(|(key, value)| (cut(key), cut(value))).collect(),
    }
}

fn place(string: &StringMatch) -> String {
    format!("{}@{:#x}", string.name, string.offset)
}

/// Place, length, name and text as people know it from `yr scan`; bytes that are no printable ASCII as `\xNN`.
fn shown(string: &StringMatch, content: &[u8]) -> String {
    let mut text = format!("{:#x}:{}:{}: ", string.offset, string.len, string.name);
    let start = usize::try_from(string.offset).unwrap_or(usize::MAX);
    let len = usize::try_from(string.len).unwrap_or(usize::MAX).min(SHOWN_BYTES);
    let bytes = content.get(start..).unwrap_or_default();
    for byte in &bytes[..len.min(bytes.len())] {
        match byte {
            b'\\' => text.push_str("\\\\"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    if string.len > SHOWN_BYTES as u64 {
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::RuleText;
    use std::path::Path;

    const GOOD: &str = "rule Good { meta: author = \"A\" strings: $a = \"marker\" condition: $a }\n";

    fn options(rules: &str) -> (tempfile::TempDir, WorkerOptions) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("r.yar"), rules).unwrap();
        let options = WorkerOptions {
            rules: vec![dir.path().to_path_buf()],
            has_texts: false,
            texts: Vec::new(),
            max_file_bytes: 1000,
            memory_bytes: 0,
            identity: None,
            parent: 0,
        };
        (dir, options)
    }

    fn content(bytes: &[u8]) -> Content<'_> {
        Content { bytes, name: Path::new("/srv/a.sh"), budget: Duration::from_secs(1), details: false }
    }

    #[test]
    fn a_rule_finds_its_bytes_and_a_broken_one_beside_it_is_a_warning() {
        let (_dir, options) = options(&format!("{GOOD}rule Broken {{ condition: nothing }}\n"));
        let engine = YaraEngine::load(&options).unwrap();
        assert!(!engine.warnings().is_empty());
        let mut judge = engine.judge();
        let hits = judge.scan(&content(b"a marker")).unwrap();
        assert_eq!((hits[0].rule.as_str(), hits[0].strings.as_slice()), ("Good", &["$a@0x2".to_string()][..]));
        assert_eq!(judge.scan(&content(b"clean")).unwrap(), []);
    }

    #[test]
    fn details_carry_metadata_and_text_without_control_characters() {
        let (_dir, options) = options("rule R { meta: n = 3 strings: $a = /mark[^m]{0,3}er/ condition: $a }");
        let engine = YaraEngine::load(&options).unwrap();
        let hits = engine.judge().scan(&Content { details: true, ..content(b"\x1bmark\x1b\\er") }).unwrap();
        assert_eq!(hits[0].strings, ["0x1:8:$a: mark\\x1b\\\\er"]);
        assert_eq!(hits[0].meta, [("n".to_string(), "3".to_string())]);
    }

    #[test]
    fn rules_that_ask_for_the_name_of_a_file_are_told_it() {
        let (_dir, options) = options("rule Named { condition: filename == \"a.sh\" and extension == \".sh\" }");
        let engine = YaraEngine::load(&options).unwrap();
        assert_eq!(engine.judge().scan(&content(b"x")).unwrap().len(), 1);
    }

    #[test]
    fn rule_texts_are_compiled_under_their_names() {
        let texts = vec![RuleText::named("one", GOOD.into()).unwrap(), RuleText::named("bad", b"\xff".to_vec()).unwrap()];
        let (_dir, options) = options("");
        let engine = YaraEngine::load(&WorkerOptions { texts, ..options }).unwrap();
        assert_eq!(engine.judge().scan(&content(b"a marker")).unwrap()[0].namespace, "one");
        assert!(engine.warnings()[0].contains("bad"), "{:?}", engine.warnings());
    }

    #[test]
    fn rules_of_which_none_loads_are_refused() {
        let (_dir, options) = options("rule Broken { condition: nothing }");
        let Err(why) = YaraEngine::load(&options) else { panic!("an engine without rules") };
        assert!(why.contains("scan.rules"), "{why}");
        let texts = vec![RuleText::named("one", b"rule".to_vec()).unwrap()];
        let Err(why) = YaraEngine::load(&WorkerOptions { texts, ..options }) else { panic!("an engine without rules") };
        assert!(why.contains("rule texts"), "{why}");
    }
}
