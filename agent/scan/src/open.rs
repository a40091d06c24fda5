//! Opening a file whose path a hostile program chose: without following a link, without touching a device or a pipe,
//! without waiting, within a size.
//!
//! Owns the order: first a descriptor that can do nothing (`O_PATH`), then the questions, and only for a plain file on
//! a local file system the descriptor that can read. A refusal says why and is an ordinary result.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;

/// File systems on which a read may wait for another machine or program, or that hold no files but the kernel's view
/// (numbers of statfs(2)).
const REFUSED_FILE_SYSTEMS: [(i64, &str); 9] = [
    (0x6573_5546, "FUSE"),
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xFE53_4D42, "SMB2"),
    (0x517B, "SMB"),
    (0x0102_1997, "9P"),
    (0x9FA0, "proc"),
    (0x6265_6572, "sysfs"),
    (0x7461_636F, "OCFS2"),
];

/// A plain file, open for reading.
#[derive(Debug)]
pub struct OpenedFile {
    /// The file.
    pub file: File,
    /// Its state when it was opened.
    pub meta: Metadata,
}

/// Why a file is not scanned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenRefusal {
    /// The path or its last part is a symbolic link.
    #[error("the path goes through a symbolic link")]
    Link,
    /// Not a plain file.
    #[error("it is a {0}, not a plain file")]
    NotPlain(&'static str),
    /// Too large to be scanned.
    #[error("it has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A file system that may stall or holds no files.
    #[error("it lies on a {0} file system")]
    FileSystem(&'static str),
    /// It is gone already.
    #[error("it is gone")]
    Gone,
    /// Anything else that the operating system said.
    #[error("it cannot be opened: {0}")]
    Io(#[from] io::Error),
}

/// Opens `path` for a scan of at most `max_bytes`.
///
/// # Errors
/// [`OpenRefusal`], which names what stands in the way.
pub fn open_for_scan(path: &Path, max_bytes: u64) -> Result<OpenedFile, OpenRefusal> {
    let place = place_of(path)?;
    let place = File::from(place);
    let kind = place.metadata()?.file_type();
    if !kind.is_file() {
        return Err(match kind {
            kind if kind.is_symlink() => OpenRefusal::Link,
            kind if kind.is_dir() => OpenRefusal::NotPlain("folder"),
            kind if kind.is_fifo() => OpenRefusal::NotPlain("named pipe"),
            kind if kind.is_socket() => OpenRefusal::NotPlain("socket"),
            _ => OpenRefusal::NotPlain("device"),
        });
    }
    let system = fstatfs(&place).map_err(io::Error::from)?.filesystem_type().0 as i64 & 0xFFFF_FFFF;
    if let Some((_, name)) = REFUSED_FILE_SYSTEMS.iter().find(|(number, _)| *number == system) {
        return Err(OpenRefusal::FileSystem(name));
    }
    // The descriptor of the very inode that was examined is opened again for reading: no second walk of the path.
    let again = format!("/proc/self/fd/{}", place.as_raw_fd());
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(again)?;
    let meta = file.metadata()?;
    if meta.len() > max_bytes {
        return Err(OpenRefusal::TooLarge { bytes: meta.len(), limit: max_bytes });
    }
    Ok(OpenedFile { file, meta })
}

fn place_of(path: &Path) -> Result<OwnedFd, OpenRefusal> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let opened = match openat2(AT_FDCWD, path, how) {
        // Kernels before 5.6 and some sandboxes: at least the last part is no link.
        Err(Errno::ENOSYS | Errno::EPERM) => open(path, flags, Mode::empty()),
        other => other,
    };
    opened.map_err(|error| match error {
        Errno::ELOOP => OpenRefusal::Link,
        Errno::ENOENT | Errno::ENOTDIR => OpenRefusal::Gone,
        other => OpenRefusal::Io(other.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refusal(path: &Path) -> String {
        open_for_scan(path, 1000).unwrap_err().to_string()
    }

    #[test]
    fn only_a_plain_file_of_a_fair_size_is_opened_and_every_refusal_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().canonicalize().unwrap().join(name);
        std::fs::write(at("plain"), b"x").unwrap();
        assert_eq!(open_for_scan(&at("plain"), 1000).unwrap().meta.len(), 1);
        symlink(at("plain"), at("link")).unwrap();
        assert!(refusal(&at("link")).contains("symbolic link"));
        std::fs::create_dir(at("folder")).unwrap();
        symlink(at("folder"), at("linked")).unwrap();
        std::fs::write(at("folder/inside"), b"x").unwrap();
        assert!(refusal(&at("linked/inside")).contains("symbolic link"));
        assert!(refusal(&at("folder")).contains("folder"));
        nix::unistd::mkfifo(&at("pipe"), Mode::S_IRWXU).unwrap();
        assert!(refusal(&at("pipe")).contains("named pipe"));
        let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(refusal(&at("socket")).contains("socket"));
        assert!(refusal(Path::new("/dev/zero")).contains("device"));
        assert!(refusal(Path::new("/proc/cpuinfo")).contains("proc"));
        assert!(refusal(&at("absent")).contains("gone"));
        File::create(at("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert!(refusal(&at("sparse")).contains("1099511627776 bytes"));
    }
}
