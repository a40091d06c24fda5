//! Every way in which the log can fail, said so that an operator can act on it.
//!
//! Owns the error type of the crate and the sorting of operating-system errors into "no room" and "the rest".
//! An error never leaves the log in a state that needs a person: what was not promised is taken back first.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Result of every fallible call of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, where, and what to do next.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file system, a quota or a file size limit has no room. Whatever was half written has been taken back.
    #[error("no room left to {action} {}: {source}; free space or lower the log's limit, then try again", path.display())]
    NoSpace {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// The operating system's own words.
        source: io::Error,
    },
    /// Any other operating-system error.
    #[error("cannot {action} {}: {source}; check the disk and the folder's owner and mode", path.display())]
    Io {
        /// What was being done, as a verb.
        action: &'static str,
        /// The file it was done to.
        path: PathBuf,
        /// The operating system's own words.
        source: io::Error,
    },
    /// A sync failed. The records appended since the last good sync were taken back, because a disk that refused
    /// a sync may have dropped them without another word: append them again.
    #[error("cannot sync {}: {source}; offsets {} to {} were taken back, append those records again", path.display(), discarded.start, discarded.end)]
    SyncFailed {
        /// The segment.
        path: PathBuf,
        /// Offsets taken back, end exclusive.
        discarded: Range<u64>,
        /// The operating system's own words.
        source: io::Error,
    },
    /// Another process or handle is the writer of this log, or the owner of this cursor.
    #[error("{} is held by another process; stop it first, two writers would destroy each other's records", path.display())]
    Locked {
        /// The lock file or cursor file.
        path: PathBuf,
    },
    /// The log has reached its own limit ([`crate::Options::max_bytes`]).
    #[error("log {} holds {bytes} of at most {max_bytes} bytes and {needed} more are needed; evict or drop its oldest segment, then try again", path.display())]
    Full {
        /// The log's folder.
        path: PathBuf,
        /// Bytes in all segments now.
        bytes: u64,
        /// The limit.
        max_bytes: u64,
        /// Bytes the refused call needs.
        needed: u64,
    },
    /// One record is larger than [`crate::Options::max_record_bytes`].
    #[error("a record of {bytes} bytes is larger than the log's limit of {max} bytes; split it")]
    RecordTooLarge {
        /// Size of the payload.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// One batch is larger than a segment.
    #[error("a batch needs {bytes} bytes or more, a segment takes {max}; append fewer records at once")]
    BatchTooLarge {
        /// Bytes needed when the limit was passed.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The file is intact but written by a later version of this program.
    #[error("{} has format version {version}, this program reads up to {supported}; use the newer program", path.display(), supported = crate::format::VERSION)]
    NewerFormat {
        /// The segment.
        path: PathBuf,
        /// The version found.
        version: u16,
    },
    /// The arguments of `replace_oldest` contradict the log.
    #[error("cannot replace the oldest records: {reason}")]
    InvalidReplacement {
        /// Which rule was broken.
        reason: String,
    },
    /// The options contradict each other.
    #[error("log options are unusable: {reason}")]
    InvalidOptions {
        /// Which rule was broken.
        reason: &'static str,
    },
    /// Cursor metadata is larger than [`crate::MAX_CURSOR_METADATA_BYTES`].
    #[error("cursor metadata of {bytes} bytes is larger than {max}; store a reference instead", max = crate::MAX_CURSOR_METADATA_BYTES)]
    MetadataTooLarge {
        /// Size of the metadata.
        bytes: usize,
    },
    /// A file that should be a plain file is something else (symbolic link, pipe, device).
    #[error("{} is not a plain file; remove it, this folder must hold nothing else", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
}

impl Error {
    /// True when the cause is lack of room, on the disk or under the log's own limit.
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::NoSpace { .. } | Self::Full { .. } => true,
            Self::SyncFailed { source, .. } => means_no_space(source),
            _ => false,
        }
    }

    /// Sorts an operating-system error.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_path_buf();
        match means_no_space(&source) {
            true => Self::NoSpace { action, path, source },
            false => Self::Io { action, path, source },
        }
    }

    /// True when the file or folder does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Disk full, quota reached, or file size limit reached: the three ways of having no room.
fn means_no_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG))
}
