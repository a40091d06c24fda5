//! Why a rule matched: the selections that held and the values that made them hold. Made for matches only, which are
//! rare, by the reference evaluator.

use std::sync::Arc;

use serde_json::Value as Json;

use super::frame::Frame;
use super::needs::atoms_of;
use super::program::{AtomId, CoreRule, Program, Scope};
use super::reference::{atom_holds, passes};
use super::test::Test;

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
    explain_by(program, rule, frame, max, &mut ByTheBook { program, frame })
}

/// Knows what holds.
pub(crate) trait Truth {
    /// Whether an atom does.
    fn atom(&mut self, id: AtomId) -> bool;

    /// Whether the value at a place passes a test.
    fn passes(&mut self, test: &Test, place: usize) -> bool;
}

struct ByTheBook<'a, 'f> {
    program: &'a Program,
    frame: &'a Frame<'f>,
}

impl Truth for ByTheBook<'_, '_> {
    fn atom(&mut self, id: AtomId) -> bool {
        atom_holds(&self.program.atoms[id.index()], self.frame)
    }

    fn passes(&mut self, test: &Test, place: usize) -> bool {
        passes(test, self.frame.at(place))
    }
}

/// The same, where somebody knows what holds.
pub(crate) fn explain_by(program: &Program, rule: &CoreRule, frame: &Frame<'_>, max: usize, truth: &mut impl Truth) -> Found {
    let mut found = Found { selections: Vec::new(), fields: Vec::new() };
    let mut atoms = Vec::new();
    for selection in &rule.selections {
        if selection.body.holds(&rule.selections, &mut |id| truth.atom(id)) {
            found.selections.push(Arc::clone(&selection.name));
            atoms.clear();
            atoms_of(&selection.body, &mut atoms);
            for id in &atoms {
                if found.fields.len() < max && truth.atom(*id) {
                    values(program, *id, frame, max, truth, &mut found.fields);
                }
            }
        }
    }
    found
}

fn values(
    program: &Program,
    id: AtomId,
    frame: &Frame<'_>,
    max: usize,
    truth: &mut impl Truth,
    fields: &mut Vec<(String, Json)>,
) {
    let atom = &program.atoms[id.index()];
    let (name, places) = match atom.scope {
        Scope::Field(field) => (program.names.name(field), frame.places(field)),
        Scope::Anywhere => ("keywords", 0..frame.len()),
    };
    // These are no tests of single values, so no value passes them.
    if matches!(atom.test, Test::Null | Test::Exists(_) | Test::Reference { .. }) {
        return;
    }
    // A test that holds is passed by the only value that there is.
    let is_only = places.len() == 1;
    for place in places {
        let is_meant = atom.scope != Scope::Anywhere || frame.at(place).is_text();
        if fields.len() < max && is_meant && (is_only || truth.passes(&atom.test, place)) {
            let value = frame.at(place).to_json();
            if !fields.iter().any(|(known, other)| known == name && *other == value) {
                fields.push((name.to_string(), value));
            }
        }
    }
}
