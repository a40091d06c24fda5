//! Hosts: what they say of themselves (store), who they are and whether they are cut off (control state).

use std::collections::{BTreeMap, HashSet};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use beffroi_bus::control::{ControlState, Outcome};
use beffroi_schema::AgentId;
use beffroi_schema::control::Change;
use beffroi_schema::json::rfc3339;
use beffroi_store::{HostRow, TenantScope};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json_, json};

use super::{By, Params, Shared, body};
use crate::error::Refusal;
use crate::ids;

/// Hosts of a list when no number is asked for.
const DEFAULT_ROWS: u64 = 1_000;
/// Longest reason of a revocation.
const MAX_REASON: usize = 1_000;

/// A host as it is shown.
#[derive(Debug, Serialize)]
pub(crate) struct Host {
    #[serde(flatten)]
    row: HostRow,
    labels: BTreeMap<String, String>,
    enrolled: Option<String>,
    certificate_expires: Option<String>,
    revoked: Option<Revoked>,
}

#[derive(Debug, Serialize)]
struct Revoked {
    at: String,
    by: String,
    reason: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListParams {
    tenant: Option<String>,
    limit: u64,
}

pub(crate) async fn list(State(app): State<Shared>, by: By, Params(p): Params<ListParams>) -> Result<Json<Json_>, Refusal> {
    let scope = by.scope(p.tenant.as_deref());
    let limit = if p.limit == 0 { DEFAULT_ROWS } else { p.limit.min(beffroi_store::MAX_ROWS) };
    let rows = app.sources.store.hosts(&scope, limit).await?;
    let hosts = app.sources.control.read(|state| {
        let heard: HashSet<String> = rows.iter().map(|row| row.agent_id.clone()).collect();
        let silent = state.agents().filter(|(id, agent)| scope.allows(&agent.tenant) && !heard.contains(&id.to_string()));
        let silent: Vec<HostRow> = silent.map(|(id, _)| silent_row(state, id)).take(limit as usize).collect();
        rows.into_iter().chain(silent).take(limit as usize).map(|row| with_control(state, row)).collect::<Vec<_>>()
    });
    Ok(Json(json!({ "hosts": hosts })))
}

/// A host that is enrolled and was never heard of.
fn silent_row(state: &ControlState, id: &AgentId) -> HostRow {
    let Some(agent) = state.agent(id) else { return HostRow { agent_id: id.to_string(), ..HostRow::default() } };
    HostRow {
        tenant: agent.tenant.clone(),
        agent_id: id.to_string(),
        hostname: agent.host.hostname.clone(),
        os: agent.host.os.clone(),
        kernel: agent.host.kernel.clone(),
        architecture: agent.host.architecture.clone(),
        agent_version: agent.host.agent_version.clone(),
        addresses: agent.host.addresses.clone(),
        remote: agent.remote.clone(),
        ..HostRow::default()
    }
}

fn with_control(state: &ControlState, row: HostRow) -> Host {
    let id: Option<AgentId> = row.agent_id.parse().ok();
    let agent = id.as_ref().and_then(|id| state.agent(id));
    let revoked = id.as_ref().and_then(|id| state.revocation(id));
    Host {
        labels: agent.map(|agent| agent.labels.clone()).unwrap_or_default(),
        enrolled: agent.map(|agent| rfc3339(agent.enrolled)),
        certificate_expires: agent.and_then(|agent| agent.certificate.as_ref()).map(|certificate| rfc3339(certificate.not_after)),
        revoked: revoked.map(|it| Revoked { at: rfc3339(it.at), by: it.by.clone(), reason: it.reason.clone() }),
        row,
    }
}

pub(crate) async fn show(State(app): State<Shared>, by: By, Path(id): Path<String>) -> Result<Json<Host>, Refusal> {
    let scope = by.scope(None);
    let id = ids::host(&app.sources.store, &app.sources.control, &scope, &id).await?;
    let row = app.sources.store.host(&scope, &id).await?;
    let host = app.sources.control.read(|state| {
        let enrolled = || id.parse().ok().filter(|id| in_scope(state, &scope, id)).map(|id| silent_row(state, &id));
        row.or_else(enrolled).map(|row| with_control(state, row))
    });
    host.map(Json).ok_or_else(|| Refusal::unknown("host"))
}

fn in_scope(state: &ControlState, scope: &TenantScope, id: &AgentId) -> bool {
    state.agent(id).is_some_and(|agent| scope.allows(&agent.tenant))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    reason: String,
}

pub(crate) async fn revoke(
    State(app): State<Shared>,
    by: By,
    Path(id): Path<String>,
    bytes: Bytes,
) -> Result<Json<Json_>, Refusal> {
    let asked: Revoke = body(&bytes)?;
    if asked.reason.trim().is_empty() || asked.reason.len() > MAX_REASON {
        return Err(Refusal::bad("a revocation needs a reason of at most 1000 bytes", "say why, for those who read the audit"));
    }
    let control = &app.sources.control;
    let id = ids::host(&app.sources.store, control, &by.scope(None), &id).await?;
    let agent_id: AgentId = id.parse().map_err(|_| Refusal::unknown("host"))?;
    let change = Change::AgentRevoked { agent_id, reason: asked.reason.clone() };
    match control.submit(&by.0.name, change).await? {
        Outcome::Won => Ok(Json(json!({ "agent_id": id, "revoked": true, "reason": asked.reason }))),
        Outcome::Lost(why) => {
            Err(Refusal::new(StatusCode::CONFLICT, "lost", why.to_string(), "look at the host with `beffroi hosts show`"))
        }
    }
}
