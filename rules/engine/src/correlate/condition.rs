//! When a correlation holds: comparisons with what its window measures, or an expression over the rules that are there.

use std::cmp::Ordering;

use rsigma_parser::{ConditionExpr, ConditionOperator, Quantifier, SelectorPattern};

use super::number::{Fixed, Measure};

/// Which rules of a correlation are in its window, by position; a correlation has at most 64.
pub(crate) type Present = u64;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Asked {
    /// Every comparison must hold: two make a range.
    Compare(Vec<(ConditionOperator, Fixed)>),
    /// This many rules are needed, and there are no more.
    Every(usize),
    /// An expression over the rules.
    Expression(Expression),
}

/// A boolean expression over the rules of a correlation, by position.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Not(Box<Expression>),
    /// At least this many.
    AtLeast(usize, Vec<Expression>),
    Rule(usize),
}

impl Asked {
    pub(crate) fn holds(&self, measure: Measure, present: Present) -> bool {
        match self {
            Self::Compare(comparisons) => {
                comparisons.iter().all(|(operator, number)| passes(*operator, measure.compare(*number)))
            }
            Self::Every(rules) => measure.compare(Fixed::count(*rules)) != Ordering::Less,
            Self::Expression(expression) => expression.holds(present),
        }
    }
}

fn passes(operator: ConditionOperator, order: Ordering) -> bool {
    match operator {
        ConditionOperator::Lt => order == Ordering::Less,
        ConditionOperator::Lte => order != Ordering::Greater,
        ConditionOperator::Gt => order == Ordering::Greater,
        ConditionOperator::Gte => order != Ordering::Less,
        ConditionOperator::Eq => order == Ordering::Equal,
        ConditionOperator::Neq => order != Ordering::Equal,
    }
}

impl Expression {
    /// Reads an expression whose names are those of `rules` as the correlation writes them.
    pub(crate) fn of(condition: &ConditionExpr, rules: &[String]) -> Result<Self, String> {
        let each = |list: &[ConditionExpr]| list.iter().map(|inner| Self::of(inner, rules)).collect::<Result<Vec<_>, _>>();
        Ok(match condition {
            ConditionExpr::And(list) => Self::All(each(list)?),
            ConditionExpr::Or(list) => Self::Any(each(list)?),
            ConditionExpr::Not(inner) => Self::Not(Box::new(Self::of(inner, rules)?)),
            ConditionExpr::Identifier(name) => match rules.iter().position(|rule| rule == name) {
                Some(at) => Self::Rule(at),
                None => return Err(format!("its condition names '{name}', which is not among its rules")),
            },
            ConditionExpr::Selector { quantifier, pattern } => {
                let fits = |name: &str| match pattern {
                    SelectorPattern::Them => true,
                    SelectorPattern::Pattern(_) => pattern.matches_detection_name(name),
                };
                let chosen: Vec<Self> = (0..rules.len()).filter(|at| fits(&rules[*at])).map(Self::Rule).collect();
                if chosen.is_empty() {
                    return Err(format!("its condition '{pattern}' names none of its rules"));
                }
                match quantifier {
                    Quantifier::Any => Self::Any(chosen),
                    Quantifier::All => Self::All(chosen),
                    Quantifier::Count(wanted) => Self::AtLeast(usize::try_from(*wanted).unwrap_or(usize::MAX), chosen),
                }
            }
        })
    }

    /// Whether it could hold when only these rules can be there: what is denied need not be.
    pub(crate) fn could_hold(&self, live: Present) -> bool {
        match self {
            Self::All(list) => list.iter().all(|inner| inner.could_hold(live)),
            Self::Any(list) => list.iter().any(|inner| inner.could_hold(live)),
            Self::Not(_) => true,
            Self::AtLeast(wanted, list) => list.iter().filter(|inner| inner.could_hold(live)).count() >= *wanted,
            Self::Rule(at) => live >> at & 1 == 1,
        }
    }

    pub(crate) fn holds(&self, present: Present) -> bool {
        match self {
            Self::All(list) => list.iter().all(|inner| inner.holds(present)),
            Self::Any(list) => list.iter().any(|inner| inner.holds(present)),
            Self::Not(inner) => !inner.holds(present),
            Self::AtLeast(wanted, list) => list.iter().filter(|inner| inner.holds(present)).count() >= *wanted,
            Self::Rule(at) => present >> at & 1 == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_comparisons_make_a_range() {
        let range = Asked::Compare(vec![(ConditionOperator::Gt, Fixed::count(2)), (ConditionOperator::Lte, Fixed::count(4))]);
        let holds: Vec<usize> = (0..7).filter(|count| range.holds(Measure::count(*count), 0)).collect();
        assert_eq!(holds, [3, 4]);
        let other = Asked::Compare(vec![(ConditionOperator::Neq, Fixed::count(2))]);
        assert!(other.holds(Measure::count(1), 0) && !other.holds(Measure::count(2), 0));
    }

    #[test]
    fn an_expression_is_judged_over_the_rules_that_are_there() {
        let rules = ["a", "b_1", "b_2"].map(String::from);
        let read = |text: &str| Expression::of(&rsigma_parser::parse_condition(text).unwrap(), &rules);
        let expression = read("a and not 1 of b_*").unwrap();
        assert!(expression.holds(0b001) && !expression.holds(0b011) && !expression.holds(0b100));
        assert!(read("2 of them").unwrap().holds(0b101));
        assert!(read("a and c").unwrap_err().contains("'c'"));
        assert!(read("1 of c_*").is_err());
    }
}
