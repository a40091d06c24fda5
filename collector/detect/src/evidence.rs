//! From a rule's match to the record of `alerts.v1`: ids, grouping, the one line that says what happened, and copies of
//! the process chain and the event, because an alert outlives its events.

use std::collections::BTreeMap;
use std::sync::Arc;

use beffroi_engine::RuleMatch;
use beffroi_schema::alert::{ChainLink, Match, MatchHost};
use beffroi_schema::batch::HostInfo;
use beffroi_schema::event::{Event, Value};
use beffroi_schema::ids::{EventId, alert_id, match_id};
use beffroi_schema::limits::{ALERT_BUCKET_US, MAX_ANCESTORS, MAX_CLOCK_SKEW_US};
use beffroi_schema::{AgentId, Category, Field};

/// Characters of the one-line summary; the full command line stands beside it.
const MAX_WHAT: usize = 240;

/// What all matches of one batch share.
#[derive(Debug, Clone)]
pub struct Scene {
    /// Tenant of the certificate.
    pub tenant: String,
    /// Host of the batch.
    pub agent: AgentId,
    /// What the host says of itself.
    pub host: HostInfo,
    /// Labels of its enrolment.
    pub labels: BTreeMap<String, String>,
    /// Peer address that the gateway saw.
    pub remote: String,
    /// Gateway's clock, microseconds since 1970.
    pub received_at: i64,
    /// Detector's clock.
    pub detected_at: i64,
    /// Hash of the rule set in force.
    pub ruleset: Arc<str>,
    /// Engine and version.
    pub engine: Arc<str>,
}

impl Scene {
    /// Builds the record of one match.
    pub fn record(&self, event: &Event, id: EventId, found: RuleMatch) -> Match {
        let rule = (*found.rule).clone();
        let group_key = format!("{}/{}/{}", self.tenant, rule.id, self.agent);
        // The agent's time, not the gateway's: a batch that was sent twice must give the same alert.
        let bucket = event.ts.saturating_sub(event.ts.rem_euclid(ALERT_BUCKET_US));
        Match {
            match_id: match_id(&self.tenant, &rule.id, &[id]),
            alert_id: alert_id(&self.tenant, &group_key, bucket),
            bucket,
            tenant: self.tenant.clone(),
            host: MatchHost {
                agent_id: self.agent,
                info: self.host.clone(),
                remote: self.remote.clone(),
                labels: self.labels.clone(),
            },
            event_time: event.ts,
            received_at: self.received_at,
            detected_at: self.detected_at,
            // A replayed event is old by nature: its time says nothing of the agent's clock.
            clock_suspect: !event.replayed && self.received_at.abs_diff(event.ts) > MAX_CLOCK_SKEW_US.unsigned_abs(),
            replayed: event.replayed,
            event_ids: vec![id],
            category: event.logsource.category.name().into(),
            user: event.text(Field::USER).into_owned(),
            login_user: event.text(Field::LOGIN_USER).into_owned(),
            image: event.text(Field::IMAGE).into_owned(),
            command_line: event.text(Field::COMMAND_LINE).into_owned(),
            what: what(event),
            process_guid: event.text(Field::PROCESS_GUID).into_owned(),
            matched_selections: found.selections,
            matched_fields: found.fields,
            chain: chain(event),
            events: vec![copy(event, id)],
            ruleset: self.ruleset.to_string(),
            engine: self.engine.to_string(),
            group_key,
            rule,
        }
    }
}

/// The event as JSON, with its id.
fn copy(event: &Event, id: EventId) -> serde_json::Map<String, serde_json::Value> {
    let mut object = event.to_json();
    object.insert("event_id".into(), id.to_string().into());
    object
}

/// The process and its ancestors, nearest first, from what the sensor copied into the event.
pub fn chain(event: &Event) -> Vec<ChainLink> {
    let mut links = vec![ChainLink {
        guid: event.text(Field::PROCESS_GUID).into_owned(),
        image: event.text(Field::IMAGE).into_owned(),
        command_line: event.text(Field::COMMAND_LINE).into_owned(),
        pid: event.uint(Field::PROCESS_ID),
        user: event.text(Field::USER).into_owned(),
    }];
    let guids = list(event, Field::ANCESTOR_GUIDS);
    let images = list(event, Field::ANCESTOR_IMAGES);
    let commands = list(event, Field::ANCESTOR_COMMAND_LINES);
    if images.is_empty() && event.get(Field::PARENT_IMAGE).is_some() {
        links.push(ChainLink {
            guid: event.text(Field::PARENT_PROCESS_GUID).into_owned(),
            image: event.text(Field::PARENT_IMAGE).into_owned(),
            command_line: event.text(Field::PARENT_COMMAND_LINE).into_owned(),
            pid: event.uint(Field::PARENT_PROCESS_ID),
            user: event.text(Field::PARENT_USER).into_owned(),
        });
    }
    for (index, image) in images.iter().take(MAX_ANCESTORS).enumerate() {
        links.push(ChainLink {
            guid: guids.get(index).cloned().unwrap_or_default(),
            image: image.clone(),
            command_line: commands.get(index).cloned().unwrap_or_default(),
            pid: (index == 0).then(|| event.uint(Field::PARENT_PROCESS_ID)).flatten(),
            user: if index == 0 { event.text(Field::PARENT_USER).into_owned() } else { String::new() },
        });
    }
    links
}

fn list(event: &Event, field: Field) -> Vec<String> {
    match event.get(field) {
        Some(Value::List(list)) => list.iter().map(|text| String::from_utf8_lossy(text).into_owned()).collect(),
        _ => Vec::new(),
    }
}

/// One line that says what happened.
pub fn what(event: &Event) -> String {
    let image = event.text(Field::IMAGE);
    let name = image.rsplit('/').next().unwrap_or_default();
    let line = match event.logsource.category {
        Category::ProcessCreation => match event.text(Field::COMMAND_LINE) {
            command if command.is_empty() => image.to_string(),
            command => command.into_owned(),
        },
        Category::FileRename => {
            format!("{name} renamed {} to {}", event.text(Field::SOURCE_FILENAME), event.text(Field::TARGET_FILENAME))
        }
        Category::FileDelete => format!("{name} deleted {}", event.text(Field::TARGET_FILENAME)),
        Category::FileEvent | Category::FileChange => format!("{name} wrote {}", event.text(Field::TARGET_FILENAME)),
        Category::NetworkConnection => {
            let (direction, host, port) = if event.text(Field::INITIATED) == "false" {
                ("accepted", Field::SOURCE_IP, Field::SOURCE_PORT)
            } else {
                ("connected to", Field::DESTINATION_IP, Field::DESTINATION_PORT)
            };
            format!("{name} {direction} {}:{}", event.text(host), event.text(port))
        }
        Category::NetworkListen => {
            format!("{name} listens on {}:{}", event.text(Field::SOURCE_IP), event.text(Field::SOURCE_PORT))
        }
        Category::Antivirus => format!("{} in {}", event.text(Field::SIGNATURE), event.text(Field::FILENAME)),
        Category::DnsQuery => format!("{name} asked for {}", event.text(Field::QUERY_NAME)),
        _ => event.text(Field::MESSAGE).into_owned(),
    };
    line.chars().take(MAX_WHAT).collect()
}
