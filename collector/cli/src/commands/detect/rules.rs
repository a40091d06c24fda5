//! Which rules judge, and which of them are shown: a rule that only a correlation needs judges and is not shown.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use beffroi_engine::correlate::{CorrelateOptions, Correlator};
use beffroi_engine::{
    Clock, CompileError, Detector, RecordDetector, RecordMatch, RuleCost, RuleMatch, RuleProblem, RuleSet, SigmaDetector, compile,
};
use beffroi_schema::alert::RuleInfo;

use super::options::Asked;
use super::place::Place;
use crate::errors::{Failure, Outcome};
use crate::output::say;

/// Rules that did not load and are told one by one; `rules check` tells all.
const MAX_TOLD: usize = 20;

/// The rules in force.
pub struct Rules {
    set: RuleSet,
    /// By place in the set: whether its matches are shown.
    shown: Vec<bool>,
    /// By place in the set: whether a correlation needs its matches.
    needed: Vec<bool>,
    places: HashMap<String, usize>,
    /// Correlations that are shown, by id, and the files that they came from.
    correlations: HashMap<String, PathBuf>,
    /// What judges records of files.
    pub records: RecordDetector,
    /// What judges events of ours, made when the first one is met.
    own: OnceLock<SigmaDetector>,
    /// What measures what rules cost, where that is asked.
    clock: Option<Clock>,
    /// By place in the set: records that it matched, counted where costs are measured.
    matched: Vec<AtomicU64>,
}

impl Rules {
    /// Loads and chooses. When it is strict, every rule must load.
    pub fn load(paths: &[PathBuf], is_strict: bool, asked: &Asked) -> Outcome<Self> {
        if let Some(path) = paths.iter().find(|path| !path.exists()) {
            return Err(Failure::usage(format!("{} does not exist", path.display()), "name a rule file or a folder"));
        }
        let (mut set, problems) = RuleSet::load(paths);
        tell(&problems);
        let refused = problems.iter().filter(|problem| !problem.loaded).count();
        if set.rules().is_empty() && set.correlations().is_empty() {
            return Err(Failure::rules("no rule loaded", "`beffroi rules check PATH` says what is wrong with each"));
        }
        if is_strict && refused > 0 {
            return Err(Failure::rules(format!("{refused} rules did not load"), "mend them, or leave out --strict"));
        }
        let needed: HashSet<String> = set.correlations().iter().flat_map(|one| one.builds_on().iter().cloned()).collect();
        set.retain(|rule| needed.contains(&rule.info().id) || is_asked(rule.info(), rule.status(), asked));
        Self::of(set, &needed, asked).map_err(|error| Failure::rules(error.to_string(), ""))
    }

    fn of(set: RuleSet, needed: &HashSet<String>, asked: &Asked) -> Result<Self, CompileError> {
        let correlator = Correlator::<Place>::new(&set, CorrelateOptions::offline())?;
        let shown = |info: &RuleInfo, status| is_asked(info, status, asked) && correlator.alerts_alone(&info.id);
        let places = set.rules().iter().enumerate().map(|(place, rule)| (rule.info().id.clone(), place)).collect();
        let correlations = set.correlations().iter().filter(|one| is_asked(one.info(), one.status(), asked));
        Ok(Self {
            shown: set.rules().iter().map(|rule| shown(rule.info(), rule.status())).collect(),
            needed: set.rules().iter().map(|rule| needed.contains(&rule.info().id)).collect(),
            places,
            correlations: correlations.map(|one| (one.info().id.clone(), one.path().to_path_buf())).collect(),
            records: RecordDetector::compile(&set)?,
            own: OnceLock::new(),
            clock: None,
            matched: set.rules().iter().map(|_| AtomicU64::new(0)).collect(),
            set,
        })
    }

    /// The same rules, which measure what each of them costs.
    pub fn measuring(self, clock: Clock) -> Self {
        Self { records: self.records.measuring(clock), clock: Some(clock), ..self }
    }

    /// Whether they measure.
    pub fn measures(&self) -> bool {
        self.clock.is_some()
    }

    /// Counts a record that a rule matches.
    pub fn count_match(&self, place: usize) {
        self.matched[place].fetch_add(1, Ordering::Relaxed);
    }

    /// What each rule that was looked at cost, with its place: in records of files, and in events of ours.
    pub fn costs(&self) -> Vec<(usize, RuleCost)> {
        let of_ours = self.own.get().map(Detector::take_costs).unwrap_or_default();
        let mut costs: BTreeMap<usize, RuleCost> = BTreeMap::new();
        for cost in self.records.take_costs(&self.set).into_iter().chain(of_ours) {
            let Some(place) = self.place(&cost.rule.id) else { continue };
            match costs.get_mut(&place) {
                None => _ = costs.insert(place, cost),
                Some(sum) => {
                    sum.looked += cost.looked;
                    sum.bytes += cost.bytes;
                    sum.nanos += cost.nanos;
                }
            }
        }
        costs.into_iter().collect()
    }

    /// How many records a rule matched.
    pub fn matched(&self, place: usize) -> u64 {
        self.matched[place].load(Ordering::Relaxed)
    }

    /// What correlates, without any state.
    pub fn correlator(&self) -> Result<Correlator<Place>, CompileError> {
        Correlator::new(&self.set, CorrelateOptions::offline())
    }

    /// What judges events of ours.
    pub fn own(&self) -> Result<&SigmaDetector, CompileError> {
        if let Some(known) = self.own.get() {
            return Ok(known);
        }
        let made = compile(&self.set)?;
        let made = if let Some(clock) = self.clock { made.measuring(clock) } else { made };
        Ok(self.own.get_or_init(|| made))
    }

    /// What rules matched of an event of ours, which is one part, by their places in the set.
    pub fn places_of(&self, found: Vec<RuleMatch>) -> Vec<(usize, RecordMatch)> {
        let known = |found: RuleMatch| {
            let rule = self.place(&found.rule.id)?;
            Some((0, RecordMatch { rule, selections: found.selections, fields: found.fields }))
        };
        found.into_iter().filter_map(known).collect()
    }

    /// The place of a rule in the set.
    fn place(&self, id: &str) -> Option<usize> {
        self.places.get(id).copied()
    }

    /// A rule and its file.
    pub fn rule(&self, place: usize) -> (&Arc<RuleInfo>, &Path) {
        let rule = &self.set.rules()[place];
        (rule.info(), rule.path())
    }

    /// Whether the matches of a rule are shown.
    pub fn is_shown(&self, place: usize) -> bool {
        self.shown[place]
    }

    /// Whether a correlation needs the matches of a rule.
    pub fn is_needed(&self, place: usize) -> bool {
        self.needed[place]
    }

    /// The file of a correlation, if its matches are shown.
    pub fn correlation(&self, id: &str) -> Option<&Path> {
        self.correlations.get(id).map(PathBuf::as_path)
    }

    /// How many rules and correlations are in force.
    pub fn counts(&self) -> (usize, usize) {
        (self.set.rules().len(), self.set.correlations().len())
    }

    /// How often a rule panicked while it judged.
    pub fn panics(&self) -> u64 {
        self.records.panics() + self.own.get().map_or(0, Detector::panics)
    }
}

fn is_asked(info: &RuleInfo, status: Option<&'static str>, asked: &Asked) -> bool {
    asked.min_level.is_none_or(|level| info.level >= level)
        && (asked.status.is_empty() || status.is_some_and(|status| asked.status.iter().any(|wanted| wanted == status)))
        && !asked.excluded.contains(&info.id)
}

fn tell(problems: &[RuleProblem]) {
    let refused: Vec<&RuleProblem> = problems.iter().filter(|problem| !problem.loaded).collect();
    refused.iter().take(MAX_TOLD).for_each(|problem| say(&format!("not loaded: {problem}")));
    if refused.len() > MAX_TOLD {
        say(&format!("and {} more that did not load (`beffroi rules check` tells all)", refused.len() - MAX_TOLD));
    }
}
