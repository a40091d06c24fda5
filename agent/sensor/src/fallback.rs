//! Without probes: a scan of /proc, again and again. It sees processes that live longer than the interval, and nothing
//! of files and network; it says so in its state.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use beffroi_schema::batch::HookState;

use crate::process::NS_PER_TICK;
use crate::procfs::{self, Snapshot};
use crate::raw::{Exec, Header, Raw};

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

/// The record that a new process found in /proc would have made; the fallback source feeds these.
fn record_of_snapshot(found: &Snapshot, parent_start_ticks: u64, ts: u64) -> Raw {
    Raw::Exec(Box::new(Exec {
        header: header_of_snapshot(found, parent_start_ticks, ts),
        comm: found.comm.clone(),
        exe: found.exe.clone(),
        cwd: found.cwd.clone(),
        given: found.exe.clone(),
        cgroup_name: found.cgroup.clone(),
        args: found.args.clone(),
    }))
}

/// Who and when, from /proc.
fn header_of_snapshot(found: &Snapshot, parent_start_ticks: u64, ts: u64) -> Header {
    Header {
        ts,
        start: found.start_ticks * NS_PER_TICK,
        tgid: found.tgid,
        tid: found.tgid,
        uid: found.uid,
        gid: found.gid,
        euid: found.euid,
        loginuid: found.loginuid,
        sessionid: found.sessionid,
        ppid: found.ppid,
        pstart: parent_start_ticks * NS_PER_TICK,
        // Control groups have no number in /proc: one per text is enough for the cache.
        cgroup: text_number(&found.cgroup),
        ..Header::default()
    }
}

/// A number for a text (FNV-1a); equal texts have equal numbers.
fn text_number(text: &[u8]) -> u64 {
    text.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
