//! The threads of a job: one walks, one for each scanner examines, the caller's counts and reports.
//!
//! Owns the two queues between them, which are short (files wait open in them), and the decision that a budget is spent.
//! No thread outlives the call.

use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::walk::{Flow, Sink, Step, Walk};
use super::{Counters, Ended, Found, Job, Observer, Report, Skip, Spent};
use crate::examine::{Examination, Examine};
use crate::open::OpenedFile;
use crate::protocol::{MAX_UNKNOWN_MEMBERS, Outcome};
use crate::scanner::Scanner;

/// Open files that wait for each scanner.
const FILES_AHEAD: usize = 2;
/// News that wait for the observer.
const NEWS_AHEAD: usize = 256;
/// How often the observer hears how far it is.
const PROGRESS_TURN: Duration = Duration::from_secs(1);

/// Runs a job with one scanner. See [`run_many`].
pub fn run(scanner: &mut Scanner, job: &Job, observer: &mut impl Observer) -> Report {
    run_many(std::slice::from_mut(scanner), job, observer)
}

/// Runs a job with several scanners side by side; without any, nothing is scanned. They must know the same rules. The
/// order of what the observer hears is that of the walk only when there is one scanner.
pub fn run_many(scanners: &mut [Scanner], job: &Job, observer: &mut impl Observer) -> Report {
    let budget = Budget { job, until: Instant::now() + job.budgets.time, bytes: AtomicU64::new(0), ended: Mutex::new(None) };
    let mut ledger = Ledger { observer, report: empty_report(), told: Instant::now() };
    thread::scope(|scope| {
        let (files, waiting) = sync_channel::<(Vec<u8>, OpenedFile)>(FILES_AHEAD * scanners.len().max(1));
        let (news, heard) = sync_channel::<News>(NEWS_AHEAD);
        let waiting = std::sync::Arc::new(Mutex::new(waiting));
        for scanner in scanners {
            let (news, waiting, budget) = (news.clone(), waiting.clone(), &budget);
            scope.spawn(move || examine_all(scanner, &waiting, &news, budget));
        }
        drop(waiting);
        let budget = &budget;
        scope.spawn(move || Walk::new(job, &mut Walker { files, news, budget, handed: 0 }).run());
        ledger.keep(&heard);
    });
    let Ledger { mut report, .. } = ledger;
    report.ended = budget.ended.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or(Ended::Finished);
    report
}

fn empty_report() -> Report {
    Report { counters: Counters::default(), skipped: Default::default(), ended: Ended::Finished }
}

/// What the walk and the scanners tell the caller's thread.
enum News {
    Examined { path: Vec<u8>, bytes: u64, read: u64, found: Examination },
    Late(Vec<u8>),
    Skipped(Vec<u8>, Skip),
    Unknown(Vec<u8>, String),
}

/// What all threads share.
struct Budget<'a> {
    job: &'a Job,
    until: Instant,
    bytes: AtomicU64,
    ended: Mutex<Option<Ended>>,
}

impl Budget<'_> {
    /// The first reason counts.
    fn end(&self, why: Ended) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

/// The walk's side.
struct Walker<'a> {
    files: SyncSender<(Vec<u8>, OpenedFile)>,
    news: SyncSender<News>,
    budget: &'a Budget<'a>,
    handed: u64,
}

impl Walker<'_> {
    fn stop(&self, why: Ended) -> Flow {
        self.budget.end(why);
        Flow::Break(())
    }

    fn hand(&mut self, path: Vec<u8>, opened: OpenedFile) -> Flow {
        let budgets = &self.budget.job.budgets;
        if self.handed >= budgets.files {
            return self.stop(Ended::Budget(Spent::Files));
        }
        if self.budget.bytes.load(Ordering::Relaxed) >= budgets.bytes {
            return self.stop(Ended::Budget(Spent::Bytes));
        }
        self.handed += 1;
        match self.files.send((path, opened)) {
            Ok(()) => Flow::Continue(()),
            // There is no scanner.
            Err(_) => Flow::Break(()),
        }
    }
}

impl Sink for Walker<'_> {
    fn take(&mut self, step: Step) -> Flow {
        let news = match step {
            Step::File(path, opened) => return self.hand(path, opened),
            Step::Skipped(path, why) => News::Skipped(path, why),
            Step::Unknown(path, reason) => News::Unknown(path, reason),
        };
        match self.news.send(news) {
            Ok(()) => Flow::Continue(()),
            Err(_) => Flow::Break(()),
        }
    }

    fn go_on(&mut self) -> Flow {
        if self.budget.job.cancel.is_set() {
            return self.stop(Ended::Cancelled);
        }
        if Instant::now() >= self.budget.until {
            return self.stop(Ended::Budget(Spent::Time));
        }
        Flow::Continue(())
    }
}

/// One scanner's thread.
fn examine_all(
    scanner: &mut Scanner,
    waiting: &Mutex<Receiver<(Vec<u8>, OpenedFile)>>,
    news: &SyncSender<News>,
    budget: &Budget<'_>,
) {
    let restarts = scanner.restarts();
    loop {
        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((path, opened)) = next else { break };
        if budget.job.cancel.is_set() {
            budget.end(Ended::Cancelled);
            continue;
        }
        if news.send(examine(scanner, path, &opened, budget)).is_err() {
            break;
        }
    }
    if scanner.restarts() != restarts {
        scanner.release_child();
    }
}

fn examine(scanner: &mut Scanner, path: Vec<u8>, opened: &OpenedFile, budget: &Budget<'_>) -> News {
    let left = budget.until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        budget.end(Ended::Budget(Spent::Time));
        return News::Late(path);
    }
    let Job { budgets, details, cancel, .. } = budget.job;
    let time = budgets.file_time.min(left);
    let wanted = Examine { time, archives: budgets.archives, details: *details, cancel: cancel.clone() };
    let bytes = opened.meta.size();
    let found = scanner.examine(&opened.file, bytes, &String::from_utf8_lossy(&path), &wanted);
    let whole = if bytes <= scanner.max_file_bytes() { bytes } else { 0 };
    let read = whole + found.inner.bytes;
    budget.bytes.fetch_add(read, Ordering::Relaxed);
    if found.cancelled {
        budget.end(Ended::Cancelled);
    }
    News::Examined { path, bytes, read, found }
}

/// The caller's thread: counts and tells.
struct Ledger<'a, O> {
    observer: &'a mut O,
    report: Report,
    told: Instant,
}

impl<O: Observer> Ledger<'_, O> {
    fn keep(&mut self, heard: &Receiver<News>) {
        loop {
            match heard.recv_timeout(PROGRESS_TURN) {
                Ok(news) => self.enter(news),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.told.elapsed() >= PROGRESS_TURN {
                self.told = Instant::now();
                self.observer.progress(&self.report.counters);
            }
        }
    }

    fn enter(&mut self, news: News) {
        let counters = &mut self.report.counters;
        match news {
            News::Skipped(path, why) => {
                counters.files_skipped += 1;
                *self.report.skipped.entry(why).or_default() += 1;
                self.observer.skipped(&path, why);
            }
            News::Unknown(path, reason) => {
                counters.files_unknown += 1;
                self.observer.unknown(&path, &reason);
            }
            News::Late(path) => {
                counters.files_unknown += 1;
                counters.files_timed_out += 1;
                self.observer.unknown(&path, "the time of the whole scan was over before it");
            }
            // It says nothing of the file; that the job ended early stands in the report.
            News::Examined { found, .. } if found.cancelled && !found.is_match() => {}
            News::Examined { path, bytes, read, found } => self.examined(&path, bytes, read, found),
        }
    }

    fn examined(&mut self, path: &[u8], bytes: u64, read: u64, found: Examination) {
        let counters = &mut self.report.counters;
        counters.files_scanned += 1;
        counters.files_matched += u64::from(found.is_match());
        counters.files_unknown += u64::from(found.is_unknown());
        counters.files_timed_out += u64::from(found.inner.timed_out);
        counters.entries_scanned += found.inner.entries;
        counters.bytes_scanned += read;
        self.tell(path.to_vec(), found.outcome, found.sha256, bytes);
        for member in found.members {
            self.tell([path, &member.inside].concat(), member.outcome, member.sha256, member.bytes);
        }
        let unnamed = found.inner.unknown.saturating_sub(MAX_UNKNOWN_MEMBERS as u64);
        if unnamed > 0 {
            self.observer.unknown(path, &format!("{unnamed} more of its members are unknown"));
        }
    }

    fn tell(&mut self, path: Vec<u8>, outcome: Outcome, sha256: Option<String>, bytes: u64) {
        match outcome {
            Outcome::Match { hits } => self.observer.matched(&Found { path, hits, sha256, bytes }),
            Outcome::Unknown { reason } => self.observer.unknown(&path, &reason),
            Outcome::Clean => {}
        }
    }
}
