//! What a correlation says: its match and the id of it.

use std::sync::Arc;

use beffroi_schema::MatchId;
use beffroi_schema::alert::RuleInfo;
use sha2::{Digest, Sha256};

use super::fields::Group;
use super::window::Seen;

/// A correlation that became true.
#[derive(Debug, Clone, PartialEq)]
pub struct CorrelationMatch<R> {
    /// The correlation.
    pub rule: Arc<RuleInfo>,
    /// SHA-256 over scope, rule, group and the first event: the same window always has the same id.
    pub id: MatchId,
    /// The scope of its events.
    pub scope: Arc<str>,
    /// Fields of the group and their values; none where the events have no such field. Long values are cut.
    pub group: Vec<(String, Option<String>)>,
    /// Time of the first event that counted, microseconds since 1970.
    pub first_us: i64,
    /// Time of the event that completed it.
    pub last_us: i64,
    /// What the condition was compared with: a count, a sum, a mean, a percentile, or how many rules there were.
    pub value: f64,
    /// Events in the window; for temporal correlations those that stand for a rule.
    pub count: usize,
    /// The first and the last of them, in order, at most [`crate::limits::MAX_MATCH_EVENTS`].
    pub events: Vec<R>,
}

impl<R: Clone + std::fmt::Display> CorrelationMatch<R> {
    pub(crate) fn new(rule: &Arc<RuleInfo>, scope: &Arc<str>, group: &Group, at: i64, value: f64, seen: Seen<R>) -> Self {
        let first = seen.sample.first();
        Self {
            id: id(scope, &rule.id, group, first.map(|(_, event)| event.to_string())),
            rule: rule.clone(),
            scope: scope.clone(),
            group: group.iter().map(|(name, value)| (name.to_string(), value.as_deref().map(String::from))).collect(),
            first_us: first.map_or(at, |(time, _)| *time),
            last_us: at,
            value,
            count: seen.count,
            events: seen.sample.into_iter().map(|(_, event)| event).collect(),
        }
    }
}

fn id(scope: &str, rule: &str, group: &Group, first: Option<String>) -> MatchId {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-correlation-v1\0");
    let mut part = |text: Option<&str>| match text {
        None => hash.update([0]),
        Some(text) => {
            hash.update([1]);
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
    };
    part(Some(scope));
    part(Some(rule));
    for (name, value) in group.iter() {
        part(Some(name));
        part(value.as_deref());
    }
    part(first.as_deref());
    MatchId(hash.finalize().into())
}
