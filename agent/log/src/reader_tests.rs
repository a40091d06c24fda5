//! What a reader promises: everything durable, in order, once; and a word about everything else.

use super::*;
use crate::{LogWriter, Options, Replacement};

fn small() -> Options {
    Options { segment_bytes: 1024, max_record_bytes: 512, ..Options::default() }
}

fn log_of(dir: &Path, count: u64) -> LogWriter {
    let (mut writer, _) = LogWriter::open(dir, small()).expect("open");
    for offset in 0..count {
        writer.append(0, &[offset as u8; 100]).expect("append");
    }
    writer.sync().expect("sync");
    writer
}

fn drain(reader: &mut LogReader) -> (Vec<u64>, Vec<Skipped>) {
    let batch = reader.read_batch(usize::MAX, usize::MAX).expect("read");
    assert_eq!(batch.damaged, []);
    (batch.records.iter().map(|r| r.offset).collect(), batch.skipped)
}

#[test]
fn a_tailing_reader_sees_each_record_once_across_segments() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = log_of(dir.path(), 0);
    let mut reader = LogReader::open(dir.path()).expect("reader");
    for offset in 0..50u64 {
        assert!(!reader.has_more().expect("poll"));
        assert_eq!(reader.next().expect("read"), None);
        writer.append(7, &[offset as u8; 100]).expect("append");
        assert_eq!(reader.next().expect("read"), None, "not synced yet");
        writer.sync().expect("sync");
        assert!(reader.has_more().expect("poll"));
        let payload = Bytes::from(vec![offset as u8; 100]);
        assert_eq!(reader.next().expect("read"), Some(Read::Record(Record { offset, timestamp: 7, payload })));
        assert_eq!(reader.position(), offset + 1);
    }
}

#[test]
fn every_seek_lands_on_its_record() {
    let dir = tempfile::tempdir().expect("folder");
    let writer = log_of(dir.path(), 40);
    let mut reader = LogReader::open(dir.path()).expect("reader");
    for offset in 0..=40 {
        assert_eq!(reader.seek(offset).expect("seek"), Sought::Placed);
        assert_eq!(drain(&mut reader), ((offset..40).collect(), vec![]));
    }
    assert_eq!(reader.seek(41).expect("seek"), Sought::AheadOfLog { end_offset: 40 });
    assert_eq!(drain(&mut reader).0, [] as [u64; 0]);
    assert_eq!((reader.first_offset().expect("first"), reader.end_offset().expect("end")), (Some(0), Some(40)));
    drop(writer);
}

#[test]
fn a_batch_keeps_to_its_limits_and_always_makes_progress() {
    let dir = tempfile::tempdir().expect("folder");
    let _writer = log_of(dir.path(), 10);
    let mut reader = LogReader::open(dir.path()).expect("reader");
    assert_eq!(reader.read_batch(3, 10_000).expect("read").records.len(), 3);
    assert_eq!(reader.read_batch(100, 250).expect("read").records.len(), 2);
    assert_eq!(reader.position(), 5);
    assert_eq!(reader.read_batch(100, 1).expect("read").records.len(), 1);
    assert_eq!(drain(&mut reader).0, [6, 7, 8, 9]);
}

#[test]
fn a_reader_in_a_dropped_segment_resumes_at_the_oldest_record_and_says_so() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = log_of(dir.path(), 40);
    let mut reader = LogReader::open(dir.path()).expect("reader");
    reader.read_batch(2, 10_000).expect("read");
    reader.seek(2).expect("a seek empties the window");
    writer.drop_before(30).expect("drop");
    let first = writer.first_offset();
    assert!(first > 2);
    let skipped = Skipped { expected: 2, resumed_at: first };
    assert_eq!(drain(&mut reader), ((first..40).collect(), vec![skipped]));
}

#[test]
fn a_reader_in_a_replaced_segment_still_gets_the_gap() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = log_of(dir.path(), 40);
    let mut reader = LogReader::open(dir.path()).expect("reader");
    reader.read_batch(3, 10_000).expect("read");
    let upto = writer.segments()[1].end - 1;
    let gap = Replacement { offset: upto, timestamp: 1, payload: b"gap" };
    writer.replace_oldest(upto, &[gap]).expect("replace");
    // What the window still held may come first; the gap and everything behind it must.
    let (offsets, skipped) = drain(&mut reader);
    assert!(offsets.ends_with(&(upto..40).collect::<Vec<_>>()), "{offsets:?}");
    assert!(skipped.iter().all(|s| s.resumed_at == upto));
    reader.seek(3).expect("seek");
    assert_eq!(drain(&mut reader), ((upto..40).collect(), vec![Skipped { expected: 3, resumed_at: upto }]));
}

#[test]
fn a_replacement_reaches_a_reader_that_waits_behind_it() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut writer, _) = LogWriter::open(dir.path(), small()).expect("open");
    writer.append_batch(0, [[0; 9], [1; 9], [2; 9]]).expect("append");
    writer.roll().expect("roll");
    // Leaves offset 0 only; the reader passes it and waits in the new, empty segment.
    let at = |offset| Replacement { offset, timestamp: 1, payload: b"gap" };
    writer.replace_oldest(1, &[at(0)]).expect("replace");
    writer.replace_oldest(2, &[at(0)]).expect("replace");
    let mut reader = LogReader::open(dir.path()).expect("reader");
    assert_eq!(drain(&mut reader).0, [0]);
    writer.append(0, b"next").expect("append");
    writer.sync().expect("sync");
    writer.replace_oldest(2, &[at(2)]).expect("replace");
    assert_eq!(drain(&mut reader).0, [2, 3]);
}

#[test]
fn an_emptied_log_gives_nothing_and_goes_on_with_the_next_record() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = log_of(dir.path(), 40);
    let mut reader = LogReader::open(dir.path()).expect("reader");
    reader.seek(5).expect("seek");
    writer.roll().expect("roll");
    writer.drop_before(40).expect("drop");
    assert_eq!(drain(&mut reader), (vec![], vec![]));
    writer.append(0, b"next").expect("append");
    writer.sync().expect("sync");
    assert_eq!(drain(&mut reader), (vec![40], vec![Skipped { expected: 5, resumed_at: 40 }]));
}

#[test]
fn a_reader_may_come_before_the_writer() {
    let dir = tempfile::tempdir().expect("folder");
    assert!(LogReader::open(dir.path().join("absent")).expect_err("no folder").is_not_found());
    let mut reader = LogReader::open(dir.path()).expect("reader");
    assert_eq!(reader.next().expect("read"), None);
    std::fs::write(files::segment_path(dir.path(), 0), b"").expect("a segment in the making");
    assert_eq!(reader.next().expect("read"), None);
    let writer = log_of(dir.path(), 3);
    assert_eq!(drain(&mut reader).0, [0, 1, 2]);
    drop(writer);
}

#[test]
fn a_log_that_was_removed_and_made_anew_is_followed() {
    let parent = tempfile::tempdir().expect("folder");
    let dir = parent.path().join("log");
    drop(log_of(&dir, 5));
    let mut reader = LogReader::open(&dir).expect("reader");
    assert_eq!(drain(&mut reader).0.len(), 5);
    std::fs::remove_dir_all(&dir).expect("remove");
    let writer = log_of(&dir, 8);
    assert_eq!(drain(&mut reader).0, [5, 6, 7]);
    drop(writer);
}

#[test]
fn without_the_state_file_everything_that_verifies_is_read() {
    let dir = tempfile::tempdir().expect("folder");
    let mut writer = log_of(dir.path(), 40);
    writer.append(0, b"unsynced").expect("append");
    drop(writer);
    std::fs::remove_file(dir.path().join(files::STATE_NAME)).expect("remove");
    let mut reader = LogReader::open(dir.path()).expect("reader");
    assert_eq!(drain(&mut reader).0, (0..41).collect::<Vec<_>>());
    let (writer, recovery) = LogWriter::open(dir.path(), small()).expect("open");
    assert!(recovery.state_rebuilt);
    assert_eq!(writer.next_offset(), 41);
}

#[test]
fn a_payload_that_looks_like_a_record_is_not_taken_for_one() {
    let dir = tempfile::tempdir().expect("folder");
    let (mut writer, _) = LogWriter::open(dir.path(), small()).expect("open");
    let mut forged = Vec::new();
    crate::format::encode_record(&mut forged, b"a guess!", 1, 0, b"forged");
    writer.append_batch(0, [&forged[..], b"true"]).expect("append");
    writer.sync().expect("sync");
    drop(writer);
    let path = files::segment_path(dir.path(), 0);
    let mut bytes = std::fs::read(&path).expect("read");
    bytes[41] ^= 1;
    std::fs::write(&path, bytes).expect("damage the outer record");
    let batch = LogReader::open(dir.path()).expect("reader").read_batch(10, 1000).expect("read");
    assert_eq!(batch.records.iter().map(|r| &r.payload[..]).collect::<Vec<_>>(), [b"true"]);
    assert_eq!((batch.damaged[0].first_offset, batch.damaged[0].end_offset), (0, 1));
}
