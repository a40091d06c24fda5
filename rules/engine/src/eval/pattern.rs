//! Texts with wildcards: what a Sigma string value becomes once its modifiers are applied.
//!
//! `*` stands for any text, line breaks included, `?` for one character (specification, "Wildcards").

use rsigma_parser::{SigmaString, SpecialChar, StringPart};

/// One part of a pattern.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Piece {
    /// This text.
    Text(Box<str>),
    /// One character.
    One,
    /// Any text.
    Any,
}

/// A text pattern, in lower case where case does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Pattern {
    /// The whole value.
    Is(Box<str>),
    /// Anywhere in the value.
    Contains(Box<str>),
    /// Its beginning.
    Begins(Box<str>),
    /// Its end.
    Ends(Box<str>),
    /// Anything else; neighbouring `Any` are one.
    Glob(Box<[Piece]>),
}

/// Where the rule's text may stand in the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anchor {
    /// It is the whole value.
    #[default]
    Whole,
    /// `contains`.
    Inside,
    /// `startswith`.
    Start,
    /// `endswith`.
    End,
}

/// Text in the form in which case does not matter.
pub fn fold(text: &str) -> String {
    text.to_lowercase()
}

impl Pattern {
    /// The pattern of a rule's text. With `cased` letters must be the same, otherwise only the same letters.
    pub fn new(text: &SigmaString, anchor: Anchor, cased: bool) -> Self {
        let pieces = text.parts.iter().map(|part| match part {
            StringPart::Plain(plain) if cased => Piece::Text(plain.as_str().into()),
            StringPart::Plain(plain) => Piece::Text(fold(plain).into()),
            StringPart::Special(SpecialChar::WildcardSingle) => Piece::One,
            StringPart::Special(SpecialChar::WildcardMulti) => Piece::Any,
        });
        let mut all = Vec::new();
        if matches!(anchor, Anchor::Inside | Anchor::End) {
            all.push(Piece::Any);
        }
        all.extend(pieces);
        if matches!(anchor, Anchor::Inside | Anchor::Start) {
            all.push(Piece::Any);
        }
        Self::of_pieces(join(all))
    }

    /// The pattern of plain text.
    pub fn plain(text: &str, anchor: Anchor, cased: bool) -> Self {
        Self::new(&SigmaString::from_raw(text), anchor, cased)
    }

    fn of_pieces(pieces: Vec<Piece>) -> Self {
        match pieces.as_slice() {
            [] => Self::Is("".into()),
            [Piece::Text(text)] => Self::Is(text.clone()),
            [Piece::Any, Piece::Text(text), Piece::Any] => Self::Contains(text.clone()),
            [Piece::Text(text), Piece::Any] => Self::Begins(text.clone()),
            [Piece::Any, Piece::Text(text)] => Self::Ends(text.clone()),
            [Piece::Any] => Self::Contains("".into()),
            _ => Self::Glob(pieces.into()),
        }
    }

    /// Whether the value, UTF-8 that is folded like the pattern, fits.
    pub fn fits(&self, value: &[u8]) -> bool {
        match self {
            Self::Is(text) => value == text.as_bytes(),
            Self::Contains(text) => beffroi_simd::find(value, text.as_bytes()).is_some(),
            Self::Begins(text) => value.starts_with(text.as_bytes()),
            Self::Ends(text) => value.ends_with(text.as_bytes()),
            Self::Glob(pieces) => glob(pieces, value),
        }
    }

    /// The longest text that every fitting value contains; empty when there is none.
    pub fn longest(&self) -> &str {
        match self {
            Self::Is(text) | Self::Contains(text) | Self::Begins(text) | Self::Ends(text) => text,
            Self::Glob(pieces) => pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Text(text) => Some(&**text),
                    _ => None,
                })
                .max_by_key(|text| text.len())
                .unwrap_or(""),
        }
    }
}

/// Joins neighbouring texts and neighbouring `*`.
fn join(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut joined: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        match (joined.last_mut(), &piece) {
            (Some(Piece::Any), Piece::Any) => {}
            (Some(Piece::Text(before)), Piece::Text(text)) => *before = format!("{before}{text}").into(),
            _ => joined.push(piece),
        }
    }
    joined
}

/// Greedy matching with one place to go back to: quadratic at worst, never exponential.
fn glob(pieces: &[Piece], value: &[u8]) -> bool {
    let (mut piece, mut at) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    loop {
        let fits = match pieces.get(piece) {
            None if at == value.len() => return true,
            None => None,
            Some(Piece::Any) => {
                piece += 1;
                let Some(next) = next_place(pieces.get(piece), value, at) else { return false };
                back = Some((piece, next));
                at = next;
                continue;
            }
            Some(Piece::One) => value.get(at).map(|first| letter_length(*first)),
            Some(Piece::Text(text)) => {
                value.get(at..).is_some_and(|rest| rest.starts_with(text.as_bytes())).then_some(text.len())
            }
        };
        if let Some(length) = fits {
            at += length;
            piece += 1;
            continue;
        }
        // The last `*` takes at least one character more.
        let Some((after, from)) = back else { return false };
        let Some(skipped) = value.get(from) else { return false };
        let Some(next) = next_place(pieces.get(after), value, from + letter_length(*skipped)) else { return false };
        (piece, at) = (after, next);
        back = Some((after, at));
    }
}

/// The first place from `at` on where a piece can stand; none where it cannot any more.
fn next_place(piece: Option<&Piece>, value: &[u8], at: usize) -> Option<usize> {
    match piece {
        Some(Piece::Text(text)) => Some(at + beffroi_simd::find(value.get(at..)?, text.as_bytes())?),
        _ => Some(at),
    }
}

/// Bytes of the letter that begins with this one (UTF-8).
fn letter_length(first: u8) -> usize {
    match first {
        0xf0.. => 4,
        0xe0.. => 3,
        0xc0.. => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(rule: &str, anchor: Anchor, value: &str) -> bool {
        Pattern::new(&SigmaString::new(rule), anchor, false).fits(fold(value).as_bytes())
    }

    #[test]
    fn wildcards_stand_for_any_text_and_for_one_character() {
        assert!(fits("/tmp/*", Anchor::Whole, "/TMP/x\ny"));
        assert!(fits("a?c", Anchor::Whole, "aéc"));
        assert!(!fits("a?c", Anchor::Whole, "ac"));
        assert!(fits("*a*b*c", Anchor::Whole, "xxaxbxbxc"));
        assert!(!fits("a*b", Anchor::Whole, "a b c"));
        assert!(fits("**", Anchor::Whole, ""));
    }

    #[test]
    fn modifiers_open_the_ends_of_a_text() {
        assert!(fits("curl", Anchor::Inside, "/usr/bin/CURL -s"));
        assert!(fits("/curl", Anchor::End, "/usr/bin/curl"));
        assert!(!fits("/curl", Anchor::End, "/usr/bin/curl -s"));
        assert!(fits("a?b", Anchor::Start, "axbyyy"));
        assert!(!fits("", Anchor::Whole, "x"));
        assert!(fits("", Anchor::Whole, ""));
    }

    #[test]
    fn a_hostile_pattern_ends() {
        let rule = "*a".repeat(60) + "b";
        assert!(!fits(&rule, Anchor::Whole, &"a".repeat(2_000)));
    }

    #[test]
    fn letters_beyond_ascii_are_compared_without_case() {
        assert!(fits("ÉTÉ", Anchor::Whole, "été"));
    }
}
