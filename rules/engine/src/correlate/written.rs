//! What a correlation document says that the parser's syntax tree does not: whether there is a condition at all, and numbers
//! that are not whole. "Compares it to an integer or float threshold", says the specification of `value_avg`; the parser
//! reads whole numbers only.

use rsigma_parser::{ConditionOperator, CorrelationCondition, CorrelationRule};
use serde_yaml_ng::{Number, Value as Yaml};

use super::number::Fixed;

/// The operators of a condition, as they are written.
const OPERATORS: [(&str, ConditionOperator); 6] = [
    ("lt", ConditionOperator::Lt),
    ("lte", ConditionOperator::Lte),
    ("gt", ConditionOperator::Gt),
    ("gte", ConditionOperator::Gte),
    ("eq", ConditionOperator::Eq),
    ("neq", ConditionOperator::Neq),
];

/// A correlation's condition as its document writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Written {
    /// Whether there is one: the parser puts "at least one" where a temporal correlation has none, which is another.
    pub has_condition: bool,
    /// Comparisons with numbers; none where the condition is something else.
    pub comparisons: Vec<(ConditionOperator, Fixed)>,
}

impl Written {
    /// Reads a correlation document; none when it is no correlation.
    ///
    /// # Errors
    /// A reason, when a number is none.
    pub(crate) fn of(document: &Yaml) -> Result<Option<Self>, String> {
        let Some(correlation) = document.get("correlation") else { return Ok(None) };
        let condition = correlation.get("condition");
        let mut comparisons = Vec::new();
        for (name, operator) in OPERATORS {
            if let Some(Yaml::Number(number)) = condition.and_then(|condition| condition.get(name)) {
                comparisons.push((operator, fixed(number)?));
            }
        }
        match condition.and_then(|condition| condition.get("percentile")) {
            None => {}
            Some(percentile) if percentile.as_i64().is_some() => {}
            Some(other) => {
                let written = serde_yaml_ng::to_string(other).unwrap_or_default();
                return Err(format!("Invalid correlation: its percentile is {}; 0 to 100 are allowed, whole", written.trim()));
            }
        }
        Ok(Some(Self { has_condition: condition.is_some(), comparisons }))
    }

    /// What the syntax tree alone says: of a document that was made of several.
    pub(crate) fn parsed(ast: &CorrelationRule) -> Self {
        let CorrelationCondition::Threshold { predicates, .. } = &ast.condition else {
            return Self { has_condition: true, comparisons: Vec::new() };
        };
        // The parser turns negative numbers into large positive ones; this turns them back.
        let whole = |(operator, number): &(ConditionOperator, u64)| Some((*operator, Fixed::whole((*number as i64).into())?));
        Self {
            has_condition: !matches!(predicates.as_slice(), [(ConditionOperator::Gte, 1)]),
            comparisons: predicates.iter().filter_map(whole).collect(),
        }
    }
}

fn fixed(number: &Number) -> Result<Fixed, String> {
    let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
    let fixed = match whole {
        Some(whole) => Fixed::whole(whole),
        None => number.as_f64().and_then(Fixed::real),
    };
    fixed.ok_or_else(|| format!("Invalid correlation: its condition compares with {number}, which is no number"))
}

/// The document as the parser can read it: with whole numbers where its condition has others, which [`Written`] has read.
/// None when it can be read as it is.
pub(crate) fn readable(document: &Yaml) -> Option<String> {
    let mut document = document.clone();
    let condition = document.get_mut("correlation")?.get_mut("condition")?;
    let mut is_changed = false;
    for (name, _) in OPERATORS {
        if let Some(Yaml::Number(number)) = condition.get_mut(name)
            && number.is_f64()
        {
            *number = Number::from(1);
            is_changed = true;
        }
    }
    if is_changed { serde_yaml_ng::to_string(&document).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(condition: &str) -> Yaml {
        serde_yaml_ng::from_str(&format!("title: t\ncorrelation:\n  condition: {condition}\n")).unwrap()
    }

    #[test]
    fn numbers_are_read_as_they_are_written() {
        let read = |condition: &str| Written::of(&document(condition)).unwrap().unwrap().comparisons;
        let tenth = Fixed::parse("0.1");
        assert_eq!(
            read("{gte: 0.1, lt: -2, field: x}"),
            [(ConditionOperator::Lt, Fixed::whole(-2).unwrap()), (ConditionOperator::Gte, tenth.unwrap())]
        );
        assert_eq!(read("{eq: 18446744073709551615}")[0].1, Fixed::whole(i128::from(u64::MAX)).unwrap());
        assert!(read("a and b").is_empty());
        assert_eq!(Written::of(&serde_yaml_ng::from_str("title: t").unwrap()), Ok(None));
        assert!(!Written::of(&serde_yaml_ng::from_str("correlation: {type: temporal}").unwrap()).unwrap().unwrap().has_condition);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for condition in ["{gte: .nan}", "{gt: .inf}", "{gte: 1, percentile: 99.5}", "{gte: 1, percentile: high}"] {
            assert!(Written::of(&document(condition)).unwrap_err().starts_with("Invalid correlation"), "{condition}");
        }
    }

    #[test]
    fn the_parser_is_given_whole_numbers_and_only_where_others_stand() {
        assert_eq!(readable(&document("{gte: 5}")), None);
        let text = readable(&document("{gte: 0.5, lt: 7, field: '0.5'}")).unwrap();
        let read: Yaml = serde_yaml_ng::from_str(&text).unwrap();
        assert_eq!(read["correlation"]["condition"], serde_yaml_ng::from_str::<Yaml>("{gte: 1, lt: 7, field: '0.5'}").unwrap());
    }
}
