//! What hosts answered to a scan order: events of the category `scan`, and matches of the category `antivirus`, both with
//! the order's id. Read without duplicates; what a host says of itself is believed for that host only.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_ROWS, Store};
use crate::error::StoreError;
use crate::scope::TenantScope;
use crate::sql::{Param, Sql};

/// Hosts whose answers are told.
const MAX_HOSTS: u64 = 100_000;

/// What one host answered so far.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScanAnswer {
    /// Id of the order.
    pub order_id: String,
    /// Agent id.
    pub agent_id: String,
    /// Host name.
    pub hostname: String,
    /// `accepted`, `running`, `refused`, `done`, `cancelled`, `expired` or `failed`.
    pub state: String,
    /// Why it refused, or what it reached.
    pub reason: String,
    /// Files scanned.
    pub files_scanned: u64,
    /// Files in which a rule matched.
    pub files_matched: u64,
    /// Files left out.
    pub files_skipped: u64,
    /// Files whose scan took too long.
    pub files_timed_out: u64,
    /// Files of which nothing is known.
    pub files_unknown: u64,
    /// Entries of archives scanned.
    pub entries_scanned: u64,
    /// Bytes scanned.
    pub bytes_scanned: u64,
    /// When the gateway had the latest answer, RFC 3339.
    pub last_ts: String,
}

/// What all hosts answered to one order so far. Hosts that were not asked count as well: right for an order that asks every
/// host of its tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanTotals {
    /// Id of the order.
    pub order_id: String,
    /// Agent ids that answered anything.
    pub heard: Vec<String>,
    /// Hosts that accepted it.
    pub accepted: u64,
    /// Hosts that are through with it.
    pub answered: u64,
    /// Hosts that refused it.
    pub refused: u64,
    /// Hosts that accepted it and are not through.
    pub running: u64,
    /// Hosts with a match.
    pub hosts_matched: u64,
    /// Files scanned.
    pub files_scanned: u64,
    /// Files in which a rule matched.
    pub files_matched: u64,
    /// Files left out.
    pub files_skipped: u64,
    /// Files whose scan took too long.
    pub files_timed_out: u64,
    /// Files of which nothing is known.
    pub files_unknown: u64,
}

/// One match of a scan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScanMatch {
    /// When it was found, by the host's clock, RFC 3339.
    pub ts: String,
    /// Host name.
    pub host: String,
    /// Agent id.
    pub agent_id: String,
    /// Rule.
    pub rule: String,
    /// File; a member of an archive as `outer.war!/lib/x.jar!/A.class`.
    pub path: String,
    /// Its hash; empty where it is not known.
    pub sha256: String,
    /// Its event.
    pub event_id: String,
    /// The alert that it is part of.
    #[serde(default)]
    pub alert: Option<String>,
}

/// A file that could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScanUnknown {
    /// When, by the host's clock, RFC 3339.
    pub ts: String,
    /// Host name.
    pub host: String,
    /// Agent id.
    pub agent_id: String,
    /// File.
    pub path: String,
    /// Why nothing is known of it.
    pub reason: String,
}

/// When a host was last heard of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// Agent id.
    pub agent_id: String,
    /// By the gateway's clock, microseconds since 1970.
    pub last_seen_us: i64,
}

/// One row for each order and host, up to its grouping. Counters only grow while a host scans: the largest is the latest.
macro_rules! answers {
    () => {
        "SELECT extra['OrderId'] AS order_id, agent AS agent_id, any(host) AS hostname,
        argMaxIf(Action, (received_at, epoch, seq), Action IN ('done', 'cancelled', 'expired', 'failed')) AS ended,
        multiIf(ended != '', ended, countIf(Action = 'refused') > 0 AND countIf(Action IN ('accepted', 'progress')) = 0, 'refused',
            countIf(Action = 'progress') > 0, 'running', 'accepted') AS state,
        argMaxIf(extra['Reason'], (received_at, epoch, seq), Action IN ('refused', 'done', 'cancelled', 'expired', 'failed')) AS reason,
        max(toUInt64OrZero(extra['FilesScanned'])) AS files_scanned, max(toUInt64OrZero(extra['FilesMatched'])) AS files_matched,
        max(toUInt64OrZero(extra['FilesSkipped'])) AS files_skipped, max(toUInt64OrZero(extra['FilesTimedOut'])) AS files_timed_out,
        max(toUInt64OrZero(extra['FilesUnknown'])) AS files_unknown, max(toUInt64OrZero(extra['EntriesScanned'])) AS entries_scanned,
        max(toUInt64OrZero(extra['BytesScanned'])) AS bytes_scanned, max(received_at) AS last_ts
    FROM events_v WHERE {scope} AND category = 'scan'
        AND Action IN ('accepted', 'refused', 'progress', 'done', 'cancelled', 'expired', 'failed')
        AND has({orders:Array(String)}, extra['OrderId'])"
    };
}

/// One row for each order, over [`answers`].
const TOTALS: &str = concat!(
    "SELECT order_id, groupArray(agent_id) AS heard, countIf(state != 'refused') AS accepted,
        countIf(state NOT IN ('accepted', 'running')) AS answered, countIf(state = 'refused') AS refused,
        countIf(state IN ('accepted', 'running')) AS running, countIf(a.files_matched > 0) AS hosts_matched,
        sum(a.files_scanned) AS files_scanned, sum(a.files_matched) AS files_matched, sum(a.files_skipped) AS files_skipped,
        sum(a.files_timed_out) AS files_timed_out, sum(a.files_unknown) AS files_unknown
    FROM (",
    answers!()
);

impl Store {
    /// What each host answered to each of these orders, received since then (microseconds since 1970).
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn scan_answers(&self, scope: &TenantScope, orders: &[String], since: i64) -> Result<Vec<ScanAnswer>, StoreError> {
        let mut sql = answers("scan answers", scope, orders, since, answers!());
        sql.push(" GROUP BY order_id, agent_id ORDER BY order_id, agent_id LIMIT ").uint(MAX_HOSTS);
        self.database().all(sql).await
    }

    /// What all hosts answered to each of these orders.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn scan_totals(&self, scope: &TenantScope, orders: &[String], since: i64) -> Result<Vec<ScanTotals>, StoreError> {
        let mut sql = answers("scan totals", scope, orders, since, TOTALS);
        sql.push(" GROUP BY order_id, agent_id) AS a GROUP BY order_id ORDER BY order_id LIMIT ").uint(MAX_ROWS);
        self.database().all(sql).await
    }

    /// What rules matched, oldest first, each with its alert.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn scan_matches(
        &self,
        scope: &TenantScope,
        order: &str,
        since: i64,
        limit: u64,
    ) -> Result<Vec<ScanMatch>, StoreError> {
        const TEXT: &str =
            "SELECT ts, host, agent AS agent_id, Signature AS rule, Filename AS path, sha256, event_id FROM events_v
            WHERE {scope} AND category = 'antivirus' AND extra['OrderId'] = ";
        let mut sql = Sql::scoped("scan matches", scope, TEXT);
        sql.text(order).between("received_at", Some(since), None);
        sql.push(" ORDER BY events_v.ts, event_id LIMIT ").uint(limit.clamp(1, MAX_ROWS));
        let mut matches: Vec<ScanMatch> = self.database().all(sql).await?;
        let alerts = self.alerts_of(scope, matches.iter().map(|row| row.event_id.clone()).collect()).await?;
        for row in &mut matches {
            row.alert = alerts.get(&row.event_id).cloned();
        }
        Ok(matches)
    }

    /// The alert of each of these events.
    async fn alerts_of(&self, scope: &TenantScope, events: Vec<String>) -> Result<HashMap<String, String>, StoreError> {
        #[derive(Deserialize)]
        struct Line {
            event_id: String,
            alert_id: String,
        }
        if events.is_empty() {
            return Ok(HashMap::new());
        }
        const TEXT: &str = "SELECT arrayJoin(event_ids) AS event_id, min(alert_id) AS alert_id FROM matches
            WHERE {scope} AND category = 'antivirus' AND hasAny(event_ids, {events:Array(String)}) GROUP BY event_id";
        let sql = Sql::scoped("alerts of scan matches", scope, TEXT).set("events", Param::Texts(events));
        let lines: Vec<Line> = self.database().all(sql).await?;
        Ok(lines.into_iter().map(|line| (line.event_id, line.alert_id)).collect())
    }

    /// Files that could not be judged, oldest first.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn scan_unknowns(
        &self,
        scope: &TenantScope,
        order: &str,
        since: i64,
        limit: u64,
    ) -> Result<Vec<ScanUnknown>, StoreError> {
        const TEXT: &str = "SELECT ts, host, agent AS agent_id, TargetFilename AS path, extra['Reason'] AS reason FROM events_v
            WHERE {scope} AND category = 'scan' AND Action = 'unknown' AND extra['OrderId'] = ";
        let mut sql = Sql::scoped("scan unknowns", scope, TEXT);
        sql.text(order).between("received_at", Some(since), None);
        sql.push(" ORDER BY events_v.ts, agent, seq LIMIT ").uint(limit.clamp(1, MAX_ROWS));
        self.database().all(sql).await
    }

    /// When each host was last heard of.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn last_seen(&self, scope: &TenantScope) -> Result<Vec<LastSeen>, StoreError> {
        const TEXT: &str =
            "SELECT agent AS agent_id, toUnixTimestamp64Micro(max(h.last_seen)) AS last_seen_us FROM hosts AS h FINAL
            WHERE {scope} GROUP BY agent LIMIT ";
        let mut sql = Sql::scoped("last seen", scope, TEXT);
        sql.uint(MAX_HOSTS);
        self.database().all(sql).await
    }
}

fn answers(name: &'static str, scope: &TenantScope, orders: &[String], since: i64, text: &'static str) -> Sql {
    let mut sql = Sql::scoped(name, scope, text).set("orders", Param::Texts(orders.to_vec()));
    sql.between("received_at", Some(since), None);
    sql
}
