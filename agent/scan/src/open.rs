//! Opening a file whose path a hostile program chose: without following a link, without touching a device or a pipe,
//! without waiting, within a size.
//!
//! Owns the order: first a descriptor that can do nothing (`O_PATH`), then the questions, and only for a plain file on
//! a fair file system the descriptor that can read. A refusal says why and is an ordinary result.

use std::ffi::CStr;
use std::fs::{File, Metadata};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::NixPath;
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

use crate::mounts::{System, system_of};

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
    let place = Place::at(AT_FDCWD, path)?;
    if place.kind != Kind::File {
        return Err(place.refusal());
    }
    if let System::Pseudo(name) | System::Network(name) = system_of(&place.descriptor)? {
        return Err(OpenRefusal::FileSystem(name));
    }
    let opened = place.open_file()?;
    if opened.meta.len() > max_bytes {
        return Err(OpenRefusal::TooLarge { bytes: opened.meta.len(), limit: max_bytes });
    }
    Ok(opened)
}

/// What lies at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Folder,
    Link,
    Pipe,
    Socket,
    Device,
}

/// Something that was found and can be asked, but neither read nor listed.
#[derive(Debug)]
pub(crate) struct Place {
    pub descriptor: OwnedFd,
    pub kind: Kind,
    /// Device number, as in mountinfo.
    pub device: (u32, u32),
    pub inode: u64,
    /// Names that it has.
    pub links: u32,
    pub bytes: u64,
}

impl Place {
    /// Finds what `path` names below `parent`, through no symbolic link; if the last part is one, that is what is found.
    pub fn at<P: ?Sized + NixPath>(parent: impl AsFd, path: &P) -> Result<Self, OpenRefusal> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
        let opened = match openat2(parent.as_fd(), path, OpenHow::new().flags(flags).resolve(resolve)) {
            // Kernels before 5.6, and sandboxes that refuse what they cannot look into (systemd's RestrictSUIDSGID=).
            Err(Errno::ENOSYS | Errno::EPERM) => path.with_nix_path(|path| by_steps(parent.as_fd(), path, flags)).flatten(),
            other => other,
        };
        let descriptor = opened.map_err(|error| match error {
            Errno::ELOOP => OpenRefusal::Link,
            Errno::ENOENT | Errno::ENOTDIR => OpenRefusal::Gone,
            other => OpenRefusal::Io(other.into()),
        })?;
        Self::of(descriptor)
    }

    fn of(descriptor: OwnedFd) -> Result<Self, OpenRefusal> {
        let state = statx(descriptor.as_fd())?;
        let kind = match u32::from(state.stx_mode) & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Folder,
            libc::S_IFLNK => Kind::Link,
            libc::S_IFIFO => Kind::Pipe,
            libc::S_IFSOCK => Kind::Socket,
            _ => Kind::Device,
        };
        Ok(Self {
            descriptor,
            kind,
            device: (state.stx_dev_major, state.stx_dev_minor),
            inode: state.stx_ino,
            links: state.stx_nlink,
            bytes: state.stx_size,
        })
    }

    /// Why this is not read as a file.
    pub fn refusal(&self) -> OpenRefusal {
        match self.kind {
            Kind::Link => OpenRefusal::Link,
            Kind::Folder => OpenRefusal::NotPlain("folder"),
            Kind::Pipe => OpenRefusal::NotPlain("named pipe"),
            Kind::Socket => OpenRefusal::NotPlain("socket"),
            Kind::File | Kind::Device => OpenRefusal::NotPlain("device"),
        }
    }

    /// Opens the very file that was examined for reading: no second walk of the path. Its time of access stays what it
    /// was where the kernel allows that (the owner of the file, and root).
    pub fn open_file(&self) -> Result<OpenedFile, OpenRefusal> {
        let again = format!("/proc/self/fd/{}", self.descriptor.as_raw_fd());
        let open = |flags| File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | flags).open(&again);
        let file = match open(libc::O_NOATIME) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => open(0),
            other => other,
        }?;
        let meta = file.metadata()?;
        Ok(OpenedFile { file, meta })
    }

    /// Opens the very folder that was examined for listing.
    pub fn open_folder(&self) -> Result<Dir, OpenRefusal> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let open = |more| Dir::openat(&self.descriptor, c".", flags | more, Mode::empty());
        let opened = match open(OFlag::O_NOATIME) {
            Err(Errno::EPERM) => open(OFlag::empty()),
            other => other,
        };
        opened.map_err(|error| OpenRefusal::Io(error.into()))
    }

    /// Whether both are the same file or folder.
    pub fn is(&self, device: (u32, u32), inode: u64) -> bool {
        self.device == device && self.inode == inode
    }
}

/// Finds what a path names one component after the other, none of them through a link.
fn by_steps(parent: BorrowedFd<'_>, path: &CStr, flags: OFlag) -> Result<OwnedFd, Errno> {
    let path = path.to_bytes();
    let mut found = path.starts_with(b"/").then(|| openat(parent, c"/", flags, Mode::empty())).transpose()?;
    for step in path.split(|byte| *byte == b'/').filter(|step| !step.is_empty()) {
        let from = found.as_ref().map_or(parent, AsFd::as_fd);
        let next = openat(from, step, flags, Mode::empty());
        found = Some(next.map_err(|error| match error {
            Errno::ENOTDIR if is_link(from) => Errno::ELOOP,
            other => other,
        })?);
    }
    found.ok_or(Errno::ENOENT)
}

fn is_link(descriptor: BorrowedFd<'_>) -> bool {
    statx(descriptor).is_ok_and(|state| u32::from(state.stx_mode) & libc::S_IFMT == libc::S_IFLNK)
}

/// The state of what a descriptor stands for, as far as the kernel has it: a server that does not answer is not asked.
fn statx(descriptor: BorrowedFd<'_>) -> io::Result<libc::statx> {
    let mut state = MaybeUninit::<libc::statx>::zeroed();
    let (empty, flags): (&CStr, _) = (c"", libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC);
    // SAFETY: the path is a C string, `state` is writable memory of the right size, and the descriptor is open.
    let result =
        unsafe { libc::statx(descriptor.as_raw_fd(), empty.as_ptr(), flags, libc::STATX_BASIC_STATS, state.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: zeroed memory is a valid value of this structure of integers, and the kernel has filled it.
    Ok(unsafe { state.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refusal(path: &Path) -> String {
        open_for_scan(path, 1000).unwrap_err().to_string()
    }

    /// Runs `work` on a thread for which there is no openat2, as under `RestrictSUIDSGID=yes`.
    fn without_openat2<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};
        let refuse = SeccompAction::Errno(libc::ENOSYS as u32);
        let (calls, arch) = ([(libc::SYS_openat2, vec![])].into(), std::env::consts::ARCH.try_into().unwrap());
        let filter = SeccompFilter::new(calls, SeccompAction::Allow, refuse, arch).unwrap();
        let filter: BpfProgram = filter.try_into().unwrap();
        let run = move || {
            apply_filter(&filter).unwrap();
            work()
        };
        std::thread::scope(|scope| scope.spawn(run).join().unwrap())
    }

    #[test]
    fn a_link_anywhere_in_a_path_is_seen_without_openat2_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        std::fs::create_dir(root.join("folder")).unwrap();
        std::fs::write(root.join("folder/file"), b"x").unwrap();
        symlink(root.join("folder"), root.join("linked")).unwrap();
        symlink(root.join("folder/file"), root.join("link")).unwrap();
        without_openat2(|| {
            assert_eq!(open_for_scan(&root.join("folder/../folder/./file"), 1000).unwrap().meta.len(), 1);
            for path in ["linked/file", "link", "linked/", "linked/../folder/file", "link/below"] {
                assert!(matches!(open_for_scan(&root.join(path), 1000), Err(OpenRefusal::Link)), "{path}");
            }
            for path in ["absent", "absent/file", "folder/file/below"] {
                assert!(matches!(open_for_scan(&root.join(path), 1000), Err(OpenRefusal::Gone)), "{path}");
            }
            let folder = Place::at(AT_FDCWD, &root).unwrap();
            assert_eq!(Place::at(&folder.descriptor, c"folder").unwrap().kind, Kind::Folder);
            assert_eq!(Place::at(&folder.descriptor, c"link").unwrap().kind, Kind::Link);
            assert_eq!(Place::at(&folder.descriptor, c".").unwrap().kind, Kind::Folder);
        });
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
