//! What came out when rules were judged, by the values that they read: events of a batch repeat themselves, and a rule says
//! the same of the same values.

use crate::eval::{mix, spread};

/// Which rule, and of what: the plan of the event, and the record that it is judged as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) plan: u32,
    pub(super) record: u8,
    pub(super) rule: u32,
}

/// Places, as a power of two. The newest answer stays where two share one.
const PLACES_BITS: u32 = 13;
/// Numbers that are kept of one batch.
const MAX_KEPT: usize = 1 << 20;

/// Answers of one batch.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    /// From 1.
    batch: u64,
    places: Vec<Place>,
    /// Values of all questions, one after the other.
    kept: Vec<u64>,
    /// What was asked last: its values, and where its answer belongs.
    asked: Vec<u64>,
    last: (Question, usize),
}

#[derive(Debug, Clone, Copy, Default)]
struct Place {
    batch: u64,
    question: Question,
    holds: bool,
    /// Its values, in `kept`.
    first: u32,
    end: u32,
}

impl Verdicts {
    /// Forgets all, for the next batch.
    pub(super) fn begin(&mut self) {
        self.batch += 1;
        self.kept.clear();
        self.places.resize(1 << PLACES_BITS, Place::default());
    }

    /// Whether a rule holds over these values, if that is known.
    #[inline]
    pub(super) fn ask(&mut self, question: Question, values: impl Iterator<Item = u64>) -> Option<bool> {
        self.asked.clear();
        self.asked.extend(values);
        let head = u64::from(question.plan) << 40 ^ u64::from(question.record) << 32 ^ u64::from(question.rule);
        let hash = self.asked.iter().fold(spread(head), |hash, value| mix(hash, *value));
        let at = (hash >> (64 - PLACES_BITS)) as usize;
        self.last = (question, at);
        let place = self.places.get(at).filter(|place| place.batch == self.batch && place.question == question)?;
        let known = self.kept.get(place.first as usize..place.end as usize)?;
        (known == self.asked).then_some(place.holds)
    }

    /// Remembers what came out of what was asked last.
    pub(super) fn answer(&mut self, holds: bool) {
        let (question, at) = self.last;
        let Some(place) = self.places.get_mut(at).filter(|_| self.kept.len() + self.asked.len() <= MAX_KEPT) else { return };
        let first = self.kept.len() as u32;
        self.kept.extend_from_slice(&self.asked);
        *place = Place { batch: self.batch, question, holds, first, end: self.kept.len() as u32 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_to_the_same_question_over_the_same_values_in_the_same_batch() {
        let mut verdicts = Verdicts::default();
        let question = Question { plan: 1, record: 2, rule: 3 };
        let others = [Question { plan: 0, ..question }, Question { record: 0, ..question }, Question { rule: 0, ..question }];
        for holds in [true, false, true] {
            verdicts.begin();
            assert_eq!(verdicts.ask(question, [4, 5].into_iter()), None);
            verdicts.answer(holds);
            assert_eq!(verdicts.ask(question, [4, 5].into_iter()), Some(holds));
            for values in [&[4][..], &[4, 5, 0], &[5, 4], &[]] {
                assert_eq!(verdicts.ask(question, values.iter().copied()), None);
            }
            assert!(others.iter().all(|other| verdicts.ask(*other, [4, 5].into_iter()).is_none()));
        }
    }
}
