//! Events of our own sensors, as `beffroi events search` and `beffroi-agent watch` give them, with what the store knows
//! beside them: who sent them, and when they came. Rules see what the host sent and nothing else.

use std::borrow::Cow;

use beffroi_engine::correlate::FieldSource;
use beffroi_schema::batch::{Envelope, EventRef, Header, Packed};
use beffroi_schema::json::JsonError;
use beffroi_schema::{Category, Event, EventId, Product};
use serde_json::{Map, Value as Json};

use crate::record::Record;
use crate::trouble::{Code, Trouble};

/// What stands beside an event in the store. A rule that searches any value must not find it there.
const OF_THE_STORE: [&str; 8] =
    ["tenant", "agent_id", "host", "received_at", "stored_at", "clock_suspect", "replayed", "event_id"];

/// An event as its host sent it, and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnEvent {
    /// What the host sent.
    pub event: Event,
    /// Tenant of the host, where it is known.
    pub tenant: Option<String>,
    /// Name of the host, where it is known.
    pub host: Option<String>,
    /// Id of the host's agent, where it is known.
    pub agent: Option<String>,
    /// The event's id, where it is known.
    pub event_id: Option<String>,
}

impl OwnEvent {
    /// Takes apart what the host sent and what the store says of it. An event without a time is of the year 1970.
    ///
    /// # Errors
    /// [`JsonError`] when it is no event of ours.
    pub fn from_json(mut object: Map<String, Json>) -> Result<Self, JsonError> {
        let text = |name: &str| object.get(name).and_then(Json::as_str).filter(|text| !text.is_empty()).map(ToString::to_string);
        let [tenant, host, agent, event_id] = ["tenant", "host", "agent_id", "event_id"].map(text);
        object.retain(|name, _| !OF_THE_STORE.contains(&name.as_str()));
        Ok(Self { event: Event::from_json(&Json::Object(object), 0)?, tenant, host, agent, event_id })
    }
}

/// A stored batch whose signature holds, its events as they were sent.
pub struct StoredBatch {
    header: Header,
    host: Option<String>,
    packed: Packed,
}

impl StoredBatch {
    pub(crate) fn open(bytes: &[u8]) -> Result<Self, Trouble> {
        let envelope = Envelope::parse(bytes).map_err(|error| {
            Trouble::whole(Code::Format, format!("neither an event log, nor text, nor a stored batch: {error}"))
        })?;
        let opened = envelope.verify().and_then(|()| envelope.open());
        let packed = opened.map_err(|error| Trouble::whole(Code::Batch, error.to_string()))?;
        let host = Some(packed.host.hostname.clone()).filter(|name| !name.is_empty());
        Ok(Self { header: envelope.header, host, packed })
    }

    /// Its events, for whoever judges them together.
    pub fn packed(&self) -> &Packed {
        &self.packed
    }

    /// When one of its events happened, microseconds since 1970.
    pub fn time_us(&self, event: EventRef<'_>) -> i64 {
        event.unpack().ts
    }

    /// One of its events as a record. Its number counts all records of the batch, events or not.
    pub fn record(&self, event: EventRef<'_>) -> Record {
        let Header { agent, epoch, stream, .. } = self.header;
        // A batch that opens has a record for each number from its first on.
        let number = event.seq() - self.header.first + 1;
        let own = OwnEvent {
            tenant: Some(self.header.tenant.clone()),
            host: self.host.clone(),
            agent: Some(agent.to_string()),
            event_id: Some(EventId { agent, epoch, stream, seq: event.seq() }.to_string()),
            event: event.unpack(),
        };
        Record::of_ours(number, Some(own.event.ts), own)
    }
}

/// An event says of what kind it is in Sigma's words, and when it was, or of which product.
pub(crate) fn is_own(object: &Map<String, Json>) -> bool {
    let named = |name: &str, known: &dyn Fn(&str) -> bool| object.get(name).and_then(Json::as_str).is_some_and(known);
    let has_category = named("category", &|name| Category::from_name(name).is_some());
    let has_product = named("product", &|name| Product::from_name(name).is_some());
    (has_category && has_product) || (object.contains_key("ts") && (has_category || has_product))
}

/// The fields of the event, and of its host what correlations group by, as the detector of the collector gives them.
impl FieldSource for OwnEvent {
    fn text(&self, name: &str) -> Option<Cow<'_, str>> {
        match (FieldSource::text(&self.event, name), name, &self.host, &self.agent) {
            (Some(value), ..) => Some(value),
            // A host chooses its name, never its id.
            (None, "Computer", Some(host), Some(agent)) => Some(format!("{host} {agent}").into()),
            (None, "Computer", Some(only), None) | (None, "Computer", None, Some(only)) => Some(only.into()),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn own(value: Json) -> OwnEvent {
        OwnEvent::from_json(value.as_object().unwrap().clone()).unwrap()
    }

    #[test]
    fn what_the_store_says_stands_beside_the_event_and_not_in_it() {
        let sent =
            json!({"ts": "2026-11-21T10:00:00.000000Z", "category": "process_creation", "product": "linux", "Image": "/bin/sh"});
        let mut stored = sent.clone();
        for name in OF_THE_STORE {
            stored[name] = format!("the {name}").into();
        }
        let own = own(stored);
        assert_eq!(Json::Object(own.event.to_json()), sent);
        let beside = [&own.tenant, &own.agent, &own.host, &own.event_id].map(|text| text.as_deref().unwrap());
        assert_eq!(beside, ["the tenant", "the agent_id", "the host", "the event_id"]);
    }

    #[test]
    fn the_computer_of_a_group_is_the_host_whatever_it_calls_itself() {
        let computer = |value: Json| FieldSource::text(&own(value), "Computer").map(Cow::into_owned);
        assert_eq!(computer(json!({"host": "pc", "agent_id": "a1"})).as_deref(), Some("pc a1"));
        assert_eq!(computer(json!({"host": "pc"})).as_deref(), Some("pc"));
        assert_eq!(computer(json!({"agent_id": "a1"})).as_deref(), Some("a1"));
        assert_eq!(computer(json!({"host": "pc", "Computer": "of the event"})).as_deref(), Some("of the event"));
        assert_eq!(computer(json!({})), None);
    }
}
