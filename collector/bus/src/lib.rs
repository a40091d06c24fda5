//! The bus between the roles of the collector: Apache Kafka, or logs in a folder, behind one handle.
//!
//! This is the only crate that knows Kafka. What holds on both transports:
//! - [`Bus::publish`] returns once the record is durable: all in-sync replicas have it, or it was fsynced.
//! - Records with equal keys keep their order; each is delivered at least once to each group.
//! - A group member reads on from the last commit; a commit carries metadata that its successor can read.
//! - When the broker or disk fails, calls fail with [`BusError::Unavailable`] after a bounded time; nothing that was
//!   acknowledged is lost, nothing else was promised.
//!
//! Opening a Kafka bus whose broker is absent succeeds: it goes on trying in the background, [`Bus::check`] says why
//! it is not there, and [`Bus::id`] is empty until it is (never after a consumer or tail has handed out a record).
//!
//! ```no_run
//! # async fn example() -> Result<(), beffroi_bus::BusError> {
//! use beffroi_bus::{Bus, BusOptions, EmbeddedOptions, Outgoing, Topic};
//! use std::time::Duration;
//!
//! let bus = Bus::open(BusOptions::Embedded(EmbeddedOptions { dir: "/var/lib/beffroi/bus".into(), ..Default::default() })).await?;
//! bus.publish(Topic::Alerts, Outgoing::new("key", "value")).await?;
//! let mut consumer = bus.subscribe(Topic::Alerts, "store-alerts").await?;
//! for record in consumer.poll(1000, 8 << 20, Duration::from_secs(1)).await? {
//!     // ... make it durable elsewhere, then:
//!     consumer.commit(record.partition, record.offset + 1, "").await?;
//! }
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

pub mod control;
mod embedded;
mod error;
mod handle;
mod kafka;
mod lag_report;
mod options;
mod random;
mod record;
pub mod testing;
mod topic;
mod transport;

pub use error::BusError;
pub use handle::{Bus, Consumer, Tail};
pub use options::{
    BusOptions, EMBEDDED_MAX_BYTES, EMBEDDED_MIN_BYTES, EMBEDDED_PARTITIONS, EmbeddedOptions, KAFKA_PARTITIONS, KafkaOptions,
    MAX_PARTITIONS, PRODUCER_QUEUE_KIB, RETENTION_HOURS, SaslMechanism, SaslOptions, TlsOptions,
};
pub use record::{
    MAX_HEADER_NAME_BYTES, MAX_HEADERS, MAX_METADATA_BYTES, MAX_RECORD_BYTES, Outgoing, PartitionLag, Position, Record, TailFrom,
};
pub use topic::{ORDERS_MIN_RETENTION_HOURS, Topic};
