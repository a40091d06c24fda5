//! Rules and events made at random from few words, so that they meet.
#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "tests; each program uses a part")]

use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

const FIELDS: [&str; 5] = ["Image", "CommandLine", "User", "Port", "Address"];
/// Pieces of values: parts of each other, of several lengths, with letters whose case is more than a bit.
const WORDS: [&str; 26] = [
    "powershell",
    "PowerShell.exe",
    "\\\\temp\\\\",
    "C:\\\\Windows\\\\",
    "-enc",
    "-e",
    " ",
    "/",
    "a",
    "ab",
    "abc",
    "abcd",
    "bcde",
    "whoami /all",
    "SeDebugPrivilege",
    "4444",
    "10.0.0.7",
    "::ffff:10.0.0.7",
    "é",
    "ÉTÉ",
    "ΣΑΣ",
    "ſ",
    "İ",
    "curl http://",
    "x.exe",
    "0",
];

/// What rules may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taste {
    /// Everything that the evaluator knows.
    Everything,
    /// What rsigma-eval judges by the specification: texts in ASCII, named fields, no null, no address in
    /// IPv6 clothes.
    Common,
}

/// Processor time of this thread: what other programs do does not count.
pub fn processor_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
    Duration::from(time)
}

fn words(taste: Taste, most: usize) -> impl Strategy<Value = String> {
    let words: Vec<&'static str> =
        WORDS.into_iter().filter(|word| taste == Taste::Everything || (word.is_ascii() && !word.starts_with(':'))).collect();
    let cased = (proptest::sample::select(words), 0..3u8).prop_map(|(word, case)| match case {
        0 => word.to_uppercase(),
        1 => word.to_lowercase(),
        _ => word.to_string(),
    });
    proptest::collection::vec(cased, 1..=most).prop_map(|words| words.concat())
}

/// An event: flat, values of all kinds, lists among them.
pub fn event(taste: Taste) -> impl Strategy<Value = Map<String, Json>> {
    let text = words(taste, 4).prop_map(|text| Json::from(text.replace("\\\\", "\\")));
    let one = prop_oneof![
        8 => text,
        1 => Just(Json::Null),
        1 => Just(json!(4444)),
        1 => Just(json!(-3)),
        1 => Just(json!(true)),
        1 => Just(json!(1.5)),
        1 => Just(json!("")),
    ];
    let value = prop_oneof![9 => one.clone(), 1 => proptest::collection::vec(one, 0..3).prop_map(Json::from)];
    let fields: Vec<&'static str> = FIELDS.into_iter().chain(["Unknown"]).collect();
    proptest::collection::btree_map(proptest::sample::select(fields), value, 0..6)
        .prop_map(|members| members.into_iter().map(|(name, value)| (name.to_string(), value)).collect())
}

/// A rule with one to three selections.
pub fn rule(taste: Taste) -> impl Strategy<Value = Json> {
    let conditions: &'static [&'static str] = &[
        "s0",
        "s0 and s1",
        "s0 or s1",
        "s0 and not s1",
        "not s0",
        "1 of s*",
        "all of s*",
        "s0 and (s1 or s2)",
        "2 of s*",
        "s0 and not 1 of s*",
        "not (s0 and s1)",
        "all of them",
        "(s0 or s1) and not s2",
        "s0 or not s1",
    ];
    let selections = proptest::collection::vec(selection(taste), 3);
    (selections, proptest::sample::select(conditions)).prop_map(|(selections, condition)| {
        let mut detection = Map::new();
        for (number, selection) in selections.into_iter().enumerate() {
            detection.insert(format!("s{number}"), selection);
        }
        detection.insert("condition".into(), condition.into());
        json!({"title": "t", "logsource": {"category": "process_creation", "product": "linux"}, "detection": detection})
    })
}

fn selection(taste: Taste) -> BoxedStrategy<Json> {
    let items = proptest::collection::vec(item(taste), 1..=3).prop_map(|items| Json::Object(items.into_iter().collect()));
    if taste == Taste::Common {
        return items.boxed();
    }
    let keywords = proptest::collection::vec(words(taste, 2).prop_map(Json::from), 1..=3).prop_map(Json::from);
    let all = proptest::collection::vec(words(taste, 2).prop_map(Json::from), 1..=3).prop_map(|list| json!({ "|all": list }));
    prop_oneof![6 => items.clone(), 1 => proptest::collection::vec(items, 1..=2).prop_map(Json::from), 1 => keywords, 1 => all]
        .boxed()
}

fn item(taste: Taste) -> BoxedStrategy<(String, Json)> {
    let field = proptest::sample::select(FIELDS.to_vec());
    let text = (words(taste, 2), 0..8u8).prop_map(|(text, wild)| match wild {
        0 => format!("*{text}"),
        1 => format!("{text}*"),
        2 => format!("{text}*{text}"),
        3 => text.chars().enumerate().map(|(at, letter)| if at == 1 { '?' } else { letter }).collect(),
        _ => text,
    });
    let plain = words(taste, 2);
    let modifiers: &'static [&'static str] = match taste {
        Taste::Everything => &["", "|contains", "|startswith", "|endswith", "|contains|all", "|cased", "|contains|cased", "|neq"],
        Taste::Common => &["", "|contains", "|startswith", "|endswith", "|contains|all"],
    };
    let modifiers = || proptest::sample::select(modifiers);
    let listed = proptest::collection::vec(plain.prop_map(Json::from), 1..=4).prop_map(Json::from);
    let of_lists = (field.clone(), modifiers(), listed).prop_map(|(field, modifier, list)| (format!("{field}{modifier}"), list));
    if taste == Taste::Common {
        // It reads a wildcard before `startswith` and its like as a letter, against the specification.
        let of_one = (field, text).prop_map(|(field, text)| (field.to_string(), Json::from(text)));
        return prop_oneof![of_lists, of_one].boxed();
    }
    let of_one = (field.clone(), modifiers(), text);
    let of_one = of_one.prop_map(|(field, modifier, text)| (format!("{field}{modifier}"), Json::from(text)));
    let expressions: &'static [&'static str] = &[
        "(?i)power.?shell",
        "^.*\\.exe$",
        "abc|whoami",
        "[0-9]{2,}",
        "(ab)+c",
        "\\\\temp",
        "(?i)k|s",
        "Se[A-Z]\\w+",
        "(?i)\u{e9}t",
    ];
    let regex = (field.clone(), proptest::sample::select(expressions), proptest::sample::select(&["", "|i", "|s"][..]))
        .prop_map(|(field, text, flag)| (format!("{field}|re{flag}"), text.into()));
    let odd = proptest::sample::select(vec![
        ("", json!(null)),
        ("", json!(4444)),
        ("", json!("")),
        ("", json!("*")),
        ("", json!(["abc", null])),
        ("|exists", json!(true)),
        ("|exists", json!(false)),
        ("|gt", json!(3)),
        ("|lte", json!(4444)),
        ("|cidr", json!("10.0.0.0/8")),
        ("|fieldref", json!("User")),
        ("|fieldref|startswith", json!("Image")),
        ("|windash|contains", json!(" -enc")),
        ("|base64offset|contains", json!("abc")),
        ("|contains", json!("")),
        ("|cased", json!("\u{3a3}")),
        ("|contains|cased", json!("\u{3a3}")),
        ("|cidr", json!("::ffff:0:0/96")),
    ]);
    let odd = (field, odd).prop_map(|(field, (modifier, value))| (format!("{field}{modifier}"), value));
    prop_oneof![3 => of_lists, 3 => of_one, 1 => regex, 2 => odd].boxed()
}
