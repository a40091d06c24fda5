//! Files of keys: PKCS#8 in PEM (`NAME.key`, 0600, encrypted on request), SubjectPublicKeyInfo in PEM (`NAME.pub`).
//!
//! A private key that others can read is refused; what is wrong with one is said without repeating any of it.

use std::path::{Path, PathBuf};

use beffroi_schema::down::{KeyError, OperatorKey, PublicKey};
use zeroize::Zeroizing;

use crate::args::Passphrase;
use crate::errors::{Failure, Outcome};
use crate::passphrase::{self, Closing};
use crate::private_file::{self, NewFile};

/// Largest file of a key: P-256 in PEM needs 300 bytes, encrypted 500.
const MAX_KEY_BYTES: u64 = 16 * 1024;
const KEY_HINT: &str = "name a private key: PKCS#8 in PEM, as `beffroi key` and openssl write it";
const PUBLIC_HINT: &str = "name a public key: PEM, label PUBLIC KEY, as `beffroi key operator new` writes it";

/// Writes a new private key. `file` is there already, so that nothing is made that cannot be kept.
pub fn save(file: NewFile, key: &OperatorKey, closing: &Closing) -> Outcome {
    let plain = key.to_pkcs8_pem().map_err(unusable)?;
    let text = match closing {
        None => plain,
        Some(passphrase) => passphrase::encrypt(&plain, passphrase)?,
    };
    file.write(&text, "nothing was made; is there room?")
}

/// Reads a private key, and asks for its passphrase if it has one.
pub fn load(path: &Path, passphrase: &Passphrase) -> Outcome<OperatorKey> {
    let bytes = Zeroizing::new(private_file::read_private(path, MAX_KEY_BYTES, KEY_HINT)?);
    let text = std::str::from_utf8(&bytes).map_err(|_| Failure::usage(format!("{} is no text", path.display()), KEY_HINT))?;
    if is_encrypted(text) {
        let given = match &passphrase.passphrase_file {
            Some(path) => passphrase::from_file(path)?,
            None => {
                passphrase::from_terminal(&format!("Passphrase of {}: ", crate::safe::terminal(&path.display().to_string())))?
            }
        };
        let bad =
            |why: &str| Failure::usage(format!("{}: {why}", path.display()), "type it again, or name its --passphrase-file");
        let open = passphrase::decrypt(text, &given).map_err(bad)?;
        return OperatorKey::from_pkcs8_der(&open).map_err(|error| bad(&error.to_string()));
    }
    OperatorKey::from_pkcs8_pem(text).map_err(|error| Failure::usage(format!("{}: {error}", path.display()), KEY_HINT))
}

/// Reads a public key.
pub fn load_public(path: &Path) -> Outcome<PublicKey> {
    let bytes = private_file::read(path, MAX_KEY_BYTES, PUBLIC_HINT)?;
    let text = String::from_utf8_lossy(&bytes);
    PublicKey::from_pem(&text).map_err(|error| Failure::usage(format!("{}: {error}", path.display()), PUBLIC_HINT))
}

/// Whether this PEM is a private key, plain or encrypted.
pub fn is_private(text: &str) -> bool {
    text.contains("PRIVATE KEY-----")
}

/// Whether this PEM is an encrypted private key.
pub fn is_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
}

/// Private key and its sibling: `out` ending in `.key` names the first, anything else is a folder, made if needed (0700).
pub fn paths(out: &Path, name: &str, sibling: &str) -> Outcome<(PathBuf, PathBuf)> {
    if out.extension().is_some_and(|ending| ending == "key") {
        return Ok((out.into(), out.with_extension(sibling)));
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '@');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
        let why = format!("{name:?} cannot be the name of files");
        return Err(Failure::usage(why, "use letters, digits, - _ . @, or name the file: --out PATH.key"));
    }
    private_folder(out)?;
    Ok((out.join(format!("{name}.key")), out.join(format!("{name}.{sibling}"))))
}

fn private_folder(path: &Path) -> Outcome {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Failure::usage(format!("cannot make the folder {}: {error}", path.display()), "name a folder that you may write")
    })
}

fn unusable(error: KeyError) -> Failure {
    Failure::usage(error.to_string(), "nothing was made")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_cannot_leave_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let (key, public) = paths(&folder.path().join("new/er"), "alice", "pub").unwrap();
        assert!(key.ends_with("new/er/alice.key") && public.ends_with("alice.pub") && folder.path().join("new/er").is_dir());
        let (key, cert) = paths(&folder.path().join("my.key"), "../x", "beffroi").unwrap();
        assert!(key.ends_with("my.key") && cert.ends_with("my.beffroi"));
        for name in ["", "../x", "a/b", ".hidden", "a b"] {
            assert!(paths(folder.path(), name, "pub").is_err(), "{name:?}");
        }
    }
}
