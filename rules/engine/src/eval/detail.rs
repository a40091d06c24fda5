//! Why a rule matched: the selections that held and the values that made them hold. Made for matches only, which are
//! rare, by the reference evaluator.

use std::sync::Arc;

use serde_json::Value as Json;

use super::frame::Frame;
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

    /// Whether a selection of the rule in hand does.
    fn selection(&mut self, rule: &CoreRule, number: usize) -> bool {
        rule.selections[number].body.holds(&rule.selections, &mut |id| self.atom(id))
    }

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
    let found =
        Found { selections: Vec::with_capacity(rule.selections.len()), fields: Vec::with_capacity(USUAL_FIELDS.min(max)) };
    let mut explainer = Explainer { program, frame, max, truth, places: Vec::with_capacity(USUAL_FIELDS), found };
    for (number, selection) in rule.selections.iter().enumerate() {
        if explainer.truth.selection(rule, number) {
            explainer.found.selections.push(Arc::clone(&selection.name));
            selection.body.each_atom(&mut |id| explainer.atom(id));
        }
    }
    explainer.found
}

/// Fields of most matches.
const USUAL_FIELDS: usize = 4;

struct Explainer<'a, 'f, T> {
    program: &'a Program,
    frame: &'a Frame<'f>,
    max: usize,
    truth: &'a mut T,
    /// Scopes and places of the values that were told.
    places: Vec<(Scope, usize)>,
    found: Found,
}

impl<T: Truth> Explainer<'_, '_, T> {
    /// Tells the values that pass an atom, if it holds.
    fn atom(&mut self, id: AtomId) {
        let atom = &self.program.atoms[id.index()];
        // These are no tests of single values, so no value passes them.
        let is_whole = matches!(atom.test, Test::Null | Test::Exists(_) | Test::Reference { .. });
        if is_whole || self.found.fields.len() >= self.max || !self.truth.atom(id) {
            return;
        }
        let (name, places) = match atom.scope {
            Scope::Field(field) => (self.program.names.name(field), self.frame.places(field)),
            Scope::Anywhere => ("keywords", 0..self.frame.len()),
        };
        // A test that holds is passed by the only value that there is.
        let is_only = places.len() == 1;
        for place in places {
            let is_meant = atom.scope != Scope::Anywhere || self.frame.at(place).is_text();
            if is_meant && !self.places.contains(&(atom.scope, place)) && (is_only || self.truth.passes(&atom.test, place)) {
                self.places.push((atom.scope, place));
                self.value(name, place);
            }
        }
    }

    /// Tells a value, unless it was told or there are enough of them.
    fn value(&mut self, name: &str, place: usize) {
        if self.found.fields.len() >= self.max {
            return;
        }
        let value = self.frame.at(place).to_json();
        if !self.found.fields.iter().any(|(known, other)| known == name && *other == value) {
            self.found.fields.push((name.to_string(), value));
        }
    }
}
