//! The frozen format: the sample of version 1 must load for ever, and what is written today must look like it.

use std::fs;
use std::path::{Path, PathBuf};

use beffroi_log::{CursorFile, LogReader, LogWriter, Options, Recovery, Replacement, read_cursor};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

fn options() -> Options {
    Options { segment_bytes: 1024, max_record_bytes: 512, ..Options::default() }
}

fn payload(offset: u64) -> Vec<u8> {
    format!("record {offset} ").repeat(offset as usize % 9).into_bytes()
}

/// What the sample holds: a replacement at 11, then records up to 39.
fn check_content(log: &Path) {
    let batch = LogReader::open(log).expect("reader").read_batch(usize::MAX, usize::MAX).expect("read");
    assert_eq!((batch.damaged.len(), batch.skipped.len(), batch.records.len()), (0, 0, 29));
    assert_eq!(batch.records[0].payload, &b"a gap"[..]);
    for (record, offset) in batch.records.iter().zip(11u64..) {
        assert_eq!(record.offset, offset);
        assert_eq!(record.timestamp, if offset == 11 { -1 } else { 1_700_000_000_000_000 + offset as i64 });
        assert!(offset == 11 || record.payload == payload(offset));
    }
}

/// Writes the sample. Run by hand for a new version: `cargo test --test format -- --ignored`, with the folder's name
/// in `BEFFROI_LOG_FIXTURE`; an existing sample is never written again.
#[test]
#[ignore = "writes a new frozen sample"]
fn write_the_sample() {
    let target = PathBuf::from(std::env::var_os("BEFFROI_LOG_FIXTURE").expect("BEFFROI_LOG_FIXTURE names a new folder"));
    assert!(!target.exists(), "a frozen sample is not changed");
    let (mut writer, _) = LogWriter::open(target.join("log"), options()).expect("open");
    for offset in 0..40 {
        writer.append(1_700_000_000_000_000 + offset as i64, &payload(offset)).expect("append");
    }
    writer.replace_oldest(11, &[Replacement { offset: 11, timestamp: -1, payload: b"a gap" }]).expect("replace");
    writer.close().expect("close");
    let mut cursor = CursorFile::open(target.join("cursor")).expect("cursor");
    cursor.set(12, b"").expect("set");
    cursor.set(20, b"bounds 12-19").expect("set");
}

#[test]
fn the_frozen_sample_can_be_read_in_place() {
    check_content(&fixture().join("log"));
    let cursor = read_cursor(fixture().join("cursor")).expect("read").expect("set");
    assert_eq!((cursor.offset, &cursor.metadata[..]), (20, &b"bounds 12-19"[..]));
}

#[test]
fn the_frozen_sample_can_be_continued() {
    let parent = tempfile::tempdir().expect("folder");
    let log = parent.path().join("log");
    fs::create_dir(&log).expect("create");
    for entry in fs::read_dir(fixture().join("log")).expect("sample") {
        let path = entry.expect("entry").path();
        fs::copy(&path, log.join(path.file_name().expect("name"))).expect("copy");
    }
    let (mut writer, recovery) = LogWriter::open(&log, options()).expect("open");
    let (verified_segments, verified_records) = (recovery.verified_segments, recovery.verified_records);
    assert_eq!(recovery, Recovery { verified_segments, verified_records, ..Recovery::default() });
    check_content(&log);
    assert_eq!(writer.append(0, b"next").expect("append"), 40);
}

#[test]
fn a_segment_written_today_has_the_bytes_of_the_specification() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut writer, _) = LogWriter::open(dir.path(), options()).expect("open");
    writer.append(-2, b"payload").expect("append");
    writer.close().expect("close");
    let bytes = fs::read(dir.path().join("00000000000000000000.seg")).expect("segment");
    let marker: [u8; 8] = bytes[16..24].try_into().expect("8 bytes");
    let mut expected = b"BEFFRSEG\x01\0\0\0".to_vec();
    let rest = [&marker[..], &0u64.to_le_bytes(), &0u64.to_le_bytes()].concat();
    let crc = crc32c::crc32c(&[&expected[..], &rest].concat());
    expected.extend([&crc.to_le_bytes()[..], &rest, &marker].concat());
    let covered = [&7u32.to_le_bytes()[..], &0u64.to_le_bytes(), &(-2i64).to_le_bytes(), b"payload"].concat();
    expected.extend(crc32c::crc32c(&covered).to_le_bytes());
    expected.extend(covered);
    assert_eq!(bytes, expected);
}
