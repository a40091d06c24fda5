//! What the writer promises about offsets, limits, failed syncs, eviction and recovery.

use super::*;
use crate::{DamageReason, LogReader, Read, Recovery, Replacement};

fn small() -> Options {
    Options { segment_bytes: 1024, max_record_bytes: 512, max_bytes: 16 * 1024, ..Options::default() }
}

fn open(dir: &Path) -> LogWriter {
    let (writer, recovery) = LogWriter::open(dir, small()).expect("open");
    assert_eq!(recovery.damaged, [], "no damage expected");
    writer
}

/// Appends `count` records of 100 bytes, each filled with its offset, and syncs.
fn fill(writer: &mut LogWriter, count: u64) {
    for _ in 0..count {
        let offset = writer.next_offset();
        assert_eq!(writer.append(offset as i64, &[offset as u8; 100]).expect("append"), offset);
    }
    writer.sync().expect("sync");
}

fn offsets(dir: &Path) -> Vec<u64> {
    let mut reader = LogReader::open(dir).expect("reader");
    let mut out = Vec::new();
    while let Some(read) = reader.next().expect("read") {
        match read {
            Read::Record(record) => out.push(record.offset),
            Read::Skipped(_) => {}
            Read::Damaged(range) => panic!("damage {range:?}"),
        }
    }
    out
}

#[test]
fn offsets_go_on_after_a_reopening() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    fill(&mut writer, 30);
    assert!(writer.segments().len() > 3);
    let (before, bytes) = (writer.segments(), writer.bytes());
    writer.close().expect("close");
    let mut writer = open(dir.path());
    assert_eq!((writer.segments(), writer.bytes(), writer.next_offset()), (before, bytes, 30));
    fill(&mut writer, 3);
    assert_eq!(offsets(dir.path()), (0..33).collect::<Vec<_>>());
}

#[test]
fn a_second_writer_is_refused_until_the_first_is_gone() {
    let dir = tempfile::tempdir().expect("folder");
    let first = open(dir.path());
    assert!(matches!(LogWriter::open(dir.path(), small()), Err(Error::Locked { .. })));
    drop(first);
    open(dir.path());
}

#[test]
fn readers_of_the_group_may_read_and_nobody_else() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().expect("folder");
    let dir = parent.path().join("log");
    fill(&mut open(&dir), 1);
    let mode = |name: &str| std::fs::metadata(dir.join(name)).expect("file").permissions().mode() & 0o7777;
    assert_eq!(mode(""), 0o750);
    assert_eq!(mode(&crate::format::segment_name(0)), 0o640);
    assert_eq!(mode(crate::files::STATE_NAME), 0o640);
    assert_eq!(mode(crate::files::LOCK_NAME), 0o600);
}

#[test]
fn a_full_log_refuses_and_takes_records_again_after_an_eviction() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    let refused = loop {
        match writer.append(0, &[1; 100]) {
            Ok(_) => {}
            Err(e) => break e,
        }
    };
    assert!(matches!(refused, Error::Full { max_bytes: 16_384, .. }) && refused.is_no_space());
    let next = writer.next_offset();
    let range = writer.oldest_segment_range().expect("something to evict");
    let gap = Replacement { offset: range.last, timestamp: 0, payload: b"gap" };
    let removed = writer.replace_oldest(range.last, &[gap]).expect("evict");
    assert!(removed.bytes > 500);
    assert_eq!(writer.append(0, &[1; 100]).expect("append"), next);
    writer.sync().expect("sync");
    assert_eq!(offsets(dir.path()), (range.last..=next).collect::<Vec<_>>());
}

#[test]
fn oversized_records_and_batches_are_refused_whole() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    assert!(matches!(writer.append(0, &[0; 513]), Err(Error::RecordTooLarge { bytes: 513, max: 512 })));
    let batch = writer.append_batch(0, vec![[0; 500]; 3]);
    assert!(matches!(batch, Err(Error::BatchTooLarge { .. })));
    assert_eq!((writer.next_offset(), writer.bytes()), (0, SEGMENT_HEADER_BYTES));
    assert_eq!(writer.append_batch(0, Vec::<Vec<u8>>::new()).expect("empty batch"), 0..0);
    assert_eq!(writer.append_batch(0, vec![[0; 400]; 2]).expect("fits"), 0..2);
}

#[test]
fn a_failed_sync_takes_back_exactly_what_was_not_synced() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    fill(&mut writer, 2);
    writer.append(0, b"lost").expect("append");
    FAILING_SYNCS.with(|left| left.set(1));
    let Err(Error::SyncFailed { discarded, .. }) = writer.sync() else { panic!("the sync must fail") };
    assert_eq!(discarded, 2..3);
    assert_eq!((writer.next_offset(), offsets(dir.path())), (2, vec![0, 1]));
    fill(&mut writer, 1);
    assert_eq!(offsets(dir.path()), [0, 1, 2]);
    drop(writer);
    assert_eq!(open(dir.path()).next_offset(), 3);
}

#[test]
fn unsynced_records_are_invisible_and_an_append_with_sync_is_visible_at_once() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    writer.append(0, b"one").expect("append");
    assert_eq!(offsets(dir.path()), []);
    writer.sync().expect("sync");
    assert_eq!(offsets(dir.path()), [0]);
    drop(writer);
    let options = Options { sync: SyncPolicy::EveryAppend, ..small() };
    let (mut writer, _) = LogWriter::open(dir.path(), options).expect("open");
    writer.append(0, b"two").expect("append");
    assert_eq!(offsets(dir.path()), [0, 1]);
}

#[test]
fn a_replacement_in_the_middle_of_a_segment_keeps_what_lies_above() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    fill(&mut writer, 30);
    for upto in [10, 11, 29] {
        let records = [Replacement { offset: upto, timestamp: 5, payload: b"gap" }];
        writer.replace_oldest(upto, &records).expect("replace");
        assert_eq!(offsets(dir.path()), (upto..30).collect::<Vec<_>>());
    }
    drop(writer);
    let mut writer = open(dir.path());
    assert_eq!(writer.next_offset(), 30);
    fill(&mut writer, 1);
    assert_eq!(offsets(dir.path()), [29, 30]);
}

#[test]
fn a_replacement_that_contradicts_the_log_changes_nothing() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    fill(&mut writer, 30);
    writer.drop_before(10).expect("drop");
    let before = writer.segments();
    let at = |offset| Replacement { offset, timestamp: 0, payload: b"gap" };
    let too_low = before[0].base - 1;
    for (upto, records) in
        [(too_low, vec![]), (30, vec![]), (20, vec![at(21)]), (20, vec![at(12), at(12)]), (20, vec![at(too_low)])]
    {
        let refused = writer.replace_oldest(upto, &records);
        assert!(matches!(refused, Err(Error::InvalidReplacement { .. })), "{upto}");
    }
    assert_eq!(writer.segments(), before);
}

#[test]
fn an_interrupted_replacement_shows_no_evicted_record_and_is_finished_at_open() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    fill(&mut writer, 30);
    let saved: Vec<_> = writer.segments().iter().map(|s| crate::files::segment_path(dir.path(), s.base)).collect();
    let (upto, second) = (writer.segments()[2].end - 1, std::fs::read(&saved[1]).expect("second segment"));
    let gap = Replacement { offset: upto, timestamp: 0, payload: b"gap" };
    writer.replace_oldest(upto, &[gap]).expect("replace");
    drop(writer);
    // As after a crash between the rename and the deletions, and with a new file that was never renamed.
    std::fs::write(&saved[1], second).expect("bring the second segment back");
    std::fs::write(dir.path().join(crate::files::REPLACEMENT_NAME), b"half").expect("half a replacement");
    assert_eq!(offsets(dir.path()), (upto..30).collect::<Vec<_>>());
    let (_, recovery) = LogWriter::open(dir.path(), small()).expect("open");
    assert_eq!(
        recovery,
        Recovery { leftover_files: 1, verified_segments: 1, verified_records: recovery.verified_records, ..Recovery::default() }
    );
    assert!(!saved[1].exists() && !dir.path().join(crate::files::REPLACEMENT_NAME).exists());
}

#[test]
fn retention_goes_by_age_then_by_size_and_never_takes_a_fresh_record() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    fill(&mut writer, 30);
    assert_eq!(writer.retain(Some(0), None).expect("nothing is old").segments, 0);
    writer.retain(Some(10), None).expect("retain");
    let left = offsets(dir.path());
    assert!(left[0] <= 10 && left[0] > 3, "whole segments below 10 go, {left:?}");
    writer.retain(None, Some(2500)).expect("retain");
    assert!(writer.bytes() <= 2500);
    writer.retain(Some(i64::MAX), None).expect("retain");
    assert_eq!((offsets(dir.path()), writer.first_offset(), writer.next_offset()), (vec![], 30, 30));
    drop(writer);
    let mut writer = open(dir.path());
    fill(&mut writer, 1);
    assert_eq!(offsets(dir.path()), [30]);
}

#[test]
fn retention_after_a_reopening_reads_the_ages_from_the_files() {
    let dir = tempfile::tempdir().expect("folder");
    fill(&mut open(dir.path()), 30);
    let mut writer = open(dir.path());
    let second = writer.segments()[1].clone();
    writer.retain(Some(second.base as i64), None).expect("retain");
    assert_eq!(writer.first_offset(), second.base);
}

#[test]
fn a_quiet_log_closes_its_segment_by_age() {
    let dir = tempfile::tempdir().expect("folder");
    let options = Options { segment_span_micros: 1000, ..small() };
    let (mut writer, _) = LogWriter::open(dir.path(), options).expect("open");
    for timestamp in [0, 1000, 1001, 500, i64::MIN, i64::MAX] {
        writer.append(timestamp, b"x").expect("append");
    }
    let bases: Vec<u64> = writer.segments().iter().map(|s| s.base).collect();
    assert_eq!(bases, [0, 2, 5]);
}

#[test]
fn a_lost_folder_does_not_give_out_known_offsets_again() {
    let dir = tempfile::tempdir().expect("folder");
    let options = Options { min_next_offset: 500, ..small() };
    let (mut writer, _) = LogWriter::open(dir.path(), options.clone()).expect("open");
    fill(&mut writer, 2);
    assert_eq!(offsets(dir.path()), [500, 501]);
    drop(writer);
    let (mut writer, _) = LogWriter::open(dir.path(), options).expect("open");
    fill(&mut writer, 1);
    assert_eq!(offsets(dir.path()), [500, 501, 502]);
}

#[test]
fn synced_records_lost_at_the_end_are_declared_and_their_offsets_not_reused() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    fill(&mut writer, 5);
    let path = writer.active.path.clone();
    drop(writer);
    let length = std::fs::metadata(&path).expect("segment").len();
    File::options().write(true).open(&path).and_then(|f| f.set_len(length - 150)).expect("cut two records");
    let (mut writer, recovery) = LogWriter::open(dir.path(), small()).expect("open");
    let [range] = recovery.damaged.as_slice() else { panic!("one range, not {recovery:?}") };
    assert_eq!((range.first_offset, range.end_offset, range.reason), (3, 5, DamageReason::CutShort));
    fill(&mut writer, 1);
    let mut reader = LogReader::open(dir.path()).expect("reader");
    let batch = reader.read_batch(100, 10_000).expect("read");
    assert_eq!(batch.records.iter().map(|r| r.offset).collect::<Vec<_>>(), [0, 1, 2, 5]);
    assert_eq!((batch.damaged[0].first_offset, batch.damaged[0].end_offset), (3, 5));
    drop(writer);
    open(dir.path());
}

#[test]
fn a_missing_last_segment_is_declared() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = open(dir.path());
    fill(&mut writer, 30);
    let (path, base) = (writer.active.path.clone(), writer.active.base);
    drop(writer);
    std::fs::remove_file(path).expect("remove");
    let (mut writer, recovery) = LogWriter::open(dir.path(), small()).expect("open");
    let lost: Vec<_> = recovery.damaged.iter().map(|d| (d.first_offset, d.end_offset, d.reason)).collect();
    assert_eq!(lost, [(base, 30, DamageReason::MissingSegment)]);
    fill(&mut writer, 1);
    assert_eq!(writer.next_offset(), 31);
}

#[test]
fn an_intact_segment_of_a_later_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("folder");
    let writer = open(dir.path());
    let path = writer.active.path.clone();
    drop(writer);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[8] = 9;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..12]), &bytes[16..40]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(&path, &bytes).expect("write");
    assert!(matches!(LogWriter::open(dir.path(), small()), Err(Error::NewerFormat { version: 9, .. })));
    assert!(matches!(LogReader::open(dir.path()).expect("reader").next(), Err(Error::NewerFormat { .. })));
    assert_eq!(std::fs::read(&path).expect("read"), bytes);
}
