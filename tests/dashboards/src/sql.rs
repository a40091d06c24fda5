//! From a panel's SQL to what ClickHouse gets: first the variables, as the dashboard fills them in, then the macros, as the data
//! source expands them.
//!
//! Stricter than both: a variable that is not quoted, a macro that is not known and anything else that begins with a dollar
//! sign is an error, because Grafana would pass it on as it stands.

use std::collections::BTreeMap;

/// The macro that leaves a condition out when "All" is chosen.
const CONDITIONAL: &str = "$__conditionalAll(";

/// What somebody has chosen on the dashboard.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Values of each variable.
    pub values: BTreeMap<String, Vec<String>>,
    /// Whether "All" is chosen: the values are then all there are.
    pub all: bool,
}

/// The time on the dashboard, seconds since 1970, and the width of a step, seconds.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// From.
    pub from: i64,
    /// To.
    pub to: i64,
    /// Step.
    pub step: u64,
}

/// Fills in variables and macros.
///
/// # Errors
/// What stands in the text and would reach ClickHouse unfilled, or unquoted.
pub fn fill(text: &str, choice: &Choice, range: Range) -> Result<String, String> {
    let text = conditions(text, choice)?;
    let text = variables(&text, choice)?;
    macros(&text, range)
}

/// `$__conditionalAll(condition, $variable)`: the condition, or `1=1` when "All" is chosen.
fn conditions(text: &str, choice: &Choice) -> Result<String, String> {
    let mut text = text.to_owned();
    while let Some(at) = text.rfind(CONDITIONAL) {
        let (arguments, end) = arguments(&text, at + CONDITIONAL.len())?;
        let [condition, variable] = arguments.as_slice() else {
            return Err(format!("$__conditionalAll takes two arguments: {arguments:?}"));
        };
        let name = variable.trim().strip_prefix('$').ok_or(format!("{variable:?} is no plain variable"))?;
        if !choice.values.contains_key(name) {
            return Err(format!("there is no variable {name}"));
        }
        let with = if choice.all { "1=1" } else { condition.as_str() };
        text = format!("{}{with}{}", &text[..at], &text[end..]);
    }
    Ok(text)
}

/// Arguments from after the opening bracket, and where the text goes on.
fn arguments(text: &str, start: usize) -> Result<(Vec<String>, usize), String> {
    let (mut depth, mut last, mut found) = (1, start, Vec::new());
    for (at, c) in text[start..].char_indices().map(|(at, c)| (start + at, c)) {
        match c {
            '(' => depth += 1,
            ')' if depth == 1 => {
                found.push(text[last..at].to_owned());
                return Ok((found, at + 1));
            }
            ')' => depth -= 1,
            ',' if depth == 1 => {
                found.push(text[last..at].to_owned());
                last = at + 1;
            }
            _ => {}
        }
    }
    Err(format!("a bracket is not closed in {:?}", &text[start..]))
}

/// `${name:singlequote}` only: every value as a string of SQL.
fn variables(text: &str, choice: &Choice) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let end = rest[at..].find('}').map(|end| at + end).ok_or("a variable is not closed")?;
        let name = rest[at + 2..end].strip_suffix(":singlequote");
        let name = name.ok_or(format!("{} reaches ClickHouse unquoted", &rest[at..=end]))?;
        let values = choice.values.get(name).ok_or(format!("there is no variable {name}"))?;
        let quoted: Vec<String> = values.iter().map(|value| format!("'{}'", value.replace('\'', "\\'"))).collect();
        out.push_str(&rest[..at]);
        out.push_str(&quoted.join(","));
        rest = &rest[end + 1..];
    }
    Ok(out + rest)
}

/// The macros of the data source that the dashboards use.
fn macros(text: &str, range: Range) -> Result<String, String> {
    let mut text = text.to_owned();
    while let Some(at) = text.rfind('$') {
        let word = text[at + 1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '_').map_or(text.len(), |n| at + 1 + n);
        let name = text[at..word].to_owned();
        let (argument, end) = match text[word..].starts_with('(') {
            true => {
                let (arguments, end) = arguments(&text, word + 1)?;
                (arguments.join(","), end)
            }
            false => (String::new(), word),
        };
        let with = expand(&name, &argument, range)?;
        text = format!("{}{with}{}", &text[..at], &text[end..]);
    }
    Ok(text)
}

fn expand(name: &str, argument: &str, range: Range) -> Result<String, String> {
    let Range { from, to, step } = range;
    match (name, argument.is_empty()) {
        ("$__timeFilter", false) => Ok(format!("{argument} >= toDateTime({from}) AND {argument} <= toDateTime({to})")),
        ("$__timeInterval", false) => Ok(format!("toStartOfInterval(toDateTime({argument}), INTERVAL {step} second)")),
        ("$__fromTime", true) => Ok(format!("toDateTime({from})")),
        ("$__toTime", true) => Ok(format!("toDateTime({to})")),
        ("$__interval_s", true) => Ok(step.to_string()),
        _ => Err(format!("{name} would reach ClickHouse as it stands")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGE: Range = Range { from: 100, to: 200, step: 60 };

    fn choice(all: bool) -> Choice {
        let values = [("tenant", vec!["a".to_owned(), "o'b".to_owned()])].into_iter().map(|(name, list)| (name.to_owned(), list));
        Choice { values: values.collect(), all }
    }

    #[test]
    fn a_condition_stands_only_when_something_is_chosen() {
        let text = "SELECT 1 WHERE $__conditionalAll(tenant IN (${tenant:singlequote}), $tenant) AND 2";
        assert_eq!(fill(text, &choice(true), RANGE).unwrap(), "SELECT 1 WHERE 1=1 AND 2");
        assert_eq!(fill(text, &choice(false), RANGE).unwrap(), "SELECT 1 WHERE tenant IN ('a','o\\'b') AND 2");
    }

    #[test]
    fn time_macros_become_what_the_data_source_makes_of_them() {
        let text = "SELECT $__timeInterval(max(t)) WHERE $__timeFilter(t) AND u > $__fromTime AND n / $__interval_s";
        let filled = "SELECT toStartOfInterval(toDateTime(max(t)), INTERVAL 60 second) \
                      WHERE t >= toDateTime(100) AND t <= toDateTime(200) AND u > toDateTime(100) AND n / 60";
        assert_eq!(fill(text, &choice(true), RANGE).unwrap(), filled);
    }

    #[test]
    fn what_grafana_would_pass_on_as_it_stands_is_an_error() {
        for text in [
            "$tenant",
            "${tenant}",
            "${tenant:csv}",
            "${host:singlequote}",
            "$__timefilter(t)",
            "$__conditionalAll(a, b, $tenant)",
        ] {
            assert!(fill(text, &choice(false), RANGE).is_err(), "{text} was filled");
        }
    }
}
