//! Which values of an event are worth reading.

use std::sync::Arc;

use super::keywords::Keywords;
use super::names::FieldId;
use super::needs::atoms_of;
use super::program::{AtomId, Program, Scope};
use super::test::Test;

/// Which values of an event some rules can look at.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// By field number.
    pub(crate) fields: Vec<bool>,
    /// Every text of the event is searched.
    pub(crate) everything: bool,
    /// What all of it is searched for; none when that is not known, or nothing is.
    pub(crate) keywords: Option<Arc<Keywords>>,
}

impl Wanted {
    /// What these rules read, whatever they are chosen by.
    pub(crate) fn by_rules(program: &Program, rules: &[usize]) -> Self {
        let mut wanted = Self { fields: vec![false; program.names.len()], ..Self::default() };
        let mut searching = Vec::new();
        for rule in rules {
            let reads = &program.reads[*rule];
            reads.fields.iter().for_each(|field| wanted.also(*field));
            if reads.everything {
                wanted.everything = true;
                atoms_of_rule(program, *rule, &mut searching);
            }
        }
        if wanted.everything {
            searching.sort_unstable();
            searching.dedup();
            let atoms = searching.iter().map(|id| &program.atoms[id.index()]);
            wanted.keywords =
                Keywords::of(atoms.filter(|atom| atom.scope == Scope::Anywhere), program.habits.rarity()).map(Arc::new);
        }
        wanted
    }

    /// What any of these wants.
    pub fn union<'w>(all: impl IntoIterator<Item = &'w Self>) -> Self {
        let mut union = Self::default();
        for wanted in all {
            if wanted.everything {
                union.keywords = match (&union.keywords, &wanted.keywords) {
                    (None, keywords) if !union.everything => keywords.clone(),
                    (Some(one), Some(other)) => Some(one.with(other).into()),
                    _ => None,
                };
                union.everything = true;
            }
            let fields = wanted.fields.iter().enumerate().filter(|(_, is_wanted)| **is_wanted);
            fields.for_each(|(field, _)| union.also(FieldId(field as u32)));
        }
        union
    }

    /// Another field that the caller looks at.
    pub fn also(&mut self, field: FieldId) {
        if self.fields.len() <= field.index() {
            self.fields.resize(field.index() + 1, false);
        }
        self.fields[field.index()] = true;
    }

    /// Whether some rule looks at values of this field; of fields without a number only searches of everything do.
    #[inline]
    pub fn wants(&self, field: Option<FieldId>) -> bool {
        self.everything || self.wants_itself(field)
    }

    /// Whether some rule names this field.
    #[inline]
    pub(crate) fn wants_itself(&self, field: Option<FieldId>) -> bool {
        field.is_some_and(|field| self.fields.get(field.index()) == Some(&true))
    }
}

/// What one rule reads of an event: nothing else decides whether it matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reads {
    /// Fields that it names, in the order of their numbers.
    pub(crate) fields: Box<[FieldId]>,
    /// It searches every text.
    pub(crate) everything: bool,
}

impl Reads {
    /// What a rule of a program reads.
    pub(crate) fn of(program: &Program, rule: usize) -> Self {
        let (mut atoms, mut fields, mut everything) = (Vec::new(), Vec::new(), false);
        atoms_of_rule(program, rule, &mut atoms);
        for atom in atoms.iter().map(|id| &program.atoms[id.index()]) {
            match atom.scope {
                Scope::Field(field) => fields.push(field),
                Scope::Anywhere => everything = true,
            }
            if let Test::Reference { other, .. } = atom.test {
                fields.push(other);
            }
        }
        fields.sort_unstable();
        fields.dedup();
        Self { fields: fields.into(), everything }
    }
}

fn atoms_of_rule(program: &Program, rule: usize, atoms: &mut Vec<AtomId>) {
    program.rules[rule].selections.iter().for_each(|selection| atoms_of(&selection.body, atoms));
}
