//! How a role says whether it can do its work. Health tells the truth: a role whose broker is down is not ready.

use serde::{Deserialize, Serialize};

/// State of one role of the collector.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleHealth {
    /// `gateway`, `enroll`, `detect`, `store`, `api`, `bus`, `clickhouse`.
    pub role: String,
    /// Whether it can do its work now.
    pub ready: bool,
    /// Why not, or a short word on how it stands.
    pub detail: String,
    /// Figures for `beffroi status`: lag, last batch, certificate expiry.
    #[serde(default)]
    pub figures: Vec<(String, String)>,
}

impl RoleHealth {
    /// A role that works.
    pub fn ready(role: &str, detail: impl Into<String>) -> Self {
        Self { role: role.into(), ready: true, detail: detail.into(), figures: Vec::new() }
    }

    /// A role that cannot work, and why.
    pub fn not_ready(role: &str, why: impl Into<String>) -> Self {
        Self { role: role.into(), ready: false, detail: why.into(), figures: Vec::new() }
    }

    /// Adds a figure.
    #[must_use]
    pub fn figure(mut self, name: &str, value: impl ToString) -> Self {
        self.figures.push((name.into(), value.to_string()));
        self
    }
}
