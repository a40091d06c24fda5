//! Who may talk to the engine: whoever knows the secret.
//!
//! Owns the expected user name and key. Both are compared in constant time; a refusal does not say which was wrong.
//! The key never appears in Debug output or logs.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use subtle::ConstantTimeEq;

/// Shorter keys are refused at start: the key is machine-made, nobody has to type it.
pub(crate) const KEY_MIN_BYTES: usize = 16;

/// The one account of this server.
pub(crate) struct Account {
    user: String,
    key: String,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

impl Account {
    pub(crate) fn new(user: String, key: String) -> Self {
        Self { user, key }
    }

    /// Whether the request carries the secret, in ClickHouse's headers or as basic authentication.
    pub(crate) fn admits(&self, headers: &HeaderMap) -> bool {
        let text = |name: &str| headers.get(name).and_then(|v| v.to_str().ok());
        match (text("x-clickhouse-user"), text("x-clickhouse-key")) {
            (Some(user), Some(key)) => self.matches(user, key),
            _ => basic(headers).is_some_and(|(user, key)| self.matches(&user, &key)),
        }
    }

    fn matches(&self, user: &str, key: &str) -> bool {
        let same_user = user.as_bytes().ct_eq(self.user.as_bytes());
        let same_key = key.as_bytes().ct_eq(self.key.as_bytes());
        (same_user & same_key).into()
    }
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let (user, key) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((user.to_owned(), key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (axum::http::HeaderName::from_static(n), v.parse().unwrap())).collect()
    }

    #[test]
    fn only_the_right_user_with_the_right_key_is_admitted() {
        let account = Account::new("beffroi".into(), "0123456789abcdef".into());
        let admits = |pairs: &[(&'static str, &str)]| account.admits(&headers(pairs));
        assert!(admits(&[("x-clickhouse-user", "beffroi"), ("x-clickhouse-key", "0123456789abcdef")]));
        assert!(admits(&[("authorization", "Basic YmVmZnJvaTowMTIzNDU2Nzg5YWJjZGVm")]));
        assert!(!admits(&[]));
        assert!(!admits(&[("x-clickhouse-user", "beffroi")]));
        assert!(!admits(&[("x-clickhouse-user", "beffroi"), ("x-clickhouse-key", "0123456789abcdeF")]));
        assert!(!admits(&[("x-clickhouse-user", "default"), ("x-clickhouse-key", "0123456789abcdef")]));
        assert!(!admits(&[("authorization", "Basic !!")]));
        assert!(!format!("{account:?}").contains("0123456789abcdef"));
    }
}
