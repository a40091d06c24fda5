//! The other side: rsigma-eval, with logsource routing in the two ways it has. [`Routing::Strict`] asks the rules whose
//! logsource the event has, as we do; [`Routing::Pruned`] asks also those that the event's logsource does not exclude.

use std::path::PathBuf;

use rsigma_eval::{Engine, JsonEvent};
use rsigma_parser::{LogSource, SigmaRule};

use crate::lanes::{Item, Source};

/// The rules of all files, parsed.
pub fn parse(texts: &[(PathBuf, String)]) -> Vec<SigmaRule> {
    texts.iter().flat_map(|(_, text)| rsigma_parser::parse_sigma_yaml(text).map(|set| set.rules).unwrap_or_default()).collect()
}

/// How rules are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// What a rule's logsource says must be the event's.
    Strict,
    /// What a rule's logsource says must not contradict the event's.
    Pruned,
}

/// Its engine with rules in force.
pub struct Theirs {
    engine: Engine,
}

impl Theirs {
    /// Compiles; rules that it refuses are left out.
    #[inline(never)]
    pub fn compile(rules: &[SigmaRule]) -> Self {
        let mut engine = Engine::new();
        let refused = engine.add_rules(rules);
        if !refused.is_empty() {
            eprintln!("rsigma-eval refuses {} rules", refused.len());
        }
        Self { engine }
    }

    /// Judges one event from its text; rule ids are appended.
    pub fn judge(&self, item: &Item, logsource: &LogSource, routing: Routing, ids: &mut Vec<String>) -> usize {
        let json: serde_json::Value = serde_json::from_str(&item.text).expect("JSON");
        let event = JsonEvent::borrow(&json);
        let matches = match routing {
            Routing::Strict => self.engine.evaluate_with_logsource(&event, logsource),
            Routing::Pruned => self.engine.evaluate_pruned(&event, logsource),
        };
        let count = matches.len();
        ids.extend(matches.into_iter().filter_map(|found| found.header.rule_id));
        count
    }
}

/// A logsource as it wants it.
pub fn logsource(source: &Source) -> LogSource {
    let set = |text: &str| (!text.is_empty()).then(|| text.to_string());
    LogSource {
        category: set(&source.category),
        product: set(&source.product),
        service: set(&source.service),
        ..LogSource::default()
    }
}
