//! Figures: a name, a value, a unit, and where one is promised its target. Pure: how they are taken is elsewhere.

use std::fmt;

/// What a figure must reach.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// This much or more.
    AtLeast(f64),
    /// This much or less.
    AtMost(f64),
}

impl Target {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {}", number(*least)),
            Self::AtMost(most) => write!(f, "<= {}", number(*most)),
        }
    }
}

/// One line of the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    target: Option<Target>,
}

impl Figure {
    /// A figure that nothing is promised about.
    pub fn new(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, target: None }
    }

    /// With what was promised.
    pub fn target(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "figure {} {} {}", self.name, number(self.value), self.unit)?;
        match self.target {
            Some(target) => write!(f, " target {target} {}", if target.met(self.value) { "ok" } else { "missed" }),
            None => Ok(()),
        }
    }
}

/// Runs differ by more than a hundredth: whole numbers from 100 on, two decimals below unless they are zeros.
fn number(value: f64) -> String {
    if value.abs() >= 100.0 || value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The middle of some values; the lower one of an even number. None without values.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_one_line_that_says_whether_its_target_is_met() {
        let rate = |value| {
            Figure::new("line.embedded.events_per_second", value, "events/s").target(Target::AtLeast(20_000.0)).to_string()
        };
        assert_eq!(rate(23_123.4), "figure line.embedded.events_per_second 23123 events/s target >= 20000 ok");
        assert_eq!(rate(19_999.0), "figure line.embedded.events_per_second 19999 events/s target >= 20000 missed");
        let late = Figure::new("latency.exec_to_alert.p99", 2_001.0, "ms").target(Target::AtMost(2_000.0));
        assert_eq!(late.to_string(), "figure latency.exec_to_alert.p99 2001 ms target <= 2000 missed");
    }

    #[test]
    fn a_figure_without_a_promise_has_no_target() {
        assert_eq!(Figure::new("agent.cpu_per_exec", 41.267, "us").to_string(), "figure agent.cpu_per_exec 41.27 us");
        assert_eq!(Figure::new("wire.bytes_per_event", 61.0, "bytes").to_string(), "figure wire.bytes_per_event 61 bytes");
    }

    #[test]
    fn the_median_is_the_value_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(1.0));
        assert_eq!(median(&[]), None);
    }
}
