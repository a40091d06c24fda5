//! From Kafka's messages and errors to ours.

use bytes::Bytes;
use rdkafka::Message;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, OwnedHeaders};

use super::context::LastError;
use crate::error::BusError;
use crate::record::{MAX_HEADERS, Outgoing, Record};
use crate::topic::Topic;

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
