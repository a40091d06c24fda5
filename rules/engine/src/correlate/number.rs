//! Numbers of events, exact: sums that are added to and taken from for days must not drift, and must not depend on order.

use std::cmp::Ordering;

/// Units of one: twelve decimal digits behind the point, so that tenths are exact.
const ONE: i128 = 1_000_000_000_000;
/// Largest number. Larger ones count as this, so that nobody hides from a sum behind an absurd value. A million of them fit
/// into a sum.
const LARGEST: i64 = 1 << 53;

/// A number with a fixed point. The largest whole one has 26 digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Fixed(pub(crate) i128);

impl Fixed {
    /// How many there are.
    pub(crate) fn count(count: usize) -> Self {
        Self(count as i128 * ONE)
    }

    /// A whole number; none of those that are too large for the fixed point.
    pub(crate) fn whole(number: i128) -> Option<Self> {
        number.checked_mul(ONE).map(Self)
    }

    /// The nearest number; none of what is no number. Far larger ones than events have are only cut.
    pub(crate) fn real(number: f64) -> Option<Self> {
        number.is_finite().then(|| Self((number * ONE as f64).round() as i128))
    }

    /// Whether it has no fraction.
    pub(crate) fn is_whole(self) -> bool {
        self.0 % ONE == 0
    }

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
        Self { numerator: Fixed::count(count).0, denominator: 1 }
    }

    /// A sum (in units of the fixed point) divided by a number greater than 0.
    pub(crate) fn fraction(sum: i128, by: usize) -> Self {
        Self { numerator: sum, denominator: by.max(1) as i128 }
    }

    /// Compared with a number.
    pub(crate) fn compare(self, other: Fixed) -> Ordering {
        self.numerator.cmp(&other.0.saturating_mul(self.denominator))
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
        let whole = |number: i64| Fixed::whole(number.into()).unwrap();
        assert_eq!(third.compare(whole(0)), Ordering::Greater);
        assert_eq!(third.compare(whole(1)), Ordering::Less);
        assert_eq!(third.compare(Fixed::parse("0.333333333333").unwrap()), Ordering::Greater);
        assert_eq!(Measure::fraction(Fixed::parse("6").unwrap().0, 3).compare(whole(2)), Ordering::Equal);
        assert_eq!(Measure::fraction(Fixed::parse("1").unwrap().0, 2).compare(Fixed::real(0.5).unwrap()), Ordering::Equal);
        assert_eq!(Measure::count(5).compare(whole(i64::MAX)), Ordering::Less);
        assert_eq!(Measure::fraction(i128::from(LARGEST) << 60, 100_000).compare(whole(i64::MIN)), Ordering::Greater);
        assert_eq!(Measure::count(5).compare(Fixed::real(1e300).unwrap()), Ordering::Less);
    }
}
