//! The embedded ClickHouse: a real engine (libchdb) in a process of its own, speaking ClickHouse's HTTP interface
//! on loopback, so that `store` uses one client for one machine and for many.
//!
//! Two halves. [`supervise`] is for the collector: [`Embedded::spawn`] starts the process, keeps it running and
//! tells its state. [`server`] is the process itself (binary `clickhouse-embedded`): the engine unprivileged and confined
//! to its folder, behind a secret.
//!
//! On failure: the process ends with one line on stderr; the supervisor starts it again with back-off and says so.

mod blocks;
mod confine;
mod data;
mod dedup_log;
mod engine;
mod http;
mod launch;
pub mod server;
mod sql;
pub mod supervise;
mod watchdog;

use std::path::PathBuf;

pub use supervise::{Config, Embedded, State};

/// Version of the engine's library in the cache; `packaging/setup/setup.sh` fetches this one.
pub const LIBRARY_VERSION: &str = "26.5.3";

/// Where `packaging/setup/setup.sh` puts the engine's library: `BEFFROI_CACHE`, else `XDG_CACHE_HOME/beffroi`, else
/// `HOME/.cache/beffroi`. `None` when none of these is set.
#[must_use]
pub fn default_library() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let cache = set("BEFFROI_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|c| c.join("beffroi")))
        .or_else(|| set("HOME").map(|h| h.join(".cache/beffroi")))?;
    Some(cache.join(format!("chdb-{LIBRARY_VERSION}")).join("libchdb.so"))
}
