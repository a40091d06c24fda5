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
}

impl Default for DetectOptions {
    fn default() -> Self {
        Self { rules: Vec::new(), reload: true, group: beffroi_schema::wire::GROUP_DETECT.into() }
    }
}
