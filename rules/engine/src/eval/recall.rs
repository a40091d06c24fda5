//! Members of JSON objects as they last stood in a text. What sends events sends the same names in the same order, and
//! most of their values again and again: a member that stands there as it did before costs a comparison, and one of
//! which only the value is new needs no look-up of its name.
//!
//! What is remembered is the text itself. It is compared byte by byte before anything is taken from it, so a wrong guess
//! costs time and nothing else. When there are too many names, all are forgotten: memory is bounded, and whoever sends
//! ever new names gains nothing but that they are read.

use std::sync::Arc;

use super::hash::Table;
use super::keywords::Keywords;
use super::member::{FOLLOWERS, MAX_MEMBER, Member};
use super::names::Names;
use super::quotes::{Kind, string};

/// Names that are remembered at most, all of some hundred kinds of events.
const MAX_NAMES: usize = 1_024;
/// Sets of keywords that are told apart; with more everything is forgotten.
const MAX_KEYWORDS: usize = 64;

/// What is remembered of members.
#[derive(Debug, Default)]
pub(crate) struct Recall {
    /// The numbering that numbers of fields are of.
    names: u64,
    /// The first two are none, see [`Recall::BEFORE_ALL`] and [`Recall::NOWHERE`].
    places: Vec<Member>,
    /// From hashes of names to their places.
    known: Table,
    /// What was looked for in values, each with a number that the same keywords have as well.
    keywords: Vec<(Arc<Keywords>, u64)>,
    /// The last of those numbers.
    last: u64,
}

impl Recall {
    /// The place that whatever stands first in an object follows.
    pub(crate) const BEFORE_ALL: u16 = 0;
    /// The place of names that are not remembered.
    pub(crate) const NOWHERE: u16 = 1;

    /// Gets ready for a text that is read with these names.
    #[inline]
    pub(crate) fn begin(&mut self, names: &Names) {
        if self.names != names.number() || self.places.is_empty() || self.places.len() >= MAX_NAMES {
            self.names = names.number();
            self.places.clear();
            self.places.reserve_exact(MAX_NAMES);
            self.places.resize(2, Member::empty());
            self.known = Table::default();
        }
    }

    /// The number of what is looked for in values.
    pub(crate) fn number(&mut self, keywords: &Arc<Keywords>) -> u64 {
        if let Some(at) = self.keywords.iter().position(|(known, _)| Arc::ptr_eq(known, keywords)) {
            // What is asked next is most often the same.
            self.keywords.swap(0, at);
            return self.keywords.first().map_or(0, |(_, number)| *number);
        }
        let same = self.keywords.iter().find(|(known, _)| known.are(keywords)).map(|(_, number)| *number);
        let number = same.unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        if self.keywords.len() >= MAX_KEYWORDS {
            self.keywords.clear();
        }
        self.keywords.push((Arc::clone(keywords), number));
        number
    }

    /// The place of the name that followed the one at a place last time.
    #[inline(always)]
    pub(crate) fn follower(&self, last: u16) -> u16 {
        self.places[usize::from(last)].next[0]
    }

    /// The member at a place.
    #[inline(always)]
    pub(crate) fn at(&mut self, place: u16) -> &mut Member {
        &mut self.places[usize::from(place)]
    }

    /// Whether the member that stands first in what is left of a text has a known name, which did not follow the one at a
    /// place last time; that is then the last one. Names that followed it before are tried first.
    #[inline(never)]
    pub(crate) fn guess(&mut self, last: u16, rest: &[u8]) -> bool {
        for rank in 1..FOLLOWERS {
            let place = self.at(last).next[rank];
            if place == 0 {
                break;
            }
            let member = self.at(place);
            if member.name(member.same(rest)).is_some() {
                self.at(last).put_first(rank, place);
                return true;
            }
        }
        self.known_name(rest).inspect(|place| self.follows(last, *place)).is_some()
    }

    /// Remembers that the name at a place followed the one at another.
    pub(crate) fn follows(&mut self, last: u16, place: u16) {
        // One that stood there is moved, not doubled.
        let member = self.at(last);
        let rank = member.next.iter().position(|known| *known == place);
        member.put_first(rank.unwrap_or(FOLLOWERS - 1), place);
    }

    /// The place of the name that stands there, if it is known.
    fn known_name(&self, rest: &[u8]) -> Option<u16> {
        if rest.first() != Some(&b'"') {
            return None;
        }
        let (end, kind) = string(rest, 0)?;
        let is_name = kind == Kind::Plain && rest.get(end + 1) == Some(&b':');
        let name = rest.get(1..end).filter(|_| is_name)?;
        self.find(rest, Names::hash(name), end + 2)
    }

    /// The place of a name of this hash, given where it stands and its length with quotes and colon.
    fn find(&self, rest: &[u8], hash: u64, length: usize) -> Option<u16> {
        let is_it = |place: u32| {
            let member = &self.places[place as usize];
            usize::from(member.name) == length && member.same(rest) >= length
        };
        self.known.find_one(hash, is_it).map(|place| place as u16)
    }

    /// The place of the name that stands in a text, which it has from now on; `length` is that of the name with quotes
    /// and colon. None for names that are too long or too many.
    pub(crate) fn place(&mut self, names: &Names, rest: &[u8], name: &[u8], length: usize) -> Option<u16> {
        if length > MAX_MEMBER {
            return None;
        }
        let hash = Names::hash(name);
        if let Some(place) = self.find(rest, hash, length) {
            return Some(place);
        }
        // Places must stay what they are until the text is read; then all are forgotten.
        if self.places.len() >= MAX_NAMES {
            return None;
        }
        let place = self.places.len() as u16;
        self.known.insert(hash, place.into());
        self.places.push(Member::named(rest, length, names.find_bytes(name)));
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_names_take_no_more_memory_than_the_limit() {
        let (mut recall, names) = (Recall::default(), Names::default());
        for number in 0..100_000 {
            recall.begin(&names);
            let text = format!("\"name {number}\":1,");
            let name = &text.as_bytes()[1..text.len() - 4];
            let place = recall.place(&names, text.as_bytes(), name, text.len() - 2).unwrap();
            assert_eq!(recall.place(&names, text.as_bytes(), name, text.len() - 2), Some(place));
            let member = recall.at(place);
            let same = member.same(text.as_bytes());
            assert_eq!((member.name(same), member.whole(same)), (Some(text.len() - 2), None));
        }
        assert!(recall.places.len() <= MAX_NAMES);
        // One text with more names than are remembered.
        let places = (0..2 * MAX_NAMES).map(|number| {
            let text = format!("\"other {number}\":1,");
            recall.place(&names, text.as_bytes(), &text.as_bytes()[1..text.len() - 4], text.len() - 2)
        });
        assert!(places.last().unwrap().is_none() && recall.places.len() == MAX_NAMES);
        recall.begin(&names);
        assert_eq!(recall.place(&names, &[b'x'; 100], &[b'x'; 97], 100), None);
    }

    #[test]
    fn names_that_followed_one_are_found_again_and_none_is_held_twice() {
        let (mut recall, names) = (Recall::default(), Names::default());
        recall.begin(&names);
        let text = |number: usize| format!("\"n{number}\":");
        let places: Vec<u16> = (0..6)
            .map(|number| recall.place(&names, text(number).as_bytes(), format!("n{number}").as_bytes(), 5).unwrap())
            .collect();
        for round in 0..3 {
            for place in &places {
                recall.follows(Recall::BEFORE_ALL, *place);
                assert_eq!(recall.follower(Recall::BEFORE_ALL), *place, "{round}");
            }
        }
        assert!(recall.guess(Recall::BEFORE_ALL, text(2).as_bytes()));
        assert_eq!(recall.at(Recall::BEFORE_ALL).next, [places[2], places[5], places[4], places[3]]);
        // Four are remembered to have followed; other names are known all the same.
        assert!(recall.guess(Recall::BEFORE_ALL, text(1).as_bytes()));
        assert_eq!(recall.at(Recall::BEFORE_ALL).next, [places[1], places[2], places[5], places[4]]);
        for other in ["\"n6\":", "\"n1\" :", "\"n1", "n1\":", ""] {
            assert!(!recall.guess(Recall::BEFORE_ALL, other.as_bytes()), "{other}");
        }
    }

    #[test]
    fn the_same_keywords_have_the_same_number_and_others_another() {
        let mut recall = Recall::default();
        let keywords = || Arc::new(Keywords::default());
        let (one, other) = (keywords(), keywords());
        assert_eq!(recall.number(&one), recall.number(&other));
        for _ in 0..1_000 {
            assert_eq!(recall.number(&keywords()), recall.number(&one));
        }
        assert!(recall.keywords.len() <= MAX_KEYWORDS);
    }
}
