//! The scan worker against files that want to harm it.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use beffroi_scan::{Outcome, Scanner, Verdict};
use support::{Obedient, hit, options, start};

/// Not a test: what the child runs.
#[test]
#[ignore = "run by the tests as the scan worker"]
fn worker_entry() {
    support::work(|_| Ok(Obedient));
}

struct Bench {
    _dir: tempfile::TempDir,
    root: PathBuf,
    scanner: Scanner,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        Self { _dir: dir, root, scanner: start(options()) }
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.root.join(name);
        File::create(&path).unwrap().write_all(content).unwrap();
        path
    }

    fn scan(&mut self, path: &Path) -> Verdict {
        // A worker that was just lost pauses before it is replaced.
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let verdict = self.scanner.scan(path);
            let restarting = matches!(&verdict.outcome, Outcome::Unknown { reason } if reason.contains("being restarted"));
            if !restarting || Instant::now() > until {
                return verdict;
            }
            std::thread::yield_now();
        }
    }

    fn reason(&mut self, path: &Path) -> String {
        match self.scan(path).outcome {
            Outcome::Unknown { reason } => reason,
            other => panic!("{other:?}"),
        }
    }

    fn still_works(&mut self, name: &str) {
        let evil = self.file(name, format!("EVIL {name}").as_bytes());
        assert_eq!(self.scan(&evil).outcome, Outcome::Match { hits: vec![hit("Evil")] });
    }
}

#[test]
fn a_match_a_clean_file_and_a_second_look_are_told_apart() {
    let mut bench = Bench::new();
    let (evil, clean) = (bench.file("evil", b"EVIL"), bench.file("clean", b"good"));
    let verdict = bench.scan(&evil);
    assert_eq!(verdict.outcome, Outcome::Match { hits: vec![hit("Evil")] });
    assert_eq!(verdict.sha256, Some(hex::encode(<sha2::Sha256 as sha2::Digest>::digest(b"EVIL"))));
    assert!(!verdict.cached && bench.scan(&evil).cached);
    assert_eq!(bench.scan(&clean).outcome, Outcome::Clean);
    bench.file("clean", b"EVIL now");
    assert_eq!(bench.scan(&clean).outcome.name(), "match");
}

#[test]
fn pipes_devices_links_and_huge_files_leave_the_worker_alone_and_are_named() {
    let mut bench = Bench::new();
    let pid = bench.scanner.pid();
    let pipe = bench.root.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(bench.reason(&pipe).contains("named pipe"));
    assert!(bench.reason(Path::new("/dev/zero")).contains("device"));
    let (link, sparse) = (bench.root.join("link"), bench.root.join("sparse"));
    std::os::unix::fs::symlink(bench.file("target", b"EVIL"), &link).unwrap();
    assert!(bench.reason(&link).contains("symbolic link"));
    File::create(&sparse).unwrap().set_len(1 << 40).unwrap();
    assert!(bench.reason(&sparse).contains("1099511627776 bytes"));
    bench.still_works("after");
    assert_eq!(bench.scanner.pid(), pid);
}

#[test]
fn an_endless_scan_is_killed_at_the_deadline_and_scanning_goes_on() {
    let mut bench = Bench::new();
    let endless = bench.file("endless", b"ENDLESS");
    let began = Instant::now();
    assert!(bench.reason(&endless).contains("took longer"));
    assert!(began.elapsed() < Duration::from_secs(10));
    bench.still_works("after");
    assert_eq!(bench.scanner.restarts(), 1);
    assert!(bench.scan(&endless).cached, "a file that cost a worker must not cost a second one");
}

#[test]
fn a_crash_and_a_flood_of_memory_cost_one_worker_each() {
    let mut bench = Bench::new();
    let (crash, memory) = (bench.file("crash", b"CRASH"), bench.file("memory", b"MEMORY"));
    assert!(bench.reason(&crash).contains("died on it"));
    bench.still_works("one");
    assert!(bench.reason(&memory).contains("died on it"));
    bench.still_works("two");
    assert_eq!(bench.scanner.restarts(), 2);
}

#[test]
fn a_spent_budget_is_named_and_costs_nothing() {
    let mut bench = Bench::new();
    let slow = bench.file("slow", b"SLOW");
    assert!(bench.reason(&slow).contains("300ms"));
    assert_eq!(bench.scanner.restarts(), 0);
}

#[test]
fn the_worker_can_open_no_socket_and_start_no_program() {
    let mut bench = Bench::new();
    let (socket, program) = (bench.file("s", b"SOCKET"), bench.file("p", b"PROGRAM"));
    assert_eq!(bench.scan(&socket).outcome, Outcome::Clean);
    assert_eq!(bench.scan(&program).outcome, Outcome::Clean);
    assert_eq!(bench.scanner.ready().unwrap().warnings, Vec::<String>::new());
}

#[test]
fn a_file_that_shrinks_under_the_scan_is_unknown_and_harmless() {
    let mut bench = Bench::new();
    let path = bench.file("shrinking", &vec![b'x'; 900_000]);
    // The file is cut between the parent's look and the child's read as often as luck allows; neither may fail.
    let writer = File::options().write(true).open(&path).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                writer.set_len(10).unwrap();
                writer.set_len(900_000).unwrap();
            }
        });
        for _ in 0..50 {
            let verdict = bench.scan(&path);
            assert!(matches!(&verdict.outcome, Outcome::Clean | Outcome::Unknown { .. }), "{verdict:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(bench.scanner.restarts(), 0);
    bench.still_works("after");
}
