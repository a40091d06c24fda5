//! What a correlator had to give up to stay within its limits.

use std::collections::BTreeMap;
use std::sync::Arc;

use beffroi_schema::alert::RuleInfo;

/// What was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OverflowKind {
    /// Groups were forgotten: what they had counted is lost.
    Groups,
    /// Events left a window before its timespan was over.
    Events,
    /// Events were applied before the watermark had passed them: earlier ones that still came were late.
    Held,
}

impl OverflowKind {
    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Groups => "groups were forgotten",
            Self::Events => "events left their window early",
            Self::Held => "events were applied before their time",
        }
    }
}

/// A limit was reached; matches may be missing since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateOverflow {
    /// The correlation; none where the limit belongs to all of them.
    pub rule: Option<Arc<RuleInfo>>,
    /// Tenant; of held events the one whose event was too many.
    pub scope: Arc<str>,
    /// What was given up.
    pub kind: OverflowKind,
    /// How much of it since the last report.
    pub count: u64,
}

/// Counts overflows until they are reported.
#[derive(Debug, Default)]
pub(crate) struct Overflows {
    counts: BTreeMap<(OverflowKind, Arc<str>, Option<usize>), u64>,
}

impl Overflows {
    pub(crate) fn add(&mut self, kind: OverflowKind, scope: &Arc<str>, plan: Option<usize>, count: usize) {
        if count > 0 {
            *self.counts.entry((kind, scope.clone(), plan)).or_insert(0) += count as u64;
        }
    }

    /// Gives correlations their new numbers, by the old ones; what belonged to one that is gone belongs to all.
    pub(crate) fn rename(&mut self, numbers: &[Option<usize>]) {
        for ((kind, scope, plan), count) in std::mem::take(&mut self.counts) {
            *self.counts.entry((kind, scope, plan.and_then(|plan| numbers[plan]))).or_insert(0) += count;
        }
    }

    pub(crate) fn take(&mut self, rule: impl Fn(usize) -> Arc<RuleInfo>) -> Vec<StateOverflow> {
        let counts = std::mem::take(&mut self.counts).into_iter();
        counts.map(|((kind, scope, plan), count)| StateOverflow { rule: plan.map(&rule), scope, kind, count }).collect()
    }
}
