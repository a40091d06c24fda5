//! The parent's side: opens a file, asks the child, starts another one when it was lost.
//!
//! Owns the verdict cache and the pause between restarts. Every way in which a scan can go wrong is an
//! [`Outcome::Unknown`] with a reason; only a child that cannot be had at all is an error of [`Scanner::start`].

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cache::{FileKey, VerdictCache};
use crate::child::{Child, Launcher, ScanError};
use crate::examine::{ArchiveLimits, Examination, Examine, Member};
use crate::open::open_for_scan;
use crate::protocol::{MAX_NAME_BYTES, Outcome, Ready, Request, Verdict};
use crate::rules::RuleText;
use crate::sandbox::Identity;

/// Pause before the next child after one died: doubles with each death in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause between children: a broken rule set must not become a busy loop.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest wait of an examination for the next child: many files that each kill one must not end a hunt by patience.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// Members of one archive that a verdict names: verdicts are kept in thousands.
const MAX_VERDICT_MEMBERS: usize = 16;
/// How often somebody who waits for a child looks whether it was cancelled.
const WAIT_TURN: Duration = Duration::from_millis(50);

/// Limits of scanning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScanOptions {
    /// Folders and files with YARA rules; not looked at when there are `texts`.
    pub rules: Vec<PathBuf>,
    /// Rules as texts. They are compiled inside the locked worker.
    #[serde(skip)]
    pub texts: Vec<RuleText>,
    /// Larger files are not scanned as one piece (bytes).
    pub max_file_bytes: u64,
    /// Budget of one scan (milliseconds); the child is killed soon after.
    pub timeout_ms: u64,
    /// Memory that the child may take (bytes).
    pub memory_bytes: u64,
    /// Verdicts that are remembered.
    pub cache_entries: usize,
    /// How [`Scanner::scan`] opens archives; they stay closed without it.
    pub archives: Option<ArchiveLimits>,
    /// User that the child becomes; `None` keeps the parent's.
    #[serde(skip)]
    pub identity: Option<Identity>,
}

impl Default for ScanOptions {
    fn default() -> Self {
        Self {
            rules: vec![PathBuf::from("/usr/share/beffroi/yara")],
            texts: Vec::new(),
            max_file_bytes: 32 << 20,
            timeout_ms: 5_000,
            memory_bytes: 512 << 20,
            cache_entries: 16_384,
            archives: None,
            identity: None,
        }
    }
}

/// The scanner. One scan at a time.
pub struct Scanner {
    options: ScanOptions,
    launcher: Launcher,
    child: Option<Child>,
    cache: VerdictCache,
    next_id: u64,
    not_before: Instant,
    pause: Duration,
    restarts: u64,
}

impl Scanner {
    /// Starts the first child and waits until its rules are loaded. A child ends with the thread that started it.
    ///
    /// # Errors
    /// [`ScanError`] when no child can be had.
    pub fn start(options: ScanOptions, launcher: Launcher) -> Result<Self, ScanError> {
        let child = Child::start(&options, &launcher)?;
        let mut cache = VerdictCache::new(options.cache_entries);
        cache.use_ruleset(&child.ready().ruleset);
        Ok(Self {
            options,
            launcher,
            child: Some(child),
            cache,
            next_id: 1,
            not_before: Instant::now(),
            pause: FIRST_PAUSE,
            restarts: 0,
        })
    }

    /// What the living child said of itself.
    pub fn ready(&self) -> Option<&Ready> {
        self.child.as_ref().map(Child::ready)
    }

    /// Process id of the living child.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::pid)
    }

    /// How often a child had to be replaced.
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Larger files are not scanned as one piece (bytes).
    pub(crate) fn max_file_bytes(&self) -> u64 {
        self.options.max_file_bytes
    }

    /// Scans the file at `path`, or says why not; archives are opened as the options say. A file of which a part is not
    /// known and nothing matched is unknown as a whole. Returns after the scan's budget and some grace at the latest.
    pub fn scan(&mut self, path: &Path) -> Verdict {
        let opened = match open_for_scan(path, self.options.max_file_bytes) {
            Ok(opened) => opened,
            Err(refusal) => return Verdict::unknown(refusal.to_string(), 0),
        };
        let (key, bytes) = (FileKey::of(&opened.meta), opened.meta.len());
        if let Some(verdict) = self.cache.get(&key) {
            return verdict;
        }
        if let Err(reason) = self.ensure_child() {
            return Verdict::unknown(reason, bytes);
        }
        let time = Duration::from_millis(self.options.timeout_ms);
        let wanted = Examine { time, archives: self.options.archives, details: false, cancel: Default::default() };
        let found = self.ask(&opened.file, bytes, &path.to_string_lossy(), &wanted);
        let verdict = verdict(found, bytes);
        // A file that changed meanwhile is another file; its next event scans it again.
        if opened.file.metadata().is_ok_and(|now| FileKey::of(&now) == key) {
            self.cache.put(key, verdict.clone());
        }
        verdict
    }

    /// Examines an open plain file of this size. Waits for a child where the last one was lost; returns after the
    /// examination's budget and some grace at the latest.
    pub fn examine(&mut self, file: &File, bytes: u64, name: &str, wanted: &Examine) -> Examination {
        let until = self.not_before.min(Instant::now() + LONGEST_WAIT);
        while self.child.is_none() && Instant::now() < until {
            if wanted.cancel.is_set() {
                return Examination { cancelled: true, ..Examination::unknown("the scan was cancelled") };
            }
            thread::sleep(WAIT_TURN);
        }
        self.not_before = until;
        match self.ensure_child() {
            Ok(()) => self.ask(file, bytes, name, wanted),
            Err(reason) => Examination::unknown(reason),
        }
    }

    /// Ends the child because the thread that started it will end; the next question starts another one.
    pub(crate) fn release_child(&mut self) {
        self.child = None;
    }

    fn ensure_child(&mut self) -> Result<(), String> {
        if self.child.is_some() {
            return Ok(());
        }
        if Instant::now() < self.not_before {
            return Err("the scan worker is being restarted".into());
        }
        self.restarts += 1;
        match Child::start(&self.options, &self.launcher) {
            Ok(child) => {
                self.cache.use_ruleset(&child.ready().ruleset);
                self.child = Some(child);
                Ok(())
            }
            Err(error) => {
                self.child_is_lost();
                Err(error.to_string())
            }
        }
    }

    fn child_is_lost(&mut self) {
        self.child = None;
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    fn ask(&mut self, file: &File, bytes: u64, name: &str, wanted: &Examine) -> Examination {
        let mut found = Examination::unknown("the scan worker is not running");
        let Some(child) = &mut self.child else { return found };
        let request = Request {
            id: self.next_id,
            bytes,
            name: ending_of(name).into(),
            timeout_ms: u64::try_from(wanted.time.as_millis()).unwrap_or(u64::MAX),
            archives: wanted.archives,
            details: wanted.details,
        };
        self.next_id += 1;
        match child.ask(&request, file, &wanted.cancel, &mut found) {
            Ok(()) => self.pause = FIRST_PAUSE,
            Err(()) if found.cancelled => self.child = None,
            Err(()) => self.child_is_lost(),
        }
        found
    }
}

/// An examination as one verdict.
fn verdict(found: Examination, bytes: u64) -> Verdict {
    let Examination { outcome, sha256, members, .. } = found;
    let part = members.iter().find_map(|member| match &member.outcome {
        Outcome::Unknown { reason } => Some(format!("{}: {reason}", String::from_utf8_lossy(&member.inside))),
        _ => None,
    });
    let (mut matched, _): (Vec<Member>, Vec<_>) =
        members.into_iter().partition(|member| matches!(member.outcome, Outcome::Match { .. }));
    matched.truncate(MAX_VERDICT_MEMBERS);
    let outcome = match (outcome, part) {
        (Outcome::Clean, Some(reason)) if matched.is_empty() => Outcome::Unknown { reason },
        (outcome, _) => outcome,
    };
    Verdict { outcome, sha256, bytes, members: matched, cached: false }
}

/// The end of a name, at most [`MAX_NAME_BYTES`].
fn ending_of(name: &str) -> &str {
    let mut start = name.len().saturating_sub(MAX_NAME_BYTES);
    while !name.is_char_boundary(start) {
        start += 1;
    }
    &name[start..]
}
