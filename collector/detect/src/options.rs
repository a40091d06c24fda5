//! Settings of the detector.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Settings of the detector.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DetectOptions {
    /// Files and folders with Sigma rules. Empty: the detector is not ready.
    pub rules: Vec<PathBuf>,
    /// Whether changed rule files are loaded while running.
    pub reload: bool,
    /// Consumer group; detectors of one installation share it.
    pub group: String,
    /// How long correlations wait for events that happened before others and come after them, in seconds.
    pub lateness_seconds: f64,
}

impl DetectOptions {
    /// The lateness in microseconds; nonsense is none.
    pub(crate) fn lateness_us(&self) -> i64 {
        // The cast of what is no number, or far too large, only cuts.
        (self.lateness_seconds.clamp(0.0, 3_600.0) * 1e6) as i64
    }
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self { rules: Vec::new(), reload: true, group: beffroi_schema::wire::GROUP_DETECT.into(), lateness_seconds: 10.0 }
    }
}
