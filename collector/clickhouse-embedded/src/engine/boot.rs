//! The settings the engine starts with, and the folder it lives in.
//!
//! Owns `<data>/engine.xml` (rewritten at every start, outside what SQL can write) and `<data>/clickhouse/`
//! (the only folder the engine may write). On failure: [`EngineError::Prepare`] naming the file.
//!
//! **Power cuts.** ClickHouse acknowledges an insert once the part's files are written, not once they are on
//! the disk: a power cut could then lose the last seconds of *acknowledged* rows, and the design promises that none
//! is lost. So `fsync_after_insert` and `fsync_part_directory` are on for every MergeTree table here (a table can
//! still say otherwise in its own SETTINGS, and `--no-fsync` turns it off for all).
//!
//! Measured with `tests/throughput.rs` on two busy cores and a virtual disk (November 2026), the official crate, one
//! insert at a time, rows of about 90 bytes; medians move by some 20 % between runs:
//!
//! | batch        | synced: rows/s, median, worst | not synced: rows/s, median, worst |
//! |--------------|-------------------------------|-----------------------------------|
//! | 1,000 rows   | 34,000, 13 ms, 1,585 ms       | 61,000, 15 ms, 39 ms              |
//! | 20,000 rows  | 536,000, 32 ms, 99 ms         | 678,000, 28 ms, 60 ms             |
//! | 100,000 rows | 598,000, 161 ms, 310 ms       | 912,000, 107 ms, 153 ms           |
//!
//! The price is in the tail (a disk busy with others), which batches of thousands of rows absorb.
//! Merges are not synced (`min_rows_to_fsync_after_merge` stays 0): a merge's sources are kept for eight minutes
//! (`old_parts_lifetime`) and read again when the merged part is found broken.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::EngineError;

/// Mark cache: the server's default of 5 GiB is more than many whole machines here have.
const MARK_CACHE_BYTES: u64 = 256 << 20;
/// Uncompressed-block cache off: the page cache does that work on one machine.
const UNCOMPRESSED_CACHE_BYTES: u64 = 0;

/// What the engine may use.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// All queries and caches together, in bytes.
    pub(crate) memory_bytes: u64,
    /// One query, in seconds.
    pub(crate) query_seconds: u64,
    /// One query's result, in bytes; results are kept whole in memory.
    pub(crate) result_bytes: u64,
    /// Sync each insert to the disk before acknowledging it.
    pub(crate) fsync: bool,
}

impl Limits {
    /// The settings every session starts from (and returns to after each query).
    pub(crate) fn session_settings(&self) -> Vec<(String, String)> {
        let per_query = self.memory_bytes / 2;
        [
            ("max_execution_time", self.query_seconds.to_string()),
            ("max_memory_usage", per_query.to_string()),
            ("max_result_bytes", self.result_bytes.to_string()),
            ("result_overflow_mode", "throw".to_owned()),
            // Group-bys and sorts above half a query's share go to disk instead of failing.
            ("max_bytes_before_external_group_by", (per_query / 2).to_string()),
            ("max_bytes_before_external_sort", (per_query / 2).to_string()),
            // The process cannot open sockets: fail at once instead of retrying for half a minute.
            ("http_max_tries", "1".to_owned()),
            ("s3_max_single_read_retries", "1".to_owned()),
            // 500 by default, with growing waits that max_execution_time does not interrupt.
            ("s3_retry_attempts", "0".to_owned()),
            ("backup_restore_s3_retry_attempts", "0".to_owned()),
            ("azure_sdk_max_retries", "0".to_owned()),
            ("connections_with_failover_max_tries", "1".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    }
}

/// The engine's own folder and settings file under the data folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// Tables, metadata, temporary files.
    pub(crate) folder: PathBuf,
    /// The settings file.
    pub(crate) config: PathBuf,
}

impl Layout {
    /// The paths under `data` (absolute).
    pub(crate) fn under(data: &Path) -> Self {
        Self { folder: data.join("clickhouse"), config: data.join("engine.xml") }
    }

    /// Creates the folder and writes the settings file.
    pub(crate) fn prepare(&self, limits: &Limits) -> Result<(), EngineError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| EngineError::Prepare { path, source }
        };
        std::fs::create_dir_all(&self.folder).map_err(failed(&self.folder))?;
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.config)
            .map_err(failed(&self.config))?;
        file.write_all(settings_file(limits).as_bytes()).map_err(failed(&self.config))
    }
}

fn settings_file(limits: &Limits) -> String {
    let fsync = u8::from(limits.fsync);
    let mut text = String::from("<clickhouse>\n");
    let values = [
        ("max_server_memory_usage", limits.memory_bytes),
        ("mark_cache_size", MARK_CACHE_BYTES.min(limits.memory_bytes / 8)),
        ("uncompressed_cache_size", UNCOMPRESSED_CACHE_BYTES),
    ];
    for (name, value) in values {
        let _infallible = writeln!(text, "  <{name}>{value}</{name}>");
    }
    let _infallible = writeln!(
        text,
        "  <merge_tree><fsync_after_insert>{fsync}</fsync_after_insert><fsync_part_directory>{fsync}</fsync_part_directory></merge_tree>"
    );
    text.push_str("</clickhouse>\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_settings_file_says_whether_inserts_are_synced() {
        let limits = Limits { memory_bytes: 1 << 30, query_seconds: 60, result_bytes: 1 << 20, fsync: true };
        assert!(settings_file(&limits).contains("<fsync_after_insert>1<"));
        assert!(settings_file(&Limits { fsync: false, ..limits }).contains("<fsync_after_insert>0<"));
    }
}
