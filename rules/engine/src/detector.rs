//! Judging events: the trait that the collector knows, and the Sigma detector behind it.

use std::collections::{BTreeMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use beffroi_schema::Event;
use beffroi_schema::alert::{MatchedField, RuleInfo};
use rsigma_eval::{Engine, EvaluationResult, MatchDetailLevel};

use crate::adapter::EventView;
use crate::limits::MAX_MATCHED_FIELDS;
use crate::logsource::{Route, RuleLogsource};
use crate::rule::RuleSet;
use crate::view;

/// What judges events: pure, without clock and I/O, shared by threads.
pub trait Detector: Send + Sync {
    /// The rules that match this event, each once.
    fn evaluate(&self, event: &Event) -> Vec<RuleMatch>;

    /// All rules in force.
    fn rules(&self) -> &[Arc<RuleInfo>];

    /// Engine and version, for alerts.
    fn name(&self) -> &str;

    /// How often a rule panicked while it judged an event, since the start. The other rules judged that event.
    fn panics(&self) -> u64;
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
}

/// Rules of one detector: four times all public rules of all products.
const MAX_RULES: usize = 100_000;

/// Judges single events by Sigma rules.
pub struct SigmaDetector {
    rules: Vec<Arc<RuleInfo>>,
    buckets: Vec<Bucket>,
    reads_audit: bool,
    name: String,
    panics: AtomicU64,
}

/// The rules of one logsource.
struct Bucket {
    route: Route,
    engine: Engine,
}

/// Puts a rule set in force.
///
/// # Errors
/// [`CompileError`] when the set is too large. Single rules cannot fail here: they were compiled when they were loaded.
pub fn compile(set: &RuleSet) -> Result<SigmaDetector, CompileError> {
    if set.rules.len() > MAX_RULES {
        return Err(CompileError::TooMany(set.rules.len()));
    }
    let mut groups: BTreeMap<&RuleLogsource, (Route, Vec<rsigma_eval::CompiledRule>)> = BTreeMap::new();
    for (index, rule) in set.rules.iter().enumerate() {
        let mut compiled = rule.compiled.clone();
        // The evaluator gives the id back with each match: here it is the place in our table.
        compiled.id = Some(index.to_string());
        groups.entry(&rule.logsource).or_insert_with(|| (rule.route.clone(), Vec::new())).1.push(compiled);
    }
    let buckets: Vec<Bucket> = groups.into_values().map(|(route, rules)| Bucket::new(route, rules)).collect();
    Ok(SigmaDetector {
        rules: set.rules.iter().map(|rule| rule.info.clone()).collect(),
        reads_audit: buckets.iter().any(|bucket| bucket.route.reads_audit()),
        buckets,
        name: concat!("beffroi-engine ", env!("CARGO_PKG_VERSION"), " (rsigma-eval 0.23)").into(),
        panics: AtomicU64::new(0),
    })
}

impl Bucket {
    fn new(route: Route, rules: Vec<rsigma_eval::CompiledRule>) -> Self {
        let mut engine = Engine::new();
        engine.set_match_detail(MatchDetailLevel::Summary);
        engine.extend_compiled_rules(rules);
        Self { route, engine }
    }

    /// Judges one event; the second value counts rules that panicked.
    fn judge<E: rsigma_eval::Event>(&self, event: &E) -> (Vec<EvaluationResult>, u64) {
        // Judging changes nothing but counters of the evaluator, so going on after a panic is sound.
        if let Ok(results) = catch_unwind(AssertUnwindSafe(|| self.engine.evaluate(event))) {
            return (results, 0);
        }
        let mut panics = 0;
        let results = self.engine.rules().iter().filter_map(|rule| {
            catch_unwind(AssertUnwindSafe(|| rsigma_eval::evaluate_rule(rule, event))).unwrap_or_else(|_| {
                panics += 1;
                None
            })
        });
        let results = results.collect();
        (results, panics)
    }
}

impl SigmaDetector {
    fn judge<E: rsigma_eval::Event>(&self, bucket: &Bucket, event: &E, matches: &mut Vec<RuleMatch>) {
        let (results, panics) = bucket.judge(event);
        if panics > 0 {
            self.panics.fetch_add(panics, Ordering::Relaxed);
        }
        for result in results {
            let index: Option<usize> = result.header.rule_id.as_deref().and_then(|id| id.parse().ok());
            if let (Some(rule), Some(body)) = (index.and_then(|index| self.rules.get(index)), result.as_detection())
                && matches.iter().all(|earlier| !Arc::ptr_eq(&earlier.rule, rule))
            {
                matches.push(to_match(rule, body));
            }
        }
    }
}

impl Detector for SigmaDetector {
    fn evaluate(&self, event: &Event) -> Vec<RuleMatch> {
        let mut matches = Vec::new();
        for bucket in self.buckets.iter().filter(|bucket| bucket.route.accepts(&event.logsource)) {
            self.judge(bucket, &EventView(event), &mut matches);
        }
        if self.reads_audit {
            let records = view::records(event);
            for bucket in self.buckets.iter().filter(|bucket| bucket.route.reads_audit()) {
                for record in &records {
                    self.judge(bucket, record, &mut matches);
                }
            }
        }
        matches
    }

    fn rules(&self) -> &[Arc<RuleInfo>] {
        &self.rules
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

fn to_match(rule: &Arc<RuleInfo>, body: &rsigma_eval::DetectionBody) -> RuleMatch {
    let mut seen = HashSet::new();
    let fields = body.matched_fields.iter().filter(|field| seen.insert((&field.field, field.value.to_string())));
    let fields = fields.take(MAX_MATCHED_FIELDS).map(|field| MatchedField {
        field: if field.field == "keyword" { "keywords".into() } else { field.field.clone() },
        value: field.value.clone(),
    });
    let mut selections = body.matched_selections.clone();
    selections.sort_unstable();
    selections.dedup();
    RuleMatch { rule: rule.clone(), selections, fields: fields.collect() }
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
        let texts = [("a.yml", rule(1, "Image")), ("b.yml", rule(2, "PanicsInTheEvaluator")), ("c.yml", rule(3, "Image"))];
        let (set, problems) = RuleSet::from_texts(texts);
        assert!(problems.is_empty(), "{problems:?}");
        let detector = compile(&set).unwrap();
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
        event.set(Field::IMAGE, "/bin/x").set_named("PanicsInTheEvaluator", "/bin/x".into());
        let matches = detector.evaluate(&event);
        let titles: Vec<&str> = matches.iter().map(|found| found.rule.title.as_str()).collect();
        assert_eq!(titles, ["rule 1", "rule 3"]);
        assert_eq!(detector.panics(), 1);
    }
}
