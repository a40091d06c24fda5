//! Consumer groups of an embedded bus: who reads which partition, and how far the group is.
//!
//! Members share partitions evenly; a change moves as few as possible and raises the generation. What a group has
//! committed lies in one cursor file per partition, fsynced at every commit. A member that has lost a partition can no
//! longer commit it, because ownership is checked under the same lock.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use beffroi_log::CursorFile;

use super::identity::make_dir;
use super::partition::log_error;
use crate::error::BusError;
use crate::topic::Topic;

/// A group. Shared by its members.
pub(super) struct Group {
    topic: Topic,
    inner: Mutex<Inner>,
}

struct Inner {
    /// Members, oldest first.
    members: Vec<u64>,
    next_member: u64,
    /// Owner of each partition.
    owners: Vec<Option<u64>>,
    generation: u64,
    cursors: Vec<CursorFile>,
}

impl Group {
    /// Opens or creates the cursor files in `dir`. Blocks on the disk.
    pub fn open(topic: Topic, dir: &Path, partitions: u32) -> Result<Self, BusError> {
        make_dir(dir)?;
        let cursors = (0..partitions).map(|p| CursorFile::open(dir.join(format!("{p}.cursor"))));
        let cursors = cursors.collect::<Result<Vec<_>, _>>().map_err(|e| log_error(&e))?;
        let owners = vec![None; cursors.len()];
        Ok(Self { topic, inner: Mutex::new(Inner { members: vec![], next_member: 0, owners, generation: 0, cursors }) })
    }

    /// Adds a member and deals out the partitions anew.
    pub fn join(&self) -> u64 {
        let mut inner = self.lock();
        inner.next_member += 1;
        let member = inner.next_member;
        inner.members.push(member);
        inner.balance();
        member
    }

    /// Removes a member and deals out its partitions.
    pub fn leave(&self, member: u64) {
        let mut inner = self.lock();
        inner.members.retain(|m| *m != member);
        inner.balance();
    }

    /// The generation.
    pub fn generation(&self) -> u64 {
        self.lock().generation
    }

    /// The generation, and the partitions of a member with the next offset wanted in each.
    pub fn assignment(&self, member: u64) -> (u64, Vec<(i32, u64)>) {
        let inner = self.lock();
        let of_member = inner.owners.iter().enumerate().filter(|(_, owner)| **owner == Some(member));
        let partitions = of_member.map(|(p, _)| (p as i32, inner.cursors[p].get().map_or(0, |value| value.offset)));
        (inner.generation, partitions.collect())
    }

    /// Stores how far the group is, if the member still owns the partition. Blocks on the disk.
    pub fn commit(&self, member: u64, partition: i32, next_offset: i64, metadata: &str) -> Result<(), BusError> {
        let mut inner = self.lock();
        let at = usize::try_from(partition).ok().filter(|p| inner.owners.get(*p) == Some(&Some(member)));
        let at = at.ok_or(BusError::NotAssigned { topic: self.topic, partition })?;
        inner.cursors[at].set(next_offset as u64, metadata.as_bytes()).map_err(|e| log_error(&e))
    }

    /// What the group has stored.
    pub fn committed(&self, partition: i32) -> Option<(i64, String)> {
        let inner = self.lock();
        let value = inner.cursors.get(usize::try_from(partition).ok()?)?.get()?;
        Some((value.offset as i64, String::from_utf8_lossy(&value.metadata).into_owned()))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Every member keeps what it has up to its share; the rest goes to those that have least.
    fn balance(&mut self) {
        self.generation += 1;
        let members = self.members.len();
        if members == 0 {
            self.owners.fill(None);
            return;
        }
        let (share, extra) = (self.owners.len() / members, self.owners.len() % members);
        let mut held = vec![0; members];
        let mut larger = 0;
        for owner in &mut self.owners {
            let place = owner.and_then(|o| self.members.iter().position(|m| *m == o));
            let may_keep = place.is_some_and(|p| held[p] < share || (held[p] == share && larger < extra));
            match place.filter(|_| may_keep) {
                Some(p) => {
                    larger += usize::from(held[p] == share);
                    held[p] += 1;
                }
                None => *owner = None,
            }
        }
        for owner in self.owners.iter_mut().filter(|owner| owner.is_none()) {
            let least = (0..members).min_by_key(|p| held[*p]).unwrap_or(0);
            held[least] += 1;
            *owner = Some(self.members[least]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(partitions: u32) -> (tempfile::TempDir, Group) {
        let dir = tempfile::tempdir().expect("folder");
        let group = Group::open(Topic::Events, dir.path(), partitions).expect("group");
        (dir, group)
    }

    fn held(group: &Group, member: u64) -> Vec<i32> {
        group.assignment(member).1.into_iter().map(|(p, _)| p).collect()
    }

    #[test]
    fn members_share_evenly_whoever_comes_and_goes() {
        let (_dir, group) = group(10);
        let mut members = vec![];
        for count in 1..=12 {
            members.push(group.join());
            let sizes: Vec<usize> = members.iter().map(|m| held(&group, *m).len()).collect();
            assert_eq!(sizes.iter().sum::<usize>(), 10, "{sizes:?}");
            assert!(sizes.iter().all(|s| (10 / count..=10usize.div_ceil(count)).contains(s)), "{sizes:?}");
        }
        for gone in members.drain(..11).collect::<Vec<_>>() {
            group.leave(gone);
        }
        assert_eq!(held(&group, members[0]).len(), 10);
    }

    #[test]
    fn a_newcomer_takes_only_its_share() {
        let (_dir, group) = group(4);
        let first = group.join();
        let before = held(&group, first);
        let second = group.join();
        assert_eq!(before.len(), 4);
        assert!(held(&group, first).iter().all(|p| before.contains(p)));
        assert_eq!((held(&group, first).len(), held(&group, second).len()), (2, 2));
    }

    #[test]
    fn a_member_that_lost_a_partition_cannot_commit_it() {
        let (_dir, group) = group(1);
        let first = group.join();
        group.commit(first, 0, 5, "mine").expect("owner");
        group.leave(first);
        let second = group.join();
        let refused = group.commit(first, 0, 9, "late");
        assert!(matches!(refused, Err(BusError::NotAssigned { partition: 0, .. })));
        assert_eq!(group.committed(0), Some((5, "mine".into())));
        group.commit(second, 0, 6, "").expect("new owner");
        for nonsense in [-1, 1, i32::MAX] {
            assert!(matches!(group.commit(second, nonsense, 1, ""), Err(BusError::NotAssigned { .. })));
        }
    }
}
