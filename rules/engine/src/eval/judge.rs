//! The fast evaluator: look for the triggers of rules in each value once, then judge only the rules whose trigger was
//! found, each test at most once.
//!
//! Cost of one event: one pass over each value that some rule is chosen by, one look at each rule whose rarest part was
//! found, and nothing for all others. The state of one event is marked by counters, so nothing is cleared.

use std::collections::BTreeMap;

use super::frame::{Datum, Frame};
use super::memo::{Key, Kind};
use super::names::FieldId;
use super::needles::Needles;
use super::needs::Needs;
use super::possible::Given;
use super::program::{AtomId, Program, Scope};
use super::scan::Scan;
use super::scratch::{Marks, Scratch};
use super::searched::{Finders, among, further, next_number};
use super::wanted::Wanted;

/// Rules of one program that share one search, usually those of one product.
#[derive(Debug)]
pub struct Judge {
    /// By field number: place in `scans`, or [`NONE`].
    fields: Vec<u32>,
    scans: Vec<Scan>,
    pub(super) triggers: Vec<Trigger>,
    /// Atoms that are found in values of their field, and the triggers that find them.
    pub(super) finders: Finders,
    /// Atoms that are found in all texts when one of the rules of their trigger is chosen.
    pub(super) finders_anywhere: Finders,
    pub(super) number: u64,
    /// Rules of all triggers, one trigger after the other.
    triggered: Vec<u32>,
    /// Triggers that are looked for in every text.
    anywhere: Vec<u32>,
    /// Rules without a trigger.
    always: Vec<u32>,
    all: Choice,
}

const NONE: u32 = u32::MAX;

/// Which rules of a judge an event is put before.
#[derive(Debug, Default)]
pub struct Choice {
    /// By rule.
    bits: Vec<u64>,
    always: Vec<u32>,
    anywhere: Option<Scan>,
    wanted: Wanted,
    pub(super) number: u64,
}

impl Choice {
    #[inline]
    fn has(&self, rule: u32) -> bool {
        self.bits.get(rule as usize / 64).is_some_and(|bits| bits >> (rule % 64) & 1 == 1)
    }

    /// Whether none of its rules is looked at for every event.
    pub(crate) fn is_without_always(&self) -> bool {
        self.always.is_empty()
    }

    /// Its rules, by their place in the program, in ascending order.
    pub fn rules(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.bits.len() * 64).filter(|rule| self.has(*rule as u32))
    }

    /// The values that its rules look at.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }
}

/// What is looked for in one value: by its field, and as in all texts.
pub(super) type Scans<'s> = (Option<&'s Scan>, Option<&'s Scan>);

/// An atom that makes rules be judged.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trigger {
    pub(super) atom: AtomId,
    /// Finding it shows that the atom holds.
    proves: bool,
    /// Its rules, in `triggered`.
    first: u32,
    end: u32,
}

/// Memory of one search: a hundred times what all public rules need, and small enough for 32-bit places.
const MAX_SCAN_BYTES: usize = 1 << 30;
impl Judge {
    /// Prepares these rules of a program.
    ///
    /// # Errors
    /// The rules hold more text than one search can address.
    pub fn new(program: &Program, rules: &[usize]) -> Result<Self, TooMuchText> {
        Self::given(program, rules, None)
    }

    /// The same for events of which something is known: no rule is chosen by that.
    ///
    /// # Errors
    /// The rules hold more text than one search can address.
    pub(crate) fn given(program: &Program, rules: &[usize], given: Option<Given<'_, '_>>) -> Result<Self, TooMuchText> {
        let mut needs = Needs::new(program, given);
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
            triggers: Vec::with_capacity(by_atom.len()),
            finders: Finders::default(),
            finders_anywhere: Finders::default(),
            number: next_number(),
            triggered: Vec::new(),
            anywhere: Vec::new(),
            always,
            all: Choice::default(),
        };
        let mut scopes: BTreeMap<FieldId, Vec<u32>> = BTreeMap::new();
        for (atom, rules) in by_atom {
            let (number, first) = (judge.triggers.len() as u32, judge.triggered.len() as u32);
            judge.triggered.extend(rules);
            let proves = needs.needles(atom).is_some_and(|needles| needles.prove);
            match program.atoms[atom.index()].scope {
                Scope::Field(field) => scopes.entry(field).or_default().push(number),
                Scope::Anywhere => judge.anywhere.push(number),
            }
            judge.triggers.push(Trigger { atom, proves, first, end: judge.triggered.len() as u32 });
        }
        judge.triggered.shrink_to_fit();
        let mut more = further(program, rules);
        let mut finders = Vec::new();
        for (field, triggers) in scopes {
            let needles = |trigger: &u32| Some((needs.needles(judge.triggers[*trigger as usize].atom)?, *trigger));
            let mut wanted: Vec<(&Needles, u32)> = triggers.iter().filter_map(needles).collect();
            let more = more.remove(&field).unwrap_or_default();
            let end = judge.triggered.len() as u32;
            let chosen = triggers.iter().map(|trigger| judge.triggers[*trigger as usize].atom).collect();
            for (atom, needles) in among(program, &more, &chosen, &wanted) {
                wanted.push((needles, judge.triggers.len() as u32));
                judge.triggers.push(Trigger { atom, proves: needles.prove, first: end, end });
            }
            finders.extend(wanted.iter().map(|(_, trigger)| (judge.triggers[*trigger as usize].atom, *trigger)));
            let scan = Scan::new(wanted.into_iter(), program.habits.rarity());
            if scan.memory() > MAX_SCAN_BYTES {
                return Err(TooMuchText(scan.memory()));
            }
            judge.fields[field.index()] = judge.scans.len() as u32;
            judge.scans.push(scan);
        }
        judge.triggers.shrink_to_fit();
        judge.scans.shrink_to_fit();
        judge.finders = Finders::new(finders);
        let anywhere = judge.anywhere.iter().map(|trigger| (judge.triggers[*trigger as usize].atom, *trigger));
        judge.finders_anywhere = Finders::new(anywhere.collect());
        judge.all = judge.choose(program, rules.iter().copied());
        match judge.all.anywhere.as_ref().map_or(0, Scan::memory) {
            bytes if bytes > MAX_SCAN_BYTES => Err(TooMuchText(bytes)),
            _ => Ok(judge),
        }
    }

    /// Chooses rules among those of this judge.
    pub fn choose(&self, program: &Program, rules: impl IntoIterator<Item = usize>) -> Choice {
        let mut choice = Choice { bits: vec![0; program.rules.len().div_ceil(64)], ..Choice::default() };
        let mut chosen: Vec<usize> = rules.into_iter().collect();
        chosen.sort_unstable();
        chosen.iter().for_each(|rule| choice.bits[rule / 64] |= 1 << (rule % 64));
        choice.always = self.always.iter().copied().filter(|rule| choice.has(*rule)).collect();
        choice.wanted = Wanted::by_rules(program, &chosen);
        let anywhere = self.anywhere.iter().filter(|trigger| self.chooses(&choice, **trigger));
        let needles = anywhere.map(|trigger| {
            let atom = self.triggers[*trigger as usize].atom;
            (program.atoms[atom.index()].test.needles(), *trigger)
        });
        let needles: Vec<_> = needles.collect();
        if !needles.is_empty() {
            let needles = needles.iter().filter_map(|(needles, trigger)| Some((needles.as_ref()?, *trigger)));
            choice.anywhere = Some(Scan::new(needles, program.habits.rarity()));
        }
        choice.number = next_number();
        choice
    }

    /// Whether a trigger makes one of the chosen rules be looked at.
    pub(super) fn chooses(&self, choice: &Choice, trigger: u32) -> bool {
        self.rules_of(self.triggers[trigger as usize]).iter().any(|rule| choice.has(*rule))
    }

    fn rules_of(&self, trigger: Trigger) -> &[u32] {
        &self.triggered[trigger.first as usize..trigger.end as usize]
    }

    /// The rules that match, by their place in the program, each once, in ascending order.
    pub fn matches<'s>(&self, program: &Program, frame: &Frame<'_>, scratch: &'s mut Scratch) -> &'s [u32] {
        self.matches_of(&self.all, program, frame, scratch)
    }

    /// Those that match of the chosen ones.
    pub fn matches_of<'s>(&self, choice: &Choice, program: &Program, frame: &Frame<'_>, scratch: &'s mut Scratch) -> &'s [u32] {
        scratch.begin(program, frame);
        scratch.marks.call(program);
        scratch.matches.clear();
        let anywhere = choice.anywhere.as_ref().filter(|_| !frame.is_without_keywords());
        for place in 0..frame.len() {
            let scans = (self.scan_of(frame.owner(place)), anywhere);
            if scans.0.is_some() || scans.1.is_some() {
                self.scan(scans, choice, frame, place, scratch);
            }
        }
        scratch.marks.candidates.extend_from_slice(&choice.always);
        scratch.marks.is_searched_by(self.number);
        let candidates = scratch.take_candidates();
        for candidate in &candidates {
            let mut atom = |atom| scratch.searched_atom(&self, program, frame, atom);
            if program.lean.holds(*candidate as usize, &mut atom) {
                scratch.matches.push(*candidate);
            }
        }
        scratch.give_back(candidates);
        scratch.matches.sort_unstable();
        &scratch.matches
    }

    /// The rules that these triggers make be looked at, and those that always are.
    pub(crate) fn candidates(
        &self,
        choice: &Choice,
        program: &Program,
        triggers: impl Iterator<Item = u32>,
        scratch: &mut Scratch,
    ) {
        scratch.marks.call(program);
        triggers.for_each(|trigger| self.look_at(choice, self.triggers[trigger as usize], &mut scratch.marks));
        scratch.marks.candidates.extend_from_slice(&choice.always);
    }

    /// Gets ready to judge a frame in which these triggers stand, and no others that make a chosen rule be looked at.
    pub(crate) fn begin(
        &self,
        choice: &Choice,
        program: &Program,
        frame: &Frame<'_>,
        triggers: impl Iterator<Item = u32>,
        scratch: &mut Scratch,
    ) {
        scratch.begin(program, frame);
        let found = triggers.map(|trigger| self.triggers[trigger as usize]);
        found.for_each(|trigger| scratch.marks.find(trigger.atom, trigger.proves));
        scratch.marks.is_searched_by(choice.number);
    }

    /// Whether one of the chosen rules holds of a frame that everything is ready for.
    pub(crate) fn holds(&self, choice: &Choice, program: &Program, rule: u32, frame: &Frame<'_>, scratch: &mut Scratch) -> bool {
        let mut atom = |atom| scratch.searched_atom(&(self, choice), program, frame, atom);
        program.lean.holds(rule as usize, &mut atom)
    }

    fn scan_of(&self, field: Option<FieldId>) -> Option<&Scan> {
        let scan = field.and_then(|field| self.fields.get(field.index()));
        scan.and_then(|scan| self.scans.get(*scan as usize))
    }

    /// What is looked for in values of a field.
    pub(super) fn scans_of<'s>(&'s self, choice: &'s Choice, field: Option<FieldId>) -> Scans<'s> {
        (self.scan_of(field), choice.anywhere.as_ref())
    }

    /// Tells those of these triggers that make a chosen rule be looked at.
    pub(super) fn tell_chosen(&self, choice: &Choice, triggers: &[u32], tell: &mut dyn FnMut(u32)) {
        triggers.iter().filter(|trigger| self.chooses(choice, **trigger)).for_each(|trigger| tell(*trigger));
    }

    /// Takes a trigger in: its rules will be looked at.
    #[inline]
    fn found(&self, choice: &Choice, trigger: u32, marks: &mut Marks) {
        let trigger = self.triggers[trigger as usize];
        marks.find(trigger.atom, trigger.proves);
        self.look_at(choice, trigger, marks);
    }

    #[inline]
    fn look_at(&self, choice: &Choice, trigger: Trigger, marks: &mut Marks) {
        self.rules_of(trigger).iter().filter(|rule| choice.has(**rule)).for_each(|rule| marks.look_at(*rule));
    }

    /// Looks for triggers in the value at a place, unless the same value was searched before.
    fn scan(&self, scans: Scans<'_>, choice: &Choice, frame: &Frame<'_>, place: usize, scratch: &mut Scratch) {
        if scratch.is_batch
            && let Some(string) = frame.number(place)
        {
            return self.scan_numbered(scans, choice, frame, (place, string), scratch);
        }
        let digits;
        let (value, kind) = match frame.at(place) {
            Datum::Text(value) => (value, Kind::Text),
            Datum::Escaped(value) => (value, Kind::Escaped),
            // Numbers are no texts that a search for anything looks at.
            _ if scans.0.is_none() => return,
            Datum::Int(number) => {
                digits = number.to_le_bytes();
                (&digits[..], Kind::Number)
            }
            _ => return self.scan_anew((scans.0, None), choice, frame, place, scratch),
        };
        let scans = if kind == Kind::Number { (scans.0, None) } else { scans };
        let Some(key) = Key::of(numbers(scans), value, kind) else {
            return self.scan_anew(scans, choice, frame, place, scratch);
        };
        let Scratch { memo, marks, .. } = scratch;
        match memo.find(key, value) {
            Some(triggers) => triggers.iter().for_each(|trigger| self.found(choice, *trigger, marks)),
            None => {
                self.scan_anew(scans, choice, frame, place, scratch);
                scratch.memo.keep(key, value, &scratch.told);
            }
        }
    }

    /// The same for a string of the batch in hand.
    #[inline]
    fn scan_numbered(&self, scans: Scans<'_>, choice: &Choice, frame: &Frame<'_>, value: (usize, u32), scratch: &mut Scratch) {
        let (place, string) = value;
        let Scratch { dictionary, marks, .. } = scratch;
        match dictionary.find(numbers(scans), string) {
            Some(triggers) => triggers.iter().for_each(|trigger| self.found(choice, *trigger, marks)),
            None => {
                self.scan_anew(scans, choice, frame, place, scratch);
                let Scratch { dictionary, told, .. } = scratch;
                dictionary.keep(numbers(scans), string, told);
            }
        }
    }

    fn scan_anew(&self, scans: Scans<'_>, choice: &Choice, frame: &Frame<'_>, place: usize, scratch: &mut Scratch) {
        let form = scratch.forms.of(frame, place);
        let Scratch { marks, forms, told, .. } = scratch;
        told.clear();
        for scan in [scans.0, scans.1].into_iter().flatten() {
            scan.run(forms, form, &mut |trigger| {
                if told.last() != Some(&trigger) {
                    told.push(trigger);
                    self.found(choice, trigger, marks);
                }
            });
        }
    }

    /// All of its rules.
    pub fn all(&self) -> &Choice {
        &self.all
    }

    /// How many rules must be judged for every event.
    pub fn always(&self) -> usize {
        self.always.len()
    }

    /// The rules that the last event made this judge look at, of all those it has.
    pub fn looked_at(scratch: &Scratch) -> &[u32] {
        &scratch.marks.candidates
    }

    /// Memory that it holds, roughly, in bytes.
    pub fn memory(&self) -> usize {
        let scans = self.scans.iter().chain(&self.all.anywhere).map(Scan::memory).sum::<usize>();
        let lists = self.fields.len() + self.triggered.capacity() + self.always.capacity() + self.anywhere.capacity();
        scans
            + lists * 4
            + self.finders.memory()
            + self.finders_anywhere.memory()
            + self.triggers.capacity() * size_of::<Trigger>()
    }
}

/// Rules that cannot be judged together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("their texts need {0} bytes, the limit is {max}", max = MAX_SCAN_BYTES)]
pub struct TooMuchText(usize);

/// The numbers of what is looked for in a value; zero for nothing.
pub(super) fn numbers(scans: Scans<'_>) -> (u32, u32) {
    let number = |scan: Option<&Scan>| scan.map_or(0, Scan::number);
    (number(scans.0), number(scans.1))
}
