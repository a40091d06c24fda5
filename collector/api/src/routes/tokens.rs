//! Personal tokens of the API: made, listed, revoked. The token is shown once; the topic holds its hash.

use std::collections::HashMap;

use beffroi_bus::control::{ApiTokenState, Outcome};
use beffroi_schema::control::{ApiScope, ApiTokenCreated, Change};
use beffroi_schema::ids::is_tenant_name;
use beffroi_schema::json::rfc3339;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::enroll::TokenRevoked;
use super::operations::Nothing;
use crate::ask::Operation;
use crate::auth::{ADMIN, EVERY_TENANT, new_token, token_hash};
use crate::desk::{Desk, lost};
use crate::error::Refusal;
use crate::params;

/// Longest name: it stands in every line of the audit.
const MAX_NAME: usize = 64;
/// Tenants of one token.
const MAX_TENANTS: usize = 64;
/// Longest life of a token, seconds: a year, so that nobody's token outlives their post unnoticed.
const MAX_SECONDS: i64 = 366 * 24 * 3600;
/// Life when none is asked for: 30 days.
const DEFAULT_SECONDS: i64 = 30 * 24 * 3600;

/// Random bytes, hex.
pub(super) fn random_hex(bytes: usize) -> Result<String, Refusal> {
    let mut random = vec![0u8; bytes];
    getrandom::fill(&mut random).map_err(|error| no_randomness(&error))?;
    Ok(hex::encode(random))
}

fn no_randomness(error: &getrandom::Error) -> Refusal {
    tracing::error!(%error, "no randomness for a token");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "no token can be made now", "try again")
}

/// The same words for a tenant of others and for one that nobody has.
pub(super) fn not_covered() -> Refusal {
    Refusal::forbidden("tenant", "your token does not cover this tenant", "ask somebody who may")
}

/// Makes a token.
pub(crate) struct Create;

/// Whose token, and what for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TokenInput")]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateInput {
    /// Whose it is: the name in the audit.
    pub(crate) name: String,
    /// `analyst`, `csirt` or `admin`.
    pub(crate) scope: String,
    /// Tenants; `*` is every tenant.
    pub(crate) tenants: Vec<String>,
    /// Life, 1 second to 366 days.
    #[serde(default = "month")]
    pub(crate) expires_seconds: i64,
}

fn month() -> i64 {
    DEFAULT_SECONDS
}

impl CreateInput {
    fn check(&self) -> Result<ApiScope, Refusal> {
        let refuse = |error: &str, hint: &str| Err(Refusal::bad(error, hint));
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"._@+-".contains(&b);
        if self.name.is_empty() || self.name.len() > MAX_NAME || !self.name.bytes().all(fits) {
            return refuse("name is no name", "1 to 64 of a-z, A-Z, 0-9 and ._@+-, for example alice or alice@example.org");
        }
        if self.name.eq_ignore_ascii_case(ADMIN) {
            return refuse("the name admin belongs to the server's own token", "choose the name of a person or a service");
        }
        if !(1..=MAX_SECONDS).contains(&self.expires_seconds) {
            return refuse("expires_seconds is out of range", "1 second to 366 days");
        }
        let tenant = |name: &String| name == EVERY_TENANT || is_tenant_name(name);
        if self.tenants.is_empty() || self.tenants.len() > MAX_TENANTS || !self.tenants.iter().all(tenant) {
            return refuse("tenants holds no tenant name, or more than 64", "write [\"interieur\"], or [\"*\"] for every tenant");
        }
        let scope = ApiScope::ALL.into_iter().find(|scope| scope.name() == self.scope);
        scope.ok_or_else(|| Refusal::bad("scope is none", "one of analyst, csirt, admin"))
    }

    fn distinct_tenants(&self) -> Vec<String> {
        let mut tenants = self.tenants.clone();
        tenants.sort_unstable();
        tenants.dedup();
        tenants
    }
}

/// A new token, shown here and never again.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TokenCreated")]
pub(crate) struct Created {
    /// Public name.
    pub(crate) token_id: String,
    /// The token itself.
    pub(crate) token: String,
    /// Whose it is.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) scope: String,
    /// Tenants.
    pub(crate) tenants: Vec<String>,
    /// Until when, RFC 3339.
    pub(crate) expires: String,
}

impl Operation for Create {
    type Input = CreateInput;
    type Answer = Created;

    async fn run(desk: &Desk<'_>, asked: CreateInput) -> Result<Created, Refusal> {
        let scope = asked.check()?;
        let tenants = asked.distinct_tenants();
        if !desk.asker().covers(&tenants) {
            return Err(not_covered());
        }
        let token = new_token().map_err(|error| no_randomness(&error))?;
        let created = ApiTokenCreated {
            token_id: random_hex(8)?,
            secret_hash: token_hash(&token),
            name: asked.name,
            scope,
            tenants,
            expires: params::now() + asked.expires_seconds * 1_000_000,
        };
        match desk.submit(Change::ApiTokenCreated(created.clone())).await? {
            Outcome::Won => Ok(Created {
                token_id: created.token_id,
                token,
                name: created.name,
                scope: scope.name().into(),
                tenants: created.tenants,
                expires: rfc3339(created.expires),
            }),
            Outcome::Lost(why) => Err(lost(&why, "try again")),
        }
    }

    fn rows(_answer: &Created) -> u64 {
        1
    }

    fn status(_answer: &Created) -> StatusCode {
        StatusCode::CREATED
    }
}

/// A token as it is shown: never the token, nor its hash.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Token")]
pub(crate) struct Shown {
    /// Public name.
    pub(crate) token_id: String,
    /// Whose it is.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) scope: String,
    /// Tenants.
    pub(crate) tenants: Vec<String>,
    /// When it was made, RFC 3339.
    pub(crate) created: String,
    /// By whom.
    pub(crate) by: String,
    /// Until when.
    pub(crate) expires: String,
    /// That time is over.
    pub(crate) expired: bool,
    /// It was revoked.
    pub(crate) revoked: bool,
    /// When it was used last, as far as this process and the audit table know.
    pub(crate) last_used: Option<String>,
}

fn shown(state: &ApiTokenState) -> Shown {
    let token = &state.token;
    Shown {
        token_id: token.token_id.clone(),
        name: token.name.clone(),
        scope: token.scope.name().into(),
        tenants: token.tenants.clone(),
        created: rfc3339(state.created),
        by: state.by.clone(),
        expires: rfc3339(token.expires),
        expired: token.expires <= params::now(),
        revoked: state.revoked,
        last_used: None,
    }
}

/// Every token.
pub(crate) struct List;

/// Personal tokens.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TokenList")]
pub(crate) struct Tokens {
    /// By id.
    pub(crate) tokens: Vec<Shown>,
}

impl Operation for List {
    type Input = Nothing;
    type Answer = Tokens;

    async fn run(desk: &Desk<'_>, _p: Nothing) -> Result<Tokens, Refusal> {
        // With the store away the list is answered all the same, from what this process has seen.
        let audited: HashMap<String, i64> = match desk.audited_use().await {
            Ok(used) => used.into_iter().collect(),
            Err(error) => {
                tracing::warn!(%error, "when tokens were used last is told from this process's memory only");
                HashMap::new()
            }
        };
        let mut tokens = desk.api_tokens(shown);
        for token in &mut tokens {
            let last = desk.last_use(&token.token_id).max(audited.get(&token.token_id).copied());
            token.last_used = last.map(rfc3339);
        }
        Ok(Tokens { tokens })
    }

    fn rows(answer: &Tokens) -> u64 {
        answer.tokens.len() as u64
    }
}

/// Revokes a token.
pub(crate) struct Revoke;

/// Which token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "TokenId")]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Its whole public name.
    pub(crate) id: String,
}

impl Operation for Revoke {
    type Input = Which;
    type Answer = TokenRevoked;

    async fn run(desk: &Desk<'_>, p: Which) -> Result<TokenRevoked, Refusal> {
        let unknown = || Refusal::new(StatusCode::NOT_FOUND, "unknown", "no such token", "list them with `beffroi token list`");
        let token_id = desk.api_token(&p.id, |token| token.token.token_id.clone()).ok_or_else(unknown)?;
        match desk.submit(Change::ApiTokenRevoked { token_id: token_id.clone() }).await? {
            Outcome::Won => Ok(TokenRevoked { token_id, revoked: true }),
            Outcome::Lost(why) => Err(lost(&why, "list the tokens with `beffroi token list`")),
        }
    }

    fn rows(_answer: &TokenRevoked) -> u64 {
        1
    }
}
