//! Which texts a value must have somewhere for a test to pass: what a scan looks for. A test without such texts can be
//! judged only by itself.

use super::pattern::{Pattern, Piece, fold};
use super::required::Required;
use super::test::Test;

/// A literal of an expression that is shorter than this stands in too many values to be worth finding.
const MIN_LITERAL: usize = 3;
/// An expression that fits shorter values than this is not asked for what it requires: nearly every value has it.
const MIN_PROBED: usize = 4;

/// Where a text stands in a folded value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is the value.
    Whole,
    /// Its beginning.
    Start,
    /// Its end.
    End,
    /// Anywhere.
    Inside,
}

/// One text to look for, folded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needle {
    pub(crate) place: Place,
    pub(crate) text: Box<str>,
}

/// What must be found for a test to pass: at least one of the needles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needles {
    pub(crate) any_of: Vec<Needle>,
    /// Asked in place of needles, where texts are too short to be looked for in all values at once.
    pub(crate) probe: Option<Required>,
    /// Finding one is passing.
    pub(crate) prove: bool,
    /// They need not stand in values beyond ASCII, where folding can change a letter by what stands beside it.
    pub(crate) ascii_only: bool,
}

impl Test {
    /// What a scan finds in every value that passes; none when it cannot.
    pub(crate) fn needles(&self) -> Option<Needles> {
        match self {
            Self::Folded(pattern) => {
                let (needle, prove) = of_pattern(pattern)?;
                Some(Needles { any_of: vec![needle], probe: None, prove, ascii_only: false })
            }
            Self::Cased(pattern) => {
                let (needle, _) = of_pattern(pattern)?;
                let needle = Needle { text: fold(&needle.text).into(), ..needle };
                Some(Needles { any_of: vec![needle], probe: None, prove: false, ascii_only: true })
            }
            Self::Regex(expression) => of_expression(expression.required()),
            _ => None,
        }
    }
}

/// The needle of a pattern, and whether finding it is fitting.
fn of_pattern(pattern: &Pattern) -> Option<(Needle, bool)> {
    let needle = |place, text: &str| Needle { place, text: text.into() };
    Some(match pattern {
        Pattern::Is(text) => (needle(Place::Whole, text), true),
        Pattern::Contains(text) => (needle(Place::Inside, text), true),
        Pattern::Begins(text) => (needle(Place::Start, text), true),
        Pattern::Ends(text) => (needle(Place::End, text), true),
        Pattern::Glob(pieces) => {
            let longest = pattern.longest();
            if longest.is_empty() {
                return None;
            }
            let is_longest = |piece: Option<&Piece>| matches!(piece, Some(Piece::Text(text)) if &**text == longest);
            let place = match (is_longest(pieces.first()), is_longest(pieces.last())) {
                (true, _) => Place::Start,
                (_, true) => Place::End,
                _ => Place::Inside,
            };
            (needle(place, longest), false)
        }
    })
}

/// What an expression is looked for by; none when it requires nothing.
fn of_expression(required: &Required) -> Option<Needles> {
    let texts = required.any_of.all();
    let is_long = !texts.is_empty() && texts.iter().all(|text| text.len() >= MIN_LITERAL);
    let needles = texts.iter().map(|text| Needle { place: Place::Inside, text: text.clone() });
    let any_of = if is_long { needles.collect() } else { Vec::new() };
    let probe = (!is_long && required.length >= MIN_PROBED).then(|| required.clone());
    let is_known = is_long || probe.is_some();
    is_known.then_some(Needles { any_of, probe, prove: false, ascii_only: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_with_short_texts_is_asked_for_what_it_requires() {
        let needles = of_expression(&Required::of(r"-(W|R)\s?[0-9]{6}")).unwrap();
        let probe = needles.probe.unwrap();
        assert!(needles.any_of.is_empty() && needles.ascii_only);
        assert!(probe.stands_in(b"x -w123456") && !probe.stands_in(b"-w") && !probe.stands_in(b"x w123456"));
        assert_eq!(of_expression(&Required::of("curl.*x")).unwrap().any_of.len(), 1);
        assert_eq!(of_expression(&Required::of("a?")), None);
    }

    #[test]
    fn a_pattern_tells_where_its_longest_text_stands() {
        let test = Test::Folded(Pattern::Glob([Piece::Text("abc".into()), Piece::One, Piece::Text("z".into())].into()));
        let needles = test.needles().unwrap();
        assert_eq!(needles.any_of, [Needle { place: Place::Start, text: "abc".into() }]);
        assert!(!needles.prove);
    }
}
