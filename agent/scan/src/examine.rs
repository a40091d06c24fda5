//! What the parent asks of one open file, and what it hears.

use std::time::Duration;

use crate::job::CancelFlag;
use crate::protocol::Outcome;
pub use crate::protocol::{ArchiveLimits, Inner};

/// How one file is examined.
#[derive(Debug, Clone)]
pub struct Examine {
    /// Budget of the file with everything in it; the worker is killed soon after.
    pub time: Duration,
    /// How archives are opened; closed without it.
    pub archives: Option<ArchiveLimits>,
    /// Whether hits carry metadata and the text of strings.
    pub details: bool,
    /// Ends the examination, and the worker with it.
    pub cancel: CancelFlag,
}

/// What an examination has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// What was found in the file as it stands on the disk.
    pub outcome: Outcome,
    /// SHA-256 of that, hex, when all of it was read.
    pub sha256: Option<String>,
    /// Members of archives that matched or are unknown, in the order in which they were looked at.
    pub members: Vec<Member>,
    /// What happened inside, in numbers; larger than `members` where a limit cut the list.
    pub inner: Inner,
    /// Whether it ended because it was cancelled.
    pub cancelled: bool,
}

impl Examination {
    /// Nothing is known, for this reason.
    pub(crate) fn unknown(reason: impl Into<String>) -> Self {
        let outcome = Outcome::Unknown { reason: reason.into() };
        Self { outcome, sha256: None, members: Vec::new(), inner: Inner::default(), cancelled: false }
    }

    /// Whether rules matched, in the file or in a member.
    pub fn is_match(&self) -> bool {
        matches!(self.outcome, Outcome::Match { .. }) || self.inner.matched > 0
    }

    /// Whether nothing, or not everything, is known.
    pub fn is_unknown(&self) -> bool {
        matches!(self.outcome, Outcome::Unknown { .. }) || self.inner.unknown > 0
    }
}

/// A member of an archive, or an archive of which the rest is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Where: `!/a.jar!/x.class` behind the outermost file's path; empty for that file itself.
    pub inside: Vec<u8>,
    /// What was found; never clean.
    pub outcome: Outcome,
    /// SHA-256 of the member, hex, when all of it was read.
    pub sha256: Option<String>,
    /// Bytes of the member that were scanned.
    pub bytes: u64,
}
