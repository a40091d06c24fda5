//! From blocks to records. This is the work that many threads share.

use crate::block::{Block, Content, Piece};
use crate::flat::{Flat, Looker};
use crate::format::Format;
use crate::own::StoredBatch;
use crate::record::{Body, Part, Record, View};
use crate::split::lines::lines;
use crate::trouble::{Code, Trouble, Troubles};
use crate::{audit, evtx, json, log_line};

/// How records are read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The format, where the caller names it; else each file's own bytes tell.
    pub format: Option<Format>,
    /// The logsource of every record, where the caller names it.
    pub logsource: Option<View>,
}

/// Whoever takes records. A closure takes every one.
pub trait Taker {
    /// Whether [`Taker::glance`] is to be asked: looking costs something where all records are taken anyway.
    const GLANCES: bool;

    /// Looks at a flat record before it is read whole. True when it shall be read and taken; else all is known of it that
    /// was wanted.
    fn glance(&mut self, flat: &Flat<'_>) -> bool;

    /// Takes a record.
    fn take(&mut self, record: Record);

    /// Takes a stored batch: every event by itself, unless whoever takes them has a better way.
    fn batch(&mut self, batch: &StoredBatch) {
        batch.packed().events().for_each(|event| self.take(batch.record(event)));
    }
}

impl<F: FnMut(Record)> Taker for F {
    const GLANCES: bool = false;

    fn glance(&mut self, _flat: &Flat<'_>) -> bool {
        true
    }

    fn take(&mut self, record: Record) {
        self(record);
    }
}

/// Reads JSON records, after a look where one is wanted.
struct Objects<'o> {
    options: &'o Options,
    looker: Option<Looker>,
}

impl<'o> Objects<'o> {
    fn new<T: Taker>(options: &'o Options) -> Self {
        Self { options, looker: T::GLANCES.then(|| Looker::new(options)) }
    }

    fn read(&mut self, bytes: &[u8], number: u64, troubles: &mut Troubles, taker: &mut impl Taker) {
        let flat = self.looker.as_mut().and_then(|looker| looker.look(bytes));
        if flat.is_none_or(|flat| taker.glance(&flat)) {
            json::record(bytes, number, self.options, troubles).into_iter().for_each(|record| taker.take(record));
        }
    }
}

impl Block {
    /// Gives every record to a taker, in the order of the file, and says what could not be read.
    pub fn records<T: Taker>(self, options: &Options, mut taker: T) -> Troubles {
        let mut troubles = self.troubles;
        let mut objects = Objects::new::<T>(options);
        match self.content {
            Content::Lines { bytes, first, is_json: true } => {
                lines(&bytes, first).for_each(|(number, line)| objects.read(line, number, &mut troubles, &mut taker));
            }
            Content::Lines { bytes, first, is_json: false } => {
                let mut record = |(number, line)| log_line::record(line, number, options, &mut troubles);
                lines(&bytes, first).for_each(|line| taker.take(record(line)));
            }
            Content::Values { bytes, values } => {
                values.into_iter().for_each(|Piece { at, number }| objects.read(&bytes[at], number, &mut troubles, &mut taker));
            }
            Content::Audit { bytes, lines, events } => {
                let mut record = |event| audit_event(&bytes, &lines[event], options, &mut troubles);
                events.into_iter().filter_map(&mut record).for_each(|record| taker.take(record));
            }
            Content::Chunk { bytes, records } => {
                evtx::records(&bytes, &records, options, &mut troubles, &mut |record| taker.take(record));
            }
            Content::Batch { bytes } => match StoredBatch::open(&bytes) {
                Ok(batch) => taker.batch(&batch),
                Err(trouble) => troubles.push(trouble),
            },
        }
        troubles
    }
}

/// The records of one audit event, each a part that is judged by itself.
fn audit_event(bytes: &[u8], lines: &[Piece], options: &Options, troubles: &mut Troubles) -> Option<Record> {
    let mut parts = Vec::with_capacity(lines.len());
    for Piece { at, number } in lines {
        match audit::fields(&String::from_utf8_lossy(&bytes[at.clone()])) {
            Some(fields) => parts.push(Part { number: *number, fields }),
            None => troubles.push(Trouble::at(Code::Audit, *number, "no audit record: `type=... msg=audit(TIME:SERIAL): ...`")),
        }
    }
    let first = parts.first()?;
    let id = first.fields.get("msg").and_then(serde_json::Value::as_str).unwrap_or_default();
    let time_us = audit::time_us(id.trim_start_matches("audit(").trim_end_matches(')'));
    let host = audit::host(&first.fields).map(ToString::to_string);
    let view = options.logsource.clone().unwrap_or(View::named("linux", "", "auditd"));
    Some(Record { number: first.number, event_record_id: None, time_us, views: vec![view], body: Body::Flat(parts), host })
}
