//! The parent's side: opens a file, asks the child, kills it at the deadline, starts another one.
//!
//! Owns the child process, the verdict cache and the pause between restarts. Every way in which a scan can go wrong is
//! an [`Outcome::Unknown`] with a reason; only a child that cannot be had at all is an error of [`Scanner::start`].

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cache::{FileKey, VerdictCache};
use crate::open::open_for_scan;
use crate::protocol::{Outcome, Ready, Reply, Request, Verdict};
use crate::sandbox::Identity;
use crate::wire;
use crate::worker::WorkerOptions;

/// Time a child may take to load its rules: compiling some thousand rules on a slow disk.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// What the child gets beyond its own budget before it is killed: its timer is checked between steps only.
const KILL_GRACE: Duration = Duration::from_millis(1500);
/// Pause before the next child after one died: doubles with each death in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between children: a broken rule set must not become a busy loop.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Limits of scanning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScanOptions {
    /// Folders and files with YARA rules.
    pub rules: Vec<PathBuf>,
    /// Larger files are not scanned (bytes).
    pub max_file_bytes: u64,
    /// Budget of one scan (milliseconds); the child is killed soon after.
    pub timeout_ms: u64,
    /// Memory that the child may take (bytes).
    pub memory_bytes: u64,
    /// Verdicts that are remembered.
    pub cache_entries: usize,
    /// User that the child becomes; `None` keeps the parent's.
    #[serde(skip)]
    pub identity: Option<Identity>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            rules: vec![PathBuf::from("/usr/share/beffroi/yara")],
            max_file_bytes: 32 << 20,
            timeout_ms: 5_000,
            memory_bytes: 512 << 20,
            cache_entries: 16_384,
            identity: None,
        }
    }
}

/// How a child is started: `program arguments... OPTIONS`, where OPTIONS is [`WorkerOptions`] as JSON. The program must
/// call [`crate::worker::run`].
#[derive(Debug, Clone)]
pub struct Launcher {
    /// The program.
    pub program: PathBuf,
    /// Arguments before the options.
    pub arguments: Vec<OsString>,
}

/// Scanning is not possible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The program could not be started.
    #[error("cannot start the scan worker {}: {source}; is the installation complete?", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// The operating system's own words.
        source: io::Error,
    },
    /// The child says that it cannot work.
    #[error("the scan worker cannot work: {0}")]
    Refused(String),
    /// The child died or spoke nonsense before it was ready.
    #[error("the scan worker died before it was ready: {0}")]
    Died(String),
    /// The child was not ready in time.
    #[error("the scan worker was not ready after {} s; are there too many rules?", START_TIMEOUT.as_secs())]
    Slow,
}

struct Worker {
    child: Child,
    socket: OwnedFd,
    ready: Ready,
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Both fail only when the child is gone already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The scanner. One scan at a time.
pub struct Scanner {
    options: ScanOptions,
    launcher: Launcher,
    worker: Option<Worker>,
    cache: VerdictCache,
    next_id: u64,
    not_before: Instant,
    pause: Duration,
    restarts: u64,
}

impl Scanner {
    /// Starts the first child and waits until its rules are loaded.
    ///
    /// # Errors
    /// [`ScanError`] when no child can be had.
    pub fn start(options: ScanOptions, launcher: Launcher) -> Result<Self, ScanError> {
        let worker = spawn(&options, &launcher)?;
        let mut cache = VerdictCache::new(options.cache_entries);
        cache.use_ruleset(&worker.ready.ruleset);
        Ok(Self {
            options,
            launcher,
            worker: Some(worker),
            cache,
            next_id: 1,
            not_before: Instant::now(),
            pause: FIRST_PAUSE,
            restarts: 0,
        })
    }

    /// What the living child said of itself.
    pub fn ready(&self) -> Option<&Ready> {
        self.worker.as_ref().map(|worker| &worker.ready)
    }

    /// Process id of the living child.
    pub fn pid(&self) -> Option<u32> {
        self.worker.as_ref().map(|worker| worker.child.id())
    }

    /// How often a child had to be replaced.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Scans the file at `path`, or says why not. Returns after the scan's budget and some grace at the latest.
    pub fn scan(&mut self, path: &Path) -> Verdict {
        let opened = match open_for_scan(path, self.options.max_file_bytes) {
            Ok(opened) => opened,
            Err(refusal) => return Verdict::unknown(refusal.to_string(), 0),
        };
        let (key, bytes) = (FileKey::of(&opened.meta), opened.meta.len());
        if let Some(verdict) = self.cache.get(&key) {
            return verdict;
        }
        if let Err(reason) = self.ensure_worker() {
            return Verdict::unknown(reason, bytes);
        }
        let (outcome, sha256) = match self.ask(&opened.file, bytes) {
            Ok(answer) => answer,
            Err(reason) => {
                self.worker_is_lost();
                (Outcome::Unknown { reason }, None)
            }
        };
        let verdict = Verdict { outcome, sha256, bytes, cached: false };
        // A file that changed meanwhile is another file; its next event scans it again.
        if opened.file.metadata().is_ok_and(|now| FileKey::of(&now) == key) {
            self.cache.put(key, verdict.clone());
        }
        verdict
    }

    fn ensure_worker(&mut self) -> Result<(), String> {
        if self.worker.is_some() {
            return Ok(());
        }
        if Instant::now() < self.not_before {
            return Err("the scan worker is being restarted".into());
        }
        self.restarts += 1;
        match spawn(&self.options, &self.launcher) {
            Ok(worker) => {
                self.cache.use_ruleset(&worker.ready.ruleset);
                self.worker = Some(worker);
                Ok(())
            }
            Err(error) => {
                self.worker_is_lost();
                Err(error.to_string())
            }
        }
    }

    fn worker_is_lost(&mut self) {
        self.worker = None;
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn ask(&mut self, file: &File, bytes: u64) -> Result<(Outcome, Option<String>), String> {
        let Some(worker) = &mut self.worker else { return Err("the scan worker is not running".into()) };
        let id = self.next_id;
        self.next_id += 1;
        let request = serde_json::to_vec(&Request { id, bytes }).map_err(|error| error.to_string())?;
        let limit = Duration::from_millis(self.options.timeout_ms) + KILL_GRACE;
        let answer = wire::send(&worker.socket, &request, Some(file.as_fd()))
            .and_then(|()| wire::receive(&worker.socket, Some(Instant::now() + limit)));
        let packet = match answer {
            Ok(Some((packet, _))) => packet,
            Ok(None) => return Err(format!("the scan worker died on it ({})", ending(&mut worker.child))),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(format!("it took longer than {} ms; the scan worker was killed", limit.as_millis()));
            }
            Err(error) => return Err(format!("the scan worker died on it: {error}")),
        };
        match serde_json::from_slice(&packet) {
            Ok(Reply::Scanned { id: answered, outcome, sha256 }) if answered == id => {
                self.pause = FIRST_PAUSE;
                Ok((outcome, sha256))
            }
            _ => Err("the scan worker answered something else; it was killed".into()),
        }
    }
}

fn ending(child: &mut Child) -> String {
    match child.wait() {
        Ok(status) => status.to_string(),
        Err(error) => error.to_string(),
    }
}

fn spawn(options: &ScanOptions, launcher: &Launcher) -> Result<Worker, ScanError> {
    let start = |source| ScanError::Start { program: launcher.program.clone(), source };
    let (ours, theirs) = wire::pair().map_err(start)?;
    let told = WorkerOptions {
        rules: options.rules.clone(),
        max_file_bytes: options.max_file_bytes,
        timeout_ms: options.timeout_ms,
        memory_bytes: options.memory_bytes,
        identity: options.identity,
        parent: std::process::id().cast_signed(),
    };
    let told = serde_json::to_string(&told).map_err(|error| start(error.into()))?;
    let mut command = Command::new(&launcher.program);
    command.args(&launcher.arguments).arg(told).stdin(Stdio::from(theirs)).stdout(Stdio::null());
    let child = command.env_clear().spawn().map_err(start)?;
    // The command holds the child's end of the pair: it must go, or the child's death would not be seen.
    drop(command);
    let ready = Ready { ruleset: String::new(), rules: 0, warnings: Vec::new() };
    let mut worker = Worker { child, socket: ours, ready };
    worker.ready = await_ready(&mut worker)?;
    Ok(worker)
}

fn await_ready(worker: &mut Worker) -> Result<Ready, ScanError> {
    match wire::receive(&worker.socket, Some(Instant::now() + START_TIMEOUT)) {
        Ok(Some((packet, _))) => match serde_json::from_slice(&packet) {
            Ok(Reply::Ready(ready)) => Ok(ready),
            Ok(Reply::Failed { reason }) => Err(ScanError::Refused(reason)),
            _ => Err(ScanError::Died("it spoke nonsense".into())),
        },
        Ok(None) => Err(ScanError::Died(ending(&mut worker.child))),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(ScanError::Slow),
        Err(error) => Err(ScanError::Died(error.to_string())),
    }
}
