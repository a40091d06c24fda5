//! A sliding window over the events of one group: events come at its end and leave at its beginning, and what is measured
//! is kept up to date with each, so that its cost does not grow with the window.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use super::number::{Fixed, Measure};
use super::ranked::Ranked;

/// What is measured of the values in a window.
pub(crate) trait Tally {
    /// One event's value.
    type Item: Copy;
    fn add(&mut self, item: Self::Item);
    fn remove(&mut self, item: Self::Item);
    /// The measure of `events` events; none where it has none.
    fn measure(&self, events: usize) -> Option<Measure>;
    /// Bytes beyond the window's own, estimated.
    fn bytes(&self) -> usize {
        0
    }
}

/// Events in the order of their time.
#[derive(Debug)]
pub(crate) struct Slide<R, T: Tally> {
    entries: VecDeque<(i64, R, T::Item)>,
    tally: T,
}

impl<R, T: Tally> Slide<R, T> {
    pub(crate) fn new(tally: T) -> Self {
        Self { entries: VecDeque::new(), tally }
    }

    /// Adds the newest event. The number of events that had to leave for it is returned.
    pub(crate) fn push(&mut self, time: i64, event: R, item: T::Item, max: usize) -> usize {
        self.entries.push_back((time, event, item));
        self.tally.add(item);
        let excess = self.entries.len().saturating_sub(max);
        (0..excess).for_each(|_| self.pop());
        excess
    }

    /// Lets events before `start` leave.
    pub(crate) fn evict(&mut self, start: i64) {
        while self.entries.front().is_some_and(|(time, ..)| *time < start) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some((_, _, item)) = self.entries.pop_front() {
            self.tally.remove(item);
        }
        // A burst must not hold its memory for as long as its group lives.
        if self.entries.capacity() > 64 && self.entries.len() * 4 < self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    pub(crate) fn measure(&self) -> Option<Measure> {
        self.tally.measure(self.entries.len())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<(i64, R, T::Item)>() + self.tally.bytes()
    }

    pub(crate) fn entries(&self) -> &VecDeque<(i64, R, T::Item)> {
        &self.entries
    }
}

/// Counts events.
#[derive(Debug, Default)]
pub(crate) struct Count;

impl Tally for Count {
    type Item = ();
    fn add(&mut self, (): ()) {}
    fn remove(&mut self, (): ()) {}
    fn measure(&self, events: usize) -> Option<Measure> {
        Some(Measure::count(events))
    }
}

/// Counts different values.
#[derive(Debug, Default)]
pub(crate) struct Distinct {
    counts: HashMap<u128, u32, BuildHasherDefault<Hashed>>,
}

impl Tally for Distinct {
    type Item = u128;
    fn add(&mut self, value: u128) {
        *self.counts.entry(value).or_insert(0) += 1;
    }
    fn remove(&mut self, value: u128) {
        if let Some(count) = self.counts.get_mut(&value) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&value);
            }
        }
        if self.counts.capacity() > 64 && self.counts.len() * 8 < self.counts.capacity() {
            self.counts.shrink_to(self.counts.len() * 2);
        }
    }
    fn measure(&self, _: usize) -> Option<Measure> {
        Some(Measure::count(self.counts.len()))
    }
    fn bytes(&self) -> usize {
        self.counts.capacity() * (size_of::<(u128, u32)>() + 1)
    }
}

/// Keys are 128 bits of SHA-256 already: a part of them is as good a hash as any.
#[derive(Debug, Default)]
pub(crate) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, value: u128) {
        self.0 = value as u64;
    }
}

/// Adds numbers up; the mean where it is asked for.
#[derive(Debug)]
pub(crate) struct Sum {
    total: i128,
    is_mean: bool,
}

impl Sum {
    pub(crate) fn new(is_mean: bool) -> Self {
        Self { total: 0, is_mean }
    }
}

impl Tally for Sum {
    type Item = Fixed;
    fn add(&mut self, number: Fixed) {
        self.total += number.0;
    }
    fn remove(&mut self, number: Fixed) {
        self.total -= number.0;
    }
    fn measure(&self, events: usize) -> Option<Measure> {
        (events > 0).then(|| Measure::fraction(self.total, if self.is_mean { events } else { 1 }))
    }
}

impl Tally for Ranked {
    type Item = Fixed;
    fn add(&mut self, number: Fixed) {
        self.insert(number);
    }
    fn remove(&mut self, number: Fixed) {
        Self::remove(self, number);
    }
    fn measure(&self, _: usize) -> Option<Measure> {
        Self::measure(self)
    }
    fn bytes(&self) -> usize {
        self.len() * 3 * size_of::<Fixed>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measure<R, T: Tally>(slide: &Slide<R, T>) -> f64 {
        slide.measure().map_or(f64::NAN, Measure::to_f64)
    }

    #[test]
    fn a_value_counts_until_its_last_event_has_left() {
        let mut slide = Slide::new(Distinct::default());
        for (time, value) in [(0, 1), (1, 2), (2, 1)] {
            slide.push(time, (), value, 100);
        }
        assert_eq!(measure(&slide), 2.0);
        slide.evict(1);
        assert_eq!(measure(&slide), 2.0);
        slide.evict(2);
        assert_eq!(measure(&slide), 1.0);
    }

    #[test]
    fn a_sum_comes_back_to_where_it_began() {
        let mut slide = Slide::new(Sum::new(false));
        for time in 0..1000 {
            slide.push(time, (), Fixed::parse("0.1").unwrap(), 10);
        }
        assert_eq!(measure(&slide), Fixed::parse("0.1").map_or(0.0, |tenth| Measure::fraction(tenth.0 * 10, 1).to_f64()));
        slide.evict(1000);
        assert!(measure(&slide).is_nan());
    }

    #[test]
    fn a_full_window_gives_up_its_oldest_events_and_says_how_many() {
        let mut slide = Slide::new(Count);
        let gone: usize = (0..7).map(|time| slide.push(time, time, (), 5)).sum();
        assert_eq!((gone, measure(&slide)), (2, 5.0));
        assert_eq!(slide.entries()[0].1, 2);
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back() {
        let mut slide = Slide::new(Distinct::default());
        for time in 0..10_000 {
            slide.push(time, time, time as u128, 100_000);
        }
        let full = slide.bytes();
        slide.evict(9_990);
        assert!(slide.bytes() * 20 < full, "{} of {full}", slide.bytes());
    }
}
