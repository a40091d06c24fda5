//! The child: loads the rules, locks itself in, then answers one request after the other until its parent hangs up.
//!
//! Owns nothing but the socket on descriptor 0. It reads files with read(2), never by mapping (a file that shrinks
//! would kill it), and holds one file at a time.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::protocol::{Hit, Outcome, Ready, Reply, Request};
use crate::sandbox::{self, Identity};
use crate::wire;

/// What the parent tells its child at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerOptions {
    /// Folders and files with rules.
    pub rules: Vec<PathBuf>,
    /// Most bytes of a file that are read.
    pub max_file_bytes: u64,
    /// Budget of one scan (milliseconds).
    pub timeout_ms: u64,
    /// Budget of memory (bytes).
    pub memory_bytes: u64,
    /// User to become; `None` keeps the one it was started as.
    pub identity: Option<Identity>,
    /// The process that started it.
    pub parent: i32,
}

/// What judges bytes.
pub trait Engine {
    /// SHA-256 that names the rule set, hex.
    fn ruleset(&self) -> String;
    /// Number of rules.
    fn rules(&self) -> usize;
    /// Rules that could not be loaded, in words.
    fn warnings(&self) -> Vec<String>;
    /// Which rules match.
    ///
    /// # Errors
    /// Why nothing is known (budget exceeded, internal error).
    fn scan(&self, bytes: &[u8], budget: Duration) -> Result<Vec<Hit>, String>;
}

/// Runs the worker on descriptor 0 until the parent hangs up. `load` is called before the cell is locked, because the
/// rules may be readable for the parent's user only.
///
/// # Errors
/// The socket broke. Rules or a cell that cannot be had are told to the parent first.
pub fn run<E: Engine>(options: &WorkerOptions, load: impl FnOnce(&WorkerOptions) -> Result<E, String>) -> io::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let engine = match load(options) {
        Ok(engine) => engine,
        Err(reason) => return fail(&socket, reason),
    };
    let mut warnings = engine.warnings();
    match sandbox::enter(options.identity, options.memory_bytes, options.parent) {
        Ok(refused) => warnings.extend(refused),
        Err(error) => return fail(&socket, error.to_string()),
    }
    warnings.truncate(32);
    let warnings = warnings.iter().map(|warning| crate::protocol::cut(warning)).collect();
    reply(&socket, &Reply::Ready(Ready { ruleset: engine.ruleset(), rules: engine.rules(), warnings }))?;
    while let Some((packet, file)) = wire::receive(&socket, None)? {
        let request: Request = serde_json::from_slice(&packet)?;
        let (outcome, sha256) = match file {
            Some(file) => judge(&engine, options, File::from(file), request.bytes),
            None => (Outcome::Unknown { reason: "no file came with the request".into() }, None),
        };
        reply(&socket, &Reply::Scanned { id: request.id, outcome, sha256 })?;
    }
    Ok(())
}

fn fail(socket: &OwnedFd, reason: String) -> io::Result<()> {
    reply(socket, &Reply::Failed { reason: crate::protocol::cut(&reason) })?;
    Err(io::Error::other(reason))
}

fn reply(socket: &OwnedFd, reply: &Reply) -> io::Result<()> {
    wire::send(socket, &serde_json::to_vec(reply)?, None)
}

fn judge(engine: &impl Engine, options: &WorkerOptions, mut file: File, expected: u64) -> (Outcome, Option<String>) {
    let mut bytes = Vec::new();
    // The size is only a hint: the file may have changed since it was opened.
    let room = usize::try_from(expected.min(options.max_file_bytes)).unwrap_or(0);
    if bytes.try_reserve_exact(room.saturating_add(1)).is_err() {
        return (Outcome::Unknown { reason: format!("no memory for its {expected} bytes") }, None);
    }
    if let Err(error) = file.by_ref().take(options.max_file_bytes.saturating_add(1)).read_to_end(&mut bytes) {
        return (Outcome::Unknown { reason: format!("it cannot be read: {error}") }, None);
    }
    let whole = bytes.len() as u64 <= options.max_file_bytes;
    bytes.truncate(usize::try_from(options.max_file_bytes).unwrap_or(usize::MAX));
    let sha256 = whole.then(|| hex::encode(Sha256::digest(&bytes)));
    let outcome = match engine.scan(&bytes, Duration::from_millis(options.timeout_ms)) {
        Ok(hits) if !hits.is_empty() => Outcome::Match { hits },
        Ok(_) if !whole => Outcome::Unknown { reason: "it grew beyond the limit while it was read".into() },
        Ok(_) if (bytes.len() as u64) < expected => Outcome::Unknown { reason: "it shrank while it was read".into() },
        Ok(_) => Outcome::Clean,
        Err(reason) => Outcome::Unknown { reason: crate::protocol::cut(&reason) },
    };
    (outcome, sha256)
}
