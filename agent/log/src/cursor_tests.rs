//! What a cursor promises: the last value, or the one before, never a third.

use super::*;

fn cursor_path() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().expect("folder");
    let path = dir.path().join("uplink.cursor");
    (dir, path)
}

fn offset_in(path: &Path) -> Option<u64> {
    read_cursor(path).expect("read").map(|v| v.offset)
}

#[test]
fn a_value_survives_reopening_and_is_seen_by_others() {
    let (_dir, path) = cursor_path();
    assert_eq!(read_cursor(&path).expect("absent"), None);
    let mut cursor = CursorFile::open(&path).expect("open");
    assert_eq!(cursor.get(), None);
    assert_eq!(read_cursor(&path).expect("unset"), None);
    for offset in 1..=5 {
        cursor.set(offset, format!("meta {offset}").as_bytes()).expect("set");
        assert_eq!(offset_in(&path), Some(offset));
    }
    drop(cursor);
    let cursor = CursorFile::open(&path).expect("reopen");
    assert_eq!(cursor.get(), Some(&CursorValue { offset: 5, metadata: b"meta 5".to_vec() }));
    assert_eq!(cursor.health(), CursorHealth::Clean);
}

#[test]
fn every_torn_write_falls_back_to_the_value_before() {
    let (_dir, path) = cursor_path();
    let mut cursor = CursorFile::open(&path).expect("open");
    cursor.set(10, b"before").expect("set");
    let before = std::fs::read(&path).expect("read");
    cursor.set(11, b"after!").expect("set");
    let after = std::fs::read(&path).expect("read");
    drop(cursor);
    let changed: Vec<usize> = (0..after.len()).filter(|i| before.get(*i) != Some(&after[*i])).collect();
    let (first, last) = (changed[0], changed[changed.len() - 1]);
    for cut in first..=last {
        let mut torn = after.clone();
        for (i, byte) in torn.iter_mut().enumerate().skip(cut) {
            *byte = before.get(i).copied().unwrap_or(0);
        }
        std::fs::write(&path, &torn).expect("write");
        let mut cursor = CursorFile::open(&path).expect("open");
        assert_eq!(cursor.get().map(|v| v.offset), Some(10), "cut at {cut}");
        cursor.set(12, b"").expect("set after a torn write");
        assert_eq!(offset_in(&path), Some(12));
    }
}

#[test]
fn every_flipped_byte_gives_one_of_the_two_values_and_never_another() {
    let (_dir, path) = cursor_path();
    let mut cursor = CursorFile::open(&path).expect("open");
    cursor.set(10, b"before").expect("set");
    cursor.set(11, b"after").expect("set");
    drop(cursor);
    let good = std::fs::read(&path).expect("read");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        std::fs::write(&path, &bad).expect("write");
        assert!(matches!(offset_in(&path), Some(10 | 11)), "byte {at}");
    }
}

#[test]
fn noise_counts_as_lost_and_can_be_set_again() {
    let (_dir, path) = cursor_path();
    std::fs::write(&path, vec![0xee; 100_000]).expect("write");
    let mut cursor = CursorFile::open(&path).expect("open");
    assert_eq!((cursor.get(), cursor.health()), (None, CursorHealth::Lost));
    cursor.set(3, b"").expect("set");
    assert_eq!(offset_in(&path), Some(3));
}

#[test]
fn two_owners_and_oversized_metadata_are_refused() {
    let (_dir, path) = cursor_path();
    let mut cursor = CursorFile::open(&path).expect("open");
    assert!(matches!(CursorFile::open(&path), Err(Error::Locked { .. })));
    cursor.set(1, &[1; MAX_CURSOR_METADATA_BYTES]).expect("largest metadata");
    let refused = cursor.set(2, &[1; MAX_CURSOR_METADATA_BYTES + 1]);
    assert!(matches!(refused, Err(Error::MetadataTooLarge { bytes: 4097 })));
    assert_eq!(offset_in(&path), Some(1));
}

#[test]
fn a_link_planted_by_another_user_is_not_followed() {
    let (dir, path) = cursor_path();
    let target = dir.path().join("target");
    CursorFile::open(&target).expect("open").set(9, b"").expect("set");
    std::os::unix::fs::symlink(&target, &path).expect("link");
    assert!(matches!(read_cursor(&path), Err(Error::NotAFile { .. })));
    assert!(matches!(CursorFile::open(&path), Err(Error::NotAFile { .. })));
}
