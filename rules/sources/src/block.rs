//! A piece of a file: what one thread takes at a time. It is cut without being understood, which costs little, so that
//! one thread can read for many that understand.

use std::ops::Range;

use crate::trouble::Troubles;

/// Whole records of one file, still as bytes.
#[derive(Debug, Default)]
pub struct Block {
    pub(crate) content: Content,
    /// What was wrong while it was cut.
    pub troubles: Troubles,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// Whole lines.
    Lines { bytes: Vec<u8>, first: u64, is_json: bool },
    /// JSON values.
    Values { bytes: Vec<u8>, values: Vec<Piece> },
    /// Audit records of whole events: each event is a range of `lines`.
    Audit { bytes: Vec<u8>, lines: Vec<Piece>, events: Vec<Range<usize>> },
    /// A chunk of an event log and its records.
    Chunk { bytes: Vec<u8>, records: Vec<Piece> },
    /// A stored batch.
    Batch { bytes: Vec<u8> },
}

impl Default for Content {
    fn default() -> Self {
        Self::Lines { bytes: Vec::new(), first: 1, is_json: false }
    }
}

/// Where one record stands, and its number in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) at: Range<usize>,
    pub(crate) number: u64,
}
