//! Judges recordings by our rules and counts as an analyst would: an alert is what one rule says of one host in one hour.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use beffroi_engine::{Detector, RuleMatch, RuleSet, SigmaDetector, compile};
use beffroi_schema::alert::Level;
use beffroi_schema::limits::ALERT_BUCKET_US;
use beffroi_schema::{Event, Field};

use super::baseline::{self, Baseline};
use super::report;

/// Examples that are kept of what one rule fired on.
const MAX_EXAMPLES: usize = 5;
/// One example, in characters: enough to see why.
const MAX_EXAMPLE_CHARS: usize = 200;

/// What is judged by what.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Folder of recordings (default: `noise` in the cache of downloads).
    #[arg(long)]
    recordings: Option<PathBuf>,
    /// Rules.
    #[arg(long, default_value = "rules/sigma")]
    rules: PathBuf,
    /// Corpora; what is not there is said and left out.
    #[arg(long, default_value = "../shared/corpora")]
    corpora: PathBuf,
    /// Print every rule, not only those that fired.
    #[arg(long)]
    all: bool,
}

/// What one rule said of all recordings.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Title.
    pub title: String,
    /// Level.
    pub level: Option<Level>,
    /// Matches.
    pub matches: u64,
    /// Matches of one host and hour count once.
    pub alerts: u64,
    /// Some of what it fired on, with the recording.
    pub examples: Vec<String>,
}

impl Tally {
    /// Whether it would wake somebody.
    pub fn is_grave(&self) -> bool {
        self.alerts > 0 && self.level >= Some(Level::High)
    }
}

/// Judges and prints.
///
/// # Errors
/// When nothing can be judged, or a rule of level high or critical fired.
pub fn run(options: &Options) -> Result<()> {
    let folder = options.recordings.clone().map_or_else(cache, Ok)?;
    let mut baselines = baseline::recordings(&folder)?;
    if baselines.is_empty() {
        eprintln!("noise: no recordings in {}; `make noise` makes them (root)", folder.display());
    }
    match baseline::package_build(&options.corpora)? {
        Some(build) => baselines.push(build),
        None => eprintln!("noise: SKIPPED the corpus: there is no {}", options.corpora.display()),
    }
    if baselines.is_empty() {
        bail!("there is nothing to judge");
    }
    let (set, problems) = RuleSet::load(&[options.rules.as_path()]);
    if let Some(problem) = problems.first() {
        bail!("{} rules do not load; the first: {problem}", problems.len());
    }
    let detector = compile(&set)?;
    let mut tallies = tallies(&detector);
    for baseline in &baselines {
        judge(baseline, &detector, &mut tallies)?;
    }
    let stories: Vec<_> = baselines.iter().map(|baseline| &baseline.story).collect();
    let grave = report::print(&stories, &tallies, options.all);
    if grave > 0 {
        bail!("{grave} rules of level high or critical fire where nobody attacks: mend them, lower them or switch them off");
    }
    Ok(())
}

fn cache() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = from("BEFFROI_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("beffroi")))
        .or_else(|| Some(from("HOME")?.join(".cache/beffroi")));
    Ok(folder.context("neither BEFFROI_CACHE nor HOME is set: say --recordings DIR")?.join("noise"))
}

fn tallies(detector: &SigmaDetector) -> BTreeMap<String, Tally> {
    let tally = |title: &str, level| Tally { title: title.into(), level: Some(level), ..Tally::default() };
    detector.rules().iter().map(|rule| (rule.id.clone(), tally(&rule.title, rule.level))).collect()
}

fn judge(baseline: &Baseline, detector: &SigmaDetector, tallies: &mut BTreeMap<String, Tally>) -> Result<()> {
    let mut hours: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    baseline.each(|event| {
        for found in detector.evaluate(event) {
            let hour = event.ts.div_euclid(ALERT_BUCKET_US);
            let seen = hours.entry(found.rule.id.clone()).or_default();
            let is_new = !seen.contains(&hour);
            if is_new {
                seen.push(hour);
            }
            note(tallies.entry(found.rule.id.clone()).or_default(), &found, is_new, || example(&baseline.story.activity, event));
        }
    })?;
    Ok(())
}

fn note(tally: &mut Tally, found: &RuleMatch, is_new: bool, example: impl FnOnce() -> String) {
    tally.title.clone_from(&found.rule.title);
    tally.level = Some(found.rule.level);
    tally.matches += 1;
    tally.alerts += u64::from(is_new);
    if tally.examples.len() < MAX_EXAMPLES {
        let example = example();
        if !tally.examples.contains(&example) {
            tally.examples.push(example);
        }
    }
}

fn example(activity: &str, event: &Event) -> String {
    let what =
        [Field::TARGET_FILENAME, Field::DESTINATION_IP].into_iter().map(|field| event.text(field)).find(|text| !text.is_empty());
    let line = format!(
        "{activity}: {} [{}] {} (below {})",
        event.text(Field::IMAGE),
        event.text(Field::COMMAND_LINE),
        what.unwrap_or_default(),
        event.text(Field::PARENT_COMMAND_LINE)
    );
    line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(MAX_EXAMPLE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording(folder: &std::path::Path, lines: &[&str]) {
        let text = lines.join("\n") + "\n";
        std::fs::write(folder.join("t.ndjson.zst"), zstd::encode_all(text.as_bytes(), 1).expect("zstd")).expect("a file");
        let story = r#"{"activity":"t","seconds":60,"events":2,"lost":0,"done":[],"not_done":[]}"#;
        std::fs::write(folder.join("t.json"), story).expect("a file");
    }

    fn options(folder: &std::path::Path, level: &str) -> Options {
        let rules = folder.join("rules");
        std::fs::create_dir_all(&rules).expect("a folder");
        let rule = format!(
            "title: Rule\nid: 11111111-1111-1111-1111-111111111111\nlogsource: {{category: process_creation, product: linux}}\n\
             detection:\n  s: {{Image|endswith: /nc}}\n  condition: s\nlevel: {level}\n"
        );
        std::fs::write(rules.join("r.yml"), rule).expect("a file");
        Options { recordings: Some(folder.into()), rules, corpora: folder.join("none"), all: true }
    }

    const NC: &str = r#"{"ts":"2026-01-01T10:00:00Z","category":"process_creation","product":"linux","Image":"/bin/nc"}"#;
    const LS: &str = r#"{"ts":"2026-01-01T10:00:01Z","category":"process_creation","product":"linux","Image":"/bin/ls"}"#;

    #[test]
    fn a_high_rule_that_fires_fails_and_a_medium_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        recording(folder.path(), &[NC, LS]);
        let error = run(&options(folder.path(), "high")).expect_err("it fired").to_string();
        assert!(error.contains("1 rules of level high"), "{error}");
        run(&options(folder.path(), "medium")).expect("medium is counted only");
    }

    #[test]
    fn a_recording_without_a_match_passes() {
        let folder = tempfile::tempdir().expect("a folder");
        recording(folder.path(), &[LS]);
        run(&options(folder.path(), "critical")).expect("nothing fired");
    }

    #[test]
    fn nothing_to_judge_is_no_success() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = run(&options(folder.path(), "high")).expect_err("nothing is there").to_string();
        assert!(error.contains("nothing to judge"), "{error}");
    }

    #[test]
    fn matches_of_one_hour_are_one_alert() {
        let folder = tempfile::tempdir().expect("a folder");
        let later = NC.replace("10:00:00", "11:30:00");
        recording(folder.path(), &[NC, NC, &later]);
        let options = options(folder.path(), "low");
        let (set, _) = RuleSet::load(&[options.rules.as_path()]);
        let detector = compile(&set).expect("it compiles");
        let mut tallies = tallies(&detector);
        for baseline in baseline::recordings(folder.path()).expect("it is read") {
            judge(&baseline, &detector, &mut tallies).expect("it is judged");
        }
        let tally = tallies.values().next().expect("the rule");
        assert_eq!((tally.matches, tally.alerts, tally.examples.len()), (3, 2, 1));
    }
}
