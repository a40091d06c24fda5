//! The fast evaluator: look for the triggers of rules in each value once, then judge only the rules whose trigger was
//! found, each test at most once.
//!
//! Cost of one event: one pass over each value that some rule is chosen by, one look at each rule whose rarest part was
//! found, and nothing for all others. The state of one event is marked by a counter, so nothing is cleared.

use std::collections::{BTreeMap, HashMap};

use super::detail::Found;
use super::forms::Forms;
use super::frame::{Datum, Frame};
use super::memo::{Key, Memo};
use super::names::FieldId;
use super::needs::{Needs, atoms_of};
use super::program::{Atom, AtomId, Program, Scope};
use super::reference::{atom_holds, trip};
use super::scan::Scan;
use super::subject::unmapped;
use super::test::Test;

/// Rules of one program that are judged together, usually those of one logsource.
#[derive(Debug)]
pub struct Judge {
    /// By field number: place in `scans`, or [`NONE`].
    fields: Vec<u32>,
    scans: Vec<Scan>,
    anywhere: Option<Scan>,
    triggers: Vec<Trigger>,
    /// Rules of all triggers, one trigger after the other.
    triggered: Vec<u32>,
    /// Rules without a trigger.
    always: Vec<u32>,
    reads: Vec<FieldId>,
    reads_everything: bool,
}

const NONE: u32 = u32::MAX;

/// An atom that makes rules be judged.
#[derive(Debug, Clone, Copy)]
struct Trigger {
    atom: AtomId,
    /// Finding it shows that the atom holds.
    proves: bool,
    /// Its rules, in `triggered`.
    first: u32,
    end: u32,
}

/// What judging needs from event to event. One for each thread; any judge of the same program may use it.
#[derive(Debug, Default)]
pub struct Scratch {
    marks: Marks,
    forms: Forms,
    memo: Memo,
    /// Triggers of the value that was scanned last.
    told: Vec<u32>,
    matches: Vec<u32>,
}

/// What is known of one event.
#[derive(Debug, Default)]
struct Marks {
    now: u32,
    /// By atom: the event in which it was judged, and in the lowest bit what came out.
    judged: Vec<u32>,
    /// By rule: the event in which it was looked at.
    looked: Vec<u32>,
    candidates: Vec<u32>,
}

/// Memory of one search: a hundred times what all public rules need, and small enough for 32-bit places.
const MAX_SCAN_BYTES: usize = 1 << 30;
/// Events before the marks begin anew: a mark has one bit less than its word.
const MAX_MARK: u32 = u32::MAX >> 1;

impl Judge {
    /// Prepares these rules of a program.
    ///
    /// # Errors
    /// The rules hold more text than one search can address.
    pub fn new(program: &Program, rules: &[usize]) -> Result<Self, TooMuchText> {
        let mut needs = Needs::new(program);
        let mut always = Vec::new();
        let mut by_atom: BTreeMap<AtomId, Vec<u32>> = BTreeMap::new();
        for rule in rules {
            match needs.trigger(&program.rules[*rule]) {
                Some(atoms) => atoms.iter().for_each(|atom| by_atom.entry(*atom).or_default().push(*rule as u32)),
                None => always.push(*rule as u32),
            }
        }
        let mut judge = Self {
            fields: vec![NONE; program.names.len()],
            scans: Vec::new(),
            anywhere: None,
            triggers: Vec::with_capacity(by_atom.len()),
            triggered: Vec::new(),
            always,
            reads: Vec::new(),
            reads_everything: false,
        };
        judge.note_reads(program, rules);
        let mut scopes: HashMap<Scope, Vec<u32>> = HashMap::new();
        for (atom, rules) in by_atom {
            let first = judge.triggered.len() as u32;
            judge.triggered.extend(rules);
            let proves = needs.needles(atom).is_some_and(|needles| needles.prove);
            scopes.entry(program.atoms[atom.index()].scope).or_default().push(judge.triggers.len() as u32);
            judge.triggers.push(Trigger { atom, proves, first, end: judge.triggered.len() as u32 });
        }
        judge.make_scans(program, &needs, &scopes)?;
        Ok(judge)
    }

    fn make_scans(&mut self, program: &Program, needs: &Needs<'_>, scopes: &HashMap<Scope, Vec<u32>>) -> Result<(), TooMuchText> {
        for (scope, triggers) in scopes {
            let atom = |trigger: &u32| self.triggers[*trigger as usize].atom;
            let wanted = triggers.iter().filter_map(|trigger| Some((needs.needles(atom(trigger))?, *trigger)));
            let scan = Scan::new(wanted, program.habits.rarity());
            if scan.memory() > MAX_SCAN_BYTES {
                return Err(TooMuchText(scan.memory()));
            }
            match scope {
                Scope::Anywhere => self.anywhere = Some(scan),
                Scope::Field(field) => {
                    self.fields[field.index()] = self.scans.len() as u32;
                    self.scans.push(scan);
                }
            }
        }
        self.triggered.shrink_to_fit();
        Ok(())
    }

    /// Writes down what its rules read, whatever they are chosen by.
    fn note_reads(&mut self, program: &Program, rules: &[usize]) {
        let mut atoms = Vec::new();
        for rule in rules {
            program.rules[*rule].selections.iter().for_each(|selection| atoms_of(&selection.body, &mut atoms));
        }
        atoms.sort_unstable();
        atoms.dedup();
        for atom in atoms.iter().map(|id| &program.atoms[id.index()]) {
            match atom.scope {
                Scope::Field(field) => self.reads.push(field),
                Scope::Anywhere => self.reads_everything = true,
            }
            if let Test::Reference { other, .. } = atom.test {
                self.reads.push(other);
            }
        }
        self.reads.sort_unstable();
        self.reads.dedup();
        self.reads.shrink_to_fit();
    }

    /// The rules that match, by their place in the program, each once, in ascending order.
    pub fn matches<'s>(&self, program: &Program, frame: &Frame<'_>, scratch: &'s mut Scratch) -> &'s [u32] {
        scratch.begin(program, frame);
        self.scan(frame, scratch);
        scratch.marks.candidates.extend_from_slice(&self.always);
        let candidates = std::mem::take(&mut scratch.marks.candidates);
        for candidate in &candidates {
            if program.lean.holds(*candidate as usize, &mut |atom| scratch.atom(program, frame, atom)) {
                scratch.matches.push(*candidate);
            }
        }
        scratch.marks.candidates = candidates;
        scratch.matches.sort_unstable();
        &scratch.matches
    }

    fn scan(&self, frame: &Frame<'_>, scratch: &mut Scratch) {
        for field in frame.fields() {
            let Some(scan) = self.fields.get(field.index()).and_then(|place| self.scans.get(*place as usize)) else { continue };
            frame.places(*field).for_each(|place| self.scan_value(scan, frame, place, scratch));
        }
        if let Some(scan) = &self.anywhere {
            let texts = (0..frame.len()).filter(|place| matches!(frame.at(*place), Datum::Text(_)));
            texts.for_each(|place| self.scan_value(scan, frame, place, scratch));
        }
    }

    fn scan_value(&self, scan: &Scan, frame: &Frame<'_>, place: usize, scratch: &mut Scratch) {
        let Datum::Text(bytes) = frame.at(place) else { return self.scan_anew(scan, frame, place, scratch) };
        let Some(mark) = scratch.forms.mark(place, bytes) else { return self.scan_anew(scan, frame, place, scratch) };
        let key = Key::of(scan.number(), mark);
        let Scratch { memo, marks, .. } = scratch;
        match memo.find(key, bytes) {
            Some(triggers) => triggers.iter().for_each(|trigger| marks.found(self, *trigger)),
            None => {
                self.scan_anew(scan, frame, place, scratch);
                scratch.memo.keep(key, bytes, &scratch.told);
            }
        }
    }

    fn scan_anew(&self, scan: &Scan, frame: &Frame<'_>, place: usize, scratch: &mut Scratch) {
        let form = scratch.forms.of(frame, place);
        let Scratch { marks, forms, told, .. } = scratch;
        told.clear();
        scan.run(forms, form, &mut |trigger| {
            if told.last() != Some(&trigger) {
                told.push(trigger);
                marks.found(self, trigger);
            }
        });
    }

    /// Why a rule of this program matched a frame, at most `max` fields; see [`super::explain`].
    pub fn explain(program: &Program, rule: usize, frame: &Frame<'_>, scratch: &mut Scratch, max: usize) -> Found {
        scratch.begin(program, frame);
        super::detail::explain_by(program, &program.rules[rule], frame, max, &mut |atom| scratch.atom(program, frame, atom))
    }

    /// The fields that some rule reads, each once.
    pub fn reads(&self) -> &[FieldId] {
        &self.reads
    }

    /// Whether some rule searches all texts of an event.
    pub fn reads_everything(&self) -> bool {
        self.reads_everything
    }

    /// How many rules must be judged for every event.
    pub fn always(&self) -> usize {
        self.always.len()
    }

    /// How many rules the last event made this judge look at, of all those it has.
    pub fn looked_at(scratch: &Scratch) -> usize {
        scratch.marks.candidates.len()
    }

    /// Memory that it holds, roughly, in bytes.
    pub fn memory(&self) -> usize {
        let scans = self.scans.iter().chain(&self.anywhere).map(Scan::memory).sum::<usize>();
        let lists = self.fields.len() + self.triggered.capacity() + self.always.capacity() + self.reads.capacity();
        scans + lists * 4 + self.triggers.capacity() * size_of::<Trigger>()
    }
}

/// Rules that cannot be judged together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("their texts need {0} bytes, the limit is {max}", max = MAX_SCAN_BYTES)]
pub struct TooMuchText(usize);

impl Marks {
    fn begin(&mut self, program: &Program) {
        self.candidates.clear();
        self.judged.resize(program.atoms.len(), 0);
        self.looked.resize(program.rules.len(), 0);
        self.now += 1;
        if self.now > MAX_MARK {
            self.judged.fill(0);
            self.looked.fill(0);
            self.now = 1;
        }
    }

    /// Takes a trigger in: its rules will be looked at.
    #[inline]
    fn found(&mut self, judge: &Judge, trigger: u32) {
        let trigger = judge.triggers[trigger as usize];
        if trigger.proves {
            self.judged[trigger.atom.index()] = self.now << 1 | 1;
        }
        for rule in &judge.triggered[trigger.first as usize..trigger.end as usize] {
            if self.looked[*rule as usize] != self.now {
                self.looked[*rule as usize] = self.now;
                self.candidates.push(*rule);
            }
        }
    }
}

impl Scratch {
    fn begin(&mut self, program: &Program, frame: &Frame<'_>) {
        self.matches.clear();
        self.forms.begin(frame);
        self.marks.begin(program);
    }

    fn atom(&mut self, program: &Program, frame: &Frame<'_>, id: AtomId) -> bool {
        trip(&program.atoms[id.index()].test);
        let mark = self.marks.judged[id.index()];
        if mark >> 1 == self.marks.now {
            return mark & 1 == 1;
        }
        let held = self.judge_atom(&program.atoms[id.index()], frame);
        self.marks.judged[id.index()] = self.marks.now << 1 | u32::from(held);
        held
    }

    fn judge_atom(&mut self, atom: &Atom, frame: &Frame<'_>) -> bool {
        match (&atom.scope, &atom.test) {
            (Scope::Field(_), Test::Null | Test::Exists(_) | Test::Reference { .. }) => atom_holds(atom, frame),
            (Scope::Field(field), test) => frame.places(*field).any(|place| self.passes(test, frame, place)),
            (Scope::Anywhere, test) => (0..frame.len())
                .filter(|place| matches!(frame.at(*place), Datum::Text(_)))
                .any(|place| self.passes(test, frame, place)),
        }
    }

    /// Whether one value passes, also in the other notation of an address.
    fn passes(&mut self, test: &Test, frame: &Frame<'_>, place: usize) -> bool {
        let datum = frame.at(place);
        if let Test::Folded(pattern) = test {
            let form = self.forms.of(frame, place);
            let fits = |text: &str| pattern.fits(text);
            return !form.is_null && (fits(self.forms.folded(form)) || self.forms.other(form).is_some_and(fits));
        }
        // None of the other tests looks at the folded text.
        if test.holds(datum, &datum.text(), "") {
            return true;
        }
        let Datum::Text(bytes) = datum else { return false };
        unmapped(bytes).is_some_and(|text| test.holds(Datum::Text(text.as_bytes()), &text, ""))
    }
}
