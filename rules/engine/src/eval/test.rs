//! One test of one value: what an item of a rule asks, modifiers applied.

use std::net::IpAddr;

use ipnet::IpNet;

use super::expression::Expression;
use super::frame::Datum;
use super::names::FieldId;
use super::pattern::{Anchor, Pattern, fold};

/// A comparison of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// The same.
    Same,
    /// `lt`
    Less,
    /// `lte`
    LessOrSame,
    /// `gt`
    Greater,
    /// `gte`
    GreaterOrSame,
}

impl Order {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Same => order.is_eq(),
            Self::Less => order.is_lt(),
            Self::LessOrSame => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrSame => order.is_ge(),
        }
    }
}

/// A number of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// Whole.
    Whole(i64),
    /// With a fraction.
    Fraction(f64),
}

impl Number {
    fn compare(self, datum: Datum<'_>) -> Option<std::cmp::Ordering> {
        let value = match datum {
            Datum::Int(number) => i128::from(number),
            Datum::Uint(number) => i128::from(number),
            Datum::Float(number) => return number.partial_cmp(&self.as_float()),
            Datum::Text(_) | Datum::Escaped(_) => {
                let text = datum.text();
                match text.trim().parse::<i128>() {
                    Ok(number) => number,
                    Err(_) => return text.trim().parse::<f64>().ok()?.partial_cmp(&self.as_float()),
                }
            }
            Datum::Null | Datum::Bool(_) => return None,
        };
        match self {
            Self::Whole(number) => Some(value.cmp(&i128::from(number))),
            Self::Fraction(number) => (value as f64).partial_cmp(&number),
        }
    }

    fn as_float(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Fraction(number) => number,
        }
    }
}

/// A part of a point in time (specification, "Time modifiers"), in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TimePart {
    /// 0 to 59
    Minute,
    /// 0 to 23
    Hour,
    /// Day of the month.
    Day,
    /// Week of the year (ISO 8601).
    Week,
    /// 1 to 12
    Month,
    /// With the century.
    Year,
}

impl TimePart {
    fn of(self, datum: Datum<'_>) -> Option<i64> {
        let text = datum.text();
        let json = match datum {
            Datum::Int(number) => number.into(),
            Datum::Uint(number) => number.into(),
            _ => serde_json::Value::String(text.into_owned()),
        };
        let time = jiff::Timestamp::from_microsecond(beffroi_schema::json::parse_time(&json)?).ok()?;
        let time = time.to_zoned(jiff::tz::TimeZone::UTC);
        Some(match self {
            Self::Minute => time.minute().into(),
            Self::Hour => time.hour().into(),
            Self::Day => time.day().into(),
            Self::Week => time.date().iso_week_date().week().into(),
            Self::Month => time.month().into(),
            Self::Year => time.year().into(),
        })
    }
}

/// A test of one value.
#[derive(Debug, Clone)]
pub enum Test {
    /// The value's text, letters compared without case.
    Folded(Pattern),
    /// The value's text as it is.
    Cased(Pattern),
    /// A regular expression somewhere in the value's text.
    Regex(Box<Expression>),
    /// An address in this network; IPv4 addresses in IPv6 clothes count as IPv4.
    Network(IpNet),
    /// A number.
    Compare(Order, Number),
    /// A part of a time.
    Time(TimePart, Order, i64),
    /// The field is absent or says nothing.
    Null,
    /// The field is there (`true`) or absent (`false`).
    Exists(bool),
    /// A text of another field stands in this one.
    Reference {
        /// The other field.
        other: FieldId,
        /// Where.
        anchor: Anchor,
        /// Letters must be the same.
        cased: bool,
    },
}

impl Test {
    /// The longest text that every passing value contains; empty when there is none.
    pub(crate) fn longest_text(&self) -> &str {
        match self {
            Self::Folded(pattern) | Self::Cased(pattern) => pattern.longest(),
            _ => "",
        }
    }

    /// Whether one value passes; `folded` is its text as [`fold`] makes it. Tests of whole fields never do here.
    pub(crate) fn holds(&self, datum: Datum<'_>, text: &str, folded: &str) -> bool {
        match self {
            Self::Folded(pattern) => datum != Datum::Null && pattern.fits(folded.as_bytes()),
            Self::Cased(pattern) => datum != Datum::Null && pattern.fits(text.as_bytes()),
            Self::Regex(expression) => datum != Datum::Null && expression.finds_in(text),
            Self::Network(network) => in_network(network, text),
            Self::Compare(order, number) => number.compare(datum).is_some_and(|found| order.holds(found)),
            Self::Time(part, order, wanted) => part.of(datum).is_some_and(|found| order.holds(found.cmp(wanted))),
            Self::Null | Self::Exists(_) | Self::Reference { .. } => false,
        }
    }

    /// What makes two tests of one field the same one.
    pub(crate) fn key(&self) -> String {
        match self {
            Self::Regex(expression) => format!("Regex({:?})", expression.as_str()),
            other => format!("{other:?}"),
        }
    }
}

fn in_network(network: &IpNet, text: &str) -> bool {
    let Ok(address) = text.parse::<IpAddr>() else { return false };
    network.contains(&address) || network.contains(&address.to_canonical())
}

/// Whether a text of `own` stands to a text of `other` as a field reference asks.
pub(crate) fn refers(own: &[Datum<'_>], other: &[Datum<'_>], anchor: Anchor, cased: bool) -> bool {
    let form = |datum: &Datum<'_>| if cased { datum.text().into_owned() } else { fold(&datum.text()) };
    let is_there = |datum: &&Datum<'_>| **datum != Datum::Null;
    own.iter().filter(is_there).any(|own| {
        let own = form(own);
        other.iter().filter(is_there).map(form).any(|other| match anchor {
            Anchor::Whole => own == other,
            Anchor::Inside => own.contains(&other),
            Anchor::Start => own.starts_with(&other),
            Anchor::End => own.ends_with(&other),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(test: &Test, datum: Datum<'_>) -> bool {
        let text = datum.text();
        test.holds(datum, &text, &fold(&text))
    }

    #[test]
    fn numbers_are_compared_whatever_they_are_written_as() {
        let over = Test::Compare(Order::Greater, Number::Whole(1024));
        assert!(holds(&over, Datum::Uint(1025)) && holds(&over, Datum::Text(b"1025")) && holds(&over, Datum::Float(1024.5)));
        assert!(!holds(&over, Datum::Int(-5)) && !holds(&over, Datum::Text(b"many")) && !holds(&over, Datum::Null));
        let exact = Test::Compare(Order::Same, Number::Whole(i64::MAX));
        assert!(!holds(&exact, Datum::Uint(i64::MAX as u64 + 1)));
    }

    #[test]
    fn an_address_in_other_clothes_is_in_the_same_network() {
        let network = Test::Network("10.0.0.0/8".parse().unwrap());
        assert!(holds(&network, Datum::Text(b"10.1.2.3")) && holds(&network, Datum::Text(b"::ffff:10.1.2.3")));
        assert!(!holds(&network, Datum::Text(b"11.1.2.3")) && !holds(&network, Datum::Text(b"")));
    }

    #[test]
    fn a_part_of_a_time_is_compared_in_utc() {
        let night = Test::Time(TimePart::Hour, Order::GreaterOrSame, 22);
        assert!(holds(&night, Datum::Text(b"2026-11-22T23:10:00+00:00")));
        assert!(!holds(&night, Datum::Text(b"2026-11-22T23:10:00+02:00")));
        assert!(!holds(&night, Datum::Text(b"tonight")));
    }
}
