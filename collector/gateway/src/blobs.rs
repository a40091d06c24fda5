//! Rule texts that signed orders name, kept in memory under their hash for the hosts that are to scan with them.
//!
//! Owns the bytes, bounded: a text is dropped only after every order that names it has expired, or when no order has named
//! it for [`UNNAMED_US`] of the topic's own time (texts stand in the topic before their orders). When all that is kept is
//! still needed, a further text is refused and counted: its hosts are told 404 and say so in their answer.

use std::collections::HashMap;

use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Bytes kept: the rules of several hunts at once.
const MAX_BYTES: usize = 128 * 1024 * 1024;
/// How long a text waits for the first order that names it: both are written by one call.
const UNNAMED_US: i64 = 3_600 * 1_000_000;

/// SHA-256 of a text.
pub(crate) type Hash = [u8; 32];

#[derive(Debug)]
struct Blob {
    bytes: Bytes,
    /// Until when an order names it; 0 for none so far.
    named_until: i64,
    /// When the topic took it last.
    taken: i64,
}

/// The texts.
#[derive(Debug)]
pub(super) struct Blobs {
    kept: HashMap<Hash, Blob>,
    bytes: usize,
    max_bytes: usize,
    /// Time of the latest record that was read: while old records are read again, nothing is late.
    topic_time: i64,
}

impl Default for Blobs {
    fn default() -> Self {
        Self::with_room(MAX_BYTES)
    }
}

impl Blobs {
    pub(super) fn with_room(max_bytes: usize) -> Self {
        Self { kept: HashMap::new(), bytes: 0, max_bytes, topic_time: 0 }
    }

    /// Takes a record's time: that of the topic only grows.
    pub(super) fn at(&mut self, time: i64) {
        self.topic_time = self.topic_time.max(time);
    }

    /// Keeps a text under the hash that its record names.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn take(&mut self, key: &[u8], bytes: &Bytes, now: i64) -> Result<(), String> {
        let hash: Hash = Sha256::digest(bytes).into();
        let mut named = Hash::default();
        if hex::decode_to_slice(key, &mut named).is_err() || named != hash {
            return Err("its key is not its SHA-256".into());
        }
        let taken = self.topic_time;
        if let Some(known) = self.kept.get_mut(&hash) {
            known.taken = taken;
            return Ok(());
        }
        if self.bytes + bytes.len() > self.max_bytes {
            self.forget(now);
        }
        if self.bytes + bytes.len() > self.max_bytes {
            metrics::counter!("beffroi_gateway_blobs_refused_total").increment(1);
            return Err(format!("{} bytes of rule texts are kept and needed; hosts cannot have this one", self.bytes));
        }
        self.bytes += bytes.len();
        self.kept.insert(hash, Blob { bytes: bytes.clone(), named_until: 0, taken });
        Ok(())
    }

    /// An order names these texts until it expires.
    pub(super) fn name(&mut self, hashes: &[Hash], expires: i64) {
        for hash in hashes {
            match self.kept.get_mut(hash) {
                Some(blob) => blob.named_until = blob.named_until.max(expires),
                None => tracing::warn!(sha256 = hex::encode(hash), "an order names a rule text that is not here"),
            }
        }
    }

    /// The text under this hash.
    pub(super) fn get(&self, hash: &Hash) -> Option<Bytes> {
        self.kept.get(hash).map(|blob| blob.bytes.clone())
    }

    /// Lets go what nobody needs any more.
    fn forget(&mut self, now: i64) {
        let unnamed_since = self.topic_time - UNNAMED_US;
        self.kept.retain(|_, blob| blob.named_until > now || (blob.named_until == 0 && blob.taken >= unnamed_since));
        self.bytes = self.kept.values().map(|blob| blob.bytes.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600 * 1_000_000;

    fn text(fill: u8) -> Bytes {
        Bytes::from(vec![fill; 100])
    }

    fn hash(text: &Bytes) -> Hash {
        Sha256::digest(text).into()
    }

    fn take(blobs: &mut Blobs, text: &Bytes, now: i64) -> Result<(), String> {
        blobs.at(now);
        blobs.take(hex::encode(hash(text)).as_bytes(), text, now)
    }

    #[test]
    fn a_text_is_kept_under_its_own_hash_only() {
        let mut blobs = Blobs::default();
        take(&mut blobs, &text(1), 0).unwrap();
        assert_eq!(blobs.get(&hash(&text(1))), Some(text(1)));
        for key in [&b""[..], b"zz", &hash(&text(2)), hex::encode(hash(&text(2))).as_bytes()] {
            assert!(blobs.take(key, &text(1), 0).is_err());
        }
        take(&mut blobs, &text(1), 0).unwrap();
        assert_eq!(blobs.bytes, 100);
    }

    #[test]
    fn a_text_goes_only_when_every_order_that_names_it_has_expired() {
        let mut blobs = Blobs::with_room(250);
        take(&mut blobs, &text(1), 0).unwrap();
        take(&mut blobs, &text(2), 0).unwrap();
        blobs.name(&[hash(&text(1)), hash(&text(2))], 2 * HOUR);
        blobs.name(&[hash(&text(2))], 9 * HOUR);
        blobs.name(&[hash(&text(2))], HOUR);
        assert!(take(&mut blobs, &text(3), HOUR).unwrap_err().contains("needed"));
        assert!(blobs.get(&hash(&text(1))).is_some());
        take(&mut blobs, &text(3), 3 * HOUR).unwrap();
        assert!(blobs.get(&hash(&text(1))).is_none() && blobs.get(&hash(&text(2))).is_some());
    }

    #[test]
    fn a_text_waits_an_hour_of_the_topics_time_for_its_order() {
        let mut blobs = Blobs::with_room(150);
        // Read again long after: the clock on the wall does not count, the topic's does.
        let wall = 100 * HOUR;
        blobs.at(HOUR);
        blobs.take(hex::encode(hash(&text(1))).as_bytes(), &text(1), wall).unwrap();
        assert!(blobs.take(hex::encode(hash(&text(2))).as_bytes(), &text(2), wall).is_err());
        blobs.at(HOUR + UNNAMED_US + 1);
        blobs.take(hex::encode(hash(&text(2))).as_bytes(), &text(2), wall).unwrap();
        assert!(blobs.get(&hash(&text(1))).is_none());
    }
}
