//! The data folder, its lock, the secret and the port file: everything opened before privileges are given up.
//!
//! Owns the lock (released by the kernel when the process ends, also by kill -9). Failures are sentences with a path
//! and what to do.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::http::auth::KEY_MIN_BYTES;

/// Longest key accepted; guards against naming a wrong, huge file.
const KEY_MAX_BYTES: u64 = 4096;

/// Creates the folder (mode 0700) if needed and returns its absolute path.
pub(crate) fn folder(path: &Path) -> anyhow::Result<PathBuf> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot create the data folder {}", path.display()))?;
    path.canonicalize().with_context(|| format!("cannot resolve the data folder {}", path.display()))
}

/// Pause between two tries to take the folder.
const LOCK_LOOK: Duration = Duration::from_millis(50);

/// Takes the folder for this process alone. As long as another one has it, tries again for `patience`: the engine of a
/// collector that was killed drains before it lets go.
pub(crate) fn lock(folder: &Path, patience: Duration) -> anyhow::Result<Flock<File>> {
    let until = Instant::now() + patience;
    let mut told = false;
    loop {
        match try_lock(folder) {
            Err(TryLock::Held(holder)) if Instant::now() < until => {
                if !std::mem::replace(&mut told, true) {
                    tracing::info!(holder, folder = %folder.display(), "the data folder is still in use: waiting");
                }
                std::thread::sleep(LOCK_LOOK);
            }
            Err(TryLock::Held(holder)) => bail!(
                "the data folder {} is already in use by process {holder}: stop that one, or choose another --data",
                folder.display()
            ),
            Err(TryLock::Failed(error)) => return Err(error),
            Ok(lock) => return Ok(lock),
        }
    }
}

/// Why the folder could not be taken.
enum TryLock {
    /// This process has it.
    Held(String),
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for TryLock {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

fn try_lock(folder: &Path) -> Result<Flock<File>, TryLock> {
    let path = folder.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // The folder belongs to the engine's user, and root opens this file: no links.
        .custom_flags(libc::O_NOFOLLOW)
        .open(&path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    let mut holder = String::new();
    let _best_effort = std::io::Read::by_ref(&mut file).take(32).read_to_string(&mut holder);
    let mut lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        Errno::EWOULDBLOCK => TryLock::Held(holder.trim().to_owned()),
        other => TryLock::Failed(anyhow::anyhow!("cannot lock {}: {other}", path.display())),
    })?;
    lock.set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| writeln!(lock, "{}", std::process::id()))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(lock)
}

/// Reads the key; refuses files that others can read.
pub(crate) fn secret(path: &Path) -> anyhow::Result<String> {
    let file = File::open(path).with_context(|| format!("cannot open the secret file {}", path.display()))?;
    let mode = file.metadata().with_context(|| format!("cannot examine {}", path.display()))?.mode() & 0o777;
    if mode & 0o077 != 0 {
        bail!("the secret file {} has mode {mode:04o}: make it readable by its owner alone (chmod 600)", path.display());
    }
    let mut text = String::new();
    file.take(KEY_MAX_BYTES).read_to_string(&mut text).with_context(|| format!("cannot read {}", path.display()))?;
    let key = text.trim();
    if key.len() < KEY_MIN_BYTES {
        bail!("the secret in {} has {} bytes; at least {KEY_MIN_BYTES} are needed", path.display(), key.len());
    }
    Ok(key.to_owned())
}

/// Creates a secret file (mode 0600, 32 random bytes in hex) unless it exists, and returns the key in it.
pub(crate) fn secret_or_new(path: &Path) -> anyhow::Result<String> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut file) => {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(|e| anyhow::anyhow!("the system's random source failed: {e}"))?;
            writeln!(file, "{}", hex::encode(bytes)).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error).with_context(|| format!("cannot create the secret file {}", path.display())),
    }
    secret(path)
}

/// Opens (and empties) the port file; its line is written once the server is ready.
pub(crate) fn port_file(path: &Path) -> anyhow::Result<File> {
    File::create(path).with_context(|| format!("cannot create the port file {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_folder_in_use_is_refused_naming_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), Duration::ZERO).unwrap();
        let error = lock(dir.path(), Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        lock(dir.path(), Duration::ZERO).unwrap();
    }

    #[test]
    fn a_folder_whose_holder_is_about_to_end_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path(), Duration::ZERO).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lock(dir.path(), Duration::from_secs(30)));
            assert!(!waiting.is_finished());
            drop(held);
            waiting.join().unwrap().unwrap();
        });
    }

    #[test]
    fn a_new_secret_is_private_and_stays_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let key = secret_or_new(&path).unwrap();
        assert_eq!(key.len(), 64);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(secret_or_new(&path).unwrap(), key);
    }

    #[test]
    fn a_secret_that_others_can_read_or_guess_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        secret_or_new(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(secret(&path).unwrap_err().to_string().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "short\n").unwrap();
        assert!(secret(&path).unwrap_err().to_string().contains("at least 16"));
    }
}
