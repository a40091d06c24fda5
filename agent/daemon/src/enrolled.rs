//! Whether this host was enrolled again since a process began.
//!
//! Owns the look at the record: one question to the file system, and a read only when the file is another one. A record that
//! is absent or damaged changes nothing: a process that works does not stop working because of it.

use std::os::unix::fs::MetadataExt;

use crate::identity::Enrolment;
use crate::layout::Layout;

/// What tells one state of the record's file from every other. The file is replaced as a whole, so its inode changes too.
type Stamp = (u64, u64, i64, i64);

/// Looks after the enrolment record.
#[derive(Debug)]
pub struct EnrolmentWatch {
    layout: Layout,
    known: Enrolment,
    stamp: Option<Stamp>,
}

impl EnrolmentWatch {
    /// Watches from this record on: one that was stored after it was read is found by the first look.
    pub fn new(layout: &Layout, known: &Enrolment) -> Self {
        Self { layout: layout.clone(), known: known.clone(), stamp: None }
    }

    /// The record, when it is another than at the last look.
    pub fn look(&mut self) -> Option<Enrolment> {
        let meta = std::fs::symlink_metadata(self.layout.enrolment()).ok()?;
        let stamp = (meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec());
        if self.stamp == Some(stamp) {
            return None;
        }
        self.stamp = Some(stamp);
        match Enrolment::load(&self.layout) {
            Ok(found) if found != self.known => {
                self.known = found.clone();
                Some(found)
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "the enrolment record cannot be read; this process goes on with the one it began with");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::User;

    #[test]
    fn another_record_is_told_once_and_a_damaged_one_never() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.prepare(&User::current()).unwrap();
        let first = Enrolment {
            gateway: "https://gateway.example".into(),
            tenant: "interieur".into(),
            agent_id: Default::default(),
            ca_sha256: "ab".repeat(32),
            root_sha256: String::new(),
            enrolled_at: 1,
            labels: Default::default(),
        };
        first.store(&layout).unwrap();
        let mut watch = EnrolmentWatch::new(&layout, &first);
        assert_eq!(watch.look(), None);
        let second = Enrolment { root_sha256: "cd".repeat(32), enrolled_at: 2, ..first.clone() };
        second.store(&layout).unwrap();
        assert_eq!(watch.look(), Some(second.clone()));
        assert_eq!(watch.look(), None);
        std::fs::write(layout.enrolment(), "{").unwrap();
        assert_eq!(watch.look(), None);
        second.store(&layout).unwrap();
        assert_eq!(watch.look(), None, "it is the one that is known");
        first.store(&layout).unwrap();
        let mut late = EnrolmentWatch::new(&layout, &second);
        assert_eq!(late.look(), Some(first), "stored between reading and watching");
    }
}
