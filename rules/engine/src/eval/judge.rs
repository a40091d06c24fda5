//! The fast evaluator: scan each value once, judge only the rules that a found atom triggers.
//!
//! Cost of one event: one pass of an automaton over each value that some rule names, one look at each rule whose rarest
//! part was found, and nothing for all others. The state of one event is marked by a counter, so nothing is cleared.

use std::collections::BTreeMap;

use super::frame::{Datum, Frame};
use super::needs::{Needs, atoms_of};
use super::program::{AtomId, Expr, Program, Scope, Selection};
use super::reference::{atom_holds, trip};
use super::scan::{Forms, Scan};
use super::subject::unmapped;

/// Rules of one program that are judged together, usually those of one logsource.
#[derive(Debug)]
pub struct Judge {
    /// By field number; none for fields without text atoms.
    fields: Vec<Option<Scan>>,
    anywhere: Option<Scan>,
    /// By atom: the rules it triggers.
    triggers: Vec<Vec<u32>>,
    /// Rules without a trigger.
    always: Vec<u32>,
}

/// What judging needs from event to event. One for each thread; any judge of the same program may use it.
#[derive(Debug, Default)]
pub struct Scratch {
    now: u32,
    /// By atom: the event in which a scan found it.
    found: Vec<u32>,
    /// By atom that no scan finds: the event in which it was judged, and what came out.
    judged: Vec<(u32, bool)>,
    /// By rule: the event in which it was looked at.
    looked: Vec<u32>,
    candidates: Vec<u32>,
    forms: Forms,
    matches: Vec<u32>,
}

impl Judge {
    /// Prepares these rules of a program.
    ///
    /// # Errors
    /// The texts of the rules are too many for one automaton.
    pub fn new(program: &Program, rules: &[usize]) -> Result<Self, aho_corasick::BuildError> {
        let mut scopes: BTreeMap<Option<usize>, Vec<AtomId>> = BTreeMap::new();
        for atom in used_atoms(program, rules) {
            let found = &program.atoms[atom.index()];
            if found.test.is_scanned() {
                let scope = match found.scope {
                    Scope::Field(field) => Some(field.index()),
                    Scope::Anywhere => None,
                };
                scopes.entry(scope).or_default().push(atom);
            }
        }
        let mut judge = Self { fields: Vec::new(), anywhere: None, triggers: Vec::new(), always: Vec::new() };
        judge.fields.resize_with(program.names.len(), || None);
        for (scope, atoms) in &scopes {
            let scan = Some(Scan::new(program, atoms)?);
            match scope {
                Some(field) => judge.fields[*field] = scan,
                None => judge.anywhere = scan,
            }
        }
        judge.index(program, rules);
        Ok(judge)
    }

    fn index(&mut self, program: &Program, rules: &[usize]) {
        self.triggers.resize_with(program.atoms.len(), Vec::new);
        let is_scanned = |atom: AtomId| program.atoms[atom.index()].test.is_scanned();
        let needs = Needs::new(program, rules, &is_scanned);
        for rule in rules {
            match needs.trigger(&program.rules[*rule]) {
                Some(atoms) => atoms.iter().for_each(|atom| self.triggers[atom.index()].push(*rule as u32)),
                None => self.always.push(*rule as u32),
            }
        }
    }

    /// The rules that match, by their place in the program, each once, in ascending order.
    pub fn matches<'s>(&self, program: &Program, frame: &Frame<'_>, scratch: &'s mut Scratch) -> &'s [u32] {
        scratch.begin(program);
        self.scan(program, frame, scratch);
        scratch.candidates.extend_from_slice(&self.always);
        let candidates = std::mem::take(&mut scratch.candidates);
        for candidate in &candidates {
            let rule = &program.rules[*candidate as usize];
            if scratch.holds(program, frame, &rule.condition, &rule.selections) {
                scratch.matches.push(*candidate);
            }
        }
        scratch.candidates = candidates;
        scratch.matches.sort_unstable();
        &scratch.matches
    }

    fn scan(&self, program: &Program, frame: &Frame<'_>, scratch: &mut Scratch) {
        for field in frame.fields() {
            let Some(Some(scan)) = self.fields.get(field.index()) else { continue };
            for datum in frame.values(*field) {
                self.scan_value(program, scan, *datum, scratch);
            }
        }
        if let Some(scan) = &self.anywhere {
            frame.texts().for_each(|datum| self.scan_value(program, scan, datum, scratch));
        }
    }

    fn scan_value(&self, program: &Program, scan: &Scan, datum: Datum<'_>, scratch: &mut Scratch) {
        self.scan_form(program, scan, datum, scratch);
        if let Datum::Text(bytes) = datum
            && let Some(text) = unmapped(bytes)
        {
            self.scan_form(program, scan, Datum::Text(text.as_bytes()), scratch);
        }
    }

    fn scan_form(&self, program: &Program, scan: &Scan, datum: Datum<'_>, scratch: &mut Scratch) {
        let mut forms = std::mem::take(&mut scratch.forms);
        if forms.take(datum) {
            scan.run(program, datum, &forms, &mut |atom| scratch.found(atom, &self.triggers));
        }
        scratch.forms = forms;
    }

    /// How many rules must be judged for every event.
    pub fn always(&self) -> usize {
        self.always.len()
    }

    /// How many rules the last event made this judge look at, of all those it has.
    pub fn looked_at(scratch: &Scratch) -> usize {
        scratch.candidates.len()
    }

    /// Memory that it holds, roughly, in bytes.
    pub fn memory(&self) -> usize {
        let scans = self.fields.iter().flatten().chain(&self.anywhere).map(Scan::memory).sum::<usize>();
        scans + self.triggers.iter().map(|rules| 24 + rules.capacity() * 4).sum::<usize>()
    }
}

impl Scratch {
    fn begin(&mut self, program: &Program) {
        self.matches.clear();
        self.candidates.clear();
        self.found.resize(program.atoms.len(), 0);
        self.judged.resize(program.atoms.len(), (0, false));
        self.looked.resize(program.rules.len(), 0);
        self.now = self.now.wrapping_add(1);
        if self.now == 0 {
            // After four billion events the marks begin anew.
            self.found.fill(0);
            self.judged.fill((0, false));
            self.looked.fill(0);
            self.now = 1;
        }
    }

    fn found(&mut self, atom: AtomId, triggers: &[Vec<u32>]) {
        let mark = &mut self.found[atom.index()];
        if *mark == self.now {
            return;
        }
        *mark = self.now;
        for rule in &triggers[atom.index()] {
            let looked = &mut self.looked[*rule as usize];
            if *looked != self.now {
                *looked = self.now;
                self.candidates.push(*rule);
            }
        }
    }

    fn holds(&mut self, program: &Program, frame: &Frame<'_>, expr: &Expr, selections: &[Selection]) -> bool {
        expr.holds(selections, &mut |atom| self.atom(program, frame, atom))
    }

    fn atom(&mut self, program: &Program, frame: &Frame<'_>, id: AtomId) -> bool {
        let atom = &program.atoms[id.index()];
        trip(&atom.test);
        if atom.test.is_scanned() {
            return self.found[id.index()] == self.now;
        }
        let (when, held) = self.judged[id.index()];
        if when == self.now {
            return held;
        }
        let held = atom_holds(atom, frame);
        self.judged[id.index()] = (self.now, held);
        held
    }
}

fn used_atoms(program: &Program, rules: &[usize]) -> Vec<AtomId> {
    let mut atoms = Vec::new();
    for rule in rules {
        let rule = &program.rules[*rule];
        rule.selections.iter().for_each(|selection| atoms_of(&selection.body, &mut atoms));
    }
    atoms.sort_unstable();
    atoms.dedup();
    atoms
}
