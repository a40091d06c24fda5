//! What a transport must do. [`crate::Bus`], [`crate::Consumer`] and [`crate::Tail`] check their arguments once and
//! hand over to one of these, so that no caller knows which bus it is on.

use std::time::Duration;

use futures::future::BoxFuture;

use crate::error::BusError;
use crate::record::{Outgoing, PartitionLag, Position, Record, TailFrom};
use crate::topic::Topic;

pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, BusError>>;

/// One bus.
pub(crate) trait Transport: Send + Sync {
    fn id(&self) -> String;
    fn topic_id(&self, topic: Topic) -> String;
    fn max_record_bytes(&self) -> usize;
    fn publish(&self, topic: Topic, record: Outgoing) -> Answer<'_, Position>;
    fn subscribe<'a>(&'a self, topic: Topic, group: &'a str) -> Answer<'a, Box<dyn GroupReader>>;
    fn tail(&self, topic: Topic, from: TailFrom) -> Answer<'_, Box<dyn TailReader>>;
    fn lag<'a>(&'a self, topic: Topic, group: &'a str) -> Answer<'a, Vec<PartitionLag>>;
    fn check(&self) -> Answer<'_, ()>;
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// One member of a consumer group.
pub(crate) trait GroupReader: Send {
    fn poll(&mut self, max_records: usize, max_bytes: usize, max_wait: Duration) -> Answer<'_, Vec<Record>>;
    fn commit<'a>(&'a mut self, partition: i32, next_offset: i64, metadata: &'a str) -> Answer<'a, ()>;
    fn committed(&mut self, partition: i32) -> Answer<'_, Option<(i64, String)>>;
    fn assigned(&self) -> Vec<i32>;
    fn generation(&self) -> u64;
    fn seek(&mut self, partition: i32, offset: i64) -> Answer<'_, ()>;
}

/// A reader of all partitions, without a group.
pub(crate) trait TailReader: Send {
    fn next(&mut self) -> Answer<'_, Record>;
    fn caught_up(&mut self) -> Answer<'_, bool>;
}
