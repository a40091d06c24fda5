//! Every SigmaHQ rule on every recorded event, against the verdicts of two other engines.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod corpora;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use beffroi_engine::eval::{Builder, Frame, Judge, Program, Scratch, fill_from_json, reference};
use beffroi_engine::windows::{flatten, views};
use corpora::Verdict;
use serde_json::{Map, Value as Json};

/// The logsource of a rule or of a view: product, category, service.
type Source = (Option<String>, Option<String>, Option<String>);

struct Set {
    program: Program,
    ids: Vec<String>,
    sources: BTreeMap<Source, Vec<usize>>,
    judges: BTreeMap<Vec<Source>, Judge>,
    refused: Vec<String>,
}

impl Set {
    fn of(texts: &[(std::path::PathBuf, String)]) -> Self {
        let mut builder = Builder::default();
        let (mut ids, mut sources, mut refused) = (Vec::new(), BTreeMap::<Source, Vec<usize>>::new(), Vec::new());
        for (path, text) in texts {
            for rule in rsigma_parser::parse_sigma_yaml(text).map(|set| set.rules).unwrap_or_default() {
                match builder.add(&rule) {
                    Ok(index) => {
                        ids.push(rule.id.clone().unwrap_or_default());
                        let lower = |text: &Option<String>| text.as_ref().map(|text| text.to_lowercase());
                        let source = &rule.logsource;
                        let key = (lower(&source.product), lower(&source.category), lower(&source.service));
                        sources.entry(key).or_default().push(index);
                    }
                    Err(error) => refused.push(format!("{}: {error}", path.display())),
                }
            }
        }
        Self { program: builder.finish(), ids, sources, judges: BTreeMap::new(), refused }
    }

    /// Rules whose product, category and service are unset or the event's.
    fn asked(&self, product: &str, category: Option<&str>, service: Option<&str>) -> Vec<Source> {
        let fits = |rule: &Option<String>, event: Option<&str>| rule.as_deref().is_none_or(|rule| Some(rule) == event);
        let sources = self.sources.keys();
        sources.filter(|s| fits(&s.0, Some(product)) && fits(&s.1, category) && fits(&s.2, service)).cloned().collect()
    }

    /// The ids of the rules that match, by the fast evaluator; the reference must say the same.
    fn judge(&mut self, asked: Vec<Source>, object: &Map<String, Json>, scratch: &mut Scratch, check: bool) -> Vec<String> {
        let rules: Vec<usize> = asked.iter().flat_map(|source| self.sources[source].iter().copied()).collect();
        let program = &self.program;
        let judge = self.judges.entry(asked).or_insert_with(|| Judge::new(program, &rules).unwrap());
        let mut frame = Frame::new(&program.names);
        fill_from_json(&mut frame, &program.names, object);
        let matches = judge.matches(program, &frame, scratch).to_vec();
        if check {
            let slow: Vec<u32> = rules
                .iter()
                .filter(|rule| reference::holds(program, &program.rules[**rule], &frame))
                .map(|rule| *rule as u32)
                .collect::<BTreeSet<u32>>()
                .into_iter()
                .collect();
            assert_eq!(matches, slow, "fast and reference differ on {object:?}");
        }
        matches.iter().map(|rule| self.ids[*rule as usize].clone()).collect()
    }
}

/// Lines and the rules that match there.
type Found = BTreeSet<(usize, String)>;

#[derive(Default)]
struct Tally {
    agreed: usize,
    missed: Vec<String>,
    extra: Vec<String>,
    other: Vec<String>,
}

impl Tally {
    /// `both` names the rules that both engines judged: where one could not, its silence agrees with nothing.
    fn count(&mut self, name: &str, ours: &Found, theirs: &BTreeMap<(usize, String), Verdict>, both: &BTreeSet<String>) {
        for (at, verdict) in theirs {
            match (verdict, ours.contains(at)) {
                (Verdict::Agreed, true) => self.agreed += 1,
                (Verdict::Agreed, false) => self.missed.push(format!("{name}: {at:?}")),
                (_, held) => self.other.push(format!("{name}: {at:?} {verdict:?}: we say {held}")),
            }
        }
        for at in ours.iter().filter(|at| !theirs.contains_key(at)) {
            match both.contains(&at.1) {
                true => self.extra.push(format!("{name}: {at:?}")),
                false => self.other.push(format!("{name}: {at:?} one engine only, and it says no: we say true")),
            }
        }
    }

    fn assert_exact(&self, source: &str) {
        eprintln!("{source}: {} agreed hit, {} missed, {} extra", self.agreed, self.missed.len(), self.extra.len());
        self.other.iter().for_each(|line| eprintln!("  {line}"));
        let show = |list: &[String]| list.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(
            self.missed.is_empty() && self.extra.is_empty(),
            "missed:\n{}\nextra:\n{}",
            show(&self.missed),
            show(&self.extra)
        );
    }
}

/// Rules that other engines were asked: all, and those that both could judge.
fn evaluated(folder: &Path) -> (BTreeSet<String>, BTreeSet<String>) {
    let text = std::fs::read_to_string(folder.join("expected/sigma/rules-evaluated.tsv")).unwrap();
    let rows: Vec<Vec<&str>> = text.lines().skip(1).map(|line| line.split('\t').collect()).collect();
    let ids = |keep: &dyn Fn(&[&str]) -> bool| rows.iter().filter(|row| keep(row)).map(|row| row[0].to_string()).collect();
    (ids(&|_| true), ids(&|row| row[5] == "yes" && row[6] == "yes"))
}

fn windows_source(set: &mut Set, path: &Path, check_every: usize, only: &BTreeSet<String>) -> Found {
    let mut ours = BTreeSet::new();
    let mut scratch = Scratch::default();
    for (line, event) in corpora::lines(path) {
        let flat = flatten(&event);
        for view in views(&flat) {
            let mut seen = flat.clone();
            for (new, existing) in view.renamed {
                if let Some(value) = flat.get(*existing).cloned() {
                    seen.entry(*new).or_insert(value);
                }
            }
            let asked = set.asked("windows", view.category, view.service);
            for id in set.judge(asked, &seen, &mut scratch, line % check_every == 0) {
                if only.contains(&id) {
                    ours.insert((line, id));
                }
            }
        }
    }
    ours
}

fn rules(folder: &Path) -> Set {
    let set = Set::of(&corpora::sigmahq(folder));
    eprintln!("{} rules, {} atoms, {} refused", set.ids.len(), set.program.atoms.len(), set.refused.len());
    set.refused.iter().take(10).for_each(|line| eprintln!("  {line}"));
    set
}

#[test]
fn the_regression_events_of_the_rules_own_project_give_the_agreed_verdicts() {
    let Some(folder) = corpora::corpora() else { return };
    let (mut set, (only, both)) = (rules(&folder), evaluated(&folder));
    let theirs = corpora::verdicts(&folder, "sigma-regression.jsonl.zst");
    let mut tally = Tally::default();
    let ours = windows_source(&mut set, &folder.join("sigma-regression/events.jsonl.zst"), 1, &only);
    tally.count("regression", &ours, &theirs.into_values().next().unwrap(), &both);
    tally.assert_exact("sigma-regression");
}

#[test]
fn recorded_windows_attacks_give_the_agreed_verdicts() {
    let Some(folder) = corpora::corpora() else { return };
    let (mut set, (only, both)) = (rules(&folder), evaluated(&folder));
    let mut tally = Tally::default();
    for ((source, _), theirs) in corpora::verdicts(&folder, "evtx.jsonl.zst") {
        let ours = windows_source(&mut set, &folder.join(&source).join("events.jsonl.zst"), 50, &only);
        tally.count(&source, &ours, &theirs, &both);
    }
    for ((source, file), theirs) in corpora::verdicts(&folder, "otrf-security-datasets.jsonl.zst") {
        let ours = windows_source(&mut set, &folder.join(&source).join("events").join(&file), 500, &only);
        tally.count(&file, &ours, &theirs, &both);
    }
    let splunk = corpora::verdicts(&folder, "splunk-attack-data.jsonl.zst");
    for ((_, _), theirs) in splunk {
        let ours = windows_source(&mut set, &folder.join("splunk-attack-data/T1027.jsonl.zst"), 500, &only);
        tally.count("splunk", &ours, &theirs, &both);
    }
    tally.assert_exact("windows");
}

#[test]
fn recorded_linux_starts_give_the_agreed_verdicts() {
    let Some(folder) = corpora::corpora() else { return };
    let (mut set, (_, both)) = (rules(&folder), evaluated(&folder));
    let mut tally = Tally::default();
    let mut scratch = Scratch::default();
    for ((source, _), theirs) in corpora::verdicts(&folder, "linux.jsonl.zst") {
        let path = match source.as_str() {
            "linux/kunai" => "linux/kunai/events.jsonl.zst".to_string(),
            "atomic-linux" => "atomic-linux/process-events-made.jsonl.zst".to_string(),
            other => format!("{other}.jsonl.zst"),
        };
        let mut ours = BTreeSet::new();
        for (line, event) in corpora::lines(&folder.join(path)) {
            let Some(event) = start(&source, event) else { continue };
            let asked = set.asked("linux", Some("process_creation"), None);
            ours.extend(set.judge(asked, &event, &mut scratch, true).into_iter().map(|id| (line, id)));
        }
        tally.count(&source, &ours, &theirs, &both);
    }
    tally.assert_exact("linux");
}

/// A start of a process with Sigma's names; none for other events of that source.
fn start(source: &str, event: Map<String, Json>) -> Option<Map<String, Json>> {
    if source != "linux/kunai" {
        return Some(event);
    }
    let event = Json::Object(event);
    let kind = event.pointer("/info/event/name")?.as_str()?;
    if !matches!(kind, "execve" | "execve_script") {
        return None;
    }
    let fields = [
        ("Image", "/data/exe/path"),
        ("CommandLine", "/data/command_line"),
        ("ParentImage", "/data/parent_exe"),
        ("ParentCommandLine", "/data/parent_command_line"),
    ];
    Some(fields.iter().filter_map(|(name, path)| Some(((*name).to_string(), event.pointer(path)?.clone()))).collect())
}
