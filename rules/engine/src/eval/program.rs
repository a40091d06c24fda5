//! A compiled rule set: atoms, and rules as expressions over them.

use std::sync::Arc;

use super::lean::Lean;
use super::names::{FieldId, Names};
use super::needs::Habits;
use super::test::Test;
use super::wanted::Reads;

/// Number of an atom within its program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AtomId(pub(crate) u32);

impl AtomId {
    /// Its place in dense tables.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which values a test is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those of one field.
    Field(FieldId),
    /// Every text of the event: keywords.
    Anywhere,
}

/// One distinct test: it holds when some value in its scope passes.
#[derive(Debug, Clone)]
pub struct Atom {
    /// Which values.
    pub scope: Scope,
    /// What of them.
    pub test: Test,
}

/// What a selection or a condition asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// This test holds.
    Atom(AtomId),
    /// All hold; nothing to hold is true.
    All(Vec<Expr>),
    /// One holds; nothing to choose from is false.
    Any(Vec<Expr>),
    /// It does not hold.
    Not(Box<Expr>),
    /// At least so many hold.
    AtLeast(usize, Vec<Expr>),
    /// A selection of the same rule, by its place.
    Selection(usize),
}

impl Expr {
    /// Tells its atoms in their order; selections that it names are not looked into.
    pub(crate) fn each_atom(&self, tell: &mut impl FnMut(AtomId)) {
        match self {
            Self::Atom(id) => tell(*id),
            Self::All(list) | Self::Any(list) | Self::AtLeast(_, list) => list.iter().for_each(|inner| inner.each_atom(tell)),
            Self::Not(inner) => inner.each_atom(tell),
            Self::Selection(_) => {}
        }
    }

    /// Whether it holds, given which atoms hold.
    pub(crate) fn holds(&self, selections: &[Selection], atom: &mut impl FnMut(AtomId) -> bool) -> bool {
        match self {
            Self::Atom(id) => atom(*id),
            Self::All(list) => list.iter().all(|inner| inner.holds(selections, atom)),
            Self::Any(list) => list.iter().any(|inner| inner.holds(selections, atom)),
            Self::Not(inner) => !inner.holds(selections, atom),
            Self::AtLeast(wanted, list) => {
                let mut held = 0;
                list.iter().any(|inner| {
                    held += usize::from(inner.holds(selections, atom));
                    held >= *wanted
                }) || *wanted == 0
            }
            Self::Selection(index) => selections[*index].body.holds(selections, atom),
        }
    }
}

/// A named part of a rule.
#[derive(Debug, Clone)]
pub struct Selection {
    /// Name in the rule.
    pub name: Arc<str>,
    /// What it asks.
    pub body: Expr,
}

/// One compiled rule.
#[derive(Debug, Clone)]
pub struct CoreRule {
    /// Its selections, by name.
    pub selections: Vec<Selection>,
    /// What must hold; selections stand in it by their place.
    pub condition: Expr,
}

/// Compiled rules that share names and atoms.
#[derive(Debug, Clone, Default)]
pub struct Program {
    /// Names of fields.
    pub names: Names,
    /// Distinct tests.
    pub atoms: Vec<Atom>,
    /// Rules, in the order in which they were added.
    pub rules: Vec<CoreRule>,
    /// What each of them reads.
    pub(crate) reads: Vec<Reads>,
    /// Their conditions, as the fast evaluator reads them.
    pub(crate) lean: Lean,
    pub(crate) habits: Habits,
}
