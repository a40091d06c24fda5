//! The folder of a log: creating, listing and opening its files with the right modes.
//!
//! Owns modes, names and the rule that a folder change is durable only after the folder itself was synced.
//! No symbolic link is followed and nothing but plain files is opened: a reader's folder belongs to another user.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::format::{HeaderCheck, NO_MARKER, SEGMENT_HEADER_BYTES, SegmentHeader, parse_segment_name, segment_name};

/// Mode of a new log folder: the owner writes, the group (the readers) lists and reads, others see nothing.
pub(crate) const DIR_MODE: u32 = 0o750;
/// Mode of segments and state: the owner writes, the group reads.
pub(crate) const FILE_MODE: u32 = 0o640;
/// Mode of the lock: a reader that could open it could hold it and shut the writer out.
pub(crate) const LOCK_MODE: u32 = 0o600;
/// Name of the lock file.
pub(crate) const LOCK_NAME: &str = "lock";
/// Name of the state file.
pub(crate) const STATE_NAME: &str = "log.state";
/// Name of a replacement segment before it is renamed into place.
pub(crate) const REPLACEMENT_NAME: &str = "replacement.tmp";

/// Creates the folder (and its parents) if absent; an existing folder keeps its mode, it is the installer's choice.
pub(crate) fn ensure_dir(dir: &Path) -> Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir);
    made.map_err(|e| Error::io("create folder", dir, e))?;
    let set = fs::set_permissions(dir, fs::Permissions::from_mode(DIR_MODE));
    set.map_err(|e| Error::io("set mode of", dir, e))?;
    match dir.parent() {
        Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new(".")),
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes file creations, renames and deletions in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> Result<()> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| Error::io("sync folder", dir, e))
}

/// Opens for reading and writing, creating with `mode` (whatever the umask says).
pub(crate) fn open_rw(path: &Path, mode: u32, truncate: bool) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(truncate).mode(mode);
    let fresh = !path.exists();
    let file = open_plain(&mut options, path)?;
    if fresh {
        let set = file.set_permissions(fs::Permissions::from_mode(mode));
        set.map_err(|e| Error::io("set mode of", path, e))?;
    }
    Ok(file)
}

/// Opens for reading.
pub(crate) fn open_ro(path: &Path) -> Result<File> {
    open_plain(OpenOptions::new().read(true), path)
}

/// Opens without following a link and without waiting on a pipe; anything but a plain file is refused.
fn open_plain(options: &mut OpenOptions, path: &Path) -> Result<File> {
    let opened = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path);
    let file = opened.map_err(|e| match e.raw_os_error() {
        Some(libc::ELOOP | libc::ENXIO) => Error::NotAFile { path: path.to_path_buf() },
        _ => Error::io("open", path, e),
    })?;
    let kind = file.metadata().map_err(|e| Error::io("inspect", path, e))?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    Err(Error::NotAFile { path: path.to_path_buf() })
}

/// Takes the exclusive lock on `file` or says who is in the way.
pub(crate) fn lock(file: &File, path: &Path) -> Result<()> {
    file.try_lock().map_err(|e| match e {
        fs::TryLockError::WouldBlock => Error::Locked { path: path.to_path_buf() },
        fs::TryLockError::Error(e) => Error::io("lock", path, e),
    })
}

/// Deletes a file; one that is already gone is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("delete", path, e)),
        _ => Ok(()),
    }
}

/// What tells one file from another at the same path.
pub(crate) fn identity(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Path of the segment that begins at `base`.
pub(crate) fn segment_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(segment_name(base))
}

/// Reads the header of an open segment.
pub(crate) fn read_header(file: &File, path: &Path, base: u64) -> Result<HeaderCheck> {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
    match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => Ok(SegmentHeader::decode(&bytes, base)),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(HeaderCheck::Damaged),
        Err(e) => Err(Error::io("read", path, e)),
    }
}

/// Base offsets of the segments that count, ascending, and of those that a replacement has superseded.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub bases: Vec<u64>,
    pub superseded: Vec<u64>,
    /// The oldest segment is a replacement.
    pub oldest_is_replacement: bool,
}

/// Lists the segments of `dir`. A replacement always takes the place of the oldest segment, so only the header
/// of the oldest one can supersede others.
pub(crate) fn list(dir: &Path) -> Result<Listing> {
    let mut bases = list_bases(dir)?;
    let Some(&oldest) = bases.first() else {
        return Ok(Listing::default());
    };
    let replaced_below = match header_of(dir, oldest)? {
        Some(HeaderCheck::Valid(header)) => header.replaced_below,
        _ => 0,
    };
    let superseded = bases.iter().copied().filter(|b| *b > oldest && *b < replaced_below).collect();
    bases.retain(|b| *b == oldest || *b >= replaced_below);
    Ok(Listing { bases, superseded, oldest_is_replacement: replaced_below > 0 })
}

fn list_bases(dir: &Path) -> Result<Vec<u64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| Error::io("list", dir, e))? {
        let entry = entry.map_err(|e| Error::io("list", dir, e))?;
        bases.extend(entry.file_name().to_str().and_then(parse_segment_name));
    }
    bases.sort_unstable();
    Ok(bases)
}

/// Header of the segment at `base`; `None` when the file has gone meanwhile.
fn header_of(dir: &Path, base: u64) -> Result<Option<HeaderCheck>> {
    let path = segment_path(dir, base);
    match open_ro(&path) {
        Ok(file) => read_header(&file, &path, base).map(Some),
        Err(e) if e.is_not_found() => Ok(None),
        Err(e) => Err(e),
    }
}

/// A marker from any intact header, newest first, for a segment whose own header is damaged.
pub(crate) fn neighbour_marker(dir: &Path) -> Result<crate::format::Marker> {
    for base in list_bases(dir)?.into_iter().rev() {
        if let Some(HeaderCheck::Valid(header)) = header_of(dir, base)? {
            return Ok(header.marker);
        }
    }
    Ok(NO_MARKER)
}

/// `N` random bytes from the kernel.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let path = Path::new("/dev/urandom");
    let mut out = [0; N];
    let read = File::open(path).and_then(|mut f| io::Read::read_exact(&mut f, &mut out));
    read.map_err(|e| Error::io("read", path, e))?;
    Ok(out)
}
