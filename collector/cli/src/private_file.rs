//! Files with secrets: new ones that only their owner can read, and old ones that nobody else can.
//!
//! A file is never overwritten. A new one that was not written whole is removed again.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::errors::{Failure, Outcome};

/// Permission bits of the group and of others, without execution.
const FOREIGN_BITS: u32 = 0o066;

/// A new file; gone again unless it is written.
pub struct NewFile {
    path: PathBuf,
    file: File,
    is_written: bool,
}

impl NewFile {
    /// A file that only its owner can read (0600).
    pub fn private(path: &Path) -> Outcome<Self> {
        Self::create(path, 0o600)
    }

    /// A file that everybody may read (0644): it holds no secret.
    pub fn public(path: &Path) -> Outcome<Self> {
        Self::create(path, 0o644)
    }

    fn create(path: &Path, mode: u32) -> Outcome<Self> {
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path).map_err(|error| {
            let hint = match error.kind() {
                std::io::ErrorKind::AlreadyExists => "it is there already and stays as it is; choose another name",
                _ => "choose a folder that exists and that you may write",
            };
            Failure::usage(format!("cannot create {}: {error}", path.display()), hint)
        })?;
        Ok(Self { path: path.into(), file, is_written: false })
    }

    /// The text and the end of its last line, on disk before this returns. `hint`: what to do when the disk refuses.
    pub fn write(mut self, text: &str, hint: &str) -> Outcome {
        let text = text.strip_suffix('\n').unwrap_or(text);
        writeln!(self.file, "{text}")
            .and_then(|()| self.file.sync_all())
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", self.path.display()), hint))?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// At most `limit` bytes of a file; more is an error. `hint`: what the file should be.
pub fn read(path: &Path, limit: u64, hint: &str) -> Outcome<Vec<u8>> {
    let bad = |why: String| Failure::usage(format!("{}: {why}", path.display()), hint);
    let file = File::open(path).map_err(|error| bad(error.to_string()))?;
    read_open(&file, limit).map_err(|error| bad(error.to_string())).and_then(|bytes| {
        if bytes.len() as u64 > limit { Err(bad(format!("it is larger than {limit} bytes"))) } else { Ok(bytes) }
    })
}

/// As [`read`], for a secret: refused when others can read or write it.
pub fn read_private(path: &Path, limit: u64, hint: &str) -> Outcome<Vec<u8>> {
    let file = File::open(path).map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display()), hint))?;
    // Of the open file: what the name meant a moment ago does not count.
    let mode = file.metadata().map(|data| data.mode()).unwrap_or(FOREIGN_BITS);
    if mode & FOREIGN_BITS != 0 {
        let bits = mode & 0o777;
        return Err(Failure::usage(
            format!("{} can be read or changed by others (mode {bits:04o})", path.display()),
            format!("take it for known to them, or, if you are sure that it is not: chmod 600 {}", path.display()),
        ));
    }
    let bytes = read_open(&file, limit).map_err(|error| Failure::usage(format!("{}: {error}", path.display()), hint))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::usage(format!("{} is larger than {limit} bytes", path.display()), hint));
    }
    Ok(bytes)
}

/// One byte more than `limit`, so that the caller sees that there is more.
fn read_open(file: &File, limit: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_secret_file_is_private_never_overwritten_and_gone_unless_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        drop(NewFile::private(&path).unwrap());
        assert!(!path.exists());
        NewFile::private(&path).unwrap().write("secret", "").unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(NewFile::private(&path).is_err_and(|failure| failure.hint.contains("another name")));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret\n");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        NewFile::private(&path).unwrap().write("secret", "").unwrap();
        assert_eq!(read_private(&path, 100, "").unwrap(), b"secret\n");
        for mode in [0o640, 0o604, 0o620, 0o666] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let refused = read_private(&path, 100, "").unwrap_err();
            assert!(refused.what.contains("by others") && refused.hint.contains("chmod 600"), "{refused}");
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        NewFile::private(&path).unwrap().write("0123456789", "").unwrap();
        assert!(read(&path, 10, "").is_err() && read(&path, 11, "").is_ok());
        assert!(read_private(&path, 10, "").is_err() && read_private(&path, 11, "").is_ok());
    }
}
