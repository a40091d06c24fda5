//! How much an agent and a tenant may send: token buckets in bytes and in batches. One loud host cannot take its
//! tenant's share, one tenant not everyone's.
//!
//! A request is charged to all its buckets or to none. Memory: one entry per agent and tenant that sent lately, full
//! buckets are forgotten (an absent bucket is a full one), and beyond [`MAX_ENTRIES`] strangers wait.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Entries kept at most: some 100 bytes each.
const MAX_ENTRIES: usize = 262_144;
/// Below this many entries nothing is swept.
const SWEEP_FROM: usize = 1_024;
/// A full table is swept at most this often: strangers must not buy a walk through it with every request.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// What strangers wait while the table is full.
const FULL_WAIT: Duration = Duration::from_secs(30);

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// Tokens per second.
    pub(crate) per_second: f64,
    /// Tokens that may be used at once.
    pub(crate) burst: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn level(&self, rate: Rate, now: Instant) -> f64 {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * rate.per_second;
        (self.tokens + earned).min(rate.burst)
    }
}

/// Buckets by key, `N` of them per key (bytes and batches, say).
#[derive(Debug)]
pub(crate) struct Buckets<K, const N: usize> {
    rates: [Rate; N],
    table: Mutex<Table<K, N>>,
}

#[derive(Debug)]
struct Table<K, const N: usize> {
    buckets: HashMap<K, [Bucket; N]>,
    sweep_at: usize,
    not_before: Option<Instant>,
}

impl<K: Eq + Hash + Clone, const N: usize> Buckets<K, N> {
    pub(crate) fn new(rates: [Rate; N]) -> Self {
        Self { rates, table: Mutex::new(Table { buckets: HashMap::new(), sweep_at: SWEEP_FROM, not_before: None }) }
    }

    /// Charges `cost` to this key's buckets.
    ///
    /// # Errors
    /// How long until it would fit; nothing is charged then.
    pub(crate) fn charge(&self, key: &K, cost: [f64; N], now: Instant) -> Result<(), Duration> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.make_room(&self.rates, now);
        let mut buckets = match table.buckets.get(key) {
            Some(buckets) => *buckets,
            None if table.buckets.len() >= MAX_ENTRIES => return Err(FULL_WAIT),
            None => self.rates.map(|rate| Bucket { tokens: rate.burst, at: now }),
        };
        let mut wait = 0f64;
        for ((bucket, rate), cost) in buckets.iter_mut().zip(self.rates).zip(cost) {
            let left = bucket.level(rate, now) - cost.min(rate.burst);
            wait = wait.max(-left / rate.per_second);
            *bucket = Bucket { tokens: left, at: now };
        }
        if wait > 0.0 {
            return Err(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX));
        }
        table.buckets.insert(key.clone(), buckets);
        Ok(())
    }

    /// Gives a charge back.
    pub(crate) fn refund(&self, key: &K, cost: [f64; N]) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buckets) = table.buckets.get_mut(key) {
            for ((bucket, rate), cost) in buckets.iter_mut().zip(self.rates).zip(cost) {
                bucket.tokens = (bucket.tokens + cost.min(rate.burst)).min(rate.burst);
            }
        }
    }
}

impl<K: Eq + Hash, const N: usize> Table<K, N> {
    /// Forgets full buckets whenever the table has doubled since the last time: constant cost per request.
    fn make_room(&mut self, rates: &[Rate; N], now: Instant) {
        if self.buckets.len() < self.sweep_at || self.not_before.is_some_and(|time| now < time) {
            return;
        }
        self.not_before = Some(now + SWEEP_EVERY);
        self.buckets.retain(|_, buckets| buckets.iter().zip(rates).any(|(bucket, rate)| bucket.level(*rate, now) < rate.burst));
        self.sweep_at = (self.buckets.len() * 2).clamp(SWEEP_FROM, MAX_ENTRIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets() -> Buckets<u32, 2> {
        Buckets::new([Rate { per_second: 100.0, burst: 1_000.0 }, Rate { per_second: 1.0, burst: 5.0 }])
    }

    #[test]
    fn a_burst_passes_then_the_rate_holds() {
        let (buckets, now) = (buckets(), Instant::now());
        for _ in 0..4 {
            buckets.charge(&1, [250.0, 1.0], now).unwrap();
        }
        assert_eq!(buckets.charge(&1, [250.0, 1.0], now), Err(Duration::from_millis(2_500)));
        assert!(buckets.charge(&1, [250.0, 1.0], now + Duration::from_millis(2_499)).is_err());
        buckets.charge(&1, [250.0, 1.0], now + Duration::from_millis(2_501)).unwrap();
    }

    #[test]
    fn the_scarcest_bucket_decides_and_a_refusal_charges_none() {
        let (buckets, now) = (buckets(), Instant::now());
        for _ in 0..5 {
            buckets.charge(&1, [1.0, 1.0], now).unwrap();
        }
        for _ in 0..100 {
            assert_eq!(buckets.charge(&1, [1.0, 1.0], now), Err(Duration::from_secs(1)));
        }
        buckets.charge(&1, [900.0, 1.0], now + Duration::from_secs(1)).unwrap();
    }

    #[test]
    fn keys_do_not_share_and_a_refund_gives_back() {
        let (buckets, now) = (buckets(), Instant::now());
        buckets.charge(&1, [1_000.0, 1.0], now).unwrap();
        buckets.charge(&2, [1_000.0, 1.0], now).unwrap();
        buckets.charge(&1, [500.0, 1.0], now).unwrap_err();
        buckets.refund(&1, [1_000.0, 1.0]);
        buckets.charge(&1, [500.0, 1.0], now).unwrap();
    }

    #[test]
    fn a_cost_beyond_the_burst_waits_for_a_full_bucket_instead_of_forever() {
        let (buckets, now) = (buckets(), Instant::now());
        buckets.charge(&1, [9_999.0, 1.0], now).unwrap();
        assert_eq!(buckets.charge(&1, [9_999.0, 1.0], now), Err(Duration::from_secs(10)));
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let (buckets, now) = (buckets(), Instant::now());
        for key in 0..SWEEP_FROM as u32 {
            buckets.charge(&key, [1.0, 1.0], now).unwrap();
        }
        buckets.charge(&u32::MAX, [1.0, 1.0], now + Duration::from_secs(60)).unwrap();
        assert_eq!(buckets.table.lock().unwrap().buckets.len(), 1);
    }
}
