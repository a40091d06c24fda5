//! Apache Kafka as the bus, through librdkafka.
//!
//! Owns the one producer of the process (idempotent, acknowledged by all in-sync replicas), the first contact with the
//! brokers, and what consumers share. `open` waits a few seconds for the brokers and succeeds without them: the first
//! contact goes on in the background, calls fail with the reason until it is made. Settings that can never work (a
//! password file that is missing, topics that must exist and do not) fail `open` itself.
//!
//! A topic's id is its name, and the cluster's id tells clusters apart: the client library does not show Kafka's topic ids.
//! Whoever deletes a topic and makes it anew takes a new prefix for it (see [`crate::Bus::topic_id`]).

mod advice;
mod config;
mod connect;
mod context;
mod group;
mod lag;
mod message;
mod tail;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use tokio::sync::{Semaphore, watch};

use self::connect::{Cluster, Contact, Probe};
use self::context::Context;
use crate::error::BusError;
use crate::options::KafkaOptions;
use crate::record::{Outgoing, PartitionLag, Position, TailFrom};
use crate::topic::Topic;
use crate::transport::{Answer, GroupReader, TailReader, Transport};

/// How long `open` waits for the first contact.
const OPEN_WAIT: Duration = Duration::from_secs(6);
/// How long a publisher waits for room in the queue, and for the first contact.
const QUEUE_WAIT: Duration = Duration::from_secs(10);
/// How long closing waits for records on their way.
const FLUSH_WAIT: Duration = Duration::from_secs(10);

/// What the bus and its readers share.
struct Shared {
    options: KafkaOptions,
    probe: Arc<Probe>,
    producer: FutureProducer<Context>,
    /// Permits of 1 KiB.
    queue: Semaphore,
    contact: watch::Receiver<Contact>,
    lags: lag::Clients,
    /// Static memberships in use: group and number.
    slots: Mutex<BTreeSet<(String, usize)>>,
}

/// The transport.
pub(crate) struct KafkaBus {
    shared: Arc<Shared>,
}

impl KafkaBus {
    /// Starts the clients and the first contact. See the module's page for what fails here and what does not.
    pub async fn open(options: KafkaOptions) -> Result<Self, BusError> {
        let probe = Arc::new(Probe::new(options.clone())?);
        let context = Context::new(probe.last_error.clone());
        let producer = config::producer(&options)?.create_with_context(context);
        let producer = producer.map_err(|e| BusError::option("bus", format!("librdkafka refuses the settings: {e}")))?;
        let (outcome, contact) = watch::channel(Contact::Waiting);
        tokio::spawn(connect::run(Arc::clone(&probe), outcome));
        let queue = Semaphore::new(options.producer_queue_kib as usize);
        let lags = lag::Clients::default();
        let shared = Arc::new(Shared { options, probe, producer, queue, contact, lags, slots: Mutex::default() });
        let mut contact = shared.contact.clone();
        let first = tokio::time::timeout(OPEN_WAIT, contact.wait_for(|contact| !matches!(contact, Contact::Waiting))).await;
        if let Ok(Ok(outcome)) = &first
            && let Contact::Failed(error) = &**outcome
            && !error.is_retryable()
        {
            return Err(error.clone());
        }
        drop(first);
        Ok(Self { shared })
    }
}

impl Shared {
    /// The cluster; waits for the first contact.
    async fn cluster(&self) -> Result<Arc<Cluster>, BusError> {
        let mut contact = self.contact.clone();
        let made = contact.wait_for(|contact| matches!(contact, Contact::Made(_))).await.map_err(|_| BusError::Closed)?;
        match &*made {
            Contact::Made(cluster) => Ok(Arc::clone(cluster)),
            _ => Err(BusError::Closed),
        }
    }

    /// Why there is no contact yet.
    fn why_not(&self) -> BusError {
        match &*self.contact.borrow() {
            Contact::Failed(error) => error.clone(),
            _ => self.probe.away(&"no answer yet"),
        }
    }

    /// The smallest free number of a static membership.
    fn take_slot(&self, group: &str) -> usize {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut slot = 0;
        while !slots.insert((group.to_owned(), slot)) {
            slot += 1;
        }
        slot
    }

    fn give_slot(&self, group: &str, slot: usize) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).remove(&(group.to_owned(), slot));
    }

    async fn publish(&self, topic: Topic, record: Outgoing) -> Result<Position, BusError> {
        if tokio::time::timeout(QUEUE_WAIT, self.cluster()).await.is_err() {
            return Err(self.why_not());
        }
        let bytes = record.size();
        let permits = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX);
        let permit = tokio::time::timeout(QUEUE_WAIT, self.queue.acquire_many(permits)).await;
        let _permit =
            permit.map_err(|_| self.probe.away(&"the queue of waiting records is full"))?.map_err(|_| BusError::Closed)?;
        let name = config::name(&self.options, topic);
        let message = FutureRecord::to(&name).key(&record.key).payload(&record.value[..]).headers(message::headers(&record));
        match self.producer.send(message, QUEUE_WAIT).await {
            Ok(delivery) => {
                self.probe.last_error.clear();
                Ok(Position { partition: delivery.partition, offset: delivery.offset })
            }
            Err((error, _)) => {
                Err(message::publish_error(topic, bytes, self.options.max_record_bytes, &error, &self.probe.last_error))
            }
        }
    }
}

impl Transport for KafkaBus {
    fn id(&self) -> String {
        match &*self.shared.contact.borrow() {
            Contact::Made(cluster) => cluster.id.clone(),
            _ => String::new(),
        }
    }

    fn topic_id(&self, topic: Topic) -> String {
        config::name(&self.shared.options, topic)
    }

    fn max_record_bytes(&self) -> usize {
        self.shared.options.max_record_bytes
    }

    fn publish(&self, topic: Topic, record: Outgoing) -> Answer<'_, Position> {
        Box::pin(self.shared.publish(topic, record))
    }

    fn subscribe<'a>(&'a self, topic: Topic, group: &'a str) -> Answer<'a, Box<dyn GroupReader>> {
        let member = group::Member::new(Arc::clone(&self.shared), topic, group);
        Box::pin(async move { Ok(Box::new(member) as Box<dyn GroupReader>) })
    }

    fn tail(&self, topic: Topic, from: TailFrom) -> Answer<'_, Box<dyn TailReader>> {
        let mut tail = tail::AllPartitions::new(Arc::clone(&self.shared), topic, from);
        let is_made = matches!(&*self.shared.contact.borrow(), Contact::Made(_));
        Box::pin(async move {
            if is_made {
                tail.begin().await?;
            }
            Ok(Box::new(tail) as Box<dyn TailReader>)
        })
    }

    fn lag<'a>(&'a self, topic: Topic, group: &'a str) -> Answer<'a, Vec<PartitionLag>> {
        Box::pin(lag::ask(&self.shared, topic, group))
    }

    fn check(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            if !matches!(&*self.shared.contact.borrow(), Contact::Made(_)) {
                return Err(self.shared.why_not());
            }
            let probe = Arc::clone(&self.shared.probe);
            tokio::task::spawn_blocking(move || probe.ping()).await.map_err(|_| BusError::Closed)?
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let producer = self.shared.producer.clone();
        self.shared.queue.close();
        Box::pin(async move {
            if let Ok(Err(error)) = tokio::task::spawn_blocking(move || producer.flush(FLUSH_WAIT)).await {
                tracing::warn!(%error, "records were still on their way to Kafka at the end");
            }
        })
    }
}
