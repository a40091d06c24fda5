//! The book of orders: what was accepted, cancelled and revoked, and what is still to be done.
//!
//! Owns `sensor/orders.json`. Every change is on the disk (written whole, synced, renamed, synced) before it counts, and a
//! change that cannot be stored has not happened. What was accepted is remembered for a week beyond its expiry, so that
//! an order is carried out once even when the clock is set back. When the book is full, new orders are refused: forgetting
//! would let old ones be given again. A book that cannot be read stops orders, never the sensor.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use beffroi_schema::OrderId;
use beffroi_schema::down::{KeyId, Revocation, ScanOrder};
use beffroi_schema::limits::{MAX_CLOCK_SKEW_US, MAX_ORDER_LIFE_US};
use serde::{Deserialize, Serialize};

use crate::layout::write_whole;

/// Orders that may wait at a time: they run one after the other, each may take hours.
pub(super) const MAX_PENDING: usize = 8;
/// Accepted orders that are remembered: hundreds a day for two weeks.
pub(super) const MAX_SEEN: usize = 10_000;
/// Cancelled orders that are remembered.
const MAX_CANCELLED: usize = 10_000;
/// Revoked keys that are remembered; certificates live 30 days, so the oldest are long dead when this is reached.
const MAX_REVOKED: usize = 4_096;
/// Largest book that is read: all of the above with the longest orders.
const MAX_BOOK_BYTES: u64 = 16 << 20;

/// A scan that was accepted and is not finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pending {
    pub id: OrderId,
    /// Who signed it.
    pub operator: String,
    /// With which keys: one that is revoked ends it.
    pub keys: Vec<KeyId>,
    /// When it was accepted and when it ends, microseconds since 1970.
    pub received: i64,
    pub expires: i64,
    /// `accepted` is known to be on the spool.
    pub answered: bool,
    pub scan: ScanTask,
}

/// What a scan order asks for, in a form for the book.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ScanTask {
    /// SHA-256 of each rule text, hex.
    pub rules: Vec<String>,
    /// Paths, hex: they are bytes.
    paths: Vec<String>,
    pub recursive: bool,
    pub max_file_bytes: u64,
    pub max_total_bytes: u64,
    pub max_seconds: u32,
    pub archive_depth: u32,
}

impl ScanTask {
    pub fn of(order: &ScanOrder) -> Self {
        Self {
            rules: order.rules_sha256.iter().map(hex::encode).collect(),
            paths: order.paths.iter().map(hex::encode).collect(),
            recursive: order.recursive,
            max_file_bytes: order.max_file_bytes,
            max_total_bytes: order.max_total_bytes,
            max_seconds: order.max_seconds,
            archive_depth: order.archive_depth,
        }
    }

    /// Paths as bytes.
    pub fn roots(&self) -> Vec<Vec<u8>> {
        self.paths.iter().filter_map(|path| hex::decode(path).ok()).collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cancelled {
    why: String,
    forget: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Content {
    /// The root under which all of this was accepted, hex.
    root: String,
    revocation_version: u64,
    revoked: Vec<KeyId>,
    /// Accepted orders, and when they may be forgotten.
    seen: BTreeMap<OrderId, i64>,
    cancelled: BTreeMap<OrderId, Cancelled>,
    pub pending: Vec<Pending>,
}

/// The book.
#[derive(Debug)]
pub(super) struct Book {
    path: PathBuf,
    content: Content,
}

impl Book {
    /// Reads the book, or begins one. Under another root than before, what the old one ordered and revoked is dropped;
    /// what was accepted stays remembered.
    ///
    /// # Errors
    /// What is wrong with the file and what to do.
    pub fn open(path: PathBuf, root: &KeyId) -> Result<Self, String> {
        let mut content: Content = match read(&path) {
            Ok(Some(bytes)) => serde_json::from_slice(&bytes).map_err(|error| damaged(&path, &error.to_string()))?,
            Ok(None) => Content::default(),
            Err(error) => return Err(damaged(&path, &error.to_string())),
        };
        let root = root.to_string();
        if content.root != root {
            content = Content { root, seen: content.seen, ..Content::default() };
        }
        Ok(Self { path, content })
    }

    pub fn pending(&self) -> &[Pending] {
        &self.content.pending
    }

    pub fn is_seen(&self, order: &OrderId) -> bool {
        self.content.seen.contains_key(order)
    }

    pub fn is_full(&self) -> bool {
        self.content.seen.len() >= MAX_SEEN || self.content.cancelled.len() >= MAX_CANCELLED
    }

    pub fn is_revoked(&self, key: &KeyId) -> bool {
        self.content.revoked.contains(key)
    }

    pub fn revocation_version(&self) -> u64 {
        self.content.revocation_version
    }

    /// Why this order is cancelled, if it is.
    pub fn cancelled(&self, order: &OrderId) -> Option<&str> {
        self.content.cancelled.get(order).map(|cancelled| cancelled.why.as_str())
    }

    /// Changes the book and makes that durable.
    ///
    /// # Errors
    /// The disk refused; nothing has changed then.
    pub fn change(&mut self, now_us: i64, change: impl FnOnce(&mut Content)) -> io::Result<()> {
        let mut next = self.content.clone();
        change(&mut next);
        next.prune(now_us);
        write_whole(&self.path, &serde_json::to_vec(&next)?, 0o600, None)?;
        self.content = next;
        Ok(())
    }

    /// Drops a finished order from memory when the disk does not take it: it runs again after a restart.
    pub fn drop_pending(&mut self, order: &OrderId) {
        self.content.pending.retain(|pending| pending.id != *order);
    }
}

impl Content {
    /// An order was accepted.
    pub fn see(&mut self, order: OrderId, expires: i64) {
        self.seen.insert(order, expires.saturating_add(MAX_ORDER_LIFE_US));
    }

    /// An order must not run, or must end.
    pub fn cancel(&mut self, order: OrderId, why: String, now_us: i64) {
        // An order that is on its way may have been issued a little in the future and live for the longest.
        let forget = now_us.saturating_add(2 * MAX_ORDER_LIFE_US).saturating_add(MAX_CLOCK_SKEW_US);
        self.cancelled.entry(order).or_insert(Cancelled { why, forget });
    }

    /// Keys are good no more; what they ordered ends. Keys that were revoked before stay revoked.
    pub fn revoke(&mut self, revocation: &Revocation, now_us: i64) {
        self.revocation_version = revocation.version;
        for key in revocation.key_ids.iter().filter_map(|id| KeyId::try_from(id.as_slice()).ok()) {
            if !self.revoked.contains(&key) {
                self.revoked.push(key);
            }
        }
        let excess = self.revoked.len().saturating_sub(MAX_REVOKED);
        self.revoked.drain(..excess);
        let stopped: Vec<(OrderId, KeyId)> = self
            .pending
            .iter()
            .filter_map(|pending| Some((pending.id, *pending.keys.iter().find(|key| self.revoked.contains(key))?)))
            .collect();
        for (order, key) in stopped {
            self.cancel(order, format!("key {key} was revoked"), now_us);
        }
    }

    fn prune(&mut self, now_us: i64) {
        self.seen.retain(|_, forget| *forget > now_us);
        let pending = &self.pending;
        self.cancelled.retain(|order, cancelled| cancelled.forget > now_us || pending.iter().any(|pending| pending.id == *order));
    }
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match std::fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(MAX_BOOK_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BOOK_BYTES {
        return Err(io::Error::other("it is too large"));
    }
    Ok(Some(bytes))
}

fn damaged(path: &Path, why: &str) -> String {
    format!(
        "{} cannot be read: {why}; no order is taken until it is restored, or removed (orders of the last week could then be given again)",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: KeyId = KeyId([1; 32]);
    const NOW: i64 = 1_795_305_600_000_000;

    fn pending(id: u8, key: u8) -> Pending {
        let scan = ScanOrder { rules_sha256: vec![vec![9; 32]], paths: vec![b"/srv/\xff".to_vec()], ..Default::default() };
        Pending {
            id: OrderId([id; 16]),
            operator: "Alice".into(),
            keys: vec![KeyId([key; 32])],
            received: NOW,
            expires: NOW + 5,
            answered: false,
            scan: ScanTask::of(&scan),
        }
    }

    fn accept(book: &mut Book, order: Pending) {
        book.change(NOW, |content| {
            content.see(order.id, order.expires);
            content.pending.push(order);
        })
        .unwrap();
    }

    #[test]
    fn what_was_accepted_cancelled_and_revoked_survives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.json");
        let mut book = Book::open(path.clone(), &ROOT).unwrap();
        accept(&mut book, pending(1, 5));
        book.change(NOW, |content| content.cancel(OrderId([7; 16]), "by Bruno".into(), NOW)).unwrap();
        let revocation = Revocation { version: 3, issued: NOW, key_ids: vec![vec![6; 32], vec![1; 3]] };
        book.change(NOW, |content| content.revoke(&revocation, NOW)).unwrap();
        let book = Book::open(path, &ROOT).unwrap();
        assert_eq!(book.pending(), [pending(1, 5)]);
        assert_eq!(book.pending()[0].scan.roots(), [b"/srv/\xff".to_vec()]);
        assert!(book.is_seen(&OrderId([1; 16])) && !book.is_seen(&OrderId([2; 16])));
        assert_eq!(book.cancelled(&OrderId([7; 16])), Some("by Bruno"));
        assert!(book.is_revoked(&KeyId([6; 32])) && book.revocation_version() == 3);
    }

    #[test]
    fn a_revoked_key_ends_what_it_ordered_and_later_lists_only_add() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::open(dir.path().join("b"), &ROOT).unwrap();
        accept(&mut book, pending(1, 5));
        accept(&mut book, pending(2, 6));
        for (version, key) in [(1, 5u8), (2, 9)] {
            let revocation = Revocation { version, issued: NOW, key_ids: vec![vec![key; 32]] };
            book.change(NOW, |content| content.revoke(&revocation, NOW)).unwrap();
        }
        assert!(book.cancelled(&OrderId([1; 16])).unwrap().contains("was revoked"));
        assert_eq!(book.cancelled(&OrderId([2; 16])), None);
        assert!(book.is_revoked(&KeyId([5; 32])) && book.is_revoked(&KeyId([9; 32])));
    }

    #[test]
    fn an_accepted_order_is_remembered_for_a_week_beyond_its_end_and_then_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::open(dir.path().join("b"), &ROOT).unwrap();
        accept(&mut book, pending(1, 5));
        book.change(NOW + MAX_ORDER_LIFE_US, |_| ()).unwrap();
        assert!(book.is_seen(&OrderId([1; 16])));
        book.change(NOW + 5 + MAX_ORDER_LIFE_US, |_| ()).unwrap();
        assert!(!book.is_seen(&OrderId([1; 16])));
    }

    #[test]
    fn another_root_drops_what_the_old_one_ordered_and_remembers_what_was_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b");
        accept(&mut Book::open(path.clone(), &ROOT).unwrap(), pending(1, 5));
        let book = Book::open(path, &KeyId([2; 32])).unwrap();
        assert!(book.pending().is_empty() && book.is_seen(&OrderId([1; 16])));
    }

    #[test]
    fn a_damaged_book_is_an_error_that_names_it_and_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("orders.json");
        std::fs::write(&path, "{\"seen\":").unwrap();
        let error = Book::open(path.clone(), &ROOT).unwrap_err();
        assert!(error.contains("orders.json") && error.contains("removed"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"{\"seen\":");
    }

    #[test]
    fn a_change_that_the_disk_refuses_has_not_happened() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        let mut book = Book::open(folder.join("b"), &ROOT).unwrap();
        std::fs::remove_dir(&folder).unwrap();
        assert!(book.change(NOW, |content| content.see(OrderId([1; 16]), NOW)).is_err());
        assert!(!book.is_seen(&OrderId([1; 16])));
    }
}
