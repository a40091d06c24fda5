//! Records of `events.v1` become rows. The detector judges batches and sets the broken ones aside; the store checks again,
//! because a forged batch must not stand in it either, and leaves out what does not hold. What is left out is not covered
//! by the ledger, so it shows as a hole.

use std::collections::HashMap;

use beffroi_bus::Record;
use beffroi_schema::batch::{self, BatchError, Contents, Envelope, HostInfo};
use beffroi_schema::{Value, wire};

use crate::rows::events::Origin;
use crate::rows::{Blocks, Table, coverage, events};
use crate::time;

/// How much larger rows may be than the batch they came in. Strings of a batch stand in it once and in the rows as often as
/// they are named: ancestors make 50 times of honest batches, a hostile one could make a million times.
const MAX_EXPANSION: usize = 100;
/// Room for small batches.
const EXPANSION_ROOM: usize = 1024 * 1024;

/// When the gateway had it: its header, else the bus's time.
pub(crate) fn received_at(record: &Record) -> i64 {
    let header = record.header(wire::HEADER_RECEIVED_AT).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok());
    time::clamp_received(header.unwrap_or(record.timestamp))
}

/// Writes the rows of these records, as stored at this time.
pub(crate) fn rows(records: &[Record], stored_at: i64, blocks: &mut Blocks<'_>) {
    let mut builder = Builder { blocks, hosts: HashMap::new(), stored_at };
    for record in records {
        let outcome = match builder.record(record) {
            Ok(()) => "stored",
            Err(code) => {
                tracing::debug!(partition = record.partition, offset = record.offset, code, "batch left out");
                code
            }
        };
        metrics::counter!("beffroi_store_batches_total", "outcome" => outcome).increment(1);
    }
    builder.finish();
}

struct Builder<'a, 'b> {
    blocks: &'a mut Blocks<'b>,
    /// The last word of each agent in this block.
    hosts: HashMap<String, (Origin, HostInfo, String)>,
    stored_at: i64,
}

impl Builder<'_, '_> {
    fn record(&mut self, record: &Record) -> Result<(), &'static str> {
        let (envelope, contents) = open(record).map_err(|error| error.code())?;
        if let Some(tenant) = record.header(wire::HEADER_TENANT)
            && tenant != envelope.header.tenant.as_bytes()
        {
            return Err("tenant");
        }
        if expanded(&contents) > MAX_EXPANSION * envelope.header.raw_size as usize + EXPANSION_ROOM {
            return Err("expansion");
        }
        let origin = Origin {
            tenant: envelope.header.tenant.clone(),
            agent: envelope.header.agent.to_string(),
            epoch: envelope.header.epoch.to_string(),
            stream: envelope.header.stream.number(),
            host: contents.host.hostname.clone(),
            received_at: received_at(record),
            stored_at: self.stored_at,
        };
        for entry in &contents.records {
            self.entry(&origin, entry);
        }
        self.blocks.row(Table::Ledger, |out| coverage::ledger(out, &origin, &envelope));
        let remote = record.header(wire::HEADER_REMOTE).map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        self.hosts.insert(origin.agent.clone(), (origin, contents.host, remote.unwrap_or_default()));
        Ok(())
    }

    fn entry(&mut self, origin: &Origin, entry: &batch::Record) {
        match entry {
            batch::Record::Event(event) => self.blocks.row(Table::Events, |out| events::row(out, origin, event)),
            batch::Record::Gap(gap) => self.blocks.row(Table::Gaps, |out| coverage::gap(out, origin, gap)),
            batch::Record::EpochStart(start) => self.epoch_start(origin, start),
            batch::Record::Heartbeat(beat) => {
                self.blocks.row(Table::Heartbeats, |out| coverage::heartbeat(out, origin, beat));
                self.heads(origin, &origin.epoch, &beat.heads, beat.ts);
            }
        }
    }

    fn epoch_start(&mut self, origin: &Origin, start: &batch::EpochStart) {
        let Some(previous) = &start.previous else { return };
        self.heads(origin, &previous.epoch.to_string(), &previous.heads, start.ts);
        // Every stream begins with the same words: one of them tells the time in which nobody watched.
        if origin.stream == beffroi_schema::Stream::Detection.number() {
            let gap = coverage::dead_time(start.seq, start.ts, previous);
            self.blocks.row(Table::Gaps, |out| coverage::gap(out, origin, &gap));
        }
    }

    fn heads(&mut self, origin: &Origin, epoch: &str, heads: &[batch::StreamHead], ts: i64) {
        for head in heads.iter().filter(|head| head.last_seq > 0) {
            self.blocks.row(Table::Heads, |out| coverage::head(out, origin, epoch, head.stream.number(), head.last_seq, ts));
        }
    }

    fn finish(mut self) {
        for (origin, info, remote) in std::mem::take(&mut self.hosts).into_values() {
            self.blocks.row(Table::Hosts, |out| coverage::host(out, &origin, &info, &remote));
        }
    }
}

fn open(record: &Record) -> Result<(Envelope, Contents), BatchError> {
    let envelope = Envelope::parse(&record.value)?;
    envelope.verify()?;
    let contents = envelope.decode()?;
    Ok((envelope, contents))
}

/// About how many bytes the events' rows will have.
fn expanded(contents: &Contents) -> usize {
    let value = |value: &Value| match value {
        Value::Text(bytes) => bytes.len(),
        Value::List(list) => list.iter().map(|bytes| bytes.len() + 1).sum(),
        Value::Uint(_) | Value::Int(_) | Value::Bool(_) => 9,
    };
    let event = |entry: &batch::Record| match entry {
        batch::Record::Event(event) => {
            event.fields().iter().map(|(_, it)| value(it)).sum::<usize>()
                + event.extra().iter().map(|(name, it)| name.len() + value(it)).sum::<usize>()
        }
        _ => 0,
    };
    contents.records.iter().map(event).fold(0, usize::saturating_add)
}
