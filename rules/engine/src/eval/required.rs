//! What a regular expression requires of the values that it finds something in, read off the expression when rules are
//! loaded: some bytes, some texts in some order. Asking for that is much cheaper than to run the expression, and often
//! enough to know that it finds nothing.

use regex_syntax::Parser;
use regex_syntax::hir::literal::{ExtractKind, Extractor};
use regex_syntax::hir::{Class, Hir, HirKind};

use super::pattern::fold;

/// Alternatives of one expression that are looked for; more make it one that is judged by itself.
const MAX_LITERALS: usize = 64;

/// What an ASCII value must have for an expression to find something in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Required {
    /// Bytes that it has at least.
    pub(crate) length: usize,
    /// Of these texts it contains one; empty when nothing is known.
    pub(crate) any_of: Texts,
    run: Option<Run>,
    chain: Chain,
}

/// So few texts are looked for one by one: what they begin with alike is short, and may stand in many places.
const FEW: usize = 2;

/// Texts, folded, of which one is looked for: where there are more than a few, first for what all begin with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Texts {
    /// In order; none begins with another.
    all: Box<[Box<str>]>,
    /// How many bytes all begin with.
    common: usize,
    /// The ASCII bytes that stand behind those.
    behind: u128,
}

impl Texts {
    fn of(mut texts: Vec<String>) -> Self {
        texts.sort_unstable();
        // Where the longer one stands, the shorter one does.
        texts.dedup_by(|longer, shorter| longer.starts_with(&*shorter));
        let common = match (texts.first(), texts.last()) {
            (Some(first), Some(last)) => first.bytes().zip(last.bytes()).take_while(|(one, other)| one == other).count(),
            _ => 0,
        };
        let behind = texts.iter().filter_map(|text| text.as_bytes().get(common)).fold(0, |bits, byte| bits | bit(*byte));
        Self { all: texts.into_iter().map(String::into_boxed_str).collect(), common, behind }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Box<str>] {
        &self.all
    }

    /// Whether one of them stands in a folded ASCII value.
    fn stand_in(&self, value: &[u8]) -> bool {
        let Some(first) = self.all.first().map(|text| text.as_bytes()) else { return false };
        if self.common == 0 || self.all.len() <= FEW {
            return self.all.iter().any(|text| beffroi_simd::find(value, text.as_bytes()).is_some());
        }
        let mut rest = value;
        while let Some(at) = beffroi_simd::find(rest, &first[..self.common]) {
            let found = &rest[at..];
            if found.get(self.common).is_some_and(|byte| self.behind & bit(*byte) != 0) && self.begin(found) {
                return true;
            }
            rest = &found[1..];
        }
        false
    }

    /// Whether a value begins with one of them: with the last one that is not behind it in their order.
    fn begin(&self, value: &[u8]) -> bool {
        let behind = self.all.partition_point(|text| text.as_bytes() <= value);
        behind.checked_sub(1).and_then(|last| self.all.get(last)).is_some_and(|text| value.starts_with(text.as_bytes()))
    }
}

/// The bit of an ASCII byte.
fn bit(byte: u8) -> u128 {
    1u128.checked_shl(byte.into()).unwrap_or(0)
}

/// Texts that follow one another, folded: one of each link, behind the one of the link before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Chain(Box<[Box<[String]>]>);

/// Links that are asked for: those of the longest public expressions.
const MAX_LINKS: usize = 16;
/// Links of more texts cost more than they tell.
const MAX_LINK: usize = 8;

impl Chain {
    /// The chain that an expression asks for; empty where it would say nothing that a single text does not.
    fn of(hir: &Hir) -> Self {
        let links = links(hir).into_iter().filter(|texts| texts.len() <= MAX_LINK).take(MAX_LINKS);
        let links: Box<[Box<[String]>]> = links.map(Vec::into_boxed_slice).collect();
        Self(if links.len() > 1 { links } else { Box::default() })
    }

    /// Whether it stands in a folded ASCII value. What ends first leaves most for what follows, so nothing is tried twice.
    fn stands_in(&self, value: &[u8]) -> bool {
        let after = |from: usize, texts: &[String]| {
            let rest = value.get(from..)?;
            let ends = texts.iter().filter_map(|text| Some(beffroi_simd::find(rest, text.as_bytes())? + text.len()));
            Some(from + ends.min()?)
        };
        self.0.iter().try_fold(0, |from, texts| after(from, texts)).is_some()
    }
}

/// Bytes of one kind that stand side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    /// By folded byte.
    bytes: Box<[bool; 128]>,
    length: usize,
}

/// Shorter runs stand in too many values to be worth a look.
const MIN_RUN: u32 = 8;

impl Run {
    /// The longest run that an expression asks for.
    fn of(hir: &Hir) -> Option<Self> {
        match hir.kind() {
            HirKind::Capture(capture) => Self::of(&capture.sub),
            HirKind::Concat(list) => list.iter().filter_map(Self::of).max_by_key(|run| run.length),
            HirKind::Repetition(repetition) if repetition.min > 0 => match class_of(&repetition.sub) {
                Some(class) if repetition.min >= MIN_RUN => {
                    Some(Self { bytes: folded_bytes(class), length: repetition.min as usize })
                }
                _ => Self::of(&repetition.sub),
            },
            _ => None,
        }
    }

    /// Whether it stands in a folded ASCII value. What ends a run is looked for from its end, so most bytes are passed over.
    fn stands_in(&self, value: &[u8]) -> bool {
        let is_other = |byte: &u8| self.bytes.get(usize::from(*byte)) != Some(&true);
        let mut start = 0;
        while let Some(part) = value.get(start..start + self.length) {
            match part.iter().rposition(is_other) {
                Some(other) => start += other + 1,
                None => return true,
            }
        }
        false
    }
}

/// The class that a part is made of.
fn class_of(hir: &Hir) -> Option<&Class> {
    match hir.kind() {
        HirKind::Class(class) => Some(class),
        HirKind::Capture(capture) => class_of(&capture.sub),
        _ => None,
    }
}

/// The ASCII bytes of a class, folded.
fn folded_bytes(class: &Class) -> Box<[bool; 128]> {
    let mut bytes = Box::new([false; 128]);
    let mut take = |start: u32, end: u32| {
        (start..=end.min(0x7f)).for_each(|code| bytes[usize::from((code as u8).to_ascii_lowercase())] = true);
    };
    match class {
        Class::Unicode(class) => class.iter().for_each(|range| take(range.start().into(), range.end().into())),
        Class::Bytes(class) => class.iter().for_each(|range| take(range.start().into(), range.end().into())),
    }
    bytes
}

impl Required {
    /// What this expression requires.
    pub(crate) fn of(expression: &str) -> Self {
        let Ok(hir) = Parser::new().parse(expression) else { return Self::default() };
        let inner = literals(&hir);
        let known = [inner, outer(&hir, ExtractKind::Prefix), outer(&hir, ExtractKind::Suffix)].into_iter().flatten();
        let best = known.max_by_key(|texts| (shortest(texts), std::cmp::Reverse(texts.len()))).unwrap_or_default();
        let length = hir.properties().minimum_len().unwrap_or(0);
        Self { length, any_of: Texts::of(best), run: Run::of(&hir), chain: Chain::of(&hir) }
    }

    /// Whether a folded ASCII value has it: much cheaper than to ask the expression, and it often has not.
    pub(crate) fn stands_in(&self, value: &[u8]) -> bool {
        // The chain is asked last: it costs most, and only there in place of something that costs more.
        value.len() >= self.length
            && self.run.as_ref().is_none_or(|run| run.stands_in(value))
            && (self.any_of.all.is_empty() || self.any_of.stand_in(value))
            && self.chain.stands_in(value)
    }
}

/// The texts that everything begins or ends with that an expression finds in ASCII values.
fn outer(hir: &Hir, kind: ExtractKind) -> Option<Vec<String>> {
    let found = Extractor::new().kind(kind).limit_total(MAX_LITERALS).extract(hir);
    let ascii = found
        .literals()?
        .iter()
        .filter_map(|literal| std::str::from_utf8(literal.as_bytes()).ok())
        .filter(|text| text.is_ascii());
    let mut texts: Vec<String> = ascii.map(fold).collect();
    texts.sort_unstable();
    texts.dedup();
    (shortest(&texts) >= 1).then_some(texts)
}

fn shortest(texts: &[String]) -> usize {
    texts.iter().map(String::len).min().unwrap_or(0)
}

/// Texts, folded, of which every ASCII value that the expression finds something in contains at least one.
fn literals(hir: &Hir) -> Option<Vec<String>> {
    let found = match hir.kind() {
        HirKind::Literal(literal) => vec![fold(std::str::from_utf8(&literal.0).ok()?)],
        HirKind::Class(class) => vec![letter(class)?.to_string()],
        HirKind::Capture(capture) => return literals(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => return literals(&repetition.sub),
        HirKind::Alternation(list) => {
            let mut union = Vec::new();
            for inner in list {
                union.extend(literals(inner)?);
            }
            union
        }
        HirKind::Concat(_) => return best_of(links(hir)),
        _ => return None,
    };
    (found.len() <= MAX_LITERALS && found.iter().all(|text| !text.is_empty())).then_some(found)
}

/// The link of a sequence whose shortest text is the longest.
fn best_of(links: Vec<Vec<String>>) -> Option<Vec<String>> {
    links.into_iter().max_by_key(|texts| (shortest(texts), std::cmp::Reverse(texts.len())))
}

/// Texts that stand behind each other in every ASCII value that the expression finds something in: of each link one.
/// Neighbouring letters are one text.
fn links(hir: &Hir) -> Vec<Vec<String>> {
    let list = match hir.kind() {
        HirKind::Capture(capture) => return links(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => return links(&repetition.sub),
        HirKind::Concat(list) => list,
        _ => return literals(hir).into_iter().collect(),
    };
    let (mut found, mut run) = (Vec::new(), String::new());
    for inner in list {
        match single(inner) {
            Some(text) => run.push_str(&text),
            None => {
                found.push(vec![std::mem::take(&mut run)]);
                found.extend(links(inner));
            }
        }
    }
    found.push(vec![run]);
    found.retain(|texts| shortest(texts) > 0);
    found
}

/// The only text, folded, that a part stands for in ASCII values.
fn single(hir: &Hir) -> Option<String> {
    match hir.kind() {
        HirKind::Literal(literal) => std::str::from_utf8(&literal.0).ok().map(fold),
        HirKind::Class(class) => letter(class).map(String::from),
        HirKind::Capture(capture) => single(&capture.sub),
        _ => None,
    }
}

/// The one ASCII letter, in both cases, that a class stands for among ASCII characters.
fn letter(class: &Class) -> Option<char> {
    let mut found: Option<char> = None;
    let mut take = |start: u32, end: u32| {
        (start..=end.min(0x7f)).take(3).all(|code| {
            let letter = char::from(code as u8).to_ascii_lowercase();
            *found.get_or_insert(letter) == letter
        })
    };
    let is_one = match class {
        Class::Unicode(class) => class.iter().all(|range| take(u32::from(range.start()), u32::from(range.end()))),
        Class::Bytes(class) => class.iter().all(|range| take(u32::from(range.start()), u32::from(range.end()))),
    };
    if is_one { found } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(expression: &str) -> Option<Vec<String>> {
        literals(&Parser::new().parse(expression).unwrap())
    }

    #[test]
    fn an_expression_tells_the_longest_text_that_it_cannot_do_without() {
        assert_eq!(of(r"\\dx?CurL\s+.*htt"), Some(vec!["curl".to_string()]));
        assert_eq!(of(r"(?i)c[uU]rl[0-9]"), Some(vec!["curl".to_string()]));
        assert_eq!(of(r"(abc|de)+x?"), Some(vec!["abc".to_string(), "de".to_string()]));
        assert_eq!(of(r"(?i)kiss"), Some(vec!["kiss".to_string()]));
        assert_eq!(of(r"a*|bcd"), None);
        assert_eq!(of(r"[0-9]{4}"), None);
        assert_eq!(of(r""), None);
    }

    #[test]
    fn an_expression_tells_what_it_begins_or_ends_with_and_how_short_a_value_it_fits() {
        let of = Required::of;
        let texts = |required: &Required| required.any_of.all().iter().map(ToString::to_string).collect::<Vec<_>>();
        let required = of(r#"\\[a-z]{1,32}\.[A-Z]{1,6}\.[ "']"#);
        assert_eq!((texts(&required), required.length), (vec![". ".into(), ".\"".into(), ".'".into()], 6));
        let required = of(r"\s[a-f]{64}\s[0-9]{16}");
        assert_eq!((texts(&required).len() > 1, required.length), (true, 82));
        assert!(texts(&of(".*")).is_empty() && of(".*").length == 0);
    }

    #[test]
    fn one_of_some_texts_is_found_wherever_it_stands() {
        let lists: [&[&str]; 6] = [
            &[". ", ".\"", ".'"],
            &["http://0", "http://1", "https://0", "http://01"],
            &["abc", "xyz"],
            &["a", "ab", "ba"],
            &["aab", "aac", "aa\u{7f}", "aaba"],
            &["one"],
        ];
        for list in lists {
            let texts = Texts::of(list.iter().map(ToString::to_string).collect());
            let has = |value: &str| list.iter().any(|text| value.contains(text));
            let others = ["", "a", "aa", "http:/", "x.", "..", "\u{e9}", "http://2 https:// ", "aaaaaaaaaaaaaaaaa"];
            let parts: Vec<&str> = list.iter().chain(&others).copied().collect();
            for (front, text) in parts.iter().flat_map(|front| parts.iter().map(move |text| (front, text))) {
                for value in [format!("{front}{text}"), format!("{front}{text}{front}"), front.chars().skip(1).collect()] {
                    assert!(!value.is_ascii() || texts.stand_in(value.as_bytes()) == has(&value), "{list:?} in {value}");
                }
            }
        }
        assert!(!Texts::default().stand_in(b"x"));
    }

    #[test]
    fn texts_of_an_expression_are_asked_for_in_their_order() {
        let expression = r#"cmd.{0,5}(?:/c|/R).+(PowerShell){2}(x|yz)?\""#;
        let (required, regex) = (Required::of(expression), regex::Regex::new(&format!("(?i){expression}")).unwrap());
        let has = |value: &str| required.stands_in(fold(value).as_bytes());
        let found = r#"-r cmd.exe /C a /r POWERSHELLpowershellYZ""#;
        assert!(regex.is_match(found) && has(found));
        for other in [r#"powershellpowershell cmd /c ""#, r#"cmd powershellpowershell /c ""#, r#"cmd /c " powershellpowershell"#]
        {
            assert!(!regex.is_match(other) && !has(other), "{other}");
        }
        assert_eq!(Required::of("curl.*").chain, Chain::default(), "one text is asked for already");
        assert!(Required::of("a.*a.*a").stands_in(b"xaaa") && !Required::of("a.*a.*a").stands_in(b"xaxa"));
        assert!(Required::of("(ab|b).*bc").stands_in(b"abc bc") && !Required::of("(ab|b).*bc").stands_in(b"abc"));
    }

    #[test]
    fn a_value_that_an_expression_finds_something_in_has_what_it_requires() {
        let (mut found, mut refused) = (0, 0);
        for expression in
            [r"\s[a-fA-F0-9]{9}\s", r"(?i)x([A-F]){8,}|y", r"(?i)x([A-F]){8,}y?", r"([^a-z]{8})+!", r"\w{8}[ -]*\w{9,12}"]
        {
            let (required, regex) = (Required::of(expression), regex::Regex::new(expression).unwrap());
            for (length, other) in (0..14).flat_map(|length| (0..=length).map(move |other| (length, other))) {
                for letter in ["a", "F", "7", "Z", "-"] {
                    for end in ["", " ", "!", "y", "-123456789"] {
                        let run = format!("{}{}{}", letter.repeat(other), [" ", "A"][length % 2], letter.repeat(length - other));
                        for value in [format!(" {run}{end}"), format!("x{run}{end}"), format!("ABC def X{run} {end}")] {
                            let stands = required.stands_in(fold(&value).as_bytes());
                            assert!(stands || !regex.is_match(&value), "{expression} in {value}");
                            found += usize::from(regex.is_match(&value));
                            refused += usize::from(!stands);
                        }
                    }
                }
            }
        }
        assert!(found > 100 && refused > 100, "{found} found, {refused} refused");
        assert!(Required::of(r"(?i)x([A-F]){8,}|y").run.is_none(), "an alternative needs no run");
    }
}
