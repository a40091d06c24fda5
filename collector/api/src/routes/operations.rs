//! Health, status, gaps, metrics.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use beffroi_bus::Topic;
use beffroi_schema::wire::GROUP_DETECT;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json_, json};

use super::{By, Params, Shared};
use crate::error::Refusal;
use crate::params;

/// Gaps of a list when no number is asked for.
const DEFAULT_ROWS: u64 = 500;

/// The process answers.
pub(crate) async fn alive() -> Json<Json_> {
    Json(json!({ "alive": true }))
}

/// 200 when every role can do its work, else 503. Names of roles only: reasons are for those with a token.
pub(crate) async fn ready(State(app): State<Shared>) -> Response {
    let roles = (app.sources.roles)();
    let ready = roles.iter().all(|role| role.ready);
    let names: Vec<_> = roles.iter().map(|role| json!({ "role": role.role, "ready": role.ready })).collect();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "roles": names }))).into_response()
}

#[derive(Debug, Serialize)]
struct Lag {
    topic: &'static str,
    group: String,
    records: i64,
    partitions: usize,
}

/// How everything stands. What cannot be asked now is null, and says why beside it: the rest is shown all the same.
pub(crate) async fn status(State(app): State<Shared>, _by: By) -> Json<Json_> {
    let mut groups = vec![(Topic::Events, GROUP_DETECT.to_owned())];
    groups.extend(beffroi_store::consumer_groups());
    let mut lag = Vec::new();
    let mut bus_error = None;
    for (topic, group) in groups {
        match app.sources.bus.lag(topic, &group).await {
            Ok(partitions) => {
                let records = partitions.iter().map(|partition| partition.records()).sum();
                lag.push(Lag { topic: topic.name(), group, records, partitions: partitions.len() });
            }
            Err(error) => {
                bus_error = Some(error.to_string());
                break;
            }
        }
    }
    let figures = app.sources.store.figures().await;
    let (figures, store_error) = match figures {
        Ok(figures) => (Some(figures), None),
        Err(error) => (None, Some(error.to_string())),
    };
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "roles": (app.sources.roles)(),
        "lag": lag,
        "bus_error": bus_error,
        "last_batch": figures.as_ref().map(|figures| &figures.last_batch),
        "disk_free_bytes": figures.as_ref().map(|figures| figures.disk_free_bytes),
        "disk_total_bytes": figures.as_ref().map(|figures| figures.disk_total_bytes),
        "store": figures,
        "store_error": store_error,
    }))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GapParams {
    since: Option<String>,
    until: Option<String>,
    host: Option<String>,
    tenant: Option<String>,
    limit: u64,
}

pub(crate) async fn gaps(State(app): State<Shared>, by: By, Params(p): Params<GapParams>) -> Result<Json<Json_>, Refusal> {
    let (since, until) = (params::time("since", p.since.as_deref())?, params::time("until", p.until.as_deref())?);
    let limit = if p.limit == 0 { DEFAULT_ROWS } else { p.limit };
    let host = p.host.as_deref().filter(|host| !host.is_empty());
    let gaps = app.sources.store.gaps(&by.scope(p.tenant.as_deref()), host, since, until, limit).await?;
    Ok(Json(json!({ "gaps": gaps })))
}

pub(crate) async fn metrics(State(app): State<Shared>, _by: By) -> Result<Response, Refusal> {
    let Some(metrics) = &app.sources.metrics else {
        return Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "no_route",
            "no metrics are collected here",
            "ask the server's own endpoint",
        ));
    };
    Ok(([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics()).into_response())
}
