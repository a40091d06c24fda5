//! Times and durations as people type them: `24h`, `7d`, `90m`, or RFC 3339.

use jiff::{Span, Timestamp, tz::TimeZone};

use crate::errors::{Failure, Outcome};

/// This machine's clock, microseconds since 1970.
pub fn now_us() -> i64 {
    Timestamp::now().as_microsecond()
}

/// A duration such as `10m`, `24h`, `7d` in seconds.
pub fn seconds(text: &str) -> Outcome<i64> {
    let bad = || Failure::usage(format!("{text:?} is no duration"), "write a number and a unit, for example 10m, 24h or 7d");
    let span: Span = text.parse().map_err(|_| bad())?;
    // A day is 24 hours here: retention and look-back do not follow daylight saving.
    let total = span.total((jiff::Unit::Second, jiff::SpanRelativeTo::days_are_24_hours())).map_err(|_| bad())?;
    if total > 0.0 && total < 1e11 { Ok(total as i64) } else { Err(bad()) }
}

/// A moment as RFC 3339, as the API takes it: a duration is counted back from `now`.
pub fn moment(text: &str, now: Timestamp) -> Outcome<String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.to_string());
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let zoned = date
            .to_zoned(TimeZone::UTC)
            .map_err(|error| Failure::usage(format!("{text:?}: {error}"), "write a date such as 2026-11-21"))?;
        return Ok(zoned.timestamp().to_string());
    }
    seconds(text)
        .and_then(|seconds| {
            now.checked_sub(jiff::SignedDuration::from_secs(seconds))
                .map(|time| time.to_string())
                .map_err(|error| Failure::usage(error.to_string(), ""))
        })
        .map_err(|_| {
            Failure::usage(
                format!("{text:?} is no time"),
                "write a duration back from now (24h, 7d), a date (2026-11-21) or RFC 3339 (2026-11-21T08:00:00Z)",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_read_as_people_write_them() {
        assert_eq!(seconds("24h").unwrap(), 86_400);
        assert_eq!(seconds("7d").unwrap(), 604_800);
        assert_eq!(seconds("10m").unwrap(), 600);
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        assert_eq!(moment("1h", now).unwrap(), "2026-11-21T09:00:00Z");
        assert_eq!(moment("2026-11-21T11:00:00+01:00", now).unwrap(), "2026-11-21T10:00:00Z");
        assert_eq!(moment("2026-11-21", now).unwrap(), "2026-11-21T00:00:00Z");
    }

    #[test]
    fn nonsense_is_refused_with_advice() {
        for text in ["", "soon", "-3h", "0s", "99999999999999d"] {
            assert!(seconds(text).is_err(), "{text:?}");
            assert!(moment(text, Timestamp::UNIX_EPOCH).unwrap_err().hint.contains("24h"), "{text:?}");
        }
    }
}
