//! Scanning files with YARA in a child process that may do nothing else: it opens no file, no socket and no program,
//! runs as another user, and is killed at a deadline.
//!
//! The parent ([`Scanner`]) opens the file safely, hands the descriptor over a socket pair and waits for the answer.
//! Whatever the file does to the child (endless scan, crash, memory) ends as [`Outcome::Unknown`] with a reason; the
//! parent goes on with a new child. [`job`] scans whole trees that way, archives included. Nothing here is asynchronous:
//! one thread owns one scanner.

mod archive;
mod cache;
mod child;
mod engine;
mod examine;
pub mod job;
mod mounts;
mod open;
mod protocol;
mod rules;
mod sandbox;
mod scanner;
mod tally;
mod wire;
pub mod worker;

pub use cache::{FileKey, VerdictCache};
pub use child::{Launcher, ScanError};
pub use engine::YaraEngine;
pub use examine::{ArchiveLimits, Examination, Examine, Inner, Member};
pub use open::{OpenRefusal, OpenedFile, open_for_scan};
pub use protocol::{Hit, Outcome, Ready, Verdict};
pub use rules::{RuleText, RuleTextError};
pub use sandbox::{Identity, SandboxError};
pub use scanner::{ScanOptions, Scanner};
pub use worker::{Content, Engine, Judge, Unjudged, WorkerOptions};
