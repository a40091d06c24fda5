//! How orders stand, for `beffroi-agent status` and the counters of heartbeats.
//!
//! Owns the shapes in the sensor's status file. Members are only added: an older file must still be read.

use std::collections::BTreeMap;

use beffroi_scan::job::Counters;
use beffroi_schema::OrderId;
use serde::{Deserialize, Serialize};

/// What is happening to an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Accepted; its rule texts are not all here.
    WaitingForRules,
    /// Accepted; another scan is running.
    Waiting,
    /// The scan runs.
    Running,
    /// Cancelled; the scan is ending.
    Ending,
}

impl OrderState {
    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::WaitingForRules => "waiting for its rules",
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Ending => "ending",
        }
    }
}

/// One order that is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    /// Which.
    pub id: OrderId,
    /// What is happening to it.
    pub state: OrderState,
    /// Who signed it.
    pub operator: String,
    /// When it was accepted, microseconds since 1970.
    pub received: i64,
    /// When it ends, microseconds since 1970.
    pub expires: i64,
    /// Files scanned so far.
    pub files_scanned: u64,
    /// Files matched so far.
    pub files_matched: u64,
}

impl OrderLine {
    /// One line for an operator who asks a host for its orders.
    pub(super) fn text(&self) -> String {
        let expires = beffroi_schema::json::rfc3339(self.expires);
        format!("{} {} by {} until {expires}, {} files scanned", self.id, self.state.name(), self.operator, self.files_scanned)
    }

    pub(super) fn count(&mut self, counters: &Counters) {
        self.files_scanned = counters.files_scanned;
        self.files_matched = counters.files_matched;
    }
}

/// How orders stand.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OrdersStatus {
    /// Orders that are not finished, the oldest first.
    pub pending: Vec<OrderLine>,
    /// Accepted since the process began.
    pub accepted: u64,
    /// Refused since the process began, by code.
    pub refused: BTreeMap<String, u64>,
    /// Orders that had been accepted before and came again.
    pub repeated: u64,
    /// Version of the revocations in force; 0 when there are none.
    pub revocation_version: u64,
    /// Why no order can be taken, if so.
    #[serde(default)]
    pub problem: String,
    /// Process id of the worker of the running scan.
    #[serde(default)]
    pub worker: Option<u32>,
}

impl OrdersStatus {
    /// Its figures as named counters.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let mut counters = vec![
            ("orders.accepted".to_owned(), self.accepted),
            ("orders.refused".to_owned(), self.refused.values().sum()),
            ("orders.repeated".to_owned(), self.repeated),
            ("orders.pending".to_owned(), self.pending.len() as u64),
        ];
        counters.extend(self.refused.iter().map(|(code, count)| (format!("orders.refused.{code}"), *count)));
        counters
    }
}
