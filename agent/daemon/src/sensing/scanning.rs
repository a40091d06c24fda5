//! Which files are scanned, and what becomes of a match.
//!
//! Owns the queue to the scanner's thread and the thread itself. A file is scanned when it was written and closed, moved,
//! or started, if it can be a program or hold one: by its mode, its first bytes or its name. Archives are opened within
//! `scan.max_archive_bytes`. A match is an `antivirus` event (`matches.rs`). A full queue is counted; the sensor declares it
//! as a gap.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use beffroi_scan::{Identity, Launcher, Outcome, ScanOptions, Scanner, Verdict, open_for_scan};
use beffroi_schema::batch::Record;
use beffroi_schema::{Category, Event, Field, Stream, Value};

use super::matches::matches;
use super::{Board, Note};
use crate::config::ScanConfig;
use crate::users::User;

/// Pause before scanning is tried again after no worker could be had.
const RETRY: Duration = Duration::from_secs(60);
/// Name endings of scripts and archives that run although nothing else about the file says so.
const ENDINGS: [&str; 20] = [
    "jar", "war", "ear", "zip", "tar", "tgz", "class", "php", "phtml", "jsp", "jspx", "sh", "py", "pl", "rb", "js", "ps1", "vbs",
    "so", "service",
];
/// The same of compressed files. Rotated logs are compressed as well and no business of a scanner of programs.
const PACKED_ENDINGS: [&str; 6] = [".tar.gz", ".tar.xz", ".tar.zst", ".ko.gz", ".ko.xz", ".ko.zst"];
/// Started programs whose clean state is remembered by their path: more than a host runs; beyond it the memory starts anew.
const MAX_CLEAN: usize = 4_096;
/// First bytes of programs and scripts.
const MAGICS: [&[u8]; 4] = [b"\x7fELF", b"#!", b"MZ", b"<?ph"];
struct Job {
    path: PathBuf,
    cause: Event,
}

/// Where the sensor hands in files.
pub(super) struct ScanDesk {
    queue: Mutex<Option<SyncSender<Vec<Job>>>>,
    /// Files that wait, and how many may.
    waiting: Arc<AtomicUsize>,
    room: usize,
    lost: Arc<AtomicU64>,
}

impl ScanDesk {
    /// Starts the scanner's thread; without scanning, the desk takes nothing.
    pub(super) fn start(config: &ScanConfig, records: SyncSender<Note>, board: Board) -> io::Result<Self> {
        let lost = Arc::new(AtomicU64::new(0));
        if !config.enabled {
            board.lock().unwrap_or_else(PoisonError::into_inner).scan.detail = "switched off (scan.enabled = false)".into();
            return Ok(Self { queue: Mutex::new(None), waiting: Arc::default(), room: 0, lost });
        }
        let (options, launcher) = worker(config)?;
        let (queue, jobs) = sync_channel(config.queue);
        let waiting = Arc::new(AtomicUsize::new(0));
        let room = ScanRoom {
            options,
            launcher,
            records,
            board,
            scanner: None,
            retry_at: Instant::now(),
            waiting: Arc::clone(&waiting),
            clean: Clean::default(),
        };
        thread::Builder::new().name("scan".into()).spawn(move || room.run(&jobs))?;
        Ok(Self { queue: Mutex::new(Some(queue)), waiting, room: config.queue, lost })
    }

    /// Takes the files that these records are about, as far as there is room. They wake the scanner's thread once.
    pub(super) fn offer(&self, records: &[(Stream, Record)]) {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queue.as_ref() else { return };
        let mut jobs = Vec::new();
        for (_, record) in records {
            let Record::Event(event) = record else { continue };
            jobs.extend(files_of(event).into_iter().map(|path| Job { path, cause: event.clone() }));
        }
        let free = self.room.saturating_sub(self.waiting.load(Ordering::Relaxed));
        self.lost.fetch_add(jobs.len().saturating_sub(free) as u64, Ordering::Relaxed);
        jobs.truncate(free);
        if !jobs.is_empty() {
            self.waiting.fetch_add(jobs.len(), Ordering::Relaxed);
            // Never full: it holds as many lists as files may wait. The thread ends only when this sender is gone.
            let _ = queue.try_send(jobs);
        }
    }

    /// Files that found no room since this was last asked.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }

    /// Takes nothing more; the thread ends after the file it is at.
    pub(super) fn stop(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// The files of an event that may have to be scanned.
fn files_of(event: &Event) -> Vec<PathBuf> {
    let fields: &[Field] = match event.logsource.category {
        Category::ProcessCreation => &[Field::IMAGE, Field::EXEC_PATH],
        Category::FileChange | Category::FileRename => &[Field::TARGET_FILENAME],
        _ => &[],
    };
    let mut files: Vec<PathBuf> = Vec::with_capacity(fields.len());
    for field in fields {
        if let Some(Value::Text(text)) = event.get(*field)
            && text.starts_with(b"/")
        {
            let path = PathBuf::from(OsStr::from_bytes(text));
            if !files.contains(&path) {
                files.push(path);
            }
        }
    }
    files
}

/// How a scan worker is started, and as whom.
pub(super) fn worker(config: &ScanConfig) -> io::Result<(ScanOptions, Launcher)> {
    let user = User::for_process(config.user.as_deref(), "beffroi-scan", "scan.user")?;
    let identity = (user != User::current()).then_some(Identity { uid: user.uid, gid: user.gid });
    let launcher = Launcher { program: std::env::current_exe()?, arguments: vec!["scan-worker".into()] };
    Ok((config.options(identity), launcher))
}

/// The scanner's thread.
struct ScanRoom {
    options: ScanOptions,
    launcher: Launcher,
    records: SyncSender<Note>,
    board: Board,
    scanner: Option<Scanner>,
    retry_at: Instant,
    waiting: Arc<AtomicUsize>,
    clean: Clean,
}

/// Started programs that were found clean, by path: an unchanged one needs one look at its state and no opening.
#[derive(Default)]
struct Clean {
    known: HashMap<PathBuf, State>,
    /// Replacements of the scan worker when the memory began: another worker may have other rules.
    restarts: u64,
}

/// What tells one state of a file from every other, as the scanner's own cache does.
type State = (u64, u64, u64, [i64; 4]);

impl Clean {
    fn state(path: &Path) -> Option<State> {
        let meta = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
        let times = [meta.ctime(), meta.ctime_nsec(), meta.mtime(), meta.mtime_nsec()];
        Some((meta.dev(), meta.ino(), meta.size(), times))
    }

    fn holds(&self, path: &Path) -> bool {
        self.known.get(path).is_some_and(|known| Self::state(path).as_ref() == Some(known))
    }

    /// Remembers the state that a file had before it was scanned.
    fn note(&mut self, path: &Path, before: Option<State>, restarts: u64) {
        if self.restarts != restarts || self.known.len() >= MAX_CLEAN {
            self.known.clear();
            self.restarts = restarts;
        }
        if let Some(state) = before {
            self.known.insert(path.to_owned(), state);
        }
    }
}

impl ScanRoom {
    fn run(mut self, jobs: &Receiver<Vec<Job>>) {
        self.ensure_scanner();
        while let Ok(jobs) = jobs.recv() {
            for job in jobs {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.look_at(&job);
            }
        }
    }

    fn look_at(&mut self, job: &Job) {
        let started = job.cause.logsource.category == Category::ProcessCreation;
        if started && self.scanner.is_some() && self.clean.holds(&job.path) {
            self.board.lock().unwrap_or_else(PoisonError::into_inner).scan.clean += 1;
            return;
        }
        if !started && !can_run(&job.path, self.options.max_file_bytes) {
            return;
        }
        self.ensure_scanner();
        let Some(scanner) = &mut self.scanner else {
            self.board.lock().unwrap_or_else(PoisonError::into_inner).scan.unknown += 1;
            return;
        };
        let before = started.then(|| Clean::state(&job.path)).flatten();
        let verdict = scanner.scan(&job.path);
        let restarts = scanner.restarts();
        self.note(&verdict);
        if verdict.outcome == Outcome::Clean && verdict.members.is_empty() {
            self.clean.note(&job.path, before, restarts);
        }
        if started || !verdict.cached {
            for event in matches(&job.path, &job.cause, &verdict) {
                let _ = self.records.send(Note::Record(Stream::Detection, Record::Event(event)));
            }
        }
    }

    fn ensure_scanner(&mut self) {
        if self.scanner.is_some() || Instant::now() < self.retry_at {
            return;
        }
        self.retry_at = Instant::now() + RETRY;
        let started = Scanner::start(self.options.clone(), self.launcher.clone());
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        match started {
            Ok(scanner) => {
                if let Some(ready) = scanner.ready() {
                    tracing::info!(rules = ready.rules, warnings = ready.warnings.len(), "scanning files");
                    board.scan.rules = ready.rules;
                    board.scan.ruleset.clone_from(&ready.ruleset);
                    board.scan.warnings.clone_from(&ready.warnings);
                }
                board.scan.on = true;
                board.scan.detail.clear();
                board.scan.pid = scanner.pid();
                self.scanner = Some(scanner);
            }
            Err(error) => {
                tracing::error!(%error, "files are not scanned");
                board.scan.on = false;
                board.scan.detail = error.to_string();
            }
        }
    }

    fn note(&self, verdict: &Verdict) {
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        match &verdict.outcome {
            _ if !verdict.members.is_empty() => board.scan.matches += 1,
            Outcome::Match { .. } => board.scan.matches += 1,
            Outcome::Clean => board.scan.clean += 1,
            Outcome::Unknown { reason } => {
                tracing::debug!(reason, "a file was not scanned");
                board.scan.unknown += 1;
            }
        }
        if let Some(scanner) = &self.scanner {
            board.scan.pid = scanner.pid();
            board.scan.restarts = scanner.restarts();
        }
    }
}

/// Whether a file can be a program, or hold one: by mode, first bytes or name.
fn can_run(path: &Path, max_bytes: u64) -> bool {
    let lower = |part: Option<&OsStr>| part.and_then(OsStr::to_str).map(str::to_ascii_lowercase).unwrap_or_default();
    let (name, ending) = (lower(path.file_name()), lower(path.extension()));
    if ENDINGS.contains(&ending.as_str()) || PACKED_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return true;
    }
    let Ok(opened) = open_for_scan(path, max_bytes) else { return false };
    opened.meta.permissions().mode() & 0o111 != 0 || begins_like_a_program(opened.file)
}

fn begins_like_a_program(file: File) -> bool {
    let mut first = Vec::with_capacity(4);
    file.take(4).read_to_end(&mut first).is_ok() && MAGICS.iter().any(|magic| first.starts_with(magic))
}

#[cfg(test)]
mod tests {
    use beffroi_schema::Product;

    use super::*;

    #[test]
    fn a_started_program_and_its_script_are_scanned_once_each() {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 1);
        event.set(Field::IMAGE, "/usr/bin/bash").set(Field::EXEC_PATH, "/tmp/x.sh");
        assert_eq!(files_of(&event), [PathBuf::from("/usr/bin/bash"), PathBuf::from("/tmp/x.sh")]);
        event.set(Field::EXEC_PATH, "/usr/bin/bash");
        assert_eq!(files_of(&event).len(), 1);
        event.set(Field::EXEC_PATH, "relative");
        assert_eq!(files_of(&event).len(), 1);
        assert!(files_of(&Event::new(Category::FileDelete, Product::Linux, 1)).is_empty());
    }

    #[test]
    fn a_clean_program_is_forgotten_when_it_changes_or_the_scanner_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        std::fs::write(&path, b"#!/bin/sh").unwrap();
        let mut clean = Clean::default();
        assert!(!clean.holds(&path));
        clean.note(&path, Clean::state(&path), 0);
        assert!(clean.holds(&path));
        std::fs::write(&path, b"#!/bin/sh\n").unwrap();
        assert!(!clean.holds(&path), "it is another file now");
        clean.note(&path, Clean::state(&path), 0);
        let other = dir.path().join("other");
        clean.note(&other, None, 1);
        assert!(!clean.holds(&path), "another worker may judge by other rules");
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (queue, jobs) = sync_channel(2);
        let desk = ScanDesk { queue: Mutex::new(Some(queue)), waiting: Arc::default(), room: 2, lost: Arc::default() };
        let mut event = Event::new(Category::FileChange, Product::Linux, 1);
        event.set(Field::TARGET_FILENAME, "/tmp/x");
        let records: Vec<_> = (0..5).map(|_| (Stream::File, Record::Event(event.clone()))).collect();
        desk.offer(&records);
        desk.offer(&records);
        assert_eq!(desk.take_lost(), 8);
        assert_eq!(jobs.try_recv().map(|jobs| jobs.len()), Ok(2));
    }

    #[test]
    fn only_what_can_run_is_scanned_when_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| {
            let path = dir.path().canonicalize().unwrap().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        assert!(!can_run(&file("a.log", b"text"), 100));
        assert!(!can_run(&file("a.log.gz", b"\x1f\x8b"), 100));
        assert!(can_run(&file("a.Tar.GZ", b"\x1f\x8b"), 100) && can_run(&file("a.zip", b"PK"), 100));
        assert!(can_run(&file("b.JSP", b"text"), 100));
        assert!(can_run(&file("c", b"#!/bin/sh"), 100));
        assert!(can_run(&file("d", b"\x7fELF..."), 100));
        let executable = file("e", b"text");
        std::fs::set_permissions(&executable, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(can_run(&executable, 100));
    }
}
