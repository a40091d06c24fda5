//! Finding all text atoms of one scope in one pass over a value: a hash of whole values, and one automaton over the
//! folded text for everything that stands inside.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;

use super::frame::Datum;
use super::pattern::{Pattern, fold};
use super::program::{AtomId, Program};
use super::test::Test;

/// What a text found by the automaton means.
#[derive(Debug, Clone, Copy)]
enum Meaning {
    /// The atom holds.
    Holds(AtomId),
    /// It holds when the text begins the value.
    Begins(AtomId),
    /// It holds when the text ends the value.
    Ends(AtomId),
    /// The atom's own test decides.
    Check(AtomId),
}

/// The text atoms of one scope.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    whole: HashMap<Box<str>, Vec<AtomId>>,
    /// Atoms that every value passes that says anything.
    present: Vec<AtomId>,
    automaton: Option<AhoCorasick>,
    meanings: Vec<Vec<Meaning>>,
}

/// A value in the forms in which it is searched; memory is reused from value to value.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    text: String,
    folded: String,
}

impl Forms {
    /// Takes a value in; false for one that says nothing.
    pub(crate) fn take(&mut self, datum: Datum<'_>) -> bool {
        use std::fmt::Write;
        self.text.clear();
        // Writing into a string cannot fail.
        let _infallible = match datum {
            Datum::Null => return false,
            Datum::Bool(truth) => write!(self.text, "{truth}"),
            Datum::Int(number) => write!(self.text, "{number}"),
            Datum::Uint(number) => write!(self.text, "{number}"),
            Datum::Float(number) => write!(self.text, "{number}"),
            Datum::Text(bytes) => {
                match std::str::from_utf8(bytes) {
                    Ok(text) => self.text.push_str(text),
                    Err(_) => self.text.push_str(&String::from_utf8_lossy(bytes)),
                }
                Ok(())
            }
        };
        self.folded.clear();
        if self.text.is_ascii() {
            self.folded.push_str(&self.text);
            self.folded.make_ascii_lowercase();
        } else {
            self.folded.push_str(&fold(&self.text));
        }
        true
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn folded(&self) -> &str {
        &self.folded
    }
}

impl Test {
    /// The longest text that every passing value contains; empty when there is none.
    pub(crate) fn longest_text(&self) -> &str {
        match self {
            Self::Folded(pattern) | Self::Cased(pattern) => pattern.longest(),
            _ => "",
        }
    }

    /// Whether a scan finds every value that passes.
    pub(crate) fn is_scanned(&self) -> bool {
        match self {
            Self::Folded(Pattern::Glob(_)) | Self::Cased(_) => !self.longest_text().is_empty(),
            Self::Folded(_) => true,
            _ => false,
        }
    }
}

impl Scan {
    /// A scan for these atoms, all of which must be scannable.
    pub(crate) fn new(program: &Program, atoms: &[AtomId]) -> Result<Self, aho_corasick::BuildError> {
        let mut scan = Self::default();
        let mut texts: Vec<Box<str>> = Vec::new();
        let mut places: HashMap<Box<str>, usize> = HashMap::new();
        for atom in atoms {
            let (text, meaning): (Box<str>, Meaning) = match &program.atoms[atom.index()].test {
                Test::Folded(Pattern::Is(text)) => {
                    scan.whole.entry(text.clone()).or_default().push(*atom);
                    continue;
                }
                Test::Folded(Pattern::Contains(text) | Pattern::Begins(text) | Pattern::Ends(text)) if text.is_empty() => {
                    scan.present.push(*atom);
                    continue;
                }
                Test::Folded(Pattern::Contains(text)) => (text.clone(), Meaning::Holds(*atom)),
                Test::Folded(Pattern::Begins(text)) => (text.clone(), Meaning::Begins(*atom)),
                Test::Folded(Pattern::Ends(text)) => (text.clone(), Meaning::Ends(*atom)),
                // A folded value contains the folded text of whatever a cased pattern fits.
                test => (fold(test.longest_text()).into(), Meaning::Check(*atom)),
            };
            let place = *places.entry(text.clone()).or_insert_with(|| {
                texts.push(text);
                scan.meanings.push(Vec::new());
                texts.len() - 1
            });
            scan.meanings[place].push(meaning);
        }
        if !texts.is_empty() {
            scan.automaton = Some(AhoCorasick::new(texts.iter().map(|text| text.as_bytes()))?);
        }
        Ok(scan)
    }

    /// Tells every atom that holds for a value; the same one may be told more than once.
    pub(crate) fn run(&self, program: &Program, datum: Datum<'_>, forms: &Forms, tell: &mut impl FnMut(AtomId)) {
        self.present.iter().copied().for_each(&mut *tell);
        let folded = forms.folded();
        if let Some(atoms) = self.whole.get(folded) {
            atoms.iter().copied().for_each(&mut *tell);
        }
        let Some(automaton) = &self.automaton else { return };
        for found in automaton.find_overlapping_iter(folded) {
            for meaning in &self.meanings[found.pattern().as_usize()] {
                match *meaning {
                    Meaning::Holds(atom) => tell(atom),
                    Meaning::Begins(atom) if found.start() == 0 => tell(atom),
                    Meaning::Ends(atom) if found.end() == folded.len() => tell(atom),
                    Meaning::Begins(_) | Meaning::Ends(_) => {}
                    Meaning::Check(atom) => {
                        if program.atoms[atom.index()].test.holds(datum, forms.text(), folded) {
                            tell(atom);
                        }
                    }
                }
            }
        }
    }

    /// Memory that it holds, roughly, in bytes.
    pub(crate) fn memory(&self) -> usize {
        let whole: usize = self.whole.iter().map(|(text, atoms)| text.len() + atoms.len() * 4 + 64).sum();
        whole + self.automaton.as_ref().map_or(0, AhoCorasick::memory_usage) + self.meanings.len() * 40
    }
}
