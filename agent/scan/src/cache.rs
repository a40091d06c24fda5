//! Verdicts that need no second scan, by the file's identity and state and the rule set that judged it.
//!
//! Owns a bounded map; the oldest entry goes first. A changed rule set forgets everything.

use std::collections::{HashMap, VecDeque};
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use crate::protocol::Verdict;

/// What tells one state of a file from every other, times in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileKey {
    device: u64,
    inode: u64,
    changed: i128,
    modified: i128,
    bytes: u64,
}

impl FileKey {
    /// The key of an open file's metadata.
    pub fn of(meta: &Metadata) -> Self {
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            bytes: meta.size(),
        }
    }
}

/// The cache.
#[derive(Debug)]
pub struct VerdictCache {
    capacity: usize,
    ruleset: String,
    verdicts: HashMap<FileKey, Verdict>,
    order: VecDeque<FileKey>,
}

impl VerdictCache {
    /// Holds at most `capacity` verdicts.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, ruleset: String::new(), verdicts: HashMap::new(), order: VecDeque::new() }
    }

    /// Verdicts of another rule set are worth nothing.
    pub fn use_ruleset(&mut self, ruleset: &str) {
        if self.ruleset != ruleset {
            self.verdicts.clear();
            self.order.clear();
            ruleset.clone_into(&mut self.ruleset);
        }
    }

    /// The verdict on this state of this file.
    pub fn get(&self, key: &FileKey) -> Option<Verdict> {
        self.verdicts.get(key).map(|verdict| Verdict { cached: true, ..verdict.clone() })
    }

    /// Keeps a verdict.
    pub fn put(&mut self, key: FileKey, verdict: Verdict) {
        if self.verdicts.insert(key, verdict).is_none() {
            self.order.push_back(key);
        }
        while self.verdicts.len() > self.capacity {
            let Some(oldest) = self.order.pop_front() else { return };
            self.verdicts.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(inode: u64) -> FileKey {
        FileKey { device: 1, inode, changed: 2, modified: 3, bytes: 4 }
    }

    #[test]
    fn a_verdict_is_found_until_file_or_rules_change() {
        let mut cache = VerdictCache::new(2);
        cache.use_ruleset("a");
        cache.put(key(1), Verdict::unknown("x", 4));
        assert!(cache.get(&key(1)).unwrap().cached);
        assert!(cache.get(&FileKey { changed: 9, ..key(1) }).is_none());
        cache.use_ruleset("b");
        assert!(cache.get(&key(1)).is_none());
    }

    #[test]
    fn the_oldest_verdict_goes_first() {
        let mut cache = VerdictCache::new(2);
        for inode in [1, 2, 2, 3] {
            cache.put(key(inode), Verdict::unknown("x", 4));
        }
        assert!(cache.get(&key(1)).is_none() && cache.get(&key(2)).is_some() && cache.get(&key(3)).is_some());
    }
}
