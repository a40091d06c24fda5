//! Judging by the book: every test of every rule, one after the other. Slow and plain; what is fast must agree with it.

use super::frame::{Datum, Frame};
use super::pattern::fold;
use super::program::{Atom, AtomId, CoreRule, Program, Scope};
use super::subject::unmapped;
use super::test::{Test, refers};

/// The rules that match, by their place in the program.
pub fn matches(program: &Program, frame: &Frame<'_>) -> Vec<usize> {
    let matching = program.rules.iter().enumerate().filter(|(_, rule)| holds(program, rule, frame));
    matching.map(|(index, _)| index).collect()
}

/// Whether one rule matches.
pub fn holds(program: &Program, rule: &CoreRule, frame: &Frame<'_>) -> bool {
    let mut atom = |id: AtomId| atom_holds(&program.atoms[id.index()], frame);
    rule.condition.holds(&rule.selections, &mut atom)
}

/// Whether one test holds.
pub fn atom_holds(atom: &Atom, frame: &Frame<'_>) -> bool {
    trip(&atom.test);
    let Scope::Field(field) = atom.scope else {
        return frame.texts().any(|datum| passes(&atom.test, datum));
    };
    let values = frame.values(field);
    match &atom.test {
        Test::Null => values.iter().all(|datum| *datum == Datum::Null),
        Test::Exists(wanted) => *wanted != values.is_empty(),
        Test::Reference { other, anchor, cased } => refers(values, frame.values(*other), *anchor, *cased),
        test => values.iter().any(|datum| passes(test, *datum)),
    }
}

/// Whether one value passes, also in the other notation of an address.
pub(crate) fn passes(test: &Test, datum: Datum<'_>) -> bool {
    let text = datum.text();
    if test.holds(datum, &text, &fold(&text)) {
        return true;
    }
    datum.is_text() && unmapped(text.as_bytes()).is_some_and(|text| test.holds(Datum::Text(text.as_bytes()), &text, &fold(&text)))
}

/// Lets a test ask for a panic in the evaluator; nothing else ever does.
#[inline]
pub(crate) fn trip(test: &Test) {
    #[cfg(test)]
    assert_ne!(test.longest_text(), "panics in the evaluator", "a test asked for this panic");
    let _only_for_tests = test;
}
