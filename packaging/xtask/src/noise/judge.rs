//! Judges recordings by our rules and counts as an analyst would: an alert is what one rule or correlation says of one host
//! in one hour. Rules that only serve correlations are not counted, as they alert nobody.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use beffroi_engine::correlate::{CorrelateOptions, Correlator};
use beffroi_engine::{Detector, RuleSet, SigmaDetector, compile};
use beffroi_schema::alert::{Level, RuleInfo};
use beffroi_schema::limits::ALERT_BUCKET_US;
use beffroi_schema::{Event, Field, Logsource};

use super::baseline::{self, Baseline};
use super::expect::Expected;
use super::report;
use super::work::Work;

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
    /// Print every rule, not only those that fired, and every step of every recording.
    #[arg(long)]
    all: bool,
    /// Kinds of work that must be in the recordings, `KIND | RECORDING | PROGRAM | LEAVES` on a line.
    #[arg(long, value_name = "FILE")]
    work: Option<PathBuf>,
    /// The recordings are of attacks: every rule titled in this file, one a line, must fire, every other must stand there
    /// as `- TITLE: REASON`, and the corpus is left out.
    #[arg(long, value_name = "FILE")]
    expect: Option<PathBuf>,
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
    /// Why no event of the recordings could make it fire, so that its silence says nothing.
    pub inert: Option<String>,
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
/// When nothing can be judged, a rule of level high or critical fired, or the recordings lack what they should hold; with
/// `expect`, when an expected rule did not fire.
pub fn run(options: &Options) -> Result<()> {
    let baselines = baselines(options)?;
    let (set, problems) = RuleSet::load(&[options.rules.as_path()]);
    if let Some(problem) = problems.first() {
        bail!("{} rules do not load; the first: {problem}", problems.len());
    }
    let mut tallies = Tallies::new(&set, Work::read(options.work.as_deref())?)?;
    for baseline in &baselines {
        tallies.judge(baseline)?;
    }
    tallies.mark_inert();
    if let Some(file) = &options.expect {
        return Expected::read(file)?.compare(&tallies.rules);
    }
    let stories: Vec<_> = baselines.iter().map(|baseline| &baseline.story).collect();
    report::work(&tallies.work, options.all);
    let grave = report::print(&stories, &tallies.rules, options.all);
    let faults = tallies.work.faults(&stories);
    for fault in &faults {
        eprintln!("noise: {fault}");
    }
    if grave > 0 {
        bail!("{grave} rules of level high or critical fire where nobody attacks: mend them, lower them or switch them off");
    }
    if !faults.is_empty() {
        bail!("the recordings lack what is named above: mend it in tests/noise/inside, then tests/noise/record.sh --again");
    }
    Ok(())
}

fn baselines(options: &Options) -> Result<Vec<Baseline>> {
    let folder = options.recordings.clone().map_or_else(cache, Ok)?;
    let mut baselines = baseline::recordings(&folder)?;
    if baselines.is_empty() {
        eprintln!("noise: no recordings in {}; `make noise` makes them (root)", folder.display());
    }
    if options.expect.is_none() {
        match baseline::package_build(&options.corpora)? {
            Some(build) => baselines.push(build),
            None => eprintln!("noise: SKIPPED the corpus: there is no {}", options.corpora.display()),
        }
    }
    if baselines.is_empty() {
        bail!("there is nothing to judge");
    }
    Ok(baselines)
}

fn cache() -> Result<PathBuf> {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = from("BEFFROI_CACHE")
        .or_else(|| Some(from("XDG_CACHE_HOME")?.join("beffroi")))
        .or_else(|| Some(from("HOME")?.join(".cache/beffroi")));
    Ok(folder.context("neither BEFFROI_CACHE nor HOME is set: say --recordings DIR")?.join("noise"))
}

/// The rules in force and what they said so far.
struct Tallies<'a> {
    set: &'a RuleSet,
    detector: SigmaDetector,
    /// By rule id.
    rules: BTreeMap<String, Tally>,
    work: Work,
    /// Kinds of events that there were.
    sources: HashSet<Logsource>,
}

impl<'a> Tallies<'a> {
    fn new(set: &'a RuleSet, work: Work) -> Result<Self> {
        Ok(Self { set, detector: compile(set)?, rules: alerting(set)?, work, sources: HashSet::new() })
    }

    /// Every recording is a host of its own, so correlations begin anew.
    fn judge(&mut self, baseline: &Baseline) -> Result<()> {
        let activity = &baseline.story.activity;
        let mut correlator = Correlator::new(self.set, CorrelateOptions::offline())?;
        let mut hours = HashSet::new();
        let mut number = 0_u64;
        let first_step = self.work.begin(&baseline.story);
        baseline.each(|event| {
            number += 1;
            self.work.note(first_step, activity, event);
            if !self.sources.contains(&event.logsource) {
                self.sources.insert(event.logsource.clone());
            }
            let found = self.detector.evaluate(event);
            correlator.observe(activity, event.ts, number, event, found.iter().map(|found| found.rule.id.as_str()));
            for found in &found {
                self.note(&found.rule, event.ts, &mut hours, || example(activity, event));
            }
        })?;
        for found in correlator.finish() {
            self.note(&found.rule, found.last_us, &mut hours, || {
                format!("{activity}: {} events of {:?}", found.count, found.group)
            });
        }
        if let Some(overflow) = correlator.take_overflows().first() {
            bail!("{activity}: correlations gave up state, so their silence proves nothing: {overflow:?}");
        }
        Ok(())
    }

    /// Once everything was judged.
    fn mark_inert(&mut self) {
        let sources: Vec<Logsource> = self.sources.iter().cloned().collect();
        for inert in self.set.inert(&sources) {
            if let Some(tally) = self.rules.get_mut(&inert.rule.id) {
                tally.inert = Some(inert.reason);
            }
        }
    }

    fn note(&mut self, rule: &RuleInfo, ts: i64, hours: &mut HashSet<(String, i64)>, example: impl FnOnce() -> String) {
        // What is not here alerts nobody.
        let Some(tally) = self.rules.get_mut(&rule.id) else { return };
        tally.matches += 1;
        tally.alerts += u64::from(hours.insert((rule.id.clone(), ts.div_euclid(ALERT_BUCKET_US))));
        if tally.examples.len() < MAX_EXAMPLES {
            let example: String = example().chars().take(MAX_EXAMPLE_CHARS).collect();
            if !tally.examples.contains(&example) {
                tally.examples.push(example);
            }
        }
    }
}

/// Every rule and correlation that alerts somebody, by id, with nothing counted yet.
pub fn alerting(set: &RuleSet) -> Result<BTreeMap<String, Tally>> {
    let correlator = Correlator::<u64>::new(set, CorrelateOptions::offline())?;
    let single = set.rules().iter().map(|rule| rule.info());
    let infos = single.chain(set.correlations().iter().map(|correlation| correlation.info()));
    let tally = |info: &RuleInfo| Tally { title: info.title.clone(), level: Some(info.level), ..Tally::default() };
    Ok(infos.filter(|info| correlator.alerts_alone(&info.id)).map(|info| (info.id.clone(), tally(info))).collect())
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
    line.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
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
        Options { recordings: Some(folder.into()), rules, corpora: folder.join("none"), all: true, work: None, expect: None }
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
    fn an_expected_rule_that_stays_silent_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        recording(folder.path(), &[NC]);
        let mut options = options(folder.path(), "high");
        let list = folder.path().join("expected");
        options.expect = Some(list.clone());
        std::fs::write(&list, "# what must fire\nRule\n").expect("a file");
        run(&options).expect("it fired");
        std::fs::write(&list, "Rule\nAnother\n").expect("a file");
        let error = run(&options).expect_err("the other is silent").to_string();
        assert!(error.ends_with(": Another"), "{error}");
        std::fs::write(&list, "").expect("a file");
        let error = run(&options).expect_err("nobody knows of the rule").to_string();
        assert!(error.ends_with(": Rule"), "{error}");
        std::fs::write(&list, "- Rule: cannot be tried here\n").expect("a file");
        run(&options).expect("it is excused");
    }

    #[test]
    fn a_recording_that_lacks_a_kind_of_work_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        recording(folder.path(), &[LS]);
        let mut options = options(folder.path(), "critical");
        let list = folder.path().join("work");
        options.work = Some(list.clone());
        std::fs::write(&list, "listing | t | /ls | processes\n").expect("a file");
        run(&options).expect("it is there");
        std::fs::write(&list, "listing | t | /ls | processes\nprinting | t | /lp | processes\n").expect("a file");
        let error = run(&options).expect_err("nobody printed").to_string();
        assert!(error.contains("the recordings lack"), "{error}");
    }

    #[test]
    fn the_silence_of_a_rule_without_events_that_it_is_for_is_not_counted() {
        let folder = tempfile::tempdir().expect("a folder");
        recording(folder.path(), &[LS]);
        let options = options(folder.path(), "high");
        let rule = "title: Name\nid: 33333333-3333-3333-3333-333333333333\nlogsource: {category: dns_query}\n\
             detection:\n  s: {QueryName: x}\n  condition: s\nlevel: high\n";
        std::fs::write(options.rules.join("d.yml"), rule).expect("a file");
        let (set, problems) = RuleSet::load(&[options.rules.as_path()]);
        assert!(problems.is_empty(), "{problems:?}");
        let mut tallies = Tallies::new(&set, Work::default()).expect("it compiles");
        let baselines = baseline::recordings(folder.path()).expect("it is read");
        tallies.judge(&baselines[0]).expect("it is judged");
        tallies.mark_inert();
        let inert: Vec<_> = tallies.rules.values().map(|tally| (tally.title.as_str(), tally.inert.is_some())).collect();
        assert_eq!(inert, [("Rule", false), ("Name", true)]);
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
        let mut tallies = Tallies::new(&set, Work::default()).expect("it compiles");
        for baseline in baseline::recordings(folder.path()).expect("it is read") {
            tallies.judge(&baseline).expect("it is judged");
        }
        let tally = tallies.rules.values().next().expect("the rule");
        assert_eq!((tally.matches, tally.alerts, tally.examples.len()), (3, 2, 1));
    }

    #[test]
    fn a_correlation_is_counted_and_its_parts_are_not() {
        let folder = tempfile::tempdir().expect("a folder");
        recording(folder.path(), &[NC, NC, NC]);
        let options = options(folder.path(), "high");
        let correlation = "title: Burst\nid: 22222222-2222-2222-2222-222222222222\ncorrelation:\n  type: event_count\n  \
             rules: [11111111-1111-1111-1111-111111111111]\n  group-by: [Computer]\n  timespan: 1m\n  condition: {gte: 3}\nlevel: low\n";
        std::fs::write(options.rules.join("c.yml"), correlation).expect("a file");
        let (set, problems) = RuleSet::load(&[options.rules.as_path()]);
        assert!(problems.is_empty(), "{problems:?}");
        let mut tallies = Tallies::new(&set, Work::default()).expect("it compiles");
        let baselines = baseline::recordings(folder.path()).expect("it is read");
        tallies.judge(&baselines[0]).expect("it is judged");
        let counted: Vec<_> = tallies.rules.values().map(|tally| (tally.title.as_str(), tally.alerts)).collect();
        assert_eq!(counted, [("Burst", 1)]);
    }
}
