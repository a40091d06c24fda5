//! Rows of `events`. The hot fields of the field table have columns of their own, everything else goes to `extra`.

use std::sync::LazyLock;

use beffroi_schema::fields::{Field, Kind};
use beffroi_schema::limits::MAX_CLOCK_SKEW_US;
use beffroi_schema::{Event, Value};
use sha2::{Digest, Sha256};

use super::binary::{byte, int, length, text, texts, time, uint};

/// Fields with a column of their own, in the order of their numbers; the column has the field's name.
pub(crate) const TYPED: &[Field] = &[
    Field::IMAGE,
    Field::COMMAND_LINE,
    Field::PARENT_IMAGE,
    Field::PARENT_COMMAND_LINE,
    Field::USER,
    Field::CURRENT_DIRECTORY,
    Field::LOGON_ID,
    Field::PROCESS_ID,
    Field::PARENT_PROCESS_ID,
    Field::PROCESS_GUID,
    Field::PARENT_PROCESS_GUID,
    Field::TARGET_FILENAME,
    Field::SOURCE_FILENAME,
    Field::DESTINATION_IP,
    Field::DESTINATION_PORT,
    Field::DESTINATION_HOSTNAME,
    Field::SOURCE_IP,
    Field::SOURCE_PORT,
    Field::INITIATED,
    Field::PROTOCOL,
    Field::QUERY_NAME,
    Field::QUERY_RESULTS,
    Field::HASHES,
    Field::ARGV,
    Field::CONTAINER_ID,
    Field::EXEC_SEQ,
    Field::LOGIN_USER,
    Field::UID,
    Field::GID,
    Field::EUID,
    Field::LOGIN_UID,
    Field::SIGNATURE,
    Field::FILENAME,
    Field::MESSAGE,
    Field::EXIT_CODE,
    Field::DURATION_US,
    Field::EXEC_PATH,
    Field::ANCESTOR_GUIDS,
    Field::ANCESTOR_IMAGES,
    Field::ANCESTOR_COMMAND_LINES,
    Field::REDACTED,
    Field::TRUNCATED,
    Field::ACTION,
    Field::SHA256,
    Field::COMM,
];

/// Columns before the fields.
const HEAD: &str = "tenant, category, product, service, agent, epoch, stream, seq, content, retention, ts, received_at, stored_at, \
                    host, clock_suspect, replayed";

/// Retention class of every event so far; a partition holds one class, so that a class can expire by itself.
const RETENTION: &str = "standard";

/// Kind of each typed column.
static KINDS: LazyLock<Vec<(Field, Kind)>> = LazyLock::new(|| {
    let kind = |field: &Field| (*field, field.info().map_or(Kind::Text, |info| info.kind));
    TYPED.iter().map(kind).collect()
});

/// The column list of the insert.
pub(crate) fn columns() -> String {
    let names = TYPED.iter().map(|field| field.name());
    format!("{HEAD}, {}, extra", names.collect::<Vec<_>>().join(", "))
}

/// What all events of one batch share.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) tenant: String,
    pub(crate) agent: String,
    pub(crate) epoch: String,
    pub(crate) stream: u8,
    pub(crate) host: String,
    pub(crate) received_at: i64,
    pub(crate) stored_at: i64,
}

/// Writes one row.
pub(crate) fn row(out: &mut Vec<u8>, origin: &Origin, event: &Event) {
    head(out, origin, event);
    let mut rest = event.fields().iter().peekable();
    // Fields without a column, and values of another kind than their column: name and text.
    let mut extra: Vec<(std::borrow::Cow<'_, str>, &Value)> = Vec::new();
    for (field, kind) in KINDS.iter() {
        while let Some((other, value)) = rest.next_if(|(other, _)| other < field) {
            extra.push((other.name(), value));
        }
        let value = rest.next_if(|(other, _)| other == field).map(|(_, value)| value);
        if !column(out, *kind, value)
            && let Some(value) = value
        {
            extra.push((field.name(), value));
        }
    }
    extra.extend(rest.map(|(field, value)| (field.name(), value)));
    extra.extend(event.extra().iter().map(|(name, value)| ((&**name).into(), value)));
    write_extra(out, &extra, event.ts);
}

fn head(out: &mut Vec<u8>, origin: &Origin, event: &Event) {
    text(out, &origin.tenant);
    let source = &event.logsource;
    match source.category.name() {
        "" if source.category.number() != 0 => text(out, format!("category_{}", source.category.number())),
        name => text(out, name),
    }
    text(out, source.product.name());
    text(out, source.service.as_deref().unwrap_or_default());
    text(out, &origin.agent);
    text(out, &origin.epoch);
    byte(out, origin.stream);
    uint(out, event.seq);
    uint(out, content(event));
    text(out, RETENTION);
    time(out, event.ts);
    time(out, origin.received_at);
    time(out, origin.stored_at);
    text(out, &origin.host);
    // Late delivery looks the same as a wrong clock: both say that `ts` alone must not be trusted. What was recorded
    // elsewhere and sent again is old by nature (the detector says the same of its matches).
    let skew = event.ts.abs_diff(origin.received_at);
    byte(out, !event.replayed && skew > MAX_CLOCK_SKEW_US.unsigned_abs());
    byte(out, event.replayed);
}

/// Writes a value, or the column's word for "absent"; false when the value is of another kind and was not written.
fn column(out: &mut Vec<u8>, kind: Kind, value: Option<&Value>) -> bool {
    match (kind, value) {
        (Kind::Text, Some(Value::Text(bytes))) => text(out, bytes),
        (Kind::Uint, Some(Value::Uint(number))) => {
            out.push(0);
            uint(out, *number);
        }
        (Kind::Int, Some(Value::Int(number))) => {
            out.push(0);
            int(out, *number);
        }
        (Kind::Bool, Some(Value::Bool(truth))) => out.extend_from_slice(&[0, u8::from(*truth)]),
        (Kind::List, Some(Value::List(list))) => texts(out, list),
        (Kind::Text | Kind::List, _) => {
            out.push(0);
            return value.is_none();
        }
        (Kind::Uint | Kind::Int | Kind::Bool, _) => {
            out.push(1);
            return value.is_none();
        }
    }
    true
}

fn write_extra(out: &mut Vec<u8>, extra: &[(std::borrow::Cow<'_, str>, &Value)], ts: i64) {
    let clamped = crate::time::clamp(ts) != ts;
    length(out, extra.len() + usize::from(clamped));
    for (name, value) in extra {
        text(out, name.as_bytes());
        match value {
            Value::Text(bytes) => text(out, bytes),
            other => text(out, other.to_text().as_bytes()),
        }
    }
    if clamped {
        text(out, "ts_us");
        text(out, ts.to_string());
    }
}

/// 64 bits of SHA-256 over what the event says: the same event has the same, in whichever batch it comes. Not over its
/// identity, which the key holds, and not over the row, whose columns may change.
///
/// 64 bits cost 8 bytes a row where 128 would cost 16. A host that searches for two of its own events with one hash gains
/// nothing: of equal rows the first one stored is kept.
pub(crate) fn content(event: &Event) -> u64 {
    let mut hash = Sha256::new();
    let source = &event.logsource;
    hash.update(event.ts.to_le_bytes());
    hash.update(source.category.number().to_le_bytes());
    hash.update(source.product.number().to_le_bytes());
    hash.update([u8::from(event.replayed)]);
    hash_text(&mut hash, source.service.as_deref().unwrap_or_default());
    for (field, value) in event.fields() {
        hash.update(field.0.to_le_bytes());
        hash_value(&mut hash, value);
    }
    hash.update(u16::MAX.to_le_bytes());
    for (name, value) in event.extra() {
        hash_text(&mut hash, name.as_bytes());
        hash_value(&mut hash, value);
    }
    let digest = hash.finalize();
    let mut first = [0u8; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

fn hash_text(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u32).to_le_bytes());
    hash.update(bytes);
}

fn hash_value(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Text(bytes) => {
            hash.update([0]);
            hash_text(hash, bytes);
        }
        Value::Uint(number) => {
            hash.update([1]);
            hash.update(number.to_le_bytes());
        }
        Value::Int(number) => {
            hash.update([2]);
            hash.update(number.to_le_bytes());
        }
        Value::Bool(truth) => hash.update([3, u8::from(*truth)]),
        Value::List(list) => {
            hash.update([4]);
            hash.update((list.len() as u32).to_le_bytes());
            list.iter().for_each(|bytes| hash_text(hash, bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_schema::{Category, Product};

    #[test]
    fn typed_fields_are_in_the_order_of_their_numbers_and_have_a_column() {
        assert!(TYPED.windows(2).all(|pair| pair[0] < pair[1]));
        let table = include_str!("../../migrations/0001_events.sql");
        for field in TYPED {
            assert!(table.contains(&format!("\n    {} ", field.name())), "{} has no column", field.name());
        }
    }

    #[test]
    fn the_content_does_not_depend_on_the_number_but_on_every_value() {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 5);
        event.set(Field::IMAGE, "/bin/sh").set_named("Odd", Value::Uint(3));
        let first = content(&event);
        event.seq = 9;
        assert_eq!(content(&event), first);
        for change in [
            |e: &mut Event| e.ts = 6,
            |e: &mut Event| {
                e.set(Field::IMAGE, "/bin/s");
            },
            |e: &mut Event| {
                e.set_named("Odd", Value::Int(3));
            },
            |e: &mut Event| e.replayed = true,
        ] {
            let mut other = event.clone();
            change(&mut other);
            assert_ne!(content(&other), first);
        }
    }
}
