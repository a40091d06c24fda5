//! Every way in which the bus can fail, said so that an operator can act on it.
//!
//! Owns the error type. [`BusError::is_retryable`] tells a caller whether to try the same thing again later.

use crate::topic::Topic;

/// What went wrong, where, and what to do next.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BusError {
    /// The broker or the disk does not do its work now. Nothing was promised; try again later.
    #[error("the bus is not available: {what}; {hint}")]
    Unavailable {
        /// What was tried and what the broker or disk said.
        what: String,
        /// What an operator can do.
        hint: String,
    },
    /// The partition belongs to another consumer of the group now. Forget what was read of it.
    #[error(
        "partition {partition} of {topic} is no longer assigned to this consumer; its new owner reads on from the last commit"
    )]
    NotAssigned {
        /// Which topic.
        topic: Topic,
        /// Which partition.
        partition: i32,
    },
    /// The record is larger than the bus takes.
    #[error("a record of {bytes} bytes for {topic} is larger than the {max} bytes that the bus takes; split it")]
    TooLarge {
        /// Which topic.
        topic: Topic,
        /// Size of key, headers and value.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The record, group name or metadata breaks a rule.
    #[error("{what} cannot go onto the bus: {reason}")]
    Invalid {
        /// What it is about.
        what: &'static str,
        /// Which rule was broken.
        reason: String,
    },
    /// `create_topics` is false and topics are missing or unfit.
    #[error("Kafka lacks topics that must exist because create_topics = false:\n{list}")]
    MissingTopics {
        /// Names with prefix.
        missing: Vec<String>,
        /// One line each: what is wrong, and the command that mends it.
        list: String,
    },
    /// An option is unusable.
    #[error("bus option {option} is unusable: {reason}")]
    Option {
        /// Name in the configuration.
        option: &'static str,
        /// Which rule was broken, and what to write instead.
        reason: String,
    },
    /// The bus was closed.
    #[error("the bus is closed; the process is stopping")]
    Closed,
}

impl BusError {
    /// True when the same call may work later without a change of configuration or record.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    pub(crate) fn unavailable(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), hint: hint.into() }
    }

    pub(crate) fn option(option: &'static str, reason: impl Into<String>) -> Self {
        Self::Option { option, reason: reason.into() }
    }
}
