//! Who asks. A token is 256 random bits; only its hash is kept in memory, compared in constant time. Today there is one,
//! the admin's, which sees every tenant; a scope is a token's own by construction.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use beffroi_store::TenantScope;
use http::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use crate::error::ApiError;

/// Bytes of a token before its text form.
const TOKEN_BYTES: usize = 32;
/// Shortest token that a file may hold: an operator may write one of their own.
const MIN_TOKEN_CHARS: usize = 32;
/// Longest token that is looked at.
const MAX_TOKEN_CHARS: usize = 512;

/// Somebody with a token.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    /// Name in the audit.
    pub(crate) name: String,
    /// Whose rows they may see.
    pub(crate) scope: TenantScope,
}

struct Known {
    hash: [u8; 32],
    asker: Asker,
}

/// All tokens.
pub(crate) struct Tokens(Vec<Known>);

fn hash(token: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-api-token-v1\0");
    hash.update(token);
    hash.finalize().into()
}

impl Tokens {
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
        let asker = Asker { name: "admin".into(), scope: TenantScope::all() };
        Ok(Self(vec![Known { hash: hash(token), asker }]))
    }

    /// Who carries this header; none without a token that is known.
    pub(crate) fn asker(&self, headers: &HeaderMap) -> Option<&Asker> {
        let header = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
        let token = header.strip_prefix("Bearer ").or_else(|| header.strip_prefix("bearer "))?.trim();
        if token.len() > MAX_TOKEN_CHARS {
            return None;
        }
        let given = hash(token);
        let mut found = u64::MAX;
        for (index, known) in self.0.iter().enumerate() {
            let same: Choice = known.hash.ct_eq(&given);
            found.conditional_assign(&(index as u64), same);
        }
        self.0.get(usize::try_from(found).ok()?).map(|known| &known.asker)
    }
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

    fn header(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn the_first_start_makes_a_token_that_only_its_owner_can_read_and_that_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("api/admin.token");
        Tokens::load(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let token = std::fs::read_to_string(&path).unwrap();
        let tokens = Tokens::load(&path).unwrap();
        assert_eq!(tokens.asker(&header(&format!("Bearer {}", token.trim()))).unwrap().name, "admin");
    }

    #[test]
    fn anything_but_the_token_is_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t");
        std::fs::write(&path, "x".repeat(40)).unwrap();
        let tokens = Tokens::load(&path).unwrap();
        assert!(tokens.asker(&HeaderMap::new()).is_none());
        for value in ["", "Bearer", "Bearer ", "Bearer x", "Basic eHg6", &"x".repeat(40), &format!("Bearer {}", "x".repeat(41))] {
            assert!(tokens.asker(&header(value)).is_none(), "{value}");
        }
        std::fs::write(&path, "short").unwrap();
        assert!(Tokens::load(&path).is_err());
    }
}
