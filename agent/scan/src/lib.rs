//! Scanning files with YARA in a child process that may do nothing else: it opens no file, no socket and no program,
//! runs as another user, and is killed at a deadline.
//!
//! The parent ([`Scanner`]) opens the file safely, hands the descriptor over a socket pair and waits for one answer.
//! Whatever the file does to the child (endless scan, crash, memory) ends as [`Outcome::Unknown`] with a reason; the
//! parent goes on with a new child. Nothing here is asynchronous: one thread owns one scanner.

mod cache;
mod engine;
mod open;
mod protocol;
mod sandbox;
mod scanner;
mod wire;
pub mod worker;

pub use cache::{FileKey, VerdictCache};
pub use engine::YaraEngine;
pub use open::{OpenRefusal, OpenedFile, open_for_scan};
pub use protocol::{Hit, Outcome, Ready, Verdict};
pub use sandbox::{Identity, SandboxError};
pub use scanner::{Launcher, ScanError, ScanOptions, Scanner};
pub use worker::{Engine, WorkerOptions};
