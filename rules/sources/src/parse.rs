//! From blocks to records. This is the work that many threads share.

use beffroi_schema::batch::{Contents, Envelope};

use crate::block::{Block, Content, Piece};
use crate::format::Format;
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

impl Block {
    /// Gives every record to `each`, in the order of the file, and says what could not be read.
    pub fn records(self, options: &Options, mut each: impl FnMut(Record)) -> Troubles {
        let mut troubles = self.troubles;
        match self.content {
            Content::Lines { bytes, first, is_json } => {
                for (number, line) in lines(&bytes, first) {
                    let record = match is_json {
                        true => json::record(line, number, options, &mut troubles),
                        false => Some(log_line::record(line, number, options, &mut troubles)),
                    };
                    record.into_iter().for_each(&mut each);
                }
            }
            Content::Values { bytes, values } => {
                for Piece { at, number } in values {
                    json::record(&bytes[at], number, options, &mut troubles).into_iter().for_each(&mut each);
                }
            }
            Content::Audit { bytes, lines, events } => {
                for event in events {
                    audit_event(&bytes, &lines[event], options, &mut troubles).into_iter().for_each(&mut each);
                }
            }
            Content::Chunk { bytes, records } => evtx::records(&bytes, &records, options, &mut troubles, &mut each),
            Content::Batch { bytes } => match batch(&bytes) {
                Ok(records) => records.into_iter().for_each(each),
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

/// The events of a stored batch, once its signature holds.
fn batch(bytes: &[u8]) -> Result<Vec<Record>, Trouble> {
    let envelope = Envelope::parse(bytes)
        .map_err(|error| Trouble::whole(Code::Format, format!("neither an event log, nor text, nor a stored batch: {error}")))?;
    let opened = envelope.verify().and_then(|()| envelope.decode());
    let Contents { host, records } = opened.map_err(|error| Trouble::whole(Code::Batch, error.to_string()))?;
    let events = records.into_iter().enumerate().filter_map(|(index, record)| match record {
        beffroi_schema::batch::Record::Event(event) => Some(Record {
            number: index as u64 + 1,
            event_record_id: None,
            time_us: Some(event.ts),
            views: Vec::new(),
            body: Body::Own(Box::new(event)),
            host: Some(host.hostname.clone()).filter(|name| !name.is_empty()),
        }),
        _ => None,
    });
    Ok(events.collect())
}
