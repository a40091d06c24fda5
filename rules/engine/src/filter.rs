//! Filter documents: more conditions for rules that they name, without touching the rules' files.

use rsigma_parser::{ConditionExpr, FilterRule, FilterRuleTarget, SelectorPattern, SigmaRule};

use crate::rule::Rule;

/// Whether the filter is for this rule: named by id, name or title (or `any`), and of the same logsource.
pub(crate) fn targets(filter: &FilterRule, rule: &Rule) -> bool {
    let is_named = match &filter.rules {
        FilterRuleTarget::Any => true,
        FilterRuleTarget::Specific(names) => {
            names.iter().any(|name| *name == rule.info.id || Some(name) == rule.name.as_ref() || *name == rule.info.title)
        }
    };
    let Some(wanted) = &filter.logsource else { return is_named };
    let same = |wanted: &Option<String>, has: &Option<String>| match (wanted, has) {
        (None, _) => true,
        (Some(wanted), Some(has)) => wanted.eq_ignore_ascii_case(has),
        (Some(_), None) => false,
    };
    is_named
        && same(&wanted.category, &rule.logsource.category)
        && same(&wanted.product, &rule.logsource.product)
        && same(&wanted.service, &rule.logsource.service)
}

/// Adds the filter's selections under names of their own and its condition to each condition of the rule.
pub(crate) fn apply(filter: &FilterRule, index: usize, rule: &mut SigmaRule) {
    // A leading underscore hides the selections from the rule's own `them`.
    let prefix = format!("_filter{index}_");
    for (name, detection) in &filter.detection.named {
        rule.detection.named.insert(format!("{prefix}{name}"), detection.clone());
    }
    let added: Vec<ConditionExpr> = filter.detection.conditions.iter().map(|condition| rename(condition, &prefix)).collect();
    for condition in &mut rule.detection.conditions {
        let own = std::mem::replace(condition, ConditionExpr::And(Vec::new()));
        *condition = ConditionExpr::And(std::iter::once(hide(own)).chain(added.iter().cloned()).collect());
    }
}

/// Whether the condition excludes anything; one that does not keeps only the events that it names.
pub(crate) fn excludes(condition: &ConditionExpr) -> bool {
    match condition {
        ConditionExpr::Not(_) => true,
        ConditionExpr::And(list) | ConditionExpr::Or(list) => list.iter().any(excludes),
        ConditionExpr::Identifier(_) | ConditionExpr::Selector { .. } => false,
    }
}

fn map(condition: &ConditionExpr, change: &impl Fn(&ConditionExpr) -> ConditionExpr) -> ConditionExpr {
    let all = |list: &[ConditionExpr]| list.iter().map(|inner| map(inner, change)).collect();
    match condition {
        ConditionExpr::And(list) => ConditionExpr::And(all(list)),
        ConditionExpr::Or(list) => ConditionExpr::Or(all(list)),
        ConditionExpr::Not(inner) => ConditionExpr::Not(Box::new(map(inner, change))),
        leaf => change(leaf),
    }
}

fn rename(condition: &ConditionExpr, prefix: &str) -> ConditionExpr {
    map(condition, &|leaf| match leaf {
        ConditionExpr::Identifier(name) => ConditionExpr::Identifier(format!("{prefix}{name}")),
        ConditionExpr::Selector { quantifier, pattern } => {
            let pattern = match pattern {
                SelectorPattern::Them => format!("{prefix}*"),
                SelectorPattern::Pattern(pattern) => format!("{prefix}{pattern}"),
            };
            ConditionExpr::Selector { quantifier: quantifier.clone(), pattern: SelectorPattern::Pattern(pattern) }
        }
        other => other.clone(),
    })
}

/// `1 of *` would see the added selections; `1 of them` does not.
fn hide(condition: ConditionExpr) -> ConditionExpr {
    map(&condition, &|leaf| match leaf {
        ConditionExpr::Selector { quantifier, pattern: SelectorPattern::Pattern(all) } if all == "*" => {
            ConditionExpr::Selector { quantifier: quantifier.clone(), pattern: SelectorPattern::Them }
        }
        other => other.clone(),
    })
}
