//! When to try again: exponential pauses with jitter, and what a busy gateway asks for.
//!
//! Owns the pause. Jitter spreads a fleet that lost its gateway at the same second over the whole pause.

use std::time::Duration;

use tokio::time::Instant;

/// First pause after a failure.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause: an alert is at most this late after the gateway is back.
const LONGEST: Duration = Duration::from_secs(60);

/// The pause before the next request.
#[derive(Debug, Default)]
pub struct Pacing {
    failures: u32,
    not_before: Option<Instant>,
}

impl Pacing {
    /// No pause.
    pub fn new() -> Self {
        Self::default()
    }

    /// A request was answered well.
    pub fn succeeded(&mut self) {
        self.failures = 0;
        self.not_before = None;
    }

    /// A request failed. `asked` is what the gateway wants, already capped; it is a minimum. Returns the pause.
    pub fn failed(&mut self, asked: Option<Duration>, jitter: f64, now: Instant) -> Duration {
        // Requests that were on the way together fail together: that is one failure.
        if self.wait(now).is_none() {
            self.failures = self.failures.saturating_add(1);
        }
        let ceiling = FIRST.saturating_mul(1 << self.failures.saturating_sub(1).min(10)).min(LONGEST);
        // Between half and all of the ceiling; on top of what was asked, a tenth of it.
        let pause = match asked {
            Some(asked) => asked + asked.mul_f64(0.1 * jitter),
            None => ceiling.mul_f64(0.5 + 0.5 * jitter),
        };
        let until = now + pause;
        // Several requests may fail at once: the longest pause counts.
        self.not_before = Some(self.not_before.map_or(until, |known| known.max(until)));
        pause
    }

    /// How long to wait still; `None` when a request may go now.
    pub fn wait(&self, now: Instant) -> Option<Duration> {
        let left = self.not_before?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }
}

/// A random number from 0 to 1.
pub fn jitter() -> f64 {
    getrandom::u32().map_or(0.5, |random| f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_cap_and_end_with_a_success() {
        let (mut pacing, mut now) = (Pacing::new(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..20 {
            pauses.push(pacing.failed(None, 1.0, now));
            now += LONGEST;
        }
        assert_eq!(pauses[0], FIRST);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]));
        assert_eq!(pauses[19], LONGEST);
        pacing.failed(None, 1.0, now);
        assert!(pacing.wait(now).is_some());
        pacing.succeeded();
        assert!(pacing.wait(now).is_none());
    }

    #[test]
    fn requests_that_fail_together_are_one_failure() {
        let (mut pacing, now) = (Pacing::new(), Instant::now());
        assert_eq!([(); 3].map(|()| pacing.failed(None, 1.0, now)), [FIRST; 3]);
        assert_eq!(pacing.failed(None, 1.0, now + FIRST), FIRST * 2);
    }

    #[test]
    fn what_the_gateway_asks_for_is_a_minimum() {
        let (mut pacing, now) = (Pacing::new(), Instant::now());
        let asked = Duration::from_secs(7);
        assert!(pacing.failed(Some(asked), 0.0, now) >= asked);
        assert!(pacing.failed(Some(asked), 1.0, now) <= asked.mul_f64(1.1));
    }
}
