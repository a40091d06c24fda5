//! Whether any keyword of some rules can stand in a value of an event, asked of each value that is not known yet while
//! the event is read. Nearly always none can, and then values that only a search of everything would look at are not kept.
//!
//! Keywords are looked for as JSON writes them: by four letters of each that no escape touches, case ignored by a bit
//! that capitals and small letters differ in. What escapes or folds otherwise is not found this way; the reader tells
//! of such escapes ([`super::fill_from_text`]), and letters that fold into ASCII are asked for here.

use std::sync::Arc;

use super::filter::Filter;
use super::gram::{GRAM, Rarity, gram, key, rarest};
use super::hash::Table;
use super::program::Atom;

/// What tells small letters from capitals.
const CASE: u8 = 0x20;
const CASES: u32 = u32::from_le_bytes([CASE; GRAM]);
/// Two letters from this one on do not stand side by side in numbers, times, addresses, and identifiers, but do in words.
const LATE: u8 = b'g';
/// Values of at most so many bytes are asked whether they have such a pair.
const SHORT: usize = 64;
/// Letters beyond ASCII that fold into ASCII: the Kelvin sign, and the capital I with a dot.
const FOLDING: [&str; 2] = ["\u{212a}", "\u{130}"];

/// Part of a keyword.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    /// With [`CASE`] set in every byte.
    text: Box<[u8]>,
    /// How common the four bytes from each place on are in rules.
    common: Box<[u16]>,
}

/// Looks for keywords in texts of events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keywords {
    /// Of each keyword the longest part that stands in JSON as it is.
    parts: Vec<Part>,
    /// Some keyword need not stand in values beyond ASCII.
    ascii_only: bool,
    filter: Arc<Filter>,
    /// From keys to places in `anchors`.
    table: Table,
    /// Number of a part, and where in it the key stands.
    anchors: Vec<(usize, usize)>,
    step: usize,
    /// Length of the shortest part.
    shortest: usize,
    /// Every part has two neighbours among the letters from [`LATE`] on.
    have_late_pairs: bool,
}

impl Keywords {
    /// What these tests of all texts look for; none where one of them cannot be looked for this way.
    pub(crate) fn of<'a>(atoms: impl Iterator<Item = &'a Atom>, rarity: &Rarity) -> Option<Self> {
        let mut keywords = Self::default();
        for atom in atoms {
            let needles = atom.test.needles()?;
            keywords.ascii_only |= needles.ascii_only;
            for needle in &needles.any_of {
                keywords.parts.push(Part::of(&needle.text, rarity)?);
            }
        }
        Some(keywords.ready())
    }

    /// Both at once.
    pub(crate) fn with(&self, other: &Self) -> Self {
        let parts = self.parts.iter().chain(&other.parts).cloned().collect();
        Self { parts, ascii_only: self.ascii_only || other.ascii_only, ..Self::default() }.ready()
    }

    fn ready(mut self) -> Self {
        self.parts.sort_unstable();
        self.parts.dedup();
        self.shortest = self.parts.iter().map(|part| part.text.len()).min().unwrap_or(0);
        self.have_late_pairs = self.parts.iter().all(|part| beffroi_simd::has_pair_from(LATE, &part.text, 0, part.text.len()));
        // In a text looked at in steps, one of as many neighbouring places of a part is looked at.
        let neighbours = (self.shortest + 1).saturating_sub(GRAM);
        self.step = [8, 6, 4, 2].into_iter().find(|step| *step <= neighbours).unwrap_or(1);
        let mut pairs = Vec::new();
        for (number, part) in self.parts.iter().enumerate() {
            for residue in 0..self.step {
                let Some(offset) = rarest(part.common.iter().copied(), residue, self.step) else { continue };
                pairs.push((gram::<GRAM>(&part.text[offset..]), self.anchors.len() as u32));
                self.anchors.push((number, offset));
            }
        }
        self.filter = Filter::new(&pairs.iter().map(|(four, _)| *four).collect::<Vec<_>>()).into();
        self.table = Table::new(&pairs.iter().map(|(four, anchor)| (key(*four), *anchor)).collect::<Vec<_>>());
        self
    }

    /// Whether no keyword stands in the value of a text that begins and ends at these places, given that it has no
    /// escapes but those of one letter.
    #[inline]
    pub(crate) fn stand_nowhere_in(&self, text: &[u8], from: usize, to: usize) -> bool {
        let length = to.saturating_sub(from);
        // Folding makes no letter of none, so what is too short for every part has none of them.
        if length < self.shortest && !self.ascii_only {
            return true;
        }
        let is_plain = self.have_late_pairs && length <= SHORT && !beffroi_simd::has_pair_from(LATE, text, from, to);
        is_plain || self.are_nowhere_in(text, from, to)
    }

    #[inline(never)]
    fn are_nowhere_in(&self, text: &[u8], from: usize, to: usize) -> bool {
        let value = text.get(from..to).unwrap_or_default();
        // Whole blocks are looked at together, so some of what follows the value is: a keyword that stands there is found
        // one way or the other.
        let more = self.filter.block(self.step);
        let looked = text.get(from..to.saturating_add(more)).or(text.get(from..)).unwrap_or_default();
        let mut at = 0;
        loop {
            at = self.filter.marked(looked, self.step, at, CASES);
            if at + GRAM > value.len() {
                break;
            }
            if self.stand_in_block(looked, at) {
                return false;
            }
            at += more;
        }
        beffroi_simd::is_ascii(value) || !self.ascii_only && !folds_into_ascii(value)
    }

    /// Whether some part stands around one of the places of a block.
    #[inline(never)]
    fn stand_in_block(&self, text: &[u8], start: usize) -> bool {
        (start..start + self.filter.block(self.step)).step_by(self.step).any(|at| {
            let four = text.get(at..).and_then(|rest| rest.first_chunk::<GRAM>());
            let four = four.map(|four| u32::from_le_bytes(*four) | CASES).filter(|four| self.filter.may_be(*four));
            four.is_some_and(|four| self.table.find(key(four)).any(|anchor| self.stands(text, at, anchor)))
        })
    }

    /// Whether both look for the same.
    pub(crate) fn are(&self, other: &Self) -> bool {
        self.parts == other.parts && self.ascii_only == other.ascii_only
    }

    /// Whether the part of an anchor stands around a place.
    fn stands(&self, text: &[u8], at: usize, anchor: u32) -> bool {
        let Some((number, offset)) = self.anchors.get(anchor as usize) else { return false };
        let part = &self.parts[*number].text;
        let found = at.checked_sub(*offset).and_then(|start| text.get(start..start + part.len()));
        found.is_some_and(|found| found.iter().zip(part.iter()).all(|(byte, wanted)| byte | CASE == *wanted))
    }
}

fn folds_into_ascii(text: &[u8]) -> bool {
    FOLDING.iter().any(|letter| beffroi_simd::find(text, letter.as_bytes()).is_some())
}

impl Part {
    /// The longest part of a keyword that JSON writes as it is; none where it is too short to be looked for, or may stand
    /// in the other notation of an address, which no text shows.
    fn of(text: &str, rarity: &Rarity) -> Option<Self> {
        let is_plain = |byte: &u8| !matches!(byte, b'\\' | b'"' | b'/' | 0..=0x1f | 0x7f..);
        let parts = text.as_bytes().split(|byte| !is_plain(byte));
        let longest = parts.max_by_key(|part| part.len()).filter(|part| part.len() >= GRAM)?;
        if longest.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.') {
            return None;
        }
        let common = longest.windows(GRAM).map(|four| rarity.count(four)).collect();
        Some(Self { text: longest.iter().map(|byte| byte | CASE).collect(), common })
    }
}

#[cfg(test)]
mod tests {
    use super::super::build::Builder;
    use super::super::program::Scope;
    use super::*;

    fn keywords(words: &[&str]) -> Option<Keywords> {
        let rule = serde_json::json!({
            "title": "t", "logsource": {"product": "windows"}, "detection": {"keywords": words, "condition": "keywords"},
        });
        let parsed = rsigma_parser::parse_sigma_yaml(&rule.to_string()).unwrap();
        let mut builder = Builder::default();
        builder.add(&parsed.rules[0]).unwrap();
        let program = builder.finish();
        assert!(program.atoms.iter().all(|atom| atom.scope == Scope::Anywhere));
        Keywords::of(program.atoms.iter(), program.habits.rarity())
    }

    fn stand_nowhere_in(keywords: &Keywords, text: &str) -> bool {
        keywords.stand_nowhere_in(text.as_bytes(), 0, text.len())
    }

    #[test]
    fn a_keyword_is_found_wherever_it_stands_and_whatever_its_case() {
        let keywords = keywords(&["lsadump::", "\\mimilib.dll", "eo.oe.kiwi", "dpapi::masterkey"]).unwrap();
        for word in ["LsaDump::", r"\\MimiLib.DLL", "EO.oe.kiwi", "dpapi::masterkey"] {
            for front in 0..40 {
                let text = format!(r#"{{"a":"{}{word} x"}}"#, "y".repeat(front));
                assert!(!stand_nowhere_in(&keywords, &text), "{text}");
            }
        }
        assert!(stand_nowhere_in(&keywords, r#"{"a":"lsa dump, mimilib, été"}"#));
    }

    #[test]
    fn a_value_without_words_is_passed_over_and_a_keyword_without_them_is_found() {
        let keywords_of = |words: &[&str]| keywords(words).unwrap();
        assert!(keywords_of(&["lsadump::"]).have_late_pairs && !keywords_of(&["lsadump::", "0x1000-abc"]).have_late_pairs);
        let value = "{5EBD8912-ABAF-5F51-0000-0010A2030000} 2020-09-04T15:19:50.520Z";
        assert!(stand_nowhere_in(&keywords_of(&["lsadump::"]), value));
        assert!(!stand_nowhere_in(&keywords_of(&["lsadump::", "ABAF-5F51"]), value));
        assert!(!stand_nowhere_in(&keywords_of(&["skeleton-key"]), "s\u{212a}eleton-key"));
    }

    #[test]
    fn letters_that_fold_into_ascii_are_no_hiding_place() {
        let keywords = keywords(&["skeleton-key"]).unwrap();
        assert!(!stand_nowhere_in(&keywords, "s\u{212a}eleton-key"));
    }

    #[test]
    fn what_is_too_short_or_may_be_escaped_is_not_looked_for() {
        assert!(keywords(&["abc"]).is_none() && keywords(&["long enough", "a/b/c\\d"]).is_none());
        assert!(keywords(&["10.0.0.1"]).is_none() && keywords(&["10.0.0.1:80"]).is_some());
    }
}
