//! Conditions as a row of words: no pointers to follow, cheap tests before dear ones, and what decides is looked at
//! first. The meaning is that of [`Expr`], which the reference evaluator judges.

use super::program::{Atom, AtomId, CoreRule, Expr, Scope};
use super::test::Test;

const ATOM: u32 = 0;
const NOT: u32 = 1;
const ALL: u32 = 2;
const ANY: u32 = 3;
const AT_LEAST: u32 = 4;
const CALL: u32 = 5;
/// Bits of a word that say what it is.
const KIND_BITS: u32 = 3;

/// Conditions of all rules of a program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lean {
    words: Vec<u32>,
    /// By rule: where its condition begins.
    rules: Vec<u32>,
}

impl Lean {
    /// The rules of a program in this form.
    pub(crate) fn new(atoms: &[Atom], rules: &[CoreRule]) -> Self {
        let mut lean = Self::default();
        for rule in rules {
            let selections = rule.selections.iter().map(|selection| {
                let start = lean.words.len() as u32;
                let price = lean.write(atoms, &selection.body, &[]);
                (start, price)
            });
            let selections: Vec<(u32, u32)> = selections.collect();
            lean.rules.push(lean.words.len() as u32);
            lean.write(atoms, &rule.condition, &selections);
        }
        lean.words.shrink_to_fit();
        lean
    }

    /// Writes an expression and gives what it costs to judge.
    fn write(&mut self, atoms: &[Atom], expr: &Expr, selections: &[(u32, u32)]) -> u32 {
        match expr {
            Expr::Atom(id) => {
                self.words.push(ATOM | id.0 << KIND_BITS);
                price(&atoms[id.index()])
            }
            Expr::Not(inner) => {
                self.words.push(NOT);
                self.write(atoms, inner, selections) + NEGATION
            }
            Expr::Selection(index) => {
                let (start, price) = selections.get(*index).copied().unwrap_or_default();
                self.words.push(CALL | start << KIND_BITS);
                price
            }
            Expr::All(list) => self.write_list(atoms, ALL, None, list, selections),
            Expr::Any(list) => self.write_list(atoms, ANY, None, list, selections),
            Expr::AtLeast(wanted, list) => self.write_list(atoms, AT_LEAST, Some(*wanted), list, selections),
        }
    }

    fn write_list(&mut self, atoms: &[Atom], kind: u32, wanted: Option<usize>, list: &[Expr], selections: &[(u32, u32)]) -> u32 {
        let head = self.words.len();
        self.words.extend([kind, 0]);
        self.words.extend(wanted.map(|wanted| u32::try_from(wanted).unwrap_or(u32::MAX)));
        // Each part is written apart, so that they can be put in order.
        let mut parts = Vec::with_capacity(list.len());
        let start = self.words.len();
        for inner in list {
            let from = self.words.len();
            let price = self.write(atoms, inner, selections);
            parts.push((price, from, self.words.len()));
        }
        let total = parts.iter().fold(0u32, |sum, part| sum.saturating_add(part.0));
        if parts.windows(2).any(|pair| pair[0].0 > pair[1].0) {
            parts.sort_by_key(|part| part.0);
            self.reorder(start, &parts);
        }
        self.words[head + 1] = (self.words.len() - head) as u32;
        total
    }

    /// Puts parts in another order. Lengths inside of them are relative, so they can be moved.
    fn reorder(&mut self, start: usize, parts: &[(u32, usize, usize)]) {
        let mut ordered = Vec::with_capacity(self.words.len() - start);
        parts.iter().for_each(|(_, from, to)| ordered.extend_from_slice(&self.words[*from..*to]));
        self.words[start..].copy_from_slice(&ordered);
    }

    /// Whether the condition of a rule holds, given which atoms hold.
    pub(crate) fn holds(&self, rule: usize, atom: &mut impl FnMut(AtomId) -> bool) -> bool {
        self.judge(self.rules[rule] as usize, atom).0
    }

    /// The truth of the expression at a place, and where the next one begins.
    fn judge(&self, at: usize, atom: &mut impl FnMut(AtomId) -> bool) -> (bool, usize) {
        let word = self.words[at];
        let operand = word >> KIND_BITS;
        match word & ((1 << KIND_BITS) - 1) {
            ATOM => (atom(AtomId(operand)), at + 1),
            CALL => (self.judge(operand as usize, atom).0, at + 1),
            NOT => {
                let (held, next) = self.judge(at + 1, atom);
                (!held, next)
            }
            kind => {
                let end = at + self.words[at + 1] as usize;
                (self.judge_list(kind, at + 2, end, atom), end)
            }
        }
    }

    fn judge_list(&self, kind: u32, mut at: usize, end: usize, atom: &mut impl FnMut(AtomId) -> bool) -> bool {
        if kind == AT_LEAST {
            return self.judge_count(at, end, atom);
        }
        // A list of `all` is decided by the first that does not hold, one of `any` by the first that does.
        while at < end {
            let (held, next) = self.judge(at, atom);
            if held == (kind == ANY) {
                return held;
            }
            at = next;
        }
        kind == ALL
    }

    fn judge_count(&self, at: usize, end: usize, atom: &mut impl FnMut(AtomId) -> bool) -> bool {
        let (mut wanted, mut at) = (self.words[at], at + 1);
        while wanted > 0 && at < end {
            let (held, next) = self.judge(at, atom);
            wanted -= u32::from(held);
            at = next;
        }
        wanted == 0
    }
}

/// Filters seldom decide: they are judged after what must hold.
const NEGATION: u32 = 1_000;

/// What a test costs, roughly, in tens of instructions for an ordinary value.
fn price(atom: &Atom) -> u32 {
    use super::pattern::Pattern;
    let test = match &atom.test {
        Test::Folded(Pattern::Is(_) | Pattern::Begins(_) | Pattern::Ends(_)) => 3,
        Test::Null | Test::Exists(_) => 2,
        Test::Folded(Pattern::Contains(_)) => 10,
        Test::Folded(Pattern::Glob(_)) | Test::Cased(_) | Test::Compare(..) => 20,
        Test::Network(_) | Test::Reference { .. } => 40,
        Test::Regex(_) | Test::Time(..) => 100,
    };
    if atom.scope == Scope::Anywhere { test * 20 } else { test }
}
