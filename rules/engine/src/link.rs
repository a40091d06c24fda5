//! From correlation documents to correlations that can be run: names become ids, each refers only to what is loaded, and
//! none refers to itself. A document that fails is a problem with file, line and reason, and so is each that needs it.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use beffroi_schema::alert::RuleInfo;
use rsigma_parser::CorrelationRule;

use crate::correlate::{Plan, Written};
use crate::parse::Origin;
use crate::problem::RuleProblem;
use crate::rule::{Correlation, Rule};

/// A correlation that was read.
pub(crate) struct Waiting {
    pub ast: CorrelationRule,
    pub written: Written,
    pub origin: Origin,
    pub info: RuleInfo,
}

/// Ids and names of all that correlations may refer to. A name may stand in several files; in one file it means that
/// file's.
#[derive(Default)]
struct Known {
    ids: HashSet<String>,
    names: HashMap<String, Vec<(PathBuf, String)>>,
}

impl Known {
    fn add(&mut self, id: &str, name: Option<&String>, path: &Path) {
        self.ids.insert(id.into());
        if let Some(name) = name {
            self.names.entry(name.clone()).or_default().push((path.into(), id.into()));
        }
    }

    fn resolve(&self, reference: &str, path: &Path) -> Result<String, String> {
        if self.ids.contains(reference) {
            return Ok(reference.into());
        }
        let named = self.names.get(reference).map_or(&[][..], Vec::as_slice);
        let here: Vec<&(PathBuf, String)> = named.iter().filter(|(file, _)| file == path).collect();
        match (named, here.as_slice()) {
            ([], _) => Err(format!("correlation names '{reference}', which is no loaded rule")),
            ([(_, id)], _) | (_, [(_, id)]) => Ok(id.clone()),
            _ => Err(format!("correlation names '{reference}', and several rules have that name")),
        }
    }
}

/// Links the correlations, in their order.
pub(crate) fn link(rules: &[Rule], waiting: Vec<Waiting>) -> (Vec<Correlation>, Vec<RuleProblem>) {
    let mut known = Known::default();
    rules.iter().for_each(|rule| known.add(&rule.info.id, rule.name.as_ref(), &rule.path));
    waiting.iter().for_each(|one| known.add(&one.info.id, one.ast.name.as_ref(), &one.origin.path));
    let mut problems = Vec::new();
    let mut planned: Vec<(Waiting, Plan)> = Vec::new();
    for one in waiting {
        match plan(&one, &known) {
            Ok(plan) => planned.push((one, plan)),
            Err(reason) => problems.push(one.origin.problem(&reason)),
        }
    }
    let mut usable: HashSet<String> = rules.iter().map(|rule| rule.info.id.clone()).collect();
    // Each round takes what needs nothing else any more; what is left needs what failed, or itself.
    loop {
        let ready =
            |(one, plan): &&(Waiting, Plan)| !usable.contains(&one.info.id) && plan.rules.iter().all(|id| usable.contains(id));
        let found: Vec<String> = planned.iter().filter(ready).map(|(one, _)| one.info.id.clone()).collect();
        if found.is_empty() {
            break;
        }
        usable.extend(found);
    }
    let left: HashMap<String, Vec<String>> = planned
        .iter()
        .filter(|(one, _)| !usable.contains(&one.info.id))
        .map(|(one, plan)| (one.info.id.clone(), plan.rules.clone()))
        .collect();
    let mut linked = Vec::new();
    for (one, plan) in planned {
        if usable.contains(&one.info.id) {
            let (path, line, status) = (one.origin.path, one.origin.line, one.ast.status);
            linked.push(Correlation { info: Arc::new(one.info), path, line, status, plan });
        } else {
            problems.push(one.origin.problem(&unusable(&one.info.id, &plan, &usable, &left)));
        }
    }
    (linked, problems)
}

fn plan(one: &Waiting, known: &Known) -> Result<Plan, String> {
    let ids = one.ast.rules.iter().map(|reference| known.resolve(reference, &one.origin.path));
    Plan::of(&one.ast, ids.collect::<Result<_, _>>()?, &one.written)
}

fn unusable(id: &str, plan: &Plan, usable: &HashSet<String>, left: &HashMap<String, Vec<String>>) -> String {
    let mut seen: HashSet<&str> = HashSet::new();
    let mut open: Vec<&str> = plan.rules.iter().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if next == id {
            return "Invalid correlation: it refers to itself, over the correlations that it names".into();
        }
        if seen.insert(next) {
            open.extend(left.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    let missing = plan.rules.iter().find(|id| !usable.contains(*id)).map_or("", String::as_str);
    format!("correlation names '{missing}', which did not load")
}
