//! Members of an object, read one after the other: at a glance where names come as they last did ([`Recall`]), by the
//! book where something is new.

use super::escape::unescaped;
use super::frame::{Datum, Frame};
use super::keywords::Keywords;
use super::member::{Held, Member, Seen};
use super::names::{FieldId, Names};
use super::quotes::{Kind, string};
use super::reader::{Reader, TextError, digits};
use super::recall::Recall;

/// What is looked for in values while they are read.
pub(crate) struct Search<'k> {
    /// The keywords and their number.
    pub(crate) keywords: Option<(&'k Keywords, u64)>,
    /// One may stand somewhere.
    pub(crate) is_found: bool,
}

impl Search<'_> {
    /// The number of the keywords; zero for none.
    fn number(&self) -> u64 {
        self.keywords.map_or(0, |(_, number)| number)
    }

    /// Looks at the value between two places; which keywords it is free of.
    #[inline]
    fn look(&mut self, text: &[u8], from: usize, to: usize) -> u64 {
        let Some((keywords, number)) = self.keywords else { return 0 };
        if keywords.stand_nowhere_in(text, from, to) {
            return number;
        }
        self.is_found = true;
        0
    }
}

/// What taking members of known names needs.
pub(crate) struct Known<'r, 'a, 'k, W> {
    pub(crate) recall: &'r mut Recall,
    pub(crate) frame: &'r mut Frame<'a>,
    pub(crate) search: &'r mut Search<'k>,
    pub(crate) wants: &'r W,
}

/// How far members were taken.
pub(crate) struct Reached {
    pub(crate) at: usize,
    /// The place of the last one.
    pub(crate) last: u16,
    /// What follows has the name that the last one was last followed by.
    pub(crate) is_named: bool,
    /// Nothing follows.
    pub(crate) is_end: bool,
}

impl<'a, W: Fn(Option<FieldId>) -> bool> Known<'_, 'a, '_, W> {
    /// Takes members from a place in the text on, after the one at a place, while each has the name that followed last
    /// time and either stands there as it last did or has a value that is read at a glance.
    #[inline(always)]
    pub(crate) fn members(&mut self, text: &'a [u8], mut last: u16, at: usize) -> Reached {
        let number = self.search.number();
        let mut place = self.recall.follower(last);
        let mut rest = text.get(at..).unwrap_or_default();
        let reached = |rest: &[u8], last| Reached { at: text.len() - rest.len(), last, is_named: false, is_end: false };
        loop {
            let member = self.recall.at(place);
            let same = member.same(rest);
            let Some(length) = member.whole(same) else {
                let Some(name) = member.name(same) else {
                    if self.recall.guess(last, rest) {
                        place = self.recall.follower(last);
                        continue;
                    }
                    return reached(rest, last);
                };
                let Some((length, datum)) = glance(member, self.search, rest, name) else {
                    return Reached { is_named: true, ..reached(rest, last) };
                };
                if (self.wants)(member.field) {
                    self.frame.push_first(member.field, datum);
                }
                (rest, last, place) = (&rest[length..], place, member.next[0]);
                continue;
            };
            if number != 0 && member.free_of != number {
                let (from, to) = member.span();
                member.free_of = self.search.look(rest, from, to);
            }
            if (self.wants)(member.field) {
                self.frame.push_first(member.field, member.datum(rest));
            }
            let is_end = member.is_last;
            (rest, last, place) = (&rest[length..], place, member.next[0]);
            if is_end {
                return Reached { is_end, ..reached(rest, last) };
            }
        }
    }
}

/// Reads and keeps the value of the member that stands first, if it is a string without odd escapes or a plain number, and
/// another member follows at once: the length with the comma between them. Nothing has happened otherwise.
#[inline(always)]
fn glance<'a>(member: &mut Member, search: &mut Search<'_>, rest: &'a [u8], name: usize) -> Option<(usize, Datum<'a>)> {
    let (held, value, after) = match rest.get(name)? {
        b'"' => {
            let (end, kind) = string(rest, name)?;
            let held = match kind {
                Kind::Plain => Held::TEXT,
                Kind::Escaped => Held::ESCAPED,
                Kind::Odd => return None,
            };
            (held, (name + 1, end), end + 1)
        }
        _ => {
            let (number, length) = digits(rest.get(name..)?)?;
            (Held::other(Datum::Int(number)), (0, 0), name + length)
        }
    };
    if rest.get(after..after + 2) != Some(b",\"") {
        return None;
    }
    let free_of = search.look(rest, value.0, value.1);
    member.keep(rest, after + 1, Seen { held, value, is_last: false, free_of });
    Some((after + 1, held.datum(rest, value)))
}

/// What reading a member that does not stand as it last did needs.
pub(crate) struct Reading<'r, 'a, 'k> {
    pub(crate) reader: &'r mut Reader<'a>,
    pub(crate) recall: &'r mut Recall,
    pub(crate) frame: &'r mut Frame<'a>,
    pub(crate) names: &'r Names,
    pub(crate) search: &'r mut Search<'k>,
}

impl Reading<'_, '_, '_> {
    /// Reads one member, after the one at a place, which may be known by name: its own place, or that of the one before when
    /// only its name was found. None where it was the last.
    #[inline(never)]
    pub(crate) fn member(
        &mut self,
        last: u16,
        is_named: bool,
        wants: &impl Fn(Option<FieldId>) -> bool,
    ) -> Result<Option<u16>, TextError> {
        self.reader.peek();
        let start = self.reader.at;
        let (place, field) = if is_named { self.known_name(last) } else { self.name(start)? };
        if let Some(place) = place.filter(|_| !is_named) {
            // What the name is known for may do; it is looked at once more.
            self.recall.follows(last, place);
            self.reader.at = start;
            return Ok(Some(last));
        }
        let seen = self.value(field, wants(field))?;
        let is_last = match self.reader.take() {
            Some(b',') => false,
            Some(b'}') => true,
            _ => return self.reader.wrong("a comma or brace is missing"),
        };
        // White space before the next member belongs to this one, so that the next is looked for where it begins.
        if !is_last {
            self.reader.peek();
        }
        if let Some(place) = place {
            let (member, rest) = (self.recall.at(place), &self.reader.text[start..]);
            let from_start = |value: (usize, usize)| (value.0 - start, value.1 - start);
            match seen {
                Some(seen) => {
                    let seen = Seen { is_last, value: from_start(seen.value), ..seen };
                    member.keep(rest, self.reader.at - start, seen)
                }
                None => member.forget_value(),
            }
        }
        Ok((!is_last).then_some(place.unwrap_or(Recall::NOWHERE)))
    }

    /// Passes over the name that last followed the one at a place, with its colon: its place and its field.
    fn known_name(&mut self, last: u16) -> (Option<u16>, Option<FieldId>) {
        let place = self.recall.follower(last);
        let member = self.recall.at(place);
        self.reader.at += usize::from(member.name);
        (Some(place), member.field)
    }

    /// Reads a name and its colon: its place, if it has one, and its field.
    fn name(&mut self, start: usize) -> Result<(Option<u16>, Option<FieldId>), TextError> {
        let (name, kind) = self.reader.wanted_string("a member has no name")?;
        self.reader.expect(b':', "a name has no value")?;
        if kind != Kind::Plain {
            return Ok((None, unescaped(name).and_then(|name| self.names.find_bytes(&name))));
        }
        let length = self.reader.at - start;
        match self.recall.place(self.names, &self.reader.text[start..], name, length) {
            Some(place) => Ok((Some(place), self.recall.at(place).field)),
            None => Ok((None, self.names.find_bytes(name))),
        }
    }

    /// Reads a value; what is worth remembering of it.
    #[inline]
    fn value(&mut self, field: Option<FieldId>, is_wanted: bool) -> Result<Option<Seen>, TextError> {
        let first = self.reader.peek();
        let start = self.reader.at;
        let seen = |held, value, free_of| Some(Seen { held, value, is_last: false, free_of });
        match first {
            Some(b'"') => {
                let (text, kind) = self.reader.string("a value is no JSON")?;
                if is_wanted && kind == Kind::Odd && unescaped(text).is_none() {
                    return self.reader.wrong("an escape is unknown");
                }
                let held = if kind == Kind::Plain { Held::TEXT } else { Held::ESCAPED };
                let value = (start + 1, start + 1 + text.len());
                if is_wanted {
                    self.frame.push_first(field, held.datum(self.reader.text, value));
                }
                let free_of = self.search.look(self.reader.text, value.0, value.1);
                Ok(if kind == Kind::Odd { None } else { seen(held, value, free_of) })
            }
            Some(b'[' | b'{') => {
                let field = field.filter(|field| !self.frame.has(*field));
                if is_wanted {
                    self.reader.value(self.frame, field)?
                } else {
                    self.reader.skip()?
                }
                self.search.look(self.reader.text, start, self.reader.at);
                Ok(None)
            }
            _ => {
                let datum = self.reader.plain()?;
                if is_wanted {
                    self.frame.push_first(field, datum);
                }
                Ok(seen(Held::other(datum), (start, start), self.search.number()))
            }
        }
    }
}
