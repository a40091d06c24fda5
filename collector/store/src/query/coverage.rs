//! Where nobody watched: gaps that agents declared, holes that none declared, ids that stand for two contents.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_ROWS, Store};
use crate::error::StoreError;
use crate::scope::TenantScope;
use crate::sql::Sql;

/// How old a range must be before what is missing before it counts: records of one stream come in order, but a table is
/// read while it is written.
const GRACE_US: i64 = 30 * 1_000_000;
/// Streams that were heard of within this time are looked at by default, microseconds: what the bus keeps.
const ACTIVE_US: i64 = 72 * 3600 * 1_000_000;
/// An epoch older than this may have outlived the ledger of its beginning: it is judged from its first known range.
const YOUNG_US: i64 = 24 * 24 * 3600 * 1_000_000;
/// Holes that are listed.
const MAX_HOLES: u64 = 1_000;

/// An interval that is not covered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Tenant.
    pub tenant: String,
    /// Agent id.
    pub agent_id: String,
    /// Host name, where known.
    pub hostname: String,
    /// Stream number.
    pub stream: u8,
    /// Why: a reason of the agent's, or `undeclared`.
    pub reason: String,
    /// What lost it: a hook, `spool`, `sensor`; `store` for what the store found.
    pub hook: String,
    /// Records lost, where that can be known.
    pub lost: Option<u64>,
    /// From when, RFC 3339, by the agent's clock (for an undeclared hole: when it was received).
    pub from: String,
    /// To when.
    pub to: String,
    /// First missing number, where numbers are missing; else 0.
    pub first_seq: u64,
    /// Last missing number.
    pub last_seq: u64,
    /// When the gateway heard of it.
    pub received_at: String,
}

/// One event id with several contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    /// Tenant.
    pub tenant: String,
    /// The id.
    pub event_id: String,
    /// How many contents stand under it.
    pub contents: u64,
}

const HOLES: &str = "WITH ranges AS (
    SELECT tenant, agent, epoch, stream, first, last, received_at FROM ledger FINAL WHERE {scope}
    UNION ALL
    SELECT tenant, agent, epoch, stream, last + 1 AS first, last, h.received_at AS received_at FROM heads AS h FINAL
    INNER JOIN (SELECT tenant, agent, max(if(toUnixTimestamp64Micro(spool_oldest) = 0, b.ts, b.spool_oldest)) AS settled
        FROM heartbeats AS b FINAL GROUP BY tenant, agent) AS s USING (tenant, agent)
    WHERE h.ts <= s.settled
)
SELECT tenant, agent AS agent_id, '' AS hostname, stream, 'undeclared' AS reason, 'store' AS hook,
    first - before - 1 AS lost, received_at AS `from`, received_at AS `to`, before + 1 AS first_seq, first - 1 AS last_seq,
    received_at
FROM (
    SELECT *, max(last) OVER w AS seen, row_number() OVER w2 AS place,
        if(place = 1, if(toInt64(reinterpretAsUInt64(reverse(unhex(substring(epoch, 1, 16))))) > {young:Int64}, 0, first - 1), seen) AS before
    FROM ranges
    WHERE (tenant, agent, epoch, stream) IN (SELECT tenant, agent, epoch, stream FROM ledger
        WHERE received_at >= fromUnixTimestamp64Micro({active:Int64}, 'UTC')
        UNION ALL SELECT tenant, agent, epoch, stream FROM heads WHERE received_at >= fromUnixTimestamp64Micro({active:Int64}, 'UTC'))
    WINDOW w AS (PARTITION BY tenant, agent, epoch, stream ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING),
        w2 AS (PARTITION BY tenant, agent, epoch, stream ORDER BY first, last ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
)
WHERE {scope} AND first > before + 1 AND received_at <= fromUnixTimestamp64Micro({settled:Int64}, 'UTC')";

impl Store {
    /// Missing numbers that no agent declared lost, found from the ledger of what is stored and from the heads that agents
    /// name. `agent` narrows it to one host, `since` to streams heard of since then (microseconds; default: 72 h).
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn holes(&self, scope: &TenantScope, agent: Option<&str>, since: Option<i64>) -> Result<Vec<Coverage>, StoreError> {
        let now = crate::time::now();
        let mut sql = Sql::scoped("holes", scope, HOLES)
            .set("young", crate::sql::Param::Int(now - YOUNG_US))
            .set("active", crate::sql::Param::Int(crate::time::clamp(since.unwrap_or(now - ACTIVE_US))))
            .set("settled", crate::sql::Param::Int(now - GRACE_US));
        if let Some(agent) = agent {
            sql.push(" AND agent = ").text(agent);
        }
        sql.push(" ORDER BY received_at DESC LIMIT ").uint(MAX_HOLES);
        self.database().all(sql).await
    }

    /// Gaps that agents declared and holes that they did not, newest first. `host` is an agent id, a prefix of one, or a host
    /// name; the interval overlaps `since` to `until`.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn gaps(
        &self,
        scope: &TenantScope,
        host: Option<&str>,
        since: Option<i64>,
        until: Option<i64>,
        limit: u64,
    ) -> Result<Vec<Coverage>, StoreError> {
        let mut gaps = self.coverage(scope, host, since, until, limit).await?;
        let holes = self.holes(scope, None, since).await?;
        let fits = |hole: &Coverage| host.is_none_or(|host| hole.agent_id.starts_with(&host.to_ascii_lowercase()));
        gaps.extend(holes.into_iter().filter(fits));
        gaps.sort_by(|a, b| b.to.cmp(&a.to));
        gaps.truncate(limit.clamp(1, MAX_ROWS) as usize);
        Ok(gaps)
    }

    /// Declared gaps only.
    pub(super) async fn coverage(
        &self,
        scope: &TenantScope,
        host: Option<&str>,
        since: Option<i64>,
        until: Option<i64>,
        limit: u64,
    ) -> Result<Vec<Coverage>, StoreError> {
        const TEXT: &str = "SELECT tenant, agent AS agent_id, host AS hostname, stream, reason, hook, lost, \
             from_ts AS `from`, to_ts AS `to`, first_seq, last_seq, received_at FROM gaps FINAL WHERE {scope}";
        let mut sql = Sql::scoped("gaps", scope, TEXT);
        if let Some(host) = host {
            super::hosts::named(&mut sql, "host", host);
        }
        sql.between("to_ts", since, None).between("from_ts", None, until);
        // An epoch's first record and a gap record of the sensor may tell of the same interval.
        sql.push(" ORDER BY to_ts DESC LIMIT 1 BY tenant, agent, reason, from_ts, to_ts, first_seq LIMIT ");
        sql.uint(limit.clamp(1, MAX_ROWS));
        self.database().all(sql).await
    }

    /// Event ids that stand for more than one content: a cloned or hostile host. Only batches that overlap in the ledger of
    /// the last 72 hours are looked into.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn conflicts(&self, scope: &TenantScope) -> Result<Vec<Conflict>, StoreError> {
        const TEXT: &str = "WITH overlapping AS (
                SELECT DISTINCT tenant, agent, epoch, stream FROM (
                    SELECT *, max(last) OVER (PARTITION BY tenant, agent, epoch, stream ORDER BY first, last, batch_hash
                        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS seen
                    FROM ledger FINAL WHERE {scope} AND received_at >= fromUnixTimestamp64Micro({active:Int64}, 'UTC'))
                WHERE first <= seen)
            SELECT tenant, concat(agent, '-', epoch, '-', toString(stream), '-', toString(seq)) AS event_id,
                uniqExact(content) AS contents
            FROM events WHERE {scope} AND received_at >= fromUnixTimestamp64Micro({active:Int64}, 'UTC')
                AND (tenant, agent, epoch, stream) IN overlapping
            GROUP BY tenant, agent, epoch, stream, seq HAVING contents > 1 ORDER BY event_id LIMIT 1000";
        let active = crate::sql::Param::Int(crate::time::now() - ACTIVE_US);
        self.database().all(Sql::scoped("conflicts", scope, TEXT).set("active", active)).await
    }
}
