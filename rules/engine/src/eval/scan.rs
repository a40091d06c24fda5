//! Finding the triggers of rules in a folded value: whole values, beginnings and ends by one look into a table each, texts
//! inside by one pass that asks a small bit field about every four bytes. Only texts that rules are chosen by are looked
//! for (see `needs`), and each is looked for by its rarest four bytes, so a value costs a few instructions a byte
//! however many rules there are.

use std::sync::atomic::{AtomicU32, Ordering};

use beffroi_simd::{self as simd, Chunk};

use super::filter::{Filter, GRAM};
use super::forms::{Form, Forms};
use super::hash::{Table, hash, spread};
use super::needles::{Needle, Needles, Place};
use super::required::Required;

/// Numbers of scans. Rules would have to be loaded a million times before one came back.
static SCANS: AtomicU32 = AtomicU32::new(1);

/// How often four bytes stand in the texts of all rules, roughly: what many rules name is common in events as well.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rarity {
    counts: Vec<u16>,
}

impl Rarity {
    const BITS: u32 = 16;

    /// Counts what stands in these texts.
    pub(crate) fn of<'t>(texts: impl Iterator<Item = &'t str>) -> Self {
        let mut counts = vec![0u16; 1 << Self::BITS];
        for text in texts {
            for window in text.as_bytes().windows(GRAM) {
                let count = &mut counts[Self::place(window)];
                *count = count.saturating_add(1);
            }
        }
        Self { counts }
    }

    fn place(window: &[u8]) -> usize {
        (gram::<GRAM>(window).wrapping_mul(SPREAD) >> (32 - Self::BITS)) as usize
    }

    /// How often these four bytes stand there.
    pub(crate) fn count(&self, window: &[u8]) -> u16 {
        self.counts.get(Self::place(window)).copied().unwrap_or(0)
    }

    /// Whether a text that is looked for in steps is rarely met by what it is looked for by.
    pub(super) fn is_rare(&self, text: &str, step: usize) -> bool {
        (0..step)
            .all(|first| self.rarest(text, first, step).is_some_and(|at| self.count(&text.as_bytes()[at..at + GRAM]) <= RARE))
    }

    /// Where the four bytes of a text stand that are the rarest in rules, among every `step`-th place from `first`.
    fn rarest(&self, text: &str, first: usize, step: usize) -> Option<usize> {
        let places = text.as_bytes().windows(GRAM).enumerate().skip(first).step_by(step);
        places.min_by_key(|(_, window)| self.count(window)).map(|(at, _)| at)
    }
}

/// Four bytes that no more texts of rules have are rare in values as well.
const RARE: u16 = 16;
const SPREAD: u32 = 0x9e37_79b1;

/// The first `N` bytes, two or four, as a number.
#[inline]
fn gram<const N: usize>(window: &[u8]) -> u32 {
    match (window.first_chunk::<4>(), window.first_chunk::<2>()) {
        (Some(bytes), _) if N == 4 => u32::from_le_bytes(*bytes),
        (_, Some(bytes)) => u32::from(u16::from_le_bytes(*bytes)),
        _ => 0,
    }
}

fn key(gram: u32) -> u64 {
    spread(gram.into())
}

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

/// Texts of two and three bytes that may stand anywhere, by their first two.
#[derive(Debug, Default)]
struct Pairs {
    bits: Vec<u64>,
    table: Table,
    /// All pairs, where they are few enough to be looked for one by one.
    few: Vec<[u8; 2]>,
}

/// Pairs that are looked for one by one, each in sixteen places at a time.
const FEW_PAIRS: usize = 5;

impl Pairs {
    fn new(pairs: &[(u32, u32)]) -> Self {
        let mut made = Self::default();
        if !pairs.is_empty() {
            made.bits.resize((1 << 16) / 64, 0);
            pairs.iter().for_each(|(pair, _)| made.bits[(pair >> 6) as usize & 1023] |= 1 << (pair & 63));
            made.table = Table::new(&pairs.iter().map(|(pair, number)| (key(*pair), *number)).collect::<Vec<_>>());
            made.few = pairs.iter().map(|(pair, _)| (*pair as u16).to_le_bytes()).collect();
            made.few.sort_unstable();
            made.few.dedup();
            if made.few.len() > FEW_PAIRS {
                made.few.clear();
            }
        }
        made
    }

    /// Tells where a text may stand.
    fn each(&self, value: &[u8], mut tell: impl FnMut(usize, u32)) {
        if !self.few.is_empty() {
            return self.each_of_few(value, tell);
        }
        let Some(bits) = self.bits.first_chunk::<1024>() else { return };
        for (at, window) in value.windows(2).enumerate() {
            let pair = gram::<2>(window);
            if bits[(pair >> 6) as usize & 1023] >> (pair & 63) & 1 == 1 {
                self.table.find(key(pair)).for_each(|number| tell(at, number));
            }
        }
    }

    fn each_of_few(&self, value: &[u8], mut tell: impl FnMut(usize, u32)) {
        // As many bytes of each as there are pairs.
        let (Some((_, front)), Some((_, back))) = (value.split_last(), value.split_first()) else { return };
        let chunks = front.as_chunks::<{ simd::WIDTH }>().0.iter().zip(back.as_chunks::<{ simd::WIDTH }>().0);
        let seen = chunks.len() * simd::WIDTH;
        chunks.enumerate().for_each(|(number, (here, behind))| {
            self.tell_few((number * simd::WIDTH, 0), [Chunk::of(here), Chunk::of(behind)], &mut tell);
        });
        let start = front.len().saturating_sub(simd::WIDTH);
        match (front.last_chunk(), back.last_chunk()) {
            _ if seen == front.len() => {}
            (Some(here), Some(behind)) => {
                self.tell_few((start, seen - start), [Chunk::of(here), Chunk::of(behind)], &mut tell);
            }
            _ => self.tell_few((0, 0), [simd::at(front, 0), simd::at(back, 0)], &mut tell),
        }
    }

    /// Tells where a text may stand in one chunk, from one of its places on.
    #[inline(always)]
    fn tell_few(&self, (start, first): (usize, usize), [here, behind]: [Chunk; 2], tell: &mut impl FnMut(usize, u32)) {
        for pair in &self.few {
            let mut places = (here.equal(pair[0]) & behind.equal(pair[1])) >> first << first;
            while places != 0 {
                let at = start + places.trailing_zeros() as usize;
                self.table.find(key(gram::<2>(pair))).for_each(|number| tell(at, number));
                places &= places - 1;
            }
        }
    }
}

/// Longer texts that may stand anywhere, by four bytes of each; where a value is looked at in steps, by four bytes for
/// each place that a text can have between two steps.
#[derive(Debug, Default)]
struct Inside {
    filter: Filter,
    /// From keys to places in `anchors`.
    table: Table,
    /// Text, and where in it the key stands.
    anchors: Vec<(u32, u32)>,
    /// Texts of four bytes that are looked for by three of them where they begin between two steps: at the end of a value
    /// no four bytes begin with those.
    last: Vec<u32>,
    step: usize,
}

/// Texts of four bytes for which every place is looked at when there are more: each that begins between two steps has as
/// many keys as there are bytes behind its last three.
const MAX_OPEN: usize = 8;

/// In which steps a value is looked at for texts of which the shortest has so many bytes, and few have four.
pub(super) fn step(shortest: usize) -> usize {
    if shortest <= 6 { 2 } else { 4 }
}

impl Inside {
    fn new(texts: &[(&str, u32)], rarity: &Rarity) -> Self {
        let shortest = texts.iter().map(|(text, _)| text.len()).min().unwrap_or(0);
        let short = texts.iter().filter(|(text, _)| text.len() <= GRAM).count();
        let step = if short > MAX_OPEN { 1 } else { step(shortest) };
        let (mut keys, mut pairs, mut anchors, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (text, number) in texts {
            for residue in 0..step {
                let anchor = anchors.len() as u32;
                let mut add = |key_text: u32| {
                    keys.push(key_text);
                    pairs.push((key(key_text), anchor));
                };
                match (rarity.rarest(text, residue, step), text.as_bytes()) {
                    (Some(at), text) => {
                        add(gram::<GRAM>(&text[at..]));
                        anchors.push((*number, at as u32));
                    }
                    (None, [_, a, b, c]) => {
                        (0..=u8::MAX).for_each(|behind| add(u32::from_le_bytes([*a, *b, *c, behind])));
                        anchors.push((*number, 1));
                        last.push(*number);
                    }
                    _ => {}
                }
            }
        }
        Self { filter: Filter::new(&keys), table: Table::new(&pairs), anchors, last, step }
    }

    /// Tells texts that may stand somewhere, and where they would begin.
    #[inline]
    fn each(&self, value: &[u8], mut tell: impl FnMut(Option<usize>, u32)) {
        self.filter.each(value, self.step, |at, gram| {
            for place in self.table.find(key(gram)) {
                let (number, anchor) = self.anchors[place as usize];
                tell(at.checked_sub(anchor as usize), number);
            }
        });
        self.last.iter().for_each(|number| tell(value.len().checked_sub(GRAM), *number));
    }
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
        let tables = [&self.whole, &self.inside.table, &self.pairs.table].into_iter().chain(&self.starts).chain(&self.ends);
        let tables: usize = tables.map(Table::memory).sum();
        let inside = self.inside.filter.memory() + self.inside.anchors.capacity() * 8;
        self.texts.capacity() + self.entries.capacity() * 12 + tables + inside + self.pairs.bits.len() * 8
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_told_wherever_it_stands_whatever_the_step() {
        let long = ["abcde", "abcdef", "abcdefgh", "abcdefghijk"];
        let fours = ["wxyz", "scp ", "init", "wxya", "xyzw", "\u{e9}t9", "0000", "halt", "dump", "drop"];
        for count in 0..=fours.len() {
            let texts: Vec<(&str, u32)> = fours[..count].iter().chain(&long).copied().zip(0..).collect();
            let inside = Inside::new(&texts, &Rarity::default());
            assert_eq!(inside.step, if count > MAX_OPEN { 1 } else { 2 });
            for ((text, number), front) in texts.iter().flat_map(|text| (0..9).map(move |front| (text, front))) {
                for behind in 0..9 {
                    let value = ["y".repeat(front), text.to_string(), "\u{ff}".repeat(behind)].concat();
                    let mut told = Vec::new();
                    inside.each(value.as_bytes(), |at, number| told.push((at, number)));
                    assert!(told.contains(&(Some(front), *number)), "{text} in {value}: {told:?}");
                }
            }
        }
    }
}
