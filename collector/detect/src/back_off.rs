//! Pauses after the bus failed, each twice as long as the one before: the detector and its correlations wait alike.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// First pause, and the longest: a broker that fails over is away for some seconds.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// The pause that comes next.
#[derive(Debug)]
pub(crate) struct BackOff(Duration);

impl BackOff {
    pub(crate) fn new() -> Self {
        Self(FIRST)
    }

    /// How long the next pause is.
    pub(crate) fn pause(&self) -> Duration {
        self.0
    }

    /// The bus answered: the next failure begins with a short pause again.
    pub(crate) fn worked(&mut self) {
        self.0 = FIRST;
    }

    /// Waits. False when `shutdown` came first.
    pub(crate) async fn wait(&mut self, shutdown: &CancellationToken) -> bool {
        shutdown.run_until_cancelled(tokio::time::sleep(self.lengthen())).await.is_some()
    }

    /// The pause to be made now; the next one is twice as long.
    fn lengthen(&mut self) -> Duration {
        let pause = self.0;
        self.0 = pause.saturating_mul(2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_once_it_worked() {
        let mut back_off = BackOff::new();
        for expected in [200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            assert_eq!(back_off.lengthen(), Duration::from_millis(expected));
        }
        back_off.worked();
        assert_eq!(back_off.pause(), FIRST);
    }

    #[tokio::test]
    async fn a_stop_ends_the_longest_pause() {
        let (mut back_off, stop) = (BackOff(Duration::MAX), CancellationToken::new());
        stop.cancel();
        assert!(!back_off.wait(&stop).await);
    }
}
