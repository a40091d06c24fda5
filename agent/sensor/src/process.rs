//! The process table: who started whom, with which image, under which user.
//!
//! Bounded: when it is full, processes that ended longest ago go first. Ended processes stay until then, so that children
//! that outlive their parent and records that arrive late still find it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use beffroi_schema::Text;
use beffroi_schema::limits::MAX_ANCESTORS;

/// Kernel nanoseconds of one tick of /proc's start times.
pub const NS_PER_TICK: u64 = 10_000_000;

/// Bytes of a command line that the table keeps for parent and ancestor fields: with [`MAX_PROCESSES`] it bounds the
/// table to about 80 MiB in the worst case. The process's own event carries all of it.
pub const KEPT_COMMAND_LINE: usize = 4_096;
/// Processes in the table: a busy build host has a few thousand alive; the rest is the memory of recent ends.
pub const MAX_PROCESSES: usize = 16_384;

/// A process, told apart from a later one with the same number by its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Process number in the initial pid namespace.
    pub tgid: u32,
    /// Start since boot in ticks of 10 ms.
    pub start_ticks: u64,
}

impl Key {
    /// From the kernel's nanoseconds.
    pub fn new(tgid: u32, start_ns: u64) -> Self {
        Self { tgid, start_ticks: start_ns / NS_PER_TICK }
    }
}

/// Ancestors of a process, nearest first.
#[derive(Debug, Clone)]
pub struct Lineage {
    /// Their ids.
    pub guids: Arc<[Text]>,
    /// Their executables.
    pub images: Arc<[Text]>,
    /// Their masked command lines, cut to [`KEPT_COMMAND_LINE`].
    pub command_lines: Arc<[Text]>,
}

impl Default for Lineage {
    fn default() -> Self {
        Self { guids: Arc::new([]), images: Arc::new([]), command_lines: Arc::new([]) }
    }
}

/// One process.
#[derive(Debug, Clone)]
pub struct Process {
    /// ProcessGuid.
    pub guid: Text,
    /// Who made it.
    pub parent: Key,
    /// Executable; empty where it is not known.
    pub image: Text,
    /// Masked command line, cut to [`KEPT_COMMAND_LINE`].
    pub command_line: Text,
    /// Name of the real user.
    pub user: Option<Text>,
    /// Container.
    pub container: Option<Text>,
    /// Images it has had since it was made, as far as they were seen.
    pub exec_seq: u64,
    /// Ancestors at its last exec, or when they were first asked for.
    pub lineage: Option<Lineage>,
}

/// The table.
#[derive(Default)]
pub struct Table {
    processes: HashMap<Key, Process>,
    ended: VecDeque<Key>,
    arrived: VecDeque<Key>,
}

impl Table {
    /// A process.
    pub fn get(&self, key: Key) -> Option<&Process> {
        self.processes.get(&key)
    }

    /// A process, to be changed.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Process> {
        self.processes.get_mut(&key)
    }

    /// Adds or replaces a process.
    pub fn insert(&mut self, key: Key, process: Process) {
        if self.processes.insert(key, process).is_none() {
            self.arrived.push_back(key);
        }
        while self.processes.len() > MAX_PROCESSES {
            let Some(oldest) = self.ended.pop_front().or_else(|| self.arrived.pop_front()) else { break };
            self.processes.remove(&oldest);
        }
        // Keys that left through the other queue stay behind; sweep them before they add up.
        if self.arrived.len() > 2 * MAX_PROCESSES {
            self.arrived.retain(|key| self.processes.contains_key(key));
        }
    }

    /// Marks the end of a process.
    pub fn end(&mut self, key: Key) {
        if self.processes.contains_key(&key) {
            self.ended.push_back(key);
        }
    }

    /// Processes known.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    /// Ancestors of a process with this parent, as they stand now.
    pub fn lineage_through(&self, parent: Key) -> Lineage {
        let Some(process) = self.get(parent) else { return Lineage::default() };
        let above = match &process.lineage {
            Some(known) => known.clone(),
            None => self.walk(process.parent),
        };
        let prepend = |first: &Text, rest: &Arc<[Text]>| -> Arc<[Text]> {
            std::iter::once(first).chain(rest.iter()).take(MAX_ANCESTORS).cloned().collect()
        };
        Lineage {
            guids: prepend(&process.guid, &above.guids),
            images: prepend(&process.image, &above.images),
            command_lines: prepend(&process.command_line, &above.command_lines),
        }
    }

    /// The same without any memory, by following the parents.
    fn walk(&self, mut key: Key) -> Lineage {
        let mut chain = Vec::new();
        while let Some(process) = self.get(key)
            && chain.len() < MAX_ANCESTORS
        {
            chain.push(process);
            if process.parent == key {
                break;
            }
            key = process.parent;
        }
        Lineage {
            guids: chain.iter().map(|process| process.guid.clone()).collect(),
            images: chain.iter().map(|process| process.image.clone()).collect(),
            command_lines: chain.iter().map(|process| process.command_line.clone()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(name: &str, parent: Key) -> Process {
        Process {
            guid: name.as_bytes().into(),
            parent,
            image: format!("/bin/{name}").into_bytes().into(),
            command_line: name.as_bytes().into(),
            user: None,
            container: None,
            exec_seq: 1,
            lineage: None,
        }
    }

    fn key(tgid: u32) -> Key {
        Key { tgid, start_ticks: u64::from(tgid) }
    }

    #[test]
    fn ancestors_come_nearest_first_and_stop_at_the_limit() {
        let mut table = Table::default();
        for tgid in 1..=40 {
            table.insert(key(tgid), process(&format!("p{tgid}"), key(tgid - 1)));
        }
        let lineage = table.lineage_through(key(40));
        assert_eq!(lineage.images.len(), MAX_ANCESTORS);
        assert_eq!(&*lineage.images[0], b"/bin/p40");
        assert_eq!(&*lineage.guids[15], b"p25");
        assert!(table.lineage_through(key(999)).images.is_empty());
    }

    #[test]
    fn a_process_that_is_its_own_parent_ends_the_walk() {
        let mut table = Table::default();
        table.insert(key(1), process("init", key(1)));
        assert_eq!(table.lineage_through(key(1)).images.len(), 2);
    }

    #[test]
    fn a_full_table_forgets_ended_processes_first() {
        let mut table = Table::default();
        for tgid in 1..=MAX_PROCESSES as u32 {
            table.insert(key(tgid), process("p", key(0)));
        }
        table.end(key(500));
        table.insert(key(1_000_000), process("new", key(0)));
        assert_eq!(table.len(), MAX_PROCESSES);
        assert!(table.get(key(500)).is_none());
        assert!(table.get(key(1)).is_some());
        table.insert(key(1_000_001), process("new", key(0)));
        assert!(table.get(key(1)).is_none());
    }
}
