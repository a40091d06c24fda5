//! Members of a group, and tails, on an embedded bus. Both wait to be told, never by looking again and again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Shared;
use super::feed::Feed;
use super::group::Group;
use super::topic::TopicLogs;
use crate::error::BusError;
use crate::record::{Record, TailFrom};
use crate::transport::{Answer, GroupReader, TailReader};

/// What a tail reads ahead: enough to make the switch to a blocking thread cheap, little enough to hold.
const TAIL_RECORDS: usize = 1024;
/// Bytes that a tail reads ahead.
const TAIL_BYTES: usize = 4 * 1024 * 1024;

/// A member of a group.
pub(super) struct Member {
    bus: Arc<Shared>,
    topic: Arc<TopicLogs>,
    group: Arc<Group>,
    member: u64,
    generation: u64,
    assigned: Vec<i32>,
    feed: Feed,
}

impl Member {
    pub async fn join(bus: Arc<Shared>, topic: Arc<TopicLogs>, group: Arc<Group>) -> Result<Self, BusError> {
        let member = group.join();
        topic.changed.notify_waiters();
        let feed = Feed::new(Arc::clone(&topic));
        let mut this = Self { bus, topic, group, member, generation: 0, assigned: vec![], feed };
        this.adopt().await?;
        Ok(this)
    }

    /// Takes over what the group has dealt out, if that has changed.
    async fn adopt(&mut self) -> Result<(), BusError> {
        if self.group.generation() == self.generation {
            return Ok(());
        }
        let (generation, wanted) = self.group.assignment(self.member);
        self.feed.assign(&wanted).await?;
        self.assigned = wanted.iter().map(|(partition, _)| *partition).collect();
        self.generation = generation;
        Ok(())
    }

    async fn poll(&mut self, max_records: usize, max_bytes: usize, max_wait: Duration) -> Result<Vec<Record>, BusError> {
        let deadline = Instant::now() + max_wait;
        let topic = Arc::clone(&self.topic);
        loop {
            // Asked for before looking, so that nothing can come unseen in between.
            let mut changed = std::pin::pin!(topic.changed.notified());
            changed.as_mut().enable();
            self.bus.check_open()?;
            self.adopt().await?;
            if self.feed.has_work() {
                self.feed.fill(max_records, max_bytes).await?;
                let records = self.feed.take(max_records, max_bytes);
                if !records.is_empty() {
                    return Ok(records);
                }
            } else if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Ok(Vec::new());
            }
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.group.leave(self.member);
        self.topic.changed.notify_waiters();
    }
}

impl GroupReader for Member {
    fn poll(&mut self, max_records: usize, max_bytes: usize, max_wait: Duration) -> Answer<'_, Vec<Record>> {
        Box::pin(self.poll(max_records, max_bytes, max_wait))
    }

    fn commit<'a>(&'a mut self, partition: i32, next_offset: i64, metadata: &'a str) -> Answer<'a, ()> {
        let (group, member, metadata) = (Arc::clone(&self.group), self.member, metadata.to_owned());
        Box::pin(async move {
            self.bus.check_open()?;
            let commit = move || group.commit(member, partition, next_offset, &metadata);
            tokio::task::spawn_blocking(commit).await.map_err(|_| BusError::Closed)?
        })
    }

    fn committed(&mut self, partition: i32) -> Answer<'_, Option<(i64, String)>> {
        let committed = self.group.committed(partition);
        Box::pin(async move { Ok(committed) })
    }

    fn assigned(&self) -> Vec<i32> {
        self.assigned.clone()
    }

    fn generation(&self) -> u64 {
        self.generation
    }

    fn seek(&mut self, partition: i32, offset: i64) -> Answer<'_, ()> {
        Box::pin(self.feed.seek(partition, u64::try_from(offset).unwrap_or(0)))
    }
}

/// A tail.
pub(super) struct AllPartitions {
    bus: Arc<Shared>,
    topic: Arc<TopicLogs>,
    feed: Feed,
    /// How far it must read to have caught up with what was there when it began.
    targets: Vec<(i32, i64)>,
}

impl AllPartitions {
    pub async fn open(bus: Arc<Shared>, topic: Arc<TopicLogs>, from: TailFrom) -> Result<Self, BusError> {
        let targets: Vec<(i32, i64)> = topic.partitions.iter().map(|p| (p.number, p.end())).collect();
        let start = |(partition, end): &(i32, i64)| match from {
            TailFrom::Beginning => (*partition, 0),
            TailFrom::Now => (*partition, *end as u64),
        };
        let mut feed = Feed::new(Arc::clone(&topic));
        feed.assign(&targets.iter().map(start).collect::<Vec<_>>()).await?;
        Ok(Self { bus, topic, feed, targets })
    }

    async fn next(&mut self) -> Result<Record, BusError> {
        let topic = Arc::clone(&self.topic);
        loop {
            let mut changed = std::pin::pin!(topic.changed.notified());
            changed.as_mut().enable();
            self.bus.check_open()?;
            if self.feed.has_work() {
                self.feed.fill(TAIL_RECORDS, TAIL_BYTES).await?;
                if let Some(record) = self.feed.take(1, 1).pop() {
                    return Ok(record);
                }
            } else {
                changed.await;
            }
        }
    }

    async fn caught_up(&mut self) -> Result<bool, BusError> {
        loop {
            self.bus.check_open()?;
            if self.feed.is_past(&self.targets) {
                return Ok(true);
            }
            if self.feed.is_filled() {
                return Ok(false);
            }
            self.feed.fill(TAIL_RECORDS, TAIL_BYTES).await?;
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
