//! A job over trees that somebody hostile has made: nothing outside is opened, nothing but plain files is read, everything
//! that could not be looked at is named, and the rest is scanned.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beffroi_scan::job::{CancelFlag, Counters, Ended, Found, Job, Observer, Report, Skip, Spent, run, run_many};
use beffroi_scan::{Examination, Outcome, Scanner};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::sys::stat::Mode;
use support::{Ear, Obedient, hear, options, over, start};

/// Not a test: what the child runs.
#[test]
#[ignore = "run by the tests as the scan worker"]
fn worker_entry() {
    support::work(|_| Ok(Obedient));
}

struct Tree {
    _dir: tempfile::TempDir,
    root: PathBuf,
    scanner: Scanner,
}

impl Tree {
    fn new() -> Self {
        Self::at(tempfile::tempdir().unwrap())
    }

    /// In memory where that is possible: a disk takes half a minute to remove ten thousand folders.
    fn in_memory() -> Self {
        Self::at(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Self {
        let root = dir.path().canonicalize().unwrap();
        Self { _dir: dir, root, scanner: start(options()) }
    }

    fn file(&self, name: impl AsRef<Path>, content: &[u8]) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(&path).unwrap().write_all(content).unwrap();
        path
    }

    fn job(&self) -> Job {
        over(&self.root)
    }

    fn hear(&mut self) -> (Report, Ear) {
        hear(&mut self.scanner, &over(&self.root))
    }
}

#[test]
fn a_tree_is_scanned_and_counted() {
    let mut tree = Tree::new();
    tree.file("a/b/evil", b"EVIL");
    tree.file("a/clean", b"good");
    tree.file("z", b"EVIL too");
    let (report, ear) = tree.hear();
    assert_eq!(ear.matches(&tree.root), ["z", "a/b/evil"]);
    assert_eq!((report.counters.files_scanned, report.counters.files_matched, report.counters.files_unknown), (3, 2, 0));
    assert_eq!((report.counters.bytes_scanned, report.ended), (16, Ended::Finished));
    let flat = Job { recursive: false, ..tree.job() };
    let (report, ear) = hear(&mut tree.scanner, &flat);
    assert_eq!((ear.matches(&tree.root), report.skipped[&Skip::Folder]), (vec!["z".to_string()], 1));
}

#[test]
fn everything_that_is_no_plain_file_is_skipped_and_named() {
    let mut tree = Tree::new();
    nix::unistd::mkfifo(&tree.root.join("pipe"), Mode::S_IRWXU).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(tree.root.join("socket")).unwrap();
    symlink("/etc", tree.root.join("link")).unwrap();
    tree.file("evil", b"EVIL");
    let mut job = tree.job();
    job.roots.extend([b"/dev/zero".to_vec(), b"/absent/file".to_vec(), tree.root.join("link").as_os_str().as_bytes().to_vec()]);
    job.recursive = false;
    let (report, ear) = hear(&mut tree.scanner, &job);
    for (name, why) in [
        ("/pipe", Skip::Pipe),
        ("/socket", Skip::Socket),
        ("/link", Skip::Link),
        ("/dev/zero", Skip::Device),
        ("/absent/file", Skip::Absent),
    ] {
        assert!(ear.skipped.iter().any(|(path, skip)| path.ends_with(name) && *skip == why), "{name}: {:?}", ear.skipped);
        assert_eq!(report.skipped[&why], 1, "{why}");
    }
    assert!(ear.reason("/link").contains("symbolic link"), "a root that is a link is named: {:?}", ear.unknown);
    assert_eq!((ear.matches(&tree.root), report.counters.files_skipped), (vec!["evil".to_string()], 5));
    assert_eq!(tree.scanner.restarts(), 0);
}

#[test]
fn a_folder_that_becomes_a_link_in_mid_walk_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), b"EVIL: somebody has read it").unwrap();
    let mut tree = Tree::new();
    for at in 0..20 {
        tree.file(format!("top/inner{at}/secret"), b"good");
    }
    let decoy = tree.root.join("decoy");
    symlink(outside.path(), &decoy).unwrap();
    let (stop, swaps) = (AtomicBool::new(false), std::sync::atomic::AtomicU64::new(0));
    let job = over(&tree.root.join("top"));
    let mut scanned = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let inner = tree.root.join(format!("top/inner{}", turn % 20));
                for _ in 0..2 {
                    renameat2(AT_FDCWD, &inner, AT_FDCWD, &decoy, RenameFlags::RENAME_EXCHANGE).unwrap();
                }
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..40 {
            let (report, ear) = hear(&mut tree.scanner, &job);
            assert_eq!(ear.matched, [], "something outside was opened");
            assert_eq!(report.ended, Ended::Finished);
            scanned += report.counters.files_scanned;
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(scanned > 0 && swaps.load(Ordering::Relaxed) > 40, "{scanned} files, {swaps:?} swaps");
}

#[test]
fn a_sparse_file_of_a_tebibyte_is_named_and_costs_nothing() {
    let mut tree = Tree::new();
    File::create(tree.root.join("sparse")).unwrap().set_len(1 << 40).unwrap();
    tree.file("evil", b"EVIL");
    let (report, ear) = tree.hear();
    assert!(ear.reason("/sparse").contains("1099511627776 bytes"), "{:?}", ear.unknown);
    assert_eq!((report.counters.files_matched, report.counters.files_unknown, report.counters.bytes_scanned), (1, 1, 4));
    let asked = Job { skip_larger: Some(1 << 20), ..tree.job() };
    let (report, _) = hear(&mut tree.scanner, &asked);
    assert_eq!((report.skipped[&Skip::Larger], report.counters.files_unknown), (1, 0));
    assert_eq!(tree.scanner.restarts(), 0);
}

#[test]
fn a_file_that_is_truncated_during_the_scan_kills_nobody() {
    let mut tree = Tree::new();
    let path = tree.file("shrinking", &vec![b'x'; 900_000]);
    let writer = File::options().write(true).open(&path).unwrap();
    let stop = AtomicBool::new(false);
    let job = tree.job();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                writer.set_len(10).unwrap();
                writer.set_len(900_000).unwrap();
            }
        });
        for _ in 0..50 {
            let (report, ear) = hear(&mut tree.scanner, &job);
            assert_eq!((report.counters.files_scanned, ear.matched.len()), (1, 0));
            assert!(ear.unknown.iter().all(|(_, reason)| reason.contains("shrank")), "{:?}", ear.unknown);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(tree.scanner.restarts(), 0);
}

#[test]
fn hostile_names_arrive_byte_for_byte() {
    let mut tree = Tree::new();
    let names: [&[u8]; 4] = [b"new\nline", b"\x1b[2Jescape", b"bad\xff\xfeutf8", "\u{202e}gpj".as_bytes()];
    for name in names {
        tree.file(std::ffi::OsStr::from_bytes(name), b"EVIL");
    }
    let (_, ear) = tree.hear();
    let mut wanted: Vec<Vec<u8>> = names.iter().map(|name| [tree.root.as_os_str().as_bytes(), b"/", name].concat()).collect();
    let mut found: Vec<Vec<u8>> = ear.matched.iter().map(|found| found.path.clone()).collect();
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);
}

#[test]
fn a_folder_that_may_not_be_read_is_named() {
    let mut tree = Tree::new();
    tree.file("closed/evil", b"EVIL");
    tree.file("open/evil", b"EVIL");
    let closed = tree.root.join("closed");
    let allow = |path: &Path, mode| fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    allow(&tree.root, 0o755);
    allow(&closed, 0o000);
    let job = tree.job();
    // Root may read everything; a thread with another user's rights to files may not, and its threads inherit that.
    let (report, ear) = std::thread::scope(|scope| {
        let scan = scope.spawn(|| {
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65_534));
            }
            hear(&mut tree.scanner, &job)
        });
        scan.join().unwrap()
    });
    allow(&closed, 0o755);
    assert!(ear.reason("/closed").contains("ermission denied"), "{:?}", ear.unknown);
    assert_eq!((ear.matches(&tree.root), report.counters.files_unknown), (vec!["open/evil".to_string()], 1));
}

/// Folders inside of folders, made and removed step by step because no path reaches so deep.
struct Deep {
    root: PathBuf,
    depth: usize,
    /// Whether each folder has a second one, so that the walk must come back.
    comb: bool,
}

impl Deep {
    fn make(root: &Path, depth: usize, comb: bool) -> Self {
        use nix::fcntl::{OFlag, openat};
        use nix::sys::stat::mkdirat;
        let mut at = nix::fcntl::open(root, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..depth {
            mkdirat(&at, "d", Mode::S_IRWXU).unwrap();
            if comb {
                mkdirat(&at, "e", Mode::S_IRWXU).unwrap();
                let tooth = openat(&at, "e/evil", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRUSR).unwrap();
                File::from(tooth).write_all(b"EVIL").unwrap();
            }
            at = openat(&at, "d", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        let bottom = openat(&at, "evil", OFlag::O_CREAT | OFlag::O_WRONLY, Mode::S_IRUSR).unwrap();
        File::from(bottom).write_all(b"EVIL").unwrap();
        Self { root: root.into(), depth, comb }
    }
}

impl Drop for Deep {
    fn drop(&mut self) {
        use nix::fcntl::{OFlag, openat};
        use nix::unistd::{UnlinkatFlags, unlinkat};
        let mut at = nix::fcntl::open(&self.root, OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..self.depth {
            at = openat(&at, "d", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        }
        let _ = unlinkat(&at, "evil", UnlinkatFlags::NoRemoveDir);
        for _ in 0..self.depth {
            at = openat(&at, "..", OFlag::O_DIRECTORY, Mode::empty()).unwrap();
            let _ = unlinkat(&at, "d", UnlinkatFlags::RemoveDir);
            if self.comb {
                let _ = unlinkat(&at, "e/evil", UnlinkatFlags::NoRemoveDir);
                let _ = unlinkat(&at, "e", UnlinkatFlags::RemoveDir);
            }
        }
    }
}

#[test]
fn ten_thousand_nested_folders_are_walked_to_the_bottom() {
    let mut tree = Tree::in_memory();
    let deep = Deep::make(&tree.root, 10_000, false);
    let (report, ear) = tree.hear();
    assert_eq!((ear.unknown.len(), report.counters.files_matched), (0, 1), "{:?}", ear.unknown);
    assert_eq!(ear.matched[0].path.len(), tree.root.as_os_str().len() + 2 * 10_000 + "/evil".len());
    drop(deep);
}

#[test]
fn a_deep_comb_is_walked_with_few_descriptors_and_found_again_on_the_way_back() {
    let mut tree = Tree::in_memory();
    let deep = Deep::make(&tree.root, 3_000, true);
    let (report, ear) = tree.hear();
    assert_eq!((ear.unknown.len(), report.counters.files_matched), (0, 3_001), "{:?}", ear.unknown.first());
    drop(deep);
}

#[test]
fn several_names_of_one_file_are_scanned_once() {
    let mut tree = Tree::new();
    let first = tree.file("a", b"EVIL");
    fs::hard_link(&first, tree.root.join("b")).unwrap();
    fs::hard_link(&first, tree.root.join("c")).unwrap();
    let (report, ear) = tree.hear();
    assert_eq!((ear.matched.len(), report.skipped[&Skip::HardLink]), (1, 2));
}

#[test]
fn the_kernels_own_file_systems_are_left_out() {
    let mut tree = Tree::new();
    let mut job = over(Path::new("/proc/self"));
    job.roots.push(b"/sys".to_vec());
    let (report, ear) = hear(&mut tree.scanner, &job);
    assert!(report.skipped[&Skip::Pseudo] == 2 && ear.unknown.is_empty(), "{report:?}");
    let (report, _) = hear(&mut tree.scanner, &over(Path::new("/proc")));
    assert_eq!((report.counters.files_scanned, report.skipped[&Skip::Pseudo]), (0, 1));
}

#[test]
fn the_time_of_the_last_access_stays_what_it_was() {
    use nix::sys::time::{TimeSpec, TimeValLike};
    let mut tree = Tree::new();
    let path = tree.file("evil", b"EVIL");
    let old = TimeSpec::seconds(1_000_000);
    nix::sys::stat::utimensat(AT_FDCWD, &path, &old, &old, nix::sys::stat::UtimensatFlags::FollowSymlink).unwrap();
    let (report, _) = tree.hear();
    let meta = fs::metadata(&path).unwrap();
    assert_eq!((report.counters.files_matched, meta.atime(), meta.mtime()), (1, 1_000_000, 1_000_000));
}

#[test]
fn each_budget_ends_a_job_and_is_named() {
    let mut tree = Tree::new();
    for at in 0..50 {
        tree.file(format!("f{at}"), b"0123456789");
    }
    let ended = |tree: &mut Tree, change: &dyn Fn(&mut Job)| {
        let mut job = tree.job();
        change(&mut job);
        let (report, _) = hear(&mut tree.scanner, &job);
        (report.ended, report.counters.files_scanned, report.ended.to_string())
    };
    let (files, scanned, text) = ended(&mut tree, &|job| job.budgets.files = 7);
    assert_eq!((files, scanned, text.as_str()), (Ended::Budget(Spent::Files), 7, "budget of files reached"));
    let (bytes, scanned, _) = ended(&mut tree, &|job| job.budgets.bytes = 100);
    // Files that wait already are scanned, so a few more than asked for.
    assert!(bytes == Ended::Budget(Spent::Bytes) && (10..20).contains(&scanned), "{scanned}");
    let (time, scanned, _) = ended(&mut tree, &|job| job.budgets.time = Duration::ZERO);
    assert_eq!((time, scanned), (Ended::Budget(Spent::Time), 0));
    let (cancelled, scanned, _) = ended(&mut tree, &|job| job.cancel.set());
    assert_eq!((cancelled, scanned), (Ended::Cancelled, 0));
    assert_eq!(ended(&mut tree, &|_| {}).0, Ended::Finished);
}

/// Cancels as soon as it hears how far the job is, which is while the worker is busy.
struct Impatient(CancelFlag);

impl Observer for Impatient {
    fn matched(&mut self, found: &Found) {
        panic!("{found:?}");
    }
    fn unknown(&mut self, path: &[u8], reason: &str) {
        panic!("{path:?}: {reason}");
    }
    fn progress(&mut self, _: &Counters) {
        self.0.set();
    }
}

#[test]
fn a_job_is_cancelled_in_the_middle_of_a_file() {
    let mut tree = Tree::new();
    tree.file("endless", b"ENDLESS");
    let mut job = tree.job();
    job.budgets.file_time = Duration::from_secs(600);
    let report = run(&mut tree.scanner, &job, &mut Impatient(job.cancel.clone()));
    assert_eq!((report.ended, report.counters.files_scanned), (Ended::Cancelled, 0));
    tree.file("endless", b"EVIL");
    assert_eq!(tree.hear().1.matches(&tree.root), ["endless"]);
}

#[test]
fn a_file_that_kills_its_worker_costs_the_job_that_file_only() {
    let mut tree = Tree::new();
    tree.file("crash", b"CRASH");
    tree.file("endless", b"ENDLESS");
    tree.file("memory", b"MEMORY");
    tree.file("evil", b"EVIL");
    let mut job = tree.job();
    job.budgets.file_time = Duration::from_millis(300);
    let (report, ear) = hear(&mut tree.scanner, &job);
    assert!(ear.reason("crash").contains("died on it"), "{:?}", ear.unknown);
    assert!(ear.reason("endless").contains("took longer"), "{:?}", ear.unknown);
    assert!(ear.reason("memory").contains("died on it") || ear.reason("memory").contains("took longer"), "{:?}", ear.unknown);
    assert!(report.counters.files_timed_out >= 1 && report.counters.files_unknown == 3, "{:?}", report.counters);
    assert_eq!(ear.matches(&tree.root), ["evil"]);
}

#[test]
fn several_workers_find_what_one_finds() {
    let tree = Tree::new();
    for at in 0..300 {
        tree.file(format!("{}/f{at}", at % 7), if at % 3 == 0 { b"EVIL" } else { b"good" });
    }
    let mut scanners = [start(options()), start(options()), start(options())];
    let mut ear = Ear::default();
    let report = run_many(&mut scanners, &tree.job(), &mut ear);
    assert_eq!((report.counters.files_scanned, report.counters.files_matched, ear.matched.len()), (300, 100, 100));
}

#[test]
fn an_open_file_can_be_examined_without_a_walk() {
    let mut tree = Tree::new();
    let path = tree.file("evil", b"EVIL");
    let opened = beffroi_scan::open_for_scan(&path, 100).unwrap();
    let wanted =
        beffroi_scan::Examine { time: Duration::from_secs(5), archives: None, details: false, cancel: Default::default() };
    let found: Examination = tree.scanner.examine(&opened.file, 4, "evil", &wanted);
    assert!(found.is_match() && !found.is_unknown() && matches!(found.outcome, Outcome::Match { .. }));
}
