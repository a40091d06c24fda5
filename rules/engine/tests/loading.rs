//! Bad rules are reported with file, line and reason; everything else loads.

use std::path::Path;
use std::time::{Duration, Instant};

use beffroi_engine::limits::{MAX_CONDITION_BYTES, MAX_FILE_BYTES};
use beffroi_engine::{Detector, RuleProblem, RuleSet, compile, proof};
use beffroi_schema::{Category, Event, Field, Logsource, Product};

const GOOD: &str = "title: good\nid: good\nlogsource: {category: process_creation, product: linux}\n\
                    detection:\n  s: {Image: /bin/a}\n  condition: s\n";

/// The only problem of a text that stands beside a good rule, which must load.
fn only_problem(text: &str) -> RuleProblem {
    let (set, problems) = RuleSet::from_texts([("bad.yml", text), ("good.yml", GOOD)]);
    assert!(set.find("good").is_some(), "the good rule is lost beside {text:.60}");
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert_eq!(problems[0].path, Path::new("bad.yml"));
    problems[0].clone()
}

fn rule(detection: &str) -> String {
    format!("title: t\nid: r\nlogsource:\n    category: process_creation\ndetection:\n{detection}")
}

#[test]
fn every_kind_of_bad_rule_is_reported_with_its_line() {
    let cases: &[(&str, String, u32, &str)] = &[
        ("yaml", "title: [\nid: x\n".into(), 3, "no YAML"),
        ("yaml", "- 1\n- 2\n".into(), 1, "not a YAML mapping"),
        ("missing_field", "id: x\nlogsource: {product: linux}\n".into(), 1, "'title'"),
        ("missing_field", "title: x\nlogsource: {product: linux}\n".into(), 1, "'detection'"),
        ("missing_field", rule("    s: {a: b}\n"), 5, "'condition'"),
        ("condition", rule("    s: {a: b}\n    condition: s and\n"), 7, "parse error"),
        ("condition", rule("    s: {a: b}\n    condition: s and t\n"), 7, "unknown detection identifier: t"),
        ("condition", rule("    s: {a: b}\n    condition: s | count() > 5\n"), 7, "parse error"),
        ("modifier", rule("    s:\n        Image|ends: b\n    condition: s\n"), 7, "'ends'"),
        ("regex", rule("    s:\n        Image|re: '(a'\n    condition: s\n"), 7, "regex"),
        ("regex", rule("    s:\n        Image|re: '(?<=a)b'\n    condition: s\n"), 7, "regex"),
        ("regex", rule("    s:\n        Image|re: 'a{9999}'\n    condition: s\n"), 7, "repeats 9999"),
        ("cidr", rule("    s:\n        DestinationIp|cidr: 10.0.0.0/99\n    condition: s\n"), 7, "CIDR"),
        ("modifier", rule("    s:\n        Image|re|contains: a\n    condition: s\n"), 7, "modifier"),
        ("unknown_rule", "title: c\nid: c\ncorrelation:\n    type: event_count\n    rules: [nobody]\n    group-by: [User]\n    timespan: 1m\n    condition: {gte: 3}\n".into(), 5, "'nobody'"),
        ("empty", "# only a comment\n".into(), 1, "no rule"),
    ];
    for (code, text, line, part) in cases {
        let problem = only_problem(text);
        assert_eq!((problem.code, problem.line), (*code, *line), "{problem}\n{text}");
        assert!(problem.reason.contains(part), "{problem}");
        assert!(!problem.hint.is_empty() && !problem.loaded, "{problem}");
    }
}

#[test]
fn a_typing_error_in_level_or_status_is_a_warning_and_the_rule_loads() {
    let (set, problems) = RuleSet::from_texts([("a.yml", GOOD.replace("detection:", "status: okay\nlevel: hihg\ndetection:"))]);
    assert_eq!(set.rules().len(), 1);
    let found: Vec<(&str, u32, bool)> = problems.iter().map(|problem| (problem.code, problem.line, problem.loaded)).collect();
    assert_eq!(found, [("status", 4, true), ("level", 5, true)]);
}

#[test]
fn in_a_file_of_several_documents_each_problem_has_its_own_line() {
    let text = format!("{GOOD}---\ntitle: bad\nlogsource: {{product: linux}}\n---\n{}", GOOD.replace("good", "better"));
    let (set, problems) = RuleSet::from_texts([("many.yml", text)]);
    let lines: Vec<(&str, u32)> = set.rules().iter().map(|rule| (rule.info().id.as_str(), rule.line())).collect();
    assert_eq!(lines, [("good", 1), ("better", 11)]);
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [8]);
}

#[test]
fn documents_that_build_on_a_global_one_load() {
    let text = "action: global\nlogsource: {category: process_creation}\nlevel: low\n---\ntitle: a\nid: a\n\
                detection: {s: {Image: /a}, condition: s}\n---\ntitle: b\nid: b\ndetection: {s: {Image: /b}, condition: s}\n";
    let (set, problems) = RuleSet::from_texts([("global.yml", text)]);
    assert_eq!(problems, []);
    assert_eq!(set.rules().iter().map(|rule| rule.line()).collect::<Vec<_>>(), [5, 9]);
    assert_ne!(set.rules()[0].info().sha256, set.rules()[1].info().sha256);
}

#[test]
fn the_second_rule_of_an_id_is_left_out() {
    let (set, problems) = RuleSet::from_texts([("a.yml", GOOD), ("b.yml", GOOD)]);
    assert_eq!(set.rules().len(), 1);
    assert_eq!((problems[0].code, problems[0].line, problems[0].path.as_path()), ("duplicate_id", 2, Path::new("b.yml")));
    assert!(problems[0].reason.contains("a.yml:1"), "{}", problems[0]);
}

#[test]
fn hostile_texts_get_an_error_soon() {
    let deep_lists = format!("title: {}\n", "[".repeat(100_000));
    let deep_blocks: String = (0..600).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    let dashes = format!("title:\n{}x\n", "- ".repeat(50_000));
    let bomb = (1..40).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_string(), |text, level| {
        let last = level - 1;
        text + &format!("a{level}: &a{level} [*a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}, *a{last}]\n")
    });
    let parentheses = rule(&format!("    s: {{a: b}}\n    condition: {}s{}\n", "(".repeat(1_500), ")".repeat(1_500)));
    let escaped = rule(&format!("    s: {{a: b}}\n    condition: \"{}s{}\"\n", "\\x28".repeat(900), ")".repeat(900)));
    let long = rule(&format!("    s: {{a: b}}\n    condition: s{}\n", " and s".repeat(MAX_CONDITION_BYTES / 5)));
    let nots = rule(&format!("    s: {{a: b}}\n    condition: {}s\n", "not ".repeat(MAX_CONDITION_BYTES)));
    let regex = rule(&format!("    s: {{a|re: '{}'}}\n    condition: s\n", "(a|b)?".repeat(5_000)));
    let nested = rule("    s: {a|re: '((a{900}){900}){900}'}\n    condition: s\n");
    let many = rule(&format!("    s: {{a: [{}x]}}\n    condition: s\n", "x, ".repeat(30_000)));
    let large = format!("title: {}\n", "x".repeat(MAX_FILE_BYTES as usize));
    for text in [deep_lists, deep_blocks, dashes, bomb, parentheses, escaped, long, nots, regex, nested, many, large] {
        let start = Instant::now();
        let problem = only_problem(&text);
        assert!(start.elapsed() < Duration::from_secs(20), "{problem} took {:?}", start.elapsed());
        assert!(!problem.loaded, "{problem}");
    }
}

#[test]
fn a_folder_loads_in_one_order_and_everything_unreadable_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("it is written");
    std::fs::create_dir_all(folder.path().join("sub/.git")).expect("a folder");
    write("sub/b.yaml", GOOD.replace("good", "b").as_bytes());
    write("a.yml", GOOD.replace("good", "a").as_bytes());
    write("a.proof.yml", b"fires: []\nquiet: []\n");
    write("notes.txt", b"no rule");
    write("sub/.git/c.yml", b"no rule");
    write("bad.yml", b"title: \xff\n");
    write("large.yml", &vec![b'#'; MAX_FILE_BYTES as usize + 1]);
    let missing = folder.path().join("missing");
    let (set, problems) = RuleSet::load(&[folder.path(), &missing]);
    assert_eq!(set.rules().iter().map(|rule| rule.info().id.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    let mut found: Vec<(&str, String)> = problems
        .iter()
        .map(|problem| (problem.code, problem.path.file_name().expect("a name").to_string_lossy().into_owned()))
        .collect();
    found.sort();
    let wanted = [("encoding", "bad.yml"), ("too_large", "large.yml"), ("unreadable", "missing")];
    assert_eq!(found, wanted.map(|(code, name)| (code, name.to_string())));
}

#[test]
fn the_hash_of_a_set_does_not_depend_on_where_its_files_lie() {
    let other = GOOD.replace("good", "other");
    let (one, _) = RuleSet::from_texts([("x/a.yml", GOOD), ("b.yml", &other)]);
    let (two, _) = RuleSet::from_texts([("b/z.yml", other.as_str()), ("c.yml", GOOD)]);
    let (three, _) = RuleSet::from_texts([("a.yml", GOOD)]);
    assert_eq!(one.hash(), two.hash());
    assert_ne!(one.hash(), three.hash());
}

#[test]
fn a_rule_that_can_never_fire_is_named_with_its_reason() {
    let made = |id: &str, logsource: &str, selection: &str| {
        let text = format!("title: {id}\nid: {id}\nlogsource: {logsource}\ndetection: {{s: {selection}, condition: s}}\n");
        (format!("{id}.yml"), text)
    };
    let linux = "{category: process_creation, product: linux}";
    let (set, problems) = RuleSet::from_texts([
        made("fine", linux, "{Image: /a}"),
        made("audit", "{product: linux, service: auditd}", "{type: EXECVE}"),
        made("login", "{product: linux, service: auditd}", "{type: USER_LOGIN, res: failed}"),
        made("module", "{product: linux, service: auditd}", "{type: SYSCALL, SYSCALL: init_module}"),
        made("windows", "{category: process_creation, product: windows}", "{Image: a}"),
        made("cloud", "{product: nebula}", "{x: a}"),
        made("field", linux, "{NoSuchField: a}"),
        made("absent", linux, "{NoSuchField: null}"),
        made("placeholder", linux, "{User|expand: '%admins%'}"),
    ]);
    assert_eq!(problems, []);
    let sensor = Logsource { category: Category::ProcessCreation, product: Product::Linux, service: None };
    let inert = set.inert(&[sensor]);
    let found: Vec<(&str, bool)> = inert.iter().map(|inert| (inert.rule.id.as_str(), !inert.reason.is_empty())).collect();
    let expected = ["login", "module", "windows", "cloud", "field", "placeholder"];
    assert_eq!(found, expected.map(|id| (id, true)));
    assert!(inert[1].reason.contains("SYSCALL of execve"), "{}", inert[1].reason);
    assert!(inert[4].reason.contains("NoSuchField"), "{}", inert[4].reason);
}

#[test]
fn a_filter_excludes_by_id_name_or_title_and_one_that_excludes_nothing_is_warned_of() {
    let filter = |target: &str, condition: &str| {
        format!(
            "title: f\nid: f\nlogsource: {{category: process_creation}}\nfilter:\n    rules: [{target}]\n    selection: {{User: admin}}\n    condition: {condition}\n"
        )
    };
    let base = GOOD.replace("title: good", "title: My rule\nname: by_name").replace("condition: s", "condition: 1 of them");
    let fires = |filter: &str, user: &str| {
        let (set, problems) = RuleSet::from_texts([("f.yml", filter), ("r.yml", &base)]);
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
        event.set(Field::IMAGE, "/bin/a").set(Field::USER, user);
        (!compile(&set).expect("it compiles").evaluate(&event).is_empty(), problems)
    };
    for target in ["good", "by_name", "My rule"] {
        assert_eq!(fires(&filter(target, "not selection"), "admin"), (false, vec![]), "{target}");
        assert_eq!(fires(&filter(target, "not selection"), "alice"), (true, vec![]), "{target}");
    }
    let (_, problems) = fires(&filter("good", "selection"), "admin");
    assert!(problems[0].loaded && problems[0].reason.contains("keeps only"), "{problems:?}");
    let (fired, problems) = fires(&filter("nobody", "not selection"), "admin");
    assert!(fired && problems[0].code == "unknown_rule" && problems[0].loaded, "{problems:?}");
}

#[test]
fn a_wrong_proof_is_not_green() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it is written");
    let event = |image: &str| format!("{{name: n, event: {{category: process_creation, product: linux, Image: {image}}}}}");
    let (hit, miss) = (event("/bin/a"), event("/bin/b"));
    write("r.yml", GOOD);
    assert_eq!(proof::run(folder.path()).without_proof.len(), 1);
    for (text, part) in [
        (format!("fires: [{miss}]\nquiet: [{miss}, {miss}]\n"), "does not fire"),
        (format!("fires: [{hit}]\nquiet: [{miss}, {hit}]\n"), "fires and must not"),
        (format!("fires: [{hit}]\nquiet: [{miss}]\n"), "1 quiet"),
        (format!("fires: [{hit}]\nquiet: [{miss}, {miss}]\nother: 1\n"), "unknown field"),
        ("fires: [{name: n, event: {category: nonsense}}]\nquiet: []\n".into(), "nonsense"),
    ] {
        write("r.proof.yml", &text);
        let report = proof::run(folder.path());
        assert!(!report.is_green());
        assert!(report.failed.iter().any(|failure| failure.why.contains(part)), "{part}: {:?}", report.failed);
    }
    write("r.proof.yml", &format!("fires: [{hit}]\nquiet: [{miss}, {miss}]\n"));
    let report = proof::run(folder.path());
    assert!(report.is_green() && (report.proven, report.passed) == (1, 3), "{report:?}");
}
