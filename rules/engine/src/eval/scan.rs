//! Finding the triggers of rules in a folded value: whole values, beginnings and ends by one look into a table each, texts
//! inside by one pass that asks a small bit field about every four bytes. Only texts that rules are chosen by are looked
//! for (see `needs`), and each is looked for by its rarest four bytes, so a value costs a few instructions a byte
//! however many rules there are.

use std::sync::atomic::{AtomicU32, Ordering};

use super::forms::{Form, Forms};
use super::gram::{GRAM, Rarity, gram, key};
use super::hash::{Table, hash, spread};
use super::inside::Inside;
use super::needles::{Needle, Needles, Place};
use super::pairs::Pairs;
use super::required::Required;

/// Numbers of scans. Rules would have to be loaded a million times before one came back.
static SCANS: AtomicU32 = AtomicU32::new(1);

/// Bytes of a beginning or an end that tell it from most others: half of all programs end in the same four.
pub(super) const OUTER: usize = 8;

/// The key of a beginning: its first eight bytes, or four where there are no more.
#[inline]
fn outer_start(text: &[u8]) -> u64 {
    match text.first_chunk::<OUTER>() {
        Some(bytes) => of_outer(u64::from_le_bytes(*bytes)),
        None => key(gram::<GRAM>(text)),
    }
}

/// The key of an end: its last eight bytes, or four where there are no more.
#[inline]
fn outer_end(text: &[u8]) -> u64 {
    match (text.last_chunk::<OUTER>(), text.last_chunk::<GRAM>()) {
        (Some(bytes), _) => of_outer(u64::from_le_bytes(*bytes)),
        (None, Some(bytes)) => key(u32::from_le_bytes(*bytes)),
        _ => 0,
    }
}

fn of_outer(word: u64) -> u64 {
    let mixed = spread(word);
    mixed ^ mixed << 29
}

/// One text that is looked for.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    length: u32,
    trigger: u32,
}

/// What is looked for in the values of one scope.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    number: u32,
    texts: String,
    entries: Vec<Entry>,
    whole: Table,
    /// Beginnings and ends by their outer eight bytes, and shorter ones by their outer four.
    starts: [Table; 2],
    ends: [Table; 2],
    inside: Inside,
    /// Texts of two and three bytes.
    pairs: Pairs,
    /// Texts too short for the tables, looked for one by one.
    short: Vec<(Place, u32)>,
    /// What is asked of each value by itself, and its trigger.
    probes: Vec<(Required, u32)>,
    /// Triggers of every value that says anything.
    present: Vec<u32>,
    /// Triggers of every value beyond ASCII.
    beyond_ascii: Vec<u32>,
}

impl Scan {
    /// A scan that tells these triggers.
    pub(crate) fn new<'n>(wanted: impl Iterator<Item = (&'n Needles, u32)>, rarity: &Rarity) -> Self {
        let mut scan = Self { number: SCANS.fetch_add(1, Ordering::Relaxed), ..Self::default() };
        let mut keys = Keys::default();
        for (needles, trigger) in wanted {
            if needles.ascii_only {
                scan.beyond_ascii.push(trigger);
            }
            scan.probes.extend(needles.probe.clone().map(|probe| (probe, trigger)));
            for needle in &needles.any_of {
                scan.add(needle, trigger, &mut keys);
            }
        }
        scan.whole = Table::new(&keys.whole);
        scan.starts = keys.starts.each_ref().map(|keys| Table::new(keys));
        scan.ends = keys.ends.each_ref().map(|keys| Table::new(keys));
        scan.pairs = Pairs::new(&keys.pairs);
        scan.texts.shrink_to_fit();
        let inside: Vec<(&str, u32)> = keys.inside.iter().map(|number| (scan.text(*number), *number)).collect();
        scan.inside = Inside::new(&inside, rarity);
        scan.entries.shrink_to_fit();
        scan
    }

    /// Its number among all scans that were ever made, from 1.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    fn text(&self, number: u32) -> &str {
        let entry = self.entries[number as usize];
        &self.texts[entry.start as usize..(entry.start + entry.length) as usize]
    }

    fn add(&mut self, needle: &Needle, trigger: u32, keys: &mut Keys) {
        let text = needle.text.as_bytes();
        if text.is_empty() && needle.place != Place::Whole {
            return self.present.push(trigger);
        }
        let number = self.entries.len() as u32;
        self.entries.push(Entry { start: self.texts.len() as u32, length: text.len() as u32, trigger });
        self.texts.push_str(&needle.text);
        let (long, is_short) = (usize::from(text.len() < OUTER), text.len() < GRAM);
        match needle.place {
            Place::Whole => keys.whole.push((hash(text), number)),
            Place::Inside if !is_short => keys.inside.push(number),
            Place::Inside if text.len() >= 2 => keys.pairs.push((gram::<2>(text), number)),
            Place::Start if !is_short => keys.starts[long].push((outer_start(text), number)),
            Place::End if !is_short => keys.ends[long].push((outer_end(text), number)),
            place => self.short.push((place, number)),
        }
    }

    /// Tells every trigger of a value; the same one may be told more than once.
    #[inline]
    pub(crate) fn run(&self, forms: &Forms, form: Form, tell: &mut impl FnMut(u32)) {
        if form.is_null {
            return;
        }
        self.present.iter().copied().for_each(&mut *tell);
        if !form.is_ascii {
            self.beyond_ascii.iter().copied().for_each(&mut *tell);
        }
        self.look(forms.folded(form), tell);
        self.probe(forms.folded(form), tell);
        if let Some(other) = forms.other(form) {
            self.look(other, tell);
            self.probe(other, tell);
        }
    }

    fn probe(&self, value: &[u8], tell: &mut impl FnMut(u32)) {
        self.probes.iter().filter(|(probe, _)| probe.stands_in(value)).for_each(|(_, trigger)| tell(*trigger));
    }

    fn look(&self, value: &[u8], tell: &mut impl FnMut(u32)) {
        let mut check = |number: u32, begins: Option<usize>| {
            let entry = self.entries[number as usize];
            let text = &self.texts.as_bytes()[entry.start as usize..(entry.start + entry.length) as usize];
            if begins.is_some_and(|at| value.get(at..at + text.len()) == Some(text)) {
                tell(entry.trigger);
            }
        };
        let length = |number: u32| self.entries[number as usize].length as usize;
        if self.whole.memory() > 0 {
            let same = |number: &u32| length(*number) == value.len();
            self.whole.find(hash(value)).filter(same).for_each(|number| check(number, Some(0)));
        }
        if value.len() >= OUTER {
            self.starts[0].find(outer_start(value)).for_each(|number| check(number, Some(0)));
            let ends = self.ends[0].find(outer_end(value));
            ends.for_each(|number| check(number, value.len().checked_sub(length(number))));
        }
        if let (Some(first), Some(last)) = (value.first_chunk::<GRAM>(), value.last_chunk::<GRAM>()) {
            self.starts[1].find(outer_start(first)).for_each(|number| check(number, Some(0)));
            let ends = self.ends[1].find(outer_end(last));
            ends.for_each(|number| check(number, value.len().checked_sub(length(number))));
            self.inside.each(value, |begins, number| check(number, begins));
        }
        self.pairs.each(value, |at, number| check(number, Some(at)));
        for (place, number) in &self.short {
            match place {
                Place::Start => check(*number, Some(0)),
                Place::End => check(*number, value.len().checked_sub(length(*number))),
                _ => (0..value.len()).for_each(|at| check(*number, Some(at))),
            }
        }
    }

    /// Memory that it holds, roughly, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let tables: usize = [&self.whole].into_iter().chain(&self.starts).chain(&self.ends).map(Table::memory).sum();
        self.texts.capacity() + self.entries.capacity() * 12 + tables + self.inside.memory() + self.pairs.memory()
    }
}

/// Keys of the texts, while a scan is made.
#[derive(Default)]
struct Keys {
    whole: Vec<(u64, u32)>,
    starts: [Vec<(u64, u32)>; 2],
    ends: [Vec<(u64, u32)>; 2],
    inside: Vec<u32>,
    pairs: Vec<(u32, u32)>,
}
