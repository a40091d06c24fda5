//! Why a rule matched: the selections that held and the values that made them hold. Made for matches only, which are
//! rare, by the reference evaluator.

use std::sync::Arc;

use serde_json::Value as Json;

use super::frame::Frame;
use super::needs::atoms_of;
use super::program::{AtomId, CoreRule, Program, Scope};
use super::reference::{atom_holds, passes};

/// What made a rule match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Selections that held, in the order of their names.
    pub selections: Vec<Arc<str>>,
    /// Field names (`keywords` for searches that name none) and values, at most as many as were asked for.
    pub fields: Vec<(String, Json)>,
}

/// Explains a match, with at most `max` fields.
pub fn explain(program: &Program, rule: &CoreRule, frame: &Frame<'_>, max: usize) -> Found {
    explain_by(program, rule, frame, max, &mut |id| atom_holds(&program.atoms[id.index()], frame))
}

/// The same, where somebody knows which atoms hold.
pub(crate) fn explain_by(
    program: &Program,
    rule: &CoreRule,
    frame: &Frame<'_>,
    max: usize,
    atom: &mut impl FnMut(AtomId) -> bool,
) -> Found {
    let mut found = Found { selections: Vec::new(), fields: Vec::new() };
    for selection in &rule.selections {
        if selection.body.holds(&rule.selections, atom) {
            found.selections.push(Arc::clone(&selection.name));
            let mut atoms = Vec::new();
            atoms_of(&selection.body, &mut atoms);
            for id in atoms {
                if found.fields.len() < max && atom(id) {
                    values(program, id, frame, max, &mut found.fields);
                }
            }
        }
    }
    found
}

fn values(program: &Program, id: AtomId, frame: &Frame<'_>, max: usize, fields: &mut Vec<(String, Json)>) {
    let atom = &program.atoms[id.index()];
    let mut tell = |name: &str, value: Json| {
        let field = (name.to_string(), value);
        if fields.len() < max && !fields.contains(&field) {
            fields.push(field);
        }
    };
    match atom.scope {
        Scope::Field(field) => {
            let name = program.names.name(field);
            let passing = frame.values(field).iter().filter(|datum| passes(&atom.test, **datum));
            passing.for_each(|datum| tell(name, datum.to_json()));
        }
        Scope::Anywhere => {
            let passing = frame.texts().filter(|datum| passes(&atom.test, *datum));
            passing.for_each(|datum| tell("keywords", datum.to_json()));
        }
    }
}
