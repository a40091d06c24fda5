//! `GET /v1/orders`: what goes down, relayed to the hosts it is for. Servers hold no key here: nothing is verified,
//! nothing is changed, the agent's sensor decides.
//!
//! Owns the unexpired part of `orders.v1` in memory, bounded in number and bytes; when it is full the oldest goes, and is
//! counted. Rule texts are handed to the hosts that an order which names them is for, and to no others. When the bus is away, what is in memory is still handed out and reading goes on when it is back.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, Query, State};
use axum::response::{IntoResponse, Response};
use beffroi_bus::{Bus, BusError, Record, TailFrom, Topic};
use beffroi_schema::down::{self, Order, Policy, Revocation, RulePack, SignedKind, Target, order::Action};
use beffroi_schema::ids::AgentId;
use beffroi_schema::limits::{MAX_CLOCK_SKEW_US, MAX_OPERATOR_CERTIFICATE_US};
use beffroi_schema::session::OrdersResponse;
use beffroi_schema::wire::{CONTENT_TYPE_BLOB, HEADER_CONTENT_TYPE};
use bytes::Bytes;
use http::{StatusCode, header};
use prost::Message;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::blobs::{Blobs, Hash};
use crate::clock;
use crate::identity::Identity;
use crate::refuse::Refusal;
use crate::serve::Peer;

/// Envelopes kept: hunts of a busy week over all tenants.
const MAX_ENVELOPES: usize = 10_000;
/// Bytes kept.
const MAX_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one answer; at least one envelope is always sent.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;
/// How long a poll waits when it says nothing, and at most: under the idle time of common proxies.
const MAX_WAIT_SECONDS: u64 = 50;
/// Pause before the bus is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Whom an envelope is for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Audience {
    Everyone,
    Tenant(String),
    Hosts(String, Vec<AgentId>),
}

impl Audience {
    fn includes(&self, identity: &Identity) -> bool {
        match self {
            Self::Everyone => true,
            Self::Tenant(tenant) => *tenant == identity.tenant,
            Self::Hosts(tenant, hosts) => *tenant == identity.tenant && hosts.contains(&identity.agent),
        }
    }
}

#[derive(Debug, Clone)]
struct Entry {
    offset: i64,
    audience: Audience,
    expires: i64,
    /// Rule texts that it names.
    rules: Vec<Hash>,
    bytes: Bytes,
}

/// Unexpired envelopes in the order of the topic.
pub(crate) struct Orders {
    ring: Mutex<Ring>,
    newest: watch::Sender<i64>,
    topic: String,
    max: (usize, usize),
}

#[derive(Debug, Default)]
struct Ring {
    entries: VecDeque<Entry>,
    bytes: usize,
    blobs: Blobs,
}

impl Orders {
    pub(crate) fn new(topic_id: &str) -> Self {
        // Part of every cursor, so that one from another topic (a new bus) is not taken for a place in this one.
        let topic = hex::encode(&Sha256::digest(topic_id)[..6]);
        Self { ring: Mutex::default(), newest: watch::Sender::new(-1), topic, max: (MAX_ENVELOPES, MAX_BYTES) }
    }

    /// Reads the topic until `stop`.
    pub(crate) async fn follow(&self, bus: &Bus, stop: &CancellationToken) {
        while let Some(Err(error)) = stop.run_until_cancelled(self.follow_once(bus)).await {
            tracing::warn!(%error, "orders cannot be read; trying again");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn follow_once(&self, bus: &Bus) -> Result<(), BusError> {
        let mut tail = bus.tail(Topic::Orders, TailFrom::Beginning).await?;
        loop {
            match tail.next().await {
                Ok(record) => self.take(&record, clock::now_us()),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "orders cannot be read; trying again");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&self, record: &Record, now: i64) {
        if record.offset <= *self.newest.borrow() {
            return; // read again from the beginning after an error
        }
        let taken = match record.header(HEADER_CONTENT_TYPE) == Some(CONTENT_TYPE_BLOB.as_bytes()) {
            true => self.take_blob(record, now),
            false => self.take_envelope(record, now),
        };
        if let Err(why) = taken {
            metrics::counter!("beffroi_gateway_orders_unreadable_total").increment(1);
            tracing::error!(offset = record.offset, why, "a record of the orders cannot be used and was not handed down");
        }
        self.newest.send_replace(record.offset);
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_blob(&self, record: &Record, now: i64) -> Result<(), String> {
        let mut ring = self.ring();
        ring.blobs.at(record.timestamp);
        ring.blobs.take(&record.key, &record.value, now)
    }

    fn take_envelope(&self, record: &Record, now: i64) -> Result<(), String> {
        self.ring().blobs.at(record.timestamp);
        let Down { audience, expires, rules } = read(&record.value)?;
        if expires > now {
            self.push(Entry { offset: record.offset, audience, expires, rules, bytes: record.value.clone() }, now);
        }
        Ok(())
    }

    /// A rule text, for a host that an unexpired order which names it is for.
    fn blob(&self, identity: &Identity, hash: &Hash, now: i64) -> Option<Bytes> {
        let ring = self.ring();
        let names = |entry: &&Entry| entry.expires > now && entry.audience.includes(identity) && entry.rules.contains(hash);
        ring.entries.iter().find(names).and_then(|_| ring.blobs.get(hash))
    }

    fn push(&self, entry: Entry, now: i64) {
        let mut ring = self.ring();
        ring.blobs.name(&entry.rules, entry.expires);
        ring.bytes += entry.bytes.len();
        ring.entries.push_back(entry);
        if ring.entries.len() > self.max.0 || ring.bytes > self.max.1 {
            ring.entries.retain(|entry| entry.expires > now);
            ring.bytes = ring.entries.iter().map(|entry| entry.bytes.len()).sum();
        }
        while ring.entries.len() > self.max.0 || ring.bytes > self.max.1 {
            let Some(oldest) = ring.entries.pop_front() else { break };
            ring.bytes -= oldest.bytes.len();
            metrics::counter!("beffroi_gateway_orders_evicted_total").increment(1);
            tracing::error!(
                offset = oldest.offset,
                "more unexpired orders than fit into memory: the oldest is no longer handed down"
            );
        }
    }

    /// What is there for this host after an offset, and where to go on.
    fn after(&self, identity: &Identity, after: i64, now: i64) -> (i64, Vec<Bytes>) {
        // Read before the ring: what arrives in between is found by the next poll, not skipped.
        let newest = *self.newest.borrow();
        let ring = self.ring();
        let (mut bytes, mut found) = (0, Vec::new());
        for entry in ring.entries.iter().filter(|entry| entry.offset > after && entry.expires > now) {
            if !entry.audience.includes(identity) {
                continue;
            }
            if !found.is_empty() && bytes + entry.bytes.len() > MAX_ANSWER_BYTES {
                return (entry.offset - 1, found);
            }
            bytes += entry.bytes.len();
            found.push(entry.bytes.clone());
        }
        let last = ring.entries.back().map_or(newest, |entry| entry.offset.max(newest));
        (last.max(after), found)
    }

    /// Waits until something is there for this host.
    async fn wait(&self, identity: &Identity, after: i64) -> (i64, Vec<Bytes>) {
        let mut newest = self.newest.subscribe();
        let mut place = after;
        loop {
            newest.borrow_and_update();
            let (next, found) = self.after(identity, place, clock::now_us());
            if !found.is_empty() {
                return (next, found);
            }
            place = next;
            if newest.changed().await.is_err() {
                return (place, Vec::new());
            }
        }
    }

    fn cursor(&self, offset: i64) -> String {
        format!("{}-{offset}", self.topic)
    }

    /// The offset in a cursor; the beginning for a cursor of another topic.
    fn offset(&self, cursor: &str) -> i64 {
        let offset = cursor.split_once('-').filter(|(topic, _)| *topic == self.topic).and_then(|(_, offset)| offset.parse().ok());
        offset.unwrap_or(-1)
    }
}

/// What the relay reads of an envelope.
struct Down {
    audience: Audience,
    expires: i64,
    rules: Vec<Hash>,
}

/// Reads whom an envelope is for, how long it is good, and which rule texts go with it.
fn read(bytes: &[u8]) -> Result<Down, String> {
    let signed = down::parse(bytes).map_err(|error| error.to_string())?;
    let body = signed.body.as_slice();
    let kind = |kind: SignedKind| signed.kind == kind as u32;
    let to_tenant =
        |tenant, expires, rules: Vec<Vec<u8>>| Down { audience: Audience::Tenant(tenant), expires, rules: hashes(&rules) };
    if kind(SignedKind::Order) {
        let order = Order::decode(body).map_err(|error| error.to_string())?;
        let rules = match &order.action {
            Some(Action::Scan(scan)) => hashes(&scan.rules_sha256),
            _ => Vec::new(),
        };
        return Ok(Down { audience: target(order.target.ok_or("it has no target")?)?, expires: order.expires, rules });
    }
    if kind(SignedKind::Policy) {
        let policy = Policy::decode(body).map_err(|error| error.to_string())?;
        return Ok(to_tenant(policy.tenant, policy.expires, Vec::new()));
    }
    if kind(SignedKind::RulePack) {
        let pack = RulePack::decode(body).map_err(|error| error.to_string())?;
        return Ok(to_tenant(pack.tenant, pack.expires, pack.rules_sha256));
    }
    if kind(SignedKind::Revocation) {
        let revocation = Revocation::decode(body).map_err(|error| error.to_string())?;
        // Later than this, no certificate that it stops is good any more.
        let expires = revocation.issued.saturating_add(MAX_OPERATOR_CERTIFICATE_US + MAX_CLOCK_SKEW_US);
        return Ok(Down { audience: Audience::Everyone, expires, rules: Vec::new() });
    }
    Err(format!("envelopes of kind {} are not handed down", signed.kind))
}

/// The hashes among these; what is none names nothing.
fn hashes(named: &[Vec<u8>]) -> Vec<Hash> {
    named.iter().filter_map(|hash| Hash::try_from(hash.as_slice()).ok()).collect()
}

fn target(target: Target) -> Result<Audience, String> {
    if target.whole_tenant {
        return Ok(Audience::Tenant(target.tenant));
    }
    let hosts = target.agent_ids.iter().map(|id| AgentId::try_from(id.as_slice())).collect::<Result<_, _>>();
    Ok(Audience::Hosts(target.tenant, hosts.map_err(|error| error.to_string())?))
}

/// `?after=CURSOR&wait=SECONDS`, both optional.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Poll {
    #[serde(default)]
    after: String,
    wait: Option<u64>,
}

/// The handler.
pub(crate) async fn orders(
    State(orders): State<Arc<Orders>>,
    Extension(peer): Extension<Peer>,
    Query(poll): Query<Poll>,
) -> Result<Json<OrdersResponse>, Refusal> {
    let identity = peer.identity.clone().ok_or_else(Refusal::no_certificate)?;
    let after = orders.offset(&poll.after);
    let wait = Duration::from_secs(poll.wait.unwrap_or(MAX_WAIT_SECONDS).min(MAX_WAIT_SECONDS));
    let waited = peer.leaving.run_until_cancelled(tokio::time::timeout(wait, orders.wait(&identity, after))).await;
    let (next, found) = match waited {
        Some(Ok(found)) => found,
        // The poll ends empty: what was looked through stays looked through.
        _ => orders.after(&identity, after, clock::now_us()),
    };
    metrics::counter!("beffroi_gateway_orders_sent_total").increment(found.len() as u64);
    Ok(Json(OrdersResponse::new(orders.cursor(next), found)))
}

/// `GET /v1/blobs/{sha256}`: the bytes of a rule text, or 404. The host checks the hash.
pub(crate) async fn blob(
    State(orders): State<Arc<Orders>>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Result<Response, Refusal> {
    let identity = peer.identity.clone().ok_or_else(Refusal::no_certificate)?;
    let mut hash = Hash::default();
    let found = hex::decode_to_slice(&name, &mut hash).ok().and_then(|()| orders.blob(&identity, &hash, clock::now_us()));
    let outcome = if found.is_some() { "found" } else { "missing" };
    metrics::counter!("beffroi_gateway_blobs_total", "outcome" => outcome).increment(1);
    let text = found.ok_or_else(|| {
        let hint = "the order that named it has expired, or is not for this host";
        Refusal::new(StatusCode::NOT_FOUND, "blob_unknown", "no rule text under this hash for this host", hint)
    })?;
    Ok(([(header::CONTENT_TYPE, CONTENT_TYPE_BLOB)], text).into_response())
}

#[cfg(test)]
#[path = "orders_tests.rs"]
mod tests;
