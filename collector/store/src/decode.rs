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

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_bus::Topic;
    use beffroi_schema::batch::{BatchBuilder, Header};
    use beffroi_schema::{AgentId, BatchHash, Category, Epoch, Event, Field, Product, SigningKey, Stream, Text};

    /// A signed batch as a record of the bus.
    fn record(events: Vec<Event>) -> Record {
        let key = SigningKey::from_bytes(&[1; 32]);
        let public_key = key.verifying_key().to_bytes();
        let mut builder = BatchBuilder::new(&HostInfo::default());
        let last = events.len() as u64;
        for (event, seq) in events.into_iter().zip(1..) {
            let mut event = batch::Record::Event(event);
            event.set_seq(seq);
            builder.push(&event);
        }
        let header = Header {
            tenant: "a".into(),
            agent: AgentId::of_public_key(&public_key),
            epoch: Epoch::new(1, 1),
            stream: Stream::Exec,
            first: 1,
            last,
            raw_size: 0,
            previous: BatchHash::default(),
            schema_version: beffroi_schema::limits::SCHEMA_VERSION,
            public_key,
        };
        let value = builder.seal(header, &key).unwrap().bytes.to_vec().into();
        Record { topic: Topic::Events, partition: 0, offset: 0, timestamp: 0, key: Default::default(), headers: vec![], value }
    }

    /// Rows and bytes by table.
    fn rows_of(records: &[Record]) -> Vec<(Table, usize, usize)> {
        let mut seen = Vec::new();
        let mut sink = |table, block: crate::rows::TableBlock| {
            seen.push((table, block.rows, block.body.len()));
            true
        };
        let mut blocks = Blocks::new(&mut sink);
        rows(records, 0, &mut blocks);
        blocks.finish();
        seen
    }

    fn event(list: &[Text]) -> Event {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 5);
        event.set(Field::IMAGE, "/usr/bin/id").set(Field::COMMAND_LINE, "id -u").set(Field::PROCESS_ID, 7u64);
        event.set(Field::ARGV, Value::List(list.into()));
        event
    }

    #[test]
    fn the_ledger_goes_last() {
        let tables: Vec<_> = rows_of(&[record(vec![event(&[])])]).into_iter().map(|(table, rows, _)| (table, rows)).collect();
        assert_eq!(tables, [(Table::Events, 1), (Table::Hosts, 1), (Table::Ledger, 1)]);
    }

    #[test]
    fn a_small_batch_that_names_a_large_string_over_and_over_is_left_out() {
        let large: Text = vec![b'x'; 100_000].into();
        let bomb = event(&vec![large; 4_000]);
        assert!(rows_of(&[record(vec![bomb])]).is_empty());
    }

    /// `cargo test -p beffroi-store --lib -- --ignored --nocapture rate`
    #[test]
    #[ignore = "a measurement"]
    fn the_rate_of_one_core_from_signed_batch_to_insert_body() {
        let list: Vec<Text> = (0..6).map(|n| format!("/usr/bin/ancestor-{n}").into_bytes().into()).collect();
        let events = (0..1_000).map(|n| {
            let mut event = event(&list);
            event.set(Field::COMMAND_LINE, format!("id -u {n}")).set(Field::ANCESTOR_IMAGES, Value::List(list.as_slice().into()));
            event.set(Field::USER, "alice").set(Field::PARENT_IMAGE, "/bin/sh").set(Field::PARENT_COMMAND_LINE, "sh -c all");
            event
        });
        let records = vec![record(events.collect()); 100];
        let started = std::time::Instant::now();
        let bytes: usize = rows_of(&records).iter().map(|(.., bytes)| bytes).sum();
        let seconds = started.elapsed().as_secs_f64();
        println!("{:.0} rows/s verified, decoded and encoded, {} bytes a row", 100_000.0 / seconds, bytes / 100_000);
    }
}
