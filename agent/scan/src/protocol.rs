//! What parent and child say to each other: one JSON value in one packet, a file descriptor beside each request.
//!
//! Owns the shapes and their size limits. A packet that does not parse is an error of the peer; the parent then treats
//! the child as dead.

use serde::{Deserialize, Serialize};

/// Largest packet: all hits with their texts fit, and a socket buffer always holds it.
pub const MAX_PACKET_BYTES: usize = 64 * 1024;
/// Hits reported for one file: more tell an analyst nothing new, and these always fit a packet.
pub const MAX_HITS: usize = 16;
/// Matched strings named for one hit.
pub const MAX_STRINGS: usize = 8;
/// Longest text in a hit (bytes).
pub const MAX_TEXT_BYTES: usize = 256;

/// Parent to child; the open file comes beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Answers carry the same number.
    pub id: u64,
    /// Size of the file when it was opened (bytes).
    pub bytes: u64,
}

/// First word of a child: its rules are loaded and its cell is locked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// SHA-256 that names the rule set, hex.
    pub ruleset: String,
    /// Rules in it.
    pub rules: usize,
    /// What could not be loaded or locked down, in words.
    pub warnings: Vec<String>,
}

/// Child to parent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Reply {
    /// It can work.
    Ready(Ready),
    /// It cannot work at all.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
    /// One answer.
    Scanned {
        /// Number of the request.
        id: u64,
        /// What was found.
        outcome: Outcome,
        /// SHA-256 of the whole content, hex; absent when not all of it was read.
        sha256: Option<String>,
    },
}

/// What a scan has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// At least one rule matched.
    Match {
        /// Which.
        hits: Vec<Hit>,
    },
    /// The whole file was read and no rule matched.
    Clean,
    /// Nothing is known: the file was not, or not wholly, scanned.
    Unknown {
        /// Why.
        reason: String,
    },
}

impl Outcome {
    /// Name in events and counters.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Match { .. } => "match",
            Self::Clean => "clean",
            Self::Unknown { .. } => "unknown",
        }
    }
}

/// A rule that matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Name of the rule.
    pub rule: String,
    /// Its namespace; empty for the default one.
    pub namespace: String,
    /// Names and places of matched strings, for example `$a@0x40`.
    pub strings: Vec<String>,
}

/// A scan's outcome with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// What was found.
    pub outcome: Outcome,
    /// SHA-256 of the content, hex, when all of it was read.
    pub sha256: Option<String>,
    /// Size of the file (bytes).
    pub bytes: u64,
    /// Taken from the cache, not scanned again.
    pub cached: bool,
}

impl Verdict {
    /// Nothing is known, for this reason.
    pub fn unknown(reason: impl Into<String>, bytes: u64) -> Self {
        Self { outcome: Outcome::Unknown { reason: reason.into() }, sha256: None, bytes, cached: false }
    }
}

/// Cuts a text to [`MAX_TEXT_BYTES`] at a character.
pub fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}
