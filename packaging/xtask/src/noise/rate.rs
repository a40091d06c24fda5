//! How often something may happen that was seen so-and-so often: the upper bound of a Poisson rate.
//!
//! Nothing seen in T is no proof of never: with 95 % confidence the rate is below 3.0 / T (the "rule of three"). The same
//! question for n seen has the answer below (Garwood 1936, one-sided).

/// Chance that the true rate is above the bound.
const DOUBT: f64 = 0.05;
/// Halvings of the interval: more than a double has digits.
const TURNS: usize = 80;

/// Largest mean of a Poisson distribution that still gives `seen` or fewer in one of twenty cases.
pub fn upper_bound(seen: u64) -> f64 {
    let n = seen as f64;
    let (mut low, mut high) = (n, n + 10.0 * n.sqrt() + 10.0);
    for _ in 0..TURNS {
        let middle = (low + high) / 2.0;
        if at_most(seen, middle) > DOUBT { low = middle } else { high = middle }
    }
    high
}

/// Probability of `seen` or fewer at this mean; summed from the largest term down, so that nothing underflows.
fn at_most(seen: u64, mean: f64) -> f64 {
    let factorial: f64 = (1..=seen).map(|k| (k as f64).ln()).sum();
    let last = (seen as f64 * mean.ln() - mean - factorial).exp();
    let (mut sum, mut term) = (last, last);
    for k in (1..=seen).rev() {
        term *= k as f64 / mean;
        sum += term;
        if term < sum * f64::EPSILON {
            break;
        }
    }
    sum
}

/// Alerts in 100 host-days at most, from alerts seen in some seconds.
pub fn per_100_host_days(seen: u64, seconds: f64) -> f64 {
    upper_bound(seen) / seconds * 86_400.0 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_seen_gives_the_rule_of_three() {
        assert!((upper_bound(0) - 2.9957).abs() < 1e-3);
    }

    #[test]
    fn bounds_are_those_of_the_tables() {
        // Half of the 95 % quantile of chi-squared with 2 (n + 1) degrees of freedom.
        for (seen, bound) in [(1, 4.7439), (2, 6.2958), (5, 10.5130), (10, 16.9622), (100, 118.079)] {
            assert!((upper_bound(seen) - bound).abs() < 2e-3, "{seen}: {}", upper_bound(seen));
        }
    }

    #[test]
    fn many_seen_overflow_nothing() {
        let bound = upper_bound(1_000_000);
        assert!(bound > 1_001_000.0 && bound < 1_002_000.0, "{bound}");
    }

    #[test]
    fn a_day_without_an_alert_allows_three_a_day() {
        assert!((per_100_host_days(0, 86_400.0) - 299.57).abs() < 0.1);
    }
}
