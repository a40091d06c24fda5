//! What judging keeps of one event, and from event to event: which atoms were judged and what came out, which rules were
//! looked at, values in folded form. Everything is marked by counters, so nothing is cleared.

use super::detail::Truth;
use super::forms::Forms;
use super::frame::Datum;
use super::frame::Frame;
use super::memo::{Dictionary, Held, Memo};
use super::pattern::Pattern;
use super::program::{Atom, AtomId, CoreRule, Program, Scope};
use super::reference::{atom_holds, trip};
use super::searched::Searched;
use super::subject::unmapped;
use super::test::Test;

/// What judging needs from event to event. One for each thread; any judge of the same program may use it.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) marks: Marks,
    pub(super) forms: Forms,
    pub(super) memo: Memo,
    /// Numbers of strings are those of one batch.
    pub(super) is_batch: bool,
    pub(super) dictionary: Dictionary,
    held: Held,
    /// Triggers of the value that was scanned last.
    pub(super) told: Vec<u32>,
    pub(super) matches: Vec<u32>,
}

/// What is known of one event.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Counts frames. What was judged of a frame is known to every judge that it is put before.
    frame: u32,
    /// By atom: the frame in which it was judged or found, and in the lowest two bits what came out.
    judged: Vec<u32>,
    /// The frame that was searched last, and what was looked for.
    searched: (u32, u64),
    /// Counts calls.
    call: u32,
    /// By rule: the call in which it was looked at.
    looked: Vec<u32>,
    pub(super) candidates: Vec<u32>,
}

/// Bits of a mark that say what came out.
const TRUTH_BITS: u32 = 2;
/// An atom does not hold, holds, or may hold.
const FALSE: u32 = 0;
const TRUE: u32 = 1;
const FOUND: u32 = 2;
/// Events before the marks begin anew: a mark has two bits less than its word.
const MAX_MARK: u32 = u32::MAX >> TRUTH_BITS;

/// The next number for marks, all of which are wiped when numbers begin anew.
fn next(number: u32, marks: &mut [u32]) -> u32 {
    if number >= MAX_MARK {
        marks.fill(0);
        return 1;
    }
    number + 1
}

impl Marks {
    /// Gets ready for a frame, which may be the last one again.
    fn begin(&mut self, program: &Program, is_new: bool) {
        self.judged.resize(program.atoms.len(), 0);
        if is_new {
            self.frame = next(self.frame, &mut self.judged);
        }
    }

    /// Gets ready for another look at rules.
    pub(super) fn call(&mut self, program: &Program) {
        self.candidates.clear();
        self.looked.resize(program.rules.len(), 0);
        self.call = next(self.call, &mut self.looked);
    }

    /// Writes down that a search found an atom: that it holds, or may.
    #[inline]
    pub(super) fn find(&mut self, atom: AtomId, proves: bool) {
        if proves {
            self.put(atom, TRUE);
        } else if self.of(atom).is_none() {
            self.put(atom, FOUND);
        }
    }

    /// What was written down about an atom.
    #[inline]
    fn of(&self, atom: AtomId) -> Option<u32> {
        let mark = self.judged[atom.index()];
        (mark >> TRUTH_BITS == self.frame).then_some(mark & ((1 << TRUTH_BITS) - 1))
    }

    #[inline]
    fn put(&mut self, atom: AtomId, truth: u32) {
        self.judged[atom.index()] = self.frame << TRUTH_BITS | truth;
    }

    /// Writes down that all values of this frame were searched.
    pub(super) fn is_searched_by(&mut self, number: u64) {
        self.searched = (self.frame, number);
    }

    /// Whether all values of this frame were searched for that.
    pub(super) fn was_searched_by(&self, number: u64) -> bool {
        self.searched == (self.frame, number)
    }

    /// A rule will be looked at.
    #[inline]
    pub(super) fn look_at(&mut self, rule: u32) {
        if self.looked[rule as usize] != self.call {
            self.looked[rule as usize] = self.call;
            self.candidates.push(rule);
        }
    }
}

/// What is known of the atoms of one event.
pub(super) struct Known<'a, 'f> {
    pub(super) scratch: &'a mut Scratch,
    pub(super) program: &'a Program,
    pub(super) frame: &'a Frame<'f>,
    /// What all values of the frame were searched for.
    pub(super) searched: Option<&'a dyn Searched>,
    /// The rule in hand.
    pub(super) rule: usize,
}

impl Truth for Known<'_, '_> {
    fn atom(&mut self, id: AtomId) -> bool {
        match self.searched {
            Some(searched) => self.scratch.searched_atom(searched, self.program, self.frame, id),
            None => self.scratch.atom(self.program, self.frame, id),
        }
    }

    fn selection(&mut self, _rule: &CoreRule, number: usize) -> bool {
        self.program.lean.selection_holds(self.rule, number, &mut |id| self.atom(id))
    }

    fn passes(&mut self, test: &Test, place: usize) -> bool {
        self.scratch.passes(test, self.frame, place)
    }
}

impl Scratch {
    /// Until [`Scratch::end_batch`], all frames with numbered strings are of one batch, which has so many bytes.
    pub(crate) fn begin_batch(&mut self, size: usize) {
        self.is_batch = true;
        self.dictionary.begin();
        self.held.begin();
        self.forms.begin_batch(true, size);
    }

    /// Frames are of no batch any more.
    pub(crate) fn end_batch(&mut self) {
        self.is_batch = false;
        self.forms.begin_batch(false, 0);
    }

    /// The rules that are looked at; to be given back.
    pub(crate) fn take_candidates(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.marks.candidates)
    }

    /// Gives memory back.
    pub(crate) fn give_back(&mut self, candidates: Vec<u32>) {
        self.marks.candidates = candidates;
    }

    pub(super) fn begin(&mut self, program: &Program, frame: &Frame<'_>) {
        let is_new = self.forms.begin(frame);
        self.marks.begin(program, is_new);
    }

    /// Whether an atom holds in a frame whose values were all searched: what was looked for and not found does not.
    #[inline]
    pub(super) fn searched_atom(
        &mut self,
        searched: &(impl Searched + ?Sized),
        program: &Program,
        frame: &Frame<'_>,
        id: AtomId,
    ) -> bool {
        match self.marks.of(id) {
            Some(FALSE) => false,
            None if searched.has(id) => {
                self.marks.put(id, FALSE);
                false
            }
            _ => self.atom(program, frame, id),
        }
    }

    pub(super) fn atom(&mut self, program: &Program, frame: &Frame<'_>, id: AtomId) -> bool {
        trip(&program.atoms[id.index()].test);
        match self.marks.of(id) {
            Some(TRUE) => true,
            Some(FALSE) => false,
            _ => {
                let held = match self.string_of(&program.atoms[id.index()], frame) {
                    Some(string) => self.judge_string(program, frame, id, string),
                    None => self.judge_atom(&program.atoms[id.index()], frame),
                };
                self.marks.put(id, if held { TRUE } else { FALSE });
                held
            }
        }
    }

    /// The string of the batch in hand that alone decides whether an atom holds.
    fn string_of(&self, atom: &Atom, frame: &Frame<'_>) -> Option<u32> {
        let Scope::Field(field) = atom.scope else { return None };
        let places = frame.places(field);
        let is_one =
            self.is_batch && places.len() == 1 && !matches!(atom.test, Test::Null | Test::Exists(_) | Test::Reference { .. });
        if is_one { frame.number(places.start) } else { None }
    }

    fn judge_string(&mut self, program: &Program, frame: &Frame<'_>, id: AtomId, string: u32) -> bool {
        self.held.get(id, string).unwrap_or_else(|| {
            let held = self.judge_atom(&program.atoms[id.index()], frame);
            self.held.put(id, string, held);
            held
        })
    }

    fn judge_atom(&mut self, atom: &Atom, frame: &Frame<'_>) -> bool {
        match (&atom.scope, &atom.test) {
            (Scope::Field(_), Test::Null | Test::Exists(_) | Test::Reference { .. }) => atom_holds(atom, frame),
            (Scope::Field(field), test) => frame.places(*field).any(|place| self.passes(test, frame, place)),
            (Scope::Anywhere, test) => {
                (0..frame.len()).filter(|place| frame.at(*place).is_text()).any(|place| self.passes(test, frame, place))
            }
        }
    }

    /// Whether one value passes, also in the other notation of an address.
    fn passes(&mut self, test: &Test, frame: &Frame<'_>, place: usize) -> bool {
        let datum = frame.at(place);
        if let Test::Folded(pattern) = test {
            let form = self.forms.of(frame, place);
            if let Pattern::Contains(text) = pattern
                && !self.forms.may_have(place, text)
            {
                return false;
            }
            let fits = |text: &[u8]| pattern.fits(text);
            return !form.is_null && (fits(self.forms.folded(form)) || self.forms.other(form).is_some_and(fits));
        }
        if let Test::Regex(expression) = test {
            let form = self.forms.of(frame, place);
            // Addresses have another notation, which the expression may fit.
            let is_plain = form.is_ascii && self.forms.other(form).is_none();
            if is_plain && !expression.required().stands_in(self.forms.folded(form)) {
                return false;
            }
        }
        // None of the other tests looks at the folded text.
        let text = datum.text();
        if test.holds(datum, &text, "") {
            return true;
        }
        datum.is_text() && unmapped(text.as_bytes()).is_some_and(|text| test.holds(Datum::Text(text.as_bytes()), &text, ""))
    }
}
