//! What a running scan finds, as events: matches, files of which nothing is known, and how far it is.
//!
//! Owns the budgets of events: an order over a hostile tree must not drown the host's other detections. What is beyond is
//! in the counters of the answer.

use std::time::{Duration, Instant};

use beffroi_scan::job::{Counters, Found, Observer, Skip};
use beffroi_schema::OrderId;

use super::answers::{Action, counted, matched, unknown};
use super::desk::OrderDesk;

/// Files named as unknown for one order.
const MAX_UNKNOWN: u32 = 1_000;
/// Matches told for one order: a rule that matches everything says so long before.
const MAX_MATCHES: u32 = 10_000;
/// At most so often is told how far it is.
const PROGRESS: Duration = Duration::from_secs(10);

/// Listens to one scan.
pub(super) struct Watcher<'a> {
    desk: &'a OrderDesk,
    order: OrderId,
    unknown_left: u32,
    matches_left: u32,
    told: Instant,
    /// The last figures heard.
    pub counters: Counters,
}

impl<'a> Watcher<'a> {
    pub fn new(desk: &'a OrderDesk, order: OrderId) -> Self {
        let told = Instant::now();
        Self { desk, order, unknown_left: MAX_UNKNOWN, matches_left: MAX_MATCHES, told, counters: Counters::default() }
    }

    /// Names something that was not, or not wholly, judged.
    pub fn name_unknown(&mut self, path: &[u8], reason: &str) {
        if let Some(left) = self.unknown_left.checked_sub(1) {
            self.unknown_left = left;
            self.desk.outbox().put(unknown(self.order, path, reason));
        }
    }
}

impl Observer for Watcher<'_> {
    fn matched(&mut self, found: &Found) {
        for hit in &found.hits {
            let Some(left) = self.matches_left.checked_sub(1) else { return };
            self.matches_left = left;
            self.desk.outbox().put(matched(self.order, found, hit));
        }
    }

    fn unknown(&mut self, path: &[u8], reason: &str) {
        self.name_unknown(path, reason);
    }

    fn skipped(&mut self, path: &[u8], why: Skip) {
        // A pipe or a device in a tree of files is worth a name: somebody may have put it there for us.
        if why.is_special() {
            self.name_unknown(path, &format!("skipped: {why}"));
        }
    }

    fn progress(&mut self, counters: &Counters) {
        self.counters = *counters;
        self.desk.note_progress(counters);
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            self.desk.outbox().put(counted(Action::Progress, self.order, "", counters));
        }
    }
}
