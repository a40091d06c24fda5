//! The topics that the store reads, and what each becomes.

use std::time::Duration;

use beffroi_bus::{Record, Topic};
use beffroi_schema::alert::{DeadLetter, Match};
use beffroi_schema::batch::Envelope;
use beffroi_schema::control::ControlRecord;
use beffroi_schema::limits::MAX_RECORDS;
use beffroi_schema::wire::GROUP_STORE;

use crate::decode;
use crate::options::Options;
use crate::rows::{Blocks, Table, alerts, operations};

/// A topic that the store reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    Events,
    Alerts,
    DeadLetters,
    Audit,
    Control,
}

/// What a record will cost in an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
    /// Day of its partition.
    pub(crate) day: i64,
}

impl Feed {
    pub(crate) const ALL: [Self; 5] = [Self::Events, Self::Alerts, Self::DeadLetters, Self::Audit, Self::Control];

    pub(crate) fn topic(self) -> Topic {
        match self {
            Self::Events => Topic::Events,
            Self::Alerts => Topic::Alerts,
            Self::DeadLetters => Topic::DeadLetters,
            Self::Audit => Topic::Audit,
            Self::Control => Topic::Control,
        }
    }

    /// Consumer group: one for each topic, so that one table that refuses does not hold up the others.
    pub(crate) fn group(self) -> String {
        match self {
            Self::Events => GROUP_STORE.into(),
            Self::Alerts => format!("{GROUP_STORE}-alerts"),
            Self::DeadLetters => format!("{GROUP_STORE}-dlq"),
            Self::Audit => format!("{GROUP_STORE}-audit"),
            Self::Control => format!("{GROUP_STORE}-control"),
        }
    }

    /// How long a batch may wait for more.
    pub(crate) fn linger(self, options: &Options, partitions: usize) -> Duration {
        match self {
            Self::Alerts => Duration::from_millis(options.alert_batch_ms),
            _ => options.linger(partitions),
        }
    }

    /// What this record will cost.
    pub(crate) fn weigh(self, record: &Record) -> Weight {
        let plain = Weight { rows: 1, bytes: record.value.len() + 1024, day: 0 };
        if self != Self::Events {
            return plain;
        }
        let Ok(envelope) = Envelope::parse(&record.value) else { return plain };
        let records = usize::try_from(envelope.header.last - envelope.header.first).unwrap_or(MAX_RECORDS);
        Weight {
            rows: records.saturating_add(1).min(MAX_RECORDS),
            bytes: envelope.header.raw_size as usize,
            day: crate::time::day(decode::received_at(record)),
        }
    }

    /// Writes the rows of these records.
    pub(crate) fn rows(self, bus: &str, records: &[Record], stored_at: i64, blocks: &mut Blocks<'_>) {
        if self == Self::Events {
            return decode::rows(records, stored_at, blocks);
        }
        for record in records {
            if let Err(error) = self.json_row(blocks, bus, record, stored_at) {
                // Our own roles wrote it: a version that is too new, or a broken bus. Said loudly, and passed by.
                tracing::error!(topic = self.topic().name(), offset = record.offset, %error, "record left out: not what this topic holds");
                metrics::counter!("beffroi_store_unreadable_total", "topic" => self.topic().name()).increment(1);
            }
        }
    }

    fn json_row(self, blocks: &mut Blocks<'_>, bus: &str, record: &Record, stored_at: i64) -> Result<(), serde_json::Error> {
        let value = &record.value;
        match self {
            Self::Events => {}
            Self::Alerts => {
                let found: Match = serde_json::from_slice(value)?;
                let delay = stored_at.saturating_sub(found.detected_at).max(0) as f64 / 1e6;
                metrics::histogram!("beffroi_store_alert_delay_seconds").record(delay);
                blocks.row(Table::Matches, |out| alerts::row(out, &found, value, stored_at));
            }
            Self::DeadLetters => {
                let letter: DeadLetter = serde_json::from_slice(value)?;
                blocks.row(Table::DeadLetters, |out| operations::dead_letter(out, &letter, stored_at));
            }
            Self::Audit => {
                serde_json::from_slice::<serde::de::IgnoredAny>(value)?;
                let write = |out: &mut Vec<u8>| operations::audit(out, bus, record.offset, record.timestamp, value, stored_at);
                blocks.row(Table::Audit, write);
            }
            Self::Control => {
                let change: ControlRecord = serde_json::from_slice(value)?;
                let write = |out: &mut Vec<u8>| operations::control(out, bus, record.offset, &change, value, stored_at);
                blocks.row(Table::Control, write);
            }
        }
        Ok(())
    }
}
