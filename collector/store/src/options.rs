//! Settings of the store. Unknown keys are refused, values are checked by [`Options::validate`] before anything starts.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// Rows of one insert block: large enough for few parts, small enough that one block is one engine block (the engine
/// would cut at 1,048,576 rows, and a cut block has no single deduplication token).
pub const MAX_BLOCK_ROWS: usize = 200_000;
/// Raw bytes of one insert block: bounds memory per partition in flight; below the embedded engine's body limit of 128 MiB.
pub const MAX_BLOCK_BYTES: usize = 48 * 1024 * 1024;

/// Where and how rows are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// URL of ClickHouse's HTTP interface, for example `http://127.0.0.1:8123`.
    pub url: String,
    /// User name.
    pub user: String,
    /// File that holds the password; none where the user has none. Never the password itself: settings end up in logs.
    pub password_file: Option<PathBuf>,
    /// Database; created if absent.
    pub database: String,
    /// Use replicated tables (a cluster with Keeper). Chosen once, at the first migration.
    pub replicated: bool,
    /// Days that events, heartbeats and dead letters are kept.
    pub event_days: u32,
    /// Days that alerts, gaps and the audit are kept.
    pub alert_days: u32,
    /// Rows after which a batch is inserted.
    pub batch_rows: usize,
    /// Raw bytes after which a batch is inserted.
    pub batch_bytes: usize,
    /// Milliseconds after which a batch of events is inserted however small it is.
    pub batch_ms: u64,
    /// Milliseconds after which matches are inserted: an analyst waits for them.
    pub alert_batch_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8123".into(),
            user: "default".into(),
            password_file: None,
            database: "beffroi".into(),
            replicated: false,
            event_days: 90,
            alert_days: 365,
            batch_rows: 50_000,
            batch_bytes: 32 * 1024 * 1024,
            batch_ms: 1_000,
            alert_batch_ms: 30,
        }
    }
}

impl Options {
    /// Checks the values.
    ///
    /// # Errors
    /// [`StoreError::Options`] naming the first key that is wrong.
    pub fn validate(&self) -> Result<(), StoreError> {
        let wrong = |key: &'static str, why: &str| Err(StoreError::Options { key, why: why.into() });
        let identifier = |name: &str| {
            name.len() <= 64
                && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        match reqwest::Url::parse(&self.url) {
            Ok(url) if url.scheme() == "http" && url.has_host() => {}
            Ok(url) if url.scheme() == "https" => {
                return wrong(
                    "url",
                    "https is not built in: put a TLS proxy on this host in front of ClickHouse and name it with http://",
                );
            }
            _ => return wrong("url", "not an http:// URL with a host"),
        }
        if !identifier(&self.database) {
            return wrong("database", "not 1 to 64 of a-z, A-Z, 0-9 and _, beginning with a letter");
        }
        if !(1..=3_650).contains(&self.event_days) || !(1..=3_650).contains(&self.alert_days) {
            return wrong("event_days, alert_days", "not between 1 and 3650");
        }
        if !(1..=MAX_BLOCK_ROWS).contains(&self.batch_rows) {
            return wrong("batch_rows", "not between 1 and 200000");
        }
        if !(1..=MAX_BLOCK_BYTES).contains(&self.batch_bytes) {
            return wrong("batch_bytes", "not between 1 and 50331648");
        }
        if !(1..=10_000).contains(&self.batch_ms) || !(1..=10_000).contains(&self.alert_batch_ms) {
            return wrong("batch_ms, alert_batch_ms", "not between 1 and 10000");
        }
        Ok(())
    }

    /// [`Options::batch_ms`], longer when many partitions are assigned: each makes an insert of its own, and a table takes
    /// about twenty a second without trouble.
    pub(crate) fn linger(&self, partitions: usize) -> Duration {
        Duration::from_millis(self.batch_ms.max(50 * partitions as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_refused_by_name() {
        let error = serde_json::from_str::<Options>(r#"{"urll":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("urll"), "{error}");
    }

    #[test]
    fn values_out_of_range_are_refused_by_key() {
        let check = |change: fn(&mut Options)| {
            let mut options = Options::default();
            change(&mut options);
            options.validate().unwrap_err().to_string()
        };
        assert!(check(|o| o.url = "ftp://x".into()).contains("url"));
        assert!(check(|o| o.url = "https://x".into()).contains("https"));
        assert!(check(|o| o.database = "a`; DROP".into()).contains("database"));
        assert!(check(|o| o.event_days = 0).contains("event_days"));
        assert!(check(|o| o.batch_rows = 0).contains("batch_rows"));
        assert!(check(|o| o.batch_ms = 0).contains("batch_ms"));
        Options::default().validate().unwrap();
    }
}
