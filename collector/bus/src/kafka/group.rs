//! A member of a Kafka consumer group.
//!
//! The client is made at the first poll after the brokers were reached. Rebalances run inside `poll` (cooperative:
//! what stays is not interrupted); commits are synchronous. A fatal error of the client makes a new one.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use rdkafka::consumer::{CommitMode, Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::connect::ASK_TIMEOUT;
use super::context::Context;
use super::message::{MOVING_PAUSE, MOVING_TRIES, ask_again, is_moving, read_error, to_record};
use super::{Shared, config};
use crate::error::BusError;
use crate::record::Record;
use crate::topic::Topic;
use crate::transport::{Answer, GroupReader};

type Client = StreamConsumer<Context>;

/// A member.
pub(super) struct Member {
    bus: Arc<Shared>,
    topic: Topic,
    /// Topic and group with prefix.
    topic_name: String,
    group_name: String,
    /// Which of this process's static memberships it holds.
    slot: usize,
    context: Context,
    client: Option<Arc<Client>>,
}

impl Member {
    pub fn new(bus: Arc<Shared>, topic: Topic, group: &str) -> Self {
        let (topic_name, group_name) = (config::name(&bus.options, topic), config::group_name(&bus.options, group));
        let slot = bus.take_slot(&group_name);
        let context = Context::new(bus.probe.last_error.clone());
        Self { bus, topic, topic_name, group_name, slot, context, client: None }
    }

    fn client(&self) -> Result<Arc<Client>, BusError> {
        self.client.clone().ok_or_else(|| BusError::unavailable("this consumer has not joined its group yet", "poll first"))
    }

    /// The client, made if there is none.
    fn join(&mut self) -> Result<Arc<Client>, BusError> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let mut settings = config::consumer(&self.bus.options, &self.group_name)?;
        if let Some(instance) = &self.bus.options.instance {
            settings.set("group.instance.id", format!("{instance}-{}", self.slot));
        }
        let fail = |error: KafkaError| read_error("joining a consumer group", &error, &self.context.last_error);
        let client: Client = settings.create_with_context(self.context.clone()).map_err(fail)?;
        client.subscribe(&[&self.topic_name]).map_err(fail)?;
        let client = Arc::new(client);
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// What a read error means; a fatal one parts with the client.
    fn failed(&mut self, error: &KafkaError) -> BusError {
        if matches!(error, KafkaError::MessageConsumptionFatal(_)) {
            self.leave();
        }
        read_error("reading from Kafka", error, &self.context.last_error)
    }

    async fn poll(&mut self, max_records: usize, max_bytes: usize, max_wait: Duration) -> Result<Vec<Record>, BusError> {
        let deadline = Instant::now() + max_wait;
        match tokio::time::timeout_at(deadline, self.bus.cluster()).await {
            Ok(cluster) => cluster?,
            Err(_) => return Err(self.bus.why_not()),
        };
        let client = self.join()?;
        let mut records = match self.first(&client, deadline).await? {
            Some(record) => vec![record],
            None => return Ok(Vec::new()),
        };
        let mut bytes = records[0].size();
        // No await from here on: dropping the future between records would lose them.
        while records.len() < max_records && bytes < max_bytes {
            match client.recv().now_or_never() {
                Some(Ok(message)) => {
                    let record = to_record(self.topic, &message);
                    bytes += record.size();
                    records.push(record);
                }
                Some(Err(error)) => {
                    tracing::debug!(%error, "reading stopped early");
                    break;
                }
                None => break,
            }
        }
        // A partition may have been taken away while the rest was drained.
        let assignment = self.context.assignment();
        records.retain(|record| assignment.partitions.contains(&record.partition));
        Ok(records)
    }

    /// The first record, if one comes in time.
    ///
    /// An outage leaves one error in the client's queue for each attempt to connect. They are taken out together: one by one,
    /// each would cost the caller a pause long after the broker is back.
    async fn first(&mut self, client: &Client, deadline: Instant) -> Result<Option<Record>, BusError> {
        let mut outage = None;
        loop {
            let next = match outage {
                None => tokio::time::timeout_at(deadline, client.recv()).await.ok(),
                Some(_) => client.recv().now_or_never(),
            };
            match next {
                None => return outage.map_or(Ok(None), |error| Err(self.failed(&error))),
                Some(Ok(message)) => return Ok(Some(to_record(self.topic, &message))),
                // The group went on without us because the last poll was long ago; we join again by polling.
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::PollExceeded))) => {}
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(self.failed(&error)),
                Some(Err(error)) => outage = Some(error),
            }
        }
    }

    fn check_assigned(&self, partition: i32) -> Result<(), BusError> {
        match self.context.assignment().partitions.contains(&partition) {
            true => Ok(()),
            false => Err(BusError::NotAssigned { topic: self.topic, partition }),
        }
    }

    async fn commit(&mut self, partition: i32, next_offset: i64, metadata: String) -> Result<(), BusError> {
        let client = self.client()?;
        use RDKafkaErrorCode as Code;
        for _ in 0..MOVING_TRIES {
            self.check_assigned(partition)?;
            let (client, name, metadata) = (Arc::clone(&client), self.topic_name.clone(), metadata.clone());
            let commit = move || commit_once(&client, &name, partition, next_offset, &metadata);
            let error = match tokio::task::spawn_blocking(commit).await.map_err(|_| BusError::Closed)? {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match error.rdkafka_error_code() {
                _ if is_moving(&error) => tokio::time::sleep(MOVING_PAUSE).await,
                Some(Code::IllegalGeneration | Code::UnknownMemberId | Code::FencedInstanceId) => {
                    return Err(BusError::NotAssigned { topic: self.topic, partition });
                }
                _ => return Err(read_error("committing to Kafka", &error, &self.context.last_error)),
            }
        }
        Err(BusError::unavailable("the group has rebalanced for too long to commit", "commit again"))
    }

    async fn committed(&mut self, partition: i32) -> Result<Option<(i64, String)>, BusError> {
        let (client, name) = (self.client()?, self.topic_name.clone());
        let ask = move || {
            let mut list = TopicPartitionList::new();
            list.add_partition(&name, partition);
            let answer = client.committed_offsets(list, ASK_TIMEOUT)?;
            let element = answer.find_partition(&name, partition);
            Ok(element
                .and_then(|e| if let Offset::Offset(next) = e.offset() { Some((next, e.metadata().to_owned())) } else { None }))
        };
        ask_again(ask).await?.map_err(|error| read_error("asking Kafka for a committed offset", &error, &self.context.last_error))
    }

    async fn seek(&mut self, partition: i32, offset: i64) -> Result<(), BusError> {
        self.check_assigned(partition)?;
        let (client, name) = (self.client()?, self.topic_name.clone());
        let seek = move || client.seek(&name, partition, Offset::Offset(offset.max(0)), ASK_TIMEOUT);
        let sought = tokio::task::spawn_blocking(seek).await.map_err(|_| BusError::Closed)?;
        sought.map_err(|error| read_error("seeking in Kafka", &error, &self.context.last_error))
    }

    /// Parts with the client. Closing it talks to the broker, so it happens on a blocking thread.
    fn leave(&mut self) {
        self.context.assignment().partitions.clear();
        self.context.assignment().generation += 1;
        if let Some(client) = self.client.take() {
            drop_aside(client);
        }
    }
}

/// Drops a client on a blocking thread, if there is a runtime.
pub(super) fn drop_aside<T: Send + 'static>(client: T) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn_blocking(move || drop(client))),
        Err(_) => drop(client),
    }
}

fn commit_once(client: &Client, topic: &str, partition: i32, next_offset: i64, metadata: &str) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    let mut element = list.add_partition(topic, partition);
    element.set_offset(Offset::Offset(next_offset))?;
    element.set_metadata(metadata);
    client.commit(&list, CommitMode::Sync)
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave();
        self.bus.give_slot(&self.group_name, self.slot);
    }
}

impl GroupReader for Member {
    fn poll(&mut self, max_records: usize, max_bytes: usize, max_wait: Duration) -> Answer<'_, Vec<Record>> {
        Box::pin(self.poll(max_records, max_bytes, max_wait))
    }

    fn commit<'a>(&'a mut self, partition: i32, next_offset: i64, metadata: &'a str) -> Answer<'a, ()> {
        Box::pin(self.commit(partition, next_offset, metadata.to_owned()))
    }

    fn committed(&mut self, partition: i32) -> Answer<'_, Option<(i64, String)>> {
        Box::pin(self.committed(partition))
    }

    fn assigned(&self) -> Vec<i32> {
        self.context.assignment().partitions.iter().copied().collect()
    }

    fn generation(&self) -> u64 {
        self.context.assignment().generation
    }

    fn seek(&mut self, partition: i32, offset: i64) -> Answer<'_, ()> {
        Box::pin(self.seek(partition, offset))
    }
}
