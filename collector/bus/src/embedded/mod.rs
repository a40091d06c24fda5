//! The embedded bus: durable logs in a folder, for a collector that is one process on one machine.
//!
//! ```text
//! <dir>/bus.json                          id of the bus
//! <dir>/<topic>/topic.json                id of the topic, number of partitions
//! <dir>/<topic>/<partition>/              a log (agent/log), written by its own thread
//! <dir>/<topic>/groups/<group>/<p>.cursor what a group has committed
//! ```
//!
//! A record is answered for after `fdatasync`; many publishers share one (group commit). After a crash the log's
//! recovery drops at most what was never answered for. Groups live in this process: another process is refused by the
//! logs' locks.

mod feed;
mod frame;
mod group;
mod hash;
mod identity;
mod partition;
mod readers;
mod retention;
#[cfg(test)]
mod retention_tests;
mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future::BoxFuture;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use self::partition::{MIN_SEGMENT_BYTES, Usage};
use self::readers::{AllPartitions, Member};
use self::topic::TopicLogs;
use crate::error::BusError;
use crate::options::EmbeddedOptions;
use crate::record::{MAX_RECORD_BYTES, Outgoing, PartitionLag, Position, TailFrom};
use crate::topic::Topic;
use crate::transport::{Answer, GroupReader, TailReader, Transport};

/// Memory of records that wait to be written (KiB); beyond it publishers wait.
const QUEUE_KIB: usize = 64 * 1024;
/// Retention removes whole segments: with this many of them in a full bus, little more than needed goes.
const SEGMENTS_OF_A_FULL_BUS: u64 = 128;
/// Largest segment (bytes): what is read again when a partition recovers.
const MAX_SEGMENT_BYTES: u64 = 32 * 1024 * 1024;

/// An open bus folder.
struct Shared {
    id: String,
    topics: Vec<Arc<TopicLogs>>,
    usage: Arc<Usage>,
    retention_hours: u32,
    /// Permits of 1 KiB.
    queue: Arc<Semaphore>,
    closed: CancellationToken,
}

/// The transport.
pub(crate) struct EmbeddedBus {
    shared: Arc<Shared>,
}

impl EmbeddedBus {
    /// Opens or creates the folder, recovers its logs and starts their threads and retention.
    pub async fn open(options: EmbeddedOptions) -> Result<Self, BusError> {
        let opened = tokio::task::spawn_blocking(move || Shared::open(&options)).await;
        let shared = Arc::new(opened.map_err(|_| BusError::Closed)??);
        tokio::spawn(retention::run(Arc::downgrade(&shared)));
        Ok(Self { shared })
    }

    fn topic(&self, topic: Topic) -> &Arc<TopicLogs> {
        self.shared.topic(topic)
    }
}

impl Shared {
    fn open(options: &EmbeddedOptions) -> Result<Self, BusError> {
        let id = identity::load_or_create(&options.dir, "bus.json", 0)?.id;
        let segment_bytes = (options.max_bytes / SEGMENTS_OF_A_FULL_BUS).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES);
        let usage = Arc::new(Usage { bytes: AtomicU64::new(0), max_bytes: options.max_bytes, exceeded: Notify::new() });
        let open = |topic: Topic| {
            let partitions = topic.partitions(options.partitions);
            TopicLogs::open(&options.dir, topic, partitions, segment_bytes, &usage).map(Arc::new)
        };
        let topics = Topic::ALL.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let queue = Arc::new(Semaphore::new(QUEUE_KIB));
        Ok(Self { id, topics, usage, retention_hours: options.retention_hours, queue, closed: CancellationToken::new() })
    }

    fn topic(&self, topic: Topic) -> &Arc<TopicLogs> {
        self.topics.iter().find(|logs| logs.topic == topic).expect("every topic was opened")
    }

    fn bytes(&self) -> u64 {
        self.usage.bytes.load(Ordering::Acquire)
    }

    fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    fn check_open(&self) -> Result<(), BusError> {
        if self.is_closed() { Err(BusError::Closed) } else { Ok(()) }
    }

    /// Lets every thread finish what is queued. Blocks.
    fn close(&self) {
        self.closed.cancel();
        self.queue.close();
        for topic in &self.topics {
            topic.partitions.iter().for_each(partition::Partition::close);
            topic.changed.notify_waiters();
        }
    }

    async fn publish(&self, topic: Topic, record: Outgoing) -> Result<Position, BusError> {
        let permits = u32::try_from(record.size() / 1024 + 1).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.queue).acquire_many_owned(permits).await.map_err(|_| BusError::Closed)?;
        let partition = self.topic(topic).partition_for(&record.key);
        partition.append(frame::encode(&record), permit).await
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

impl Transport for EmbeddedBus {
    fn id(&self) -> String {
        self.shared.id.clone()
    }

    fn topic_id(&self, topic: Topic) -> String {
        self.topic(topic).id.clone()
    }

    fn max_record_bytes(&self) -> usize {
        MAX_RECORD_BYTES
    }

    fn publish(&self, topic: Topic, record: Outgoing) -> Answer<'_, Position> {
        Box::pin(self.shared.publish(topic, record))
    }

    fn subscribe<'a>(&'a self, topic: Topic, group: &'a str) -> Answer<'a, Box<dyn GroupReader>> {
        let (bus, logs, name) = (Arc::clone(&self.shared), Arc::clone(self.topic(topic)), group.to_owned());
        Box::pin(async move {
            bus.check_open()?;
            let opening = Arc::clone(&logs);
            let group = tokio::task::spawn_blocking(move || opening.group(&name)).await.map_err(|_| BusError::Closed)??;
            Ok(Box::new(Member::join(bus, logs, group).await?) as Box<dyn GroupReader>)
        })
    }

    fn tail(&self, topic: Topic, from: TailFrom) -> Answer<'_, Box<dyn TailReader>> {
        let (bus, logs) = (Arc::clone(&self.shared), Arc::clone(self.topic(topic)));
        Box::pin(async move {
            bus.check_open()?;
            Ok(Box::new(AllPartitions::open(bus, logs, from).await?) as Box<dyn TailReader>)
        })
    }

    fn lag<'a>(&'a self, topic: Topic, group: &'a str) -> Answer<'a, Vec<PartitionLag>> {
        Box::pin(async move {
            self.shared.check_open()?;
            Ok(self.topic(topic).lag(group))
        })
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(async move { self.shared.check_open() })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            let _ = tokio::task::spawn_blocking(move || shared.close()).await;
        })
    }
}
