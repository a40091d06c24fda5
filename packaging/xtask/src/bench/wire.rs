//! Bytes per event on the wire, against the same events of the same batches as JSON lines, plain and zstd-compressed.
//!
//! The JSON lines hold the event alone: no host, tenant, id or signature, all of which a batch has. So they are favoured.

use anyhow::Result;
use beffroi_schema::Event;

use super::figure::Figure;
use super::fleet::BATCH_EVENTS;
use super::mix::Mix;
use super::sender::Sender;
use super::{Outcome, say};

/// Batches that are compared; sizes hardly differ from batch to batch.
const BATCHES: usize = 400;
/// The level that our batches use as well.
const ZSTD_LEVEL: i32 = 3;
/// Any fixed time: the figures are the same on every run.
const STARTED_US: i64 = 1_795_000_000_000_000;

/// Bytes of the same events in three forms.
#[derive(Debug, Clone, Copy, Default)]
struct Sizes {
    events: usize,
    batches: usize,
    ndjson: usize,
    zstd: usize,
}

/// Takes the figures.
pub fn measure() -> Result<Outcome> {
    let sizes = compare(BATCHES)?;
    say(&format!(
        "wire: {} events in batches of {BATCH_EVENTS}: {} bytes as batches, {} as NDJSON, {} as zstd({ZSTD_LEVEL}) NDJSON",
        sizes.events, sizes.batches, sizes.ndjson, sizes.zstd
    ));
    let per_event = |bytes: usize| bytes as f64 / sizes.events as f64;
    let share = |bytes: usize| bytes as f64 / sizes.batches as f64;
    Ok(Outcome::Measured(vec![
        Figure::new("wire.bytes_per_event", per_event(sizes.batches), "bytes"),
        Figure::new("wire.ndjson_bytes_per_event", per_event(sizes.ndjson), "bytes"),
        Figure::new("wire.zstd_ndjson_bytes_per_event", per_event(sizes.zstd), "bytes"),
        Figure::new("wire.ndjson_to_batch", share(sizes.ndjson), "times"),
        Figure::new("wire.zstd_ndjson_to_batch", share(sizes.zstd), "times"),
    ]))
}

fn compare(batches: usize) -> Result<Sizes> {
    let (mut sender, mut mix) = (Sender::new("bench", 1, STARTED_US), Mix::new(1));
    let mut sizes = Sizes::default();
    for batch in 0..batches as i64 {
        let stream = mix.next_stream();
        let events = mix.events(stream, BATCH_EVENTS, STARTED_US + batch * 1_000_000);
        let lines = ndjson(&events)?;
        sizes.events += events.len();
        sizes.ndjson += lines.len();
        sizes.zstd += zstd::bulk::compress(&lines, ZSTD_LEVEL)?.len();
        sizes.batches += sender.seal(stream, events)?.bytes.len();
    }
    Ok(sizes)
}

fn ndjson(events: &[Event]) -> Result<Vec<u8>> {
    let mut lines = Vec::new();
    for event in events {
        serde_json::to_writer(&mut lines, &event.to_json())?;
        lines.push(b'\n');
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_smaller_than_compressed_json_and_much_smaller_than_json() {
        let sizes = compare(6).unwrap();
        assert_eq!(sizes.events, 6 * BATCH_EVENTS);
        assert!(sizes.batches < sizes.zstd, "{sizes:?}");
        assert!(sizes.batches * 5 < sizes.ndjson, "{sizes:?}");
    }
}
