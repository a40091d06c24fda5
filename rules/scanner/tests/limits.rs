//! Bad rule files are reported and the rest is used; a scan that is cut short is never called clean.

use std::path::Path;
use std::time::{Duration, Instant};

use beffroi_scanner::{Outcome, PackError, PackProblem, RulePack, ScanLimits, Scanner, Unknown};

const GOOD: &str = "rule good : tag { meta: severity = \"high\" strings: $a = \"needle\" condition: $a }";

fn pack(text: &str) -> RulePack {
    let (pack, problems) = RulePack::compile_texts([("test.yar", text)]);
    assert_eq!(problems, []);
    pack
}

#[test]
fn a_match_names_rule_namespace_tags_meta_and_places() {
    let pack = pack(GOOD);
    let report = Scanner::new(&pack, ScanLimits::default()).scan_bytes(b"a needle, a needle");
    assert_eq!(report.outcome, Outcome::Matched);
    let found = &report.matches[0];
    assert_eq!(
        (found.rule.as_str(), found.namespace.as_str(), found.tags.as_slice()),
        ("good", "test", &["tag".to_string()][..])
    );
    assert_eq!(found.meta["severity"], "high");
    let places: Vec<(&str, u64, u64)> = found.strings.iter().map(|at| (at.name.as_str(), at.offset, at.len)).collect();
    assert_eq!(places, [("$a", 2, 6), ("$a", 12, 6)]);
    let report = Scanner::new(&pack, ScanLimits::default()).scan_bytes(b"");
    assert_eq!(report.outcome, Outcome::Clean);
}

#[test]
fn content_beyond_the_size_limit_is_unknown_unless_a_rule_matches_before_it() {
    let pack = pack(GOOD);
    let limits = ScanLimits { max_bytes: 10, ..ScanLimits::default() };
    let mut scanner = Scanner::new(&pack, limits);
    let too_large = Unknown::TooLarge { bytes: 16, scanned: 10 };
    let report = scanner.scan_bytes(b"xxxxxxxxxxneedle");
    assert_eq!((report.outcome, report.matches.len()), (Outcome::Unknown(too_large.clone()), 0));
    let report = scanner.scan_bytes(b"needlexxxxxxxxxx");
    assert_eq!((report.outcome, report.incomplete), (Outcome::Matched, Some(too_large)));
    assert_eq!(scanner.scan_bytes(b"xxxxxxxxxx").outcome, Outcome::Clean);
}

#[test]
fn a_scan_that_takes_too_long_is_unknown() {
    let slow = "rule slow { condition: for all i in (0..2000000000) : (uint8(i % filesize) != 255) }";
    let pack = pack(slow);
    let limits = ScanLimits { timeout: Duration::from_millis(500), ..ScanLimits::default() };
    let start = Instant::now();
    let report = Scanner::new(&pack, limits).scan_bytes(&[0u8; 4096]);
    assert_eq!(report.outcome, Outcome::Unknown(Unknown::Timeout(500)));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}

#[test]
fn rules_that_ask_for_the_name_of_a_file_are_told_it() {
    let text = "rule named { condition: filename == \"a.sh\" and extension == \".sh\" and filepath contains \"/srv\" }\n\
                rule owned { condition: owner == \"nobody\" or filetype == \"x\" }";
    let pack = pack(text);
    let mut scanner = Scanner::new(&pack, ScanLimits::default());
    assert_eq!(scanner.scan_file_content(Path::new("/srv/x/a.sh"), b"x").outcome, Outcome::Matched);
    // The name of one scan must not reach the next.
    assert_eq!(scanner.scan_bytes(b"x").outcome, Outcome::Clean);
    assert_eq!(scanner.scan_file_content(Path::new("/srv/x/b.sh"), b"x").outcome, Outcome::Clean);
}

#[test]
fn matches_of_one_string_are_bounded() {
    let pack = pack(GOOD);
    let limits = ScanLimits { max_matches: 5, ..ScanLimits::default() };
    let report = Scanner::new(&pack, limits).scan_bytes("needle".repeat(10_000).as_bytes());
    assert_eq!(report.matches[0].strings.len(), 5);
    let many = Scanner::new(&pack, ScanLimits::default()).scan_bytes("needle".repeat(10_000).as_bytes());
    assert!(many.matches[0].strings.len() <= beffroi_scanner::limits::MAX_REPORTED_STRINGS);
}

/// The problems of a text that stands beside a good one, which must load.
fn problems(text: &str) -> Vec<PackProblem> {
    let (pack, problems) = RulePack::compile_texts([("bad.yar", text), ("good.yar", GOOD)]);
    assert!(pack.rules().iter().any(|rule| rule.rule == "good"), "the good rule is lost beside {text:.60}");
    assert!(problems.iter().all(|problem| problem.path == Path::new("bad.yar")));
    problems
}

#[test]
fn every_kind_of_bad_rule_is_reported_with_its_line() {
    let cases = [
        ("rule a {\n  condition: $x\n}", 2, "unknown pattern"),
        ("rule a {\n  condition: nothing\n}", 2, "unknown identifier"),
        ("rule a {\n  strings:\n    $a = \"xyz\"\n  condition: true\n}", 3, "unused pattern"),
        ("rule a {\n  strings:\n    $a = /abc[z-a]def/\n  condition: $a\n}", 3, "regular expression"),
        ("rule a {\n  condition:\n}", 3, "syntax error"),
        ("import \"cuckoo\"\nrule a { condition: cuckoo.x }", 1, "unknown module"),
        ("\ninclude \"/etc/passwd\"\nrule a { condition: true }", 2, "include"),
    ];
    for (text, line, part) in cases {
        let found = problems(text);
        assert!(!found.is_empty(), "{text}");
        assert_eq!(found[0].line, line, "{}", found[0]);
        assert!(found[0].reason.contains(part), "{}", found[0]);
        assert!(!found[0].hint.is_empty());
    }
}

#[test]
fn a_bad_rule_does_not_take_the_good_ones_of_its_file_with_it() {
    let text = format!("rule bad {{ condition: nothing }}\n{GOOD}");
    let (pack, problems) = RulePack::compile_texts([("mixed.yar", text)]);
    assert_eq!((pack.len(), problems.len()), (1, 1));
}

#[test]
fn hostile_rule_texts_get_an_error_soon() {
    let deep = format!("rule a {{ condition: {}true{} }}", "(".repeat(50_000), ")".repeat(50_000));
    let large = " ".repeat(beffroi_scanner::limits::MAX_RULE_FILE_BYTES as usize + 1);
    let regex = format!("rule a {{ strings: $a = /{}/ condition: $a }}", "(\\w{1000}){1000}".repeat(20));
    let noise: String = (0..200_000u32).map(|at| char::from(33 + (at.wrapping_mul(7919) % 90) as u8)).collect();
    for text in [deep, large, regex, noise] {
        let start = Instant::now();
        assert!(!problems(&text).is_empty(), "{text:.60}");
        assert!(start.elapsed() < Duration::from_secs(60), "{text:.60} took {:?}", start.elapsed());
    }
}

#[test]
fn two_files_may_use_one_rule_name() {
    let (pack, problems) = RulePack::compile_texts([("a.yar", GOOD), ("b.yar", GOOD)]);
    assert_eq!((pack.len(), problems), (2, vec![]));
}

#[test]
fn a_pack_survives_its_bytes_and_damage_is_found() {
    let original = pack(GOOD);
    let bytes = original.serialize().expect("it is written");
    let read = RulePack::deserialize(&bytes).expect("it is read");
    assert_eq!((read.hash(), read.rules()), (original.hash(), original.rules()));
    assert_eq!(Scanner::new(&read, ScanLimits::default()).scan_bytes(b"needle").outcome, Outcome::Matched);
    let mut damaged = bytes.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert!(matches!(RulePack::deserialize(&damaged), Err(PackError::Damaged)));
    assert!(matches!(RulePack::deserialize(&bytes[..40]), Err(PackError::NotAPack)));
    assert!(matches!(
        RulePack::deserialize(b"no pack at all, but long enough to have a header of one, almost and more"),
        Err(PackError::NotAPack)
    ));
    assert!(matches!(RulePack::deserialize(&bytes[..bytes.len() - 9]), Err(PackError::Damaged)));
}

#[test]
fn a_folder_is_compiled_and_everything_unreadable_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("a.yar"), GOOD).expect("it is written");
    std::fs::write(folder.path().join("b.yara"), b"rule \xff").expect("it is written");
    std::fs::write(folder.path().join("notes.txt"), "no rule").expect("it is written");
    let missing = folder.path().join("missing");
    let (pack, problems) = RulePack::compile(&[folder.path(), &missing]);
    assert_eq!(pack.len(), 1);
    let mut codes: Vec<&str> = problems.iter().map(|problem| problem.code.as_str()).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["encoding", "unreadable"]);
}
