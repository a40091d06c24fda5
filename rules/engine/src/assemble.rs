//! From documents to a rule set: ids are unique, sizes bounded, filters applied, each rule compiled once to see that it
//! can be judged.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use beffroi_schema::alert::{Level, RuleInfo};
use rsigma_parser::{CorrelationRule, Detection, FilterRule, Modifier, SigmaDocument, SigmaRule, SigmaValue};

use crate::correlate::Written;
use crate::eval::Builder;
use crate::limits::{MAX_REGEX_BYTES, MAX_REGEX_REPEAT, MAX_REGEXES, MAX_VALUES};
use crate::link::{self, Waiting};
use crate::logsource::{Route, RuleLogsource};
use crate::parse::{FileRules, Origin};
use crate::problem::RuleProblem;
use crate::rule::{Rule, RuleSet};
use crate::{attack, filter};

/// Level of a rule that names none: seen, but below those whose author judged them grave.
const DEFAULT_LEVEL: Level = Level::Medium;

/// Builds the set from what the files hold, in their order.
pub(crate) fn assemble(files: impl Iterator<Item = FileRules>) -> (RuleSet, Vec<RuleProblem>) {
    let mut building = Building::default();
    for file in files {
        building.problems.extend(file.problems);
        for document in file.documents {
            match document.body {
                SigmaDocument::Rule(rule) => building.add_rule(*rule, &document.origin),
                SigmaDocument::Correlation(correlation) => {
                    building.correlations.push((correlation, document.written, document.origin))
                }
                SigmaDocument::Filter(filter) => building.filters.push((filter, document.origin)),
            }
        }
    }
    building.finish()
}

#[derive(Default)]
struct Building {
    set: RuleSet,
    problems: Vec<RuleProblem>,
    /// Id to the place that uses it.
    ids: HashMap<String, String>,
    correlations: Vec<(CorrelationRule, Option<Written>, Origin)>,
    filters: Vec<(FilterRule, Origin)>,
}

impl Building {
    fn add_rule(&mut self, ast: SigmaRule, origin: &Origin) {
        if let Err(reason) = check_size(&ast) {
            return self.problems.push(origin.problem(&reason));
        }
        let info = rule_info(&ast, origin);
        if !self.take_id(&info.id, origin) {
            return;
        }
        let logsource = RuleLogsource {
            category: ast.logsource.category.clone(),
            product: ast.logsource.product.clone(),
            service: ast.logsource.service.clone(),
        };
        match compile(&ast) {
            Ok(()) => self.set.rules.push(Rule {
                info: Arc::new(info),
                name: ast.name.clone(),
                path: origin.path.clone(),
                line: origin.line,
                route: Route::of(&logsource),
                logsource,
                ast,
            }),
            Err(reason) => {
                self.ids.remove(&info.id);
                self.problems.push(origin.problem(&reason));
            }
        }
    }

    /// Keeps an id for one rule; a second user of it is a problem.
    fn take_id(&mut self, id: &str, origin: &Origin) -> bool {
        let here = format!("{}:{}", origin.path.display(), origin.line);
        if let Some(first) = self.ids.get(id) {
            self.problems.push(origin.problem(&format!("duplicate id {id}, first used at {first}")));
            return false;
        }
        self.ids.insert(id.into(), here);
        true
    }

    fn finish(mut self) -> (RuleSet, Vec<RuleProblem>) {
        for (index, (filter, origin)) in std::mem::take(&mut self.filters).into_iter().enumerate() {
            self.apply_filter(&filter, index, &origin);
        }
        self.add_correlations();
        self.problems.sort_by(|a, b| (&a.path, a.line, a.column).cmp(&(&b.path, b.line, b.column)));
        (self.set, self.problems)
    }

    fn apply_filter(&mut self, filter: &FilterRule, index: usize, origin: &Origin) {
        if !filter.detection.conditions.iter().any(filter::excludes) {
            let reason = "filter keeps only the events it names, and hides all others of its rules";
            self.problems.push(origin.problem(reason).warning());
        }
        let mut is_used = false;
        for rule in self.set.rules.iter_mut().filter(|rule| filter::targets(filter, rule)) {
            is_used = true;
            let mut ast = rule.ast.clone();
            filter::apply(filter, index, &mut ast);
            match compile(&ast) {
                Ok(()) => rule.ast = ast,
                // The same for every rule: once is enough.
                Err(reason) => return self.problems.push(origin.problem(&format!("filter does not compile: {reason}"))),
            }
        }
        if !is_used {
            self.problems.push(origin.problem("filter names no loaded rule").warning());
        }
    }

    fn add_correlations(&mut self) {
        let mut waiting = Vec::new();
        for (ast, written, origin) in std::mem::take(&mut self.correlations) {
            let info = correlation_info(&ast, &origin);
            if self.take_id(&info.id, &origin) {
                let written = written.unwrap_or_else(|| Written::parsed(&ast));
                waiting.push(Waiting { ast, written, origin, info });
            }
        }
        let (linked, problems) = link::link(&self.set.rules, waiting);
        self.set.correlations = linked;
        self.problems.extend(problems);
    }
}

/// Whether the rule can be judged. Building is what a rule set does again as a whole.
fn compile(ast: &SigmaRule) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| Builder::default().add(ast)))
        .map_err(|_| "the compiler failed on this rule".to_string())?
        .map(drop)
        .map_err(|error| error.to_string())
}

fn check_size(ast: &SigmaRule) -> Result<(), String> {
    let mut size = Size::default();
    for detection in ast.detection.named.values() {
        size.add(detection)?;
    }
    if size.values > MAX_VALUES {
        return Err(format!("too many values: {}, the limit is {MAX_VALUES}", size.values));
    }
    if size.regexes > MAX_REGEXES {
        return Err(format!("regular expressions: {} in one rule, the limit is {MAX_REGEXES}", size.regexes));
    }
    Ok(())
}

#[derive(Default)]
struct Size {
    values: usize,
    regexes: usize,
}

impl Size {
    fn add(&mut self, detection: &Detection) -> Result<(), String> {
        match detection {
            Detection::Keywords(values) => self.values += values.len(),
            Detection::AnyOf(list) | Detection::And(list) => return list.iter().try_for_each(|inner| self.add(inner)),
            Detection::ArrayMatch { body, .. } => return self.add(body),
            Detection::Conditional { named, .. } => return named.values().try_for_each(|inner| self.add(inner)),
            Detection::AllOf(items) => {
                for item in items {
                    self.values += item.values.len();
                    if item.field.has_modifier(Modifier::Re) {
                        self.regexes += item.values.len();
                        item.values.iter().try_for_each(check_regex)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn check_regex(value: &SigmaValue) -> Result<(), String> {
    let SigmaValue::String(pattern) = value else { return Ok(()) };
    if pattern.original.len() > MAX_REGEX_BYTES {
        return Err(format!("regular expression of {} bytes, the limit is {MAX_REGEX_BYTES}", pattern.original.len()));
    }
    // Only `{n`, `{n,`, `{n,m` count; `\x{41}` and `\p{..}` name characters.
    let repeats = pattern.original.split('{').skip(1).flat_map(|tail| {
        let bounds = tail.split('}').next().unwrap_or_default();
        bounds.split(',').map(|bound| bound.trim().parse::<u32>().unwrap_or(0)).max()
    });
    let most = repeats.max().unwrap_or(0);
    if most > MAX_REGEX_REPEAT {
        return Err(format!("regular expression repeats {most} times, the limit is {MAX_REGEX_REPEAT}"));
    }
    Ok(())
}

/// What alerts say of a rule or a correlation: two syntax trees with the same names.
macro_rules! info {
    ($ast:expr, $origin:expr) => {
        RuleInfo {
            id: $ast.id.clone().unwrap_or_else(|| nameless($origin)),
            title: $ast.title.clone(),
            version: $ast.modified.clone().or_else(|| $ast.date.clone()).unwrap_or_default(),
            sha256: $origin.sha256.clone(),
            level: $ast.level.map_or(DEFAULT_LEVEL, level),
            author: $ast.author.clone().unwrap_or_default(),
            description: $ast.description.clone().unwrap_or_default().trim().into(),
            response: $ast.custom_attributes.get(RESPONSE).and_then(|note| note.as_str()).unwrap_or_default().trim().into(),
            references: $ast.references.clone(),
            false_positives: $ast.falsepositives.clone(),
            attack: attack::of_tags(&$ast.tags),
            tags: $ast.tags.clone(),
            license: $ast.license.clone().unwrap_or_default(),
        }
    };
}

/// Attribute of our rules, beyond Sigma's own: what an analyst does first.
const RESPONSE: &str = "response";

fn rule_info(ast: &SigmaRule, origin: &Origin) -> RuleInfo {
    info!(ast, origin)
}

fn correlation_info(ast: &CorrelationRule, origin: &Origin) -> RuleInfo {
    info!(ast, origin)
}

/// The id of a rule that has none: the beginning of its text's hash.
fn nameless(origin: &Origin) -> String {
    format!("sha256:{}", &origin.sha256[..32])
}

fn level(level: rsigma_parser::Level) -> Level {
    match level {
        rsigma_parser::Level::Informational => Level::Informational,
        rsigma_parser::Level::Low => Level::Low,
        rsigma_parser::Level::Medium => Level::Medium,
        rsigma_parser::Level::High => Level::High,
        rsigma_parser::Level::Critical => Level::Critical,
    }
}
