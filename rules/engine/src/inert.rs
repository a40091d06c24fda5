//! Rules that load but can never fire on what the sensors send: reported, so that nobody counts on them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use beffroi_schema::alert::RuleInfo;
use beffroi_schema::{Category, Field, Logsource};
use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections, Modifier, Quantifier, SigmaValue};
use serde::Serialize;

use crate::eval::{Builder, Given};
use crate::rule::{Correlation, Rule, RuleSet};
use crate::view;

/// A rule that cannot fire, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InertRule {
    /// Rule.
    pub rule: Arc<RuleInfo>,
    /// File it came from.
    pub path: PathBuf,
    /// Line its document begins at.
    pub line: u32,
    /// Why it cannot fire.
    pub reason: String,
}

impl RuleSet {
    /// The rules that can never fire when only events of these logsources arrive.
    ///
    /// A rule counts as able to fire unless that is excluded: its logsource is not among `sensors`, or its condition
    /// needs a field that no event of its category has, or a placeholder (`|expand`) that nothing fills, or no audit record
    /// that the events are shown as can have what it asks for.
    /// A correlation counts as unable to fire when rules that it needs are, or when no event has a field by which it groups
    /// or which it counts.
    pub fn inert(&self, sensors: &[Logsource]) -> Vec<InertRule> {
        let rules = self.rules.iter().filter_map(|rule| {
            let reason = reason(rule, sensors)?;
            Some(InertRule { rule: rule.info.clone(), path: rule.path.clone(), line: rule.line, reason })
        });
        let mut inert: Vec<InertRule> = rules.collect();
        let mut reasons: HashMap<String, String> =
            inert.iter().map(|inert| (inert.rule.id.clone(), inert.reason.clone())).collect();
        // One round for each link of the longest chain of correlations.
        loop {
            let waiting = self.correlations.iter().filter(|correlation| !reasons.contains_key(&correlation.info.id));
            let found: Vec<InertRule> = waiting
                .filter_map(|correlation| {
                    let reason = self.correlation_reason(correlation, &reasons, sensors)?;
                    let (rule, path, line) = (correlation.info.clone(), correlation.path.clone(), correlation.line);
                    Some(InertRule { rule, path, line, reason })
                })
                .collect();
            if found.is_empty() {
                return inert;
            }
            reasons.extend(found.iter().map(|inert| (inert.rule.id.clone(), inert.reason.clone())));
            inert.extend(found);
        }
    }

    fn correlation_reason(
        &self,
        correlation: &Correlation,
        inert: &HashMap<String, String>,
        sensors: &[Logsource],
    ) -> Option<String> {
        let plan = &correlation.plan;
        let mut why = None;
        let mut live = 0u64;
        for (at, id) in plan.rules.iter().enumerate() {
            let unknown = self.find(id).and_then(|rule| unknown_field(rule, plan.fields(at), sensors));
            let reason = inert.get(id).map(|reason| format!("it needs the rule {id}, which cannot fire: {reason}"));
            match reason.or_else(|| unknown.map(|name| format!("no event has the field {name}, which it groups by or counts"))) {
                Some(reason) => why = why.or(Some(reason)),
                None => live |= 1 << at,
            }
        }
        if plan.can_hold(live) { None } else { why }
    }
}

/// The first of these fields that no event has which the rule judges.
fn unknown_field<'a>(rule: &Rule, mut names: impl Iterator<Item = &'a str>, sensors: &[Logsource]) -> Option<&'a str> {
    if rule.route.reads_audit() && !sensors.iter().any(|sensor| rule.route.accepts(sensor)) {
        return names.find(|name| Field::by_name(name).is_none() && view::field_of(name).is_none());
    }
    rule.route.category().filter(|category| has_fixed_fields(rule, *category))?;
    names.find(|name| Field::by_name(name).is_none())
}

fn reason(rule: &Rule, sensors: &[Logsource]) -> Option<String> {
    if let Some(part) = rule.route.unknown() {
        return Some(format!("no event can carry its {part} {:?}", named(rule, part)));
    }
    if !sensors.iter().any(|sensor| rule.route.accepts(sensor)) {
        let is_shown = rule.route.reads_audit() && sensors.iter().any(view::serves);
        let reason = if is_shown { no_record(rule, sensors) } else { Some(unserved(rule)) };
        if reason.is_some() {
            return reason;
        }
    }
    let mut missing = None;
    let category = rule.route.category().filter(|category| has_fixed_fields(rule, *category));
    let can_fire =
        rule.ast.detection.conditions.iter().any(|condition| {
            possible(condition, &rule.ast.detection, &mut |item| item_is_possible(item, category, &mut missing))
        });
    if can_fire { None } else { Some(missing.unwrap_or_else(|| "its condition can never hold".into())) }
}

/// Why the audit records that events are shown as cannot match the rule, where none can.
fn no_record(rule: &Rule, sensors: &[Logsource]) -> Option<String> {
    let mut builder = Builder::default();
    // A rule that loaded compiles; should it not, nothing is said against it.
    let place = builder.add(&rule.ast).ok()?;
    let program = builder.finish();
    let records: Vec<_> = sensors.iter().flat_map(view::records).copied().collect();
    let allows = |record: &view::AuditRecord| {
        let (known, open) = (record.known(&program.names), record.open_fields(&program.names));
        Given { known: &known, open: &open }.allows(&program, place)
    };
    if records.iter().any(allows) {
        return None;
    }
    let mut shown: Vec<String> = records.iter().map(ToString::to_string).collect();
    shown.sort();
    shown.dedup();
    Some(format!("it judges audit records, and its condition holds for none that events are shown as ({})", shown.join(", ")))
}

/// Why no sensor serves the rule. Without a category it judges log lines alone, whose product may well be a sensor's.
fn unserved(rule: &Rule) -> String {
    let source = &rule.logsource;
    let parts = [("category", &source.category), ("product", &source.product), ("service", &source.service)];
    let parts: Vec<String> = parts.iter().filter_map(|(key, value)| Some(format!("{key} {}", value.as_ref()?))).collect();
    let parts = parts.join(", ");
    if source.category.is_some() {
        format!("no sensor sends events of {parts}")
    } else {
        format!("it judges log lines ({parts}), and no sensor sends log lines")
    }
}

/// Whether our own sensors make all events of this logsource. Other sources bring fields of their own as `extra`.
fn has_fixed_fields(rule: &Rule, category: Category) -> bool {
    let is_ours = rule.logsource.product.as_deref().is_some_and(|product| product.eq_ignore_ascii_case("linux"));
    is_ours
        && matches!(
            category,
            Category::ProcessCreation
                | Category::ProcessTermination
                | Category::FileEvent
                | Category::FileRename
                | Category::FileDelete
                | Category::NetworkConnection
        )
}

fn named<'a>(rule: &'a Rule, part: &str) -> &'a str {
    let value = if part == "category" { &rule.logsource.category } else { &rule.logsource.product };
    value.as_deref().unwrap_or_default()
}

/// Whether the condition could hold, taking everything for possible that is not excluded.
fn possible(condition: &ConditionExpr, detections: &Detections, item: &mut dyn FnMut(&DetectionItem) -> bool) -> bool {
    match condition {
        ConditionExpr::And(list) => list.iter().all(|inner| possible(inner, detections, item)),
        ConditionExpr::Or(list) => list.iter().any(|inner| possible(inner, detections, item)),
        // What never holds is always excluded, and what may hold need not.
        ConditionExpr::Not(_) => true,
        ConditionExpr::Identifier(name) => {
            detections.named.get(name).is_some_and(|detection| detection_is_possible(detection, item))
        }
        ConditionExpr::Selector { quantifier, pattern } => {
            let chosen = detections.named.iter().filter(|(name, _)| pattern.matches_detection_name(name));
            let verdicts: Vec<bool> = chosen.map(|(_, detection)| detection_is_possible(detection, item)).collect();
            let held = verdicts.iter().filter(|verdict| **verdict).count();
            match quantifier {
                Quantifier::Any => held > 0,
                Quantifier::All => held == verdicts.len() && held > 0,
                Quantifier::Count(wanted) => held as u64 >= *wanted,
            }
        }
    }
}

fn detection_is_possible(detection: &Detection, item: &mut dyn FnMut(&DetectionItem) -> bool) -> bool {
    match detection {
        Detection::AllOf(items) => items.iter().all(item),
        Detection::AnyOf(list) => list.iter().any(|inner| detection_is_possible(inner, item)),
        Detection::And(list) => list.iter().all(|inner| detection_is_possible(inner, item)),
        Detection::Keywords(_) | Detection::ArrayMatch { .. } | Detection::Conditional { .. } => true,
    }
}

fn item_is_possible(item: &DetectionItem, category: Option<Category>, missing: &mut Option<String>) -> bool {
    let holds_when_absent = item.values.contains(&SigmaValue::Null)
        || item.field.has_modifier(Modifier::Exists)
        || item.field.has_modifier(Modifier::Neq);
    let Some(name) = &item.field.name else { return true };
    if holds_when_absent {
        return true;
    }
    if item.field.has_modifier(Modifier::Expand) {
        *missing = Some(format!("nothing fills the placeholder of {name}|expand"));
        return false;
    }
    // Log lines and records of other programs carry fields of their own; events of a category do not.
    if category.is_some() && Field::by_name(name).is_none() {
        *missing = Some(format!("no event has the field {name}"));
        return false;
    }
    true
}
