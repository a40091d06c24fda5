//! Starts of `/bin/true` at a steady rate, as high as the machine can up to what is asked.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Threads that start programs: one alone waits most of the time for its child.
const STARTERS: u32 = 2;

/// Programs being started until it is dropped.
pub struct Execs {
    stop: Arc<AtomicBool>,
    started: Arc<AtomicU64>,
    starters: Vec<JoinHandle<Result<()>>>,
}

impl Execs {
    /// Begins with so many starts per second.
    pub fn begin(per_second: u32) -> Result<Self> {
        let mut execs = Self { stop: Arc::default(), started: Arc::default(), starters: Vec::new() };
        let every = Duration::from_secs(1) * STARTERS / per_second;
        for _ in 0..STARTERS {
            let (stop, started) = (execs.stop.clone(), execs.started.clone());
            let starter = std::thread::Builder::new().name("starter".into());
            execs.starters.push(starter.spawn(move || start_every(every, &stop, &started))?);
        }
        Ok(execs)
    }

    /// Programs started so far.
    pub fn started(&self) -> u64 {
        self.started.load(Ordering::Relaxed)
    }

    /// Stops; says how many programs were started, or what went wrong.
    pub fn end(mut self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for starter in std::mem::take(&mut self.starters) {
            starter.join().unwrap_or_else(|_| Err(anyhow::anyhow!("a starting thread failed")))?;
        }
        Ok(self.started())
    }
}

impl Drop for Execs {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for starter in self.starters.drain(..) {
            let _ = starter.join();
        }
    }
}

/// A late start is not made up for later: the rate is a limit, not an average to be reached by bursts.
fn start_every(every: Duration, stop: &AtomicBool, started: &AtomicU64) -> Result<()> {
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let child = Command::new("/bin/true").stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        child.and_then(|mut child| child.wait()).context("cannot run /bin/true")?;
        started.fetch_add(1, Ordering::Relaxed);
        due = (due + every).max(Instant::now() - every);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_not_exceeded() {
        let begun = Instant::now();
        let execs = Execs::begin(200).unwrap();
        while execs.started() < 20 {
            std::thread::yield_now();
        }
        let took = begun.elapsed();
        execs.end().unwrap();
        // Both threads start at once and may each be one interval ahead.
        assert!(took >= Duration::from_millis(70), "{took:?}");
    }
}
