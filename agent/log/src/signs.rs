//! Signs of a writer for a reader in another process, so that waiting for records costs nothing.
//!
//! Owns an inotify instance that watches the state file of some logs: the writer changes it each time there is something new
//! to read, after that is durable. Read permission on the file is all it takes, and the writer need not know. A log that was
//! removed and made anew is found again; until then [`Signs::are_complete`] says that somebody must look by himself.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::path::{Path, PathBuf};

use inotify::{EventMask, Inotify, WatchMask};

use crate::files::STATE_NAME;

/// Signs that are taken at a time, of 16 bytes each: equal ones in a row are one.
const SIGNS_BYTES: usize = 4096;

/// Signs of the writers of some logs. The descriptor becomes readable when there is one.
#[derive(Debug)]
pub struct Signs {
    inotify: Inotify,
    states: Vec<PathBuf>,
    are_complete: bool,
}

impl Signs {
    /// Waits for signs of the logs in these folders, which need not be there yet.
    ///
    /// # Errors
    /// The operating system gives no inotify instance (`fs.inotify.max_user_instances`).
    pub fn of<P: AsRef<Path>>(dirs: impl IntoIterator<Item = P>) -> io::Result<Self> {
        let states = dirs.into_iter().map(|dir| dir.as_ref().join(STATE_NAME)).collect();
        let mut signs = Self { inotify: Inotify::init()?, states, are_complete: false };
        signs.rearm();
        Ok(signs)
    }

    /// Whether every log can give signs. If not, call [`Signs::rearm`] now and then, and look at the logs meanwhile.
    pub fn are_complete(&self) -> bool {
        self.are_complete
    }

    /// Looks for logs that give no signs yet. Whoever calls it must look at the logs afterwards.
    pub fn rearm(&mut self) {
        let mask = WatchMask::MODIFY | WatchMask::ATTRIB | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let mut watches = self.inotify.watches();
        // Watching the same file again changes nothing.
        self.are_complete = self.states.iter().map(|state| watches.add(state, mask)).filter(Result::is_err).count() == 0;
    }

    /// Takes the signs that were given. Whoever calls it must look at the logs afterwards.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when there is none.
    pub fn take(&mut self) -> io::Result<()> {
        let mut buffer = [0; SIGNS_BYTES];
        // Anything but news: a state file was replaced or removed, or there were too many signs to keep.
        let is_news_only = self.inotify.read_events(&mut buffer)?.all(|event| event.mask == EventMask::MODIFY);
        if !is_news_only {
            self.rearm();
        }
        Ok(())
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

    fn is_given(signs: &mut Signs) -> bool {
        match signs.take() {
            Ok(()) => true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
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
        assert!(signs.are_complete() && !is_given(&mut signs));
        for writer in &mut writers {
            writer.append(1, b"x").expect("append");
            assert!(!is_given(&mut signs), "nobody may read it yet");
            writer.sync().expect("sync");
            assert!(is_given(&mut signs) && !is_given(&mut signs));
            writer.sync().expect("sync");
            assert!(!is_given(&mut signs), "there is nothing new");
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
        assert!(is_given(&mut signs) && !signs.are_complete());
        let mut writer = open();
        signs.rearm();
        while is_given(&mut signs) {}
        assert!(signs.are_complete());
        writer.append(1, b"x").expect("append");
        writer.sync().expect("sync");
        assert!(is_given(&mut signs));
    }
}
