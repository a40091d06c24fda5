//! Which few atoms must be looked at to know that a rule cannot match: its *trigger*, a set of which at least one holds
//! whenever the rule matches. A rule is judged only when an atom of its trigger holds.

use std::collections::HashMap;

use super::program::{AtomId, CoreRule, Expr, Program};

/// Chooses triggers. Only atoms that a scan finds by itself can be in one.
pub(crate) struct Needs<'a> {
    program: &'a Program,
    is_scanned: &'a dyn Fn(AtomId) -> bool,
    /// How many rules name an atom: what many rules name (a shell, an interpreter) is common on machines as well.
    popularity: HashMap<AtomId, u32>,
}

/// Atoms with what judging by them is guessed to cost.
struct Group {
    atoms: Vec<AtomId>,
    cost: f64,
}

impl<'a> Needs<'a> {
    pub(crate) fn new(program: &'a Program, rules: &[usize], is_scanned: &'a dyn Fn(AtomId) -> bool) -> Self {
        let mut popularity = HashMap::new();
        for rule in rules {
            let mut atoms = Vec::new();
            program.rules[*rule].selections.iter().for_each(|selection| atoms_of(&selection.body, &mut atoms));
            atoms.sort_unstable();
            atoms.dedup();
            atoms.into_iter().for_each(|atom| *popularity.entry(atom).or_insert(0) += 1);
        }
        Self { program, is_scanned, popularity }
    }

    /// The trigger of a rule; none when the rule must always be judged.
    pub(crate) fn trigger(&self, rule: &CoreRule) -> Option<Vec<AtomId>> {
        let mut atoms = self.group(&rule.condition, rule)?.atoms;
        atoms.sort_unstable();
        atoms.dedup();
        Some(atoms)
    }

    fn group(&self, expr: &Expr, rule: &CoreRule) -> Option<Group> {
        match expr {
            Expr::Atom(atom) => (self.is_scanned)(*atom).then(|| Group { atoms: vec![*atom], cost: self.cost(*atom) }),
            Expr::Selection(index) => self.group(&rule.selections[*index].body, rule),
            Expr::All(list) => self.cheapest(list, rule),
            Expr::AtLeast(wanted, list) if *wanted >= list.len() && *wanted > 0 => self.cheapest(list, rule),
            Expr::AtLeast(0, _) | Expr::Not(_) => None,
            Expr::Any(list) | Expr::AtLeast(_, list) => {
                let mut union = Group { atoms: Vec::new(), cost: 0.0 };
                for inner in list {
                    let group = self.group(inner, rule)?;
                    union.atoms.extend(group.atoms);
                    union.cost += group.cost;
                }
                Some(union)
            }
        }
    }

    fn cheapest(&self, list: &[Expr], rule: &CoreRule) -> Option<Group> {
        let groups = list.iter().filter_map(|inner| self.group(inner, rule));
        groups.min_by(|a, b| a.cost.total_cmp(&b.cost))
    }

    /// Long texts are rare, popular ones are not.
    fn cost(&self, atom: AtomId) -> f64 {
        let popularity = f64::from(self.popularity.get(&atom).copied().unwrap_or(1));
        popularity / self.program.atoms[atom.index()].test.longest_text().len().max(1) as f64
    }
}

/// The atoms of an expression, selections left out.
pub(crate) fn atoms_of(expr: &Expr, atoms: &mut Vec<AtomId>) {
    match expr {
        Expr::Atom(atom) => atoms.push(*atom),
        Expr::All(list) | Expr::Any(list) | Expr::AtLeast(_, list) => list.iter().for_each(|inner| atoms_of(inner, atoms)),
        Expr::Not(inner) => atoms_of(inner, atoms),
        Expr::Selection(_) => {}
    }
}
