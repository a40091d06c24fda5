//! One record of `events.v1` in, matches and dead letters out. Synchronous and without I/O, so that every kind of bad
//! input can be shown to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use beffroi_bus::Record as BusRecord;
use beffroi_engine::Detector;
use beffroi_engine::correlate::Correlator;
use beffroi_schema::AgentId;
use beffroi_schema::alert::{DeadLetter, Match};
use beffroi_schema::batch::{BatchError, Envelope, Packed};
use beffroi_schema::ids::EventId;
use beffroi_schema::wire;

use crate::correlate::Detection;
use crate::evidence::Scene;

/// The rules in force, as one unit that is swapped whole.
pub struct RulesInForce {
    /// Evaluates events.
    pub detector: Box<dyn Detector>,
    /// Hash of the rule set.
    pub ruleset: Arc<str>,
    /// Engine and version.
    pub engine: Arc<str>,
    /// The correlations, without state.
    pub correlations: Correlator<EventId>,
}

/// What the rules say of one batch.
#[derive(Debug, Default)]
pub struct Judged {
    /// Matches of rules that alert on their own.
    pub matches: Vec<Match>,
    /// Events that correlations refer to.
    pub detections: Vec<Detection>,
}

/// A batch whose envelope, signature and content hold.
pub struct Opened {
    /// Envelope with header and hash.
    pub envelope: Envelope,
    /// Its records, as they were sent.
    pub batch: Packed,
    /// Gateway's clock, microseconds since 1970.
    pub received_at: i64,
    /// Peer address that the gateway saw.
    pub remote: String,
}

/// Why a record is put aside. [`Refusal::code`] is stable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The batch itself is broken.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The gateway's headers are missing or not readable: the record was not written by a gateway.
    #[error("record header {0} is missing or not readable: was this written by a gateway?")]
    Header(&'static str),
    /// Batch and certificate name different tenants.
    #[error("the batch says tenant {batch:?}, the certificate it came with says {certificate:?}")]
    Tenant {
        /// In the batch.
        batch: String,
        /// In the certificate.
        certificate: String,
    },
    /// Batch and key of the record name different agents.
    #[error("the batch says agent {batch}, the record's key says {key:?}")]
    Agent {
        /// In the batch.
        batch: AgentId,
        /// Key of the record.
        key: String,
    },
    /// Judging it panicked: a defect of ours, which must cost one batch and not the partition.
    #[error("judging this batch ended in a panic, which is a defect of Beffroi: please report it with this record")]
    Panicked,
}

impl Refusal {
    /// Stable short name for metrics and the dead-letter topic.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Batch(error) => error.code(),
            Self::Header(_) => "record_header",
            Self::Tenant { .. } => "tenant",
            Self::Agent { .. } => "agent",
            Self::Panicked => "panic",
        }
    }
}

/// Verifies and decodes a record of `events.v1`.
///
/// # Errors
/// [`Refusal`]: nothing of the record may be used.
pub fn open(record: &BusRecord) -> Result<Opened, Refusal> {
    let text =
        |name: &'static str| record.header(name).and_then(|value| std::str::from_utf8(value).ok()).ok_or(Refusal::Header(name));
    let received_at = text(wire::HEADER_RECEIVED_AT)?.parse().map_err(|_| Refusal::Header(wire::HEADER_RECEIVED_AT))?;
    let tenant = text(wire::HEADER_TENANT)?;
    let envelope = Envelope::parse(&record.value)?;
    if envelope.header.tenant != tenant {
        return Err(Refusal::Tenant { batch: envelope.header.tenant.clone(), certificate: tenant.chars().take(64).collect() });
    }
    let key = String::from_utf8_lossy(&record.key);
    if key.parse() != Ok(envelope.header.agent) {
        return Err(Refusal::Agent { batch: envelope.header.agent, key: key.chars().take(64).collect() });
    }
    envelope.verify()?;
    let batch = envelope.open()?;
    let remote = text(wire::HEADER_REMOTE).unwrap_or_default().chars().take(64).collect();
    Ok(Opened { envelope, batch, received_at, remote })
}

/// Evaluates every event of an opened batch.
pub fn evaluate(opened: &Opened, rules: &RulesInForce, labels: BTreeMap<String, String>, detected_at: i64) -> Judged {
    let header = &opened.envelope.header;
    let scene = Scene {
        tenant: header.tenant.clone(),
        agent: header.agent,
        host: opened.batch.host.clone(),
        labels,
        remote: opened.remote.clone(),
        received_at: opened.received_at,
        detected_at,
        ruleset: rules.ruleset.clone(),
        engine: rules.engine.clone(),
    };
    let mut judged = Judged::default();
    let correlations = &rules.correlations;
    rules.detector.evaluate_batch(&opened.batch, &mut |event, found| {
        let id = EventId { agent: header.agent, epoch: header.epoch, stream: header.stream, seq: event.seq() };
        let event = event.unpack();
        let referred = found.iter().filter(|found| correlations.refers_to(&found.rule.id));
        let ids: Vec<String> = referred.clone().map(|found| found.rule.id.clone()).collect();
        if let Some(first) = referred.clone().next() {
            judged.detections.push(Detection { rules: ids, evidence: scene.record(&event, id, first.clone()) });
        }
        let alone = found.into_iter().filter(|found| correlations.alerts_alone(&found.rule.id));
        judged.matches.extend(alone.map(|found| scene.record(&event, id, found)));
    });
    judged
}

/// The record as a dead letter: whole, with its place and the reason.
pub fn dead_letter(record: &BusRecord, topic: &str, refusal: &Refusal, now: i64) -> DeadLetter {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: BTreeMap<String, String> = record.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect();
    DeadLetter {
        topic: topic.into(),
        partition: record.partition,
        offset: record.offset,
        index: match refusal {
            Refusal::Batch(BatchError::Record { index, .. }) => Some(*index),
            _ => None,
        },
        code: refusal.code().into(),
        reason: refusal.to_string(),
        ts: now,
        tenant: headers.get(wire::HEADER_TENANT).cloned().unwrap_or_default(),
        key: text(&record.key),
        headers,
        value: base64::engine::general_purpose::STANDARD.encode(&record.value),
    }
}
