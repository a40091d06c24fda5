//! What came out when rules were judged, by the values that they read: events of a batch repeat themselves, and a rule says
//! the same of the same values.

use crate::eval::{Kept, Span, Stamped, mix, spread};

/// Which rule, and of what: the plan of the event, and the record that it is judged as.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) plan: u32,
    pub(super) record: u8,
    pub(super) rule: u32,
}

/// Places, as a power of two.
const PLACES_BITS: u32 = 13;
/// Bytes of what is said of matches that are kept of one batch.
const MAX_REASONS: usize = 1 << 20;

/// What is known of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer<'v, R> {
    /// It does not hold.
    No,
    /// It holds.
    Yes,
    /// It holds, and why is known as well.
    Because(&'v R),
}

/// Answers of one batch.
#[derive(Debug)]
pub(super) struct Verdicts<R> {
    known: Stamped<Question, Verdict, PLACES_BITS>,
    /// Values of all questions.
    kept: Kept<u64>,
    /// What was asked last: its values, its hash, and whether its answer is kept.
    asked: Vec<u64>,
    last: (Question, u64),
    is_kept: bool,
    reasons: Vec<R>,
    /// Bytes of them all.
    size: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Verdict {
    holds: bool,
    /// Which of the reasons is its, from 1.
    reason: u32,
    values: Span,
}

impl<R> Default for Verdicts<R> {
    fn default() -> Self {
        let (known, kept, asked, reasons) = (Stamped::default(), Kept::default(), Vec::new(), Vec::new());
        Self { known, kept, asked, last: (Question::default(), 0), is_kept: false, reasons, size: 0 }
    }
}

impl<R: Clone> Verdicts<R> {
    /// Forgets all, for the next batch.
    pub(super) fn begin(&mut self) {
        self.known.begin();
        self.kept.begin();
        self.reasons.clear();
        self.size = 0;
    }

    /// Whether a rule holds over these values, if that is known.
    #[inline]
    pub(super) fn ask(&mut self, question: Question, values: impl Iterator<Item = u64>) -> Option<Answer<'_, R>> {
        self.asked.clear();
        self.asked.extend(values);
        let head = u64::from(question.plan) << 40 ^ u64::from(question.record) << 32 ^ u64::from(question.rule);
        let hash = self.asked.iter().fold(spread(head), |hash, value| mix(hash, *value));
        (self.last, self.is_kept) = ((question, hash), false);
        let verdict = self.known.get(hash, question)?;
        self.is_kept = self.kept.get(verdict.values) == self.asked;
        let reason = (verdict.reason as usize).checked_sub(1).and_then(|at| self.reasons.get(at));
        self.is_kept.then_some(match reason {
            Some(reason) => Answer::Because(reason),
            None if verdict.holds => Answer::Yes,
            None => Answer::No,
        })
    }

    /// Remembers what came out of what was asked last, and says it again.
    pub(super) fn answer(&mut self, holds: bool) -> bool {
        let (question, hash) = self.last;
        let values = self.kept.put(&self.asked);
        self.is_kept = values.is_some();
        values.into_iter().for_each(|values| self.known.put(hash, question, Verdict { holds, reason: 0, values }));
        holds
    }

    /// Remembers why the rule holds that was asked for last; that takes so many bytes.
    pub(super) fn explain(&mut self, reason: &R, size: usize) {
        let has_room = self.is_kept && self.size + size <= MAX_REASONS;
        let (question, hash) = self.last;
        if let Some(verdict) = self.known.get_mut(hash, question).filter(|_| has_room) {
            self.size += size;
            self.reasons.push(reason.clone());
            verdict.reason = self.reasons.len() as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_to_the_same_question_over_the_same_values_in_the_same_batch() {
        let mut verdicts: Verdicts<&str> = Verdicts::default();
        let question = Question { plan: 1, record: 2, rule: 3 };
        let others = [Question { plan: 0, ..question }, Question { record: 0, ..question }, Question { rule: 0, ..question }];
        for (holds, answer) in [(true, Answer::Yes), (false, Answer::No), (true, Answer::Yes)] {
            verdicts.begin();
            assert_eq!(verdicts.ask(question, [4, 5].into_iter()), None);
            assert_eq!(verdicts.answer(holds), holds);
            assert_eq!(verdicts.ask(question, [4, 5].into_iter()), Some(answer));
            for values in [&[4][..], &[4, 5, 0], &[5, 4], &[]] {
                assert_eq!(verdicts.ask(question, values.iter().copied()), None);
            }
            assert!(others.iter().all(|other| verdicts.ask(*other, [4, 5].into_iter()).is_none()));
        }
    }

    #[test]
    fn a_reason_is_given_to_what_it_was_said_of_alone() {
        let mut verdicts: Verdicts<&str> = Verdicts::default();
        let question = Question { plan: 1, record: 2, rule: 3 };
        for _ in 0..2 {
            verdicts.begin();
            for (value, reason, size) in [(4, "four", 1), (5, "five", MAX_REASONS), (6, "six", 1)] {
                assert_eq!(verdicts.ask(question, [value].into_iter()), None);
                verdicts.explain(&"too early", 0);
                verdicts.answer(true);
                verdicts.explain(&reason, size);
            }
            assert_eq!(verdicts.ask(question, [4].into_iter()), Some(Answer::Because(&"four")));
            assert_eq!(verdicts.ask(question, [5].into_iter()), Some(Answer::Yes), "there was no room");
            assert_eq!(verdicts.ask(question, [6].into_iter()), Some(Answer::Because(&"six")));
        }
        while verdicts.kept.put(&[0; 1]).is_some() {}
        assert_eq!(verdicts.ask(question, [7].into_iter()), None);
        verdicts.answer(true);
        verdicts.explain(&"seven", 1);
        assert_eq!(verdicts.ask(question, [7].into_iter()), None);
        assert_eq!(verdicts.reasons, ["four", "six"]);
    }
}
