//! How often may be asked: by address before anybody is known, by person afterwards, each kind of call by itself.
//!
//! Owns the counters. Memory is bounded: with more keys at once than [`MAX_KEYS`] whoever is new shares one bucket.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{DefaultDirectRateLimiter, NotUntil, Quota, RateLimiter};
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Refusal};

/// Addresses or people that are counted apart; a ministry's analysts are hundreds, the rest would be a flood.
const MAX_KEYS: usize = 10_000;
/// Seconds of the full rate that may come at once: a page of the console or a script's start asks several things together.
const BURST_SECONDS: u32 = 5;
/// Most that a setting may allow, calls a second: beyond it the limit would be none.
const MAX_RATE: u32 = 100_000;

/// Calls a second, each with a burst of five seconds' worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateOptions {
    /// From one address (IPv6: one /64), known or not. Many analysts may share a proxy's address.
    pub address: u32,
    /// Lists and single things, by person. A person clicks less often; a script that waits for something may look often.
    pub reads: u32,
    /// Searches over events, by person: each may read gigabytes.
    pub searches: u32,
    /// Changes, by person: each is a record that is kept for good.
    pub changes: u32,
}

impl Default for RateOptions {
    fn default() -> Self {
        Self { address: 300, reads: 100, searches: 20, changes: 10 }
    }
}

impl RateOptions {
    pub(crate) fn validate(&self) -> Result<(), ApiError> {
        let rates = [
            ("rates.address", self.address),
            ("rates.reads", self.reads),
            ("rates.searches", self.searches),
            ("rates.changes", self.changes),
        ];
        match rates.into_iter().find(|(_, rate)| !(1..=MAX_RATE).contains(rate)) {
            Some((key, rate)) => {
                Err(ApiError::Options { key, why: format!("{rate} is not between 1 and {MAX_RATE} calls a second") })
            }
            None => Ok(()),
        }
    }
}

/// What a call costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    Read,
    Search,
    Change,
}

impl Class {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Search => "search",
            Self::Change => "change",
        }
    }
}

/// All counters.
pub(crate) struct Rates {
    addresses: Limiter<Network>,
    reads: Limiter<String>,
    searches: Limiter<String>,
    changes: Limiter<String>,
}

impl Rates {
    pub(crate) fn new(options: &RateOptions) -> Self {
        Self {
            addresses: Limiter::new(options.address, MAX_KEYS),
            reads: Limiter::new(options.reads, MAX_KEYS),
            searches: Limiter::new(options.searches, MAX_KEYS),
            changes: Limiter::new(options.changes, MAX_KEYS),
        }
    }

    /// Counts a call from an address, before anything else is looked at.
    pub(crate) fn address(&self, address: IpAddr) -> Result<(), Refusal> {
        self.addresses.count(&Network::of(address)).map_err(|seconds| refused("address", "from this address", seconds))
    }

    /// Counts a call of somebody who is known.
    pub(crate) fn person(&self, key: &str, class: Class) -> Result<(), Refusal> {
        let limiter = match class {
            Class::Read => &self.reads,
            Class::Search => &self.searches,
            Class::Change => &self.changes,
        };
        limiter.count(&key.to_owned()).map_err(|seconds| refused(class.name(), "with this token", seconds))
    }
}

fn refused(class: &'static str, whose: &str, seconds: u64) -> Refusal {
    metrics::counter!("beffroi_api_rate_limited_total", "class" => class).increment(1);
    Refusal::too_many(whose, seconds)
}

/// An address as it is counted: whoever has an IPv6 address has the 2^64 beside it as well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Network {
    V4(u32),
    V6(u64),
}

impl Network {
    fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

struct Limiter<K: Clone + Hash + Eq> {
    keyed: RateLimiter<K, HashMapStateStore<K>, DefaultClock>,
    /// For whoever comes when all places are taken.
    rest: DefaultDirectRateLimiter,
    max_keys: usize,
}

impl<K: Clone + Hash + Eq> Limiter<K> {
    fn new(per_second: u32, max_keys: usize) -> Self {
        let rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        let burst = rate.saturating_mul(NonZeroU32::new(BURST_SECONDS).unwrap_or(NonZeroU32::MIN));
        let quota = Quota::per_second(rate).allow_burst(burst);
        Self { keyed: RateLimiter::hashmap(quota), rest: RateLimiter::direct(quota), max_keys }
    }

    /// Whole seconds to wait when there is no room.
    fn count(&self, key: &K) -> Result<(), u64> {
        if self.keyed.len() >= self.max_keys {
            self.keyed.retain_recent();
        }
        let full = self.keyed.len() >= self.max_keys;
        let counted = if full { self.rest.check() } else { self.keyed.check_key(key) };
        counted.map_err(|until: NotUntil<_>| until.wait_time_from(DefaultClock::default().now()).as_secs() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_who_asks_too_often_waits_and_others_do_not() {
        let rates = Rates::new(&RateOptions { searches: 1, ..RateOptions::default() });
        let asked = |who: &str| rates.person(who, Class::Search);
        let answered = (0..20).filter(|_| asked("alice").is_ok()).count();
        assert_eq!(answered, BURST_SECONDS as usize);
        let refusal = asked("alice").unwrap_err();
        assert!(
            refusal.status == http::StatusCode::TOO_MANY_REQUESTS
                && refusal.retry_after.is_some_and(|wait| (1..=5).contains(&wait))
        );
        assert!(asked("bob").is_ok() && rates.person("alice", Class::Read).is_ok());
    }

    #[test]
    fn the_neighbours_of_an_ipv6_address_are_the_same_asker() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:2"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded_and_the_rest_shares_one_bucket() {
        let limiter = Limiter::new(1, 10);
        let answered = (0..1_000u32).filter(|key| limiter.count(key).is_ok()).count();
        assert!(limiter.keyed.len() <= 10, "{}", limiter.keyed.len());
        assert_eq!(answered, 10 + BURST_SECONDS as usize);
    }

    #[test]
    fn a_rate_of_none_is_refused_by_its_key() {
        let error = RateOptions { changes: 0, ..RateOptions::default() }.validate().unwrap_err().to_string();
        assert!(error.contains("rates.changes"), "{error}");
    }
}
