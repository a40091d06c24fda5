//! What a search says of tests that no rule is chosen by: a text that is looked for anyway costs next to nothing more, and
//! when it was not found in the values of its field, the test does not hold and nobody has to ask.
//!
//! Only values that are searched for the sake of some rule's trigger are searched for more, and only for what makes that
//! search no slower: whole values, beginnings and ends that have a table, and texts inside that leave the steps as they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};

use super::detail::{Found, explain_by};
use super::frame::Frame;
use super::gram::GRAM;
use super::inside::step;
use super::judge::{Choice, Judge};
use super::names::FieldId;
use super::needles::{Needle, Needles, Place};
use super::needs::{atoms_of, is_common};
use super::program::{AtomId, Program, Scope};
use super::scan::OUTER;
use super::scratch::{Known, Scratch};

/// Numbers of searches.
static SEARCHES: AtomicU64 = AtomicU64::new(1);

/// A number that no other search has.
pub(super) fn next_number() -> u64 {
    SEARCHES.fetch_add(1, Ordering::Relaxed)
}

/// What all values of a frame were searched for.
pub(super) trait Searched {
    /// What it is known by.
    fn number(&self) -> u64;

    /// Whether the search finds an atom whenever it holds.
    fn has(&self, atom: AtomId) -> bool;
}

/// Every trigger of a judge.
impl Searched for &Judge {
    fn number(&self) -> u64 {
        self.number
    }

    #[inline]
    fn has(&self, atom: AtomId) -> bool {
        // What rules that are not chosen look for in all texts was not looked for.
        self.finders.has(atom)
    }
}

/// The triggers that make a chosen rule be looked at.
impl Searched for (&Judge, &Choice) {
    fn number(&self) -> u64 {
        self.1.number
    }

    fn has(&self, atom: AtomId) -> bool {
        let Judge { finders, finders_anywhere, .. } = self.0;
        let trigger = finders.trigger(atom).or_else(|| finders_anywhere.trigger(atom));
        trigger.is_some_and(|trigger| self.0.chooses(self.1, trigger))
    }
}

/// Which atoms a search finds: a bit for each, and the triggers of those that have one in their order. Every judge has its
/// own, so a word for each atom of all rules would be the largest table that there is.
#[derive(Debug, Default)]
pub(super) struct Finders {
    /// The first word that stands in `bits`.
    first: usize,
    bits: Vec<u64>,
    /// By word of bits: how many are set in those before it.
    before: Vec<u32>,
    triggers: Vec<u32>,
}

/// Bits of a word.
const WORD: usize = u64::BITS as usize;

impl Finders {
    /// Of atoms, each once, and what finds them.
    pub(super) fn new(mut found: Vec<(AtomId, u32)>) -> Self {
        found.sort_unstable();
        let word = |entry: Option<&(AtomId, u32)>| entry.map(|(atom, _)| atom.index() / WORD);
        let (Some(first), Some(last)) = (word(found.first()), word(found.last())) else { return Self::default() };
        let mut bits = vec![0u64; last - first + 1];
        found.iter().for_each(|(atom, _)| bits[atom.index() / WORD - first] |= 1 << (atom.index() % WORD));
        let below = bits.iter().scan(0, |count, word| {
            *count += word.count_ones();
            Some(*count - word.count_ones())
        });
        let before = below.collect();
        Self { first, bits, before, triggers: found.into_iter().map(|(_, trigger)| trigger).collect() }
    }

    /// The word with the bit of an atom.
    #[inline]
    fn word(&self, atom: AtomId) -> Option<(usize, u64)> {
        let word = (atom.index() / WORD).wrapping_sub(self.first);
        self.bits.get(word).map(|bits| (word, *bits))
    }

    /// Whether an atom is found by some trigger.
    #[inline]
    pub(super) fn has(&self, atom: AtomId) -> bool {
        self.word(atom).is_some_and(|(_, bits)| bits >> (atom.index() % WORD) & 1 == 1)
    }

    /// The trigger that finds an atom.
    fn trigger(&self, atom: AtomId) -> Option<u32> {
        let (word, bits) = self.word(atom)?;
        let below = bits & ((1 << (atom.index() % WORD)) - 1);
        (bits >> (atom.index() % WORD) & 1 == 1).then(|| self.triggers[self.before[word] as usize + below.count_ones() as usize])
    }

    /// Memory that it holds, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.bits.capacity() * 8 + (self.before.capacity() + self.triggers.capacity()) * 4
    }
}

impl Judge {
    /// Why one of the chosen rules matched a frame, at most `max` fields; see [`super::explain`].
    pub fn explain(
        &self,
        choice: &Choice,
        program: &Program,
        rule: usize,
        frame: &Frame<'_>,
        scratch: &mut Scratch,
        max: usize,
    ) -> Found {
        scratch.begin(program, frame);
        let (all, chosen) = (self, (self, choice));
        let searched = [&all as &dyn Searched, &chosen];
        let searched = searched.into_iter().find(|searched| scratch.marks.was_searched_by(searched.number()));
        explain_by(program, &program.rules[rule], frame, max, &mut Known { scratch, program, frame, searched, rule })
    }
}

/// By field: atoms of these rules that can be looked for.
pub(super) fn further(program: &Program, rules: &[usize]) -> BTreeMap<FieldId, Vec<(AtomId, Needles)>> {
    let mut atoms = Vec::new();
    for rule in rules {
        program.rules[*rule].selections.iter().for_each(|selection| atoms_of(&selection.body, &mut atoms));
    }
    atoms.sort_unstable();
    atoms.dedup();
    let mut further: BTreeMap<FieldId, Vec<(AtomId, Needles)>> = BTreeMap::new();
    for atom in atoms {
        let Scope::Field(field) = program.atoms[atom.index()].scope else { continue };
        let needles = program.atoms[atom.index()].test.needles().filter(|needles| needles.probe.is_none() && !needles.ascii_only);
        further.entry(field).or_default().extend(needles.map(|needles| (atom, needles)));
    }
    further
}

/// Beginnings, or ends, that share their outer bytes are compared one after the other: with more than so many, none is
/// looked for that need not be.
const MAX_ALIKE: usize = 2;

/// Those of one field that cost its search next to nothing, given what is looked for anyway.
pub(super) fn among<'n>(
    program: &Program,
    further: &'n [(AtomId, Needles)],
    known: &BTreeSet<AtomId>,
    wanted: &[(&Needles, u32)],
) -> Vec<(AtomId, &'n Needles)> {
    let more: Vec<&(AtomId, Needles)> = further.iter().filter(|(atom, _)| !known.contains(atom)).collect();
    let wanted = wanted.iter().flat_map(|(needles, _)| &needles.any_of);
    let shortest = wanted.clone().filter(|needle| is_inside(needle)).map(|needle| needle.text.len()).min();
    let mut alike: HashMap<(bool, &[u8]), usize> = HashMap::new();
    let needles = wanted.chain(more.iter().flat_map(|(_, needles)| &needles.any_of));
    needles.filter_map(outer).for_each(|outer| *alike.entry(outer).or_default() += 1);
    let is_free = |needle: &Needle| match needle.place {
        // What is found nearly everywhere is found more often than anybody asks for it.
        Place::Start | Place::End | Place::Inside if needle.text.len() <= GRAM || is_common(&needle.text) => false,
        Place::Whole => true,
        Place::Start | Place::End => outer(needle).is_some_and(|outer| alike.get(&outer) <= Some(&MAX_ALIKE)),
        Place::Inside => shortest.is_some_and(|shortest| {
            step(needle.text.len()) >= step(shortest) && program.habits.rarity().is_rare(&needle.text, step(shortest))
        }),
    };
    let more = more.into_iter().filter(|(_, needles)| needles.any_of.iter().all(is_free));
    more.map(|(atom, needles)| (*atom, needles)).collect()
}

/// The bytes that a beginning, or an end, is looked for by.
fn outer(needle: &Needle) -> Option<(bool, &[u8])> {
    let (text, length) = (needle.text.as_bytes(), if needle.text.len() < OUTER { GRAM } else { OUTER });
    match needle.place {
        Place::Start => text.get(..length).map(|outer| (true, outer)),
        Place::End => text.get(text.len().checked_sub(length)?..).map(|outer| (false, outer)),
        _ => None,
    }
}

/// Whether a text is looked for by four of its bytes anywhere in a value.
fn is_inside(needle: &Needle) -> bool {
    needle.place == Place::Inside && needle.text.len() >= GRAM
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_atom_has_the_trigger_that_finds_it_and_no_other_atom_has_one() {
        for atoms in [vec![], vec![0], vec![63, 64], vec![700, 701, 703, 767, 768, 1_000, 4_095]] {
            let found: Vec<(AtomId, u32)> = atoms.iter().map(|atom| (AtomId(*atom), 7 * atom + 1)).rev().collect();
            let finders = Finders::new(found);
            for atom in 0..5_000 {
                let trigger = atoms.contains(&atom).then_some(7 * atom + 1);
                assert_eq!(finders.trigger(AtomId(atom)), trigger, "{atom} of {atoms:?}");
                assert_eq!(finders.has(AtomId(atom)), trigger.is_some());
            }
        }
    }
}
