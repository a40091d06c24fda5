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

use crate::layout::Layout;

/// How often the logs are looked at without signs: the price of latency is one small read per stream.
const POLL: Duration = Duration::from_millis(10);
/// How often all the same with them: nothing hangs on one sign alone.
const LOOK: Duration = Duration::from_secs(1);

/// The logs' signs.
pub(super) struct Bell {
    signs: Option<AsyncFd<Signs>>,
}

impl Bell {
    /// Needs the runtime's context.
    pub(super) fn new(layout: &Layout) -> Self {
        let signs = Signs::of(Stream::ALL.map(|stream| layout.spool(stream)));
        let signs = signs.and_then(|signs| AsyncFd::with_interest(signs, Interest::READABLE));
        if let Err(error) = &signs {
            tracing::warn!(%error, "the spool gives no signs; it is looked at every {} ms instead", POLL.as_millis());
        }
        Self { signs: signs.ok() }
    }

    /// How long nobody need look at the logs unless there is a sign. Call it before looking.
    pub(super) fn patience(&mut self) -> Duration {
        let Some(signs) = self.signs.as_mut().map(AsyncFd::get_mut) else { return POLL };
        if !signs.are_complete() {
            signs.rearm();
        }
        if signs.are_complete() { LOOK } else { POLL }
    }

    /// Waits for a sign; for ever where there are none.
    pub(super) async fn rung(&mut self) {
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
            return self.keep(taken);
        }
    }

    fn keep(&mut self, taken: io::Result<()>) {
        if let Err(error) = taken {
            tracing::warn!(%error, "the spool gives no more signs; it is looked at every {} ms instead", POLL.as_millis());
            self.signs = None;
        }
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
        assert_eq!(bell.patience(), POLL);
        let mut logs = Stream::ALL.map(|stream| LogWriter::open(layout.spool(stream), Options::default()).unwrap().0);
        assert_eq!(bell.patience(), LOOK);
        assert!(timeout(Duration::from_millis(50), bell.rung()).await.is_err(), "nobody has rung");
        for log in &mut logs {
            log.append(1, b"x").unwrap();
            log.sync().unwrap();
            timeout(Duration::from_secs(10), bell.rung()).await.unwrap();
        }
        assert!(timeout(Duration::from_millis(50), bell.rung()).await.is_err(), "each sign is told once");
    }
}
