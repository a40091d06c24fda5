//! Real YARA rules in a real worker: rules come as texts, are compiled inside the cell, and their hits carry details.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use beffroi_scan::job::Job;
use beffroi_scan::{Launcher, RuleText, ScanError, ScanOptions, Scanner, YaraEngine};
use support::{hear, options, over, start};

/// Not a test: what the child runs.
#[test]
#[ignore = "run by the tests as the scan worker"]
fn worker_entry() {
    support::work(YaraEngine::load);
}

fn with(rules: &str) -> ScanOptions {
    let texts = vec![RuleText::named("hunt", rules.as_bytes().to_vec()).unwrap()];
    ScanOptions { rules: Vec::new(), texts, memory_bytes: 512 << 20, ..options() }
}

#[test]
fn rules_of_an_order_travel_as_texts_and_find_their_marker() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    std::fs::write(root.join("a.sh"), "some marker").unwrap();
    std::fs::write(root.join("b.sh"), "nothing").unwrap();
    let rule = "rule Hunt { meta: ticket = \"T-1\" strings: $a = \"marker\" condition: $a and extension == \".sh\" }";
    let mut scanner = start(with(rule));
    let job = Job { details: true, ..over(&root) };
    let (report, ear) = hear(&mut scanner, &job);
    assert_eq!((ear.matches(&root), report.counters.files_scanned), (vec!["a.sh".to_string()], 2));
    let hit = &ear.matched[0].hits[0];
    assert_eq!((hit.rule.as_str(), hit.namespace.as_str()), ("Hunt", "hunt"));
    assert_eq!(hit.meta, [("ticket".to_string(), "T-1".to_string())]);
    assert_eq!(hit.strings, ["0x5:6:$a: marker"]);
}

#[test]
fn a_rule_that_never_ends_is_cut_and_the_next_file_is_scanned() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    std::fs::write(root.join("1"), "slow").unwrap();
    std::fs::write(root.join("2"), "x").unwrap();
    let rule = "rule Slow { condition: uint8(0) == 0x73 and for all i in (0..2000000000) : (uint8(i % filesize) != 255) }";
    let mut scanner = start(with(rule));
    let mut job = over(&root);
    job.budgets.file_time = std::time::Duration::from_secs(1);
    let (report, ear) = hear(&mut scanner, &job);
    assert!(ear.reason("/1").contains("ms"), "{:?}", ear.unknown);
    assert_eq!((report.counters.files_timed_out, report.counters.files_unknown), (1, 1));
    assert_eq!(report.counters.files_scanned, 2);
}

#[test]
fn texts_without_any_good_rule_are_refused_at_the_start() {
    let arguments = ["worker_entry", "--exact", "--ignored", "--nocapture", "--test-threads=1", "--"];
    let program = std::env::current_exe().unwrap();
    let launcher = Launcher { program, arguments: arguments.map(Into::into).to_vec() };
    let refused = Scanner::start(with("rule Broken { condition: nothing }"), launcher);
    let Err(ScanError::Refused(why)) = refused else { panic!("it started") };
    assert!(why.contains("hunt") && why.contains("nothing"), "{why}");
}
