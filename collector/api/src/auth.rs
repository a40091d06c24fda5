//! Who asks. A token is 256 random bits; only its hash is kept, in the admin's file's memory or in a control record.
//!
//! An [`Asker`] does not say how it was proven that it is who it is: today by a token, later perhaps by a sign-in elsewhere
//! (OIDC). Whatever proves it makes an `Asker` with a [`Proof`] of its own kind, and everything behind (scope, tenants,
//! audit, rate limits, console) stays as it is.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use beffroi_bus::control::ApiTokenState;
use beffroi_schema::control::ApiScope;
use beffroi_store::TenantScope;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::error::ApiError;

/// What a personal token begins with: it is recognised in files and logs, and masked where it must not stand.
pub(crate) const TOKEN_PREFIX: &str = "bft_";
/// Characters after it: 256 bits in base64url.
pub(crate) const TOKEN_CHARS: usize = 43;
/// Tenant name that stands for every tenant.
pub(crate) const EVERY_TENANT: &str = "*";
/// Name of whoever holds the admin's file; no personal token may have it.
pub(crate) const ADMIN: &str = "admin";

/// Bytes of a token before its text form.
const TOKEN_BYTES: usize = 32;
/// Shortest token that the admin's file may hold: an operator may write one of their own.
const MIN_TOKEN_CHARS: usize = 32;
/// Longest token that is looked at.
const MAX_TOKEN_CHARS: usize = 512;

/// By what it was proven who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The token in the admin's file.
    AdminFile,
    /// The personal token with this public name.
    Token(String),
}

impl Proof {
    /// Id in the audit, and the key that rate limits count by.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::AdminFile => ADMIN,
            Self::Token(id) => id,
        }
    }
}

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    /// Name in the audit.
    pub(crate) name: String,
    /// How that is known.
    pub(crate) proof: Proof,
    /// What they may do.
    pub(crate) scope: ApiScope,
    /// Tenants as they were granted; `*` is every tenant.
    pub(crate) tenants: Vec<String>,
    /// Until when (microseconds since 1970); none for the admin's file.
    pub(crate) expires: Option<i64>,
}

impl Asker {
    /// Whoever holds the admin's file.
    pub(crate) fn admin() -> Self {
        Self {
            name: ADMIN.into(),
            proof: Proof::AdminFile,
            scope: ApiScope::Admin,
            tenants: vec![EVERY_TENANT.into()],
            expires: None,
        }
    }

    /// Whoever holds this token.
    pub(crate) fn of_token(state: &ApiTokenState) -> Self {
        let token = &state.token;
        Self {
            name: token.name.clone(),
            proof: Proof::Token(token.token_id.clone()),
            scope: token.scope,
            tenants: token.tenants.clone(),
            expires: Some(token.expires),
        }
    }

    /// Whose rows they may see.
    pub(crate) fn reach(&self) -> TenantScope {
        reach(&self.tenants)
    }

    /// Whether that is every tenant.
    pub(crate) fn sees_all(&self) -> bool {
        self.tenants.iter().any(|tenant| tenant == EVERY_TENANT)
    }

    /// Whether all that these tenants stand for is in their reach.
    pub(crate) fn covers(&self, tenants: &[String]) -> bool {
        self.sees_all() || (!tenants.is_empty() && tenants.iter().all(|tenant| self.tenants.contains(tenant)))
    }
}

fn reach(tenants: &[String]) -> TenantScope {
    match tenants.iter().any(|tenant| tenant == EVERY_TENANT) {
        true => TenantScope::all(),
        false => TenantScope::only(tenants),
    }
}

/// A new personal token's text.
pub(crate) fn new_token() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{TOKEN_PREFIX}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)))
}

/// Hash under which a personal token is kept. The text has 256 random bits: nothing slower is needed.
pub(crate) fn token_hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

/// The admin's token, by its hash.
pub(crate) struct AdminToken([u8; 32]);

fn admin_hash(token: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-api-token-v1\0");
    hash.update(token);
    hash.finalize().into()
}

impl AdminToken {
    /// Reads the admin's token, or makes one at the first start.
    pub(crate) fn load(path: &Path) -> Result<Self, ApiError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => create(path)?,
            Err(source) => return Err(ApiError::File { what: "read the admin token", path: path.into(), source }),
        };
        let token = text.trim();
        if !(MIN_TOKEN_CHARS..=MAX_TOKEN_CHARS).contains(&token.len()) || !token.bytes().all(|b| b.is_ascii_graphic()) {
            let why = format!(
                "a token has {MIN_TOKEN_CHARS} to {MAX_TOKEN_CHARS} visible characters; delete the file to get a new one"
            );
            return Err(ApiError::Content { path: path.into(), why });
        }
        Ok(Self(admin_hash(token)))
    }

    /// Whether this is it; takes the same time whatever is wrong.
    pub(crate) fn is(&self, text: &str) -> bool {
        text.len() <= MAX_TOKEN_CHARS && bool::from(admin_hash(text).ct_eq(&self.0))
    }
}

/// The token of an `Authorization` header.
pub(crate) fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let header = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let token = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer "))?.trim();
    (1..=MAX_TOKEN_CHARS).contains(&token.len()).then_some(token)
}

fn create(path: &Path) -> Result<String, ApiError> {
    let failed = |what| move |source| ApiError::File { what, path: path.into(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("create the folder of"))?;
    }
    let mut bytes = [0u8; TOKEN_BYTES];
    getrandom::fill(&mut bytes)
        .map_err(|error| ApiError::Content { path: path.into(), why: format!("no randomness for a token: {error}") })?;
    let token = hex::encode(bytes);
    // Never readable by others, not even for a moment, and never over a file that appeared meanwhile.
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = file.map_err(failed("write the admin token"))?;
    file.write_all(format!("{token}\n").as_bytes()).and_then(|()| file.sync_all()).map_err(failed("write the admin token"))?;
    tracing::info!(path = %path.display(), "the admin token of the API was made and stands in this file");
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn given(value: &str) -> Option<String> {
        let mut headers = http::HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        bearer(&headers).map(str::to_owned)
    }

    #[test]
    fn the_first_start_makes_a_token_that_only_its_owner_can_read_and_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api/admin.token");
        AdminToken::load(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let token = std::fs::read_to_string(&path).unwrap();
        assert!(AdminToken::load(&path).unwrap().is(token.trim()));
    }

    #[test]
    fn anything_but_the_token_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        std::fs::write(&path, "x".repeat(40)).unwrap();
        let admin = AdminToken::load(&path).unwrap();
        assert!(bearer(&http::HeaderMap::new()).is_none());
        for value in ["", "Bearer", "Bearer ", "Bearer x", "Basic eHg6", &"x".repeat(40), &format!("Bearer {}", "x".repeat(41))] {
            assert!(!given(value).is_some_and(|token| admin.is(&token)), "{value}");
        }
        assert!(given(&format!("Bearer {}", "x".repeat(40))).is_some_and(|token| admin.is(&token)));
        assert!(given(&format!("Bearer {}", "x".repeat(600))).is_none());
        std::fs::write(&path, "short").unwrap();
        assert!(AdminToken::load(&path).is_err());
    }

    #[test]
    fn a_personal_token_has_256_bits_and_a_prefix_by_which_it_is_known() {
        let (one, other) = (new_token().unwrap(), new_token().unwrap());
        assert!(one.starts_with(TOKEN_PREFIX) && one.len() == TOKEN_PREFIX.len() + TOKEN_CHARS && one != other);
        assert_eq!(token_hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn whoever_sees_some_tenants_covers_nothing_beyond_them() {
        let asker = Asker { tenants: vec!["a".into(), "b".into()], ..Asker::admin() };
        let covers = |tenants: &[&str]| asker.covers(&tenants.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert!(covers(&["a"]) && covers(&["b", "a"]) && !covers(&["a", "c"]) && !covers(&["*"]) && !covers(&[]));
        assert!(Asker::admin().covers(&["*".into()]) && asker.reach().allows("a") && !asker.reach().allows("c"));
    }
}
