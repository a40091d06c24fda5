//! SIGTERM and SIGINT as a flag, for processes that are threads.
//!
//! Owns the signals' mask: they are blocked in every thread, and one thread waits for them. Call [`Stop::on_signals`]
//! before any other thread is started. A child process inherits the mask: one that handles the signals by other means
//! calls [`unblock`] first.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getppid};

/// Whether to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Set at SIGTERM or SIGINT. A second signal ends the process at once.
    ///
    /// # Errors
    /// The signals cannot be blocked or no thread can be had.
    pub fn on_signals() -> io::Result<Self> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGTERM);
        signals.add(Signal::SIGINT);
        signals.thread_block()?;
        let stop = Self::default();
        let set = stop.clone();
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for turn in 0.. {
                if signals.wait().is_err() {
                    return;
                }
                if turn > 0 {
                    std::process::exit(130);
                }
                set.set();
            }
        })?;
        Ok(stop)
    }

    /// Asks for a stop.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether to stop.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Lets SIGTERM and SIGINT through again, whatever the parent has blocked.
///
/// # Errors
/// The operating system refuses.
pub fn unblock() -> io::Result<()> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    Ok(signals.thread_unblock()?)
}

/// Ends this process in order (SIGTERM) when its parent ends. `parent` is who started it: it may be gone already.
///
/// # Errors
/// The parent is gone, or the operating system refuses.
pub fn end_with(parent: i32) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    if getppid() == Pid::from_raw(parent) { Ok(()) } else { Err(io::Error::other("the supervisor is gone")) }
}
