//! A scan of whole trees: for an order that came down, or for a person at the machine.
//!
//! ```no_run
//! # use beffroi_scan::{Launcher, RuleText, ScanOptions, Scanner, job};
//! # fn run(launcher: Launcher, texts: Vec<RuleText>, mut observer: impl job::Observer) -> Result<(), beffroi_scan::ScanError> {
//! let options = ScanOptions { rules: Vec::new(), texts, ..ScanOptions::default() };
//! let mut scanner = Scanner::start(options, launcher)?;
//! let job = job::Job::new(vec![b"/opt".to_vec()]);
//! let report = job::run(&mut scanner, &job, &mut observer);
//! assert_eq!(report.ended, job::Ended::Finished);
//! # Ok(()) }
//! ```
//!
//! Owns the budgets and the counting. [`run`] returns when the walk is over and every file that was handed to a worker
//! has an answer; it never fails: what cannot be looked at is named to the [`Observer`] with a reason, and a budget that
//! is spent stands in [`Report::ended`]. Nothing is ever written, and no link is followed.

mod run;
mod walk;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use run::{run, run_many};

use crate::examine::ArchiveLimits;
use crate::protocol::Hit;

/// What is to be scanned, and what it may cost.
#[derive(Debug, Clone)]
pub struct Job {
    /// Files and folders, as bytes. An absent one is [`Skip::Absent`]; a symbolic link is unknown, never followed.
    pub roots: Vec<Vec<u8>>,
    /// Whether the folders below the roots are walked, too; without it only the files that lie in a root.
    pub recursive: bool,
    /// Whether folders on network and FUSE file systems are walked: reading there may wait for another machine.
    pub network: bool,
    /// Files with more bytes are left out as asked for ([`Skip::Larger`]), not unknown.
    pub skip_larger: Option<u64>,
    /// Whether hits carry the metadata of their rule and the text of their strings.
    pub details: bool,
    /// What it may cost.
    pub budgets: Budgets,
    /// Set it from any thread to end the job within a second.
    pub cancel: CancelFlag,
}

impl Job {
    /// A recursive job with the default budgets.
    pub fn new(roots: Vec<Vec<u8>>) -> Self {
        Self {
            roots,
            recursive: true,
            network: false,
            skip_larger: None,
            details: false,
            budgets: Budgets::default(),
            cancel: CancelFlag::default(),
        }
    }
}

/// What a job may cost. All limits hold at the same time; the first that is reached ends the job or the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Files that are handed to a worker.
    pub files: u64,
    /// Bytes that are read, those of archive members included.
    pub bytes: u64,
    /// Time of the whole job.
    pub time: Duration,
    /// Time of one file with everything in it; the worker is killed soon after.
    pub file_time: Duration,
    /// How archives are opened; `None` leaves them closed, and their contents are not judged at all.
    pub archives: Option<ArchiveLimits>,
}

impl Default for Budgets {
    /// More than any one host holds, so that a job that ends early is an exception that somebody chose.
    fn default() -> Self {
        Self {
            files: 10_000_000,
            bytes: 4 << 40,
            time: Duration::from_secs(6 * 3600),
            file_time: Duration::from_secs(60),
            archives: Some(ArchiveLimits::default()),
        }
    }
}

/// Ends a job from outside; clones share one flag.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Ends the job.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was set.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Who hears of what a job finds. All calls come from the thread that called [`run`], one after the other.
pub trait Observer {
    /// Rules matched. One call for each file and for each archive member.
    fn matched(&mut self, found: &Found);
    /// Nothing, or not everything, is known of this file, folder or archive member. A file may have matched as well.
    fn unknown(&mut self, path: &[u8], reason: &str);
    /// Left out by its kind or because it was asked for; of no interest unless [`Skip::is_special`].
    fn skipped(&mut self, path: &[u8], why: Skip) {
        let _ = (path, why);
    }
    /// How far it is; called about once a second.
    fn progress(&mut self, counters: &Counters) {
        let _ = counters;
    }
}

/// A match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file; for a member of an archive `outer!/inner!/x.class`. Not unique: archives may hold one name twice.
    pub path: Vec<u8>,
    /// Which rules.
    pub hits: Vec<Hit>,
    /// SHA-256 of the content that matched, hex; absent when not all of it was read.
    pub sha256: Option<String>,
    /// Size of that content (bytes).
    pub bytes: u64,
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Skip {
    /// A symbolic link.
    Link,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A device.
    Device,
    /// Another name of a file that was scanned already.
    HardLink,
    /// Larger than [`Job::skip_larger`].
    Larger,
    /// The kernel's own file system: no files, and reading may do something.
    Pseudo,
    /// A file system whose reads may wait for another machine or program.
    Network,
    /// A folder below a root of a job that is not recursive.
    Folder,
    /// A root that does not exist on this host.
    Absent,
}

impl Skip {
    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Link => "symbolic link",
            Self::Pipe => "named pipe",
            Self::Socket => "socket",
            Self::Device => "device",
            Self::HardLink => "hard link",
            Self::Larger => "larger than asked for",
            Self::Pseudo => "pseudo file system",
            Self::Network => "network file system",
            Self::Folder => "folder",
            Self::Absent => "absent",
        }
    }

    /// Whether somebody may have made it in order to harm who reads it, or whether more than one file is left out: worth
    /// naming to an analyst.
    pub fn is_special(self) -> bool {
        matches!(self, Self::Pipe | Self::Device | Self::Network | Self::Absent)
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What was done. A file counts once in `files_matched` and once in `files_unknown`, whatever number of its members did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Files that a worker answered for, matched and unknown ones included.
    pub files_scanned: u64,
    /// Files in which at least one rule matched, in themselves or in a member.
    pub files_matched: u64,
    /// Files and folders of which nothing, or not everything, is known.
    pub files_unknown: u64,
    /// Those of `files_unknown` whose time was over.
    pub files_timed_out: u64,
    /// What was left out; [`Report::skipped`] says why.
    pub files_skipped: u64,
    /// Members of archives that were looked at.
    pub entries_scanned: u64,
    /// Bytes that were read, those of archive members included.
    pub bytes_scanned: u64,
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was done.
    pub counters: Counters,
    /// What was left out, by reason.
    pub skipped: BTreeMap<Skip, u64>,
    /// Whether that is everything.
    pub ended: Ended,
}

/// Whether a job saw everything it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did.
    Finished,
    /// It was cancelled before.
    Cancelled,
    /// A budget was reached before. What lies behind was not looked at.
    Budget(Spent),
}

impl fmt::Display for Ended {
    /// For the field `Reason` of `done`: empty when nothing is missing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => Ok(()),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Budget(which) => write!(f, "budget of {} reached", which.name()),
        }
    }
}

/// A budget of a whole job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spent {
    /// [`Budgets::files`]
    Files,
    /// [`Budgets::bytes`]
    Bytes,
    /// [`Budgets::time`]
    Time,
}

impl Spent {
    /// Stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Bytes => "bytes",
            Self::Time => "time",
        }
    }
}
