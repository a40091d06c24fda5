//! Building a batch: interning strings, lists and shapes, then compressing, chaining and signing.

use std::collections::HashMap;
use std::sync::Arc;

use ed25519_dalek::{Signer, SigningKey};
use prost::Message;

use super::sealed::batch_hash;
use super::{BatchError, EpochStart, Gap, Header, Heartbeat, HostInfo, Record, StreamHead};
use crate::event::{Event, Text, Value};
use crate::fields::{FIRST_EXTRA, Kind};
use crate::ids::BatchHash;
use crate::limits::{MAX_BODY_BYTES, MAX_RAW_BYTES, MAX_RECORDS, SCHEMA_VERSION};
use crate::proto;

/// zstd level: 3 is where ratio per CPU microsecond is best for bodies of some hundred KiB.
const ZSTD_LEVEL: i32 = 3;

/// A batch ready for the spool.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    /// The encoded batch, as it goes to the spool, the gateway and Kafka.
    pub bytes: Vec<u8>,
    /// Its hash in the stream's chain.
    pub hash: BatchHash,
    /// Its header.
    pub header: Header,
}

/// Collects records of one stream into one body.
#[derive(Debug, Default)]
pub struct BatchBuilder {
    body: proto::Body,
    strings: HashMap<Text, u32>,
    lists: HashMap<Arc<[Text]>, u32>,
    shapes: HashMap<ShapeKey, u32>,
    extra: HashMap<(Arc<str>, Kind), u32>,
    first: Option<u64>,
    last: u64,
    last_ts: i64,
    raw_estimate: usize,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ShapeKey {
    category: u32,
    product: u32,
    service: u32,
    replayed: bool,
    fields: Vec<u32>,
}

impl BatchBuilder {
    /// An empty batch from this host.
    pub fn new(host: &HostInfo) -> Self {
        let host = proto::Host {
            hostname: host.hostname.clone().into_bytes(),
            os: host.os.clone(),
            kernel: host.kernel.clone(),
            architecture: host.architecture.clone(),
            agent_version: host.agent_version.clone(),
            boot_id: host.boot_id.clone(),
            addresses: host.addresses.clone(),
        };
        Self { body: proto::Body { host: Some(host), ..Default::default() }, ..Default::default() }
    }

    /// Adds a record. Numbers must follow each other. A gap that stands for evicted batches is alone in its batch and
    /// has the first evicted number.
    ///
    /// # Panics
    /// If the record's number does not follow the one before: the caller numbers records, a hole is a broken invariant.
    pub fn push(&mut self, record: &Record) {
        let seq = record.seq();
        let first = *self.first.get_or_insert(seq);
        assert!(seq == first || seq == self.last + 1, "record {seq} does not follow {}", self.last);
        self.last = seq;
        let at = seq - first;
        match record {
            Record::Event(event) => self.push_event(event, at),
            Record::Gap(gap) => {
                // A gap that stands for evicted batches announces their numbers, not its own.
                self.last = gap.evicted.map_or(seq, |evicted| evicted.last);
                self.body.gaps.push(gap_out(gap, at));
            }
            Record::EpochStart(start) => self.body.epoch_starts.push(start_out(start, at)),
            Record::Heartbeat(heartbeat) => self.body.heartbeats.push(heartbeat_out(heartbeat, at)),
        }
        if !matches!(record, Record::Event(_)) {
            self.raw_estimate += 512;
        }
    }

    /// Records so far.
    pub fn records(&self) -> usize {
        self.first.map_or(0, |first| (self.last - first + 1) as usize)
    }

    /// About how many bytes the body has before compression.
    pub fn raw_estimate(&self) -> usize {
        self.raw_estimate
    }

    /// Whether the batch should be sealed before more is added: half of every limit, so that one more record always fits.
    pub fn is_full(&self) -> bool {
        self.records() >= MAX_RECORDS / 2 || self.raw_estimate >= MAX_BODY_BYTES / 2
    }

    /// Compresses, chains and signs. `header` gives tenant, agent, epoch, stream and the previous hash; numbers, size,
    /// version and key are filled in here.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] when the body does not fit the limits, [`BatchError::Malformed`] when it is empty.
    pub fn seal(self, header: Header, key: &SigningKey) -> Result<SealedBatch, BatchError> {
        let first = self.first.ok_or_else(|| BatchError::Malformed("a batch without records".into()))?;
        let raw = self.body.encode_to_vec();
        within("the body before compression", raw.len(), MAX_RAW_BYTES)?;
        let body = zstd::bulk::compress(&raw, ZSTD_LEVEL).map_err(|error| BatchError::Malformed(format!("zstd: {error}")))?;
        within("the compressed body", body.len(), MAX_BODY_BYTES)?;
        let header = Header {
            first,
            last: self.last,
            raw_size: raw.len() as u32,
            schema_version: SCHEMA_VERSION,
            public_key: key.verifying_key().to_bytes(),
            ..header
        };
        let header_bytes = header_out(&header).encode_to_vec();
        let hash = batch_hash(&header_bytes, &body);
        let signature = key.sign(&hash.0).to_bytes().to_vec();
        let bytes = proto::Batch { header: header_bytes, body, signature }.encode_to_vec();
        Ok(SealedBatch { bytes, hash, header })
    }

    fn push_event(&mut self, event: &Event, at: u64) {
        let mut fields = Vec::with_capacity(event.fields().len() + event.extra().len());
        let mut values = Vec::with_capacity(fields.capacity());
        for (field, value) in event.fields() {
            // A value of another kind than the table's travels under a name of its own, so that no type is guessed.
            match field.info() {
                Some(info) if info.kind == kind_of(value) => fields.push(u32::from(field.0)),
                _ => fields.push(self.extra_number(&field.name(), kind_of(value))),
            }
            values.push(self.value_out(value));
        }
        for (name, value) in event.extra() {
            fields.push(self.extra_number(name, kind_of(value)));
            values.push(self.value_out(value));
        }
        self.raw_estimate += 8 + 3 * values.len();
        let service = event.logsource.service.as_ref().map_or(0, |text| 1 + self.string(text));
        let shape = self.shape(ShapeKey {
            category: event.logsource.category.number(),
            product: event.logsource.product.number(),
            service,
            replayed: event.replayed,
            fields,
        });
        let ts = event.ts.wrapping_sub(self.last_ts);
        self.last_ts = event.ts;
        self.body.events.push(proto::EventRecord { shape, seq: at, ts, values });
    }

    fn value_out(&mut self, value: &Value) -> u64 {
        match value {
            Value::Text(text) => self.string(text).into(),
            Value::Uint(number) => *number,
            Value::Int(number) => ((number << 1) ^ (number >> 63)) as u64,
            Value::Bool(truth) => u64::from(*truth),
            Value::List(list) => self.list(list).into(),
        }
    }

    fn string(&mut self, text: &Text) -> u32 {
        if let Some(index) = self.strings.get(text) {
            return *index;
        }
        let index = self.body.strings.len() as u32;
        self.raw_estimate += text.len() + 3;
        self.body.strings.push(text.to_vec());
        self.strings.insert(text.clone(), index);
        index
    }

    fn list(&mut self, list: &Arc<[Text]>) -> u32 {
        if let Some(index) = self.lists.get(list) {
            return *index;
        }
        let strings = list.iter().map(|text| self.string(text)).collect();
        let index = self.body.lists.len() as u32;
        self.raw_estimate += 3 * list.len() + 2;
        self.body.lists.push(proto::TextList { strings });
        self.lists.insert(list.clone(), index);
        index
    }

    fn shape(&mut self, key: ShapeKey) -> u32 {
        if let Some(index) = self.shapes.get(&key) {
            return *index;
        }
        let index = self.body.shapes.len() as u32;
        self.raw_estimate += 2 * key.fields.len() + 8;
        self.body.shapes.push(proto::Shape {
            category: key.category,
            product: key.product,
            service: key.service,
            fields: key.fields.clone(),
            replayed: key.replayed,
        });
        self.shapes.insert(key, index);
        index
    }

    fn extra_number(&mut self, name: &str, kind: Kind) -> u32 {
        let key = (Arc::from(name), kind);
        if let Some(number) = self.extra.get(&key) {
            return *number;
        }
        let number = FIRST_EXTRA + self.extra.len() as u32;
        self.raw_estimate += name.len() + 8;
        self.body.names.push(proto::FieldName { number, name: name.into(), kind: kind as u32 });
        self.extra.insert(key, number);
        number
    }
}

fn within(what: &'static str, got: usize, limit: usize) -> Result<(), BatchError> {
    if got > limit { Err(BatchError::TooLarge { what, got: got as u64, limit: limit as u64 }) } else { Ok(()) }
}

fn kind_of(value: &Value) -> Kind {
    match value {
        Value::Text(_) => Kind::Text,
        Value::Uint(_) => Kind::Uint,
        Value::Int(_) => Kind::Int,
        Value::Bool(_) => Kind::Bool,
        Value::List(_) => Kind::List,
    }
}

fn header_out(header: &Header) -> proto::BatchHeader {
    proto::BatchHeader {
        tenant: header.tenant.clone(),
        agent_id: header.agent.0.to_vec(),
        epoch: header.epoch.0.to_vec(),
        stream: header.stream.number().into(),
        first: header.first,
        last: header.last,
        raw_size: header.raw_size,
        previous_hash: header.previous.0.to_vec(),
        schema_version: header.schema_version,
        public_key: header.public_key.to_vec(),
    }
}

fn heads_out(heads: &[StreamHead]) -> Vec<proto::StreamHead> {
    let one = |head: &StreamHead| proto::StreamHead {
        stream: head.stream.number().into(),
        last_seq: head.last_seq,
        last_hash: head.last_hash.0.to_vec(),
    };
    heads.iter().map(one).collect()
}

fn gap_out(gap: &Gap, at: u64) -> proto::Gap {
    proto::Gap {
        seq: at,
        ts: gap.ts,
        reason: gap.reason.number(),
        hook: gap.hook.clone(),
        count: gap.count.unwrap_or(0),
        from: gap.from,
        to: gap.to,
        first_seq: gap.evicted.map_or(0, |evicted| evicted.first),
        last_seq: gap.evicted.map_or(0, |evicted| evicted.last),
        evicted_hash: gap.evicted.map_or_else(Vec::new, |evicted| evicted.hash.0.to_vec()),
    }
}

fn start_out(start: &EpochStart, at: u64) -> proto::EpochStart {
    let previous = start.previous.as_ref();
    proto::EpochStart {
        seq: at,
        ts: start.ts,
        previous_epoch: previous.map_or_else(Vec::new, |previous| previous.epoch.0.to_vec()),
        previous_heads: previous.map_or_else(Vec::new, |previous| heads_out(&previous.heads)),
        previous_alive: previous.map_or(0, |previous| previous.alive),
        boot_id: start.boot_id.clone(),
        clean_stop: previous.is_some_and(|previous| previous.clean_stop),
    }
}

fn heartbeat_out(heartbeat: &Heartbeat, at: u64) -> proto::Heartbeat {
    let hook = |hook: &super::HookState| proto::HookState {
        name: hook.name.clone(),
        on: hook.on,
        why: hook.why.clone(),
        seen: hook.seen,
        dropped: hook.dropped,
    };
    proto::Heartbeat {
        seq: at,
        ts: heartbeat.ts,
        heads: heads_out(&heartbeat.heads),
        hooks: heartbeat.hooks.iter().map(hook).collect(),
        counters: heartbeat.counters.iter().map(|(name, value)| proto::Counter { name: name.clone(), value: *value }).collect(),
        spool_bytes: heartbeat.spool_bytes,
        spool_oldest: heartbeat.spool_oldest,
        cpu_us: heartbeat.cpu_us,
        rss_bytes: heartbeat.rss_bytes,
        policy_version: heartbeat.policy_version,
    }
}
