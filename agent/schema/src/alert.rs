//! What the detector publishes: matches on `alerts.v1` and dead letters on `dlq.v1`, both JSON for `kcat | jq`.
//!
//! A *match* is what an engine says of one event (or one correlation window); an *alert* is what an analyst sees: the
//! matches of one `group_key` in one time bucket. A match carries a copy of its evidence, because alerts outlive events.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::batch::HostInfo;
use crate::ids::{AgentId, AlertId, EventId, MatchId};

/// How grave a rule says its match is, in Sigma's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For context only.
    Informational,
    /// Rarely worth a look on its own.
    Low,
    /// Worth a look.
    Medium,
    /// Look soon.
    High,
    /// Look now.
    Critical,
}

impl Level {
    /// All levels, lowest first.
    pub const ALL: [Level; 5] = [Self::Informational, Self::Low, Self::Medium, Self::High, Self::Critical];

    /// Name in rules and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Informational => "informational",
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }

    /// The level of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// A technique or tactic of ATT&CK.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attack {
    /// Id, for example `T1059.004` or `TA0002`.
    pub id: String,
    /// Name; empty where this version does not know the id.
    pub name: String,
}

/// The rule behind a match, with everything that an analyst needs of it (DRL 1.1: author and references are shown).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// Rule id.
    pub id: String,
    /// Title.
    pub title: String,
    /// Version: its `modified` or `date`, else empty.
    pub version: String,
    /// SHA-256 of the rule's text, hex.
    pub sha256: String,
    /// Level.
    pub level: Level,
    /// Author.
    #[serde(default)]
    pub author: String,
    /// What it looks for.
    #[serde(default)]
    pub description: String,
    /// What to do first when it fires.
    #[serde(default)]
    pub response: String,
    /// References.
    #[serde(default)]
    pub references: Vec<String>,
    /// Known false positives.
    #[serde(default)]
    pub false_positives: Vec<String>,
    /// Tags as written.
    #[serde(default)]
    pub tags: Vec<String>,
    /// ATT&CK techniques and tactics.
    #[serde(default)]
    pub attack: Vec<Attack>,
    /// Licence of the rule where it names one.
    #[serde(default)]
    pub license: String,
}

/// A field that made the rule match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedField {
    /// Field name; `keywords` for keyword searches.
    pub field: String,
    /// Its value in the event.
    pub value: Json,
}

/// One process of the chain, nearest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChainLink {
    /// Process GUID; empty where the source had none.
    #[serde(default)]
    pub guid: String,
    /// Executable.
    pub image: String,
    /// Command line.
    pub command_line: String,
    /// Process id, where known.
    #[serde(default)]
    pub pid: Option<u64>,
    /// User, where known.
    #[serde(default)]
    pub user: String,
}

/// The host of a match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchHost {
    /// Agent id.
    pub agent_id: AgentId,
    /// What the host says of itself.
    #[serde(flatten)]
    pub info: HostInfo,
    /// Address that the gateway saw.
    pub remote: String,
    /// Labels of its enrolment.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// One record of `alerts.v1`: idempotent by `match_id`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    /// Deterministic id.
    pub match_id: MatchId,
    /// The alert that it belongs to.
    pub alert_id: AlertId,
    /// What groups matches into alerts; begins with the tenant.
    pub group_key: String,
    /// Start of the alert's time bucket, microseconds since 1970.
    pub bucket: i64,
    /// Tenant.
    pub tenant: String,
    /// Host.
    pub host: MatchHost,
    /// Rule.
    pub rule: RuleInfo,
    /// Agent's clock at the event, microseconds since 1970.
    pub event_time: i64,
    /// Gateway's clock.
    pub received_at: i64,
    /// Detector's clock.
    pub detected_at: i64,
    /// Agent's clock was more than five minutes away from the gateway's.
    #[serde(default)]
    pub clock_suspect: bool,
    /// The event was recorded elsewhere and sent again.
    #[serde(default)]
    pub replayed: bool,
    /// Events that made it.
    pub event_ids: Vec<EventId>,
    /// Sigma category of the event.
    pub category: String,
    /// User of the process.
    #[serde(default)]
    pub user: String,
    /// User who logged in.
    #[serde(default)]
    pub login_user: String,
    /// Executable.
    #[serde(default)]
    pub image: String,
    /// Full command line.
    #[serde(default)]
    pub command_line: String,
    /// One line that says what happened.
    pub what: String,
    /// Process GUID of the event.
    #[serde(default)]
    pub process_guid: String,
    /// Selections that held.
    pub matched_selections: Vec<String>,
    /// Fields that made them hold.
    pub matched_fields: Vec<MatchedField>,
    /// The process and its ancestors, nearest first.
    pub chain: Vec<ChainLink>,
    /// Copies of the events.
    pub events: Vec<Map<String, Json>>,
    /// SHA-256 over the rule set in force, hex.
    pub ruleset: String,
    /// Engine and version.
    pub engine: String,
}

/// One record of `dlq.v1`: what could not be processed, whole, with its place and reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Topic it came from.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Index of the broken record in the batch; none when the batch as a whole is broken.
    #[serde(default)]
    pub index: Option<usize>,
    /// Stable short code.
    pub code: String,
    /// What is wrong, in words.
    pub reason: String,
    /// When it was set aside, microseconds since 1970.
    pub ts: i64,
    /// Tenant of the certificate it came with.
    #[serde(default)]
    pub tenant: String,
    /// Original key, text.
    pub key: String,
    /// Original headers.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Original value, base64.
    pub value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_ordered_by_gravity_and_named_as_in_sigma() {
        assert!(Level::Critical > Level::High && Level::Low > Level::Informational);
        for level in Level::ALL {
            assert_eq!(Level::from_name(level.name()), Some(level));
            assert_eq!(serde_json::to_value(level).unwrap(), level.name());
        }
        assert_eq!(Level::from_name("HIGH"), None);
    }
}
