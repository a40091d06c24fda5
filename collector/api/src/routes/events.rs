//! Events and process trees.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use beffroi_store::{EventSearch, Filter, Found, ProcessTree};
use serde::Deserialize;

use super::{By, Shared, body};
use crate::error::Refusal;
use crate::params;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Search {
    filters: Vec<Filter>,
    since: Option<String>,
    until: Option<String>,
    tenant: Option<String>,
    host: Option<String>,
    by: Option<String>,
    count: bool,
    limit: u64,
}

/// `{"events": [..]}`, `{"total": n}` with `count`, `{"groups": [{value, count}]}` with `by`.
pub(crate) async fn search(State(app): State<Shared>, by: By, bytes: Bytes) -> Result<Json<Found>, Refusal> {
    let asked: Search = body(&bytes)?;
    let search = EventSearch {
        since: params::time("since", asked.since.as_deref())?,
        until: params::time("until", asked.until.as_deref())?,
        filters: asked.filters,
        host: asked.host.filter(|host| !host.is_empty()),
        by: asked.by.filter(|by| !by.is_empty()),
        count: asked.count,
        limit: asked.limit,
    };
    Ok(Json(app.sources.store.search(&by.scope(asked.tenant.as_deref()), &search).await?))
}

pub(crate) async fn tree(State(app): State<Shared>, by: By, Path(guid): Path<String>) -> Result<Json<ProcessTree>, Refusal> {
    let tree = app.sources.store.process_tree(&by.scope(None), &guid).await?;
    tree.map(Json).ok_or_else(|| Refusal::unknown("process"))
}
