//! Alerts: list, one whole, what comes, what stood around.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use beffroi_store::{Alert, AlertFilter, AlertSummary, Alerts};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json_, json};

use super::{By, Params, Shared};
use crate::cursor::{Cursor, LOOK_BACK_US};
use crate::error::Refusal;
use crate::{ids, params};

/// Longest wait of a tail, seconds: below what proxies cut.
const MAX_WAIT: u64 = 25;
/// How often a waiting tail looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Alerts of one answer of a tail.
const TAIL_ROWS: u64 = 1_000;
/// Window around an alert when none is asked for, and the widest.
const WINDOW: &str = "10m";
const MAX_WINDOW_US: i64 = 24 * 3_600_000_000;
/// Events around an alert when no number is asked for.
const AROUND_ROWS: u64 = 500;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListParams {
    since: Option<String>,
    until: Option<String>,
    tenant: Option<String>,
    host: Option<String>,
    level: Option<String>,
    rule: Option<String>,
    before: Option<String>,
    limit: u64,
}

pub(crate) async fn list(State(app): State<Shared>, by: By, Params(p): Params<ListParams>) -> Result<Json<Alerts>, Refusal> {
    let filter = AlertFilter {
        since: params::time("since", p.since.as_deref())?,
        until: params::time("until", p.until.as_deref())?,
        host: p.host.filter(|host| !host.is_empty()),
        level: params::level(p.level.as_deref())?,
        rule: p.rule.filter(|rule| !rule.is_empty()),
        before: p.before,
        limit: p.limit,
    };
    Ok(Json(app.sources.store.alerts(&by.scope(p.tenant.as_deref()), &filter).await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TailParams {
    after: Option<String>,
    tenant: Option<String>,
    /// Seconds.
    wait: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tail {
    alerts: Vec<AlertSummary>,
    next: String,
}

/// A long poll: answers as soon as there is something new, or empty after `wait` seconds; `next` goes into `after`.
pub(crate) async fn tail(State(app): State<Shared>, by: By, Params(p): Params<TailParams>) -> Result<Json<Tail>, Refusal> {
    let scope = by.scope(p.tenant.as_deref());
    let mut cursor = match p.after.as_deref().filter(|after| !after.is_empty()) {
        Some(text) => Cursor::parse(text)?,
        None => {
            // What stands already is not new: it is marked as seen.
            let start = Cursor::start(params::now());
            let known = app.sources.store.alerts_since(&scope, start.at - LOOK_BACK_US, TAIL_ROWS).await?;
            start.advance(known.alerts).1
        }
    };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(p.wait.unwrap_or(MAX_WAIT).min(MAX_WAIT));
    loop {
        let found = app.sources.store.alerts_since(&scope, cursor.at.saturating_sub(LOOK_BACK_US), TAIL_ROWS).await?;
        let (alerts, next) = cursor.advance(found.alerts);
        cursor = next;
        if !alerts.is_empty() || tokio::time::Instant::now() >= deadline || app.stop.is_cancelled() {
            return Ok(Json(Tail { alerts, next: cursor.text() }));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = app.stop.cancelled() => {}
        }
    }
}

pub(crate) async fn show(State(app): State<Shared>, by: By, Path(id): Path<String>) -> Result<Json<Alert>, Refusal> {
    Ok(Json(whole(&app, &by, &id).await?))
}

async fn whole(app: &Shared, by: &By, id: &str) -> Result<Alert, Refusal> {
    let scope = by.scope(None);
    let id = ids::alert(&app.sources.store, &scope, id).await?;
    app.sources.store.alert(&scope, &id).await?.ok_or_else(|| Refusal::unknown("alert"))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AroundParams {
    window: Option<String>,
    limit: u64,
}

pub(crate) async fn around(
    State(app): State<Shared>,
    by: By,
    Path(id): Path<String>,
    Params(p): Params<AroundParams>,
) -> Result<Json<Json_>, Refusal> {
    let window = params::duration("window", p.window.as_deref().unwrap_or(WINDOW))?;
    if window > MAX_WINDOW_US {
        return Err(Refusal::bad("window is wider than 24h", "search events instead"));
    }
    let alert = whole(&app, &by, &id).await?;
    let (agent, time) = (alert.newest.host.agent_id.to_string(), alert.newest.event_time);
    let limit = if p.limit == 0 { AROUND_ROWS } else { p.limit };
    let events = app.sources.store.around(&by.scope(None), &agent, time, window, limit).await?;
    Ok(Json(json!({ "alert_id": alert.summary.alert_id, "event_time": alert.summary.event_time, "events": events })))
}
