//! Alerts: lists, one whole, what is new.

use beffroi_schema::alert::{Level, Match};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::coverage::Coverage;
use super::{MAX_ROWS, Resolved, Store};
use crate::error::StoreError;
use crate::rows::alerts::{level_name, level_number};
use crate::scope::TenantScope;
use crate::sql::{Row, Sql};

/// Rows when none are asked for.
const DEFAULT_ROWS: u64 = 50;
/// How far before and after an alert a coverage gap is worth a word, microseconds.
const GAP_WINDOW_US: i64 = 10 * 60 * 1_000_000;
/// A match may come this long before the time by which its alert is listed: an alert spans an hour of events.
const BUCKET_ROOM_US: i64 = 2 * 60 * 60 * 1_000_000;
/// Match ids that an alert names.
const MAX_MATCH_IDS: u64 = 20;

/// Which alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AlertFilter {
    /// Last received at this time or later, microseconds since 1970.
    pub since: Option<i64>,
    /// Last received before this time.
    pub until: Option<i64>,
    /// Host name, agent id or a prefix of it.
    pub host: Option<String>,
    /// This level or a graver one.
    pub level: Option<Level>,
    /// Rule id, or text in the rule's title.
    pub rule: Option<String>,
    /// Text in the line that says what happened, or in the command line, without regard to case.
    pub text: Option<String>,
    /// Go on after this place of an earlier list ([`Alerts::next`]).
    pub before: Option<String>,
    /// Rows; 0 for the default of 50, at most [`MAX_ROWS`].
    pub limit: u64,
}

/// One line of a list. Times are RFC 3339 in UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AlertSummary {
    /// Id.
    pub alert_id: String,
    /// Gravest level.
    #[serde(default)]
    pub level: String,
    /// Tenant.
    pub tenant: String,
    /// Rule.
    pub rule_id: String,
    /// Its title.
    pub rule_title: String,
    /// Host name.
    pub hostname: String,
    /// Agent id.
    pub agent_id: String,
    /// User of the newest match.
    pub user: String,
    /// What happened, in one line.
    pub what: String,
    /// Distinct matches.
    pub count: u64,
    /// Earliest event, by the agent's clock.
    pub first_seen: String,
    /// Latest event.
    pub last_seen: String,
    /// Latest event (the one that is shown).
    pub event_time: String,
    /// When the gateway had the latest.
    pub received_at: String,
    /// When it was detected.
    pub detected_at: String,
    /// When the latest match could first be read.
    pub stored_at: String,
    /// All of it was recorded elsewhere and sent again.
    pub replayed: bool,
}

/// A list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alerts {
    /// Newest first.
    pub alerts: Vec<AlertSummary>,
    /// How many there are, listed or not.
    pub total: u64,
    /// How many of them have each level, gravest first; levels without an alert are left out.
    #[serde(default)]
    pub levels: Vec<LevelCount>,
    /// Where to go on, if there is more.
    pub next: Option<String>,
}

/// A level and how many alerts have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LevelCount {
    /// Level.
    pub level: String,
    /// Alerts.
    pub count: u64,
}

/// What is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertsSince {
    /// Each with the time at which it last changed (store's clock, microseconds), oldest change first.
    pub alerts: Vec<(i64, AlertSummary)>,
}

/// One alert, whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// The list's line.
    #[serde(flatten)]
    pub summary: AlertSummary,
    /// The newest match, whole.
    #[serde(rename = "match")]
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub newest: Match,
    /// Up to 20 of the matches.
    pub match_ids: Vec<String>,
    /// Where the host was not watched within ten minutes.
    pub gaps: Vec<Coverage>,
}

#[derive(Deserialize)]
struct Line {
    #[serde(flatten)]
    summary: AlertSummary,
    level_number: u64,
    received_us: i64,
    changed_us: i64,
    total: u64,
    by_level: Vec<u64>,
}

impl Line {
    /// How many alerts of the whole list have each level: the same in every line of it.
    fn levels(&self) -> Vec<LevelCount> {
        let gravest_first = self.by_level.iter().enumerate().rev().filter(|(_, count)| **count > 0);
        gravest_first.map(|(at, count)| LevelCount { level: level_name(at as u64 + 1).into(), count: *count }).collect()
    }

    fn summary(self) -> AlertSummary {
        AlertSummary { level: level_name(self.level_number).into(), ..self.summary }
    }
}

const LINES: &str = "SELECT *, count() OVER () AS total, [countIf(level_number = 1) OVER (), countIf(level_number = 2) OVER (), \
    countIf(level_number = 3) OVER (), countIf(level_number = 4) OVER (), countIf(level_number = 5) OVER ()] AS by_level FROM (SELECT alert_id, tenant, max(m.level) AS level_number, \
    argMax(m.rule_id, m.event_time) AS rule_id, argMax(m.rule_title, m.event_time) AS rule_title, \
    argMax(m.host, m.event_time) AS hostname, argMax(m.agent, m.event_time) AS agent_id, argMax(m.user, m.event_time) AS user, \
    argMax(m.what, m.event_time) AS what, uniqExact(m.match_id) AS count, min(m.event_time) AS first_seen, \
    max(m.event_time) AS last_seen, max(m.event_time) AS event_time, max(m.received_at) AS received_at, \
    max(m.detected_at) AS detected_at, max(m.stored_at) AS stored_at, min(m.replayed) AS replayed, \
    toUnixTimestamp64Micro(received_at) AS received_us, toUnixTimestamp64Micro(stored_at) AS changed_us \
    FROM matches AS m FINAL WHERE {scope}";

impl Store {
    /// Lists alerts, newest first.
    ///
    /// # Errors
    /// [`StoreError::Filter`] for a place that is none; [`StoreError::Limit`]; what ClickHouse says.
    pub async fn alerts(&self, scope: &TenantScope, filter: &AlertFilter) -> Result<Alerts, StoreError> {
        let limit = if filter.limit == 0 { DEFAULT_ROWS } else { filter.limit.min(MAX_ROWS) };
        let mut sql = Sql::scoped("alerts", scope, LINES);
        sql.between("m.received_at", filter.since.map(|since| since.saturating_sub(BUCKET_ROOM_US)), None);
        if let Some(host) = &filter.host {
            super::hosts::named(&mut sql, "m.host", host);
        }
        if let Some(rule) = &filter.rule {
            sql.push(" AND (m.rule_id = ")
                .text(rule)
                .push(" OR positionCaseInsensitive(m.rule_title, ")
                .text(rule)
                .push(") > 0)");
        }
        if let Some(text) = &filter.text {
            sql.push(" AND (positionCaseInsensitive(m.what, ").text(text);
            sql.push(") > 0 OR positionCaseInsensitive(m.command_line, ").text(text).push(") > 0)");
        }
        sql.push(" GROUP BY tenant, alert_id) WHERE 1").between("received_at", filter.since, filter.until);
        if let Some(level) = filter.level {
            sql.push(" AND level_number >= ").uint(level_number(level).into());
        }
        if let Some(place) = &filter.before {
            let (micros, id) = read_place(place)?;
            sql.push(" AND (received_us, alert_id) < (").int(micros).push(", ").text(id).push(")");
        }
        sql.push(" ORDER BY received_us DESC, alert_id DESC LIMIT ").uint(limit);
        let lines: Vec<Line> = self.database().all(sql).await?;
        let (total, levels) = lines.first().map_or((0, Vec::new()), |line| (line.total, line.levels()));
        let next = lines.last().filter(|_| total > limit).map(|line| format!("{}-{}", line.received_us, line.summary.alert_id));
        Ok(Alerts { alerts: lines.into_iter().map(Line::summary).collect(), total, levels, next })
    }

    /// Alerts that changed after this time of the store's clock (microseconds), oldest change first.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn alerts_since(&self, scope: &TenantScope, after: i64, limit: u64) -> Result<AlertsSince, StoreError> {
        let mut sql = Sql::scoped("alerts since", scope, LINES);
        // Whole alerts, but only those with something new.
        sql.push(" AND (tenant, alert_id) IN (SELECT tenant, alert_id FROM matches WHERE 1").between(
            "stored_at",
            Some(after),
            None,
        );
        sql.push(") GROUP BY tenant, alert_id) ORDER BY changed_us, alert_id LIMIT ").uint(limit.clamp(1, MAX_ROWS));
        let lines: Vec<Line> = self.database().all(sql).await?;
        Ok(AlertsSince { alerts: lines.into_iter().map(|line| (line.changed_us, line.summary())).collect() })
    }

    /// What an alert id, or a prefix of at least six digits, names.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn resolve_alert(&self, scope: &TenantScope, prefix: &str) -> Result<Resolved, StoreError> {
        let text = "SELECT DISTINCT alert_id AS id FROM matches WHERE {scope} AND startsWith(alert_id, ";
        self.resolve(Sql::scoped("alert by prefix", scope, text), prefix).await
    }

    /// One alert by its whole id.
    ///
    /// # Errors
    /// What ClickHouse says.
    pub async fn alert(&self, scope: &TenantScope, alert_id: &str) -> Result<Option<Alert>, StoreError> {
        let mut sql = Sql::scoped("alert", scope, LINES);
        sql.push(" AND m.alert_id = ").text(alert_id).push(" GROUP BY tenant, alert_id) LIMIT 1");
        let Some(line) = self.database().all::<Line>(sql).await?.pop() else { return Ok(None) };
        let Some(newest) = self.newest_match(scope, alert_id).await? else { return Ok(None) };
        let time = newest.event_time;
        let around = (time.saturating_sub(GAP_WINDOW_US), time.saturating_add(GAP_WINDOW_US));
        let agent = newest.host.agent_id.to_string();
        let gaps = self.coverage(scope, Some(&agent), Some(around.0), Some(around.1), 100).await?;
        Ok(Some(Alert { summary: line.summary(), newest, match_ids: self.match_ids(scope, alert_id).await?, gaps }))
    }

    async fn newest_match(&self, scope: &TenantScope, alert_id: &str) -> Result<Option<Match>, StoreError> {
        let mut sql = Sql::scoped("alert document", scope, "SELECT document FROM matches FINAL WHERE {scope} AND alert_id = ");
        sql.text(alert_id).push(" ORDER BY event_time DESC, match_id LIMIT 1");
        let rows = self.database().rows(sql).await?;
        let Some(text) = rows.first().and_then(|row: &Row| row["document"].as_str()) else { return Ok(None) };
        let read = serde_json::from_str(text).map(Some);
        read.map_err(|error| StoreError::Answer { what: "alert document", why: error.to_string() })
    }

    async fn match_ids(&self, scope: &TenantScope, alert_id: &str) -> Result<Vec<String>, StoreError> {
        let mut sql = Sql::scoped("matches of alert", scope, "SELECT match_id FROM matches FINAL WHERE {scope} AND alert_id = ");
        sql.text(alert_id).push(" ORDER BY event_time DESC, match_id LIMIT ").uint(MAX_MATCH_IDS);
        let rows = self.database().rows(sql).await?;
        Ok(rows.iter().filter_map(|row| row["match_id"].as_str().map(str::to_owned)).collect())
    }
}

fn read_place(place: &str) -> Result<(i64, &str), StoreError> {
    let parts = place.split_once('-').and_then(|(micros, id)| Some((micros.parse().ok()?, id)));
    let fits = parts.filter(|(_, id): &(i64, &str)| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    fits.ok_or_else(|| StoreError::Filter { field: "before".into(), why: "not a place that an earlier list has named".into() })
}
