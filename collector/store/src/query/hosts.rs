//! Hosts: who they say they are, when they were last heard of, how they stand.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_ROWS, MIN_PREFIX, Resolved, Store};
use crate::error::StoreError;
use crate::scope::TenantScope;
use crate::sql::Sql;

/// State of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hook {
    /// Name.
    pub name: String,
    /// Whether it is attached.
    pub on: bool,
    /// Why not.
    pub why: String,
    /// Records seen in this epoch.
    pub seen: u64,
    /// Records lost in this epoch.
    pub dropped: u64,
}

/// A host. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct HostRow {
    /// Tenant.
    pub tenant: String,
    /// Agent id.
    pub agent_id: String,
    /// Host name.
    pub hostname: String,
    /// Operating system.
    pub os: String,
    /// Kernel.
    pub kernel: String,
    /// Architecture.
    pub architecture: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Boot id.
    pub boot_id: String,
    /// Addresses.
    pub addresses: Vec<String>,
    /// Address that the gateway saw.
    pub remote: String,
    /// Run of the sensor.
    pub epoch: String,
    /// When the gateway last heard of it.
    pub last_seen: String,
    /// When it last gave a sign of life; empty for never.
    pub last_heartbeat: String,
    /// Bytes in its spool.
    pub spool_bytes: u64,
    /// Its oldest batch that is not acknowledged; empty for none.
    pub spool_oldest: String,
    /// CPU time of the agent in this epoch, microseconds.
    pub cpu_us: u64,
    /// Memory of the agent.
    pub rss_bytes: u64,
    /// Policy in force.
    pub policy_version: u64,
    /// Records lost by all hooks in this epoch.
    pub dropped: u64,
    /// Probes.
    pub hooks: Vec<Hook>,
    /// Counters.
    pub counters: BTreeMap<String, u64>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    host: HostRow,
    beats: u64,
    hook_names: Vec<String>,
    hook_on: Vec<bool>,
    hook_why: Vec<String>,
    hook_seen: Vec<u64>,
    hook_dropped: Vec<u64>,
    spool_us: i64,
}

impl Line {
    fn row(self) -> HostRow {
        let mut host = self.host;
        let figures = self.hook_seen.into_iter().zip(self.hook_dropped);
        let words = self.hook_names.into_iter().zip(self.hook_on).zip(self.hook_why);
        host.hooks =
            words.zip(figures).map(|(((name, on), why), (seen, dropped))| Hook { name, on, why, seen, dropped }).collect();
        host.dropped = host.hooks.iter().map(|hook| hook.dropped).sum();
        if self.beats == 0 {
            host.last_heartbeat = String::new();
        }
        if self.spool_us == 0 {
            host.spool_oldest = String::new();
        }
        host
    }
}

const LINES: &str = "SELECT h.tenant AS tenant, h.agent AS agent_id, hostname, os, kernel, architecture, agent_version, boot_id,
        addresses, remote, h.epoch AS epoch, last_seen, last_heartbeat, spool_bytes, spool_oldest, cpu_us, rss_bytes,
        policy_version, counters, beats, hook_names, hook_on, hook_why, hook_seen, hook_dropped,
        toUnixTimestamp64Micro(spool_oldest) AS spool_us
    FROM (SELECT * FROM hosts FINAL WHERE {scope}) AS h
    LEFT JOIN (SELECT tenant, agent, count() AS beats, max(b.received_at) AS last_heartbeat,
            argMax(b.spool_bytes, b.received_at) AS spool_bytes, argMax(b.spool_oldest, b.received_at) AS spool_oldest,
            argMax(b.cpu_us, b.received_at) AS cpu_us, argMax(b.rss_bytes, b.received_at) AS rss_bytes,
            argMax(b.policy_version, b.received_at) AS policy_version, argMax(b.counters, b.received_at) AS counters,
            argMax(b.hook_names, b.received_at) AS hook_names, argMax(b.hook_on, b.received_at) AS hook_on,
            argMax(b.hook_why, b.received_at) AS hook_why, argMax(b.hook_seen, b.received_at) AS hook_seen,
            argMax(b.hook_dropped, b.received_at) AS hook_dropped
        FROM heartbeats AS b WHERE {scope} GROUP BY tenant, agent) AS s ON h.tenant = s.tenant AND h.agent = s.agent
    WHERE 1";

/// Adds ` AND` the host of this name, agent id, or prefix of an agent id. `column` holds the host's name.
pub(super) fn named(sql: &mut Sql, column: &'static str, name: &str) {
    let lowered = name.to_ascii_lowercase();
    sql.push(" AND (lower(").push(column).push(") = ").text(&lowered);
    if lowered.len() >= MIN_PREFIX && lowered.bytes().all(|b| b.is_ascii_hexdigit()) {
        sql.push(" OR startsWith(agent, ").text(&lowered).push(")");
    }
    sql.push(")");
}

impl Store {
    /// Hosts that were ever heard of, latest first.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn hosts(&self, scope: &TenantScope, limit: u64) -> Result<Vec<HostRow>, StoreError> {
        let mut sql = Sql::scoped("hosts", scope, LINES);
        sql.push(" ORDER BY last_seen DESC, agent_id LIMIT ").uint(limit.clamp(1, MAX_ROWS));
        Ok(self.database().all::<Line>(sql).await?.into_iter().map(Line::row).collect())
    }

    /// One host by its whole agent id.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn host(&self, scope: &TenantScope, agent: &str) -> Result<Option<HostRow>, StoreError> {
        let mut sql = Sql::scoped("host", scope, LINES);
        sql.push(" AND h.agent = ").text(agent).push(" LIMIT 1");
        Ok(self.database().all::<Line>(sql).await?.pop().map(Line::row))
    }

    /// What an agent id, a prefix of at least six digits, or a host name names.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn resolve_host(&self, scope: &TenantScope, name: &str) -> Result<Resolved, StoreError> {
        let text = "SELECT DISTINCT agent AS id FROM hosts FINAL WHERE {scope} AND (lower(hostname) = ";
        let mut sql = Sql::scoped("host by name", scope, text);
        sql.text(&name.to_ascii_lowercase()).push(") ORDER BY id LIMIT 10");
        let rows = self.database().rows(sql).await?;
        let mut ids: Vec<String> = rows.iter().filter_map(|row| row["id"].as_str().map(str::to_owned)).collect();
        match ids.len() {
            0 => {
                let text = "SELECT DISTINCT agent AS id FROM hosts FINAL WHERE {scope} AND startsWith(agent, ";
                self.resolve(Sql::scoped("host by prefix", scope, text), name).await
            }
            1 => Ok(Resolved::One(ids.remove(0))),
            _ => Ok(Resolved::Several(ids)),
        }
    }
}
