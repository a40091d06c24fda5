//! Why a rule matches an event, or does not: its condition as a tree, each node with whether it holds, each leaf with what
//! the event says there. Made when somebody asks, by the reference evaluator; never while events stream.

use serde::Serialize;
use serde_json::Value as Json;

use super::frame::Frame;
use super::pattern::{Anchor, Pattern, Piece};
use super::program::{Atom, CoreRule, Expr, Program, Scope};
use super::reference::{atom_holds, passes};
use super::test::{Number, Order, Test, TimePart};

/// Values of a field that a leaf shows: lists of an event may be long.
const MAX_SHOWN: usize = 5;

/// One node of a rule's condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// What is asked: `all of`, `one of`, `not`, `selection NAME`, or a test in words.
    pub what: String,
    /// Whether it holds.
    pub holds: bool,
    /// At a leaf: the event's values that were tested, at most five; for keywords those that pass.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Json>,
    /// The parts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inner: Vec<Node>,
}

/// The condition of a rule, judged node by node.
pub fn trace(program: &Program, rule: &CoreRule, frame: &Frame<'_>) -> Node {
    Tracer { program, rule, frame }.node(&rule.condition)
}

struct Tracer<'a> {
    program: &'a Program,
    rule: &'a CoreRule,
    frame: &'a Frame<'a>,
}

impl Tracer<'_> {
    fn node(&self, expr: &Expr) -> Node {
        let (what, inner) = match expr {
            Expr::Atom(id) => return self.leaf(&self.program.atoms[id.index()]),
            // "All of" one thing is that thing.
            Expr::All(list) | Expr::Any(list) if list.len() == 1 => return self.node(&list[0]),
            Expr::All(list) => ("all of".to_string(), self.nodes(list)),
            Expr::Any(list) => ("one of".to_string(), self.nodes(list)),
            Expr::Not(inner) => ("not".to_string(), vec![self.node(inner)]),
            Expr::AtLeast(wanted, list) => (format!("at least {wanted} of"), self.nodes(list)),
            Expr::Selection(index) => {
                let selection = &self.rule.selections[*index];
                (format!("selection {}", selection.name), vec![self.node(&selection.body)])
            }
        };
        let holds = expr.holds(&self.rule.selections, &mut |id| atom_holds(&self.program.atoms[id.index()], self.frame));
        Node { what, holds, found: Vec::new(), inner }
    }

    fn nodes(&self, list: &[Expr]) -> Vec<Node> {
        list.iter().map(|expr| self.node(expr)).collect()
    }

    fn leaf(&self, atom: &Atom) -> Node {
        let (name, found) = match atom.scope {
            Scope::Field(field) => {
                let values = self.frame.values(field).iter().take(MAX_SHOWN);
                (self.program.names.name(field), values.map(|datum| datum.to_json()).collect())
            }
            Scope::Anywhere => {
                let passing = self.frame.texts().filter(|datum| passes(&atom.test, *datum)).take(MAX_SHOWN);
                ("any value", passing.map(|datum| datum.to_json()).collect())
            }
        };
        let what = format!("{name} {}", self.test(&atom.test));
        Node { what, holds: atom_holds(atom, self.frame), found, inner: Vec::new() }
    }

    fn test(&self, test: &Test) -> String {
        match test {
            Test::Folded(pattern) => pattern_in_words(pattern),
            Test::Cased(pattern) => format!("{}, upper and lower case as written", pattern_in_words(pattern)),
            Test::Regex(expression) => format!("fits the regular expression {}", expression.as_str()),
            Test::Network(network) => format!("is an address in {network}"),
            Test::Compare(order, number) => format!("{} {}", order_in_words(*order), number_in_words(*number)),
            Test::Time(part, order, wanted) => {
                format!("is a time whose {} {} {wanted}", part_in_words(*part), order_in_words(*order))
            }
            Test::Null => "is absent or empty".into(),
            Test::Exists(true) => "is there".into(),
            Test::Exists(false) => "is absent".into(),
            Test::Reference { other, anchor, cased } => {
                let case = if *cased { ", upper and lower case as written" } else { "" };
                format!("{} the field {}{case}", anchor_in_words(*anchor), self.program.names.name(*other))
            }
        }
    }
}

fn pattern_in_words(pattern: &Pattern) -> String {
    match pattern {
        Pattern::Is(text) => format!("is {text:?}"),
        Pattern::Contains(text) if text.is_empty() => "is any text".into(),
        Pattern::Contains(text) => format!("contains {text:?}"),
        Pattern::Begins(text) => format!("begins with {text:?}"),
        Pattern::Ends(text) => format!("ends with {text:?}"),
        Pattern::Glob(pieces) => {
            let text: String = pieces.iter().map(piece_in_words).collect();
            format!("fits {text:?}")
        }
    }
}

fn piece_in_words(piece: &Piece) -> &str {
    match piece {
        Piece::Text(text) => text,
        Piece::One => "?",
        Piece::Any => "*",
    }
}

fn anchor_in_words(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Whole => "is the same as",
        Anchor::Inside => "contains",
        Anchor::Start => "begins with",
        Anchor::End => "ends with",
    }
}

fn order_in_words(order: Order) -> &'static str {
    match order {
        Order::Same => "is",
        Order::Less => "is less than",
        Order::LessOrSame => "is at most",
        Order::Greater => "is more than",
        Order::GreaterOrSame => "is at least",
    }
}

fn number_in_words(number: Number) -> String {
    match number {
        Number::Whole(number) => number.to_string(),
        Number::Fraction(number) => number.to_string(),
    }
}

fn part_in_words(part: TimePart) -> &'static str {
    match part {
        TimePart::Minute => "minute",
        TimePart::Hour => "hour",
        TimePart::Day => "day of the month",
        TimePart::Week => "week of the year",
        TimePart::Month => "month",
        TimePart::Year => "year",
    }
}
