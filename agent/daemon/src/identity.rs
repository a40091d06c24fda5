//! Who this host is: the identity key, made here and never leaving, and what enrolment has settled.
//!
//! Owns the key's file (0600) and the enrolment record. A key that exists is never replaced: re-enrolling keeps the
//! agent's id. Whatever is damaged is an error that says which file, never a silently new identity.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use beffroi_schema::{AgentId, KeyId, SigningKey};
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, read_json, read_small, write_whole};

/// The key cannot be used, or there is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Enrolment has not happened.
    #[error(
        "this host is not enrolled ({} is absent); run `beffroi-agent enroll --token-file FILE` with a token from `beffroi enroll token`",
        path.display()
    )]
    NotEnrolled {
        /// What is absent.
        path: PathBuf,
    },
    /// The key's file can be read by others.
    #[error(
        "{} can be read by others (mode {mode:o}); whoever has read it can speak for this host: remove it and enrol again",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The key's file is no key, or not the enrolled one.
    #[error("{} is damaged: {why}; restore it, or remove it together with enrolment.json and enrol again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What enrolment has settled. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// Base URL of the gateway.
    pub gateway: String,
    /// Tenant of this host.
    pub tenant: String,
    /// Id of this host.
    pub agent_id: AgentId,
    /// SHA-256 of the server CA's certificate (DER), hex.
    pub ca_sha256: String,
    /// Key id of the CSIRT root that orders must chain to, hex; empty where none exists yet: then no order is taken. Only
    /// a new enrolment changes it.
    #[serde(default)]
    pub root_sha256: String,
    /// When it happened, microseconds since 1970.
    pub enrolled_at: i64,
    /// Labels of this host.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

impl Enrolment {
    /// Reads the record.
    ///
    /// # Errors
    /// [`IdentityError::NotEnrolled`] when there is none.
    pub fn load(layout: &Layout) -> Result<Self, IdentityError> {
        let path = layout.enrolment();
        read_json(&path)?.ok_or(IdentityError::NotEnrolled { path })
    }

    /// The pinned root. A record that was damaged by hand pins none.
    pub fn root(&self) -> Option<KeyId> {
        self.root_sha256.parse().ok()
    }

    /// Writes the record.
    ///
    /// # Errors
    /// The operating system's.
    pub fn store(&self, layout: &Layout) -> io::Result<()> {
        write_whole(&layout.enrolment(), &serde_json::to_vec_pretty(self)?, 0o644, None)
    }
}

/// Reads the identity key.
///
/// # Errors
/// [`IdentityError`].
pub fn load_key(layout: &Layout) -> Result<SigningKey, IdentityError> {
    let path = layout.identity_key();
    let Some(content) = read_small(&path)? else { return Err(IdentityError::NotEnrolled { path }) };
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::Exposed { path, mode });
    }
    let mut seed = [0u8; 32];
    let text = std::str::from_utf8(&content).unwrap_or_default().trim();
    if hex::decode_to_slice(text, &mut seed).is_err() {
        return Err(IdentityError::Damaged { path, why: "64 hex digits were expected" });
    }
    Ok(SigningKey::from_bytes(&seed))
}

/// Reads the identity key and checks that it is the enrolled one.
///
/// # Errors
/// [`IdentityError`].
pub fn load_enrolled_key(layout: &Layout, enrolment: &Enrolment) -> Result<SigningKey, IdentityError> {
    let key = load_key(layout)?;
    if AgentId::of_public_key(&key.verifying_key().to_bytes()) != enrolment.agent_id {
        return Err(IdentityError::Damaged { path: layout.identity_key(), why: "it is not the key of the enrolled agent id" });
    }
    Ok(key)
}

/// Reads the identity key, or makes it when there is none.
///
/// # Errors
/// [`IdentityError`]; an existing key that cannot be read is never overwritten.
pub fn load_or_make_key(layout: &Layout) -> Result<SigningKey, IdentityError> {
    match load_key(layout) {
        Err(IdentityError::NotEnrolled { path }) => {
            let mut seed = [0u8; 32];
            getrandom::fill(&mut seed).map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
            write_whole(&path, hex::encode(seed).as_bytes(), 0o600, None)?;
            Ok(SigningKey::from_bytes(&seed))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::User;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.prepare(&User::current()).unwrap();
        (dir, layout)
    }

    #[test]
    fn the_key_is_made_once_and_kept() {
        let (_dir, layout) = layout();
        assert!(matches!(load_key(&layout), Err(IdentityError::NotEnrolled { .. })));
        let made = load_or_make_key(&layout).unwrap();
        assert_eq!(load_or_make_key(&layout).unwrap().to_bytes(), made.to_bytes());
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_damaged_is_refused_and_kept() {
        let (_dir, layout) = layout();
        load_or_make_key(&layout).unwrap();
        let path = layout.identity_key();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_make_key(&layout).unwrap_err().to_string().contains("read by others"));
        std::fs::write(&path, "zz").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(load_or_make_key(&layout).unwrap_err().to_string().contains("damaged"));
        assert_eq!(std::fs::read(&path).unwrap(), b"zz");
    }
}
