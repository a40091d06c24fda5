//! Reaching the brokers for the first time: cluster id, and that every topic is there.
//!
//! Runs in the background until it has worked once. Until then everybody who needs the broker waits for the outcome or
//! gets the reason of the last failure. Topics are looked up one by one with a client that never creates any.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use tokio::sync::watch;

use super::context::{Context, LastError};
use super::{advice, config};
use crate::error::BusError;
use crate::options::KafkaOptions;
use crate::topic::Topic;

/// How long one question to the brokers may take.
pub(super) const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Pauses between tries: short at first, for a broker that is just starting.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often new topics are looked for, and the pause between: together about five seconds.
const VISIBLE_TRIES: u32 = 25;
const VISIBLE_PAUSE: Duration = Duration::from_millis(200);

/// What is known of the cluster.
#[derive(Debug, Clone)]
pub(super) struct Cluster {
    pub id: String,
    /// Partitions of each topic, in the order of [`Topic::ALL`].
    partitions: Vec<i32>,
}

impl Cluster {
    pub fn partitions(&self, topic: Topic) -> i32 {
        Topic::ALL.iter().position(|t| *t == topic).and_then(|at| self.partitions.get(at)).copied().unwrap_or(0)
    }
}

/// How far the first contact is.
#[derive(Debug, Clone)]
pub(super) enum Contact {
    Waiting,
    Failed(BusError),
    Made(Arc<Cluster>),
}

/// A client that asks about the cluster and never creates a topic.
pub(super) struct Probe {
    client: BaseConsumer<Context>,
    options: KafkaOptions,
    pub last_error: LastError,
}

impl Probe {
    pub fn new(options: KafkaOptions) -> Result<Self, BusError> {
        let mut config = config::base(&options)?;
        config.set("allow.auto.create.topics", "false");
        let last_error = LastError::default();
        let client = config.create_with_context(Context::new(last_error.clone())).map_err(|error| {
            BusError::option("bus", format!("librdkafka refuses the settings: {error}; check brokers, tls and sasl"))
        })?;
        Ok(Self { client, options, last_error })
    }

    /// Whether a broker answers. Blocks for at most [`ASK_TIMEOUT`].
    pub fn ping(&self) -> Result<(), BusError> {
        self.partitions_of(Topic::Control).map(|_| ())
    }

    /// Partitions of a topic; `None` when it does not exist. Blocks.
    fn partitions_of(&self, topic: Topic) -> Result<Option<i32>, BusError> {
        let name = config::name(&self.options, topic);
        let metadata = self.client.fetch_metadata(Some(&name), ASK_TIMEOUT).map_err(|error| self.away(&error))?;
        self.last_error.clear();
        let Some(found) = metadata.topics().iter().find(|t| t.name() == name) else { return Ok(None) };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(Some(found.partitions().len() as i32)),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Ok(None),
            Some(code) => Err(BusError::unavailable(
                format!("Kafka says of topic {name}: {code}"),
                "check the cluster's state and the rights of this user",
            )),
        }
    }

    /// The error for a broker that does not answer.
    pub fn away(&self, error: &dyn std::fmt::Display) -> BusError {
        let what = self.last_error.explain(format_args!("Kafka at {} does not answer: {error}", self.options.brokers.join(",")));
        BusError::unavailable(what, self.last_error.read(|last| advice::of(last, &self.options)))
    }

    /// Looks at every topic, mends what may be mended, and learns the cluster's id. Blocks.
    fn look(&self) -> Result<(Vec<Option<i32>>, String), BusError> {
        let found = Topic::ALL.into_iter().map(|topic| self.partitions_of(topic)).collect::<Result<Vec<_>, _>>()?;
        let id = self.client.client().fetch_cluster_id(ASK_TIMEOUT);
        let id = id.ok_or_else(|| self.away(&"it gave no cluster id"))?;
        Ok((found, id))
    }
}

/// Tries until it has worked, telling `contact` of each outcome. Ends when the bus is dropped.
pub(super) async fn run(probe: Arc<Probe>, contact: watch::Sender<Contact>) {
    let mut pause = FIRST_PAUSE;
    loop {
        match make(&probe).await {
            Ok(cluster) => {
                tracing::info!(cluster = cluster.id, "connected to Kafka");
                contact.send_replace(Contact::Made(Arc::new(cluster)));
                return;
            }
            Err(error) => {
                tracing::warn!(%error, "Kafka cannot be used yet; trying again");
                contact.send_replace(Contact::Failed(error));
            }
        }
        tokio::select! {
            () = contact.closed() => return,
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn make(probe: &Arc<Probe>) -> Result<Cluster, BusError> {
    let (found, id) = look(probe).await?;
    if let Some(partitions) = whole(&probe.options, &found)? {
        return Ok(Cluster { id, partitions });
    }
    create(probe, &found).await?;
    // Brokers learn of new topics a moment after they were created.
    for _ in 0..VISIBLE_TRIES {
        let (found, id) = look(probe).await?;
        if let Some(partitions) = whole(&probe.options, &found)? {
            return Ok(Cluster { id, partitions });
        }
        tokio::time::sleep(VISIBLE_PAUSE).await;
    }
    Err(BusError::unavailable("new topics are not visible yet", "wait a moment"))
}

async fn look(probe: &Arc<Probe>) -> Result<(Vec<Option<i32>>, String), BusError> {
    let probe = Arc::clone(probe);
    tokio::task::spawn_blocking(move || probe.look()).await.map_err(|_| BusError::Closed)?
}

/// The partitions if every topic is there and fit; `None` if some are missing and may be created.
fn whole(options: &KafkaOptions, found: &[Option<i32>]) -> Result<Option<Vec<i32>>, BusError> {
    let (mut missing, mut list) = (Vec::new(), Vec::new());
    for (topic, partitions) in Topic::ALL.into_iter().zip(found) {
        let name = config::name(options, topic);
        match partitions {
            Some(count) if topic.needs_one_partition() && *count != 1 => {
                list.push(format!(
                    "  {name} has {count} partitions, and the order of its records needs 1; delete it, then: {}",
                    config::create_command(options, topic)
                ));
                missing.push(name);
            }
            Some(_) => {}
            None if options.create_topics => return Ok(None),
            None => {
                list.push(format!("  {name} is missing; create it: {}", config::create_command(options, topic)));
                missing.push(name);
            }
        }
    }
    match missing.is_empty() {
        true => Ok(Some(found.iter().flatten().copied().collect())),
        false => Err(BusError::MissingTopics { missing, list: list.join("\n") }),
    }
}

/// Creates what is missing.
async fn create(probe: &Probe, found: &[Option<i32>]) -> Result<(), BusError> {
    let options = &probe.options;
    let admin: AdminClient<Context> = config::base(options)?
        .create_with_context(Context::new(probe.last_error.clone()))
        .map_err(|error| BusError::option("bus", format!("librdkafka refuses the settings: {error}")))?;
    let missing = Topic::ALL.into_iter().zip(found).filter(|(_, partitions)| partitions.is_none());
    let wanted: Vec<_> =
        missing.map(|(topic, _)| (topic, config::name(options, topic), config::topic_settings(options, topic))).collect();
    let new: Vec<NewTopic<'_>> = wanted
        .iter()
        .map(|(topic, name, settings)| {
            let (partitions, replication) = (topic.partitions(options.partitions), i32::from(options.replication));
            let new = NewTopic::new(name, partitions as i32, TopicReplication::Fixed(replication));
            settings.iter().fold(new, |new, (name, value)| new.set(name, value))
        })
        .collect();
    let admin_options = AdminOptions::new().request_timeout(Some(ASK_TIMEOUT)).operation_timeout(Some(ASK_TIMEOUT));
    for result in admin.create_topics(&new, &admin_options).await.map_err(|error| probe.away(&error))? {
        match result {
            Ok(name) => tracing::info!(topic = name, "topic created"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let hint = "create the topics by hand and set bus.create_topics = false, or mend replication and rights";
                return Err(BusError::unavailable(format!("Kafka refuses to create topic {name}: {code}"), hint));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_topic_is_named_with_the_command_that_creates_it() {
        let options = KafkaOptions { create_topics: false, topic_prefix: "b.".into(), ..Default::default() };
        let error = whole(&options, &[Some(48), None, Some(48), Some(48), Some(3), Some(1), Some(1)]).expect_err("unfit");
        let BusError::MissingTopics { missing, list } = &error else { panic!("{error}") };
        assert_eq!(missing, &["b.alerts.v1", "b.orders.v1"]);
        assert!(list.contains("b.alerts.v1 is missing") && list.contains("--create --topic b.alerts.v1"), "{list}");
        assert!(list.contains("b.orders.v1 has 3 partitions"), "{list}");
    }

    #[test]
    fn what_may_be_created_is_no_error() {
        let options = KafkaOptions::default();
        assert!(whole(&options, &[None; 7]).expect("to be created").is_none());
        let all = [Some(12), Some(1), Some(1), Some(1), Some(1), Some(1), Some(1)];
        assert_eq!(whole(&options, &all).expect("whole").expect("all there")[0], 12);
    }
}
