//! Searching events, and what stands around an alert.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::filter::{self, Filter};
use super::{MAX_ROWS, Store};
use crate::error::StoreError;
use crate::scope::TenantScope;
use crate::sql::{Row, Sql};

/// Filters of one search: more is no question but a program.
const MAX_FILTERS: usize = 32;
/// Rows when none are asked for.
const DEFAULT_ROWS: u64 = 100;

/// What is searched.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventSearch {
    /// All of them hold.
    pub filters: Vec<Filter>,
    /// Received at this time or later (the gateway's clock, which no host can forge), microseconds since 1970.
    pub since: Option<i64>,
    /// Received before this time.
    pub until: Option<i64>,
    /// Host name, agent id or a prefix of it.
    pub host: Option<String>,
    /// Count by the values of this field instead of listing.
    pub by: Option<String>,
    /// Only count.
    pub count: bool,
    /// Rows or groups at most; 0 for the default of 100, at most [`MAX_ROWS`].
    pub limit: u64,
}

/// A value and how often it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// The value as text; empty where the field is absent.
    pub value: String,
    /// Events.
    pub count: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Events as flat objects, newest first.
    Events(Vec<Row>),
    /// How many.
    Total(u64),
    /// Groups, largest first.
    Groups(Vec<Group>),
}

impl Store {
    /// Searches events.
    ///
    /// # Errors
    /// [`StoreError::Filter`], [`StoreError::Limit`], or what ClickHouse says.
    pub async fn search(&self, scope: &TenantScope, search: &EventSearch) -> Result<Found, StoreError> {
        if search.filters.len() > MAX_FILTERS {
            let why = format!("{} filters, at most {MAX_FILTERS}", search.filters.len());
            return Err(StoreError::Filter { field: String::new(), why });
        }
        let limit = if search.limit == 0 { DEFAULT_ROWS } else { search.limit.min(MAX_ROWS) };
        match (&search.by, search.count) {
            (Some(by), _) => self.groups(scope, search, by, limit).await.map(Found::Groups),
            (None, true) => self.count(scope, search).await.map(Found::Total),
            (None, false) => {
                let mut sql = Sql::scoped("events search", scope, "SELECT * FROM events_v WHERE {scope}");
                conditions(&mut sql, search)?;
                sql.push(" ORDER BY received_at DESC, ts DESC, seq DESC LIMIT ").uint(limit);
                self.flat(sql).await.map(Found::Events)
            }
        }
    }

    async fn count(&self, scope: &TenantScope, search: &EventSearch) -> Result<u64, StoreError> {
        let mut sql = Sql::scoped("events count", scope, "SELECT count() AS count FROM events_v WHERE {scope}");
        conditions(&mut sql, search)?;
        let rows = self.database().rows(sql).await.map_err(regex)?;
        Ok(rows.first().and_then(|row| row["count"].as_u64()).unwrap_or(0))
    }

    async fn groups(&self, scope: &TenantScope, search: &EventSearch, by: &str, limit: u64) -> Result<Vec<Group>, StoreError> {
        let mut sql = Sql::scoped("events by field", scope, "WITH found AS (SELECT * FROM events_v WHERE {scope}");
        conditions(&mut sql, search)?;
        sql.push(") SELECT ");
        filter::group_expression(&mut sql, by)?;
        sql.push(" AS value, count() AS count FROM found GROUP BY value ORDER BY count DESC, value LIMIT ").uint(limit);
        self.database().all(sql).await.map_err(regex)
    }

    /// Events of one host within `window` microseconds around a time by the host's clock, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Limit`], or what ClickHouse says.
    pub async fn around(
        &self,
        scope: &TenantScope,
        agent: &str,
        time: i64,
        window: i64,
        limit: u64,
    ) -> Result<Vec<Row>, StoreError> {
        let mut sql = Sql::scoped("events around", scope, "SELECT * FROM events_v WHERE {scope} AND agent = ");
        sql.text(agent).between("ts", Some(time.saturating_sub(window)), Some(time.saturating_add(window).saturating_add(1)));
        // The nearest ones, should there be too many.
        sql.push(" ORDER BY abs(toUnixTimestamp64Micro(ts) - ").int(time).push("), seq LIMIT ").uint(limit.clamp(1, MAX_ROWS));
        let mut events = self.flat(sql).await?;
        events.sort_by(|a, b| a["ts"].as_str().cmp(&b["ts"].as_str()));
        Ok(events)
    }

    /// Rows of `events_v` as flat objects.
    pub(super) async fn flat(&self, sql: Sql) -> Result<Vec<Row>, StoreError> {
        Ok(self.database().rows(sql).await.map_err(regex)?.into_iter().map(flat).collect())
    }
}

/// An expression that RE2 does not take is the asker's mistake.
fn regex(error: StoreError) -> StoreError {
    match error {
        StoreError::Refused { code: Some(427 | 636), .. } => {
            StoreError::Filter { field: "regex".into(), why: "not an RE2 expression (no look-around, no back references)".into() }
        }
        other => other,
    }
}

fn conditions(sql: &mut Sql, search: &EventSearch) -> Result<(), StoreError> {
    sql.between("received_at", search.since, search.until);
    if let Some(host) = &search.host {
        super::hosts::named(sql, "host", host);
    }
    search.filters.iter().try_for_each(|filter| filter::push(sql, filter))
}

/// Leaves out what is absent and what only the store needs; fields of `extra` stand beside the others unless they would
/// hide one.
fn flat(mut row: Row) -> Row {
    for internal in ["content", "retention", "keep", "epoch", "stream", "seq"] {
        row.remove(internal);
    }
    let extra = row.remove("extra");
    if let Some(agent) = row.remove("agent") {
        row.insert("agent_id".into(), agent);
    }
    row.retain(|name, value| match value {
        Json::Null => false,
        Json::String(text) => !text.is_empty(),
        Json::Array(list) => !list.is_empty(),
        Json::Bool(truth) => *truth || !matches!(name.as_str(), "replayed" | "clock_suspect"),
        Json::Number(_) | Json::Object(_) => true,
    });
    if let Some(Json::Object(extra)) = extra {
        for (name, value) in extra {
            row.entry(name).or_insert(value);
        }
    }
    row
}
