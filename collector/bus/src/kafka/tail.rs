//! A tail on Kafka: all partitions, a group name that is used once and never commits.
//!
//! "Caught up" goes by the broker's end-of-partition notices, so that offsets which retention has removed meanwhile
//! cannot keep it waiting.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::connect::ASK_TIMEOUT;
use super::context::Context;
use super::group::drop_aside;
use super::message::{ask_again, read_error, to_record};
use super::{Shared, config};
use crate::error::BusError;
use crate::random::hex_id;
use crate::record::{Record, TailFrom};
use crate::topic::Topic;
use crate::transport::{Answer, TailReader};

type Client = StreamConsumer<Context>;

/// A tail. Begins at its first use after the brokers were reached.
pub(super) struct AllPartitions {
    bus: Arc<Shared>,
    topic: Topic,
    from: TailFrom,
    context: Context,
    client: Option<Arc<Client>>,
    /// Partitions that have not been read to their end yet.
    behind: BTreeSet<i32>,
    buffered: VecDeque<Record>,
}

impl AllPartitions {
    pub fn new(bus: Arc<Shared>, topic: Topic, from: TailFrom) -> Self {
        let context = Context::new(bus.probe.last_error.clone());
        Self { bus, topic, from, context, client: None, behind: BTreeSet::new(), buffered: VecDeque::new() }
    }

    /// Assigns all partitions, once the brokers were reached. A tail from "now" begins at the offsets of this moment.
    pub async fn begin(&mut self) -> Result<Arc<Client>, BusError> {
        if let Some(client) = &self.client {
            return Ok(Arc::clone(client));
        }
        let partitions = self.bus.cluster().await?.partitions(self.topic);
        let mut settings =
            config::consumer(&self.bus.options, &config::group_name(&self.bus.options, &format!("tail-{}", hex_id()?)))?;
        settings.set("enable.partition.eof", "true");
        let fail = |error: &KafkaError| read_error("reading from Kafka", error, &self.context.last_error);
        let client: Client = settings.create_with_context(self.context.clone()).map_err(|e| fail(&e))?;
        let (client, name, from) = (Arc::new(client), config::name(&self.bus.options, self.topic), self.from);
        let assigning = Arc::clone(&client);
        let assign = move || assign(&assigning, &name, partitions, from);
        ask_again(assign).await?.map_err(|e| fail(&e))?;
        if self.from == TailFrom::Beginning {
            self.behind = (0..partitions).collect();
        }
        self.client = Some(Arc::clone(&client));
        Ok(client)
    }

    /// Reads one message or notice into the buffer.
    async fn read(&mut self) -> Result<(), BusError> {
        let client = self.begin().await?;
        let received = client.recv().await;
        match received {
            Ok(message) => self.buffered.push_back(to_record(self.topic, &message)),
            Err(KafkaError::PartitionEOF(partition)) => drop(self.behind.remove(&partition)),
            Err(error) => return Err(read_error("reading from Kafka", &error, &self.context.last_error)),
        }
        Ok(())
    }

    async fn next(&mut self) -> Result<Record, BusError> {
        loop {
            if let Some(record) = self.buffered.pop_front() {
                return Ok(record);
            }
            self.read().await?;
        }
    }

    async fn caught_up(&mut self) -> Result<bool, BusError> {
        self.begin().await?;
        loop {
            if !self.buffered.is_empty() {
                return Ok(false);
            }
            if self.behind.is_empty() {
                return Ok(true);
            }
            self.read().await?;
        }
    }
}

/// Assigns every partition at the right place. Blocks.
fn assign(client: &Client, topic: &str, partitions: i32, from: TailFrom) -> Result<(), KafkaError> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        let offset = match from {
            TailFrom::Beginning => Offset::Beginning,
            // The number, not "end": what is published from now on must be seen even if fetching begins later.
            TailFrom::Now => Offset::Offset(client.fetch_watermarks(topic, partition, ASK_TIMEOUT)?.1),
        };
        list.add_partition_offset(topic, partition, offset)?;
    }
    client.assign(&list)
}

impl Drop for AllPartitions {
    fn drop(&mut self) {
        if let Some(client) = self.client.take() {
            drop_aside(client);
        }
    }
}

impl TailReader for AllPartitions {
    fn next(&mut self) -> Answer<'_, Record> {
        Box::pin(self.next())
    }

    fn caught_up(&mut self) -> Answer<'_, bool> {
        Box::pin(self.caught_up())
    }
}
