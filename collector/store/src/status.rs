//! How each topic stands, for health and `beffroi status`: what works, what does not and why, what was done last.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// State of one topic's way into the tables.
#[derive(Debug, Default)]
pub(crate) struct FeedStatus(Mutex<Standing>);

/// What is known of it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Standing {
    /// Why the bus cannot be read.
    pub(crate) bus: Option<String>,
    /// Why rows cannot be inserted.
    pub(crate) clickhouse: Option<String>,
    /// When a batch last stood, microseconds since 1970; 0 for never.
    pub(crate) last_batch: i64,
    /// Rows that stand since the start.
    pub(crate) rows: u64,
    /// Time that the last batch took.
    pub(crate) last_took: Duration,
}

impl FeedStatus {
    fn change(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn bus_error(&self, why: String) {
        self.change(|standing| standing.bus = Some(why));
    }

    pub(crate) fn bus_works(&self) {
        self.change(|standing| standing.bus = None);
    }

    pub(crate) fn clickhouse_error(&self, why: String) {
        self.change(|standing| standing.clickhouse = Some(why));
    }

    pub(crate) fn clickhouse_works(&self) {
        self.change(|standing| standing.clickhouse = None);
    }

    pub(crate) fn batch(&self, rows: usize, took: Duration) {
        self.change(|standing| {
            standing.last_batch = crate::time::now();
            standing.rows += rows as u64;
            standing.last_took = took;
        });
    }

    pub(crate) fn standing(&self) -> Standing {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
