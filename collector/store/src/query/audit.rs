//! The audit, read back from its projection. Each record names the tenants of whoever asked: an asker sees the records of
//! those whose tenants are all among their own.

use serde::{Deserialize, Serialize};

use super::{MAX_ROWS, Store};
use crate::error::StoreError;
use crate::scope::TenantScope;
use crate::sql::{Row, Sql};

/// How far back the last use of a token is looked for, microseconds: what is older is of no interest.
const USE_US: i64 = 90 * 24 * 3600 * 1_000_000;
/// Tokens whose use is told.
const MAX_TOKENS: u64 = 10_000;

/// Which records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuditFilter {
    /// At this time or later (bus time), microseconds since 1970.
    pub since: Option<i64>,
    /// Before this time.
    pub until: Option<i64>,
    /// Name of whoever asked, or id of their token.
    pub by: Option<String>,
    /// Rows, at most [`MAX_ROWS`].
    pub limit: u64,
}

#[derive(Deserialize)]
struct Use {
    token_id: String,
    used: i64,
}

impl Store {
    /// Audit records as they were written, newest first, each with its `time` (RFC 3339).
    ///
    /// # Errors
    /// [`StoreError::Limit`], or what ClickHouse says.
    pub async fn audit(&self, scope: &TenantScope, filter: &AuditFilter) -> Result<Vec<Row>, StoreError> {
        let mut sql = Sql::within("audit", scope, "SELECT document, ts AS time FROM audit FINAL WHERE {within}");
        sql.between("ts", filter.since, filter.until);
        if let Some(by) = &filter.by {
            sql.push(" AND (by = ").text(by).push(" OR token_id = ").text(by).push(")");
        }
        sql.push(" ORDER BY ts DESC, offset DESC LIMIT ").uint(filter.limit.clamp(1, MAX_ROWS));
        let rows = self.database().rows(sql).await?;
        rows.into_iter().map(record).collect()
    }

    /// When each token was used last (id, bus time in microseconds), as far as 90 days of audit tell.
    ///
    /// # Errors
    /// [`StoreError::Limit`], or what ClickHouse says.
    pub async fn audited_use(&self, scope: &TenantScope) -> Result<Vec<(String, i64)>, StoreError> {
        // A call that was refused because its token is no longer good is no use of it.
        const TEXT: &str = "SELECT token_id, toUnixTimestamp64Micro(max(ts)) AS used FROM audit \
             WHERE {within} AND token_id != '' AND JSONExtractUInt(document, 'status') != 401";
        let mut sql = Sql::within("use of tokens", scope, TEXT);
        sql.between("ts", Some(crate::time::now() - USE_US), None);
        sql.push(" GROUP BY token_id ORDER BY used DESC LIMIT ").uint(MAX_TOKENS);
        let rows: Vec<Use> = self.database().all(sql).await?;
        Ok(rows.into_iter().map(|row| (row.token_id, row.used)).collect())
    }
}

fn record(row: Row) -> Result<Row, StoreError> {
    let text = row.get("document").and_then(|document| document.as_str()).unwrap_or_default();
    let mut record: Row = serde_json::from_str(text)
        .map_err(|error| StoreError::Answer { what: "audit", why: format!("a record is no JSON object: {error}") })?;
    record.insert("time".into(), row.get("time").cloned().unwrap_or_default());
    Ok(record)
}
