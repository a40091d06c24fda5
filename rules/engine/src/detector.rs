//! Judging events: the trait that the collector knows, and the Sigma detector behind it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use beffroi_schema::alert::{MatchedField, RuleInfo};
use beffroi_schema::batch::{EventRef, Packed};
use beffroi_schema::{Event, Logsource};

use crate::batch::Memory;
use crate::cost::{Clock, Costs, RuleCost};
use crate::eval::{
    Builder, Choice, Found, Frame, Judge, Program, Scratch, Subject, TooMuchText, explain, fill_wanted_from_event, reference,
};
use crate::limits::{MAX_CORRELATIONS, MAX_MATCHED_FIELDS};
use crate::logsource::{Route, RuleLogsource};
use crate::rule::RuleSet;
use crate::view;
use crate::ways::{AuditWay, AuditWays, Bucket, Ground, Way, Ways};

/// What judges events: pure, without clock and I/O, shared by threads.
pub trait Detector: Send + Sync {
    /// The rules that match this event, each once.
    fn evaluate(&self, event: &Event) -> Vec<RuleMatch>;

    /// Judges every event of a batch and tells those that rules match, in their order. Each string of the batch is looked
    /// at once, however many events name it.
    fn evaluate_batch<'b>(&self, batch: &'b Packed, tell: &mut dyn FnMut(EventRef<'b>, Vec<RuleMatch>));

    /// All rules in force.
    fn rules(&self) -> &[Arc<RuleInfo>];

    /// Engine and version, for alerts.
    fn name(&self) -> &str;

    /// How often a rule panicked while it judged an event, since the start. The other rules judged that event.
    fn panics(&self) -> u64;

    /// What rules cost since the last call: those that were looked at, in the order of [`Detector::rules`].
    fn take_costs(&self) -> Vec<RuleCost>;
}

/// One rule that matched one event.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleMatch {
    /// The rule.
    pub rule: Arc<RuleInfo>,
    /// Names of the selections that held, sorted.
    pub selections: Vec<String>,
    /// Fields that made them hold, at most [`MAX_MATCHED_FIELDS`].
    pub fields: Vec<MatchedField>,
}

/// A rule set that cannot be put in force.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The set holds more rules than one detector judges.
    #[error("{0} rules, one detector judges at most {max}; load fewer folders", max = MAX_RULES)]
    TooMany(usize),
    /// The set holds more correlations than one correlator runs.
    #[error("{0} correlations, one correlator runs at most {max}; load fewer folders", max = MAX_CORRELATIONS)]
    TooManyCorrelations(usize),
    /// A rule that loaded does not compile: its filters changed after it was checked.
    #[error("rule {0}: {1}")]
    Rule(String, String),
    /// The texts of the rules make an automaton that is too large.
    #[error("the rules of one logsource are too many to be searched at once: {0}; load fewer folders")]
    Automaton(#[from] TooMuchText),
}

/// Rules of one detector: four times all public rules of all products.
const MAX_RULES: usize = 100_000;
/// Pieces of working memory that are kept: more threads than this hardly judge at the same time.
const MAX_IDLE: usize = 64;

/// Judges single events by Sigma rules.
pub struct SigmaDetector {
    pub(crate) rules: Vec<Arc<RuleInfo>>,
    /// Its rules stand at the same places as `rules`.
    pub(crate) program: Program,
    pub(crate) buckets: Vec<Bucket>,
    /// One for each product that rules name, one for those that name none, and one for each kind of audit record.
    pub(crate) judges: Vec<Judge>,
    pub(crate) audit: AuditWays,
    /// Of the logsources that rules name.
    ways: Ways<Logsource>,
    panics: AtomicU64,
    costs: Costs,
    /// Memory that judging uses again, one piece for each thread that judges at the same time.
    idle: Mutex<Vec<Workspace>>,
}

/// What judging needs from event to event.
#[derive(Default)]
pub(crate) struct Workspace {
    pub(crate) scratch: Scratch,
    pub(crate) frame: Frame<'static>,
    pub(crate) places: Vec<u32>,
    pub(crate) batches: Memory,
    /// Events that it was used for.
    pub(crate) events: u64,
    /// Of other logsources.
    ways: Ways<Logsource>,
}

/// Puts a rule set in force.
///
/// # Errors
/// [`CompileError`] when the set is too large. Single rules cannot fail here: they were compiled when they were loaded.
pub fn compile(set: &RuleSet) -> Result<SigmaDetector, CompileError> {
    if set.rules.len() > MAX_RULES {
        return Err(CompileError::TooMany(set.rules.len()));
    }
    let mut builder = Builder::default();
    let mut groups: BTreeMap<&RuleLogsource, (Route, Vec<usize>)> = BTreeMap::new();
    for rule in &set.rules {
        let place = builder.add(&rule.ast).map_err(|error| CompileError::Rule(rule.info.id.clone(), error.to_string()))?;
        groups.entry(&rule.logsource).or_insert_with(|| (rule.route.clone(), Vec::new())).1.push(place);
    }
    let program = builder.finish();
    let mut products: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (logsource, (_, rules)) in &groups {
        products.entry(product(logsource)).or_default().extend(rules);
    }
    let judges = products.values().map(|rules| Judge::new(&program, rules));
    let mut judges = judges.collect::<Result<Vec<_>, TooMuchText>>()?;
    let place = |logsource: &RuleLogsource| products.keys().position(|name| *name == product(logsource)).unwrap_or_default();
    let bucket = |(logsource, (route, rules))| Bucket { route, judge: place(logsource), rules };
    let buckets: Vec<Bucket> = groups.into_iter().map(bucket).collect();
    let audit = AuditWays::new(&program, &mut judges, &buckets)?;
    let ground = Ground { program: &program, judges: &judges, buckets: &buckets };
    let ways = Ways::of_rules(ground, set.rules.iter().map(|rule| &rule.logsource));
    Ok(SigmaDetector {
        rules: set.rules.iter().map(|rule| rule.info.clone()).collect(),
        audit,
        ways,
        program,
        buckets,
        judges,
        panics: AtomicU64::new(0),
        costs: Costs::new(set.rules.len()),
        idle: Mutex::default(),
    })
}

/// Engine and version, as alerts name it.
const NAME: &str = concat!("beffroi-engine ", env!("CARGO_PKG_VERSION"));

fn product(logsource: &RuleLogsource) -> String {
    logsource.product.as_deref().unwrap_or_default().to_lowercase()
}

impl SigmaDetector {
    /// The same detector, which measures every event and not one in some: slow, for whoever asks offline what rules cost.
    pub fn measuring(mut self, clock: Clock) -> Self {
        self.costs = Costs::of_all(self.rules.len(), clock);
        self
    }

    /// Whether the event in hand is one that is measured.
    pub(crate) fn is_measured(&self, workspace: &Workspace) -> bool {
        self.costs.measures(workspace.events)
    }

    /// Judges one frame by the rules on a way. A rule that panics is counted, and the others still judge it.
    fn judge(&self, way: &Way, frame: &Frame<'_>, workspace: &mut Workspace, matches: &mut Vec<RuleMatch>) {
        let is_measured = self.is_measured(workspace);
        for (judge, choice) in &way.choices {
            let Workspace { scratch, places, .. } = workspace;
            places.clear();
            // Judging changes nothing but the scratch, which begins anew with every event, so going on after a panic is
            // sound.
            let judged = catch_unwind(AssertUnwindSafe(|| {
                places.extend_from_slice(self.judges[*judge].matches_of(choice, &self.program, frame, scratch));
                if is_measured {
                    self.costs.measure(&self.program, Judge::looked_at(scratch), frame);
                }
            }));
            if judged.is_err() {
                *places = self.judge_one_by_one(choice, frame);
            }
            self.tell((*judge, choice), frame, workspace, matches);
        }
    }

    /// Explains the rules that matched a frame.
    pub(crate) fn tell(&self, by: (usize, &Choice), frame: &Frame<'_>, workspace: &mut Workspace, matches: &mut Vec<RuleMatch>) {
        let Workspace { scratch, places, .. } = workspace;
        for place in places {
            if !self.is_told(*place, matches) {
                matches.push(self.reason(by, *place, frame, scratch));
            }
        }
    }

    /// Whether a rule is among the matches.
    pub(crate) fn is_told(&self, rule: u32, matches: &[RuleMatch]) -> bool {
        matches.iter().any(|earlier| Arc::ptr_eq(&earlier.rule, &self.rules[rule as usize]))
    }

    /// Why a rule matches a frame.
    pub(crate) fn reason(
        &self,
        (judge, choice): (usize, &Choice),
        rule: u32,
        frame: &Frame<'_>,
        scratch: &mut Scratch,
    ) -> RuleMatch {
        let place = rule as usize;
        let fast = || self.judges[judge].explain(choice, &self.program, place, frame, scratch, MAX_MATCHED_FIELDS);
        let found = catch_unwind(AssertUnwindSafe(fast))
            .unwrap_or_else(|_| explain(&self.program, &self.program.rules[place], frame, MAX_MATCHED_FIELDS));
        to_match(&self.rules[place], found)
    }

    pub(crate) fn way(&self, logsource: &Logsource, workspace: &mut Workspace) -> Arc<Way> {
        let ground = Ground { program: &self.program, judges: &self.judges, buckets: &self.buckets };
        workspace.ways.way(&self.ways, ground, logsource)
    }

    /// Judges the frame that `fill` fills by the rules on a way.
    pub(crate) fn judge_filled<'a>(
        &self,
        way: &Way,
        fill: impl FnOnce(&mut Frame<'a>),
        workspace: &mut Workspace,
        matches: &mut Vec<RuleMatch>,
    ) {
        let mut frame = std::mem::take(&mut workspace.frame).recycle_for(&self.program.names);
        fill(&mut frame);
        self.judge(way, &frame, workspace, matches);
        workspace.frame = frame.recycle();
    }

    /// Judges the audit records that an event is shown as.
    pub(crate) fn judge_records<'a>(
        &self,
        logsource: &Logsource,
        event: impl Subject<'a>,
        workspace: &mut Workspace,
        matches: &mut Vec<RuleMatch>,
    ) {
        if view::shows(logsource, event) {
            for AuditWay { form, way, .. } in self.audit.of(logsource) {
                self.judge_filled(way, |frame| form.fill(frame, event, |_| true), workspace, matches);
            }
        }
    }

    pub(crate) fn judge_one_by_one(&self, choice: &Choice, frame: &Frame<'_>) -> Vec<u32> {
        let holds = |place: &usize| {
            let rule = &self.program.rules[*place];
            let judged = catch_unwind(AssertUnwindSafe(|| reference::holds(&self.program, rule, frame)));
            judged.unwrap_or_else(|_| {
                self.panics.fetch_add(1, Ordering::Relaxed);
                false
            })
        };
        choice.rules().filter(holds).map(|place| place as u32).collect()
    }

    fn workspace(&self) -> Workspace {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn give_back(&self, workspace: Workspace) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MAX_IDLE {
            idle.push(workspace);
        }
    }
}

impl Detector for SigmaDetector {
    fn evaluate<'e>(&self, event: &'e Event) -> Vec<RuleMatch> {
        let (mut workspace, mut matches) = (self.workspace(), Vec::new());
        let way = self.way(&event.logsource, &mut workspace);
        if !way.choices.is_empty() {
            let fill = |frame: &mut Frame<'e>| fill_wanted_from_event(frame, &self.program.names, &way.wanted, event);
            self.judge_filled(&way, fill, &mut workspace, &mut matches);
        }
        self.judge_records(&event.logsource, event, &mut workspace, &mut matches);
        workspace.events += 1;
        self.give_back(workspace);
        matches
    }

    fn evaluate_batch<'b>(&self, batch: &'b Packed, tell: &mut dyn FnMut(EventRef<'b>, Vec<RuleMatch>)) {
        let mut workspace = self.workspace();
        self.judge_batch(batch, &mut workspace, tell);
        self.give_back(workspace);
    }

    fn rules(&self) -> &[Arc<RuleInfo>] {
        &self.rules
    }

    fn name(&self) -> &str {
        NAME
    }

    fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    fn take_costs(&self) -> Vec<RuleCost> {
        self.costs.take(self.rules.iter())
    }
}

fn to_match(rule: &Arc<RuleInfo>, found: Found) -> RuleMatch {
    RuleMatch {
        rule: rule.clone(),
        selections: found.selections.iter().map(ToString::to_string).collect(),
        fields: found.fields.into_iter().map(|(field, value)| MatchedField { field, value }).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_schema::{Category, Field, Product};

    fn rule(id: u32, field: &str) -> String {
        format!(
            "title: rule {id}\nid: r{id}\nlogsource: {{category: process_creation, product: linux}}\n\
             detection: {{s: {{{field}: /bin/x}}, condition: s}}\n"
        )
    }

    #[test]
    fn a_rule_that_panics_is_counted_and_the_others_still_judge_the_event() {
        let texts = [
            ("a.yml", rule(1, "Image")),
            ("b.yml", rule(2, "PanicsInTheEvaluator").replace("/bin/x", "panics in the evaluator")),
            ("c.yml", rule(3, "Image")),
        ];
        let (set, problems) = RuleSet::from_texts(texts);
        assert!(problems.is_empty(), "{problems:?}");
        let detector = compile(&set).unwrap();
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
        event.set(Field::IMAGE, "/bin/x").set_named("PanicsInTheEvaluator", "panics in the evaluator".into());
        let matches = detector.evaluate(&event);
        let titles: Vec<&str> = matches.iter().map(|found| found.rule.title.as_str()).collect();
        assert_eq!(titles, ["rule 1", "rule 3"]);
        assert_eq!(detector.panics(), 1);
    }
}
