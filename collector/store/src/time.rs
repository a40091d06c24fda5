//! Clocks: what a `DateTime64(6)` can hold, and which receive times can open a partition.

use std::time::{SystemTime, UNIX_EPOCH};

/// 1900-01-01, the earliest time of a `DateTime64`.
const EARLIEST: i64 = -2_208_988_800_000_000;
/// 2299-12-31, the last day of a `DateTime64`.
const LATEST: i64 = 10_413_705_600_000_000;
/// 2020-01-01 and 2100-01-01: a gateway's clock outside of these is broken, and `DateTime` (which TTLs need) ends in 2106.
const GATEWAY: std::ops::RangeInclusive<i64> = 1_577_836_800_000_000..=4_102_444_800_000_000;

/// The nearest time that a column can hold.
pub(crate) fn clamp(micros: i64) -> i64 {
    micros.clamp(EARLIEST, LATEST)
}

/// The nearest time that may decide about a partition.
pub(crate) fn clamp_received(micros: i64) -> i64 {
    micros.clamp(*GATEWAY.start(), *GATEWAY.end())
}

/// Days since 1970 of a time.
pub(crate) fn day(micros: i64) -> i64 {
    micros.div_euclid(86_400_000_000)
}

/// This machine's clock.
pub(crate) fn now() -> i64 {
    // A clock before 1970 counts as 1970: nothing here is decided by it.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}
