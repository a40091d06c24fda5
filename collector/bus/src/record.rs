//! What goes onto the bus and what comes off it. Plain values; nothing here fails.

use bytes::Bytes;

use crate::topic::Topic;

/// Largest record: key, value, header names and header values together (bytes). A Kafka broker takes 1,048,588 bytes
/// for a whole record batch unless told otherwise; this leaves 4 KiB for its framing. The largest batch of the
/// contract (1 MiB - 16 KiB) and its headers fit.
pub const MAX_RECORD_BYTES: usize = 1024 * 1024 - 4 * 1024;
/// Most headers of one record: the contract knows five.
pub const MAX_HEADERS: usize = 64;
/// Longest header name (bytes).
pub const MAX_HEADER_NAME_BYTES: usize = 256;
/// Longest metadata of a committed offset (bytes): what a Kafka broker takes unless told otherwise.
pub const MAX_METADATA_BYTES: usize = 4096;

/// A record to publish.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Chooses the partition: equal keys keep their order.
    pub key: Vec<u8>,
    /// Names and binary values, in order; names may repeat.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The content.
    pub value: Bytes,
}

impl Outgoing {
    /// A record without headers.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Bytes>) -> Self {
        Self { key: key.into(), headers: Vec::new(), value: value.into() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Bytes that count against [`MAX_RECORD_BYTES`].
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.len() + self.value.len() + headers
    }
}

/// A record as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where it lies.
    pub topic: Topic,
    /// Where it lies.
    pub partition: i32,
    /// Its number in the partition; grows, may jump.
    pub offset: i64,
    /// When the bus took it (microseconds since 1970; Kafka's clock has milliseconds).
    pub timestamp: i64,
    /// Its key.
    pub key: Bytes,
    /// Its headers, in order.
    pub headers: Vec<(String, Bytes)>,
    /// Its content.
    pub value: Bytes,
}

impl Record {
    /// The last header of that name (as Kafka's own clients read them).
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|(n, _)| n == name).map(|(_, value)| value.as_ref())
    }

    /// Bytes that count against `max_bytes` of a poll.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.len() + self.value.len() + headers
    }
}

/// Where a published record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// Its partition.
    pub partition: i32,
    /// Its number there.
    pub offset: i64,
}

/// How far a group is behind in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionLag {
    /// Which partition.
    pub partition: i32,
    /// Next offset that the group wants; `None` when it never committed.
    pub committed: Option<i64>,
    /// Oldest offset that is still there.
    pub first: i64,
    /// The offset after the last record.
    pub end: i64,
}

impl PartitionLag {
    /// Records that the group has yet to read.
    pub fn records(&self) -> i64 {
        (self.end - self.committed.unwrap_or(self.first).max(self.first)).max(0)
    }
}

/// Where a tail begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TailFrom {
    /// At the oldest record there is.
    Beginning,
    /// After the last record there is when the tail is opened.
    Now,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lag_counts_what_is_still_there_and_is_never_negative() {
        let lag = |committed, first, end| PartitionLag { partition: 0, committed, first, end }.records();
        assert_eq!(lag(Some(3), 0, 10), 7);
        assert_eq!(lag(None, 4, 10), 6);
        assert_eq!(lag(Some(2), 4, 10), 6);
        assert_eq!(lag(Some(12), 4, 10), 0);
    }
}
