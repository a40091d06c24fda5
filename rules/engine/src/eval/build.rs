//! From a parsed rule to atoms and expressions.

use std::collections::{BTreeMap, HashMap};

use regex_syntax::hir::{Hir, HirKind};
use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Quantifier, SelectorPattern, SigmaRule, SigmaString, SigmaValue};

use super::encode;
use super::expression::Expression;
use super::lean::Lean;
use super::modifiers::{Encoder, Modifiers, Reading};
use super::needs::Habits;
use super::pattern::{Anchor, Pattern};
use super::program::{Atom, AtomId, CoreRule, Expr, Program, Scope, Selection};
use super::test::{Number, Order, Test};
use super::wanted::Reads;
use crate::limits::{MAX_ENCODERS, MAX_FORMS};

/// Counted repetitions (`{n}`) inside of others, multiplied: beyond this a value is walked by thousands of states at once.
const MAX_NESTED_REPEATS: u64 = 250;
/// A rule cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BuildError(pub(crate) String);

fn refuse<T>(reason: impl Into<String>) -> Result<T, BuildError> {
    Err(BuildError(reason.into()))
}

/// Builds a [`Program`] rule by rule. A rule that cannot be built leaves nothing but unused atoms behind.
#[derive(Debug, Default)]
pub struct Builder {
    program: Program,
    known: HashMap<(Scope, String), AtomId>,
    placeholders: BTreeMap<String, Vec<String>>,
}

impl Builder {
    /// A builder that knows what `%name%` stands for (modifier `expand`).
    pub fn new(placeholders: BTreeMap<String, Vec<String>>) -> Self {
        Self { placeholders, ..Self::default() }
    }

    /// Adds a rule; its place is returned.
    ///
    /// # Errors
    /// [`BuildError`] that says what of the rule cannot be judged.
    pub fn add(&mut self, rule: &SigmaRule) -> Result<usize, BuildError> {
        let mut named: Vec<(&String, &Detection)> = rule.detection.named.iter().collect();
        named.sort_unstable_by_key(|(name, _)| *name);
        let mut selections = Vec::with_capacity(named.len());
        for (name, detection) in named {
            let body = self.detection(detection).map_err(|error| BuildError(format!("{error} (in selection {name})")))?;
            selections.push(Selection { name: name.as_str().into(), body });
        }
        let conditions = rule.detection.conditions.iter().map(|condition| expression(condition, &selections));
        let mut conditions = conditions.collect::<Result<Vec<Expr>, _>>()?;
        let condition = match conditions.len() {
            0 => return refuse("condition is missing"),
            1 => conditions.remove(0),
            _ => Expr::Any(conditions),
        };
        self.program.rules.push(CoreRule { selections, condition });
        Ok(self.program.rules.len() - 1)
    }

    /// What was built.
    pub fn finish(mut self) -> Program {
        self.program.atoms.shrink_to_fit();
        self.program.rules.shrink_to_fit();
        self.program.lean = Lean::new(&self.program.atoms, &self.program.rules);
        self.program.habits = Habits::new(&self.program);
        self.program.reads = (0..self.program.rules.len()).map(|rule| Reads::of(&self.program, rule)).collect();
        self.program
    }

    fn detection(&mut self, detection: &Detection) -> Result<Expr, BuildError> {
        match detection {
            Detection::AllOf(items) => self.each(items, Self::item).map(Expr::All),
            Detection::And(list) => self.each(list, Self::detection).map(Expr::All),
            Detection::AnyOf(list) => self.each(list, Self::detection).map(Expr::Any),
            Detection::Keywords(values) => self.each(values, Self::keyword).map(Expr::Any),
            Detection::ArrayMatch { .. } | Detection::Conditional { .. } => {
                refuse("Invalid detection: blocks over the members of a list are no part of the Sigma specification 2.1")
            }
        }
    }

    fn each<T>(&mut self, list: &[T], one: impl Fn(&mut Self, &T) -> Result<Expr, BuildError>) -> Result<Vec<Expr>, BuildError> {
        list.iter().map(|inner| one(self, inner)).collect()
    }

    fn keyword(&mut self, value: &SigmaValue) -> Result<Expr, BuildError> {
        let modifiers = Modifiers { anchor: Anchor::Inside, ..Modifiers::default() };
        self.value(Scope::Anywhere, &modifiers, value)
    }

    fn item(&mut self, item: &DetectionItem) -> Result<Expr, BuildError> {
        let mut modifiers = Modifiers::sort(&item.field.modifiers).map_err(BuildError)?;
        let scope = match &item.field.name {
            Some(name) => Scope::Field(self.program.names.intern(&unescaped(name))),
            None => {
                if modifiers.anchor == Anchor::Whole && modifiers.reading == Reading::Value {
                    modifiers.anchor = Anchor::Inside;
                }
                Scope::Anywhere
            }
        };
        let values = item.values.iter().map(|value| self.value(scope, &modifiers, value));
        let values = values.collect::<Result<Vec<Expr>, _>>()?;
        let linked = if modifiers.all { Expr::All(values) } else { Expr::Any(values) };
        Ok(if modifiers.negated { Expr::Not(Box::new(linked)) } else { linked })
    }

    fn value(&mut self, scope: Scope, modifiers: &Modifiers, value: &SigmaValue) -> Result<Expr, BuildError> {
        if let Some(part) = modifiers.time {
            let order = match modifiers.reading {
                Reading::Value => Order::Same,
                Reading::Compare(order) => order,
                _ => return refuse("invalid modifier combination: a part of a time is a number or a comparison"),
            };
            let Some(Number::Whole(wanted)) = number(value) else { return refuse("expected numeric value for a part of a time") };
            return Ok(self.atom(scope, Test::Time(part, order, wanted)));
        }
        match modifiers.reading {
            Reading::Exists => self.exists(scope, value),
            Reading::Reference => self.reference(scope, modifiers, value),
            Reading::Network => self.network(scope, value),
            Reading::Regex => self.regex(scope, modifiers, value),
            Reading::Compare(order) => match number(value) {
                Some(number) => Ok(self.atom(scope, Test::Compare(order, number))),
                None => refuse("expected numeric value for a comparison"),
            },
            Reading::Value => self.plain(scope, modifiers, value),
        }
    }

    fn exists(&mut self, scope: Scope, value: &SigmaValue) -> Result<Expr, BuildError> {
        match value {
            SigmaValue::Bool(wanted) => Ok(self.atom(scope, Test::Exists(*wanted))),
            SigmaValue::String(text) if text.original.eq_ignore_ascii_case("true") => Ok(self.atom(scope, Test::Exists(true))),
            SigmaValue::String(text) if text.original.eq_ignore_ascii_case("false") => Ok(self.atom(scope, Test::Exists(false))),
            _ => refuse("incompatible value: exists is true or false"),
        }
    }

    fn reference(&mut self, scope: Scope, modifiers: &Modifiers, value: &SigmaValue) -> Result<Expr, BuildError> {
        let SigmaValue::String(name) = value else { return refuse("incompatible value: fieldref names a field") };
        let other = self.program.names.intern(&name.original);
        Ok(self.atom(scope, Test::Reference { other, anchor: modifiers.anchor, cased: modifiers.cased }))
    }

    fn network(&mut self, scope: Scope, value: &SigmaValue) -> Result<Expr, BuildError> {
        let SigmaValue::String(text) = value else { return refuse("invalid CIDR: it is no text") };
        let network = text.original.parse().or_else(|_| text.original.parse::<std::net::IpAddr>().map(ipnet::IpNet::from));
        match network {
            Ok(network) => Ok(self.atom(scope, Test::Network(network))),
            Err(_) => refuse(format!("invalid CIDR '{}'", text.original)),
        }
    }

    fn regex(&mut self, scope: Scope, modifiers: &Modifiers, value: &SigmaValue) -> Result<Expr, BuildError> {
        let text = match value {
            SigmaValue::String(text) => text.original.clone(),
            SigmaValue::Null => return refuse("invalid regex: there is none"),
            other => other.to_string(),
        };
        // Flags stand in the text: what tells two expressions apart and what reads them sees the text alone.
        let flags = [(modifiers.ignore_case, 'i'), (modifiers.multi_line, 'm'), (modifiers.dot_all, 's')];
        let flags: String = flags.iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| *flag).collect();
        let flagged = if flags.is_empty() { text.clone() } else { format!("(?{flags}){text}") };
        if nested_repeats(&flagged) > MAX_NESTED_REPEATS {
            return refuse(format!(
                "invalid regex '{text}': counted repetitions inside of counted repetitions, over {MAX_NESTED_REPEATS} in all"
            ));
        }
        match Expression::new(&flagged) {
            Ok(expression) => Ok(self.atom(scope, Test::Regex(expression.into()))),
            Err(error) => refuse(format!("invalid regex '{text}': {error}")),
        }
    }

    fn plain(&mut self, scope: Scope, modifiers: &Modifiers, value: &SigmaValue) -> Result<Expr, BuildError> {
        let text = match value {
            SigmaValue::Null => return Ok(self.atom(scope, Test::Null)),
            SigmaValue::Bool(truth) => SigmaString::from_raw(if *truth { "true" } else { "false" }),
            SigmaValue::Integer(number) => SigmaString::from_raw(&number.to_string()),
            SigmaValue::Float(number) => SigmaString::from_raw(&number.to_string()),
            SigmaValue::String(text) => text.clone(),
        };
        let mut forms: Vec<Expr> = Vec::new();
        for text in self.encoded(&text, &modifiers.encoders)? {
            let pattern = Pattern::new(&text, modifiers.anchor, modifiers.cased);
            let test = if modifiers.cased { Test::Cased(pattern) } else { Test::Folded(pattern) };
            forms.push(self.atom(scope, test));
        }
        Ok(if forms.len() == 1 { forms.remove(0) } else { Expr::Any(forms) })
    }

    /// The forms that a text takes on its way through the encoders.
    fn encoded(&self, text: &SigmaString, encoders: &[Encoder]) -> Result<Vec<SigmaString>, BuildError> {
        if encoders.len() > MAX_ENCODERS {
            let (count, text) = (encoders.len(), &text.original);
            return refuse(format!("invalid modifier combination: {count} encoders of {text:?}, the limit is {MAX_ENCODERS}"));
        }
        let mut forms = vec![text.clone()];
        // Units of sixteen bits are bytes, no text, until something encodes them.
        let mut units: Option<Encoder> = None;
        for encoder in encoders {
            let mut next = Vec::new();
            for form in forms {
                match encoder {
                    Encoder::Utf16le | Encoder::Utf16be | Encoder::Utf16 => {
                        units = Some(*encoder);
                        next.push(form);
                    }
                    Encoder::Windash => next.extend(encode::windash(&form.original).iter().map(|text| SigmaString::new(text))),
                    Encoder::Expand => next.extend(self.expanded(&form)),
                    Encoder::Base64 => next.push(SigmaString::from_raw(&encode::base64(&bytes(&form, units)?))),
                    Encoder::Base64Offset => {
                        next.extend(encode::base64_offsets(&bytes(&form, units)?).iter().map(|text| SigmaString::from_raw(text)));
                    }
                }
                if next.len() > MAX_FORMS {
                    return refuse(format!(
                        "invalid modifier combination: {:?} takes more than {MAX_FORMS} forms",
                        text.original
                    ));
                }
            }
            if matches!(encoder, Encoder::Base64 | Encoder::Base64Offset) {
                units = None;
            }
            forms = next;
        }
        match units {
            None => Ok(forms),
            // Without base64 after it, the units are looked for as the text that their bytes make.
            Some(_) => {
                forms.iter().map(|form| Ok(SigmaString::from_raw(&String::from_utf8_lossy(&bytes(form, units)?)))).collect()
            }
        }
    }

    /// Every value of every `%name%` in a text. A name without values stays as it is written, so that nothing matches it;
    /// `rules inert` names such rules.
    fn expanded(&self, text: &SigmaString) -> Vec<SigmaString> {
        let mut forms = vec![text.original.clone()];
        // Each round replaces one name in every form; a name whose value names another is followed three times.
        for _ in 0..3 {
            let Some(name) = forms.first().and_then(|form| placeholder(form)).map(str::to_string) else { break };
            let Some(values) = self.placeholders.get(&name) else { break };
            let mark = format!("%{name}%");
            forms = forms.iter().flat_map(|form| values.iter().map(|value| form.replace(&mark, value))).collect();
        }
        forms.iter().map(|form| SigmaString::new(form)).collect()
    }

    fn atom(&mut self, scope: Scope, test: Test) -> Expr {
        let atoms = &mut self.program.atoms;
        let id = *self.known.entry((scope, test.key())).or_insert_with(|| {
            atoms.push(Atom { scope, test });
            AtomId(atoms.len() as u32 - 1)
        });
        Expr::Atom(id)
    }
}

fn bytes(text: &SigmaString, units: Option<Encoder>) -> Result<Vec<u8>, BuildError> {
    let Some(plain) = text.as_plain() else { return refuse("incompatible value: what is encoded has no wildcards") };
    Ok(match units {
        Some(Encoder::Utf16le) => encode::utf16le(&plain),
        Some(Encoder::Utf16be) => encode::utf16be(&plain),
        Some(Encoder::Utf16) => encode::utf16(&plain),
        _ => plain.into_bytes(),
    })
}

fn placeholder(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once('%')?;
    let (name, _) = rest.split_once('%')?;
    (!name.is_empty() && !name.contains(char::is_whitespace)).then_some(name)
}

/// The parser writes brackets of field names as `\[`; names are flat here.
fn unescaped(name: &str) -> String {
    name.replace("\\[", "[").replace("\\]", "]")
}

/// How often counted repetitions that stand inside of others repeat the innermost part, at most; 1 where none does. An
/// expression that does not parse is refused by whoever compiles it.
fn nested_repeats(expression: &str) -> u64 {
    fn inside(hir: &Hir) -> (u64, u32) {
        let (times, depth) = hir.kind().subs().iter().map(inside).max().unwrap_or((1, 0));
        match hir.kind() {
            HirKind::Repetition(repetition) => {
                let most = u64::from(repetition.max.unwrap_or(repetition.min));
                if most > 1 { (times.saturating_mul(most), depth + 1) } else { (times, depth) }
            }
            _ => (times, depth),
        }
    }
    let Ok(hir) = regex_syntax::Parser::new().parse(expression) else { return 1 };
    // One repetition by itself is limited where rules are read.
    match inside(&hir) {
        (times, 2..) => times,
        _ => 1,
    }
}

fn number(value: &SigmaValue) -> Option<Number> {
    match value {
        SigmaValue::Integer(number) => Some(Number::Whole(*number)),
        SigmaValue::Float(number) => Some(Number::Fraction(*number)),
        SigmaValue::String(text) => match text.original.trim().parse() {
            Ok(number) => Some(Number::Whole(number)),
            Err(_) => text.original.trim().parse().ok().map(Number::Fraction),
        },
        SigmaValue::Bool(_) | SigmaValue::Null => None,
    }
}

fn expression(condition: &ConditionExpr, selections: &[Selection]) -> Result<Expr, BuildError> {
    let each = |list: &[ConditionExpr]| list.iter().map(|inner| expression(inner, selections)).collect::<Result<Vec<_>, _>>();
    Ok(match condition {
        ConditionExpr::And(list) => Expr::All(each(list)?),
        ConditionExpr::Or(list) => Expr::Any(each(list)?),
        ConditionExpr::Not(inner) => Expr::Not(Box::new(expression(inner, selections)?)),
        ConditionExpr::Identifier(name) => match selections.iter().position(|selection| *selection.name == **name) {
            Some(index) => Expr::Selection(index),
            None => return refuse(format!("unknown detection identifier: {name}")),
        },
        ConditionExpr::Selector { quantifier, pattern } => {
            let chosen = chosen(pattern, selections);
            if chosen.is_empty() {
                return refuse(format!("condition: '{pattern}' names no selection"));
            }
            match quantifier {
                Quantifier::Any => Expr::Any(chosen),
                Quantifier::All => Expr::All(chosen),
                Quantifier::Count(wanted) => Expr::AtLeast(usize::try_from(*wanted).unwrap_or(usize::MAX), chosen),
            }
        }
    })
}

/// `them` leaves out names that begin with an underscore (specification, "Condition").
fn chosen(pattern: &SelectorPattern, selections: &[Selection]) -> Vec<Expr> {
    let fits = |name: &str| match pattern {
        SelectorPattern::Them => !name.starts_with('_'),
        SelectorPattern::Pattern(pattern) => Pattern::new(&SigmaString::new(pattern), Anchor::Whole, true).fits(name.as_bytes()),
    };
    let fitting = selections.iter().enumerate().filter(|(_, selection)| fits(&selection.name));
    fitting.map(|(index, _)| Expr::Selection(index)).collect()
}
