//! Where the agent's files lie, and who may do what with them.
//!
//! ```text
//! STATE/enrolment.json       root, 0644   tenant, gateway, ids: no secret
//! STATE/identity/            root, 0700   identity.key: only the sensor reads it
//! STATE/tls/                 uplink, 0700 key.pem, certificate.pem, ca.pem
//! STATE/spool/STREAM/        root writes, the uplink's group reads (02750)
//! STATE/uplink/              uplink, 0755 cursors, status.json, orders.cursor
//! STATE/uplink/blobs/        uplink       rule texts by SHA-256, made by the uplink; whoever reads them checks the hash
//! STATE/sensor/              root, 0755   heads, status.json, orders.json (0600)
//! STATE/run/sensor.sock      root and the uplink's group (0660)
//! ```
//!
//! Owns the paths, the creation of folders and the writing of small files as a whole (write, sync, rename, sync).

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use beffroi_schema::Stream;

use crate::users::User;

/// Largest small file that is read back (bytes): certificates, status, heads.
const MAX_SMALL_FILE_BYTES: u64 = 1 << 20;

/// The state folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The state folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What enrolment has settled.
    pub fn enrolment(&self) -> PathBuf {
        self.root.join("enrolment.json")
    }

    /// The identity key.
    pub fn identity_key(&self) -> PathBuf {
        self.root.join("identity/identity.key")
    }

    /// TLS key, certificate or CA, by file name.
    pub fn tls(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(name)
    }

    /// The log of a stream.
    pub fn spool(&self, stream: Stream) -> PathBuf {
        self.root.join("spool").join(stream.name())
    }

    /// How far the uplink is in a stream.
    pub fn cursor(&self, stream: Stream) -> PathBuf {
        self.root.join("uplink").join(format!("{}.cursor", stream.name()))
    }

    /// What the uplink says of itself.
    pub fn uplink_status(&self) -> PathBuf {
        self.root.join("uplink/status.json")
    }

    /// Rule texts that the uplink has fetched, by SHA-256 in hex.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("uplink/blobs")
    }

    /// How far the uplink is in what comes down.
    pub fn orders_cursor(&self) -> PathBuf {
        self.root.join("uplink/orders.cursor")
    }

    /// What was accepted from above and is still to be done.
    pub fn orders(&self) -> PathBuf {
        self.root.join("sensor/orders.json")
    }

    /// What the sensor says of itself.
    pub fn sensor_status(&self) -> PathBuf {
        self.root.join("sensor/status.json")
    }

    /// Heads of the streams and the last sign of life.
    pub fn heads(&self) -> PathBuf {
        self.root.join("sensor/heads")
    }

    /// The socket of the sensor.
    pub fn socket(&self) -> PathBuf {
        self.root.join("run/sensor.sock")
    }

    /// Creates every folder with its owner and mode. Without root, everything belongs to whoever runs this.
    ///
    /// # Errors
    /// The first folder that could not be made.
    pub fn prepare(&self, uplink: &User) -> io::Result<()> {
        self.folder("", 0o755, None)?;
        self.folder("identity", 0o700, None)?;
        self.folder("tls", 0o700, Some((uplink.uid, uplink.gid)))?;
        self.folder("uplink", 0o755, Some((uplink.uid, uplink.gid)))?;
        self.folder("sensor", 0o755, None)?;
        self.folder("run", 0o755, None)?;
        let own = nix::unistd::geteuid().as_raw();
        self.folder("spool", 0o750, Some((own, uplink.gid)))?;
        for stream in Stream::ALL {
            // The group bit is inherited by the files that the sensor makes: that is how the uplink may read them.
            self.folder(&format!("spool/{}", stream.name()), 0o2750, Some((own, uplink.gid)))?;
        }
        Ok(())
    }

    fn folder(&self, name: &str, mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
        let path = if name.is_empty() { self.root.clone() } else { self.root.join(name) };
        let named = |error: io::Error| io::Error::new(error.kind(), format!("cannot prepare {}: {error}", path.display()));
        // Without the group bit, which some sandboxes refuse at creation: it is set below.
        DirBuilder::new().recursive(true).mode(mode & 0o777).create(&path).map_err(named)?;
        let found = fs::symlink_metadata(&path).map_err(named)?;
        if !found.is_dir() {
            return Err(named(io::Error::other("it is no folder")));
        }
        let wanted = owner.filter(|_| nix::unistd::geteuid().is_root()).unwrap_or((found.uid(), found.gid()));
        let has_owner = (found.uid(), found.gid()) == wanted;
        // What is right already is left alone: a sensor whose sandbox refuses to give files away, or to set the group bit,
        // must be able to start.
        if has_owner && found.mode() & 0o7777 == mode {
            return Ok(());
        }
        let given = if has_owner { Ok(()) } else { chown(&path, Some(wanted.0), Some(wanted.1)) };
        let mended = given.and_then(|()| fs::set_permissions(&path, Permissions::from_mode(mode)));
        mended.map_err(|error| io::Error::new(error.kind(), unmended(&path, &found, mode, wanted, &error)))
    }
}

/// What is wrong with a folder that may not be put right from here, and who may.
fn unmended(path: &Path, found: &fs::Metadata, mode: u32, (uid, gid): (u32, u32), error: &io::Error) -> String {
    format!(
        "{} has mode {:04o} and belongs to {}:{}, it must have {mode:04o} and belong to {uid}:{gid}, and that cannot be set here \
         ({error}); run `systemd-tmpfiles --create`, or `chown {uid}:{gid}` and `chmod {mode:04o}`, as root",
        path.display(),
        found.mode() & 0o7777,
        found.uid(),
        found.gid(),
    )
}

/// Writes a small file as a whole: after a crash it is the old one or the new one, never half of it.
///
/// # Errors
/// The operating system's, with the path.
pub fn write_whole(path: &Path, content: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let written = (|| {
        // A leftover of a crash may have another mode.
        remove_if_there(&temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        if let (Some((uid, gid)), true) = (owner, nix::unistd::geteuid().is_root()) {
            chown(&temporary, Some(uid), Some(gid))?;
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
    })();
    written.map_err(|error: io::Error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))
}

/// Replaces a small file that others read, without waiting for the disk: for news that may be lost.
///
/// # Errors
/// The operating system's, with the path.
pub fn write_news(path: &Path, content: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("new");
    let written = fs::write(&temporary, content)
        .and_then(|()| fs::set_permissions(&temporary, Permissions::from_mode(0o644)))
        .and_then(|()| fs::rename(&temporary, path));
    written.map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", path.display())))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Reads a small file; `None` when it does not exist.
///
/// # Errors
/// The operating system's, with the path.
pub fn read_small(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_SMALL_FILE_BYTES).read_to_end(&mut content));
    match read {
        Ok(_) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))),
    }
}

/// Reads a small JSON file; `None` when it does not exist.
///
/// # Errors
/// As [`read_small`], and when the content is not what is expected.
pub fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let Some(content) = read_small(path)? else { return Ok(None) };
    let parsed = serde_json::from_slice(&content);
    parsed.map(Some).map_err(|error| io::Error::other(format!("{} is damaged: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_closed_to_those_who_need_them_not() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("state"));
        layout.prepare(&User::current()).unwrap();
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode(layout.identity_key().parent().unwrap().into()), 0o700);
        assert_eq!(mode(layout.spool(Stream::Exec)), 0o2750);
        layout.prepare(&User::current()).unwrap();
    }

    #[test]
    fn a_small_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.json");
        assert_eq!(read_small(&path).unwrap(), None);
        write_whole(&path, b"1", 0o600, None).unwrap();
        write_whole(&path, b"2", 0o600, None).unwrap();
        assert_eq!(read_json::<u32>(&path).unwrap(), Some(2));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::write(&path, "{").unwrap();
        assert!(read_json::<u32>(&path).unwrap_err().to_string().contains("damaged"));
    }
}
