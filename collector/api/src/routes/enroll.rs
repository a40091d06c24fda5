//! Enrolment tokens: made, listed, revoked. The secret is shown once and nowhere stored; the topic holds its hash.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use beffroi_bus::control::{Outcome, TokenState};
use beffroi_schema::control::{Change, TokenCreated};
use beffroi_schema::ids::is_tenant_name;
use beffroi_schema::json::rfc3339;
use beffroi_schema::session::secret_hash;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json_, json};

use super::{By, Shared, body};
use crate::error::Refusal;
use crate::params;

/// Hosts that one token may enrol: a whole ministry's rollout in a few tokens.
const MAX_USES: u32 = 100_000;
/// Longest life of a token, seconds: 90 days.
const MAX_SECONDS: i64 = 90 * 24 * 3600;
/// Life when none is asked for: a day.
const DEFAULT_SECONDS: i64 = 24 * 3600;
/// Networks and labels of one token, bytes of a label.
const MAX_CIDRS: usize = 64;
const MAX_LABELS: usize = 32;
const MAX_LABEL_BYTES: usize = 128;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    tenant: String,
    #[serde(default = "one")]
    uses: u32,
    #[serde(default = "day")]
    expires_seconds: i64,
    #[serde(default)]
    cidrs: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

fn day() -> i64 {
    DEFAULT_SECONDS
}

impl Create {
    fn check(&self) -> Result<(), Refusal> {
        let refuse = |error: &str, hint: &str| Err(Refusal::bad(error, hint));
        if !is_tenant_name(&self.tenant) {
            return refuse("tenant is no tenant name", "1 to 63 of a-z, 0-9 and -, beginning with a letter or digit");
        }
        if !(1..=MAX_USES).contains(&self.uses) {
            return refuse("uses is out of range", "1 to 100000");
        }
        if !(1..=MAX_SECONDS).contains(&self.expires_seconds) {
            return refuse("expires_seconds is out of range", "1 second to 90 days");
        }
        if self.cidrs.len() > MAX_CIDRS || self.cidrs.iter().any(|cidr| cidr.parse::<ipnet::IpNet>().is_err()) {
            return refuse("cidrs holds something that is no network, or more than 64", "write 192.0.2.0/24 or 2001:db8::/32");
        }
        let fits = |text: &String| !text.is_empty() && text.len() <= MAX_LABEL_BYTES && !text.chars().any(char::is_control);
        if self.labels.len() > MAX_LABELS || !self.labels.iter().all(|(name, value)| fits(name) && fits(value)) {
            return refuse("labels holds an empty or long word, or more than 32", "names and values have 1 to 128 bytes");
        }
        Ok(())
    }
}

fn random(bytes: usize) -> Result<String, Refusal> {
    let mut random = vec![0u8; bytes];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(%error, "no randomness for an enrolment token");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no token can be made now", "try again")
    })?;
    Ok(hex::encode(random))
}

pub(crate) async fn create(State(app): State<Shared>, by: By, bytes: Bytes) -> Result<(StatusCode, Json<Json_>), Refusal> {
    let asked: Create = body(&bytes)?;
    asked.check()?;
    if !by.0.scope.allows(&asked.tenant) {
        let hint = "ask somebody who may";
        return Err(Refusal::new(StatusCode::FORBIDDEN, "tenant", "your token does not cover this tenant", hint));
    }
    let (token_id, secret) = (random(8)?, random(16)?);
    let token = TokenCreated {
        secret_hash: secret_hash(&token_id, &secret),
        token_id: token_id.clone(),
        tenant: asked.tenant.clone(),
        uses: asked.uses,
        expires: params::now() + asked.expires_seconds * 1_000_000,
        cidrs: asked.cidrs,
        labels: asked.labels,
    };
    let expires = rfc3339(token.expires);
    match app.sources.control.submit(&by.0.name, Change::TokenCreated(token)).await? {
        Outcome::Won => {
            let answer =
                json!({ "token_id": token_id, "secret": secret, "tenant": asked.tenant, "uses": asked.uses, "expires": expires });
            Ok((StatusCode::CREATED, Json(answer)))
        }
        Outcome::Lost(why) => Err(Refusal::new(StatusCode::CONFLICT, "lost", why.to_string(), "try again")),
    }
}

/// A token as it is shown: never its secret, nor the hash.
#[derive(Debug, Serialize)]
pub(crate) struct Shown {
    token_id: String,
    tenant: String,
    uses: u32,
    used: u32,
    created: String,
    by: String,
    expires: String,
    expired: bool,
    revoked: bool,
    cidrs: Vec<String>,
    labels: BTreeMap<String, String>,
}

fn shown(state: &TokenState) -> Shown {
    let token = &state.token;
    Shown {
        token_id: token.token_id.clone(),
        tenant: token.tenant.clone(),
        uses: token.uses,
        used: state.used,
        created: rfc3339(state.created),
        by: state.by.clone(),
        expires: rfc3339(token.expires),
        expired: token.expires <= params::now(),
        revoked: state.revoked,
        cidrs: token.cidrs.clone(),
        labels: token.labels.clone(),
    }
}

pub(crate) async fn list(State(app): State<Shared>, by: By) -> Json<Json_> {
    let scope = &by.0.scope;
    let tokens = app
        .sources
        .control
        .read(|state| state.tokens().filter(|token| scope.allows(&token.token.tenant)).map(shown).collect::<Vec<_>>());
    Json(json!({ "tokens": tokens }))
}

fn find(app: &Shared, by: &By, id: &str) -> Result<Shown, Refusal> {
    let found =
        app.sources.control.read(|state| state.token(id).filter(|token| by.0.scope.allows(&token.token.tenant)).map(shown));
    found.ok_or_else(|| Refusal::new(StatusCode::NOT_FOUND, "unknown", "no such token", "list them with `beffroi enroll list`"))
}

pub(crate) async fn show(State(app): State<Shared>, by: By, Path(id): Path<String>) -> Result<Json<Shown>, Refusal> {
    Ok(Json(find(&app, &by, &id)?))
}

pub(crate) async fn revoke(State(app): State<Shared>, by: By, Path(id): Path<String>) -> Result<Json<Json_>, Refusal> {
    let token = find(&app, &by, &id)?;
    match app.sources.control.submit(&by.0.name, Change::TokenRevoked { token_id: token.token_id.clone() }).await? {
        Outcome::Won => Ok(Json(json!({ "token_id": token.token_id, "revoked": true }))),
        Outcome::Lost(why) => Err(Refusal::new(StatusCode::CONFLICT, "lost", why.to_string(), "list the tokens")),
    }
}
