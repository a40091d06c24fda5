//! Whether a rule can hold when only some fields of an event are known: Kleene's logic of three values over the same
//! conditions.

use std::collections::BTreeSet;

use super::frame::Frame;
use super::names::FieldId;
use super::program::{Atom, Expr, Program, Scope};
use super::reference::atom_holds;
use super::test::Test;

/// What is known of an event before there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given<'g, 'f> {
    /// Values that it has.
    pub(crate) known: &'g Frame<'f>,
    /// Fields that may say anything or be absent. Others are known or absent.
    pub(crate) open: &'g BTreeSet<FieldId>,
}

impl Given<'_, '_> {
    /// Whether a test holds, where that is known.
    pub(crate) fn truth(&self, atom: &Atom) -> Option<bool> {
        let Scope::Field(field) = atom.scope else { return None };
        let other = match atom.test {
            Test::Reference { other, .. } => Some(other),
            _ => None,
        };
        let is_open = self.open.contains(&field) || other.is_some_and(|other| self.open.contains(&other));
        (!is_open).then(|| atom_holds(atom, self.known))
    }

    /// Whether a rule of a program may hold in some such event.
    pub(crate) fn allows(&self, program: &Program, rule: usize) -> bool {
        let rule = &program.rules[rule];
        let judged = judge(&rule.condition, &mut |expr| match expr {
            Expr::Selection(index) => Asked::More(&rule.selections[*index].body),
            Expr::Atom(id) => Asked::Truth(self.truth(&program.atoms[id.index()])),
            _ => Asked::Truth(None),
        });
        judged != Some(false)
    }
}

/// What stands behind a leaf of a condition.
enum Asked<'e> {
    Truth(Option<bool>),
    More(&'e Expr),
}

fn judge<'e>(expr: &'e Expr, leaf: &mut impl FnMut(&'e Expr) -> Asked<'e>) -> Option<bool> {
    match expr {
        Expr::All(list) => {
            let (held, unknown) = count(list, leaf);
            if held + unknown < list.len() { Some(false) } else { (unknown == 0).then_some(true) }
        }
        Expr::Any(list) => at_least(1, list, leaf),
        Expr::AtLeast(wanted, list) => at_least(*wanted, list, leaf),
        Expr::Not(inner) => judge(inner, leaf).map(|held| !held),
        Expr::Atom(_) | Expr::Selection(_) => match leaf(expr) {
            Asked::Truth(truth) => truth,
            Asked::More(inner) => judge(inner, leaf),
        },
    }
}

fn at_least<'e>(wanted: usize, list: &'e [Expr], leaf: &mut impl FnMut(&'e Expr) -> Asked<'e>) -> Option<bool> {
    let (held, unknown) = count(list, leaf);
    if held >= wanted { Some(true) } else { (held + unknown < wanted).then_some(false) }
}

/// How many hold, and of how many that is not known.
fn count<'e>(list: &'e [Expr], leaf: &mut impl FnMut(&'e Expr) -> Asked<'e>) -> (usize, usize) {
    list.iter().fold((0, 0), |(held, unknown), inner| match judge(inner, leaf) {
        Some(truth) => (held + usize::from(truth), unknown),
        None => (held, unknown + 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::{Builder, Datum};

    fn possible(detection: &str) -> bool {
        let text = format!("title: t\nid: r\nlogsource: {{product: linux, service: auditd}}\ndetection: {detection}\n");
        let parsed = rsigma_parser::parse_sigma_yaml(&text).unwrap();
        let mut builder = Builder::default();
        builder.add(&parsed.rules[0]).unwrap();
        let program = builder.finish();
        let mut known = Frame::new(&program.names);
        if let Some(kind) = program.names.find("type") {
            known.push(Some(kind), Datum::Text(b"PATH"));
        }
        let open = program.names.find("name").into_iter().collect();
        Given { known: &known, open: &open }.allows(&program, 0)
    }

    #[test]
    fn what_a_known_or_an_absent_field_decides_is_decided_and_nothing_else_is() {
        for (detection, expected) in [
            ("{a: {type: PATH, name: /x}, condition: a}", true),
            ("{a: {type: SYSCALL, name: /x}, condition: a}", false),
            ("{a: {type: PATH, exe: /x}, condition: a}", false),
            ("{a: {type: SYSCALL}, b: {name: /x}, condition: a or b}", true),
            ("{a: {type: SYSCALL}, b: {exe: /x}, condition: a or b}", false),
            ("{a: {name: /x}, b: {type: PATH}, condition: a and not b}", false),
            ("{a: {name: /x}, b: {type: CWD}, condition: a and not b}", true),
            ("{a: {type: PATH}, b: {name: /x}, condition: a and not b}", true),
            ("{a: {exe: null, name: /x}, condition: a}", true),
            ("{a1: {type: CWD}, a2: {exe: x}, a3: {name: x}, condition: 2 of a*}", false),
            ("{a1: {type: PATH}, a2: {exe: x}, a3: {name: x}, condition: 2 of a*}", true),
            ("{a: {exe|fieldref: name}, condition: a}", true),
            ("{a: {exe|fieldref: cwd}, condition: a}", false),
            ("{keywords: [shadow], b: {type: PATH}, condition: keywords and b}", true),
        ] {
            assert_eq!(possible(detection), expected, "{detection}");
        }
    }
}
