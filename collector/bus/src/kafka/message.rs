//! From Kafka's messages and errors to ours.

use std::time::Duration;

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};

use super::context::LastError;
use crate::error::BusError;
use crate::record::{MAX_HEADERS, Outgoing, Record};
use crate::topic::Topic;

/// How often a moving broker is asked again, and the pause between: together about five seconds.
pub(super) const MOVING_TRIES: u32 = 20;
/// Pause between these tries.
pub(super) const MOVING_PAUSE: Duration = Duration::from_millis(250);

/// Copies a message out of librdkafka's memory. Header names that are not UTF-8 cannot come from us; they are read
/// as far as possible by the client library.
pub(super) fn to_record(topic: Topic, message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        let copy = |header: Header<'_, &[u8]>| (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap_or_default()));
        headers.iter().take(MAX_HEADERS).map(copy).collect()
    });
    Record {
        topic,
        partition: message.partition(),
        offset: message.offset(),
        timestamp: message.timestamp().to_millis().unwrap_or(0).saturating_mul(1000),
        key: Bytes::copy_from_slice(message.key().unwrap_or_default()),
        headers,
        value: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    }
}

/// Headers of a record for Kafka.
pub(super) fn headers(record: &Outgoing) -> OwnedHeaders {
    let empty = OwnedHeaders::new_with_capacity(record.headers.len());
    record.headers.iter().fold(empty, |headers, (name, value)| headers.insert(Header { key: name, value: Some(value) }))
}

/// What a refused record means.
pub(super) fn publish_error(topic: Topic, bytes: usize, max: usize, error: &KafkaError, last: &LastError) -> BusError {
    use RDKafkaErrorCode as Code;
    let what = last.explain(format_args!("Kafka did not take a record for {topic}: {error}"));
    let hint = match error.rdkafka_error_code() {
        Some(Code::MessageSizeTooLarge | Code::InvalidMessageSize) => return BusError::TooLarge { topic, bytes, max },
        Some(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => "give this user the right to write the topic",
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => "create the topic",
        Some(Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend) => {
            "bring the missing brokers back; too few replicas are in sync"
        }
        Some(Code::MessageTimedOut) => "it may still arrive; check that the brokers run and are reached",
        _ => "check that the brokers run and are reached",
    };
    BusError::unavailable(what, hint)
}

/// True while a leader or a group's coordinator is being chosen, starts or moves, or a group rebalances: ask again
/// soon.
pub(super) fn is_moving(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    let moving = [
        Code::RebalanceInProgress,
        Code::CoordinatorLoadInProgress,
        Code::CoordinatorNotAvailable,
        Code::NotCoordinator,
        Code::NotLeaderForPartition,
        Code::LeaderNotAvailable,
    ];
    error.rdkafka_error_code().is_some_and(|code| moving.contains(&code))
}

/// Asks a broker on a blocking thread, again while leaders or coordinators move; the last error when that takes too long.
pub(super) async fn ask_again<T: Send + 'static>(
    ask: impl Fn() -> Result<T, KafkaError> + Clone + Send + 'static,
) -> Result<Result<T, KafkaError>, BusError> {
    let mut tries = 1;
    loop {
        let answer = tokio::task::spawn_blocking(ask.clone()).await.map_err(|_| BusError::Closed)?;
        match &answer {
            Err(error) if is_moving(error) && tries < MOVING_TRIES => tokio::time::sleep(MOVING_PAUSE).await,
            _ => return Ok(answer),
        }
        tries += 1;
    }
}

/// What a failed read or commit means.
pub(super) fn read_error(doing: &str, error: &KafkaError, last: &LastError) -> BusError {
    use RDKafkaErrorCode as Code;
    let hint = match error.rdkafka_error_code() {
        Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
            "give this user the right to read topic and group"
        }
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition) => "create the topic",
        Some(Code::FencedInstanceId) => "two processes have the same bus.instance; give each its own",
        _ => "check that the brokers run and are reached",
    };
    BusError::unavailable(last.explain(format_args!("{doing}: {error}")), hint)
}
