//! Without probes: what the kernel's process connector tells, completed from /proc; where that cannot be had, a scan of
//! /proc, again and again. Neither sees files and network, and both say what they do not see.
//!
//! The connector's messages carry numbers only, so what a process runs is read from /proc at once. One that ended before
//! is reported all the same: its number, parent and end are known, what it ran is not.

mod connector;

use std::collections::HashMap;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use beffroi_schema::batch::HookState;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::clock;
use crate::error::SensorError;
use crate::process::NS_PER_TICK;
use crate::procfs::{self, Snapshot};
use crate::raw::{Exec, FLAG_ARGS_HOLE, Header, Raw};
use connector::{Connector, Deed, Happened};

/// Between two scans: a scan of a few hundred processes costs about 2 ms.
const INTERVAL: Duration = Duration::from_millis(200);

/// Name of the source in hooks and gaps.
const CONNECTOR: &str = "proc_connector";
const SCAN: &str = "proc_scan";

/// The stand-in.
pub struct Fallback {
    /// Processes that run, by number, as far as they were seen.
    known: HashMap<u32, Snapshot>,
    excluded: Vec<u32>,
    connector: Option<Connector>,
    /// Why there is no connector.
    without: String,
    /// Messages that were lost before the last scan.
    lost_before: u64,
    next: Instant,
    seen: u64,
}

impl Fallback {
    /// Takes what runs now as known. With `use_connector`, the scan is only what is done where that cannot be had.
    pub fn new(excluded: &[u32], use_connector: bool) -> Self {
        // Before the first look at /proc: what starts in between is told.
        let opened = if use_connector { Connector::open() } else { Err(io::Error::other("not asked for")) };
        let (connector, without) = match opened {
            Ok(connector) => (Some(connector), String::new()),
            Err(error) => (None, error.to_string()),
        };
        let known = procfs::all_tgids().into_iter().filter_map(|tgid| Some((tgid, procfs::snapshot(tgid)?))).collect();
        let next = Instant::now() + INTERVAL;
        Self { known, excluded: excluded.to_vec(), connector, without, lost_before: 0, next, seen: 0 }
    }

    /// Leaves out a process.
    pub fn exclude(&mut self, tgid: u32) {
        self.excluded.push(tgid);
    }

    /// Name of the source, for gaps.
    pub fn name(&self) -> &'static str {
        if self.connector.is_some() { CONNECTOR } else { SCAN }
    }

    /// Messages lost since the start.
    pub fn lost(&self) -> u64 {
        self.connector.as_ref().map_or(0, Connector::lost)
    }

    /// Waits until there may be something to report or the time is over.
    ///
    /// # Errors
    /// [`SensorError::Wait`]; an interruption by a signal is none.
    pub fn wait(&self, timeout: Duration) -> Result<(), SensorError> {
        let Some(connector) = &self.connector else {
            std::thread::sleep(timeout.min(self.next.saturating_duration_since(Instant::now())));
            return Ok(());
        };
        let descriptor = connector.descriptor();
        let mut fds = [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::Error::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Reports what happened since the last time.
    pub fn drain(&mut self, now_ns: u64, sink: &mut dyn FnMut(Raw)) {
        let Some(connector) = &mut self.connector else {
            if Instant::now() >= self.next {
                self.next = Instant::now() + INTERVAL;
                self.scan(now_ns, sink);
            }
            return;
        };
        let happened = connector.drain();
        let lost = connector.lost();
        // The messages count from boot without the time asleep.
        let asleep = clock::boot_ns().saturating_sub(clock::monotonic_ns());
        for one in happened {
            self.take(&one, one.ts + asleep, sink);
        }
        if lost > self.lost_before {
            self.lost_before = lost;
            self.scan(now_ns, sink);
        }
    }

    fn take(&mut self, one: &Happened, ts: u64, sink: &mut dyn FnMut(Raw)) {
        match one.deed {
            Deed::Fork { parent } => {
                let child = self.child_of(parent, one.tgid, ts);
                let raw = Raw::Fork(self.header(&child, ts));
                self.known.insert(one.tgid, child);
                self.report(one.tgid, raw, sink);
            }
            Deed::Exec => {
                let raw = self.exec(one.tgid, ts);
                self.seen += 1;
                self.report(one.tgid, raw, sink);
            }
            Deed::Exit { status } => {
                let Some(found) = self.known.remove(&one.tgid) else { return };
                let raw = Raw::Exit(self.header(&found, ts), status);
                self.report(one.tgid, raw, sink);
                self.excluded.retain(|excluded| *excluded != one.tgid);
            }
        }
    }

    fn report(&self, tgid: u32, raw: Raw, sink: &mut dyn FnMut(Raw)) {
        if !self.excluded.contains(&tgid) {
            sink(raw);
        }
    }

    /// A child as its parent's copy, which it is until it calls exec.
    fn child_of(&self, parent: u32, tgid: u32, ts: u64) -> Snapshot {
        let start_ticks = procfs::start_ticks(tgid).unwrap_or(ts / NS_PER_TICK);
        let like = self.known.get(&parent).cloned().unwrap_or_else(|| unknown(parent));
        Snapshot { tgid, ppid: parent, start_ticks, ..like }
    }

    /// A process that has called exec, from /proc; if it has ended since, what was known of it without what it ran.
    fn exec(&mut self, tgid: u32, ts: u64) -> Raw {
        let before = self.known.get(&tgid);
        let found = procfs::snapshot(tgid).filter(|found| {
            let same = before.is_none_or(|before| before.start_ticks == found.start_ticks);
            // A process that has ended and was not waited for is there and has no executable.
            same && !found.exe.is_empty()
        });
        let is_known = found.is_some();
        let found = found.unwrap_or_else(|| {
            let like = before.cloned().unwrap_or_else(|| Snapshot { tgid, start_ticks: ts / NS_PER_TICK, ..unknown(0) });
            Snapshot { comm: Vec::new(), exe: Vec::new(), args: Vec::new(), ..like }
        });
        let mut header = self.header(&found, ts);
        if !is_known {
            header.flags |= FLAG_ARGS_HOLE;
        }
        let raw = record_of_snapshot(&found, header);
        self.known.insert(tgid, found);
        raw
    }

    fn header(&self, found: &Snapshot, ts: u64) -> Header {
        let parent = self.known.get(&found.ppid).map(|parent| parent.start_ticks);
        header_of_snapshot(found, parent.or_else(|| procfs::start_ticks(found.ppid)).unwrap_or(0), ts)
    }

    /// Compares /proc with what is known.
    fn scan(&mut self, now_ns: u64, sink: &mut dyn FnMut(Raw)) {
        let mut gone = std::mem::take(&mut self.known);
        for tgid in procfs::all_tgids() {
            let Some(start_ticks) = procfs::start_ticks(tgid) else { continue };
            let before = gone.remove(&tgid).filter(|before| before.start_ticks == start_ticks);
            let Some(found) = procfs::snapshot(tgid) else { continue };
            // Kernel threads have no executable; a forked child that has not called exec shows its parent's.
            let is_new = before.is_none_or(|before| (&before.exe, &before.args) != (&found.exe, &found.args));
            if is_new && !found.exe.is_empty() {
                self.seen += 1;
                let parent = procfs::start_ticks(found.ppid).unwrap_or(0);
                self.report(tgid, record_of_snapshot(&found, header_of_snapshot(&found, parent, now_ns)), sink);
            }
            self.known.insert(tgid, found);
        }
        for found in gone.into_values() {
            self.report(found.tgid, Raw::Gone(header_of_snapshot(&found, 0, now_ns)), sink);
        }
    }

    /// What this source is worth.
    pub fn state(&self) -> HookState {
        let why = match &self.connector {
            Some(_) => {
                "stands in for the kernel probes: what a process ran that ended at once, files and network are not seen".into()
            }
            None => format!(
                "stands in for the kernel probes: processes shorter than 200 ms, exit codes, files and network are not seen \
                 (no process connector: {})",
                self.without
            ),
        };
        HookState { name: self.name().into(), on: true, why, seen: self.seen, dropped: self.lost() }
    }
}

/// A process of which nothing is known but its number.
fn unknown(tgid: u32) -> Snapshot {
    Snapshot {
        tgid,
        ppid: 0,
        start_ticks: 0,
        comm: Vec::new(),
        exe: Vec::new(),
        cwd: Vec::new(),
        args: Vec::new(),
        uid: u32::MAX,
        euid: u32::MAX,
        gid: u32::MAX,
        loginuid: u32::MAX,
        sessionid: u32::MAX,
        cgroup: Vec::new(),
    }
}

/// The record that a new process found in /proc would have made; the fallback source feeds these.
fn record_of_snapshot(found: &Snapshot, header: Header) -> Raw {
    Raw::Exec(Box::new(Exec {
        header,
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
