//! From the kernel's time since boot to wall-clock time. The offset is measured again and again, so that a clock that is set
//! while the sensor runs is followed.

use nix::time::{ClockId, clock_gettime};

/// Offset between the wall clock and the time since boot.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    offset_us: i64,
}

fn nanoseconds(id: ClockId) -> i64 {
    // Both clocks exist on every kernel that can run the probes; a failure reads as time zero.
    clock_gettime(id).map_or(0, |time| time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// Nanoseconds since boot, suspended time included.
pub fn boot_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::CLOCK_BOOTTIME)).unwrap_or(0)
}

/// Nanoseconds since boot without the time asleep.
pub fn monotonic_ns() -> u64 {
    u64::try_from(nanoseconds(ClockId::CLOCK_MONOTONIC)).unwrap_or(0)
}

/// Microseconds since 1970.
pub fn wall_us() -> i64 {
    nanoseconds(ClockId::CLOCK_REALTIME) / 1_000
}

impl Clock {
    /// Measures the offset.
    pub fn measure() -> Self {
        Self { offset_us: (nanoseconds(ClockId::CLOCK_REALTIME) - nanoseconds(ClockId::CLOCK_BOOTTIME)) / 1_000 }
    }

    /// Wall-clock microseconds of a time since boot in nanoseconds.
    pub fn wall_us(&self, boot_ns: u64) -> i64 {
        i64::try_from(boot_ns / 1_000).unwrap_or(i64::MAX).saturating_add(self.offset_us)
    }
}
