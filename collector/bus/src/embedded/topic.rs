//! One topic of an embedded bus: its partitions, its groups, and who is told of new records.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::group::Group;
use super::hash::partition_of;
use super::identity::{disk, load_or_create};
use super::partition::{Partition, Setup, Usage};
use crate::error::BusError;
use crate::record::PartitionLag;
use crate::topic::Topic;

const GROUPS_DIR: &str = "groups";

/// A topic. Partition `p` lies in `<dir>/<p>/`, the cursors of group `g` in `<dir>/groups/<g>/`.
pub(super) struct TopicLogs {
    pub topic: Topic,
    pub id: String,
    pub partitions: Vec<Partition>,
    /// Told after each group of records and at each change of a group's members.
    pub changed: Arc<Notify>,
    dir: PathBuf,
    groups: Mutex<HashMap<String, Arc<Group>>>,
}

impl TopicLogs {
    /// Opens or creates the topic below `bus_dir`. Blocks on the disk.
    pub fn open(bus_dir: &Path, topic: Topic, partitions: u32, segment_bytes: u64, usage: &Arc<Usage>) -> Result<Self, BusError> {
        let dir = bus_dir.join(topic.name());
        let id = load_or_create(&dir, "topic.json", partitions)?.id;
        let groups = open_groups(topic, &dir.join(GROUPS_DIR), partitions)?;
        let changed = Arc::new(Notify::new());
        let mut logs = Vec::new();
        for number in 0..partitions as i32 {
            let committed = groups.values().filter_map(|group| group.committed(number)).map(|(offset, _)| offset as u64);
            logs.push(Partition::open(Setup {
                topic,
                number,
                dir: dir.join(number.to_string()),
                segment_bytes,
                min_next_offset: committed.max().unwrap_or(0),
                usage: Arc::clone(usage),
                changed: Arc::clone(&changed),
            })?);
        }
        Ok(Self { topic, id, partitions: logs, changed, dir, groups: Mutex::new(groups) })
    }

    /// The partition with this number.
    pub fn partition(&self, number: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(number).ok()?)
    }

    /// The partition of a key.
    pub fn partition_for(&self, key: &[u8]) -> &Partition {
        &self.partitions[partition_of(key, self.partitions.len())]
    }

    /// Offset after the last durable record of a partition.
    pub fn end(&self, number: i32) -> i64 {
        self.partition(number).map_or(0, Partition::end)
    }

    /// The group of this name, made if there is none. Blocks on the disk.
    pub fn group(&self, name: &str) -> Result<Arc<Group>, BusError> {
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(group) = groups.get(name) {
            return Ok(Arc::clone(group));
        }
        let dir = self.dir.join(GROUPS_DIR).join(name);
        let group = Arc::new(Group::open(self.topic, &dir, self.partitions.len() as u32)?);
        groups.insert(name.into(), Arc::clone(&group));
        Ok(group)
    }

    /// Everything below was read by every known group; all of it when there is no group.
    pub fn floor(&self, partition: i32) -> i64 {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let committed = groups.values().map(|group| group.committed(partition).map_or(0, |(offset, _)| offset));
        committed.min().unwrap_or(i64::MAX)
    }

    /// How far a group is behind. A group that never was has committed nothing.
    pub fn lag(&self, group: &str) -> Vec<PartitionLag> {
        let group = self.groups.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned();
        let lag = |partition: &Partition| PartitionLag {
            partition: partition.number,
            committed: group.as_ref().and_then(|group| group.committed(partition.number)).map(|(offset, _)| offset),
            first: partition.first(),
            end: partition.end(),
        };
        self.partitions.iter().map(lag).collect()
    }
}

/// Opens every group that has cursor files.
fn open_groups(topic: Topic, dir: &Path, partitions: u32) -> Result<HashMap<String, Arc<Group>>, BusError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(HashMap::new()),
        Err(e) => return Err(disk("list", dir, &e)),
    };
    let mut groups = HashMap::new();
    for entry in entries {
        let entry = entry.map_err(|e| disk("list", dir, &e))?;
        if let (true, Some(name)) = (entry.path().is_dir(), entry.file_name().to_str()) {
            groups.insert(name.to_owned(), Arc::new(Group::open(topic, &entry.path(), partitions)?));
        }
    }
    Ok(groups)
}
