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
const KINDS: u32 = (1 << KIND_BITS) - 1;

/// Conditions of all rules of a program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lean {
    words: Vec<u32>,
    /// By rule: where its condition begins.
    rules: Vec<u32>,
    /// Where selections begin, those of one rule after those of the one before.
    selections: Vec<u32>,
    /// By rule: where its selections stand there.
    firsts: Vec<u32>,
}

impl Lean {
    /// The rules of a program in this form.
    pub(crate) fn new(atoms: &[Atom], rules: &[CoreRule]) -> Self {
        let mut lean = Self::default();
        for rule in rules {
            let mut writer = Writer { atoms, rule, selections: Vec::new(), words: &mut lean.words };
            for selection in &rule.selections {
                let start = writer.words.len();
                let price = writer.write(&selection.body);
                let length = writer.words.len() - start;
                writer.selections.push(Written { start: start as u32, length, price });
            }
            lean.rules.push(writer.words.len() as u32);
            writer.write(&rule.condition);
            lean.firsts.push(lean.selections.len() as u32);
            lean.selections.extend(writer.selections.iter().map(|written| written.start));
        }
        lean.words.shrink_to_fit();
        lean.selections.shrink_to_fit();
        lean
    }

    /// Whether the condition of a rule holds, given which atoms hold.
    pub(crate) fn holds(&self, rule: usize, atom: &mut impl FnMut(AtomId) -> bool) -> bool {
        self.judge(self.rules[rule] as usize, atom).0
    }

    /// Whether a selection of a rule holds.
    pub(crate) fn selection_holds(&self, rule: usize, selection: usize, atom: &mut impl FnMut(AtomId) -> bool) -> bool {
        let start = self.selections[self.firsts[rule] as usize + selection];
        self.judge(start as usize, atom).0
    }

    /// The truth of the expression at a place, and where the next one begins.
    fn judge(&self, at: usize, atom: &mut impl FnMut(AtomId) -> bool) -> (bool, usize) {
        let word = self.words[at];
        let operand = word >> KIND_BITS;
        match word & KINDS {
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
            let word = self.words[at];
            // Nearly all that lists have.
            let (held, next) = match word & KINDS {
                ATOM => (atom(AtomId(word >> KIND_BITS)), at + 1),
                _ => self.judge(at, atom),
            };
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

/// A selection of the rule in hand.
struct Written {
    start: u32,
    /// In words.
    length: usize,
    price: u32,
}

/// Selections of at most so many words stand where a condition names them; a condition grows no more than that.
const MAX_INLINED: usize = 64;

/// Writes the parts of one rule.
struct Writer<'p> {
    atoms: &'p [Atom],
    rule: &'p CoreRule,
    /// Those that are written, from the first.
    selections: Vec<Written>,
    words: &'p mut Vec<u32>,
}

impl<'p> Writer<'p> {
    /// Writes an expression and gives what it costs to judge.
    fn write(&mut self, expr: &'p Expr) -> u32 {
        match self.bare(expr) {
            Expr::Atom(id) => {
                self.words.push(ATOM | id.0 << KIND_BITS);
                price(&self.atoms[id.index()])
            }
            Expr::Not(inner) => {
                self.words.push(NOT);
                self.write(inner).saturating_add(NEGATION)
            }
            Expr::Selection(index) => {
                let (start, price) = self.selections.get(*index).map_or((0, 0), |written| (written.start, written.price));
                self.words.push(CALL | start << KIND_BITS);
                price
            }
            Expr::All(list) => self.write_list(ALL, None, list),
            Expr::Any(list) => self.write_list(ANY, None, list),
            Expr::AtLeast(wanted, list) => self.write_list(AT_LEAST, Some(*wanted), list),
        }
    }

    /// The same expression without lists of one around it, and a short selection in place of its name.
    fn bare(&self, mut expr: &'p Expr) -> &'p Expr {
        loop {
            expr = match expr {
                Expr::All(list) | Expr::Any(list) | Expr::AtLeast(1, list) if list.len() == 1 => &list[0],
                Expr::Selection(index) => match self.selections.get(*index) {
                    Some(written) if written.length <= MAX_INLINED => &self.rule.selections[*index].body,
                    _ => return expr,
                },
                _ => return expr,
            }
        }
    }

    /// The parts of a list; those of lists of the same kind inside of it are its own.
    fn parts(&self, kind: u32, list: &'p [Expr], parts: &mut Vec<&'p Expr>) {
        for inner in list {
            match self.bare(inner) {
                Expr::All(inner) if kind == ALL => self.parts(kind, inner, parts),
                Expr::Any(inner) if kind == ANY => self.parts(kind, inner, parts),
                inner => parts.push(inner),
            }
        }
    }

    fn write_list(&mut self, kind: u32, wanted: Option<usize>, list: &'p [Expr]) -> u32 {
        let head = self.words.len();
        self.words.extend([kind, 0]);
        self.words.extend(wanted.map(|wanted| u32::try_from(wanted).unwrap_or(u32::MAX)));
        let mut exprs = Vec::with_capacity(list.len());
        self.parts(kind, list, &mut exprs);
        // Each part is written apart, so that they can be put in order.
        let mut parts = Vec::with_capacity(exprs.len());
        let start = self.words.len();
        for inner in exprs {
            let from = self.words.len();
            let price = self.write(inner);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::names::FieldId;
    use super::super::pattern::Pattern;
    use super::super::program::Selection;
    use super::*;

    /// Atoms of the property, dear and cheap ones.
    const ATOMS: u32 = 6;

    fn atoms() -> Vec<Atom> {
        let test = |number| if number % 2 == 0 { Test::Null } else { Test::Folded(Pattern::Contains("x".into())) };
        (0..ATOMS).map(|number| Atom { scope: Scope::Field(FieldId(number)), test: test(number) }).collect()
    }

    /// With lists of one, empty ones, and some that are too long to stand where they are named.
    fn expr(leaf: BoxedStrategy<Expr>) -> impl Strategy<Value = Expr> {
        leaf.prop_recursive(4, 40, 5, |inner| {
            let list = prop_oneof![
                4 => proptest::collection::vec(inner.clone(), 0..4),
                1 => proptest::collection::vec(inner.clone(), MAX_INLINED + 1),
            ];
            prop_oneof![
                list.clone().prop_map(Expr::All),
                list.clone().prop_map(Expr::Any),
                (0..4usize, list).prop_map(|(wanted, list)| Expr::AtLeast(wanted, list)),
                inner.prop_map(|inner| Expr::Not(Box::new(inner))),
            ]
        })
    }

    fn atom() -> BoxedStrategy<Expr> {
        (0..ATOMS).prop_map(|number| Expr::Atom(AtomId(number))).boxed()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_condition_means_what_it_did_before_it_was_written(
            bodies in proptest::collection::vec(expr(atom()), 2),
            condition in expr(prop_oneof![atom(), (0..2usize).prop_map(Expr::Selection)].boxed()),
        ) {
            let selections = bodies.into_iter().map(|body| Selection { name: "s".into(), body }).collect();
            let rule = CoreRule { selections, condition };
            let lean = Lean::new(&atoms(), std::slice::from_ref(&rule));
            for truths in 0..1u32 << ATOMS {
                let mut atom = |id: AtomId| truths >> id.0 & 1 == 1;
                prop_assert_eq!(lean.holds(0, &mut atom), rule.condition.holds(&rule.selections, &mut atom), "{:?} {:b}", rule, truths);
                for (number, selection) in rule.selections.iter().enumerate() {
                    let expected = selection.body.holds(&rule.selections, &mut atom);
                    prop_assert_eq!(lean.selection_holds(0, number, &mut atom), expected, "{:?} {:b}", selection, truths);
                }
            }
        }
    }
}
