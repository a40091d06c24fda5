//! Every byte of a small log damaged in turn: only the records hit are lost, each loss is declared, nothing panics.

use std::fs;
use std::path::{Path, PathBuf};

use beffroi_log::{Batch, LogReader, LogWriter, Options, Recovery, Verify};

const RECORDS: u64 = 24;

fn options() -> Options {
    Options { segment_bytes: 4096, max_record_bytes: 4000, verify: Verify::Everything, ..Options::default() }
}

/// A folder in memory where there is one: thousands of syncs would only test the patience of the disk.
fn fast_folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("folder")
}

/// Two segments, the first closed, of records of many sizes.
fn build(dir: &Path) {
    let (mut writer, _) = LogWriter::open(dir, options()).expect("open");
    for offset in 0..RECORDS {
        let payload: Vec<u8> = (0..offset * 17 % 331).map(|i| (offset * 7 + i) as u8).collect();
        writer.append(offset as i64, &payload).expect("append");
    }
    assert_eq!(writer.segments().len(), 2);
    writer.close().expect("close");
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).expect("create");
    for entry in fs::read_dir(from).expect("list") {
        let path = entry.expect("entry").path();
        fs::copy(&path, to.join(path.file_name().expect("name"))).expect("copy");
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(dir).expect("list").map(|e| e.expect("entry").path()).collect();
    files.sort();
    files
}

fn read_all(dir: &Path) -> Batch {
    LogReader::open(dir).expect("reader").read_batch(usize::MAX, usize::MAX).expect("read")
}

/// At most `allowed` records are missing, none has changed, and each missing one is declared.
fn check(found: &Batch, good: &Batch, allowed: usize, recovery: Option<&Recovery>, what: &str) {
    let lost: Vec<_> = good.records.iter().filter(|record| !found.records.contains(record)).collect();
    assert!(lost.len() <= allowed, "{what}: lost {:?}", lost.iter().map(|r| r.offset).collect::<Vec<_>>());
    assert_eq!(found.records.len() + lost.len(), good.records.len(), "{what}: no foreign record");
    let declared = |offset| {
        let reported = recovery.map_or(found.damaged.iter(), |r| r.damaged.iter());
        reported.into_iter().any(|range| (range.first_offset..range.end_offset).contains(&offset))
    };
    for record in lost {
        assert!(declared(record.offset), "{what}: offset {} is lost without a word", record.offset);
    }
}

#[test]
fn a_flipped_byte_costs_at_most_its_own_record_and_the_loss_is_declared() {
    let parent = fast_folder();
    let (good_dir, bad_dir) = (parent.path().join("good"), parent.path().join("bad"));
    build(&good_dir);
    let good = read_all(&good_dir);
    assert_eq!(good.records.len() as u64, RECORDS);
    for path in files(&good_dir) {
        let name = path.file_name().expect("name");
        let bytes = fs::read(&path).expect("read");
        let is_segment = path.extension().is_some_and(|e| e == "seg");
        for at in 0..bytes.len() {
            let what = format!("{} byte {at}", name.display());
            copy(&good_dir, &bad_dir);
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            fs::write(bad_dir.join(name), &bad).expect("write");
            let found = read_all(&bad_dir);
            if is_segment {
                check(&found, &good, 1, None, &what);
            } else {
                // An older state hides the end until the writer is back; it never shows anything else.
                assert!(good.records.starts_with(&found.records), "{what}");
            }
            assert_eq!(is_segment, !found.damaged.is_empty(), "{what}: {:?}", found.damaged);
            let (mut writer, recovery) = LogWriter::open(&bad_dir, options()).expect("open");
            check(&read_all(&bad_dir), &good, usize::from(is_segment), Some(&recovery), &what);
            assert_eq!(is_segment, !recovery.damaged.is_empty(), "{what}: {:?}", recovery.damaged);
            assert_eq!(writer.append(0, b"after").expect("append"), RECORDS, "{what}");
            writer.close().expect("close");
            assert_eq!(read_all(&bad_dir).records.last().map(|r| &r.payload[..]), Some(&b"after"[..]), "{what}");
        }
    }
}

#[test]
fn a_zeroed_or_missing_stretch_costs_only_what_it_covers() {
    let parent = fast_folder();
    let (good_dir, bad_dir) = (parent.path().join("good"), parent.path().join("bad"));
    build(&good_dir);
    let good = read_all(&good_dir);
    let name = "00000000000000000000.seg";
    let bytes = fs::read(good_dir.join(name)).expect("read");
    let sector = 512;
    for start in (0..bytes.len()).step_by(sector) {
        let end = (start + sector).min(bytes.len());
        copy(&good_dir, &bad_dir);
        let mut bad = bytes.clone();
        bad[start..end].fill(0);
        fs::write(bad_dir.join(name), &bad).expect("write");
        check(&read_all(&bad_dir), &good, sector / 32 + 1, None, &format!("zeroed {start}"));
        fs::write(bad_dir.join(name), &bytes[..start]).expect("write");
        let found = read_all(&bad_dir);
        let first_lost = found.records.iter().zip(0..).take_while(|(r, i)| r.offset == *i).count() as u64;
        let second = found.records.iter().map(|r| r.offset).filter(|o| *o > first_lost).min().expect("second segment");
        assert!((first_lost..second).all(|o| good.records.iter().any(|r| r.offset == o)));
        assert_eq!(found.records.len() as u64, RECORDS - (second - first_lost), "cut at {start}");
    }
}

#[test]
fn noise_instead_of_every_file_is_survived() {
    let parent = fast_folder();
    let dir = parent.path().join("log");
    build(&dir);
    for (path, seed) in files(&dir).into_iter().zip(1u64..) {
        let mut x = seed;
        let noise = std::iter::repeat_with(|| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (x >> 56) as u8
        });
        fs::write(path, noise.take(9000).collect::<Vec<_>>()).expect("write");
    }
    assert_eq!(read_all(&dir).records, []);
    let (mut writer, recovery) = LogWriter::open(&dir, options()).expect("open");
    assert!(recovery.state_rebuilt && !recovery.damaged.is_empty());
    let offset = writer.append(0, b"goes on").expect("append");
    writer.close().expect("close");
    assert_eq!(read_all(&dir).records.iter().map(|r| r.offset).collect::<Vec<_>>(), [offset]);
}
