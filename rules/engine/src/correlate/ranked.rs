//! A percentile that is kept up to date while numbers come and go, in time that grows with the logarithm of their count.

use std::collections::BTreeMap;

use super::number::{Fixed, Measure};

/// Numbers in two halves: the percentile lies at or just after the largest of the lower half.
#[derive(Debug)]
pub(crate) struct Ranked {
    low: Half,
    high: Half,
    percent: usize,
}

/// Numbers and how often each is there.
#[derive(Debug, Default)]
struct Half {
    counts: BTreeMap<Fixed, u32>,
    len: usize,
}

impl Half {
    fn insert(&mut self, number: Fixed) {
        *self.counts.entry(number).or_insert(0) += 1;
        self.len += 1;
    }

    /// Whether the number was there.
    fn remove(&mut self, number: Fixed) -> bool {
        let Some(count) = self.counts.get_mut(&number) else { return false };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&number);
        }
        self.len -= 1;
        true
    }

    fn first(&self) -> Option<Fixed> {
        self.counts.first_key_value().map(|(number, _)| *number)
    }

    fn last(&self) -> Option<Fixed> {
        self.counts.last_key_value().map(|(number, _)| *number)
    }
}

impl Ranked {
    /// Keeps the percentile of this rank, 0 to 100.
    pub(crate) fn new(percent: u8) -> Self {
        Self { low: Half::default(), high: Half::default(), percent: usize::from(percent.min(100)) }
    }

    pub(crate) fn insert(&mut self, number: Fixed) {
        match self.low.last() {
            Some(last) if number > last => self.high.insert(number),
            _ => self.low.insert(number),
        }
        self.balance();
    }

    pub(crate) fn remove(&mut self, number: Fixed) {
        if !self.low.remove(number) {
            self.high.remove(number);
        }
        self.balance();
    }

    /// Numbers that are kept.
    pub(crate) fn len(&self) -> usize {
        self.low.len + self.high.len
    }

    /// The percentile; none of no numbers.
    pub(crate) fn measure(&self) -> Option<Measure> {
        let below = self.low.last()?;
        let above = self.high.first().unwrap_or(below);
        let rest = self.percent * (self.len() - 1) % 100;
        Some(Measure::fraction(below.0 * 100 + (above.0 - below.0) * rest as i128, 100))
    }

    fn balance(&mut self) {
        let len = self.len();
        let wanted = if len == 0 { 0 } else { self.percent * (len - 1) / 100 + 1 };
        while self.low.len < wanted {
            let Some(number) = self.high.first() else { return };
            self.high.remove(number);
            self.low.insert(number);
        }
        while self.low.len > wanted {
            let Some(number) = self.low.last() else { return };
            self.low.remove(number);
            self.high.insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow(numbers: &[i64], percent: u8) -> Option<f64> {
        let mut sorted = numbers.to_vec();
        sorted.sort_unstable();
        let rank = f64::from(percent) * (sorted.len().checked_sub(1)?) as f64 / 100.0;
        let (below, above) = (sorted[rank.floor() as usize] as f64, sorted[rank.ceil() as usize] as f64);
        Some(below + (above - below) * rank.fract())
    }

    proptest! {
        #[test]
        fn the_percentile_is_that_of_a_sorted_list(numbers in prop::collection::vec(-20i64..20, 0..60), percent in 0u8..=100, keep in 1usize..20) {
            let mut ranked = Ranked::new(percent);
            let fixed = |number: i64| Fixed::parse(&number.to_string()).unwrap();
            for (at, number) in numbers.iter().enumerate() {
                ranked.insert(fixed(*number));
                if at >= keep {
                    ranked.remove(fixed(numbers[at - keep]));
                }
                let window = &numbers[(at + 1).saturating_sub(keep)..=at];
                let (fast, slow) = (ranked.measure().unwrap().to_f64(), slow(window, percent).unwrap());
                prop_assert!((fast - slow).abs() < 1e-9, "{fast} {slow}");
            }
        }
    }

    #[test]
    fn no_numbers_have_no_percentile() {
        let mut ranked = Ranked::new(50);
        assert_eq!(ranked.measure(), None);
        let one = Fixed::parse("1").unwrap();
        ranked.insert(one);
        ranked.remove(one);
        assert_eq!(ranked.measure(), None);
    }
}
