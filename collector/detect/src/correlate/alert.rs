//! From a correlation's match to the record of `alerts.v1`.

use std::sync::Arc;

use beffroi_engine::correlate::{CorrelationMatch, StateOverflow};
use beffroi_schema::alert::{Level, Match, MatchHost, MatchedField, RuleInfo};
use beffroi_schema::ids::{EventId, alert_id};
use beffroi_schema::limits::{ALERT_BUCKET_US, MAX_EVIDENCE_EVENTS};
use beffroi_schema::{AgentId, MatchId};
use sha2::{Digest, Sha256};

/// Bytes of the copies of events in one alert: well below the largest record of the bus.
const MAX_COPIES_BYTES: usize = 512 * 1024;
/// Rule of the alerts that say that state was given up.
const OVERFLOW_RULE: &str = "beffroi-correlation-overflow";

/// What all alerts of one turn share.
pub(super) struct Stamp {
    /// Detector's clock, microseconds since 1970.
    pub now: i64,
    /// Hash of the rule set in force.
    pub ruleset: Arc<str>,
    /// Engine and version.
    pub engine: Arc<str>,
}

fn bucket(time: i64) -> i64 {
    time.saturating_sub(time.rem_euclid(ALERT_BUCKET_US))
}

/// The record of a match. `known` gives the evidence of an event, where it is still remembered.
pub(super) fn of_match(
    found: &CorrelationMatch<EventId>,
    known: impl Fn(&EventId) -> Option<Arc<Match>>,
    stamp: &Stamp,
) -> Match {
    let evidence: Vec<Arc<Match>> = found.events.iter().filter_map(&known).collect();
    let agent = found.events.last().map_or(AgentId([0; 16]), |event| event.agent);
    let mut alert = found.events.last().and_then(&known).map_or_else(|| bare(agent), |last| (*last).clone());
    let group: Vec<String> =
        found.group.iter().map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("(none)"))).collect();
    alert.match_id = found.id;
    alert.tenant = found.scope.to_string();
    alert.group_key = format!("{}/{}/{}", found.scope, found.rule.id, group.join(" "));
    alert.bucket = bucket(found.last_us);
    alert.alert_id = alert_id(&alert.tenant, &alert.group_key, alert.bucket);
    alert.event_time = found.last_us;
    alert.what = what(found, &group);
    alert.matched_selections = Vec::new();
    alert.matched_fields =
        found.group.iter().map(|(name, value)| MatchedField { field: name.clone(), value: value.clone().into() }).collect();
    alert.event_ids.clone_from(&found.events);
    alert.events = copies(&evidence);
    alert.rule = (*found.rule).clone();
    sealed(alert, stamp)
}

fn what(found: &CorrelationMatch<EventId>, group: &[String]) -> String {
    let seconds = (found.last_us - found.first_us) as f64 / 1e6;
    let events = if found.count == 1 { "1 event".to_string() } else { format!("{} events in {seconds:.1} s", found.count) };
    let line = format!("{}: {events}, {}", found.rule.title, group.join(", "));
    line.trim_end_matches(", ").chars().take(240).collect()
}

fn copies(evidence: &[Arc<Match>]) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let mut bytes = 0;
    let events = evidence.iter().filter_map(|one| one.events.first()).take(MAX_EVIDENCE_EVENTS);
    let fits = |event: &&serde_json::Map<String, serde_json::Value>| {
        bytes += serde_json::to_vec(event).map_or(MAX_COPIES_BYTES, |text| text.len());
        bytes <= MAX_COPIES_BYTES
    };
    events.take_while(fits).cloned().collect()
}

/// The record that says that state was given up: one a tenant, correlation, kind and hour.
pub(super) fn of_overflow(overflow: &StateOverflow, stamp: &Stamp) -> Match {
    let about = overflow.rule.as_ref().map_or("all correlations", |rule| rule.title.as_str());
    let mut alert = bare(AgentId([0; 16]));
    alert.tenant = overflow.scope.to_string();
    alert.group_key = format!("{}/{OVERFLOW_RULE}/{about}/{}", overflow.scope, overflow.kind.as_str());
    alert.bucket = bucket(stamp.now);
    alert.event_time = stamp.now;
    alert.received_at = stamp.now;
    alert.alert_id = alert_id(&alert.tenant, &alert.group_key, alert.bucket);
    alert.match_id = MatchId(Sha256::digest(format!("{OVERFLOW_RULE}\0{}\0{}", alert.group_key, alert.bucket)).into());
    alert.what = format!("{about}: {} {}: matches may be missing", overflow.count, overflow.kind.as_str());
    alert.rule.id = OVERFLOW_RULE.into();
    alert.rule.title = "The state of correlations was too large".into();
    alert.rule.description = "More groups or events came than a detector may keep. The correlation that held most gave up its \
        oldest groups; an attack may have caused this to hide."
        .into();
    sealed(alert, stamp)
}

fn sealed(mut alert: Match, stamp: &Stamp) -> Match {
    alert.detected_at = stamp.now;
    alert.ruleset = stamp.ruleset.to_string();
    alert.engine = stamp.engine.to_string();
    alert
}

/// A record without evidence: its events were judged before this detector began.
fn bare(agent_id: AgentId) -> Match {
    let text = String::new;
    Match {
        match_id: MatchId::default(),
        alert_id: beffroi_schema::AlertId::default(),
        group_key: text(),
        bucket: 0,
        tenant: text(),
        host: MatchHost { agent_id, info: Default::default(), remote: text(), labels: Default::default() },
        rule: RuleInfo {
            id: text(),
            title: text(),
            version: text(),
            sha256: text(),
            level: Level::Medium,
            author: "Beffroi project".into(),
            description: text(),
            response: text(),
            references: Vec::new(),
            false_positives: Vec::new(),
            tags: Vec::new(),
            attack: Vec::new(),
            license: text(),
        },
        event_time: 0,
        received_at: 0,
        detected_at: 0,
        clock_suspect: false,
        replayed: false,
        event_ids: Vec::new(),
        category: text(),
        user: text(),
        login_user: text(),
        image: text(),
        command_line: text(),
        what: text(),
        process_guid: text(),
        matched_selections: Vec::new(),
        matched_fields: Vec::new(),
        chain: Vec::new(),
        events: Vec::new(),
        ruleset: text(),
        engine: text(),
    }
}
