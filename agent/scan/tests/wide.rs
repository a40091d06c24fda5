//! A folder with a hundred thousand files is walked in bounded memory. Alone in its process, because that is measured.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::fs::{self, File};
use std::io::Write;

use support::{Obedient, hear, options, over, start};

/// Memory of the whole process at its highest (bytes): far less than a hundred thousand open files or paths would take.
const MAX_MEMORY_BYTES: u64 = 64 << 20;

/// Not a test: what the child runs.
#[test]
#[ignore = "run by the tests as the scan worker"]
fn worker_entry() {
    support::work(|_| Ok(Obedient));
}

#[test]
fn a_hundred_thousand_files_in_one_folder_are_scanned_in_bounded_memory() {
    let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let root = dir.path().canonicalize().unwrap();
    for at in 0..100_000 {
        File::create(root.join(format!("f{at}"))).unwrap();
    }
    File::create(root.join("evil")).unwrap().write_all(b"EVIL").unwrap();
    let mut scanner = start(options());
    let (report, ear) = hear(&mut scanner, &over(&root));
    assert_eq!((report.counters.files_scanned, ear.matches(&root)), (100_001, vec!["evil".to_string()]));
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let highest = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let highest: u64 = highest.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(highest * 1024 < MAX_MEMORY_BYTES, "{highest} kB");
}
