//! Prints how fast records are appended (group commit) and drained on this machine's disk.
//!
//! `cargo run --profile ci -p beffroi-log --example bench [folder]`; without a folder a temporary one is used.

use std::time::Instant;

use beffroi_log::{LogReader, LogWriter, Options};

/// A typical event without its batch.
const PAYLOAD_BYTES: usize = 420;
/// Records between two syncs.
const GROUP: usize = 256;
/// Records in all: about 450 MB, enough to roll many segments.
const RECORDS: usize = 1_000_000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(parent)?;
    let payload = vec![0x5a; PAYLOAD_BYTES];
    for (name, batched) in [("append_batch", true), ("append", false)] {
        let log = dir.path().join(name);
        let (mut writer, _) = LogWriter::open(&log, Options { max_bytes: u64::MAX, ..Options::default() })?;
        let start = Instant::now();
        for group in 0..RECORDS / GROUP {
            if batched {
                writer.append_batch(group as i64, (0..GROUP).map(|_| &payload))?;
            } else {
                for _ in 0..GROUP {
                    writer.append(group as i64, &payload)?;
                }
            }
            writer.sync()?;
        }
        report(&format!("{name} of {PAYLOAD_BYTES} B, sync per {GROUP}"), writer.next_offset(), start);
        drain(&log, writer.next_offset())?;
        writer.close()?;
        reopen(&log)?;
    }
    Ok(())
}

fn drain(log: &std::path::Path, expected: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut reader = LogReader::open(log)?;
    let (start, mut read) = (Instant::now(), 0);
    loop {
        let batch = reader.read_batch(1000, 1 << 20)?;
        if batch.records.is_empty() {
            break;
        }
        read += batch.records.len() as u64;
    }
    report("drain", read, start);
    (read == expected).then_some(()).ok_or_else(|| format!("read {read} of {expected} records").into())
}

fn reopen(log: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let (_, recovery) = LogWriter::open(log, Options { max_bytes: u64::MAX, ..Options::default() })?;
    println!("open: {} records verified in {:.1?}", recovery.verified_records, start.elapsed());
    Ok(())
}

fn report(what: &str, records: u64, start: Instant) {
    let seconds = start.elapsed().as_secs_f64();
    let rate = records as f64 / seconds;
    println!("{what}: {rate:.0} records/s, {:.0} MB/s", rate * PAYLOAD_BYTES as f64 / 1e6);
}
