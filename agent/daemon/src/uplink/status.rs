//! What the uplink says of itself, in a small file that `status` reads without asking anybody.
//!
//! Owns the file. It is replaced as a whole but not synced: it is news, not state.

use std::time::Duration;

use beffroi_schema::Stream;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::lane::Acknowledged;
use super::orders::PollStatus;
use crate::clock::now_us;
use crate::layout::Layout;

/// At most so often is the file written.
const INTERVAL: Duration = Duration::from_secs(1);
/// At least so often, so that a stale file shows that the uplink is gone.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What the uplink is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UplinkState {
    /// Started, nothing sent yet.
    Starting,
    /// The gateway takes what there is.
    Sending,
    /// The last request failed; it is tried again.
    Retrying,
    /// The gateway does not want this host; nothing is sent until it is enrolled again or the process is restarted.
    Stopped,
}

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// Process id.
    pub pid: u32,
    /// When this was written, microseconds since 1970.
    pub updated_at: i64,
    /// What it is doing.
    pub state: UplinkState,
    /// Why, in words; empty when all is well.
    pub detail: String,
    /// The last batch that the gateway has acknowledged.
    pub last_acknowledged: Option<Acknowledged>,
    /// Batches acknowledged since the process began.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Failed requests since the process began.
    pub failures: u64,
    /// The last failure and its time, microseconds since 1970.
    pub last_failure: Option<(i64, String)>,
    /// Streams whose next batch the gateway does not take, and why.
    pub blocked: Vec<(Stream, String)>,
    /// End of the certificate's life, microseconds since 1970.
    pub certificate_not_after: Option<i64>,
    /// What comes down.
    #[serde(default)]
    pub orders: PollStatus,
    /// What the gateway calls itself.
    pub gateway_software: String,
    /// The gateway's clock less this host's (microseconds), as of the last hello.
    pub clock_skew_us: Option<i64>,
}

/// The status and when it was written.
pub(super) struct Status {
    pub(super) now: UplinkStatus,
    layout: Layout,
    written: Option<(Instant, UplinkStatus)>,
}

impl Status {
    pub(super) fn new(layout: &Layout) -> Self {
        let now = UplinkStatus {
            pid: std::process::id(),
            updated_at: now_us(),
            state: UplinkState::Starting,
            detail: String::new(),
            last_acknowledged: crate::layout::read_json::<UplinkStatus>(&layout.uplink_status())
                .ok()
                .flatten()
                .and_then(|before| before.last_acknowledged),
            batches: 0,
            bytes: 0,
            failures: 0,
            last_failure: None,
            blocked: Vec::new(),
            certificate_not_after: None,
            orders: PollStatus::default(),
            gateway_software: String::new(),
            clock_skew_us: None,
        };
        Self { now, layout: layout.clone(), written: None }
    }

    pub(super) fn failure(&mut self, error: &dyn std::fmt::Display) {
        self.now.failures += 1;
        self.now.last_failure = Some((now_us(), error.to_string()));
    }

    /// Writes the file when it is time for it.
    pub(super) fn write_if_due(&mut self, force: bool) {
        let due = match &self.written {
            None => true,
            Some((at, last)) => at.elapsed() >= SIGN_OF_LIFE || (at.elapsed() >= INTERVAL && *last != self.now),
        };
        if !due && !force {
            return;
        }
        self.now.updated_at = now_us();
        let path = self.layout.uplink_status();
        let written = serde_json::to_vec_pretty(&self.now)
            .map_err(std::io::Error::from)
            .and_then(|json| crate::layout::write_news(&path, &json));
        if let Err(error) = written {
            tracing::warn!(%error, "the uplink's status could not be written");
        }
        self.written = Some((Instant::now(), self.now.clone()));
    }
}
