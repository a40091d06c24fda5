//! Which few atoms must be looked at to know that a rule cannot match: its *trigger*, a set of which at least one holds
//! whenever the rule matches. A rule is judged only when an atom of its trigger holds.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use super::gram::{GRAM, Rarity};
use super::needles::{Needle, Needles, Place};
use super::possible::Given;
use super::program::{AtomId, CoreRule, Expr, Program};

/// What rules say about how common their parts are.
#[derive(Debug, Default, Clone)]
pub(crate) struct Habits {
    /// By atom: how many rules name it. What many rules name (a shell, an interpreter) is common on machines as well.
    popularity: Vec<u32>,
    rarity: Rarity,
}

impl Habits {
    /// Counts over a whole program.
    pub(crate) fn new(program: &Program) -> Self {
        let mut popularity = vec![0; program.atoms.len()];
        let mut atoms = Vec::new();
        for rule in &program.rules {
            atoms.clear();
            rule.selections.iter().for_each(|selection| atoms_of(&selection.body, &mut atoms));
            atoms.sort_unstable();
            atoms.dedup();
            atoms.iter().for_each(|atom| popularity[atom.index()] += 1);
        }
        let texts = program.atoms.iter().map(|atom| atom.test.longest_text());
        Self { popularity, rarity: Rarity::of(texts) }
    }

    /// How rare four bytes are.
    pub(crate) fn rarity(&self) -> &Rarity {
        &self.rarity
    }
}

/// Chooses triggers. Only atoms that a scan can find can be in one.
pub(crate) struct Needs<'a> {
    program: &'a Program,
    /// What is known of the events.
    given: Option<Given<'a, 'a>>,
    /// What was asked about atoms before: what a scan looks for, and what judging by it is guessed to cost.
    known: HashMap<AtomId, Option<(Needles, f64)>>,
}

/// Atoms with what judging by them is guessed to cost.
struct Group {
    atoms: Vec<AtomId>,
    cost: f64,
}

impl<'a> Needs<'a> {
    /// For rules of a program, judged on events of which this is known.
    pub(crate) fn new(program: &'a Program, given: Option<Given<'a, 'a>>) -> Self {
        Self { program, given, known: HashMap::new() }
    }

    /// The trigger of a rule; none when the rule must always be judged.
    pub(crate) fn trigger(&mut self, rule: &CoreRule) -> Option<Vec<AtomId>> {
        let mut atoms = self.group(&rule.condition, rule)?.atoms;
        atoms.sort_unstable();
        atoms.dedup();
        Some(atoms)
    }

    /// What a scan looks for to find an atom of a trigger.
    pub(crate) fn needles(&self, atom: AtomId) -> Option<&Needles> {
        self.known.get(&atom)?.as_ref().map(|(needles, _)| needles)
    }

    fn group(&mut self, expr: &Expr, rule: &CoreRule) -> Option<Group> {
        match expr {
            Expr::Atom(atom) => match self.given.and_then(|given| given.truth(&self.program.atoms[atom.index()])) {
                // What never holds needs nobody to look for it; what always does tells nothing.
                Some(false) => Some(Group { atoms: Vec::new(), cost: 0.0 }),
                Some(true) => None,
                None => self.cost(*atom).map(|cost| Group { atoms: vec![*atom], cost }),
            },
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

    fn cheapest(&mut self, list: &[Expr], rule: &CoreRule) -> Option<Group> {
        let groups = list.iter().filter_map(|inner| self.group(inner, rule));
        groups.min_by(|a, b| a.cost.total_cmp(&b.cost))
    }

    fn cost(&mut self, atom: AtomId) -> Option<f64> {
        if let Some(known) = self.known.get(&atom) {
            return known.as_ref().map(|(_, cost)| *cost);
        }
        let needles = self.program.atoms[atom.index()].test.needles();
        let found = needles.map(|needles| {
            let popularity = self.program.habits.popularity.get(atom.index()).copied().unwrap_or(1);
            let probe = if needles.probe.is_some() { PROBE } else { 0.0 };
            let cost = (needles.any_of.iter().map(price).sum::<f64>() + probe) * f64::from(popularity.max(1));
            (needles, cost)
        });
        let cost = found.as_ref().map(|(_, cost)| *cost);
        self.known.insert(atom, found);
        cost
    }
}

/// Texts that stand in most events of ordinary machines: a rule is better chosen by anything else. Folders of systems and
/// users, endings of programs, and what version resources and command lines say of nearly everything.
const COMMON: [&str; 24] = [
    "c:\\windows\\system32\\",
    "\\windows\\syswow64\\",
    "c:\\program files (x86)\\",
    "c:\\program files\\",
    "c:\\programdata\\microsoft\\windows\\",
    "c:\\users\\administrator\\appdata\\local\\temp\\",
    "c:\\users\\public\\",
    "\\appdata\\roaming\\microsoft\\windows\\",
    "\\microsoft\\windows\\currentversion\\",
    "hklm\\software\\microsoft\\windows nt\\",
    "hkcu\\software\\classes\\",
    "hklm\\system\\currentcontrolset\\services\\",
    "\\registry\\machine\\",
    "microsoft corporation",
    "microsoft\u{ae} windows\u{ae} operating system",
    "nt authority\\system",
    ".exe\"",
    ".dll ",
    "/usr/local/bin/",
    "/tmp/",
    "/var/tmp/",
    "/usr/lib/",
    "/usr/sbin/",
    "/home/",
];
/// What judging by a common text costs, in what a rare one costs.
const COMMONNESS: f64 = 40.0;

/// What a probe costs: it is asked of every value by itself, and is better than to judge the rule for every event.
const PROBE: f64 = 500.0;

/// Whether all of a text is made of what stands nearly everywhere.
pub(super) fn is_common(text: &str) -> bool {
    static GRAMS: LazyLock<HashSet<&[u8]>> =
        LazyLock::new(|| COMMON.iter().flat_map(|text| text.as_bytes().windows(GRAM)).collect());
    text.len() >= GRAM && text.as_bytes().windows(GRAM).all(|gram| GRAMS.contains(gram))
}

/// Long texts are rare. Short ones inside of a value need a pass of their own and stand nearly everywhere.
fn price(needle: &Needle) -> f64 {
    let length = needle.text.len().max(1) as f64;
    let length = if is_common(&needle.text) { length / COMMONNESS } else { length };
    match (needle.place, needle.text.len()) {
        (Place::Inside, 0 | 1) => 1_000.0,
        (Place::Inside, 2 | 3) => 100.0 / length,
        (Place::Inside, 4) => 2.0 / length,
        _ => 1.0 / length,
    }
}

/// The atoms of an expression, selections left out.
pub(crate) fn atoms_of(expr: &Expr, atoms: &mut Vec<AtomId>) {
    expr.each_atom(&mut |atom| atoms.push(atom));
}
