//! The way through a tree whose owner is hostile: every step is taken from an open descriptor of the folder above, so
//! that exchanging a folder for a link leads nowhere.
//!
//! Owns the order (the files of a folder while it is listed, then its folders, depth first), what is left out, and the
//! memory of the walk: names of folders that wait, a bounded number of open descriptors, identities of files with
//! several names. A folder whose descriptor had to be closed is found again by its path and recognised by its identity.

use std::collections::HashSet;
use std::ffi::CString;
use std::ops::ControlFlow;
use std::os::fd::AsFd;

use nix::dir::{Iter, Type};
use nix::fcntl::AT_FDCWD;

use super::{Job, Skip};
use crate::mounts::{Mounts, System};
use crate::open::{Kind, OpenRefusal, OpenedFile, Place};

/// Longest path (bytes): ten thousand nested folders with short names have 20 KiB, and an event holds this.
const MAX_PATH_BYTES: usize = 64 * 1024;
/// Bytes of the names of folders that wait to be walked, with what each costs beside its name.
const MAX_WAITING_BYTES: usize = 32 << 20;
/// What one waiting name costs beside its bytes.
const NAME_OVERHEAD: usize = 32;
/// Folders that stay open on the way down; deeper ones are found again by path.
const MAX_OPEN_FOLDERS: usize = 64;
/// Files with several names that are remembered; more are scanned again.
const MAX_LINKED_FILES: usize = 500_000;
/// Longest path that is resolved in one call (PATH_MAX is 4,096).
const STEP_BYTES: usize = 2_048;

/// What the walk comes upon.
pub(super) enum Step {
    /// A file to scan.
    File(Vec<u8>, OpenedFile),
    /// Something that is left out.
    Skipped(Vec<u8>, Skip),
    /// Something that could not be looked at.
    Unknown(Vec<u8>, String),
}

/// Whether the walk goes on.
pub(super) type Flow = ControlFlow<()>;

/// Who the walk is taken for.
pub(super) trait Sink {
    /// Takes a step.
    fn take(&mut self, step: Step) -> Flow;
    /// Asked at every name.
    fn go_on(&mut self) -> Flow;
}

/// A folder with folders that wait.
struct Frame {
    /// Closed when deeper folders need the descriptor.
    place: Option<Place>,
    device: (u32, u32),
    inode: u64,
    /// Length of its path in [`Walk::path`].
    len: usize,
    waiting: Vec<CString>,
}

/// The walk of one job.
pub(super) struct Walk<'a, S> {
    job: &'a Job,
    sink: &'a mut S,
    mounts: Mounts,
    linked: HashSet<((u32, u32), u64)>,
    path: Vec<u8>,
    stack: Vec<Frame>,
    waiting_bytes: usize,
}

impl<'a, S: Sink> Walk<'a, S> {
    /// A walk that has not begun.
    pub fn new(job: &'a Job, sink: &'a mut S) -> Self {
        let (mounts, linked) = (Mounts::default(), HashSet::new());
        Self { job, sink, mounts, linked, path: Vec::new(), stack: Vec::new(), waiting_bytes: 0 }
    }

    /// Walks all roots.
    pub fn run(mut self) -> Flow {
        for root in roots(self.job) {
            self.sink.go_on()?;
            self.path.clone_from(&root);
            self.root()?;
        }
        Flow::Continue(())
    }

    fn root(&mut self) -> Flow {
        let place = match Place::at(AT_FDCWD, self.path.as_slice()) {
            Ok(place) => place,
            Err(OpenRefusal::Gone) => return self.skip(Skip::Absent),
            Err(refusal) => return self.unknown(&refusal),
        };
        match (self.system(&place)?, place.kind) {
            (Some(skip), _) => self.skip(skip),
            (None, Kind::Folder) => self.tree(place),
            (None, Kind::File) => self.file(&place),
            (None, Kind::Link) => self.unknown(&OpenRefusal::Link),
            (None, other) => self.skip(skip_of(other)),
        }
    }

    fn tree(&mut self, root: Place) -> Flow {
        let root_len = self.path.len();
        let keep = Place::at(&root.descriptor, c".");
        if let Some(frame) = self.list(root)? {
            self.push(frame);
        }
        while let Some(mut frame) = self.stack.pop() {
            self.sink.go_on()?;
            let Some(name) = frame.waiting.pop() else { continue };
            self.waiting_bytes -= name.as_bytes().len() + NAME_OVERHEAD;
            if let Err(reason) = self.reopen(&mut frame, keep.as_ref().ok(), root_len) {
                self.waiting_bytes -= frame.waiting.iter().map(|name| name.as_bytes().len() + NAME_OVERHEAD).sum::<usize>();
                self.path.truncate(frame.len);
                self.sink.take(Step::Unknown(self.path.clone(), reason))?;
                continue;
            }
            self.path.truncate(frame.len);
            self.append(name.as_bytes());
            let found = frame.place.as_ref().map(|place| Place::at(&place.descriptor, name.as_c_str()));
            let device = frame.device;
            // The last folder of a folder needs no way back, so a chain of single folders costs nothing.
            if !frame.waiting.is_empty() {
                self.stack.push(frame);
            }
            if let Some(found) = found {
                self.descend(found, device)?;
            }
        }
        Flow::Continue(())
    }

    fn descend(&mut self, found: Result<Place, OpenRefusal>, above: (u32, u32)) -> Flow {
        let place = match found {
            Ok(place) if place.kind == Kind::Folder => place,
            Ok(_) => return self.unknown(&"it is no folder any more: it was replaced while the folder above was walked"),
            Err(OpenRefusal::Gone) => return Flow::Continue(()),
            Err(refusal) => return self.unknown(&refusal),
        };
        if place.device != above
            && let Some(skip) = self.system(&place)?
        {
            return self.skip(skip);
        }
        if self.path.len() > MAX_PATH_BYTES {
            return self.unknown(&format!("its path has more than {MAX_PATH_BYTES} bytes"));
        }
        if let Some(frame) = self.list(place)? {
            self.push(frame);
        }
        Flow::Continue(())
    }

    fn push(&mut self, frame: Frame) {
        self.stack.push(frame);
        if let Some(far) = self.stack.len().checked_sub(MAX_OPEN_FOLDERS + 1) {
            self.stack[far].place = None;
        }
    }

    /// Finds a folder again whose descriptor was closed.
    fn reopen(&self, frame: &mut Frame, root: Option<&Place>, root_len: usize) -> Result<(), String> {
        if frame.place.is_some() {
            return Ok(());
        }
        let lost = |why: &dyn std::fmt::Display| format!("the folders below it could not be found again: {why}");
        let mut place = Place::at(root.ok_or_else(|| lost(&"the root is closed"))?.descriptor.as_fd(), c".");
        let way = &self.path[root_len..frame.len];
        for step in steps(way.strip_prefix(b"/").unwrap_or(way)) {
            place = Place::at(&place.map_err(|error| lost(&error))?.descriptor, step);
        }
        let place = place.map_err(|error| lost(&error))?;
        if !place.is(frame.device, frame.inode) {
            return Err(lost(&"another folder has taken its place"));
        }
        frame.place = Some(place);
        Ok(())
    }

    /// Lists a folder: takes its files, and returns its folders.
    fn list(&mut self, place: Place) -> ControlFlow<(), Option<Frame>> {
        let mut folder = match place.open_folder() {
            Ok(folder) => folder,
            Err(refusal) => {
                self.unknown(&refusal)?;
                return ControlFlow::Continue(None);
            }
        };
        let len = self.path.len();
        let mut waiting = Vec::new();
        let mut forgotten = 0u64;
        for entry in Names(folder.iter()) {
            self.sink.go_on()?;
            let (name, kind) = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.unknown(&format!("it could not be listed to its end: {error}"))?;
                    break;
                }
            };
            self.append(name.as_bytes());
            if self.entry(&place, &name, kind)? == Some(Kind::Folder) {
                let cost = name.as_bytes().len() + NAME_OVERHEAD;
                if self.waiting_bytes + cost > MAX_WAITING_BYTES {
                    forgotten += 1;
                } else {
                    self.waiting_bytes += cost;
                    waiting.push(name);
                }
            }
            self.path.truncate(len);
        }
        if forgotten > 0 {
            self.unknown(&format!("{forgotten} of its folders were not walked: too many folders wait already"))?;
        }
        // Taken from the end, so that the walk is in order.
        waiting.sort_unstable_by(|a, b| b.cmp(a));
        let (device, inode) = (place.device, place.inode);
        let frame = Frame { place: Some(place), device, inode, len, waiting };
        ControlFlow::Continue((!frame.waiting.is_empty()).then_some(frame))
    }

    /// Takes one name of a folder; returns what it is when it is a folder to be walked.
    fn entry(&mut self, folder: &Place, name: &CString, told: Option<Kind>) -> ControlFlow<(), Option<Kind>> {
        let nothing = ControlFlow::Continue(None);
        let kind = match told {
            Some(Kind::File) | None => {
                let place = match Place::at(&folder.descriptor, name.as_c_str()) {
                    Ok(place) => place,
                    Err(OpenRefusal::Gone) => return nothing,
                    Err(refusal) => {
                        self.unknown(&refusal)?;
                        return nothing;
                    }
                };
                match (told, place.kind) {
                    (_, Kind::File) => {
                        self.mounted_file(&place, folder.device)?;
                        return nothing;
                    }
                    (Some(_), _) => {
                        self.unknown(&"it was replaced while the folder was walked")?;
                        return nothing;
                    }
                    (None, kind) => kind,
                }
            }
            Some(kind) => kind,
        };
        match kind {
            Kind::Folder if self.job.recursive => return ControlFlow::Continue(Some(Kind::Folder)),
            kind => self.skip(skip_of(kind))?,
        }
        nothing
    }

    /// A file may be a mount of its own.
    fn mounted_file(&mut self, place: &Place, above: (u32, u32)) -> Flow {
        if place.device != above
            && let Some(skip) = self.system(place)?
        {
            return self.skip(skip);
        }
        self.file(place)
    }

    fn file(&mut self, place: &Place) -> Flow {
        if self.job.skip_larger.is_some_and(|limit| place.bytes > limit) {
            return self.skip(Skip::Larger);
        }
        if place.links > 1 {
            let identity = (place.device, place.inode);
            if self.linked.contains(&identity) {
                return self.skip(Skip::HardLink);
            }
            if self.linked.len() < MAX_LINKED_FILES {
                self.linked.insert(identity);
            }
        }
        match place.open_file() {
            Ok(opened) => self.sink.take(Step::File(self.path.clone(), opened)),
            Err(refusal) => self.unknown(&refusal),
        }
    }

    /// Why the file system of a place is left out, if it is.
    fn system(&mut self, place: &Place) -> ControlFlow<(), Option<Skip>> {
        ControlFlow::Continue(match self.mounts.system_of(&place.descriptor, place.device) {
            Ok(System::Fair) => None,
            Ok(System::Pseudo(_)) => Some(Skip::Pseudo),
            Ok(System::Network(_)) => (!self.job.network).then_some(Skip::Network),
            // A file system that does not say what it is may be anything.
            Err(_) => Some(Skip::Network),
        })
    }

    fn append(&mut self, name: &[u8]) {
        if self.path.last() != Some(&b'/') {
            self.path.push(b'/');
        }
        self.path.extend_from_slice(name);
    }

    fn skip(&mut self, why: Skip) -> Flow {
        self.sink.take(Step::Skipped(self.path.clone(), why))
    }

    fn unknown(&mut self, why: &dyn std::fmt::Display) -> Flow {
        let mut path = self.path.clone();
        path.truncate(MAX_PATH_BYTES);
        self.sink.take(Step::Unknown(path, why.to_string()))
    }
}

/// The names of an open folder with what the listing says of them, without itself and the one above.
struct Names<'a>(Iter<'a>);

impl Iterator for Names<'_> {
    type Item = nix::Result<(CString, Option<Kind>)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let entry = match self.0.next()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            if matches!(entry.file_name().to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = entry.file_type().map(|told| match told {
                Type::File => Kind::File,
                Type::Directory => Kind::Folder,
                Type::Symlink => Kind::Link,
                Type::Fifo => Kind::Pipe,
                Type::Socket => Kind::Socket,
                Type::CharacterDevice | Type::BlockDevice => Kind::Device,
            });
            return Some(Ok((entry.file_name().into(), kind)));
        }
    }
}

fn skip_of(kind: Kind) -> Skip {
    match kind {
        Kind::Link => Skip::Link,
        Kind::Pipe => Skip::Pipe,
        Kind::Socket => Skip::Socket,
        Kind::Folder => Skip::Folder,
        Kind::File | Kind::Device => Skip::Device,
    }
}

/// The roots without slashes at their ends and, where folders are walked, without those that lie in another one.
fn roots(job: &Job) -> Vec<Vec<u8>> {
    let trim = |root: &Vec<u8>| {
        let end = root.iter().rposition(|byte| *byte != b'/').map_or(root.len().min(1), |last| last + 1);
        root[..end].to_vec()
    };
    let mut roots: Vec<Vec<u8>> = job.roots.iter().map(trim).collect();
    roots.sort_unstable();
    roots.dedup();
    let all = roots.clone();
    let lies_in = |root: &[u8], other: &[u8]| {
        root != other && root.strip_prefix(other).is_some_and(|rest| other == b"/" || rest.starts_with(b"/"))
    };
    roots.retain(|root| !job.recursive || !all.iter().any(|other| lies_in(root, other)));
    roots
}

/// A relative path in pieces that one call can resolve.
fn steps(way: &[u8]) -> Vec<&[u8]> {
    let mut steps = Vec::new();
    let mut rest = way;
    while rest.len() > STEP_BYTES {
        // A name has at most 255 bytes, so there is always a slash to cut at.
        let Some(cut) = rest[..STEP_BYTES].iter().rposition(|byte| *byte == b'/') else { break };
        steps.push(&rest[..cut]);
        rest = &rest[cut + 1..];
    }
    if !rest.is_empty() {
        steps.push(rest);
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(roots: &[&str]) -> Job {
        Job::new(roots.iter().map(|root| root.as_bytes().to_vec()).collect())
    }

    #[test]
    fn roots_inside_of_others_are_walked_once() {
        let names = |job: &Job| roots(job).into_iter().map(|root| String::from_utf8(root).unwrap()).collect::<Vec<_>>();
        assert_eq!(names(&job(&["/opt/app", "/opt/", "/opt//", "/optional", "/"])), ["/"]);
        assert_eq!(names(&job(&["/opt/app", "/opt/", "/optional"])), ["/opt", "/optional"]);
        assert_eq!(names(&Job { recursive: false, ..job(&["/opt/app", "/opt"]) }), ["/opt", "/opt/app"]);
    }

    #[test]
    fn a_long_way_is_cut_at_its_slashes() {
        let way = ["abc"; 2000].join("/");
        let steps = steps(way.as_bytes());
        assert!(steps.len() > 3 && steps.iter().all(|step| step.len() <= STEP_BYTES && !step.ends_with(b"/")));
        assert_eq!(steps.join(&b'/'), way.as_bytes());
        assert!(super::steps(b"").is_empty());
    }
}
