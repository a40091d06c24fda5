//! What the story prints: steps, a table of alerts as they arrive, latencies, the gap.

use std::time::Duration;

use crate::reader::Seen;

/// A step of the story.
pub fn step(text: &str) {
    println!("\n== {text}");
}

/// A word beside it.
pub fn say(text: &str) {
    println!("   {text}");
}

/// The heads of the alert table.
pub fn alert_header() {
    println!("\n{:<24} {:<13} {:<10} {:<14} {:<44} {:>8}  WHAT", "TIME", "LEVEL", "TENANT", "HOST", "RULE", "DELAY");
}

/// One row of it.
pub fn alert(seen: &Seen) {
    let alert = &seen.alert;
    let delay = seen.delay.map_or_else(|| "replay".to_string(), |delay| format!("{} ms", delay.as_millis()));
    println!(
        "{:<24} {:<13} {:<10} {:<14} {:<44} {:>8}  {}",
        time(&alert.event_time),
        alert.level,
        cut(&alert.tenant, 10),
        cut(&alert.hostname, 14),
        cut(&alert.rule_title, 44),
        delay,
        cut(&alert.what, 80)
    );
}

/// Median and 99th percentile of sorted latencies.
pub fn percentiles(sorted: &[Duration]) -> Option<(Duration, Duration)> {
    let at = |share: f64| sorted.get(((sorted.len() as f64 * share).ceil() as usize).saturating_sub(1)).copied();
    Some((at(0.50)?, at(0.99)?))
}

/// The measured latencies.
pub fn latencies(sorted: &[Duration]) {
    if let Some((p50, p99)) = percentiles(sorted) {
        say(&format!(
            "from exec to readable alert: p50 {} ms, p99 {} ms ({} starts)",
            p50.as_millis(),
            p99.as_millis(),
            sorted.len()
        ));
    }
}

/// The gap of the killed agent.
pub fn gap(gap: &serde_json::Value) {
    let at = |name: &str| gap[name].as_str().map_or_else(|| "?".to_string(), time);
    say(&format!(
        "gap declared by {}: {} to {} (reason: {})",
        gap["hostname"].as_str().unwrap_or("?"),
        at("from"),
        at("to"),
        gap["reason"].as_str().unwrap_or("?")
    ));
}

fn time(text: &str) -> String {
    text.parse::<jiff::Timestamp>().map_or_else(|_| text.to_string(), |time| format!("{time:.3}"))
}

/// Text cut to a width, with everything that a terminal might act on made visible.
fn cut(text: &str, width: usize) -> String {
    let safe: String = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if safe.chars().count() <= width { safe } else { safe.chars().take(width - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_taken_by_rank() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentiles(&sorted), Some((Duration::from_millis(50), Duration::from_millis(99))));
        assert_eq!(percentiles(&[]), None);
    }

    #[test]
    fn terminal_codes_in_an_alert_are_not_printed() {
        assert_eq!(cut("a\u{1b}[31mb", 20), "a\u{fffd}[31mb");
        assert_eq!(cut("abcdef", 4), "abc…");
    }
}
