//! The worker process as its parent sees it: started, ready, asked, killed.
//!
//! Owns the process and the parent's end of the socket. Whatever goes wrong is an error in words; the caller throws the
//! child away then, which kills it.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::process::{Child as Process, Command, Stdio};
use std::time::{Duration, Instant};

use crate::examine::{Examination, Member};
use crate::job::CancelFlag;
use crate::protocol::{MAX_MATCHED_MEMBERS, MAX_UNKNOWN_MEMBERS, Outcome, Ready, Reply, Request};
use crate::rules;
use crate::scanner::ScanOptions;
use crate::wire;
use crate::worker::WorkerOptions;

/// Time a child may take to load its rules: compiling some thousand rules on a slow disk.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// What the child gets beyond its own budget before it is killed: its timer is checked between steps only, and ticks
/// once a second.
const KILL_GRACE: Duration = Duration::from_millis(2500);
/// How soon a cancelled examination ends.
const CANCEL_TURN: Duration = Duration::from_millis(250);

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

/// A living child.
pub(crate) struct Child {
    process: Process,
    socket: OwnedFd,
    ready: Ready,
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when the child is gone already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Child {
    /// Starts a child and waits until its rules are loaded.
    pub fn start(options: &ScanOptions, launcher: &Launcher) -> Result<Self, ScanError> {
        let start = |source| ScanError::Start { program: launcher.program.clone(), source };
        let (ours, theirs) = wire::pair().map_err(start)?;
        let told = WorkerOptions {
            rules: options.rules.clone(),
            has_texts: !options.texts.is_empty(),
            texts: Vec::new(),
            max_file_bytes: options.max_file_bytes,
            memory_bytes: options.memory_bytes,
            identity: options.identity,
            parent: std::process::id().cast_signed(),
        };
        if told.has_texts {
            let texts = rules::seal(&options.texts).map_err(start)?;
            wire::send(&ours, b"rule texts", Some(texts.as_fd())).map_err(start)?;
        }
        let told = serde_json::to_string(&told).map_err(|error| start(error.into()))?;
        let mut command = Command::new(&launcher.program);
        command.args(&launcher.arguments).arg(told).stdin(Stdio::from(theirs)).stdout(Stdio::null());
        let process = command.env_clear().spawn().map_err(start)?;
        // The command holds the child's end of the pair: it must go, or the child's death would not be seen.
        drop(command);
        let ready = Ready { ruleset: String::new(), rules: 0, warnings: Vec::new() };
        let mut child = Self { process, socket: ours, ready };
        child.ready = child.await_ready()?;
        Ok(child)
    }

    fn await_ready(&mut self) -> Result<Ready, ScanError> {
        match wire::receive(&self.socket, Some(Instant::now() + START_TIMEOUT)) {
            Ok(Some((packet, _))) => match serde_json::from_slice(&packet) {
                Ok(Reply::Ready(ready)) => Ok(ready),
                Ok(Reply::Failed { reason }) => Err(ScanError::Refused(reason)),
                _ => Err(ScanError::Died("it spoke nonsense".into())),
            },
            Ok(None) => Err(ScanError::Died(self.ending())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => Err(ScanError::Slow),
            Err(error) => Err(ScanError::Died(error.to_string())),
        }
    }

    /// What it said of itself.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Asks for one file. `found` has what was heard before an error, too.
    ///
    /// # Errors
    /// Why the child must be thrown away; `found` says so as well.
    pub fn ask(&mut self, request: &Request, file: &File, cancel: &CancelFlag, found: &mut Examination) -> Result<(), ()> {
        let limit = Duration::from_millis(request.timeout_ms) + KILL_GRACE;
        let until = Instant::now() + limit;
        let lost = |found: &mut Examination, reason: String| {
            found.outcome = Outcome::Unknown { reason };
            Err(())
        };
        let sent = serde_json::to_vec(request).map_err(io::Error::from);
        if let Err(error) = sent.and_then(|packet| wire::send(&self.socket, &packet, Some(file.as_fd()))) {
            return lost(found, format!("the scan worker died before it: {error}"));
        }
        loop {
            let packet = match wire::receive(&self.socket, Some(until.min(Instant::now() + CANCEL_TURN))) {
                Ok(Some((packet, _))) => packet,
                Ok(None) => {
                    let ending = self.ending();
                    return lost(found, format!("the scan worker died on it ({ending})"));
                }
                Err(error) if error.kind() != io::ErrorKind::TimedOut => {
                    return lost(found, format!("the scan worker died on it: {error}"));
                }
                Err(_) if cancel.is_set() => {
                    found.cancelled = true;
                    return lost(found, "the scan was cancelled".into());
                }
                Err(_) if Instant::now() >= until => {
                    found.inner.timed_out = true;
                    return lost(found, format!("it took longer than {} ms; the scan worker was killed", limit.as_millis()));
                }
                Err(_) => continue,
            };
            match serde_json::from_slice(&packet) {
                Ok(Reply::Scanned { id, outcome, sha256, inner }) if id == request.id => {
                    (found.outcome, found.sha256, found.inner) = (outcome, sha256, inner);
                    return Ok(());
                }
                Ok(Reply::Found { id, inside, outcome, sha256, bytes }) if id == request.id && note(found, &outcome) => {
                    let inside = hex::decode(inside).unwrap_or_default();
                    found.members.push(Member { inside, outcome, sha256, bytes });
                }
                _ => return lost(found, "the scan worker answered something else; it was killed".into()),
            }
        }
    }

    fn ending(&mut self) -> String {
        match self.process.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        }
    }
}

/// Counts a member; false when a child reports more than the protocol allows.
fn note(found: &mut Examination, outcome: &Outcome) -> bool {
    let (count, limit) = match outcome {
        Outcome::Match { .. } => (&mut found.inner.matched, MAX_MATCHED_MEMBERS),
        _ => (&mut found.inner.unknown, MAX_UNKNOWN_MEMBERS),
    };
    *count += 1;
    *count <= limit as u64
}
