//! What parent and child say to each other: one JSON value in one packet, a file descriptor beside each request.
//!
//! The child answers a request with any number of [`Reply::Found`] (members of an archive) and then one
//! [`Reply::Scanned`]. Owns the shapes and their size limits. A packet that does not parse is an error of the peer; the parent then treats
//! the child as dead.

use serde::{Deserialize, Serialize};

use crate::examine::Member;

/// Largest packet: all hits with their texts fit, and a socket buffer always holds it.
pub const MAX_PACKET_BYTES: usize = 64 * 1024;
/// Hits reported for one file: more tell an analyst nothing new, and these always fit a packet.
pub const MAX_HITS: usize = 16;
/// Matched strings named for one hit.
pub const MAX_STRINGS: usize = 8;
/// Longest text in a hit (bytes).
pub const MAX_TEXT_BYTES: usize = 256;

/// Metadata of a rule that a hit carries: more tells an analyst nothing new.
pub const MAX_META: usize = 16;
/// Longest name of a file that rules are told (bytes): its end is what rules ask for.
pub const MAX_NAME_BYTES: usize = 4 * 1024;
/// Members of one outermost file that are named because rules matched them.
pub const MAX_MATCHED_MEMBERS: usize = 1_000;
/// Members of one outermost file that are named because nothing is known of them: a hostile archive must not drown the
/// rest of a job.
pub const MAX_UNKNOWN_MEMBERS: usize = 100;

/// Parent to child; the open file comes beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Answers carry the same number.
    pub id: u64,
    /// Size of the file when it was opened (bytes).
    pub bytes: u64,
    /// The end of its path, for rules that ask for it.
    pub name: String,
    /// Budget of the file with everything in it (milliseconds).
    pub timeout_ms: u64,
    /// How archives are opened; closed without it.
    pub archives: Option<ArchiveLimits>,
    /// Whether hits carry metadata and the text of strings.
    pub details: bool,
}

/// How archives are opened. All limits but the depth are one budget for the outermost file with everything in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArchiveLimits {
    /// Archives inside archives: 1 opens the outermost only.
    pub depth: u32,
    /// Members that are looked at.
    pub entries: u64,
    /// Bytes that are unpacked.
    pub bytes: u64,
    /// Bytes of one member: it is held in memory while it is scanned, up to `depth` of them at a time.
    pub member_bytes: u64,
}

impl Default for ArchiveLimits {
    fn default() -> Self {
        Self { depth: 4, entries: 100_000, bytes: 1 << 30, member_bytes: 32 << 20 }
    }
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
    /// Something inside an archive, before the answer.
    Found {
        /// Number of the request.
        id: u64,
        /// Where: `!/a.jar!/x.class` behind the outermost file's path, hex; empty for that file itself.
        inside: String,
        /// What was found; never clean.
        outcome: Outcome,
        /// SHA-256 of the member, hex; absent when not all of it was read.
        sha256: Option<String>,
        /// Bytes of the member that were scanned.
        bytes: u64,
    },
    /// The answer.
    Scanned {
        /// Number of the request.
        id: u64,
        /// What was found in the file as it stands on the disk.
        outcome: Outcome,
        /// SHA-256 of the whole content, hex; absent when not all of it was read.
        sha256: Option<String>,
        /// What happened inside of it.
        inner: Inner,
    },
}

/// What happened inside an archive, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inner {
    /// Members that were looked at.
    pub entries: u64,
    /// Bytes that were unpacked.
    pub bytes: u64,
    /// Members that matched, named or not.
    pub matched: u64,
    /// Members and rests of archives of which nothing is known, named or not.
    pub unknown: u64,
    /// Whether the time of the file was over before everything was looked at.
    pub timed_out: bool,
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Hit {
    /// Name of the rule.
    pub rule: String,
    /// Its namespace; empty for the default one.
    pub namespace: String,
    /// Names and places of matched strings, for example `$a@0x40`; with details `0x40:4:$a: evil`.
    pub strings: Vec<String>,
    /// Metadata of the rule, where details were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub meta: Vec<(String, String)>,
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
    /// The first members that matched, if it is an archive and archives are opened.
    pub members: Vec<Member>,
    /// Taken from the cache, not scanned again.
    pub cached: bool,
}

impl Verdict {
    /// Nothing is known, for this reason.
    pub fn unknown(reason: impl Into<String>, bytes: u64) -> Self {
        let outcome = Outcome::Unknown { reason: reason.into() };
        Self { outcome, sha256: None, bytes, members: Vec::new(), cached: false }
    }
}

/// A reply as a packet. Where it would be too large, texts that only help a reader go first, then all but the first
/// hits' names.
pub fn fit(reply: &Reply) -> serde_json::Result<Vec<u8>> {
    let packet = serde_json::to_vec(reply)?;
    if packet.len() <= MAX_PACKET_BYTES {
        return Ok(packet);
    }
    let mut reply = reply.clone();
    let (Reply::Found { outcome, .. } | Reply::Scanned { outcome, .. }) = &mut reply else { return Ok(packet) };
    if let Outcome::Match { hits } = outcome {
        hits.iter_mut().for_each(|hit| hit.meta.clear());
        if serde_json::to_vec(&hits)?.len() > MAX_PACKET_BYTES / 2 {
            hits.iter_mut().for_each(|hit| hit.strings.clear());
        }
    }
    serde_json::to_vec(&reply)
}

/// Cuts a text to [`MAX_TEXT_BYTES`] at a character.
pub fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_reply_fits_a_packet_and_keeps_the_names_of_its_rules() {
        let text = "\u{1}".repeat(MAX_TEXT_BYTES);
        let hit = Hit {
            rule: "R".repeat(MAX_TEXT_BYTES),
            namespace: "n".repeat(MAX_TEXT_BYTES),
            strings: vec![text.clone(); MAX_STRINGS],
            meta: vec![(text.clone(), text); MAX_META],
        };
        let outcome = Outcome::Match { hits: vec![hit; MAX_HITS] };
        let inside = hex::encode(vec![b'x'; 2 * MAX_NAME_BYTES]);
        let packet = fit(&Reply::Found { id: u64::MAX, inside, outcome, sha256: Some("0".repeat(64)), bytes: 1 }).unwrap();
        assert!(packet.len() <= MAX_PACKET_BYTES, "{}", packet.len());
        let Reply::Found { outcome: Outcome::Match { hits }, .. } = serde_json::from_slice(&packet).unwrap() else { panic!() };
        assert!(hits.len() == MAX_HITS && hits.iter().all(|hit| hit.rule.len() == MAX_TEXT_BYTES));
    }
}
