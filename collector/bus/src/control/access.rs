//! Who may use the API: the API tokens of `control.v1`, by the hash of their secret. Pure, part of the fold.

use std::collections::BTreeMap;

use beffroi_schema::control::ApiTokenCreated;

use super::state::Loss;

/// An API token and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiTokenState {
    /// As it was created.
    pub token: ApiTokenCreated,
    /// Who created it.
    pub by: String,
    /// When (bus time, microseconds since 1970).
    pub created: i64,
    /// It was revoked.
    pub revoked: bool,
}

impl ApiTokenState {
    /// Whether it is good at this time (microseconds since 1970).
    pub fn is_good(&self, now: i64) -> bool {
        !self.revoked && now < self.token.expires
    }
}

/// All API tokens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    tokens: BTreeMap<String, ApiTokenState>,
    by_hash: BTreeMap<String, String>,
}

impl Access {
    /// The token whose secret has this SHA-256 (hex), revoked and expired ones included.
    pub fn by_hash(&self, secret_hash: &str) -> Option<&ApiTokenState> {
        self.tokens.get(self.by_hash.get(secret_hash)?)
    }

    /// A token by its public name.
    pub fn token(&self, token_id: &str) -> Option<&ApiTokenState> {
        self.tokens.get(token_id)
    }

    /// Every token, by id.
    pub fn tokens(&self) -> impl Iterator<Item = &ApiTokenState> {
        self.tokens.values()
    }

    pub(super) fn create(&mut self, token: &ApiTokenCreated, by: &str, created: i64) -> Result<(), Loss> {
        match self.tokens.get(&token.token_id) {
            Some(known) if known.token == *token => return Ok(()),
            Some(_) => return Err(Loss::ApiTokenTaken),
            None => {}
        }
        if self.by_hash.contains_key(&token.secret_hash) {
            return Err(Loss::ApiTokenTaken);
        }
        self.by_hash.insert(token.secret_hash.clone(), token.token_id.clone());
        let state = ApiTokenState { token: token.clone(), by: by.into(), created, revoked: false };
        self.tokens.insert(token.token_id.clone(), state);
        Ok(())
    }

    pub(super) fn revoke(&mut self, token_id: &str) -> Result<(), Loss> {
        self.tokens.get_mut(token_id).ok_or(Loss::ApiTokenUnknown)?.revoked = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use beffroi_schema::control::ApiScope;

    fn token(id: &str, hash: &str) -> ApiTokenCreated {
        ApiTokenCreated {
            token_id: id.into(),
            secret_hash: hash.into(),
            name: "alice".into(),
            scope: ApiScope::Analyst,
            tenants: vec!["interieur".into()],
            expires: 100,
        }
    }

    #[test]
    fn a_token_is_good_until_it_expires_or_is_revoked() {
        let mut access = Access::default();
        access.create(&token("a", "h"), "admin", 1).unwrap();
        assert!(access.by_hash("h").unwrap().is_good(99));
        assert!(!access.by_hash("h").unwrap().is_good(100));
        access.revoke("a").unwrap();
        assert!(!access.by_hash("h").unwrap().is_good(99));
        assert_eq!(access.revoke("b"), Err(Loss::ApiTokenUnknown));
    }

    #[test]
    fn the_first_token_with_an_id_or_a_secret_wins_and_a_repeat_changes_nothing() {
        let mut access = Access::default();
        access.create(&token("a", "h"), "admin", 1).unwrap();
        access.create(&token("a", "h"), "admin", 2).unwrap();
        assert_eq!(access.token("a").unwrap().created, 1);
        assert_eq!(access.create(&token("a", "other"), "admin", 3), Err(Loss::ApiTokenTaken));
        assert_eq!(access.create(&token("b", "h"), "admin", 3), Err(Loss::ApiTokenTaken));
        assert_eq!(access.tokens().count(), 1);
    }
}
