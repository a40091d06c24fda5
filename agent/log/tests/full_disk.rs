//! A disk that is really full: a small tmpfs of its own (root only; skipped loudly otherwise).

use std::path::Path;
use std::process::Command;

use beffroi_log::{CursorFile, Error, LogReader, LogWriter, Options, Replacement};

/// A mounted tmpfs, unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where this user or this container may not mount.
    fn mount(kilobytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().expect("folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={kilobytes}k"), "tmpfs"]).arg(dir.path());
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        if !mounted {
            eprintln!("SKIPPED: mounting a tmpfs is not permitted here, a full disk was NOT tested");
        }
        mounted.then_some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "unmount");
    }
}

fn options() -> Options {
    Options { segment_bytes: 32 * 1024, max_record_bytes: 8192, max_bytes: u64::MAX, ..Options::default() }
}

fn offsets(dir: &Path) -> Vec<u64> {
    let batch = LogReader::open(dir).expect("reader").read_batch(usize::MAX, usize::MAX).expect("read");
    assert_eq!(batch.damaged, []);
    batch.records.iter().map(|r| r.offset).collect()
}

/// Appends until the disk is full and returns the next offset.
fn fill(writer: &mut LogWriter) -> u64 {
    loop {
        let next = writer.next_offset();
        match writer.append_batch(next as i64, vec![vec![next as u8; 1000]; 7]) {
            Ok(_) => writer.sync().expect("sync what was written"),
            Err(e) => {
                assert!(matches!(e, Error::NoSpace { .. }) && e.is_no_space(), "{e}");
                assert_eq!(writer.next_offset(), next, "a refused batch takes no offset");
                return next;
            }
        }
    }
}

#[test]
fn a_full_disk_refuses_appends_loses_nothing_and_works_again_once_there_is_room() {
    let Some(disk) = SmallDisk::mount(256) else { return };
    let dir = disk.path().join("log");
    let (mut writer, _) = LogWriter::open(&dir, options()).expect("open");
    let mut cursor = CursorFile::open(disk.path().join("cursor")).expect("cursor");
    cursor.set(1, b"").expect("set");
    let full_at = fill(&mut writer);
    assert!(full_at > 100, "{full_at}");
    for _ in 0..3 {
        assert_eq!(fill(&mut writer), full_at);
        assert_eq!(offsets(&dir), (0..full_at).collect::<Vec<_>>());
    }
    let upto = writer.oldest_segment_range().expect("range").last;
    let gap = Replacement { offset: upto, timestamp: 0, payload: &[9; 8000] };
    match writer.replace_oldest(upto, &[gap]) {
        Err(e) => assert!(e.is_no_space(), "{e}"),
        Ok(_) => panic!("there is no room for the replacement"),
    }
    assert_eq!(offsets(&dir), (0..full_at).collect::<Vec<_>>(), "a failed replacement changes nothing");
    cursor.set(2, b"").expect("a cursor needs no new room");
    drop(writer);
    let (mut writer, recovery) = LogWriter::open(&dir, options()).expect("a full disk can be opened");
    assert_eq!((recovery.damaged.len(), recovery.truncated_bytes, writer.next_offset()), (0, 0, full_at));
    writer.drop_before(full_at / 2).expect("dropping needs no room");
    let first = writer.first_offset();
    assert!(first > 0 && fill(&mut writer) > full_at);
    assert_eq!(offsets(&dir), (first..writer.next_offset()).collect::<Vec<_>>());
}
