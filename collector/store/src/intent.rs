//! What is about to be inserted, written down before it is: as metadata of the committed offset. After a crash the same
//! records make the same block with the same token, and ClickHouse takes it once.
//!
//! The token names bus, topic, partition, bounds and content: offsets alone begin anew when a topic or a bus does, and the
//! same token with other rows would silently lose rows.

use beffroi_bus::Record;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Bounds of a block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    /// Form of this record.
    v: u32,
    /// Offset of its first record.
    pub(crate) first: i64,
    /// Offset of its last record, inclusive.
    pub(crate) last: i64,
}

/// Form that this version writes.
const VERSION: u32 = 1;

impl Intent {
    pub(crate) fn new(first: i64, last: i64) -> Self {
        Self { v: VERSION, first, last }
    }

    /// The text that goes beside the offset.
    pub(crate) fn to_metadata(&self) -> String {
        format!(r#"{{"v":{},"first":{},"last":{}}}"#, self.v, self.first, self.last)
    }

    /// Reads what stands beside a committed offset; empty is no intent.
    ///
    /// # Errors
    /// What is wrong with it. An intent that cannot be read may only cost the token, never a row or a visible duplicate:
    /// identity is the tables' key.
    pub(crate) fn from_metadata(next_offset: i64, metadata: &str) -> Result<Option<Self>, String> {
        if metadata.is_empty() {
            return Ok(None);
        }
        let intent: Self = serde_json::from_str(metadata).map_err(|error| error.to_string())?;
        if intent.v != VERSION || intent.first < next_offset || intent.last < intent.first {
            return Err(format!("version {}, {} to {} beside offset {next_offset}", intent.v, intent.first, intent.last));
        }
        Ok(Some(intent))
    }
}

/// The deduplication token of a block made of these records.
pub(crate) fn token(bus: &str, topic: &str, records: &[Record]) -> String {
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return String::new() };
    let mut hash = Sha256::new();
    for record in records {
        hash.update(record.offset.to_le_bytes());
        hash.update((record.value.len() as u64).to_le_bytes());
        hash.update(&record.value);
        for (name, value) in &record.headers {
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name);
            hash.update((value.len() as u64).to_le_bytes());
            hash.update(value);
        }
    }
    let content = hex::encode(&hash.finalize()[..16]);
    format!("{bus}/{topic}/{}/{}-{}/{content}", first.partition, first.offset, last.offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_intent_survives_its_metadata() {
        let intent = Intent::new(7, 90);
        assert_eq!(Intent::from_metadata(7, &intent.to_metadata()), Ok(Some(intent)));
        assert_eq!(Intent::from_metadata(7, ""), Ok(None));
    }

    #[test]
    fn metadata_of_someone_else_is_refused() {
        for (next, text) in [(0, "x"), (0, r#"{"v":9,"first":0,"last":1}"#), (5, r#"{"v":1,"first":0,"last":1}"#)] {
            assert!(Intent::from_metadata(next, text).is_err(), "{text}");
        }
    }
}
