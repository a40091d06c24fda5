//! Which metrics an expression of PromQL reads, and by which labels it selects, groups and matches them.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

use promql_parser::parser::{Expr, LabelModifier, VectorSelector, parse};
use promql_parser::util::{ExprVisitor, walk_expr};

/// What Grafana puts in the place of its own words, and the dashboards' variables with "All" chosen.
const WORDS: [(&str, &str); 4] = [("$__rate_interval", "1m"), ("$__interval", "30s"), ("$__range", "1h"), ("$instance", ".*")];

/// Metrics of an expression, each with the labels that it must have.
pub type Needs = BTreeMap<String, BTreeSet<String>>;

/// Parses an expression as Grafana would send it.
///
/// # Errors
/// What the parser says; a variable that is not known; a selector without a metric.
pub fn needs(text: &str) -> Result<Needs, String> {
    let text = WORDS.iter().fold(text.to_owned(), |text, (word, with)| text.replace(word, with));
    if let Some(at) = text.find('$') {
        return Err(format!("{:?} would reach Prometheus as it stands", &text[at..]));
    }
    let mut found = Found::default();
    let parsed = parse(&text)?;
    // The visitor cannot fail.
    let _all = walk_expr(&mut found, &parsed);
    match found.nameless {
        true => Err(format!("a selector names no metric in {text}")),
        false => Ok(found.metrics),
    }
}

/// The metric and the label of `label_values(metric, label)`.
///
/// # Errors
/// It is something else.
pub fn label_values(text: &str) -> Result<(String, String), String> {
    let inner = text.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let pair = inner.and_then(|inner| inner.split_once(','));
    let (metric, label) = pair.ok_or(format!("{text:?} is no label_values(metric, label)"))?;
    Ok((metric.trim().to_owned(), label.trim().to_owned()))
}

#[derive(Default)]
struct Found {
    metrics: Needs,
    nameless: bool,
}

impl Found {
    fn selector(&mut self, selector: &VectorSelector) {
        let Some(name) = &selector.name else {
            self.nameless = true;
            return;
        };
        let matchers = selector.matchers.matchers.iter().chain(selector.matchers.or_matchers.iter().flatten());
        self.metrics.entry(name.clone()).or_default().extend(matchers.map(|matcher| matcher.name.clone()));
    }

    /// Labels by which what lies in `within` is grouped or matched: each of its metrics must have them.
    fn labels(&mut self, within: &Expr, labels: &[String]) {
        let mut inner = Self::default();
        let _all = walk_expr(&mut inner, within);
        for name in inner.metrics.into_keys() {
            self.metrics.entry(name).or_default().extend(labels.iter().cloned());
        }
    }
}

impl ExprVisitor for Found {
    type Error = Infallible;

    fn pre_visit(&mut self, expr: &Expr) -> Result<bool, Infallible> {
        match expr {
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::MatrixSelector(matrix) => self.selector(&matrix.vs),
            Expr::Aggregate(aggregate) => {
                if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = &aggregate.modifier {
                    self.labels(&aggregate.expr, &labels.labels);
                }
            }
            Expr::Binary(binary) => {
                let matching = binary.modifier.as_ref().and_then(|modifier| modifier.matching.as_ref());
                if let Some(LabelModifier::Include(labels) | LabelModifier::Exclude(labels)) = matching {
                    self.labels(&binary.lhs, &labels.labels);
                    self.labels(&binary.rhs, &labels.labels);
                }
            }
            _ => {}
        }
        Ok(true)
    }
}

/// Names and labels of what a collector exposes, from the text of its `/metrics`.
pub fn exposed(text: &str) -> Needs {
    let mut found = Needs::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let end = line.find(['{', ' ']).unwrap_or(line.len());
        let labels = found.entry(line[..end].to_owned()).or_default();
        let inner = line[end..].strip_prefix('{').and_then(|rest| rest.split_once('}')).map_or("", |(inner, _)| inner);
        // Our label values hold no commas inside of quotes that are followed by `name=`.
        labels.extend(inner.split(',').filter_map(|pair| Some(pair.split_once('=')?.0.trim().to_owned())));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(needs: &Needs, metric: &str) -> Vec<String> {
        needs[metric].iter().cloned().collect()
    }

    #[test]
    fn metrics_are_found_with_the_labels_that_select_and_group_them() {
        let found =
            needs(r#"sum by (code) (rate(a_total{x="1", instance=~"$instance"}[$__rate_interval])) / on (code) b"#).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(labels(&found, "a_total"), ["code", "instance", "x"]);
        assert_eq!(labels(&found, "b"), ["code"]);
    }

    #[test]
    fn what_is_no_promql_is_refused() {
        for text in ["sum by (", "rate(a_total)", "a{x=}", "up $what", r#"{job="x"}"#] {
            assert!(needs(text).is_err(), "{text} was taken");
        }
    }

    #[test]
    fn the_text_of_a_collector_gives_names_and_labels() {
        let text = "# HELP a what\n# TYPE a summary\na{topic=\"t\",quantile=\"0.99\"} 1\na_sum{topic=\"t\"} 2\nb 3\n";
        let found = exposed(text);
        assert_eq!(labels(&found, "a"), ["quantile", "topic"]);
        assert_eq!(labels(&found, "a_sum"), ["topic"]);
        assert!(found["b"].is_empty());
    }
}
