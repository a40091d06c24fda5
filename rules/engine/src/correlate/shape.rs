//! The correlations of a rule set as one graph, in an order in which each stands after all that it refers to.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use beffroi_schema::alert::RuleInfo;

use super::plan::{Named, Plan};
use crate::rule::RuleSet;

/// A rule or correlation that correlations refer to: rules first, then the correlations in their order.
pub(crate) type Source = usize;

/// One correlation.
#[derive(Debug)]
pub(crate) struct Node {
    pub info: Arc<RuleInfo>,
    pub plan: Plan,
    /// Whether its matches are alerts; else they only feed others.
    pub is_alert: bool,
}

/// The graph. It never changes.
#[derive(Debug)]
pub(crate) struct Shape {
    pub nodes: Vec<Node>,
    /// Ids of the rules that correlations refer to.
    pub rules: Vec<Arc<str>>,
    /// By id: rules, then correlations.
    sources: HashMap<Arc<str>, Source>,
    /// By source: the correlations that refer to it, and at which positions (bits).
    users: Vec<Vec<(usize, u64)>>,
    /// By source: the fields that correlations need of an event that is or completes it.
    needed: Vec<Vec<Arc<str>>>,
    /// Ids of all that is referred to and not generated.
    quiet: HashSet<Arc<str>>,
}

impl Shape {
    pub(crate) fn of(set: &RuleSet) -> Self {
        let ordered = ordered(set);
        let own: HashSet<&str> = ordered.iter().map(|correlation| correlation.info.id.as_str()).collect();
        let mut rules: Vec<Arc<str>> = Vec::new();
        let mut sources: HashMap<Arc<str>, Source> = HashMap::new();
        let referred = ordered.iter().flat_map(|correlation| &correlation.plan.rules);
        for id in referred.filter(|id| !own.contains(id.as_str())) {
            if !sources.contains_key(id.as_str()) {
                sources.insert(id.as_str().into(), rules.len());
                rules.push(id.as_str().into());
            }
        }
        for (at, correlation) in ordered.iter().enumerate() {
            sources.insert(correlation.info.id.as_str().into(), rules.len() + at);
        }
        let quiet = quiet(set);
        let nodes: Vec<Node> = ordered
            .iter()
            .map(|correlation| Node {
                info: correlation.info.clone(),
                plan: correlation.plan.clone(),
                is_alert: !quiet.contains(correlation.info.id.as_str()),
            })
            .collect();
        let users = users(&nodes, &sources, rules.len());
        let needed = needed(&nodes, &users, rules.len());
        Self { nodes, rules, sources, users, needed, quiet }
    }

    pub(crate) fn source(&self, id: &str) -> Option<Source> {
        self.sources.get(id).copied()
    }

    pub(crate) fn source_of_node(&self, node: usize) -> Source {
        self.rules.len() + node
    }

    pub(crate) fn users(&self, source: Source) -> &[(usize, u64)] {
        self.users.get(source).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn needed(&self, source: Source) -> &[Arc<str>] {
        self.needed.get(source).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn alerts_alone(&self, id: &str) -> bool {
        !self.quiet.contains(id)
    }
}

/// Correlations, each after those that it refers to. Loading has refused circles; what is left of one is left out.
fn ordered(set: &RuleSet) -> Vec<&crate::rule::Correlation> {
    let mut waiting: Vec<&crate::rule::Correlation> = set.correlations.iter().collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    loop {
        let open: HashSet<String> = waiting.iter().map(|correlation| correlation.info.id.clone()).collect();
        let (ready, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|correlation| correlation.plan.rules.iter().all(|id| !open.contains(id)));
        if ready.is_empty() {
            return ordered;
        }
        ordered.extend(ready);
        waiting = rest;
    }
}

/// What is referred to without `generate` by all that refer to it.
fn quiet(set: &RuleSet) -> HashSet<Arc<str>> {
    let mut quiet: HashSet<Arc<str>> = HashSet::new();
    for id in
        set.correlations.iter().filter(|correlation| !correlation.plan.generate).flat_map(|correlation| &correlation.plan.rules)
    {
        quiet.insert(id.as_str().into());
    }
    for id in
        set.correlations.iter().filter(|correlation| correlation.plan.generate).flat_map(|correlation| &correlation.plan.rules)
    {
        quiet.remove(id.as_str());
    }
    quiet
}

fn users(nodes: &[Node], sources: &HashMap<Arc<str>, Source>, rules: usize) -> Vec<Vec<(usize, u64)>> {
    let mut users: Vec<Vec<(usize, u64)>> = vec![Vec::new(); rules + nodes.len()];
    for (at, node) in nodes.iter().enumerate() {
        for (position, id) in node.plan.rules.iter().enumerate() {
            let Some(list) = sources.get(id.as_str()).and_then(|source| users.get_mut(*source)) else { continue };
            match list.last_mut() {
                Some((last, positions)) if *last == at => *positions |= 1 << position,
                _ => list.push((at, 1 << position)),
            }
        }
    }
    users
}

/// From the last correlation to the first: one needs what it asks itself, and what those that refer to it ask.
fn needed(nodes: &[Node], users: &[Vec<(usize, u64)>], rules: usize) -> Vec<Vec<Arc<str>>> {
    let mut needed: Vec<Vec<Arc<str>>> = vec![Vec::new(); rules + nodes.len()];
    for source in (0..users.len()).rev() {
        let mut names: Vec<Arc<str>> = Vec::new();
        for (node, positions) in &users[source] {
            let plan = &nodes[*node].plan;
            let at = positions.trailing_zeros() as usize;
            let of_rule = |named: &Named| named.by_rule[at].clone();
            names.extend(plan.group_by.iter().map(of_rule));
            names.extend(plan.values.iter().map(of_rule));
            names.extend(needed[rules + node].iter().cloned());
        }
        names.sort();
        names.dedup();
        needed[source] = names;
    }
    needed
}
