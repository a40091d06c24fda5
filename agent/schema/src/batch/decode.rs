//! Reading a body: decompression and decoding within limits. Every index, count and kind is checked: the bytes come
//! from a host that may be hostile, even though its signature holds.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;

use super::sealed::{Envelope, announced, check_record_count};
use super::{
    BatchError, EpochStart, Evicted, Gap, GapReason, Header, Heartbeat, HookState, HostInfo, PreviousEpoch, Record, StreamHead,
};
use crate::event::{Category, Event, Logsource, Product, Text, Value};
use crate::fields::{FIRST_EXTRA, Field, Kind};
use crate::ids::{BatchHash, Epoch, Stream};
use crate::limits::{MAX_EXPANDED_BYTES, MAX_FIELDS, MAX_LIST, MAX_TEXT_BYTES, MAX_VALUES};
use crate::proto;

/// What a batch holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What the host says of itself.
    pub host: HostInfo,
    /// Its records, by number.
    pub records: Vec<Record>,
}

impl Envelope {
    /// Decompresses and decodes. Call [`Envelope::verify`] first.
    ///
    /// # Errors
    /// [`BatchError`] `Compression`, `Malformed`, `TooLarge`, `Record` or `Numbers`.
    pub fn decode(&self) -> Result<Contents, BatchError> {
        let body = decompress(&self.header, &self.body)?;
        let body = proto::Body::decode(body.as_slice()).map_err(|error| BatchError::Malformed(error.to_string()))?;
        let count = body.events.len() + body.gaps.len() + body.epoch_starts.len() + body.heartbeats.len();
        check_record_count(count)?;
        let host = body.host.clone().map(host_in).unwrap_or_default();
        let mut records = Decoder::new(&self.header, &body)?.events(&body)?;
        let first = self.header.first;
        for (index, gap) in body.gaps.into_iter().enumerate() {
            records.push(Record::Gap(gap_in(gap, first, index)?));
        }
        for (index, start) in body.epoch_starts.into_iter().enumerate() {
            records.push(Record::EpochStart(start_in(start, first, index)?));
        }
        for (index, heartbeat) in body.heartbeats.into_iter().enumerate() {
            records.push(Record::Heartbeat(heartbeat_in(heartbeat, first, index)?));
        }
        records.sort_by_key(Record::seq);
        check_numbers(&self.header, &records)?;
        Ok(Contents { host, records })
    }
}

fn decompress(header: &Header, body: &[u8]) -> Result<Vec<u8>, BatchError> {
    let size = header.raw_size as usize;
    let wrong = |why: String| BatchError::Compression { raw_size: header.raw_size, why };
    // `decompress` allocates the capacity given here and stops there: a bomb costs no more than it announced.
    let raw = zstd::bulk::decompress(body, size).map_err(|error| wrong(error.to_string()))?;
    if raw.len() == size { Ok(raw) } else { Err(wrong(format!("it has {} bytes", raw.len()))) }
}

fn check_numbers(header: &Header, records: &[Record]) -> Result<(), BatchError> {
    let wrong =
        || BatchError::Numbers { got: records.len() as u64, expected: announced(header), first: header.first, last: header.last };
    if let [Record::Gap(Gap { evicted: Some(evicted), .. })] = records {
        return if (evicted.first, evicted.last) == (header.first, header.last) { Ok(()) } else { Err(wrong()) };
    }
    if records.len() as u64 != announced(header) {
        return Err(wrong());
    }
    let in_order = records.iter().zip(header.first..).all(|(record, seq)| record.seq() == seq);
    if in_order { Ok(()) } else { Err(wrong()) }
}

struct Decoder<'a> {
    first: u64,
    strings: Vec<Text>,
    lists: Vec<(Arc<[Text]>, usize)>,
    /// Text of all values so far, counted as often as it is named.
    expanded: Cell<usize>,
    names: HashMap<u32, (Arc<str>, Kind)>,
    shapes: Vec<(&'a proto::Shape, Logsource)>,
}

impl<'a> Decoder<'a> {
    fn new(header: &Header, body: &'a proto::Body) -> Result<Self, BatchError> {
        let values: usize = body.events.iter().map(|event| event.values.len()).sum::<usize>()
            + body.lists.iter().map(|list| list.strings.len()).sum::<usize>();
        over("values of the batch", values, MAX_VALUES)?;
        let strings = body.strings.iter().map(|bytes| {
            over("one string", bytes.len(), MAX_TEXT_BYTES)?;
            Ok(Text::from(bytes.as_slice()))
        });
        let mut decoder = Self {
            first: header.first,
            strings: strings.collect::<Result<_, BatchError>>()?,
            lists: Vec::with_capacity(body.lists.len()),
            expanded: Cell::new(0),
            names: names_in(&body.names)?,
            shapes: Vec::with_capacity(body.shapes.len()),
        };
        for (index, list) in body.lists.iter().enumerate() {
            over("one list", list.strings.len(), MAX_LIST)?;
            let texts = list.strings.iter().map(|at| decoder.string(u64::from(*at), index)).collect::<Result<Vec<_>, _>>()?;
            let bytes = texts.iter().map(|text| text.len()).sum();
            decoder.lists.push((texts.into(), bytes));
        }
        for (index, shape) in body.shapes.iter().enumerate() {
            over("the fields of one event", shape.fields.len(), MAX_FIELDS)?;
            let service = match shape.service {
                0 => None,
                number => Some(decoder.string(u64::from(number) - 1, index)?),
            };
            let logsource = Logsource {
                category: Category::from_number(shape.category),
                product: Product::from_number(shape.product),
                service,
            };
            decoder.shapes.push((shape, logsource));
        }
        Ok(decoder)
    }

    fn events(&self, body: &proto::Body) -> Result<Vec<Record>, BatchError> {
        let mut ts = 0i64;
        let mut records = Vec::with_capacity(body.events.len() + 4);
        for (index, event) in body.events.iter().enumerate() {
            ts = ts.wrapping_add(event.ts);
            records.push(Record::Event(self.event(event, ts, index)?));
        }
        Ok(records)
    }

    fn event(&self, event: &proto::EventRecord, ts: i64, index: usize) -> Result<Event, BatchError> {
        let wrong = |why: String| BatchError::Record { index, why };
        let (shape, logsource) =
            self.shapes.get(event.shape as usize).ok_or_else(|| wrong(format!("no shape {}", event.shape)))?;
        if shape.fields.len() != event.values.len() {
            return Err(wrong(format!("{} values for {} fields", event.values.len(), shape.fields.len())));
        }
        let mut fields = Vec::with_capacity(event.values.len());
        let mut extra = Vec::new();
        for (number, value) in shape.fields.iter().zip(&event.values) {
            match self.known(*number) {
                Some((field, kind)) => fields.push((field, self.value(kind, *value, index)?)),
                None => {
                    let (name, kind) = self.names.get(number).ok_or_else(|| wrong(format!("field {number} has no name")))?;
                    extra.push((name.clone(), self.value(*kind, *value, index)?));
                }
            }
        }
        if fields.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
            return Err(wrong("fields are not in the order of their numbers".into()));
        }
        let seq = seq_in(self.first, event.seq, index)?;
        Ok(Event::from_sorted(seq, ts, logsource.clone(), shape.replayed, fields, extra))
    }

    fn known(&self, number: u32) -> Option<(Field, Kind)> {
        if number >= FIRST_EXTRA {
            return None;
        }
        let field = Field(number as u16);
        field.info().map(|info| (field, info.kind))
    }

    fn value(&self, kind: Kind, value: u64, index: usize) -> Result<Value, BatchError> {
        Ok(match kind {
            Kind::Text => {
                let text = self.string(value, index)?;
                self.expand(text.len())?;
                Value::Text(text)
            }
            Kind::Uint => Value::Uint(value),
            Kind::Int => Value::Int(((value >> 1) as i64) ^ -((value & 1) as i64)),
            Kind::Bool => Value::Bool(value != 0),
            Kind::List => {
                let list = usize::try_from(value).ok().and_then(|at| self.lists.get(at));
                let (list, bytes) = list.ok_or_else(|| BatchError::Record { index, why: format!("no list {value}") })?;
                self.expand(*bytes)?;
                Value::List(list.clone())
            }
        })
    }

    fn expand(&self, bytes: usize) -> Result<(), BatchError> {
        let expanded = self.expanded.get().saturating_add(bytes);
        self.expanded.set(expanded);
        over("the text of all events of the batch", expanded, MAX_EXPANDED_BYTES)
    }

    fn string(&self, at: u64, index: usize) -> Result<Text, BatchError> {
        let text = usize::try_from(at).ok().and_then(|at| self.strings.get(at));
        text.cloned().ok_or_else(|| BatchError::Record { index, why: format!("no string {at}") })
    }
}

fn over(what: &'static str, got: usize, limit: usize) -> Result<(), BatchError> {
    if got > limit { Err(BatchError::TooLarge { what, got: got as u64, limit: limit as u64 }) } else { Ok(()) }
}

fn names_in(names: &[proto::FieldName]) -> Result<HashMap<u32, (Arc<str>, Kind)>, BatchError> {
    over("the names of a batch", names.len(), MAX_FIELDS * MAX_FIELDS)?;
    let one = |(index, name): (usize, &proto::FieldName)| {
        let wrong = |why: &str| BatchError::Record {
            index,
            why: format!("field name {:?}: {why}", name.name.chars().take(80).collect::<String>()),
        };
        if name.name.is_empty() || name.name.len() > 256 {
            return Err(wrong("not 1 to 256 bytes"));
        }
        let kind = Kind::from_number(name.kind).ok_or_else(|| wrong("unknown kind"))?;
        Ok((name.number, (Arc::from(name.name.as_str()), kind)))
    };
    names.iter().enumerate().map(one).collect()
}

fn seq_in(first: u64, distance: u64, index: usize) -> Result<u64, BatchError> {
    first.checked_add(distance).ok_or_else(|| BatchError::Record { index, why: "its number overflows".into() })
}

fn short(text: String) -> String {
    const MAX: usize = 256;
    if text.len() <= MAX { text } else { text.chars().take(MAX / 4).collect() }
}

fn host_in(host: proto::Host) -> HostInfo {
    HostInfo {
        hostname: short(String::from_utf8_lossy(&host.hostname).into_owned()),
        os: short(host.os),
        kernel: short(host.kernel),
        architecture: short(host.architecture),
        agent_version: short(host.agent_version),
        boot_id: short(host.boot_id),
        addresses: host.addresses.into_iter().take(32).map(short).collect(),
    }
}

fn heads_in(heads: Vec<proto::StreamHead>, index: usize) -> Result<Vec<StreamHead>, BatchError> {
    let wrong = |why: String| BatchError::Record { index, why };
    over("the heads of a record", heads.len(), 64)?;
    let one = |head: proto::StreamHead| {
        Ok(StreamHead {
            stream: Stream::from_number(head.stream).ok_or_else(|| wrong(format!("no stream has number {}", head.stream)))?,
            last_seq: head.last_seq,
            last_hash: BatchHash::try_from(head.last_hash.as_slice()).map_err(|error| wrong(error.to_string()))?,
        })
    };
    heads.into_iter().map(one).collect()
}

fn gap_in(gap: proto::Gap, first: u64, index: usize) -> Result<Gap, BatchError> {
    let wrong = |why: String| BatchError::Record { index, why };
    let evicted = if gap.evicted_hash.is_empty() {
        None
    } else {
        let hash = BatchHash::try_from(gap.evicted_hash.as_slice()).map_err(|error| wrong(error.to_string()))?;
        if gap.first_seq == 0 || gap.last_seq < gap.first_seq {
            return Err(wrong(format!("{} to {} is no evicted range", gap.first_seq, gap.last_seq)));
        }
        Some(Evicted { first: gap.first_seq, last: gap.last_seq, hash })
    };
    Ok(Gap {
        seq: seq_in(first, gap.seq, index)?,
        ts: gap.ts,
        reason: GapReason::from_number(gap.reason),
        hook: short(gap.hook),
        count: (gap.count > 0).then_some(gap.count),
        from: gap.from,
        to: gap.to,
        evicted,
    })
}

fn start_in(start: proto::EpochStart, first: u64, index: usize) -> Result<EpochStart, BatchError> {
    let previous = if start.previous_epoch.is_empty() {
        None
    } else {
        let epoch = Epoch::try_from(start.previous_epoch.as_slice());
        Some(PreviousEpoch {
            epoch: epoch.map_err(|error| BatchError::Record { index, why: error.to_string() })?,
            heads: heads_in(start.previous_heads, index)?,
            alive: start.previous_alive,
            clean_stop: start.clean_stop,
        })
    };
    Ok(EpochStart { seq: seq_in(first, start.seq, index)?, ts: start.ts, previous, boot_id: short(start.boot_id) })
}

fn heartbeat_in(heartbeat: proto::Heartbeat, first: u64, index: usize) -> Result<Heartbeat, BatchError> {
    over("the hooks of a heartbeat", heartbeat.hooks.len(), 256)?;
    over("the counters of a heartbeat", heartbeat.counters.len(), 256)?;
    let hook = |hook: proto::HookState| HookState {
        name: short(hook.name),
        on: hook.on,
        why: short(hook.why),
        seen: hook.seen,
        dropped: hook.dropped,
    };
    Ok(Heartbeat {
        seq: seq_in(first, heartbeat.seq, index)?,
        ts: heartbeat.ts,
        heads: heads_in(heartbeat.heads, index)?,
        hooks: heartbeat.hooks.into_iter().map(hook).collect(),
        counters: heartbeat.counters.into_iter().map(|counter| (short(counter.name), counter.value)).collect(),
        spool_bytes: heartbeat.spool_bytes,
        spool_oldest: heartbeat.spool_oldest,
        cpu_us: heartbeat.cpu_us,
        rss_bytes: heartbeat.rss_bytes,
        policy_version: heartbeat.policy_version,
    })
}
