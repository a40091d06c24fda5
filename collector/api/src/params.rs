//! What askers write: times, durations, levels. Each refusal names the parameter.

use std::time::{SystemTime, UNIX_EPOCH};

use beffroi_schema::alert::Level;

use crate::error::Refusal;

/// This machine's clock, microseconds since 1970.
pub(crate) fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// `7d 24h 10m 30s 250ms` in microseconds: one number with one unit.
pub(crate) fn duration(name: &str, text: &str) -> Result<i64, Refusal> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = match &text[digits..] {
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        "w" => 604_800_000_000,
        _ => 0i64,
    };
    let number = text[..digits].parse::<i64>().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .filter(|micros| *micros > 0)
        .ok_or_else(|| Refusal::bad(format!("{name} is no duration"), "write a number and a unit: 250ms, 30s, 10m, 24h, 7d, 2w"))
}

/// A time (RFC 3339), or how long ago (`24h`), in microseconds since 1970.
pub(crate) fn time(name: &str, text: Option<&str>) -> Result<Option<i64>, Refusal> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(Some(time.as_microsecond()));
    }
    match duration(name, text) {
        Ok(ago) => Ok(Some(now().saturating_sub(ago))),
        Err(_) => {
            let hint = "write RFC 3339 (2026-11-21T10:00:00Z) or how long ago (30m, 24h, 7d)";
            Err(Refusal::bad(format!("{name} is no time"), hint))
        }
    }
}

/// A level by its name.
pub(crate) fn level(text: Option<&str>) -> Result<Option<Level>, Refusal> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let hint = "one of informational, low, medium, high, critical";
    Level::from_name(&text.to_ascii_lowercase()).map(Some).ok_or_else(|| Refusal::bad("level is none", hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_times_are_read() {
        assert_eq!(duration("w", "10m").unwrap(), 600_000_000);
        assert_eq!(time("s", Some("1970-01-01T00:00:01+00:00")).unwrap(), Some(1_000_000));
        assert!((now() - time("s", Some("1h")).unwrap().unwrap() - 3_600_000_000).abs() < 5_000_000);
        assert_eq!(time("s", None).unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in ["", "h", "5", "-5m", "5y", "99999999999999999999d", "9223372036854775807w", "5m5", "é"] {
            assert!(duration("window", text).unwrap_err().body.error.contains("window"), "{text}");
        }
        assert!(time("since", Some("yesterday")).is_err());
        assert!(level(Some("urgent")).is_err() && level(Some("HIGH")).unwrap() == Some(Level::High));
    }
}
