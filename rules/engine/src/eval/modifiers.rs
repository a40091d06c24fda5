//! The modifiers of a field, sorted by what they do (specification version 2.1, "Value modifiers").

use rsigma_parser::Modifier;

use super::pattern::Anchor;
use super::test::{Order, TimePart};

/// What a value is made into before it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoder {
    Utf16le,
    Utf16be,
    Utf16,
    Base64,
    Base64Offset,
    Windash,
    Expand,
}

/// How a value is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reading {
    #[default]
    Value,
    Regex,
    Network,
    Exists,
    Reference,
    Compare(Order),
}

/// All modifiers of one field.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Modifiers {
    pub(crate) anchor: Anchor,
    pub(crate) reading: Reading,
    pub(crate) time: Option<TimePart>,
    pub(crate) encoders: Vec<Encoder>,
    pub(crate) all: bool,
    pub(crate) cased: bool,
    pub(crate) negated: bool,
    pub(crate) ignore_case: bool,
    pub(crate) multi_line: bool,
    pub(crate) dot_all: bool,
}

impl Modifiers {
    /// Sorts them; two that contradict each other are an error that names both.
    pub(crate) fn sort(list: &[Modifier]) -> Result<Self, String> {
        let mut sorted = Self::default();
        for modifier in list {
            sorted.add(*modifier)?;
        }
        if sorted.reading == Reading::Regex && sorted.cased && sorted.ignore_case {
            return Err("invalid modifier combination: cased and i contradict each other".into());
        }
        if sorted.reading != Reading::Regex && (sorted.ignore_case || sorted.multi_line || sorted.dot_all) {
            return Err("invalid modifier combination: i, m and s belong to re".into());
        }
        if !matches!(sorted.reading, Reading::Value | Reading::Reference) && sorted.anchor != Anchor::Whole {
            return Err("invalid modifier combination: contains, startswith and endswith are for text".into());
        }
        Ok(sorted)
    }

    fn add(&mut self, modifier: Modifier) -> Result<(), String> {
        match modifier {
            Modifier::Contains => self.anchor(Anchor::Inside)?,
            Modifier::StartsWith => self.anchor(Anchor::Start)?,
            Modifier::EndsWith => self.anchor(Anchor::End)?,
            Modifier::All => self.all = true,
            Modifier::Cased => self.cased = true,
            Modifier::Neq => self.negated = true,
            Modifier::IgnoreCase => self.ignore_case = true,
            Modifier::Multiline => self.multi_line = true,
            Modifier::DotAll => self.dot_all = true,
            Modifier::Re => self.read(Reading::Regex)?,
            Modifier::Cidr => self.read(Reading::Network)?,
            Modifier::Exists => self.read(Reading::Exists)?,
            Modifier::FieldRef => self.read(Reading::Reference)?,
            Modifier::Lt => self.read(Reading::Compare(Order::Less))?,
            Modifier::Lte => self.read(Reading::Compare(Order::LessOrSame))?,
            Modifier::Gt => self.read(Reading::Compare(Order::Greater))?,
            Modifier::Gte => self.read(Reading::Compare(Order::GreaterOrSame))?,
            Modifier::Base64 => self.encoders.push(Encoder::Base64),
            Modifier::Base64Offset => self.encoders.push(Encoder::Base64Offset),
            Modifier::Wide => self.encoders.push(Encoder::Utf16le),
            Modifier::Utf16be => self.encoders.push(Encoder::Utf16be),
            Modifier::Utf16 => self.encoders.push(Encoder::Utf16),
            Modifier::WindAsh => self.encoders.push(Encoder::Windash),
            Modifier::Expand => self.encoders.push(Encoder::Expand),
            Modifier::Minute => self.part(TimePart::Minute)?,
            Modifier::Hour => self.part(TimePart::Hour)?,
            Modifier::Day => self.part(TimePart::Day)?,
            Modifier::Week => self.part(TimePart::Week)?,
            Modifier::Month => self.part(TimePart::Month)?,
            Modifier::Year => self.part(TimePart::Year)?,
        }
        Ok(())
    }

    fn anchor(&mut self, anchor: Anchor) -> Result<(), String> {
        if self.anchor != Anchor::Whole && self.anchor != anchor {
            return Err("invalid modifier combination: contains, startswith and endswith exclude each other".into());
        }
        self.anchor = anchor;
        Ok(())
    }

    fn read(&mut self, reading: Reading) -> Result<(), String> {
        if self.reading != Reading::Value && self.reading != reading {
            return Err("invalid modifier combination: re, cidr, exists, fieldref and comparisons exclude each other".into());
        }
        self.reading = reading;
        Ok(())
    }

    fn part(&mut self, part: TimePart) -> Result<(), String> {
        if self.time.is_some_and(|known| known != part) {
            return Err("invalid modifier combination: a value has one part of a time".into());
        }
        self.time = Some(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers_that_contradict_each_other_are_refused() {
        for list in [
            vec![Modifier::Contains, Modifier::EndsWith],
            vec![Modifier::Re, Modifier::Cidr],
            vec![Modifier::Re, Modifier::Contains],
            vec![Modifier::IgnoreCase],
            vec![Modifier::Hour, Modifier::Day],
            vec![Modifier::Re, Modifier::Cased, Modifier::IgnoreCase],
        ] {
            assert!(Modifiers::sort(&list).is_err(), "{list:?}");
        }
    }

    #[test]
    fn encoders_keep_their_order() {
        let sorted = Modifiers::sort(&[Modifier::Wide, Modifier::Base64Offset, Modifier::Contains]).unwrap();
        assert_eq!(sorted.encoders, [Encoder::Utf16le, Encoder::Base64Offset]);
        assert_eq!(sorted.anchor, Anchor::Inside);
    }
}
