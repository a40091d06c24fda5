//! The audit, read back.

use beffroi_store::AuditFilter;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Operation;
use crate::desk::Desk;
use crate::error::Refusal;
use crate::params;

/// Records when no number is asked for.
const DEFAULT_ROWS: u64 = 100;

/// Who did what.
pub(crate) struct List;

/// Which records.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "AuditInput")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListInput {
    /// At this time or later: RFC 3339, or how long ago (`30m`, `24h`, `7d`).
    pub(crate) since: Option<String>,
    /// Before this time.
    pub(crate) until: Option<String>,
    /// Name of whoever asked, or id of their token.
    pub(crate) by: Option<String>,
    /// Rows; 0 for 100, at most 10000.
    pub(crate) limit: u64,
}

/// Audit records, newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "AuditAnswer")]
pub(crate) struct Records {
    /// As they were written; `time` is `ts` in RFC 3339.
    pub(crate) records: Vec<serde_json::Map<String, serde_json::Value>>,
    /// Records that stand on the bus and not yet in this answer; none when the bus does not say.
    pub(crate) behind: Option<i64>,
}

impl Operation for List {
    type Input = ListInput;
    type Answer = Records;

    async fn run(desk: &Desk<'_>, p: ListInput) -> Result<Records, Refusal> {
        let filter = AuditFilter {
            since: params::time("since", p.since.as_deref())?,
            until: params::time("until", p.until.as_deref())?,
            by: p.by.filter(|by| !by.is_empty()),
            limit: if p.limit == 0 { DEFAULT_ROWS } else { p.limit },
        };
        // Asked first: what is said to be missing is then never less than what is.
        let behind = desk.audit_behind().await;
        Ok(Records { records: desk.audit_records(&filter).await?, behind })
    }

    fn rows(answer: &Records) -> u64 {
        answer.records.len() as u64
    }
}
