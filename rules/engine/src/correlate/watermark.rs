//! How far the time of events has come, over several sources that do not wait for each other.

use std::collections::BTreeMap;

/// How long after an event others may come that happened before it: enough for batches of other streams and hosts.
pub const LATENESS_US: i64 = 10_000_000;

/// The time behind which no more events are expected: the newest event of the slowest source, less the lateness.
#[derive(Debug, Clone)]
pub struct Watermark {
    lateness_us: i64,
    newest: BTreeMap<i32, i64>,
}

impl Default for Watermark {
    fn default() -> Self {
        Self::new(LATENESS_US)
    }
}

impl Watermark {
    /// No source yet.
    pub fn new(lateness_us: i64) -> Self {
        Self { lateness_us, newest: BTreeMap::new() }
    }

    /// A source has come to this time.
    pub fn see(&mut self, source: i32, time_us: i64) {
        let newest = self.newest.entry(source).or_insert(time_us);
        *newest = time_us.max(*newest);
    }

    /// A source has ended, or has nothing to say: the others do not wait for it.
    pub fn forget(&mut self, source: i32) {
        self.newest.remove(&source);
    }

    /// The watermark; none while no source is known.
    pub fn get(&self) -> Option<i64> {
        self.newest.values().min().map(|newest| newest.saturating_sub(self.lateness_us))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_source_decides_until_it_is_forgotten() {
        let mut watermark = Watermark::new(10);
        assert_eq!(watermark.get(), None);
        watermark.see(0, 100);
        watermark.see(1, 50);
        watermark.see(1, 40);
        assert_eq!(watermark.get(), Some(40));
        watermark.forget(1);
        assert_eq!(watermark.get(), Some(90));
    }
}
