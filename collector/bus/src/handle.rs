//! The handles that roles hold: [`Bus`], [`Consumer`], [`Tail`].
//!
//! Owns the checks that are the same on every transport (sizes, names). On failure nothing has been handed over.

use std::sync::Arc;
use std::time::Duration;

use crate::embedded::EmbeddedBus;
use crate::error::BusError;
use crate::kafka::KafkaBus;
use crate::lag_report::LagReport;
use crate::options::{BusOptions, is_name};
use crate::record::{MAX_HEADER_NAME_BYTES, MAX_HEADERS, MAX_METADATA_BYTES, Outgoing, PartitionLag, Position, Record, TailFrom};
use crate::topic::Topic;
use crate::transport::{GroupReader, TailReader, Transport};

/// Longest group name; with a prefix it stays below Kafka's 249.
const MAX_GROUP_BYTES: usize = 100;

/// The bus. Cheap to clone; all clones are one bus.
#[derive(Clone)]
pub struct Bus {
    transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Bus {
    /// Opens the bus. Needs a tokio runtime.
    ///
    /// # Errors
    /// Unusable options, topics that must exist and do not, a folder that another process holds. A Kafka broker that
    /// does not answer is no error: see the crate's page.
    pub async fn open(options: BusOptions) -> Result<Self, BusError> {
        options.validate()?;
        let transport: Arc<dyn Transport> = match options {
            BusOptions::Embedded(options) => Arc::new(EmbeddedBus::open(options).await?),
            BusOptions::Kafka(options) => Arc::new(KafkaBus::open(options).await?),
        };
        Ok(Self { transport })
    }

    /// Names this bus for good: Kafka's cluster id, or a random id kept in the embedded folder. Empty while a Kafka
    /// broker has never answered.
    pub fn id(&self) -> String {
        self.transport.id()
    }

    /// Names this topic together with [`Bus::id`]: a random id kept in the embedded folder, or its name on Kafka. Kafka has topic
    /// ids, but the client library shows none. So a topic of Kafka that is deleted and made anew under its old name is taken for the
    /// old one: groups read on from what they committed there, past the new topic's first records. Take another
    /// `topic_prefix` instead.
    pub fn topic_id(&self, topic: Topic) -> String {
        self.transport.topic_id(topic)
    }

    /// Publishes one record and returns where it lies, once it is durable.
    ///
    /// # Errors
    /// [`BusError::TooLarge`], [`BusError::Invalid`]; [`BusError::Unavailable`] after a bounded time (about 10 s on
    /// Kafka), in which case the record may still arrive.
    pub async fn publish(&self, topic: Topic, record: Outgoing) -> Result<Position, BusError> {
        check_record(topic, &record, self.transport.max_record_bytes())?;
        let started = std::time::Instant::now();
        let published = self.transport.publish(topic, record).await;
        let outcome = if published.is_ok() { "ok" } else { "error" };
        metrics::counter!("beffroi_bus_published_total", "topic" => topic.name(), "outcome" => outcome).increment(1);
        metrics::histogram!("beffroi_bus_publish_seconds", "topic" => topic.name()).record(started.elapsed().as_secs_f64());
        published
    }

    /// Joins a consumer group. Returns at once; partitions come with the first [`Consumer::poll`]s.
    pub async fn subscribe(&self, topic: Topic, group: &str) -> Result<Consumer, BusError> {
        check_group(group)?;
        let reader = self.transport.subscribe(topic, group).await?;
        Ok(Consumer { reader, topic, _lag: LagReport::start(&self.transport, topic, group) })
    }

    /// Reads all partitions without a group, for example what every gateway must see.
    pub async fn tail(&self, topic: Topic, from: TailFrom) -> Result<Tail, BusError> {
        Ok(Tail { reader: self.transport.tail(topic, from).await? })
    }

    /// How far a group is behind, for every partition.
    pub async fn lag(&self, topic: Topic, group: &str) -> Result<Vec<PartitionLag>, BusError> {
        check_group(group)?;
        self.transport.lag(topic, group).await
    }

    /// Whether the bus does its work now; the error says why not. Answers within a few seconds.
    pub async fn check(&self) -> Result<(), BusError> {
        self.transport.check().await
    }

    /// Flushes and stops. Other clones, consumers and tails get [`BusError::Closed`] or nothing more.
    pub async fn close(self) {
        self.transport.close().await;
    }
}

/// One member of a consumer group. Dropping it leaves the group. While it lives, the metrics say how far the group is behind.
pub struct Consumer {
    reader: Box<dyn GroupReader>,
    topic: Topic,
    _lag: LagReport,
}

impl Consumer {
    /// The topic that it reads.
    pub fn topic(&self) -> Topic {
        self.topic
    }

    /// Up to `max_records` records, ending with the one that reaches `max_bytes`; waits at most `max_wait` for the
    /// first. Records of one partition come in order. Changes of assignment are adopted here: compare
    /// [`Consumer::generation`] after each call. Call it at least every few minutes, or the group goes on without
    /// this member. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] when the broker is away: call again.
    pub async fn poll(&mut self, max_records: usize, max_bytes: usize, max_wait: Duration) -> Result<Vec<Record>, BusError> {
        self.reader.poll(max_records.max(1), max_bytes.max(1), max_wait).await
    }

    /// Stores durably that the group has done everything below `next_offset`, with metadata for whoever reads on.
    ///
    /// # Errors
    /// [`BusError::NotAssigned`] when the partition has gone to another member: nothing was stored.
    pub async fn commit(&mut self, partition: i32, next_offset: i64, metadata: &str) -> Result<(), BusError> {
        if metadata.len() > MAX_METADATA_BYTES {
            let reason = format!("{} bytes are more than {MAX_METADATA_BYTES}; store a reference instead", metadata.len());
            return Err(BusError::Invalid { what: "commit metadata", reason });
        }
        if next_offset < 0 {
            return Err(BusError::Invalid { what: "a commit", reason: format!("offset {next_offset} is negative") });
        }
        self.reader.commit(partition, next_offset, metadata).await
    }

    /// What the group has stored last for a partition: the next offset wanted, and the metadata.
    pub async fn committed(&mut self, partition: i32) -> Result<Option<(i64, String)>, BusError> {
        self.reader.committed(partition).await
    }

    /// Partitions of this member, ascending, as of the last poll.
    pub fn assigned(&self) -> Vec<i32> {
        self.reader.assigned()
    }

    /// Grows whenever the assignment has changed.
    pub fn generation(&self) -> u64 {
        self.reader.generation()
    }

    /// Reads on from `offset` in an assigned partition; what was fetched before is forgotten.
    pub async fn seek(&mut self, partition: i32, offset: i64) -> Result<(), BusError> {
        self.reader.seek(partition, offset).await
    }
}

/// A reader of all partitions of a topic, without a group.
pub struct Tail {
    reader: Box<dyn TailReader>,
}

impl Tail {
    /// The next record; waits for it. Partitions are interleaved. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`BusError::Unavailable`] while the broker is away: call again.
    pub async fn next(&mut self) -> Result<Record, BusError> {
        self.reader.next().await
    }

    /// True once [`Tail::next`] has returned everything that was in the topic when the tail began. Waits while a
    /// Kafka broker has not yet said how much that is.
    pub async fn caught_up(&mut self) -> Result<bool, BusError> {
        self.reader.caught_up().await
    }
}

fn check_record(topic: Topic, record: &Outgoing, max: usize) -> Result<(), BusError> {
    let bytes = record.size();
    if bytes > max {
        return Err(BusError::TooLarge { topic, bytes, max });
    }
    let invalid = |reason: String| Err(BusError::Invalid { what: "a record", reason });
    if record.headers.len() > MAX_HEADERS {
        return invalid(format!("it has {} headers, {MAX_HEADERS} are allowed", record.headers.len()));
    }
    for (name, _) in &record.headers {
        if name.is_empty() || name.len() > MAX_HEADER_NAME_BYTES || name.contains('\0') {
            return invalid(format!("a header name has {} bytes or a NUL; 1 to {MAX_HEADER_NAME_BYTES} are allowed", name.len()));
        }
    }
    Ok(())
}

fn check_group(group: &str) -> Result<(), BusError> {
    if group.is_empty() || group.starts_with('.') || !is_name(group, MAX_GROUP_BYTES) {
        let reason = format!("only a-z A-Z 0-9 . _ - are allowed, 1 to {MAX_GROUP_BYTES} of them, no dot first");
        return Err(BusError::Invalid { what: "a group name", reason });
    }
    Ok(())
}
