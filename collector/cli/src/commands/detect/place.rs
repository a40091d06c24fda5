//! Where a record stands among all files of a run. Correlations order events of one time by it, and name windows by it.

use std::fmt;
use std::sync::Arc;

/// A record of an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Number of the input in the order of the command line.
    pub input: usize,
    /// Line or ordinal, from 1.
    pub record: u64,
    /// Name of the input.
    pub file: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.record)
    }
}
