//! Signs of a writer for a reader in another process, so that waiting for records costs nothing.
//!
//! Owns an inotify instance that watches the state file of some logs: the writer changes it each time there is something new
//! to read, after that is durable. Read permission on the file is all it takes, and the writer need not know. A log that was
//! removed and made anew is found again; until then [`Signs::are_complete`] says that somebody must look by himself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};

use crate::files::STATE_NAME;

/// Signs that are taken at a time, of 16 bytes each: equal ones in a row are one.
const SIGNS_BYTES: usize = 4096;

/// Signs of the writers of some logs. The descriptor becomes readable when there is one.
#[derive(Debug)]
pub struct Signs {
    inotify: Inotify,
    /// Each log's state file, and its watch if it has one.
    states: Vec<(PathBuf, Option<WatchDescriptor>)>,
}

impl Signs {
    /// Waits for signs of the logs in these folders, which need not be there yet.
    ///
    /// # Errors
    /// The operating system gives no inotify instance (`fs.inotify.max_user_instances`).
    pub fn of<P: AsRef<Path>>(dirs: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let states = dirs.into_iter().map(|dir| (dir.as_ref().join(STATE_NAME), None)).collect();
        let mut signs = Self { inotify: Inotify::init()?, states };
        signs.rearm();
        Ok(signs)
    }

    /// Whether every log can give signs. If not, call [`Signs::rearm`] now and then, and look at the logs meanwhile.
    pub fn are_complete(&self) -> bool {
        self.states.iter().all(|(_, watch)| watch.is_some())
    }

    /// Looks for logs that give no signs yet. Whoever calls it must look at all logs afterwards.
    pub fn rearm(&mut self) {
        let mask = WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let mut watches = self.inotify.watches();
        for (state, watch) in &mut self.states {
            // Watching the same file again changes nothing.
            *watch = watches.add(state, mask).ok();
        }
    }

    /// Takes the signs that were given: the logs to look at now, by their places in what [`Signs::of`] was given. The same
    /// one may be named several times.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none.
    pub fn take(&mut self) -> io::Result<Vec<usize>> {
        let mut buffer = [0; SIGNS_BYTES];
        let (mut logs, mut is_news_only) = (Vec::new(), true);
        for event in self.inotify.read_events(&mut buffer)? {
            // Anything else: a state file was replaced or removed, or there were too many signs to keep.
            is_news_only &= event.mask == EventMask::MODIFY;
            logs.extend(self.states.iter().position(|(_, watch)| watch.as_ref() == Some(&event.wd)));
        }
        if !is_news_only {
            self.rearm();
            logs = (0..self.states.len()).collect();
        }
        Ok(logs)
    }
}

impl AsFd for Signs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

impl AsRawFd for Signs {
    fn as_raw_fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LogWriter, Options};

    /// The logs that gave a sign.
    fn given(signs: &mut Signs) -> Vec<usize> {
        match signs.take() {
            Ok(logs) => logs,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Vec::new(),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_sync_gives_a_sign_and_an_append_does_not() {
        let dir = tempfile::tempdir().expect("folder");
        let dirs = ["a", "b"].map(|name| dir.path().join(name));
        let mut signs = Signs::of(&dirs).expect("signs");
        assert!(!signs.are_complete(), "there is no log yet");
        let mut writers = dirs.clone().map(|dir| LogWriter::open(dir, Options::default()).expect("log").0);
        signs.rearm();
        assert!(signs.are_complete() && given(&mut signs).is_empty());
        for (place, writer) in writers.iter_mut().enumerate() {
            writer.append(1, b"x").expect("append");
            assert!(given(&mut signs).is_empty(), "nobody may read it yet");
            writer.sync().expect("sync");
            assert_eq!(given(&mut signs), [place]);
            assert!(given(&mut signs).is_empty());
            writer.sync().expect("sync");
            assert!(given(&mut signs).is_empty(), "there is nothing new");
        }
        drop(writers);
    }

    #[test]
    fn a_log_that_was_made_anew_is_found_again() {
        let dir = tempfile::tempdir().expect("folder");
        let log = dir.path().join("log");
        let open = || LogWriter::open(&log, Options::default()).expect("log").0;
        drop(open());
        let mut signs = Signs::of([&log]).expect("signs");
        assert!(signs.are_complete());
        std::fs::remove_dir_all(&log).expect("remove");
        assert_eq!(given(&mut signs), [0]);
        assert!(!signs.are_complete());
        let mut writer = open();
        signs.rearm();
        while !given(&mut signs).is_empty() {}
        assert!(signs.are_complete());
        writer.append(1, b"x").expect("append");
        writer.sync().expect("sync");
        assert_eq!(given(&mut signs), [0]);
    }
}
