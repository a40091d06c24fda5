//! Without probes: a scan of /proc, again and again. It sees processes that live longer than the interval, and nothing
//! of files and network; it says so in its state.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use beffroi_schema::batch::HookState;

use crate::compose::{header_of_snapshot, record_of_snapshot};
use crate::procfs::{self, Snapshot};
use crate::raw::Raw;

/// Between two scans: a scan of a few hundred processes costs about 2 ms.
const INTERVAL: Duration = Duration::from_millis(200);

/// The scanner.
pub struct Fallback {
    /// Processes of the last scan, by number.
    known: HashMap<u32, Snapshot>,
    excluded: Vec<u32>,
    next: Instant,
    seen: u64,
}

impl Fallback {
    /// Takes what runs now as known.
    pub fn new(excluded: &[u32]) -> Self {
        let known = procfs::all_tgids().into_iter().filter_map(|tgid| Some((tgid, procfs::snapshot(tgid)?))).collect();
        Self { known, excluded: excluded.to_vec(), next: Instant::now() + INTERVAL, seen: 0 }
    }

    /// Leaves out a process.
    pub fn exclude(&mut self, tgid: u32) {
        self.excluded.push(tgid);
    }

    /// Time until the next scan.
    pub fn due_in(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Compares /proc with the last scan, if it is time.
    pub fn scan(&mut self, now_ns: u64, sink: &mut dyn FnMut(Raw)) {
        if self.due_in() > Duration::ZERO {
            return;
        }
        self.next = Instant::now() + INTERVAL;
        let mut gone = std::mem::take(&mut self.known);
        for tgid in procfs::all_tgids() {
            let Some(start_ticks) = procfs::start_ticks(tgid) else { continue };
            let before = gone.remove(&tgid).filter(|before| before.start_ticks == start_ticks);
            let Some(found) = procfs::snapshot(tgid) else { continue };
            // Kernel threads have no executable; a forked child that has not called exec shows its parent's.
            let is_new = before.is_none_or(|before| (&before.exe, &before.args) != (&found.exe, &found.args));
            if is_new && !found.exe.is_empty() && !self.excluded.contains(&tgid) {
                self.seen += 1;
                sink(record_of_snapshot(&found, procfs::start_ticks(found.ppid).unwrap_or(0), now_ns));
            }
            self.known.insert(tgid, found);
        }
        for found in gone.into_values().filter(|found| !self.excluded.contains(&found.tgid)) {
            sink(Raw::Gone(header_of_snapshot(&found, 0, now_ns)));
        }
    }

    /// What this source is worth.
    pub fn state(&self) -> HookState {
        HookState {
            name: "proc_scan".into(),
            on: true,
            why: "stands in for the kernel probes: processes shorter than 200 ms, exit codes, files and network are not seen"
                .into(),
            seen: self.seen,
            dropped: 0,
        }
    }
}
