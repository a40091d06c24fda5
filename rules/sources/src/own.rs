//! Events of our own sensors, as `beffroi events search` and `beffroi-agent watch` give them, with what the store knows
//! beside them: who sent them, and when they came. Rules see what the host sent and nothing else.

use std::borrow::Cow;

use beffroi_engine::correlate::FieldSource;
use beffroi_schema::json::JsonError;
use beffroi_schema::{Category, Event, Product};
use serde_json::{Map, Value as Json};

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
    pub fn from_json(object: Map<String, Json>) -> Result<Self, JsonError> {
        let is_beside = |(name, _): &(String, Json)| OF_THE_STORE.contains(&name.as_str());
        let (beside, sent): (Map<String, Json>, Map<String, Json>) = object.into_iter().partition(is_beside);
        let text = |name: &str| beside.get(name).and_then(Json::as_str).filter(|text| !text.is_empty()).map(ToString::to_string);
        Ok(Self {
            event: Event::from_json(&Json::Object(sent), 0)?,
            tenant: text("tenant"),
            host: text("host"),
            agent: text("agent_id"),
            event_id: text("event_id"),
        })
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
