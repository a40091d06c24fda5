//! The store: rows of events, alerts, gaps and operations in ClickHouse, and the named questions over them. This is the
//! only crate that knows ClickHouse; it speaks HTTP to any server, and to the embedded engine alike.
//!
//! What holds:
//! - Rows are keyed by identity: a record delivered twice, in whatever batch, is one row to whoever reads.
//! - Offsets move only after rows stand; a block's bounds are written down before it is inserted (`pipeline.rs`).
//! - Partition and life of a row follow the gateway's clock, never the agent's.
//! - No asker's text becomes SQL, and no question over tenants' rows can be built without a [`TenantScope`].
//! - ClickHouse away: not ready in [`Handle::health`], the bus keeps what comes, nothing is dropped.
//!
//! Many machines: run with `replicated` and create the database as `Replicated` before the first start, or run the store
//! once against each replica: migrations carry no `ON CLUSTER`. A real server should set `fsync_after_insert` and
//! `fsync_part_directory` for MergeTree tables, as the embedded engine does, or be replicated; else a power cut may cost the
//! last seconds of stored rows (the bus still has them, but its offsets have moved).

#![forbid(unsafe_code)]

mod database;
mod decode;
mod error;
mod feeds;
mod insert;
mod intent;
mod lane;
mod migrate;
mod options;
mod pipeline;
mod query;
mod rows;
mod scope;
mod service;
mod sql;
mod status;
mod time;

pub use error::StoreError;
pub use options::{MAX_BLOCK_BYTES, MAX_BLOCK_ROWS, Options};
pub use query::{
    Alert, AlertFilter, AlertSummary, Alerts, AlertsSince, AuditFilter, Conflict, Coverage, EventSearch, Figures, Filter, Found,
    Group, Hook, HostRow, LastSeen, LevelCount, MAX_ROWS, MIN_PREFIX, Op, ProcessNode, ProcessTree, Resolved, ScanAnswer,
    ScanMatch, ScanTotals, ScanUnknown, Store, TableFigures,
};
pub use scope::TenantScope;
pub use service::{Handle, start};

/// The consumer groups of the store with their topics, for whoever shows lag.
pub fn consumer_groups() -> Vec<(beffroi_bus::Topic, String)> {
    feeds::Feed::ALL.iter().map(|feed| (feed.topic(), feed.group())).collect()
}
