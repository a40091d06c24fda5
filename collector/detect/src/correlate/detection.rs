//! The record of `detections.v1`: an event that correlations refer to, with all that an alert will need of it.

use std::borrow::Cow;

use beffroi_engine::correlate::FieldSource;
use beffroi_engine::field_of_audit;
use beffroi_schema::alert::Match;
use beffroi_schema::limits::MAX_CLOCK_SKEW_US;
use serde::{Deserialize, Serialize};

/// An event that rules matched to which correlations refer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Ids of those rules.
    pub rules: Vec<String>,
    /// The match of the first of them: tenant, host, times, and a copy of the event.
    pub evidence: Match,
}

impl Detection {
    /// When it happened. A clock that is far ahead of the gateway's is not believed: it would make all others late.
    pub(crate) fn time(&self) -> i64 {
        let Match { event_time, received_at, .. } = self.evidence;
        if event_time > received_at.saturating_add(MAX_CLOCK_SKEW_US) { received_at } else { event_time }
    }

    /// How far it brings the time of its lane: never ahead of the gateway's clock.
    pub(crate) fn tick(&self) -> i64 {
        self.time().min(self.evidence.received_at)
    }
}

/// The fields of the event, also by their names in the audit view, and of its host what rules group by.
impl FieldSource for Detection {
    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        let event = self.evidence.events.first();
        let ours = || event.and_then(|event| event.text(&field_of_audit(name)?.name()));
        match (event.and_then(|event| event.text(name)).or_else(ours), name) {
            (Some(value), _) => Some(value),
            // A host chooses its name, never its id.
            (None, "Computer") => {
                Some(Cow::Owned(format!("{} {}", self.evidence.host.info.hostname, self.evidence.host.agent_id)))
            }
            (None, _) => None,
        }
    }
}
