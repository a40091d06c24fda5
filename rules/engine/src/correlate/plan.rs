//! A correlation document made ready: checked when it is loaded, so that what loads can be run.

use std::sync::Arc;

use rsigma_parser::{ConditionOperator, CorrelationCondition, CorrelationRule, CorrelationType, WindowMode};

use super::condition::{Asked, Expression};
use super::number::{Fixed, Measure};
use super::written::Written;
use crate::limits::{MAX_GROUP_FIELDS, MAX_ORDERED_RULES, MAX_RELATED_RULES, MAX_TIMESPAN_SECONDS, MAX_WINDOW_EVENTS};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    EventCount,
    ValueCount,
    Sum,
    Average,
    Percentile(u8),
    Temporal,
    TemporalOrdered,
}

impl Kind {
    /// Whether it looks at which rules are there, not at how many events.
    pub(crate) fn is_temporal(self) -> bool {
        matches!(self, Self::Temporal | Self::TemporalOrdered)
    }
}

/// A field as a correlation names it, and as the events of each of its rules do (by position).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub name: Arc<str>,
    pub by_rule: Vec<Arc<str>>,
}

/// A correlation that can be run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    pub kind: Kind,
    /// Ids of the rules and correlations that it refers to, in the listed order.
    pub rules: Vec<String>,
    pub group_by: Vec<Named>,
    /// Fields whose values are counted or measured.
    pub values: Vec<Named>,
    /// Length of the window in microseconds.
    pub span: i64,
    pub asked: Asked,
    /// Whether the rules alert on their own as well.
    pub generate: bool,
}

impl Plan {
    /// Checks a correlation. `ids` are the ids of the rules that it lists, in the same order; `written` is what the syntax
    /// tree does not say.
    pub(crate) fn of(ast: &CorrelationRule, ids: Vec<String>, written: &Written) -> Result<Self, String> {
        if ast.window != WindowMode::Sliding {
            return refuse("'window' is no part of the Sigma specification; windows slide");
        }
        let kind = kind(ast)?;
        let rules = listed(ast, kind, ids)?;
        let group_by = ast.group_by.iter().map(|field| named(field, ast)).collect::<Vec<_>>();
        if group_by.len() > MAX_GROUP_FIELDS {
            return refuse(&format!("it groups by {} fields, the limit is {MAX_GROUP_FIELDS}", group_by.len()));
        }
        let seconds = ast.timespan.seconds;
        if seconds == 0 || seconds > MAX_TIMESPAN_SECONDS {
            return refuse(&format!("its timespan has {seconds} seconds; 1 to {MAX_TIMESPAN_SECONDS} are allowed"));
        }
        Ok(Self {
            kind,
            group_by,
            values: values(ast, kind)?,
            span: seconds as i64 * 1_000_000,
            asked: asked(ast, kind, rules.len(), written)?,
            generate: ast.generate,
            rules,
        })
    }
}

impl Plan {
    /// The fields that it asks of events of the rule at this position.
    pub(crate) fn fields(&self, at: usize) -> impl Iterator<Item = &str> {
        self.group_by.iter().chain(&self.values).filter_map(move |named| named.by_rule.get(at)).map(|name| &**name)
    }

    /// Whether it could become true when only the rules at these positions (bits) can match.
    pub(crate) fn can_hold(&self, live: u64) -> bool {
        match &self.asked {
            Asked::Compare(_) if !self.kind.is_temporal() => live != 0,
            Asked::Compare(_) => (1..=live.count_ones() as usize).any(|count| self.asked.holds(Measure::count(count), live)),
            Asked::Every(rules) => live.count_ones() as usize == *rules,
            Asked::Expression(expression) => live != 0 && expression.could_hold(live),
        }
    }
}

fn refuse<T>(reason: &str) -> Result<T, String> {
    Err(format!("Invalid correlation: {reason}"))
}

fn kind(ast: &CorrelationRule) -> Result<Kind, String> {
    let rank = match &ast.condition {
        CorrelationCondition::Threshold { percentile, .. } => percentile.unwrap_or(50),
        CorrelationCondition::Extended(_) => 50,
    };
    Ok(match ast.correlation_type {
        CorrelationType::EventCount => Kind::EventCount,
        CorrelationType::ValueCount => Kind::ValueCount,
        CorrelationType::ValueSum => Kind::Sum,
        CorrelationType::ValueAvg => Kind::Average,
        CorrelationType::ValueMedian => Kind::Percentile(50),
        CorrelationType::ValuePercentile => match u8::try_from(rank) {
            Ok(rank) if rank <= 100 => Kind::Percentile(rank),
            _ => return refuse(&format!("its percentile is {rank}; 0 to 100 are allowed")),
        },
        CorrelationType::Temporal => Kind::Temporal,
        CorrelationType::TemporalOrdered => Kind::TemporalOrdered,
    })
}

/// The rules; one that is listed twice matters only where the order does.
fn listed(ast: &CorrelationRule, kind: Kind, ids: Vec<String>) -> Result<Vec<String>, String> {
    let max = if kind == Kind::TemporalOrdered { MAX_ORDERED_RULES } else { MAX_RELATED_RULES };
    if ids.is_empty() {
        return refuse("it lists no rules");
    }
    if ids.len() > max {
        return refuse(&format!("it lists {} rules, the limit is {max}", ids.len()));
    }
    if kind == Kind::Temporal
        && let Some(twice) = ast.rules.iter().zip(&ids).enumerate().find(|(at, (_, id))| ids[..*at].contains(id))
    {
        return refuse(&format!("it lists '{}' twice; only a temporal_ordered correlation can", twice.1.0));
    }
    Ok(ids)
}

fn named(field: &str, ast: &CorrelationRule) -> Named {
    let alias = ast.aliases.iter().find(|alias| alias.alias == field);
    let by_rule =
        ast.rules.iter().map(|rule| alias.and_then(|alias| alias.mapping.get(rule)).map_or(field, String::as_str).into());
    Named { name: field.into(), by_rule: by_rule.collect() }
}

fn values(ast: &CorrelationRule, kind: Kind) -> Result<Vec<Named>, String> {
    let CorrelationCondition::Threshold { field, .. } = &ast.condition else { return Ok(Vec::new()) };
    let fields = field.as_deref().unwrap_or_default();
    match (kind, fields.len()) {
        (Kind::EventCount | Kind::Temporal | Kind::TemporalOrdered, 0) => Ok(Vec::new()),
        (Kind::EventCount | Kind::Temporal | Kind::TemporalOrdered, _) => {
            refuse(&format!("a condition of {} has no field", ast.correlation_type.as_str()))
        }
        (_, 0) => refuse(&format!("a condition of {} needs a field", ast.correlation_type.as_str())),
        (Kind::ValueCount, count) if count <= MAX_GROUP_FIELDS => Ok(fields.iter().map(|field| named(field, ast)).collect()),
        (Kind::ValueCount, count) => refuse(&format!("its condition names {count} fields, the limit is {MAX_GROUP_FIELDS}")),
        (_, 1) => Ok(vec![named(&fields[0], ast)]),
        (_, _) => refuse(&format!("a condition of {} has one field", ast.correlation_type.as_str())),
    }
}

fn asked(ast: &CorrelationRule, kind: Kind, rules: usize, written: &Written) -> Result<Asked, String> {
    match &ast.condition {
        CorrelationCondition::Extended(_) if kind != Kind::Temporal => {
            refuse(&format!("a condition of {} compares with a number", ast.correlation_type.as_str()))
        }
        CorrelationCondition::Extended(condition) => match Expression::of(condition, &ast.rules) {
            Ok(expression) => Ok(Asked::Expression(expression)),
            Err(reason) => refuse(&reason),
        },
        CorrelationCondition::Threshold { .. } if kind.is_temporal() && !written.has_condition => Ok(Asked::Every(rules)),
        CorrelationCondition::Threshold { .. } => comparisons(kind, rules, written.comparisons.clone()).map(Asked::Compare),
    }
}

fn comparisons(
    kind: Kind,
    rules: usize,
    comparisons: Vec<(ConditionOperator, Fixed)>,
) -> Result<Vec<(ConditionOperator, Fixed)>, String> {
    if !matches!(kind, Kind::EventCount | Kind::ValueCount) && !kind.is_temporal() {
        return Ok(comparisons);
    }
    if comparisons.iter().any(|(_, number)| !number.is_whole()) {
        return refuse("its condition compares a count with a fraction; only sums, means and percentiles have any");
    }
    let most = if kind.is_temporal() { rules } else { MAX_WINDOW_EVENTS };
    let never = |(operator, number): &(ConditionOperator, Fixed)| match operator {
        ConditionOperator::Gt => *number >= Fixed::count(most),
        ConditionOperator::Gte | ConditionOperator::Eq => *number > Fixed::count(most),
        _ => false,
    };
    if comparisons.iter().any(never) {
        return refuse(&format!("its condition is never reached: a window counts to {most}"));
    }
    Ok(comparisons)
}
