//! Which stream is next: detections always, the other classes by weight, so that a higher class gets more and no class
//! starves.
//!
//! Owns a credit per class (smooth weighted round robin): among the classes that have something to send, the richest
//! is next and pays for all.

use beffroi_schema::Stream;

use super::lane::Lane;

/// Shares of exec, network, file and bulk.
const WEIGHTS: [i64; Stream::ALL.len()] = [0, 8, 4, 2, 1];

/// The credits.
#[derive(Debug)]
pub(super) struct Schedule {
    credits: [i64; Stream::ALL.len()],
}

impl Schedule {
    pub(super) fn new() -> Self {
        Self { credits: [0; Stream::ALL.len()] }
    }

    /// Index of the lane to send from; `None` when no lane is ready.
    pub(super) fn next(&mut self, lanes: &mut [Lane]) -> Option<usize> {
        if lanes.first_mut().is_some_and(Lane::is_ready) {
            return Some(0);
        }
        let ready: Vec<usize> = (1..lanes.len()).filter(|index| lanes[*index].is_ready()).collect();
        self.choose(&ready)
    }

    fn choose(&mut self, ready: &[usize]) -> Option<usize> {
        for index in ready {
            self.credits[*index] += WEIGHTS[*index];
        }
        let chosen = *ready.iter().max_by_key(|index| (self.credits[**index], std::cmp::Reverse(**index)))?;
        self.credits[chosen] -= ready.iter().map(|index| WEIGHTS[*index]).sum::<i64>();
        Some(chosen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_class_gets_more_and_none_starves() {
        let mut schedule = Schedule::new();
        let mut turns = [0; 5];
        for _ in 0..150 {
            turns[schedule.choose(&[1, 2, 3, 4]).unwrap()] += 1;
        }
        assert_eq!(turns, [0, 80, 40, 20, 10]);
    }

    #[test]
    fn a_class_that_is_alone_gets_everything() {
        let mut schedule = Schedule::new();
        assert!((0..10).all(|_| schedule.choose(&[4]) == Some(4)));
        assert_eq!(schedule.choose(&[]), None);
    }
}
