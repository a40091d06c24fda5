//! Numbers of events, exact: sums that are added to and taken from for days must not drift, and must not depend on order.

use std::cmp::Ordering;

/// Units of one: twelve decimal digits behind the point, so that tenths are exact.
const ONE: i128 = 1_000_000_000_000;
/// Largest number. Larger ones count as this, so that nobody hides from a sum behind an absurd value. A million of them fit
/// into a sum.
const LARGEST: i64 = 1 << 53;

/// A number with a fixed point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fixed(pub(crate) i128);

impl Fixed {
    /// The number in a text: whole, or with a fraction or an exponent.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse::<i64>() {
            return Some(Self(i128::from(number.clamp(-LARGEST, LARGEST)) * ONE));
        }
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite())?;
        let number = number.clamp(-(LARGEST as f64), LARGEST as f64);
        // Far below the limit of the type, whose cast would only cut.
        Some(Self((number * ONE as f64).round() as i128))
    }
}

/// What a window measures: a fraction, compared without rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Measure {
    /// In units of the fixed point.
    numerator: i128,
    /// Greater than 0.
    denominator: i128,
}

impl Measure {
    /// A count.
    pub(crate) fn count(count: usize) -> Self {
        Self { numerator: count as i128 * ONE, denominator: 1 }
    }

    /// A sum (in units of the fixed point) divided by a number greater than 0.
    pub(crate) fn fraction(sum: i128, by: usize) -> Self {
        Self { numerator: sum, denominator: by.max(1) as i128 }
    }

    /// Compared with a whole number.
    pub(crate) fn compare(self, other: i64) -> Ordering {
        self.numerator.cmp(&(i128::from(other) * ONE).saturating_mul(self.denominator))
    }

    /// For people.
    pub(crate) fn to_f64(self) -> f64 {
        self.numerator as f64 / self.denominator.saturating_mul(ONE) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_people_write_them_and_absurd_ones_are_cut() {
        let value = |text: &str| Fixed::parse(text).map(|number| Measure::fraction(number.0, 1).to_f64());
        assert_eq!(value(" 42 "), Some(42.0));
        assert_eq!(value("-1.5"), Some(-1.5));
        assert_eq!(value("1e3"), Some(1000.0));
        assert_eq!(value("1e300"), Some(LARGEST as f64));
        assert_eq!(value("-9223372036854775808"), Some(-(LARGEST as f64)));
        for text in ["", "x", "inf", "NaN", "0x10", "1 2"] {
            assert_eq!(value(text), None, "{text}");
        }
    }

    #[test]
    fn a_fraction_is_compared_without_rounding() {
        let third = Measure::fraction(Fixed::parse("1").unwrap().0, 3);
        assert_eq!(third.compare(0), Ordering::Greater);
        assert_eq!(third.compare(1), Ordering::Less);
        assert_eq!(Measure::fraction(Fixed::parse("6").unwrap().0, 3).compare(2), Ordering::Equal);
        assert_eq!(Measure::count(5).compare(i64::MAX), Ordering::Less);
        assert_eq!(Measure::fraction(i128::from(LARGEST) << 60, 100_000).compare(i64::MIN), Ordering::Greater);
    }
}
