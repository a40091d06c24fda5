//! The engine: ClickHouse itself, loaded from `libchdb.so`.
//!
//! Owns everything between an SQL text and its result bytes: the C interface ([`ffi`]), the settings file the
//! engine boots with ([`boot`]), and the bounded set of sessions that run side by side ([`pool`]).
//! Nothing here knows HTTP. A failure of the engine is a value ([`EngineError`]), never a panic.

pub(crate) mod boot;
pub(crate) mod ffi;
pub(crate) mod pool;

use std::path::PathBuf;

/// What can go wrong between us and the engine.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The shared library could not be loaded, or lacks a function we call.
    #[error(
        "cannot load the ClickHouse engine from {path}: {reason}; fetch it with packaging/setup/setup.sh run, or name another file with --lib"
    )]
    Load {
        /// Where we looked.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The engine refused to open its folder.
    #[error(
        "the ClickHouse engine could not open {path}: it gives no reason here, its own words are on stderr above; check the folder's owner, the space left and that no other engine uses it"
    )]
    Connect {
        /// The engine's folder.
        path: PathBuf,
    },
    /// A query failed; `code` and `message` are the engine's own.
    #[error("{message}")]
    Query {
        /// ClickHouse's error code (0 when the text carried none).
        code: u32,
        /// The engine's message, beginning with `Code: N. DB::Exception:`.
        message: String,
    },
    /// The engine's settings file or folder could not be written.
    #[error("cannot prepare {path} for the engine: {source}; check that the folder exists and is writable")]
    Prepare {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}
