//! The groups of one correlation in one scope, the least recently used first.

use std::collections::{BTreeSet, HashMap};
use std::hash::BuildHasherDefault;

use super::fields::Group;
use super::number::Measure;
use super::plan::Plan;
use super::slide::Hashed;
use super::window::{Brought, Window};

/// Bytes of a group beyond its window and values: keys, order, allocations.
const GROUP_BYTES: usize = 256;

/// One group.
#[derive(Debug)]
pub(crate) struct Kept<R> {
    pub group: Group,
    pub window: Window<R>,
    /// Time of its newest event.
    pub last: i64,
    /// Time of the match that the present run made; none while the condition does not hold.
    pub matched: Option<i64>,
    bytes: usize,
}

impl<R: Clone + Ord> Kept<R> {
    pub(crate) fn new(group: Group, window: Window<R>, last: i64, matched: Option<i64>) -> Self {
        Self { group, window, last, matched, bytes: 0 }
    }

    fn weigh(&self) -> usize {
        let values: usize = self.group.iter().map(|(_, value)| 32 + value.as_ref().map_or(0, |value| value.len())).sum();
        GROUP_BYTES + values + self.window.bytes()
    }
}

/// What an event did to its group.
#[derive(Debug)]
pub(crate) struct Touched {
    /// Whether the condition holds, and what it was compared with.
    pub holds: Option<Measure>,
    /// Whether this is the match of a run.
    pub is_match: bool,
    /// Events that left the window early.
    pub crowded_out: usize,
}

/// Groups by key.
#[derive(Debug)]
pub(crate) struct Shelf<R> {
    groups: HashMap<u128, Kept<R>, BuildHasherDefault<Hashed>>,
    /// By the time of their newest event.
    order: BTreeSet<(i64, u128)>,
    bytes: usize,
}

impl<R> Default for Shelf<R> {
    fn default() -> Self {
        Self { groups: HashMap::default(), order: BTreeSet::new(), bytes: 0 }
    }
}

impl<R: Clone + Ord> Shelf<R> {
    pub(crate) fn len(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn get(&self, key: u128) -> Option<&Kept<R>> {
        self.groups.get(&key)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&u128, &Kept<R>)> {
        self.groups.iter()
    }

    /// Puts a group there; one with the same key is replaced.
    pub(crate) fn put(&mut self, key: u128, mut kept: Kept<R>) {
        self.remove(key);
        kept.bytes = kept.weigh();
        self.bytes += kept.bytes;
        self.order.insert((kept.last, key));
        self.groups.insert(key, kept);
    }

    /// Adds an event to a group and judges its condition. `new` makes the group's values where it is not there yet.
    pub(crate) fn touch(
        &mut self,
        plan: &Plan,
        key: u128,
        new: impl FnOnce() -> Group,
        (time, event): (i64, &R),
        brought: &[Brought],
        max: usize,
    ) -> Touched {
        let kept = self.groups.entry(key).or_insert_with(|| {
            self.order.insert((time, key));
            Kept::new(new(), Window::new(plan.kind, plan.rules.len()), time, None)
        });
        if kept.last != time {
            self.order.remove(&(kept.last, key));
            self.order.insert((time, key));
            kept.last = time;
        }
        let start = time.saturating_sub(plan.span);
        kept.window.evict(start);
        let crowded_out = brought.iter().map(|brought| kept.window.push(time, event, *brought, max)).sum();
        let holds = kept.window.measure().filter(|measure| plan.asked.holds(*measure, kept.window.present()));
        let is_match = holds.is_some() && kept.matched.is_none_or(|matched| matched < start);
        kept.matched = if is_match { Some(time) } else { kept.matched.filter(|_| holds.is_some()) };
        let bytes = kept.weigh();
        self.bytes = self.bytes - kept.bytes + bytes;
        kept.bytes = bytes;
        Touched { holds, is_match, crowded_out }
    }

    /// Forgets groups whose newest event is before `start`: their windows are empty.
    pub(crate) fn expire(&mut self, start: i64) {
        while let Some((last, key)) = self.order.first().copied()
            && last < start
        {
            self.remove(key);
        }
    }

    /// Forgets the least recently used groups, at least one.
    pub(crate) fn forget(&mut self, count: usize) -> usize {
        let oldest: Vec<u128> = self.order.iter().take(count.max(1)).map(|(_, key)| *key).collect();
        oldest.iter().for_each(|key| self.remove(*key));
        oldest.len()
    }

    fn remove(&mut self, key: u128) {
        if let Some(kept) = self.groups.remove(&key) {
            self.order.remove(&(kept.last, key));
            self.bytes -= kept.bytes;
        }
    }
}
