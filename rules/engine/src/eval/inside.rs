//! Texts of four bytes and more that may stand anywhere in a value, found by one pass that asks a small table about four
//! bytes at a time. Each text is looked for by the rarest of its bytes.

use super::filter::Filter;
use super::gram::{GRAM, Rarity, gram, key};
use super::hash::Table;

/// Longer texts that may stand anywhere, by four bytes of each; where a value is looked at in steps, by four bytes for
/// each place that a text can have between two steps.
#[derive(Debug, Default)]
pub(crate) struct Inside {
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
pub(crate) fn step(shortest: usize) -> usize {
    if shortest <= 6 { 2 } else { 4 }
}

impl Inside {
    /// Of texts and their numbers.
    pub(crate) fn new(texts: &[(&str, u32)], rarity: &Rarity) -> Self {
        let shortest = texts.iter().map(|(text, _)| text.len()).min().unwrap_or(0);
        let short = texts.iter().filter(|(text, _)| text.len() <= GRAM).count();
        let step = if short > MAX_OPEN { 1 } else { step(shortest) };
        let (mut keys, mut pairs, mut anchors, mut last) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (text, number) in texts {
            for residue in 0..step {
                let anchor = anchors.len() as u32;
                let mut add = |four: u32| {
                    keys.push(four);
                    pairs.push((key(four), anchor));
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
    pub(crate) fn each(&self, value: &[u8], mut tell: impl FnMut(Option<usize>, u32)) {
        self.filter.each(value, self.step, |at, gram| {
            for place in self.table.find(key(gram)) {
                let (number, anchor) = self.anchors[place as usize];
                tell(at.checked_sub(anchor as usize), number);
            }
        });
        self.last.iter().for_each(|number| tell(value.len().checked_sub(GRAM), *number));
    }

    /// Memory that it holds, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.filter.memory() + self.table.memory() + self.anchors.capacity() * 8
    }
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
