//! How far a group is behind: what it has committed, against the ends of the partitions. Asks without joining.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};

use super::connect::ASK_TIMEOUT;
use super::context::Context;
use super::message::{ask_again, read_error};
use super::{Shared, config};
use crate::error::BusError;
use crate::record::PartitionLag;
use crate::topic::Topic;

/// Clients kept for asking again: there are only a few groups, and each client costs threads.
const MAX_CLIENTS: usize = 8;

/// A client for each group that was asked about.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<String, Arc<BaseConsumer<Context>>>>);

impl Clients {
    fn of(&self, bus: &Shared, group: &str) -> Result<Arc<BaseConsumer<Context>>, BusError> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(group) {
            return Ok(Arc::clone(client));
        }
        let context = Context::new(bus.probe.last_error.clone());
        let client = config::consumer(&bus.options, group)?.create_with_context(context);
        let client = Arc::new(client.map_err(|e| BusError::option("bus", format!("librdkafka refuses the settings: {e}")))?);
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(group.to_owned(), Arc::clone(&client));
        Ok(client)
    }
}

/// The lag of every partition.
pub(super) async fn ask(bus: &Shared, topic: Topic, group: &str) -> Result<Vec<PartitionLag>, BusError> {
    let cluster = tokio::time::timeout(ASK_TIMEOUT, bus.cluster()).await.map_err(|_| bus.why_not())??;
    let client = bus.lags.of(bus, &config::group_name(&bus.options, group))?;
    let (name, partitions) = (config::name(&bus.options, topic), cluster.partitions(topic));
    let answer = ask_again(move || ask_blocking(&client, &name, partitions)).await?;
    answer.map_err(|e| read_error("asking Kafka for the lag", &e, &bus.probe.last_error))
}

fn ask_blocking(client: &BaseConsumer<Context>, topic: &str, partitions: i32) -> Result<Vec<PartitionLag>, KafkaError> {
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition(topic, partition);
    }
    let committed = client.committed_offsets(list, ASK_TIMEOUT)?;
    let lag = |partition| {
        let (first, end) = client.fetch_watermarks(topic, partition, ASK_TIMEOUT)?;
        let offset = committed.find_partition(topic, partition).map(|element| element.offset());
        let committed = if let Some(Offset::Offset(next)) = offset { Some(next) } else { None };
        Ok(PartitionLag { partition, committed, first, end })
    };
    (0..partitions).map(lag).collect()
}
