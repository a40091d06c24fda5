//! Brings the records of all CPUs and both rings into the order of their times.
//!
//! A record may become readable a little after one with a later time (its CPU was interrupted between taking the time and
//! writing). So records wait until they are older than [`WINDOW_NS`] before the moment at which draining began.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::raw::Raw;

/// How long a record waits for earlier ones: far more than a probe runs (microseconds), far less than anybody notices.
pub const WINDOW_NS: u64 = 2_000_000;

struct Entry {
    ts: u64,
    arrival: u64,
    raw: Raw,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.ts, self.arrival) == (other.ts, other.arrival)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ts, self.arrival).cmp(&(other.ts, other.arrival))
    }
}

/// Records that wait for earlier ones.
#[derive(Default)]
pub struct Order {
    waiting: BinaryHeap<Reverse<Entry>>,
    arrivals: u64,
}

impl Order {
    /// Adds a record.
    pub fn push(&mut self, raw: Raw) {
        self.arrivals += 1;
        self.waiting.push(Reverse(Entry { ts: raw.header().ts, arrival: self.arrivals, raw }));
    }

    /// The earliest record, if nothing earlier than `complete_until` (nanoseconds since boot) can come any more.
    pub fn pop(&mut self, complete_until: u64) -> Option<Raw> {
        if self.waiting.peek()?.0.ts >= complete_until.saturating_sub(WINDOW_NS) {
            return None;
        }
        self.waiting.pop().map(|entry| entry.0.raw)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw::Header;

    fn at(ts: u64) -> Raw {
        Raw::Fork(Header { ts, ..Header::default() })
    }

    #[test]
    fn records_leave_in_order_once_nothing_earlier_can_come() {
        let mut order = Order::default();
        for ts in [30, 10, 20] {
            order.push(at(ts));
        }
        assert!(order.pop(10 + WINDOW_NS).is_none());
        let left: Vec<u64> = std::iter::from_fn(|| order.pop(21 + WINDOW_NS)).map(|raw| raw.header().ts).collect();
        assert_eq!(left, [10, 20]);
        assert!(!order.is_empty());
        assert_eq!(order.pop(u64::MAX).unwrap().header().ts, 30);
    }
}
