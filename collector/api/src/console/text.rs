//! The console's words, in French and English. One table a language (`dashboards/console/texts`), the same keys in both;
//! templates and code hold keys, never words.
//!
//! A key that stands in no table is shown as itself: ugly, harmless, and caught by the tests.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A language of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lang {
    En,
    Fr,
}

type Table = BTreeMap<String, String>;

static EN: LazyLock<Table> = LazyLock::new(|| read(include_str!("../../../../dashboards/console/texts/en.toml")));
static FR: LazyLock<Table> = LazyLock::new(|| read(include_str!("../../../../dashboards/console/texts/fr.toml")));

/// A table that cannot be read is empty: keys are shown. The tests read both.
fn read(text: &str) -> Table {
    toml::from_str(text).unwrap_or_default()
}

impl Lang {
    /// Every language, in the order in which they are offered.
    pub(crate) const ALL: [Self; 2] = [Self::En, Self::Fr];

    /// ISO 639-1.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Fr => "fr",
        }
    }

    /// Its own name for itself.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::En => "English",
            Self::Fr => "Français",
        }
    }

    /// The language of this code.
    pub(crate) fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lang| lang.code() == code)
    }

    /// What a browser prefers (`Accept-Language`); English when it prefers neither.
    pub(crate) fn preferred(header: &str) -> Self {
        /// Preferences that are looked at: browsers send a handful.
        const MAX: usize = 16;
        let mut best = (Self::En, 0.0f32);
        for part in header.split(',').take(MAX) {
            let (tag, rest) = part.split_once(';').unwrap_or((part, ""));
            let weight = rest.trim().strip_prefix("q=").map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            let primary = tag.trim().split('-').next().unwrap_or_default().to_ascii_lowercase();
            match Self::from_code(&primary) {
                Some(lang) if weight > best.1 => best = (lang, weight),
                _ => {}
            }
        }
        best.0
    }

    fn table(self) -> &'static Table {
        match self {
            Self::En => &EN,
            Self::Fr => &FR,
        }
    }

    /// The words of a key.
    pub(crate) fn t(self, key: &str) -> &str {
        self.table().get(key).map_or(key, String::as_str)
    }

    /// The words of a key with its places filled: `{n}` by the value of `n`.
    pub(crate) fn fill(self, key: &str, values: &[(&str, &str)]) -> String {
        self.pieces(key, values).into_iter().map(|piece| piece.text).collect()
    }

    /// As [`Self::fill`], with what was filled in kept apart, so that a page can set it off.
    pub(crate) fn pieces(self, key: &str, values: &[(&str, &str)]) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = self.t(key);
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else { break };
            let value = values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value);
            pieces.push(Piece { text: before.to_owned(), quoted: false });
            pieces.push(Piece { text: value.to_owned(), quoted: true });
            rest = after;
        }
        pieces.push(Piece { text: rest.to_owned(), quoted: false });
        pieces.retain(|piece| !piece.text.is_empty());
        pieces
    }

    /// The key for this number: `key_one` or `key_many`. French counts zero as singular, English does not.
    pub(crate) fn plural(self, key: &str, number: u64) -> String {
        let one = match self {
            Self::En => number == 1,
            Self::Fr => number < 2,
        };
        format!("{key}_{}", if one { "one" } else { "many" })
    }

    /// A number of things: the words of `key_one` or `key_many`, with `{n}` filled by the number.
    pub(crate) fn counted(self, key: &str, number: u64) -> String {
        self.fill(&self.plural(key, number), &[("n", &self.number(number))])
    }

    /// A number with its thousands set apart.
    pub(crate) fn number(self, number: u64) -> String {
        let separator = match self {
            Self::En => ',',
            Self::Fr => '\u{202f}',
        };
        let digits = number.to_string();
        let mut text = String::with_capacity(digits.len() + digits.len() / 3);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(separator);
            }
            text.push(digit);
        }
        text
    }

    /// A number of bytes, in binary units.
    pub(crate) fn bytes(self, bytes: u64) -> String {
        const UNITS: [&str; 5] = ["unit_b", "unit_kib", "unit_mib", "unit_gib", "unit_tib"];
        let mut value = bytes as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        let digits = if unit == 0 || value >= 100.0 { format!("{value:.0}") } else { format!("{value:.1}") };
        let digits = if self == Self::Fr { digits.replace('.', ",") } else { digits };
        format!("{digits}\u{a0}{}", self.t(UNITS[unit]))
    }
}

/// A part of a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) text: String,
    /// It was filled in.
    pub(crate) quoted: bool,
}

#[cfg(test)]
mod tests;
