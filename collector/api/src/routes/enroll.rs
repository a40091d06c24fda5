//! Enrolment tokens: made, listed, revoked. The secret is shown once and nowhere stored; the topic holds its hash.

use std::collections::BTreeMap;

use beffroi_bus::control::{Outcome, TokenState};
use beffroi_schema::control::{Change, TokenCreated};
use beffroi_schema::ids::is_tenant_name;
use beffroi_schema::json::rfc3339;
use beffroi_schema::session::secret_hash;
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::operations::Nothing;
use super::tokens::{not_covered, random_hex};
use crate::ask::Operation;
use crate::desk::{Desk, lost};
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

/// Makes a token.
pub(crate) struct Create;

/// What the token is to be good for.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EnrollTokenInput")]
#[serde(deny_unknown_fields)]
pub(crate) struct CreateInput {
    /// Tenant of its hosts.
    pub(crate) tenant: String,
    /// Hosts that may use it, 1 to 100000.
    #[serde(default = "one")]
    pub(crate) uses: u32,
    /// Life, 1 second to 90 days.
    #[serde(default = "day")]
    pub(crate) expires_seconds: i64,
    /// Networks that may use it; none is any.
    #[serde(default)]
    pub(crate) cidrs: Vec<String>,
    /// Labels of its hosts.
    #[serde(default)]
    pub(crate) labels: BTreeMap<String, String>,
}

fn one() -> u32 {
    1
}

fn day() -> i64 {
    DEFAULT_SECONDS
}

impl CreateInput {
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

/// A new token; its secret is shown here and never again.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "EnrollTokenCreated")]
pub(crate) struct Created {
    /// Public name.
    pub(crate) token_id: String,
    /// Secret.
    pub(crate) secret: String,
    /// Tenant of its hosts.
    pub(crate) tenant: String,
    /// Hosts that may use it.
    pub(crate) uses: u32,
    /// Until when, RFC 3339.
    pub(crate) expires: String,
}

impl Operation for Create {
    type Input = CreateInput;
    type Answer = Created;

    async fn run(desk: &Desk<'_>, asked: CreateInput) -> Result<Created, Refusal> {
        asked.check()?;
        if !desk.allows(&asked.tenant) {
            return Err(not_covered());
        }
        let (token_id, secret) = (random_hex(8)?, random_hex(16)?);
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
        match desk.submit(Change::TokenCreated(token)).await? {
            Outcome::Won => Ok(Created { token_id, secret, tenant: asked.tenant, uses: asked.uses, expires }),
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

/// A token as it is shown: never its secret, nor the hash.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EnrollToken")]
pub(crate) struct Shown {
    /// Public name.
    pub(crate) token_id: String,
    /// Tenant of its hosts.
    pub(crate) tenant: String,
    /// Hosts that may use it.
    pub(crate) uses: u32,
    /// Hosts that have.
    pub(crate) used: u32,
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
    /// Networks that may use it.
    pub(crate) cidrs: Vec<String>,
    /// Labels of its hosts.
    pub(crate) labels: BTreeMap<String, String>,
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

/// Every token.
pub(crate) struct List;

/// Enrolment tokens.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EnrollTokens")]
pub(crate) struct Tokens {
    /// By id.
    pub(crate) tokens: Vec<Shown>,
}

impl Operation for List {
    type Input = Nothing;
    type Answer = Tokens;

    async fn run(desk: &Desk<'_>, _p: Nothing) -> Result<Tokens, Refusal> {
        Ok(Tokens { tokens: desk.enroll_tokens(shown) })
    }

    fn rows(answer: &Tokens) -> u64 {
        answer.tokens.len() as u64
    }
}

/// One token.
pub(crate) struct Show;

/// Which token.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "EnrollTokenId")]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// Its whole public name.
    pub(crate) id: String,
}

fn find(desk: &Desk<'_>, id: &str) -> Result<Shown, Refusal> {
    let unknown = || Refusal::new(StatusCode::NOT_FOUND, "unknown", "no such token", "list them with `beffroi enroll list`");
    desk.enroll_token(id, shown).ok_or_else(unknown)
}

impl Operation for Show {
    type Input = Which;
    type Answer = Shown;

    async fn run(desk: &Desk<'_>, p: Which) -> Result<Shown, Refusal> {
        find(desk, &p.id)
    }

    fn rows(_answer: &Shown) -> u64 {
        1
    }
}

/// Revokes a token.
pub(crate) struct Revoke;

/// It is no longer good.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct TokenRevoked {
    /// Public name.
    pub(crate) token_id: String,
    /// Always true.
    pub(crate) revoked: bool,
}

impl Operation for Revoke {
    type Input = Which;
    type Answer = TokenRevoked;

    async fn run(desk: &Desk<'_>, p: Which) -> Result<TokenRevoked, Refusal> {
        let token_id = find(desk, &p.id)?.token_id;
        match desk.submit(Change::TokenRevoked { token_id: token_id.clone() }).await? {
            Outcome::Won => Ok(TokenRevoked { token_id, revoked: true }),
            Outcome::Lost(why) => Err(lost(&why, "list the tokens")),
        }
    }

    fn rows(_answer: &TokenRevoked) -> u64 {
        1
    }
}
