//! `rules check|test|inert` on rules that are good, broken, and inert.
#![allow(clippy::unwrap_used, reason = "a scratch folder that cannot be used must end its test")]

mod common;

use std::path::Path;

use common::{Ran, beffroi};

const RULE: &str = "title: Shell of a web server\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b01\nstatus: test\ndescription: x\nauthor: x\ndate: 2026-11-01\n\
    references: [https://example.org]\nlogsource: {category: CATEGORY, product: linux}\ndetection:\n  selection: {Image|endswith: /sh, ParentImage|endswith: /nginx}\n  \
    condition: selection\nfalsepositives: [none known]\nlevel: high\ntags: [attack.execution, attack.t1059.004]\nlicense: Apache-2.0\n";
const PROOF: &str = "fires:\n  - name: nginx starts a shell\n    event: {category: process_creation, product: linux, ParentImage: /usr/sbin/nginx, Image: /bin/sh}\n\
    quiet:\n  - name: nginx starts its worker\n    event: {category: process_creation, product: linux, ParentImage: /usr/sbin/nginx, Image: /usr/sbin/nginx}\n  \
    - name: login starts a shell\n    event: {category: process_creation, product: linux, ParentImage: /bin/login, Image: /bin/QUIET}\n";

fn rules(verb: &str, folder: &Path) -> Ran {
    Ran::of(&mut beffroi(&["rules", verb, folder.to_str().unwrap(), "-o", "table"]))
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

#[test]
fn good_rules_are_0_and_every_one_has_its_row() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "shell.yml", &RULE.replace("CATEGORY", "process_creation"));
    write(folder.path(), "shell.proof.yml", &PROOF.replace("QUIET", "sh"));
    let check = rules("check", folder.path());
    assert!(check.code == Some(0) && check.talk.contains("1 Sigma rules"), "{check:?}");
    let test = rules("test", folder.path());
    assert_eq!(test.code, Some(0), "{test:?}");
    assert!(test.out.contains("Shell of a web server") && test.out.contains("proven"), "{test:?}");
    assert!(test.talk.ends_with("3 passed, 0 failed\n"), "{test:?}");
    let inert = rules("inert", folder.path());
    assert!(inert.code == Some(0) && inert.out.lines().count() == 1 && inert.talk.contains("0 of 1"), "{inert:?}");
}

#[test]
fn a_bad_rule_is_2_with_file_and_line_and_the_rest_loads() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "shell.yml", &RULE.replace("CATEGORY", "process_creation"));
    write(folder.path(), "broken.yml", "title: [\n");
    let check = rules("check", folder.path());
    assert_eq!(check.code, Some(2), "{check:?}");
    assert!(
        check.out.contains("broken.yml") && check.talk.contains("1 Sigma rules") && check.talk.contains("1 refused"),
        "{check:?}"
    );
    assert_eq!(rules("inert", folder.path()).code, Some(2));
}

#[test]
fn a_rule_without_proof_or_with_a_wrong_one_is_2() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "shell.yml", &RULE.replace("CATEGORY", "process_creation"));
    let test = rules("test", folder.path());
    assert!(test.code == Some(2) && test.out.contains("has no proof"), "{test:?}");
    write(folder.path(), "shell.proof.yml", &PROOF.replace("/bin/QUIET", "/bin/sh").replace("/bin/login", "/usr/sbin/nginx"));
    let test = rules("test", folder.path());
    assert!(test.code == Some(2) && test.out.contains("FAILED") && test.out.contains("login starts a shell"), "{test:?}");
    assert!(test.talk.contains("2 passed, 1 failed"), "{test:?}");
}

#[test]
fn a_rule_for_what_no_sensor_sends_is_inert_and_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "a.yml", &RULE.replace("CATEGORY", "dns_query"));
    write(folder.path(), "b.yml", &RULE.replace("CATEGORY", "process_creation").replace("1b01", "1b02"));
    let inert = rules("inert", folder.path());
    assert_eq!(inert.code, Some(0), "{inert:?}");
    assert!(inert.out.contains("a.yml") && inert.out.contains("dns_query") && !inert.out.contains("b.yml"), "{inert:?}");
    assert!(inert.talk.contains("1 of 2 rules"), "{inert:?}");
}
