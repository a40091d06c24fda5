//! The child: loads the rules, locks itself in, then answers one request after the other until its parent hangs up.
//!
//! Owns nothing but the socket on descriptor 0. It reads files with read(2), never by mapping (a file that shrinks
//! would kill it), and holds one file at a time.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::archive::{Purse, Source, Visitor};
use crate::protocol::{Hit, Inner, Outcome, Ready, Reply, Request, cut};
use crate::rules::{RuleText, unseal};
use crate::sandbox::{self, Identity};
use crate::tally::Tally;
use crate::wire;

/// What the parent tells its child at start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerOptions {
    /// Folders and files with rules.
    pub rules: Vec<PathBuf>,
    /// Whether rule texts come over the socket before anything else.
    pub has_texts: bool,
    /// Those texts.
    #[serde(skip)]
    pub texts: Vec<RuleText>,
    /// Most bytes of a file that are read as one piece; of a larger file only members are scanned, if it is an archive.
    pub max_file_bytes: u64,
    /// Budget of memory (bytes).
    pub memory_bytes: u64,
    /// User to become; `None` keeps the one it was started as.
    pub identity: Option<Identity>,
    /// The process that started it.
    pub parent: i32,
}

/// What loads rules.
pub trait Engine {
    /// SHA-256 that names the rule set, hex.
    fn ruleset(&self) -> String;
    /// Number of rules.
    fn rules(&self) -> usize;
    /// Rules that could not be loaded, in words.
    fn warnings(&self) -> Vec<String>;
    /// What judges bytes by these rules.
    fn judge(&self) -> Box<dyn Judge + '_>;
}

/// What judges bytes. It is kept for many contents, which do not influence each other.
pub trait Judge {
    /// Which rules match.
    ///
    /// # Errors
    /// Why nothing is known.
    fn scan(&mut self, content: &Content<'_>) -> Result<Vec<Hit>, Unjudged>;
}

/// Bytes with what rules may ask about them.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Path of the file, with those of archive members behind it.
    pub name: &'a Path,
    /// Time that judging may take.
    pub budget: Duration,
    /// Whether hits carry metadata and the text of strings.
    pub details: bool,
}

/// Why nothing is known of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unjudged {
    /// In words.
    pub reason: String,
    /// Whether it took too long.
    pub timed_out: bool,
}

/// Runs the worker on descriptor 0 until the parent hangs up. Rules that lie in files are loaded before the cell is
/// locked, because they may be readable for the parent's user only; rules that come as texts are compiled inside.
///
/// # Errors
/// The socket broke. Rules or a cell that cannot be had are told to the parent first.
pub fn run<E: Engine>(options: &WorkerOptions, load: impl FnOnce(&WorkerOptions) -> Result<E, String>) -> io::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let mut options = options.clone();
    if options.has_texts {
        options.texts = receive_texts(&socket)?;
    }
    let lock = || sandbox::enter(options.identity, options.memory_bytes, options.parent).map_err(|error| error.to_string());
    let started = if options.has_texts {
        lock().and_then(|refused| Ok((load(&options)?, refused)))
    } else {
        load(&options).and_then(|engine| Ok((engine, lock()?)))
    };
    let (engine, refused) = match started {
        Ok(started) => started,
        Err(reason) => {
            reply(&socket, &Reply::Failed { reason: cut(&reason) })?;
            return Err(io::Error::other(reason));
        }
    };
    let warnings = engine.warnings().iter().chain(&refused).take(32).map(|warning| cut(warning)).collect();
    reply(&socket, &Reply::Ready(Ready { ruleset: engine.ruleset(), rules: engine.rules(), warnings }))?;
    serve(&socket, &options, &engine)
}

fn receive_texts(socket: &OwnedFd) -> io::Result<Vec<RuleText>> {
    match wire::receive(socket, None)? {
        Some((_, Some(descriptor))) => unseal(descriptor),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the rule texts did not come")),
    }
}

fn serve(socket: &OwnedFd, options: &WorkerOptions, engine: &impl Engine) -> io::Result<()> {
    let mut judge = engine.judge();
    while let Some((packet, file)) = wire::receive(socket, None)? {
        let request: Request = serde_json::from_slice(&packet)?;
        let answer = match file {
            Some(file) => examine(socket, judge.as_mut(), options, &request, &File::from(file))?,
            None => {
                let outcome = Outcome::Unknown { reason: "no file came with the request".into() };
                Reply::Scanned { id: request.id, outcome, sha256: None, inner: Inner::default() }
            }
        };
        reply(socket, &answer)?;
    }
    Ok(())
}

pub(crate) fn reply(socket: &OwnedFd, reply: &Reply) -> io::Result<()> {
    wire::send(socket, &crate::protocol::fit(reply)?, None)
}

/// The file as it stands first, then what is in it.
fn examine(
    socket: &OwnedFd,
    judge: &mut dyn Judge,
    options: &WorkerOptions,
    request: &Request,
    file: &File,
) -> io::Result<Reply> {
    let time = Duration::from_millis(request.timeout_ms);
    let until = Instant::now() + time;
    let mut tally = Tally::new(socket, request.id);
    let read = read_whole(file, request.bytes, options.max_file_bytes);
    let content = Content { bytes: &read.bytes, name: Path::new(&request.name), budget: time, details: request.details };
    let (outcome, timed_out) = judge_whole(judge, &content, &read);
    tally.inner.timed_out |= timed_out;
    if let Some(limits) = request.archives {
        // What was read is what was judged; a file that is too large to be held is read again piece by piece.
        let source = match &read.refusal {
            Some(_) => Source::file(file, request.bytes),
            None => Source::bytes(&read.bytes),
        };
        let purse = Purse::new(limits, until, time);
        // A spent budget stands in the report.
        let _ = Visitor::new(judge, &mut tally, &purse, &request.name, request.details).open(&source, &[], 0);
        tally.inner.entries = purse.entries();
        tally.inner.bytes = purse.bytes();
        tally.inner.timed_out |= purse.is_out_of_time();
    }
    let sha256 = read.is_whole().then(|| hex::encode(Sha256::digest(&read.bytes)));
    let inner = tally.finish()?;
    Ok(Reply::Scanned { id: request.id, outcome, sha256, inner })
}

struct Whole {
    bytes: Vec<u8>,
    /// Why not all of it is in `bytes`.
    refusal: Option<String>,
}

impl Whole {
    fn is_whole(&self) -> bool {
        self.refusal.is_none()
    }
}

fn read_whole(mut file: &File, expected: u64, limit: u64) -> Whole {
    let refuse = |bytes, reason: String| Whole { bytes, refusal: Some(reason) };
    if expected > limit {
        return refuse(Vec::new(), format!("it has {expected} bytes, the limit is {limit}"));
    }
    let mut bytes = Vec::new();
    // The size is only a hint: the file may have changed since it was opened.
    if bytes.try_reserve_exact(usize::try_from(expected).unwrap_or(0).saturating_add(1)).is_err() {
        return refuse(bytes, format!("no memory for its {expected} bytes"));
    }
    if let Err(error) = file.by_ref().take(limit.saturating_add(1)).read_to_end(&mut bytes) {
        return refuse(bytes, format!("it cannot be read: {error}"));
    }
    if bytes.len() as u64 > limit {
        bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        return refuse(bytes, "it grew beyond the limit while it was read".into());
    }
    if (bytes.len() as u64) < expected {
        return refuse(bytes, "it shrank while it was read".into());
    }
    Whole { bytes, refusal: None }
}

fn judge_whole(judge: &mut dyn Judge, content: &Content<'_>, read: &Whole) -> (Outcome, bool) {
    if let Some(reason) = &read.refusal
        && content.bytes.is_empty()
    {
        // Rules about an empty file must not answer for one that was not read.
        return (Outcome::Unknown { reason: reason.clone() }, false);
    }
    match (judge.scan(content), &read.refusal) {
        (Ok(hits), _) if !hits.is_empty() => (Outcome::Match { hits }, false),
        (Ok(_), Some(reason)) => (Outcome::Unknown { reason: reason.clone() }, false),
        (Ok(_), None) => (Outcome::Clean, false),
        (Err(why), _) => (Outcome::Unknown { reason: cut(&why.reason) }, why.timed_out),
    }
}
