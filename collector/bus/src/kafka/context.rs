//! What librdkafka tells us besides records: errors, log lines, changes of assignment.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Longest complaint that is kept, characters: the reason stands first.
const MAX_WORD: usize = 300;

/// The last thing that a client complained about; put into errors, because "timed out" alone helps nobody.
#[derive(Debug, Clone, Default)]
pub(super) struct LastError(Arc<Mutex<Option<String>>>);

impl LastError {
    fn set(&self, text: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    /// Forgets it, after something has worked.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Shows it to somebody.
    pub fn read<T>(&self, of: impl FnOnce(Option<&str>) -> T) -> T {
        of(self.0.lock().unwrap_or_else(PoisonError::into_inner).as_deref())
    }

    /// `what`, and the last complaint.
    pub fn explain(&self, what: impl std::fmt::Display) -> String {
        self.read(|last| match last {
            Some(last) => format!("{what} (last word of the client: {last})"),
            None => what.to_string(),
        })
    }
}

/// What a consumer has been given.
#[derive(Debug, Default)]
pub(super) struct Assignment {
    pub partitions: BTreeSet<i32>,
    pub generation: u64,
}

/// Context of every client.
#[derive(Clone, Default)]
pub(super) struct Context {
    pub last_error: LastError,
    assignment: Arc<Mutex<Assignment>>,
}

impl Context {
    pub fn new(last_error: LastError) -> Self {
        Self { last_error, assignment: Arc::default() }
    }

    /// What this consumer has now.
    pub fn assignment(&self) -> MutexGuard<'_, Assignment> {
        self.assignment.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::warn!(facility, "librdkafka: {message}");
            }
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "librdkafka reports an error");
        // "All brokers are down" follows the reason why they are and would hide it.
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.last_error.set(reason.chars().take(MAX_WORD).collect());
        }
    }
}

impl ConsumerContext for Context {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(list) = rebalance {
            let mut assignment = self.assignment();
            for element in list.elements() {
                assignment.partitions.remove(&element.partition());
            }
            assignment.generation += 1;
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(list) = rebalance {
            let mut assignment = self.assignment();
            assignment.partitions.extend(list.elements().iter().map(|element| element.partition()));
            assignment.generation += 1;
        }
    }
}
