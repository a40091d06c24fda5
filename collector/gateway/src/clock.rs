//! The one place where this crate asks what time it is.

use std::time::Duration;

/// Microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// A point in time for people.
pub(crate) fn text(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| format!("{us} us"), |time| format!("{time:.0}"))
}

/// A span in microseconds for people, without its sign.
pub(crate) fn span(us: i64) -> String {
    let seconds = us.unsigned_abs() / 1_000_000;
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Microseconds as a duration; negative is none.
pub(crate) fn duration(us: i64) -> Duration {
    Duration::from_micros(u64::try_from(us).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_the_unit_that_people_would_use() {
        assert_eq!(span(-90_000_000), "90 s");
        assert_eq!(span(660_000_000), "11 min");
        assert_eq!(span(3 * 3_600_000_000), "3 h");
        assert_eq!(span(20 * 86_400_000_000), "20 days");
    }

    #[test]
    fn a_point_in_time_is_rfc_3339() {
        assert_eq!(text(0), "1970-01-01T00:00:00Z");
        assert_eq!(text(i64::MAX), format!("{} us", i64::MAX));
    }
}
