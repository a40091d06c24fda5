//! When to look at the spool: its logs give a sign when there is something new, so that an idle host wakes nobody and a busy
//! one no later than before.
//!
//! Owns the signs. Where there are none (no inotify instance is to be had, a log is not made yet), the logs are looked at
//! every few milliseconds instead.

use std::io;
use std::time::Duration;

use beffroi_log::Signs;
use beffroi_schema::Stream;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::Instant;

use crate::layout::Layout;

/// How often the logs are looked at without signs: the price of latency is one small read per stream.
const POLL: Duration = Duration::from_millis(10);
/// How often all the same with them: nothing hangs on one sign alone.
const LOOK: Duration = Duration::from_secs(1);

/// The logs' signs.
pub(super) struct Bell {
    signs: Option<AsyncFd<Signs>>,
    look_due: Instant,
}

impl Bell {
    /// Needs the runtime's context.
    pub(super) fn new(layout: &Layout) -> Self {
        let signs = Signs::of(Stream::ALL.map(|stream| layout.spool(stream))).and_then(|signs| {
            // SAFETY: the descriptor is the signs' own; it stays open and the same until they are dropped, which only the
            // `AsyncFd` does that owns them from here on.
            unsafe { AsyncFd::register_with_interest(signs, Interest::READABLE) }.map_err(io::Error::from)
        });
        if let Err(error) = &signs {
            tracing::warn!(%error, "the spool gives no signs; it is looked at every {} ms instead", POLL.as_millis());
        }
        Self { signs: signs.ok(), look_due: Instant::now() }
    }

    /// Whether all logs must be looked at now, whatever gave a sign.
    pub(super) fn is_look_due(&mut self) -> bool {
        if self.patience() == LOOK && Instant::now() < self.look_due {
            return false;
        }
        if let Some(signs) = self.signs.as_mut().map(AsyncFd::get_mut)
            && !signs.are_complete()
        {
            signs.rearm();
        }
        self.look_due = Instant::now() + LOOK;
        true
    }

    /// How long nobody need look at the logs unless there is a sign.
    pub(super) fn patience(&self) -> Duration {
        let gives_signs = self.signs.as_ref().is_some_and(|signs| signs.get_ref().are_complete());
        if gives_signs { LOOK } else { POLL }
    }

    /// Waits for signs; for ever where there are none. Says which streams' logs to look at, by number.
    pub(super) async fn rung(&mut self) -> Vec<usize> {
        loop {
            let Some(signs) = &mut self.signs else { return std::future::pending().await };
            let taken = match signs.readable_mut().await {
                Ok(mut ready) => match ready.try_io(|signs| signs.get_mut().take()) {
                    Ok(taken) => taken,
                    // Somebody has taken it: wait for the next.
                    Err(_) => continue,
                },
                Err(error) => Err(error),
            };
            return taken.unwrap_or_else(|error| self.give_up(&error));
        }
    }

    fn give_up(&mut self, error: &io::Error) -> Vec<usize> {
        tracing::warn!(%error, "the spool gives no more signs; it is looked at every {} ms instead", POLL.as_millis());
        self.signs = None;
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use beffroi_log::{LogWriter, Options};
    use tokio::time::timeout;

    use super::*;
    use crate::users::User;

    #[tokio::test]
    async fn a_sync_rings_and_a_spool_that_is_not_there_yet_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.prepare(&User::current()).unwrap();
        let mut bell = Bell::new(&layout);
        assert!(bell.patience() == POLL && bell.is_look_due() && bell.is_look_due());
        let mut logs = Stream::ALL.map(|stream| LogWriter::open(layout.spool(stream), Options::default()).unwrap().0);
        assert!(bell.is_look_due() && bell.patience() == LOOK && !bell.is_look_due());
        assert!(timeout(Duration::from_millis(50), bell.rung()).await.is_err(), "nobody has rung");
        for (stream, log) in logs.iter_mut().enumerate() {
            log.append(1, b"x").unwrap();
            log.sync().unwrap();
            assert_eq!(timeout(Duration::from_secs(10), bell.rung()).await.unwrap(), [stream]);
        }
        assert!(timeout(Duration::from_millis(50), bell.rung()).await.is_err(), "each sign is told once");
    }
}
