//! What could not be read of a file, and where. Trouble with one record never keeps the next from being read.

use std::fmt;

use crate::limits::MAX_TROUBLES;

/// Stable short name of what is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// The file cannot be opened or read on.
    Unreadable,
    /// The compressed stream is damaged or expands without measure.
    Compression,
    /// The file is of no format that is read.
    Format,
    /// A line or value is longer than any record.
    TooLong,
    /// No JSON object.
    Json,
    /// Bytes that are no UTF-8 were replaced; the record was read.
    Encoding,
    /// An object is no event of ours.
    Event,
    /// A stored batch is broken or forged.
    Batch,
    /// A line is no audit record.
    Audit,
    /// A chunk of an event log is damaged.
    Chunk,
    /// A record of an event log is damaged.
    EventRecord,
    /// Whoever reads or judges failed, and not the file.
    Internal,
}

impl Code {
    /// Name in summaries and for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Compression => "compression",
            Self::Format => "format",
            Self::TooLong => "too_long",
            Self::Json => "json",
            Self::Encoding => "encoding",
            Self::Event => "event",
            Self::Batch => "batch",
            Self::Audit => "audit",
            Self::Chunk => "evtx_chunk",
            Self::EventRecord => "evtx_record",
            Self::Internal => "internal",
        }
    }

    /// Whether a record was left out; else it was read as far as it goes.
    pub fn skips(self) -> bool {
        !matches!(self, Self::Encoding | Self::Chunk)
    }
}

/// One thing that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Trouble {
    /// What kind.
    pub code: Code,
    /// Line, or ordinal in an event log, from 1; none for the file as a whole.
    pub record: Option<u64>,
    /// What is wrong, in words.
    pub what: String,
}

impl Trouble {
    pub(crate) fn at(code: Code, record: u64, what: impl Into<String>) -> Self {
        Self { code, record: Some(record), what: what.into() }
    }

    /// A fault of whoever reads or judges.
    pub fn internal(what: impl Into<String>) -> Self {
        Self::whole(Code::Internal, what)
    }

    pub(crate) fn whole(code: Code, what: impl Into<String>) -> Self {
        Self { code, record: None, what: what.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Some(record) => write!(f, "{record}: {}: {}", self.code.name(), self.what),
            None => write!(f, "{}: {}", self.code.name(), self.what),
        }
    }
}

/// Troubles of one block: the first ones whole, the others counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Troubles {
    /// The first ones.
    pub first: Vec<Trouble>,
    /// How many there were of each kind, the first ones included.
    pub counts: Vec<(Code, u64)>,
}

impl Troubles {
    /// Adds one.
    pub fn push(&mut self, trouble: Trouble) {
        match self.counts.iter_mut().find(|(code, _)| *code == trouble.code) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((trouble.code, 1)),
        }
        if self.first.len() < MAX_TROUBLES {
            self.first.push(trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_troubles_are_counted_and_the_first_ones_told() {
        let mut troubles = Troubles::default();
        (0..1_000).for_each(|line| troubles.push(Trouble::at(Code::Json, line, "x")));
        troubles.push(Trouble::at(Code::TooLong, 1, "y"));
        assert_eq!(troubles.first.len(), MAX_TROUBLES);
        assert_eq!(troubles.counts, [(Code::Json, 1_000), (Code::TooLong, 1)]);
    }
}
