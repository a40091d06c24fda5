//! Records that no sensor of ours made: event logs, audit logs, log lines, read from files by `beffroi-sources`. They are
//! judged by rules of any product, under every view that a record has, each rule once.
//!
//! Routing is by the names of the logsource, upper and lower case alike, because files come from products that the
//! contract has no number for. A rule is asked when its product, category and service are unset or the view's. A rule
//! with neither category nor service searches logs (most are keyword searches): it is asked of views without a category,
//! and of all records of the Windows event log, which is a log whatever category its records have as well.
//!
//! A rule that panics is counted, and the other rules still judge the record.

mod glance;
mod why;

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use beffroi_schema::alert::MatchedField;
use serde_json::{Map, Value as Json};

use crate::cost::{Clock, Costs, RuleCost};
use crate::detector::CompileError;
use crate::eval::{Builder, Choice, Frame, Judge, Program, Scratch, explain, fill_from_json, reference};
use crate::limits::MAX_MATCHED_FIELDS;
use crate::rule::RuleSet;
use crate::ways::{Way, Ways};
use crate::windows;

pub use glance::{FlatText, Glance};

use glance::Sight;

/// Routes that one judge remembers. Files of one logsource need one; a hostile file can name a new service in every
/// record, and then they are looked up again.
const MAX_ROUTES: usize = 1_024;
/// Ways that one judge remembers: files of all kinds together have a hundred.
const MAX_WAYS: usize = 256;
/// Product whose records are log records whatever category they have.
const EVENT_LOG: &str = "windows";

/// One way in which rules may see a record. Empty names are unset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordView<'a> {
    /// `product`.
    pub product: &'a str,
    /// `category`.
    pub category: &'a str,
    /// `service`.
    pub service: &'a str,
    /// Fields that have a second name in this view: (new, existing). A field that has the new name already keeps it.
    pub renamed: &'a [(&'a str, &'a str)],
}

impl RecordView<'_> {
    /// Its names, so that no two views write the same.
    fn write_key(&self, key: &mut String) {
        [self.product, self.category, self.service].into_iter().for_each(|part| push_part(key, part));
    }
}

fn push_part(key: &mut String, part: &str) {
    key.push_str(part);
    key.push('\0');
}

/// One rule that matched one record.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordMatch {
    /// Place of the rule in [`RuleSet::rules`].
    pub rule: usize,
    /// Names of the selections that held, sorted.
    pub selections: Vec<String>,
    /// Fields that made them hold.
    pub fields: Vec<MatchedField>,
}

/// Judges records. Shared by threads, each of which has a [`RecordJudge`].
pub struct RecordDetector {
    /// Its rules stand at the places of the rule set.
    program: Program,
    buckets: Vec<Bucket>,
    /// One for each product that rules name, and one for those that name none.
    judges: Vec<Judge>,
    panics: AtomicU64,
    /// What rules cost, where that was asked for.
    costs: Option<Costs>,
}

/// The rules of one logsource, in lower case; empty is unset.
struct Bucket {
    product: String,
    category: String,
    service: String,
    /// Place of the judge of its product.
    judge: usize,
    rules: Vec<usize>,
}

/// What one thread needs to judge.
pub struct RecordJudge<'d> {
    detector: &'d RecordDetector,
    scratch: Scratch,
    frame: Frame<'static>,
    /// By what a view is known by.
    ways: Ways<String>,
    sights: HashMap<String, Arc<Sight>>,
    key: String,
}

impl RecordDetector {
    /// Puts a rule set in force.
    ///
    /// # Errors
    /// [`CompileError`] when the rules of one logsource are too many to be searched at once.
    pub fn compile(set: &RuleSet) -> Result<Self, CompileError> {
        let mut builder = Builder::default();
        let mut groups: BTreeMap<[String; 3], Vec<usize>> = BTreeMap::new();
        for rule in &set.rules {
            let place = builder.add(&rule.ast).map_err(|error| CompileError::Rule(rule.info.id.clone(), error.to_string()))?;
            let lower = |part: &Option<String>| part.as_deref().unwrap_or_default().to_lowercase();
            let source = &rule.logsource;
            let key = [lower(&source.product), lower(&source.category), lower(&source.service)];
            groups.entry(key).or_default().push(place);
        }
        let mut program = builder.finish();
        // Fields that are read under a second name need a number even where no rule reads them under their first.
        windows::SECOND_NAMES.iter().for_each(|(_, existing)| _ = program.names.intern(existing));
        let mut products: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        groups.iter().for_each(|([product, ..], rules)| products.entry(product.clone()).or_default().extend(rules));
        let judge = |rules: &Vec<usize>| Judge::new(&program, rules).map_err(CompileError::Automaton);
        let judges = products.values().map(judge).collect::<Result<Vec<_>, CompileError>>()?;
        let bucket = |([product, category, service], rules): ([String; 3], Vec<usize>)| {
            let judge = products.keys().position(|known| *known == product).unwrap_or_default();
            Bucket { judge, product, category, service, rules }
        };
        let buckets = groups.into_iter().map(bucket).collect();
        Ok(Self { buckets, judges, program, panics: AtomicU64::new(0), costs: None })
    }

    /// The same detector, which measures what rules cost in every record that is judged whole: a glance is not measured.
    pub fn measuring(mut self, clock: Clock) -> Self {
        self.costs = Some(Costs::of_all(self.program.rules.len(), clock));
        self
    }

    /// What rules of the set that was compiled cost since the last call: those that were looked at, where it measures.
    pub fn take_costs(&self, set: &RuleSet) -> Vec<RuleCost> {
        self.costs.as_ref().map(|costs| costs.take(set.rules.iter().map(|rule| &rule.info))).unwrap_or_default()
    }

    /// What a thread judges with.
    pub fn judge(&self) -> RecordJudge<'_> {
        RecordJudge {
            detector: self,
            scratch: Scratch::default(),
            frame: Frame::new(&self.program.names),
            ways: Ways::default(),
            sights: HashMap::new(),
            key: String::new(),
        }
    }

    /// How often a rule panicked since the start.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// The buckets that are meant for one of these views.
    fn accepting(&self, views: &[RecordView<'_>]) -> Vec<u32> {
        let accepts = |place: &u32| views.iter().any(|view| self.buckets[*place as usize].accepts(view));
        (0..self.buckets.len() as u32).filter(accepts).collect()
    }

    fn matches(&self, (judge, choice): &(usize, Choice), frame: &Frame<'_>, scratch: &mut Scratch) -> Vec<u32> {
        // Judging changes nothing but the scratch, which begins anew with every record: going on after a panic is sound.
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let found = self.judges[*judge].matches_of(choice, &self.program, frame, scratch).to_vec();
            if let Some(costs) = &self.costs {
                costs.measure(&self.program, Judge::looked_at(scratch), frame);
            }
            found
        }));
        judged.unwrap_or_else(|_| self.one_by_one(choice, frame))
    }

    fn one_by_one(&self, choice: &Choice, frame: &Frame<'_>) -> Vec<u32> {
        let holds = |place: &usize| {
            let rule = &self.program.rules[*place];
            catch_unwind(AssertUnwindSafe(|| reference::holds(&self.program, rule, frame))).unwrap_or_else(|_| {
                self.panics.fetch_add(1, Ordering::Relaxed);
                false
            })
        };
        choice.rules().filter(holds).map(|place| place as u32).collect()
    }
}

impl Bucket {
    fn accepts(&self, view: &RecordView<'_>) -> bool {
        let fits = |rule: &str, record: &str| rule.is_empty() || rule.eq_ignore_ascii_case(record);
        let searches_logs = self.category.is_empty() && self.service.is_empty();
        let is_log = view.category.is_empty() || view.product.eq_ignore_ascii_case(EVENT_LOG);
        fits(&self.product, view.product)
            && fits(&self.category, view.category)
            && fits(&self.service, view.service)
            && (is_log || !searches_logs)
    }
}

impl RecordJudge<'_> {
    /// The rules that match a record (a flat object) in one of its views, each once, by their place in the set; none
    /// where no rule is meant for any of the views.
    pub fn matches(&mut self, fields: &Map<String, Json>, views: &[RecordView<'_>]) -> Option<Vec<RecordMatch>> {
        let mut matches: Option<Vec<RecordMatch>> = None;
        let names = &self.detector.program.names;
        let mut frame = std::mem::take(&mut self.frame).recycle_for(names);
        fill_from_json(&mut frame, names, fields);
        for view in views {
            let route = self.route(view);
            if route.choices.is_empty() {
                continue;
            }
            let matches = matches.get_or_insert_default();
            let second = second_names(fields, view);
            if second.is_empty() {
                self.judge(&route, &frame, matches);
            } else {
                let mut renamed = Frame::new(names);
                fill_from_json(&mut renamed, names, fields);
                fill_from_json(&mut renamed, names, &second);
                self.judge(&route, &renamed, matches);
            }
        }
        self.frame = frame.recycle();
        matches
    }

    fn judge(&mut self, route: &Way, frame: &Frame<'_>, matches: &mut Vec<RecordMatch>) {
        let (detector, before) = (self.detector, matches.len());
        for choice in &route.choices {
            for place in detector.matches(choice, frame, &mut self.scratch) {
                let rule = place as usize;
                if matches.iter().all(|earlier| earlier.rule != rule) {
                    let found = explain(&detector.program, &detector.program.rules[rule], frame, MAX_MATCHED_FIELDS);
                    matches.push(RecordMatch {
                        rule,
                        selections: found.selections.iter().map(ToString::to_string).collect(),
                        fields: found.fields.into_iter().map(|(field, value)| MatchedField { field, value }).collect(),
                    });
                }
            }
        }
        matches[before..].sort_by_key(|found| found.rule);
    }

    fn route(&mut self, view: &RecordView<'_>) -> Arc<Way> {
        self.key.clear();
        view.write_key(&mut self.key);
        if let Some(known) = self.ways.of(self.key.as_str()) {
            return Arc::clone(known);
        }
        let route = self.way(&[*view]);
        self.ways.put(self.key.clone(), &route);
        route
    }

    /// The way of what has these views.
    fn way(&mut self, views: &[RecordView<'_>]) -> Arc<Way> {
        let RecordDetector { program, judges, buckets, .. } = self.detector;
        self.ways.make_room(MAX_ROUTES, MAX_WAYS);
        self.ways.through(self.detector.accepting(views), |places| {
            let buckets = places.iter().map(|place| &buckets[*place as usize]);
            let rules = buckets.flat_map(|bucket| bucket.rules.iter().map(|rule| (bucket.judge, *rule)));
            Way::new(program, judges, rules)
        })
    }
}

/// The fields that a view names a second time.
fn second_names(fields: &Map<String, Json>, view: &RecordView<'_>) -> Map<String, Json> {
    let renamed = view.renamed.iter().filter(|(new, _)| !fields.contains_key(*new));
    renamed.filter_map(|(new, existing)| Some(((*new).to_string(), fields.get(*existing)?.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn set(rules: &[(&str, &str)]) -> RuleSet {
        let text = |(at, (logsource, selection)): (usize, &(&str, &str))| {
            let text = format!("title: r{at}\nid: r{at}\nlogsource: {logsource}\ndetection: {{s: {selection}, condition: s}}\n");
            (format!("{at}.yml"), text)
        };
        let (set, problems) = RuleSet::from_texts(rules.iter().enumerate().map(text));
        assert!(problems.is_empty(), "{problems:?}");
        set
    }

    fn places(set: &RuleSet, record: Json, views: &[RecordView<'_>]) -> Option<Vec<usize>> {
        let detector = RecordDetector::compile(set).unwrap();
        let matches = detector.judge().matches(record.as_object().unwrap(), views)?;
        Some(matches.into_iter().map(|found| found.rule).collect())
    }

    const LINUX: RecordView<'static> = RecordView { product: "linux", category: "", service: "", renamed: &[] };

    #[test]
    fn a_record_is_judged_under_each_view_and_a_rule_matches_once() {
        let set = set(&[
            ("{product: windows, category: registry_set}", "{Image|endswith: x}"),
            ("{product: windows, service: sysmon}", "{Image|endswith: x}"),
            ("{product: windows, category: file_event}", "{Image|endswith: x}"),
        ]);
        let view = |category| RecordView { product: "Windows", category, service: "sysmon", renamed: &[] };
        let both = [view("registry_event"), view("registry_set")];
        assert_eq!(places(&set, json!({"Image": "x"}), &both), Some(vec![1, 0]));
        assert_eq!(places(&set, json!({"Image": "y"}), &both), Some(vec![]));
    }

    #[test]
    fn what_no_rule_is_meant_for_is_told_apart_from_what_no_rule_matches() {
        let set = set(&[("{product: cisco, service: aaa}", "['erase']")]);
        let cisco = RecordView { product: "cisco", service: "AAA", ..RecordView::default() };
        assert_eq!(places(&set, json!({"message": "nothing"}), &[cisco]), Some(vec![]));
        assert_eq!(places(&set, json!({"message": "erase flash:"}), &[cisco]), Some(vec![0]));
        assert_eq!(places(&set, json!({"message": "erase flash:"}), &[LINUX]), None);
    }

    #[test]
    fn a_rule_for_logs_as_such_judges_no_structured_event_but_those_of_an_event_log() {
        let set = set(&[("{product: linux}", "['evil']"), ("{product: windows}", "['evil']")]);
        let starts = |product| RecordView { product, category: "process_creation", ..RecordView::default() };
        assert_eq!(places(&set, json!({"CommandLine": "evil"}), &[starts("linux")]), None);
        assert_eq!(places(&set, json!({"CommandLine": "evil"}), &[LINUX]), Some(vec![0]));
        assert_eq!(places(&set, json!({"CommandLine": "evil"}), &[starts("windows")]), Some(vec![1]));
    }

    #[test]
    fn a_second_name_counts_in_its_view_only() {
        let set = set(&[
            ("{product: windows, category: process_creation}", "{Image: a}"),
            ("{product: windows, service: security}", "{Image: a}"),
        ]);
        let plain = RecordView { product: "windows", service: "security", ..RecordView::default() };
        let renamed =
            RecordView { product: "windows", category: "process_creation", renamed: &[("Image", "NewProcessName")], ..plain };
        assert_eq!(places(&set, json!({"NewProcessName": "a"}), &[plain]), Some(vec![]));
        assert_eq!(places(&set, json!({"NewProcessName": "a"}), &[renamed]), Some(vec![0, 1]));
        assert_eq!(places(&set, json!({"NewProcessName": "a", "Image": "b"}), &[renamed]), Some(vec![]));
    }

    #[test]
    fn what_rules_cost_in_each_record_is_told_once_and_only_where_it_was_asked_for() {
        let set = set(&[("{product: linux}", "{Image: a, CommandLine|contains: x}"), ("{product: linux}", "{Image: b}")]);
        let record = json!({"Image": "a", "CommandLine": "yyy"});
        let detector = RecordDetector::compile(&set).unwrap();
        detector.judge().matches(record.as_object().unwrap(), &[LINUX]);
        assert!(detector.take_costs(&set).is_empty());
        let detector = detector.measuring(|| 0);
        (0..3).for_each(|_| drop(detector.judge().matches(record.as_object().unwrap(), &[LINUX])));
        let costs: Vec<_> =
            detector.take_costs(&set).into_iter().map(|cost| (cost.rule.id.clone(), cost.looked, cost.bytes)).collect();
        assert_eq!(costs, [("r0".to_string(), 3, 12)]);
        assert!(detector.take_costs(&set).is_empty());
    }

    #[test]
    fn a_rule_that_panics_is_counted_and_the_others_still_judge_the_record() {
        let set =
            set(&[("{product: linux}", "{PanicsInTheEvaluator: panics in the evaluator}"), ("{product: linux}", "{Image: a}")]);
        let detector = RecordDetector::compile(&set).unwrap();
        let record = json!({"PanicsInTheEvaluator": "panics in the evaluator", "Image": "a"});
        let matches = detector.judge().matches(record.as_object().unwrap(), &[LINUX]).unwrap();
        assert_eq!((matches.len(), matches[0].rule, detector.panics()), (1, 1, 1));
    }
}
