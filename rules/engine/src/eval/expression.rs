//! A regular expression of a rule: a small machine for ASCII values, which nearly all values are, and one for all of
//! Unicode that is made when a value first needs it. Nothing is found in a value that lacks what it requires.

use std::sync::OnceLock;

use regex::{Regex, RegexBuilder, bytes};

use super::required::Required;

/// Memory of one compiled expression: large enough for every public rule, and small enough that the longest value takes
/// less than a second, because time grows with the product of both (`tests/exact.rs` tries five hundred evil ones).
const MAX_REGEX_BYTES: usize = 4 * 1024 * 1024;
/// Memory of the states that one expression has met in values: with less, large counted repetitions would be walked state
/// by state. Only evil expressions come near it.
const MAX_REGEX_STATES: usize = 16 * 1024 * 1024;

/// A compiled expression.
#[derive(Debug, Clone)]
pub struct Expression {
    text: Box<str>,
    /// None where the expression names letters beyond ASCII.
    ascii: Option<bytes::Regex>,
    unicode: OnceLock<Option<Regex>>,
    required: Required,
}

impl Expression {
    /// Compiles an expression in which all flags stand.
    ///
    /// # Errors
    /// What the expression is refused for: its syntax or its size.
    pub(crate) fn new(text: &str) -> Result<Self, regex::Error> {
        // Compiled also where it will hardly be needed, because an expression that is refused is refused when it is loaded.
        let unicode = compile(text)?;
        let mut builder = bytes::RegexBuilder::new(text);
        let ascii = builder.unicode(false).size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_STATES).build().ok();
        let unicode = if ascii.is_none() { OnceLock::from(Some(unicode)) } else { OnceLock::new() };
        Ok(Self { text: text.into(), ascii, unicode, required: Required::of(text) })
    }

    /// The expression as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What a value must have for it to find something.
    pub(crate) fn required(&self) -> &Required {
        &self.required
    }

    /// Whether it finds something in a value.
    pub(crate) fn finds_in(&self, value: &str) -> bool {
        match &self.ascii {
            Some(ascii) if value.is_ascii() => ascii.is_match(value.as_bytes()),
            // It was compiled once before, so it compiles again.
            _ => self.unicode.get_or_init(|| compile(&self.text).ok()).as_ref().is_some_and(|unicode| unicode.is_match(value)),
        }
    }
}

fn compile(text: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(text).size_limit(MAX_REGEX_BYTES).dfa_size_limit(MAX_REGEX_STATES).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_and_other_values_are_searched_alike() {
        for (expression, value, is_found) in [
            (r"(?i)^\w+K$", "abck", true),
            (r"(?i)^\w+k$", "\u{e9}t\u{e9}\u{212a}", true),
            (r"^.\s.$", "a b", true),
            (r"^.\s.$", "\u{e9} b", true),
            (r"[^a]", "a", false),
            (r"\p{Greek}", "\u{3b1}", true),
            (r"\p{Greek}", "a", false),
        ] {
            let compiled = Expression::new(expression).unwrap();
            assert_eq!(compiled.finds_in(value), is_found, "{expression} in {value}");
            assert_eq!(Regex::new(expression).unwrap().is_match(value), is_found);
        }
        assert!(Expression::new("(").is_err());
    }
}
