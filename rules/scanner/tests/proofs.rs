//! Every YARA rule that we ship compiles, says what an analyst needs, and is proven.

use std::path::{Path, PathBuf};

use beffroi_scanner::{Outcome, RulePack, ScanLimits, Scanner, proof};

fn rules() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../yara")
}

#[test]
fn every_rule_has_a_proof_and_every_proof_holds() {
    let report = proof::run(&rules());
    assert!(report.is_green(), "{report:#?}");
    assert!(report.proven >= 17, "only {} rules are proven", report.proven);
}

#[test]
fn every_rule_says_what_it_finds_how_grave_it_is_and_who_wrote_it() {
    let (pack, problems) = RulePack::compile(&[rules()]);
    assert_eq!(problems, []);
    for rule in pack.rules() {
        for key in ["description", "author", "reference", "severity", "license", "date"] {
            assert!(rule.meta.get(key).is_some_and(|value| !value.is_empty()), "{} has no {key}", rule.rule);
        }
        let severity = rule.meta["severity"].as_str();
        assert!(["informational", "low", "medium", "high", "critical"].contains(&severity), "{}", rule.rule);
    }
}

#[test]
fn the_programs_of_this_machine_are_clean() {
    let (pack, _) = RulePack::compile(&[rules()]);
    let mut scanner = Scanner::new(&pack, ScanLimits::default());
    let mut scanned = 0;
    for entry in std::fs::read_dir("/usr/bin").expect("the folder is there").flatten().take(400) {
        let is_small = std::fs::metadata(entry.path()).is_ok_and(|meta| meta.len() < 16 * 1024 * 1024);
        let Some(content) = is_small.then(|| std::fs::read(entry.path()).ok()).flatten() else { continue };
        let report = scanner.scan_bytes(&content);
        assert!(matches!(report.outcome, Outcome::Clean), "{}: {report:?}", entry.path().display());
        scanned += 1;
    }
    assert!(scanned > 20, "only {scanned} programs could be read");
}

#[test]
fn a_wrong_proof_is_not_green() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is written");
    write("a.yar", "rule A { strings: $a = \"abc\" condition: $a }\nrule B { strings: $b = \"xyz\" condition: $b }");
    assert_eq!(proof::run(folder.path()).without_proof.len(), 1);
    let b = "{name: b, rule: B, hex: 78797a}";
    let quiet =
        "{name: q, rule: A, hex: 00}, {name: q, rule: A, hex: 01}, {name: q, rule: B, hex: 00}, {name: q, rule: B, hex: 01}";
    for (text, part) in [
        (format!("fires: [{{name: a, rule: A, base64: eA==}}, {b}]\nquiet: [{quiet}]"), "does not match"),
        (format!("fires: [{b}]\nquiet: [{quiet}]"), "0 firing"),
        (format!("fires: [{{name: a, hex: '00'}}, {b}]\nquiet: [{quiet}]"), "names no rule"),
        (format!("fires: [{{name: a, rule: A}}, {b}]\nquiet: [{quiet}]"), "base64 or hex"),
        (format!("fires: [{{name: a, rule: A, hex: zz}}, {b}]\nquiet: [{quiet}]"), "bad hex"),
    ] {
        write("a.proof.yml", &text);
        let report = proof::run(folder.path());
        assert!(report.failed.iter().any(|failure| failure.why.contains(part)), "{part}: {report:?}");
    }
    write("a.proof.yml", &format!("fires: [{{name: a, rule: A, hex: '616263'}}, {b}]\nquiet: [{quiet}]"));
    assert!(proof::run(folder.path()).is_green());
}
