//! Which texts a value must have somewhere for a test to pass: what a scan looks for. A test without such texts can be
//! judged only by itself.

use regex_syntax::Parser;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::pattern::{Pattern, Piece, fold};
use super::test::Test;

/// Alternatives of one expression that are looked for; more make it one that is judged by itself.
const MAX_LITERALS: usize = 64;
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
            Self::Regex(expression) => expression.required().needles(),
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

/// What an ASCII value must have for an expression to find something in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required {
    /// Bytes that it has at least.
    pub(crate) length: usize,
    /// Texts, folded, of which it contains one; empty when nothing is known.
    pub(crate) any_of: Box<[Box<str>]>,
    run: Option<Run>,
}

/// Bytes of one kind that stand side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    /// By folded byte.
    bytes: Box<[bool; 128]>,
    length: usize,
}

/// Shorter runs stand in too many values to be worth a look.
const MIN_RUN: u32 = 8;

impl Run {
    /// The longest run that an expression asks for.
    fn of(hir: &Hir) -> Option<Self> {
        match hir.kind() {
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Concat(list) => list.iter().filter_map(Self::of).max_by_key(|run| run.length),
            HirKind::Repetition(repetition) if repetition.min > 0 => match class_of(&repetition.sub) {
                Some(class) if repetition.min >= MIN_RUN => {
                    Some(Self { bytes: folded_bytes(class), length: repetition.min as usize })
                }
                _ => Self::of(&repetition.sub),
            },
            _ => None,
        }
    }

    /// Whether it stands in a folded ASCII value. What ends a run is looked for from its end, so most bytes are passed over.
    fn stands_in(&self, value: &[u8]) -> bool {
        let is_other = |byte: &u8| self.bytes.get(usize::from(*byte)) != Some(&true);
        let mut start = 0;
        while let Some(part) = value.get(start..start + self.length) {
            match part.iter().rposition(is_other) {
                Some(other) => start += other + 1,
                None => return true,
            }
        }
        false
    }
}

/// The class that a part is made of.
fn class_of(hir: &Hir) -> Option<&Class> {
    match hir.kind() {
        HirKind::Class(class) => Some(class),
        HirKind::Capture(capture) => class_of(&capture.sub),
        _ => None,
    }
}

/// The ASCII bytes of a class, folded.
fn folded_bytes(class: &Class) -> Box<[bool; 128]> {
    let mut bytes = Box::new([false; 128]);
    let mut take = |start: u32, end: u32| {
        (start..=end.min(0x7f)).for_each(|code| bytes[usize::from((code as u8).to_ascii_lowercase())] = true);
    };
    match class {
        Class::Unicode(class) => class.iter().for_each(|range| take(range.start().into(), range.end().into())),
        Class::Bytes(class) => class.iter().for_each(|range| take(range.start().into(), range.end().into())),
    }
    bytes
}

impl Required {
    /// What this expression requires.
    pub(crate) fn of(expression: &str) -> Self {
        let Ok(hir) = Parser::new().parse(expression) else { return Self::default() };
        let inner = literals(&hir);
        let known = [inner, outer(&hir, ExtractKind::Prefix), outer(&hir, ExtractKind::Suffix)].into_iter().flatten();
        let best = known.max_by_key(|texts| (shortest(texts), std::cmp::Reverse(texts.len()))).unwrap_or_default();
        let any_of = best.into_iter().map(String::into_boxed_str).collect();
        Self { length: hir.properties().minimum_len().unwrap_or(0), any_of, run: Run::of(&hir) }
    }

    /// How it is looked for; none when it says nothing.
    fn needles(&self) -> Option<Needles> {
        let is_long = !self.any_of.is_empty() && self.any_of.iter().all(|text| text.len() >= MIN_LITERAL);
        let needle = |text: &str| Needle { place: Place::Inside, text: text.into() };
        let any_of = if is_long { self.any_of.iter().map(|text| needle(text)).collect() } else { Vec::new() };
        let probe = (!is_long && self.length >= MIN_PROBED).then(|| self.clone());
        let is_known = is_long || probe.is_some();
        is_known.then_some(Needles { any_of, probe, prove: false, ascii_only: true })
    }

    /// Whether a folded ASCII value has it: much cheaper than to ask the expression, and it often has not.
    pub(crate) fn stands_in(&self, value: &[u8]) -> bool {
        let has = |text: &str| beffroi_simd::find(value, text.as_bytes()).is_some();
        value.len() >= self.length
            && self.run.as_ref().is_none_or(|run| run.stands_in(value))
            && (self.any_of.is_empty() || self.any_of.iter().any(|text| has(text)))
    }
}

/// The texts that everything begins or ends with that an expression finds in ASCII values.
fn outer(hir: &Hir, kind: ExtractKind) -> Option<Vec<String>> {
    let found = Extractor::new().kind(kind).limit_total(MAX_LITERALS).extract(hir);
    let ascii = found
        .literals()?
        .iter()
        .filter_map(|literal| std::str::from_utf8(literal.as_bytes()).ok())
        .filter(|text| text.is_ascii());
    let mut texts: Vec<String> = ascii.map(fold).collect();
    texts.sort_unstable();
    texts.dedup();
    (shortest(&texts) >= 1).then_some(texts)
}

fn shortest(texts: &[String]) -> usize {
    texts.iter().map(String::len).min().unwrap_or(0)
}

/// Texts, folded, of which every ASCII value that the expression finds something in contains at least one.
fn literals(hir: &Hir) -> Option<Vec<String>> {
    let found = match hir.kind() {
        HirKind::Literal(literal) => vec![fold(std::str::from_utf8(&literal.0).ok()?)],
        HirKind::Class(class) => vec![letter(class)?.to_string()],
        HirKind::Capture(capture) => return literals(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => return literals(&repetition.sub),
        HirKind::Alternation(list) => {
            let mut union = Vec::new();
            for inner in list {
                union.extend(literals(inner)?);
            }
            union
        }
        HirKind::Concat(list) => return best_of(list),
        _ => return None,
    };
    (found.len() <= MAX_LITERALS && found.iter().all(|text| !text.is_empty())).then_some(found)
}

/// The part of a sequence whose shortest text is the longest; neighbouring letters are one text.
fn best_of(list: &[Hir]) -> Option<Vec<String>> {
    let mut parts: Vec<Vec<String>> = Vec::new();
    let mut run = String::new();
    for inner in list {
        match single(inner) {
            Some(text) => run.push_str(&text),
            None => {
                parts.push(vec![std::mem::take(&mut run)]);
                parts.extend(literals(inner));
            }
        }
    }
    parts.push(vec![run]);
    let best = parts.into_iter().max_by_key(|part| (shortest(part), std::cmp::Reverse(part.len())))?;
    (shortest(&best) >= 1).then_some(best)
}

/// The only text, folded, that a part stands for in ASCII values.
fn single(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(fold),
        HirKind::Class(class) => letter(class).map(String::from),
        HirKind::Capture(capture) => single(&capture.sub),
        _ => None,
    }
}

/// The one ASCII letter, in both cases, that a class stands for among ASCII characters.
fn letter(class: &Class) -> Option<char> {
    let mut found: Option<char> = None;
    let mut take = |start: u32, end: u32| {
        (start..=end.min(0x7f)).take(3).all(|code| {
            let letter = char::from(code as u8).to_ascii_lowercase();
            *found.get_or_insert(letter) == letter
        })
    };
    let is_one = match class {
        Class::Unicode(class) => class.iter().all(|range| take(u32::from(range.start()), u32::from(range.end()))),
        Class::Bytes(class) => class.iter().all(|range| take(u32::from(range.start()), u32::from(range.end()))),
    };
    if is_one { found } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expression: &str) -> Option<Vec<String>> {
        literals(&Parser::new().parse(expression).unwrap())
    }

    #[test]
    fn an_expression_tells_the_longest_text_that_it_cannot_do_without() {
        assert_eq!(of(r"\\dx?CurL\s+.*htt"), Some(vec!["curl".to_string()]));
        assert_eq!(of(r"(?i)c[uU]rl[0-9]"), Some(vec!["curl".to_string()]));
        assert_eq!(of(r"(abc|de)+x?"), Some(vec!["abc".to_string(), "de".to_string()]));
        assert_eq!(of(r"(?i)kiss"), Some(vec!["kiss".to_string()]));
        assert_eq!(of(r"a*|bcd"), None);
        assert_eq!(of(r"[0-9]{4}"), None);
        assert_eq!(of(r""), None);
    }

    #[test]
    fn an_expression_tells_what_it_begins_or_ends_with_and_how_short_a_value_it_fits() {
        let of = Required::of;
        let texts = |required: &Required| required.any_of.iter().map(ToString::to_string).collect::<Vec<_>>();
        let required = of(r#"\\[a-z]{1,32}\.[A-Z]{1,6}\.[ "']"#);
        assert_eq!((texts(&required), required.length), (vec![". ".into(), ".\"".into(), ".'".into()], 6));
        let required = of(r"\s[a-f]{64}\s[0-9]{16}");
        assert_eq!((texts(&required).len() > 1, required.length), (true, 82));
        assert!(texts(&of(".*")).is_empty() && of(".*").length == 0);
    }

    #[test]
    fn a_value_that_an_expression_finds_something_in_has_what_it_requires() {
        let (mut found, mut refused) = (0, 0);
        for expression in
            [r"\s[a-fA-F0-9]{9}\s", r"(?i)x([A-F]){8,}|y", r"(?i)x([A-F]){8,}y?", r"([^a-z]{8})+!", r"\w{8}[ -]*\w{9,12}"]
        {
            let (required, regex) = (Required::of(expression), regex::Regex::new(expression).unwrap());
            for (length, other) in (0..14).flat_map(|length| (0..=length).map(move |other| (length, other))) {
                for letter in ["a", "F", "7", "Z", "-"] {
                    for end in ["", " ", "!", "y", "-123456789"] {
                        let run = format!("{}{}{}", letter.repeat(other), [" ", "A"][length % 2], letter.repeat(length - other));
                        for value in [format!(" {run}{end}"), format!("x{run}{end}"), format!("ABC def X{run} {end}")] {
                            let stands = required.stands_in(fold(&value).as_bytes());
                            assert!(stands || !regex.is_match(&value), "{expression} in {value}");
                            found += usize::from(regex.is_match(&value));
                            refused += usize::from(!stands);
                        }
                    }
                }
            }
        }
        assert!(found > 100 && refused > 100, "{found} found, {refused} refused");
        assert!(Required::of(r"(?i)x([A-F]){8,}|y").run.is_none(), "an alternative needs no run");
    }

    #[test]
    fn an_expression_with_short_texts_is_asked_for_what_it_requires() {
        let needles = Required::of(r"-(W|R)\s?[0-9]{6}").needles().unwrap();
        let probe = needles.probe.unwrap();
        assert!(needles.any_of.is_empty() && needles.ascii_only);
        assert!(probe.stands_in(b"x -w123456") && !probe.stands_in(b"-w") && !probe.stands_in(b"x w123456"));
        assert_eq!(Required::of("curl.*x").needles().unwrap().any_of.len(), 1);
        assert_eq!(Required::of("a?").needles(), None);
    }

    #[test]
    fn a_pattern_tells_where_its_longest_text_stands() {
        let test = Test::Folded(Pattern::Glob([Piece::Text("abc".into()), Piece::One, Piece::Text("z".into())].into()));
        let needles = test.needles().unwrap();
        assert_eq!(needles.any_of, [Needle { place: Place::Start, text: "abc".into() }]);
        assert!(!needles.prove);
    }
}
