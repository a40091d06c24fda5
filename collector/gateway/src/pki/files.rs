//! The CA's two files: made once under an exclusive lock, never half there. `ca.pem` is for everyone (operators put its
//! fingerprint into tokens), `ca.key` for the collector's user only.
//!
//! A crash while they are made leaves either nothing that counts or both: the certificate is written whole beside its
//! place first, then the key takes its place, then the certificate; [`finish`] does the last step after a crash.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::PkiError;

pub(super) const CERTIFICATE: &str = "ca.pem";
pub(super) const KEY: &str = "ca.key";
const CERTIFICATE_NEW: &str = "ca.pem.new";
const KEY_NEW: &str = "ca.key.new";
const LOCK: &str = "lock";

/// Held while the CA is made; released when dropped.
pub(super) struct Lock(#[allow(dead_code)] File);

impl Lock {
    pub(super) fn take(dir: &Path) -> Result<Self, PkiError> {
        std::fs::create_dir_all(dir).map_err(at(dir))?;
        let path = dir.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(at(&path))?;
        file.lock().map_err(at(&path))?;
        Ok(Self(file))
    }
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> PkiError {
    let path = path.to_path_buf();
    move |source| PkiError::Io { path, source }
}

pub(super) fn exists(dir: &Path) -> bool {
    dir.join(CERTIFICATE).exists() || dir.join(KEY).exists()
}

/// Whether there is a key without its certificate: something was deleted, nothing may be made anew.
pub(super) fn lost_certificate(dir: &Path) -> bool {
    dir.join(KEY).exists() && !dir.join(CERTIFICATE).exists()
}

/// Completes what a crash interrupted.
pub(super) fn finish(dir: &Path) -> Result<(), PkiError> {
    let (certificate, waiting) = (dir.join(CERTIFICATE), dir.join(CERTIFICATE_NEW));
    if dir.join(KEY).exists() && !certificate.exists() && waiting.exists() {
        std::fs::rename(&waiting, &certificate).map_err(at(&certificate))?;
        sync_dir(dir)?;
    }
    Ok(())
}

pub(super) fn write_both(dir: &Path, certificate: &str, key: &str) -> Result<(), PkiError> {
    write_new(&dir.join(CERTIFICATE_NEW), certificate, 0o644)?;
    write_new(&dir.join(KEY_NEW), key, 0o600)?;
    sync_dir(dir)?;
    for (from, to) in [(KEY_NEW, KEY), (CERTIFICATE_NEW, CERTIFICATE)] {
        std::fs::rename(dir.join(from), dir.join(to)).map_err(at(&dir.join(to)))?;
        sync_dir(dir)?;
    }
    Ok(())
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), PkiError> {
    // What a crash left behind may have other permissions: never write a key into an old file.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(at(path)(error)),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(at(path))?;
    // The umask may have taken rights away from the certificate; it is public.
    file.set_permissions(std::fs::Permissions::from_mode(mode)).map_err(at(path))?;
    file.write_all(text.as_bytes()).map_err(at(path))?;
    file.sync_all().map_err(at(path))
}

fn sync_dir(dir: &Path) -> Result<(), PkiError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(at(dir))
}

/// Reads a private key; one that others may read is used, but said.
pub(super) fn read_key(path: &Path) -> Result<Zeroizing<String>, PkiError> {
    let text = Zeroizing::new(std::fs::read_to_string(path).map_err(at(path))?);
    let mode = std::fs::metadata(path).map_err(at(path))?.permissions().mode();
    if mode & 0o007 != 0 {
        tracing::warn!(path = %path.display(), mode = format!("{:o}", mode & 0o777), "this private key is readable by every user: chmod 600 it");
    }
    Ok(text)
}
