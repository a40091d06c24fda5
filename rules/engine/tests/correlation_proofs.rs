//! Proofs of correlations: sequences that must fire and near misses that must not.
#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

use beffroi_engine::proof::{self, ProofReport};

const RULE: &str = "title: Many renames\nid: many\ncorrelation:\n  type: value_count\n  rules: [rename]\n  group-by: [Image]\n  \
    timespan: 10s\n  condition: {field: TargetFilename, gte: 50}\n---\n\
    title: A file is renamed\nid: one\nname: rename\nlogsource: {category: file_rename, product: linux}\n\
    detection: {s: {TargetFilename|endswith: .locked}, condition: s}\n";

const PROOF: &str = "fires:
  - name: fifty files in five seconds
    events:
      - {repeat: 50, every: 0.1s, event: {category: file_rename, product: linux, Image: /tmp/x, TargetFilename: '/srv/{n}.locked'}}
quiet:
  - name: fifty files in ten minutes
    events:
      - {at: 1m, repeat: 50, every: 12s, event: {category: file_rename, product: linux, Image: /tmp/x, TargetFilename: '/srv/{n}.locked'}}
  - name: the same file again and again
    events:
      - {at: 0s, repeat: 80, every: 0.1s, event: {category: file_rename, product: linux, Image: /tmp/x, TargetFilename: /srv/a.locked}}
";

fn run(files: &[(&str, &str)]) -> ProofReport {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    proof::run(folder.path())
}

fn whys(report: &ProofReport) -> String {
    report.failed.iter().map(|failure| format!("{}: {}\n", failure.case, failure.why)).collect()
}

#[test]
fn a_correlation_is_proven_by_sequences_and_its_rules_with_it() {
    let report = run(&[("a.yml", RULE), ("a.proof.yml", PROOF)]);
    assert!(report.is_green(), "{report:#?}");
    assert_eq!((report.proven, report.passed), (1, 3));
}

#[test]
fn a_wrong_sequence_and_a_missing_proof_fail() {
    let report = run(&[("a.yml", RULE), ("a.proof.yml", &PROOF.replace("repeat: 50", "repeat: 49"))]);
    assert!(whys(&report).contains("fifty files in five seconds: it does not fire and must"), "{report:#?}");
    let report = run(&[("a.yml", RULE), ("a.proof.yml", &PROOF.replace("every: 12s", "every: 1ms"))]);
    assert!(whys(&report).contains("a time is a number"), "{report:#?}");
    let report = run(&[("a.yml", RULE)]);
    assert_eq!(report.without_proof.len(), 1, "{report:#?}");
}

#[test]
fn where_several_documents_alert_each_case_says_which_it_is_for() {
    let generating = RULE.replacen("id: many\n", "id: many\ngenerate: true\n", 1);
    let report = run(&[("a.yml", &generating), ("a.proof.yml", PROOF)]);
    assert!(whys(&report).contains("say `rule:`"), "{report:#?}");
    let event = "{category: file_rename, product: linux, TargetFilename: /srv/a";
    let cases = PROOF.replace("    events:", "    rule: many\n    events:").replace(
        "quiet:\n",
        &format!(
            "  - {{name: one, rule: rename, event: {event}.locked}}}}\nquiet:\n  - {{name: other, rule: one, event: {event}}}}}\n  \
             - {{name: third, rule: A file is renamed, event: {event}.txt}}}}\n"
        ),
    );
    let report = run(&[("a.yml", &generating), ("a.proof.yml", &cases)]);
    assert!(report.is_green(), "{report:#?}");
    assert_eq!((report.proven, report.passed), (2, 6));
}
