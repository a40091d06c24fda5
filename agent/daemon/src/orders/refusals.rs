//! Which refusals are told: the first of each kind, not every one.
//!
//! Owns the budget. Whoever holds the server can send as much as they like; what they cannot do is make a host flood its
//! own detections, or learn more by sending the same thing again. Everything beyond the budget is counted.

use std::collections::{BTreeMap, HashSet, VecDeque};

use beffroi_schema::down::Refusal;
use sha2::{Digest, Sha256};

/// Refusals of one code that are told in a day; the rest is in the counters of each heartbeat.
const MAX_A_DAY: u64 = 1_000;
/// Refused envelopes that are remembered, so that one that comes again is not answered again.
const MAX_REMEMBERED: usize = 16_384;
const DAY_US: i64 = 24 * 3600 * 1_000_000;

/// What was refused since the process began.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    day: i64,
    told: BTreeMap<&'static str, u64>,
    total: BTreeMap<&'static str, u64>,
    known: HashSet<[u8; 32]>,
    order: VecDeque<[u8; 32]>,
}

impl Refusals {
    /// Counts a refusal; true when it is to be told.
    pub(super) fn note(&mut self, refusal: &Refusal, envelope: &[u8], now_us: i64) -> bool {
        let code = refusal.code();
        *self.total.entry(code).or_default() += 1;
        if !self.remember(envelope) {
            return false;
        }
        let day = now_us.div_euclid(DAY_US);
        if day != self.day {
            self.day = day;
            self.told.clear();
        }
        let told = self.told.entry(code).or_default();
        *told += 1;
        if *told == MAX_A_DAY {
            tracing::warn!(code, "so many orders were refused for this reason today that no more are told, only counted");
        }
        *told <= MAX_A_DAY
    }

    /// Whether this envelope was not known yet.
    fn remember(&mut self, envelope: &[u8]) -> bool {
        let hash: [u8; 32] = Sha256::digest(envelope).into();
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Number of refusals by code.
    pub(super) fn totals(&self) -> BTreeMap<String, u64> {
        self.total.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_that_comes_again_is_counted_and_not_told_again() {
        let mut refusals = Refusals::default();
        assert!(refusals.note(&Refusal::OtherHost, b"a", 0));
        assert!(!refusals.note(&Refusal::OtherHost, b"a", 0));
        assert!(refusals.note(&Refusal::OtherHost, b"b", 0));
        assert_eq!(refusals.totals()["other_host"], 3);
    }

    #[test]
    fn each_reason_has_a_budget_for_the_day() {
        let mut refusals = Refusals::default();
        let mut tell = |refusal: Refusal, from: u64, now| {
            (from..from + 2_000).filter(|number| refusals.note(&refusal, &number.to_be_bytes(), now)).count() as u64
        };
        assert_eq!(tell(Refusal::OtherHost, 0, 0), MAX_A_DAY);
        assert_eq!(tell(Refusal::OtherHost, 10_000, 5), 0);
        assert_eq!(tell(Refusal::OtherTenant, 20_000, 5), MAX_A_DAY);
        assert_eq!(tell(Refusal::OtherHost, 30_000, DAY_US), MAX_A_DAY);
    }

    #[test]
    fn memory_is_bounded() {
        let mut refusals = Refusals::default();
        for number in 0..2 * MAX_REMEMBERED as u64 {
            refusals.note(&Refusal::NoRoot, &number.to_be_bytes(), 0);
        }
        assert_eq!((refusals.known.len(), refusals.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    }
}
