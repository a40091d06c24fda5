//! What the Sigma specification says of values, and what the evaluator would do without our corrections.

use beffroi_engine::{Detector, RuleSet, compile};
use beffroi_schema::Event;
use serde_json::{Value as Json, json};

/// Whether a rule with this detection section fires on an event of process_creation.
fn fires(detection: &str, fields: Json) -> bool {
    fires_on("{category: process_creation, product: linux}", detection, with(fields, "process_creation"))
}

fn with(mut fields: Json, category: &str) -> Json {
    fields["category"] = category.into();
    fields["product"] = "linux".into();
    fields
}

fn fires_on(logsource: &str, detection: &str, event: Json) -> bool {
    let text = format!("title: t\nid: r\nlogsource: {logsource}\ndetection:\n{detection}\n");
    let (set, problems) = RuleSet::from_texts([("t.yml", text)]);
    assert_eq!(problems, []);
    let event = Event::from_json(&event, 0).expect("an event");
    !compile(&set).expect("it compiles").evaluate(&event).is_empty()
}

#[test]
fn null_matches_an_absent_field_alone_and_among_values() {
    let alone = "  s: {Image: /bin/a, ParentImage: null}\n  condition: s";
    assert!(fires(alone, json!({"Image": "/bin/a"})));
    assert!(!fires(alone, json!({"Image": "/bin/a", "ParentImage": "/bin/b"})));
    let among = "  s: {Image: /bin/a, ParentImage: [null, /bin/b]}\n  condition: s";
    assert!(fires(among, json!({"Image": "/bin/a"})));
    assert!(fires(among, json!({"Image": "/bin/a", "ParentImage": "/bin/b"})));
    assert!(!fires(among, json!({"Image": "/bin/a", "ParentImage": "/bin/c"})));
}

#[test]
fn numbers_and_text_meet_in_both_directions() {
    for port in ["4444", "'4444'"] {
        let rule = format!("  s: {{DestinationPort: {port}}}\n  condition: s");
        assert!(fires(&rule, json!({"DestinationPort": 4444})));
        assert!(fires(&rule, json!({"DestinationPort": "4444"})));
        assert!(!fires(&rule, json!({"DestinationPort": 44440})));
    }
    let extra = "  s: {Odd: 4444}\n  condition: s";
    assert!(fires(extra, json!({"Odd": "4444"})) && fires(extra, json!({"Odd": 4444})));
}

#[test]
fn integers_beyond_53_bits_do_not_match_their_neighbours() {
    let rule = "  s: {LogonId: 9007199254740993}\n  condition: s";
    assert!(fires(rule, json!({"LogonId": 9007199254740993_u64})));
    assert!(!fires(rule, json!({"LogonId": 9007199254740992_u64})));
}

#[test]
fn a_boolean_matches_its_text() {
    for truth in ["true", "'true'", "'True'"] {
        let rule = format!("  s: {{Initiated: {truth}}}\n  condition: s");
        assert!(fires(&rule, json!({"Initiated": true})), "{truth}");
        assert!(!fires(&rule, json!({"Initiated": false})), "{truth}");
    }
}

#[test]
fn a_single_character_wildcard_counts_under_every_modifier_of_place() {
    // "`?` to replace a single mandatory character"; rsigma-eval 0.23 never matches one after `endswith`.
    for (modifier, hits, misses) in [
        ("endswith: '1?'", ["0x10", "0x1f"], ["0x1", "0x100"]),
        ("startswith: 'a?c'", ["abc", "a?cd"], ["ac", "xabc"]),
        ("contains: '/??/sh'", ["/ab/sh", "x /cd/sh -c"], ["/a/sh", "/abc/sh"]),
    ] {
        let rule = format!("  s: {{AccessMask|{modifier}}}\n  condition: s");
        assert!(hits.iter().all(|value| fires(&rule, json!({"AccessMask": value}))), "{modifier}");
        assert!(!misses.iter().any(|value| fires(&rule, json!({"AccessMask": value}))), "{modifier}");
    }
}

#[test]
fn any_element_of_a_list_matches_and_all_needs_every_value() {
    let rule = "  s: {argv: '-e'}\n  condition: s";
    assert!(fires(rule, json!({"argv": ["nc", "-e", "/bin/sh"]})));
    assert!(!fires(rule, json!({"argv": ["nc", "-ev"]})));
    let all = "  s: {CommandLine|contains|all: [curl, '-T']}\n  condition: s";
    assert!(fires(all, json!({"CommandLine": "curl -T x"})));
    assert!(!fires(all, json!({"CommandLine": "curl -o x"})));
}

#[test]
fn all_with_one_value_is_that_value() {
    assert!(fires("  s: {CommandLine|contains|all: [curl]}\n  condition: s", json!({"CommandLine": "curl x"})));
}

#[test]
fn a_selection_without_a_field_searches_all_values() {
    let all = "  s:\n    '|all': [curl, '*secret*']\n  condition: s";
    assert!(fires(all, json!({"Image": "/usr/bin/curl", "CommandLine": "x my-secret-file"})));
    assert!(!fires(all, json!({"Image": "/usr/bin/curl", "CommandLine": "x"})));
    let mixed = "  s:\n    '|all': [curl, secret]\n    User: root\n  condition: s";
    assert!(fires(mixed, json!({"CommandLine": "curl secret", "User": "root"})));
    assert!(!fires(mixed, json!({"CommandLine": "curl secret", "User": "a"})));
    let expression = "  s:\n    '|re': 'cu[r]l\\s'\n  condition: s";
    assert!(fires(expression, json!({"CommandLine": "curl x"})));
    assert!(!fires(expression, json!({"CommandLine": "curlx"})));
}

#[test]
fn keywords_are_parts_of_values_whatever_their_case_and_numbers_are_words() {
    let rule = "  k: [Failed password, 4711]\n  condition: k";
    let line = |text: &str| json!({"product": "linux", "message": text});
    for (text, wanted) in [("sshd: FAILED PASSWORD for x", true), ("error 4711!", true), ("fine", false)] {
        assert_eq!(fires_on("{product: linux}", rule, line(text)), wanted, "{text}");
    }
}

#[test]
fn a_wildcard_crosses_line_breaks_and_a_question_mark_is_one_character() {
    let rule = "  s: {CommandLine: 'sh*evil?end'}\n  condition: s";
    assert!(fires(rule, json!({"CommandLine": "sh -c\nx;\nevil1end"})));
    assert!(fires(rule, json!({"CommandLine": "SH EVIL\nEND"})));
    assert!(!fires(rule, json!({"CommandLine": "sh evilend"})));
    assert!(!fires(rule, json!({"CommandLine": "sh evil1end."})));
    let inside = "  s: {CommandLine|contains: 'a*b'}\n  condition: s";
    assert!(fires(inside, json!({"CommandLine": "xa\nby"})));
    let cased = "  s: {CommandLine|contains|cased: 'a?B'}\n  condition: s";
    assert!(fires(cased, json!({"CommandLine": "xa.By"})) && !fires(cased, json!({"CommandLine": "xA.by"})));
    let escaped = "  s: {CommandLine: 'a\\*b'}\n  condition: s";
    assert!(fires(escaped, json!({"CommandLine": "a*b"})) && !fires(escaped, json!({"CommandLine": "axb"})));
}

#[test]
fn networks_match_addresses_in_ipv4_and_mapped_notation() {
    let rule = "  s: {DestinationIp|cidr: [10.0.0.0/8, '2001:db8::/32']}\n  condition: s";
    for (address, wanted) in [
        ("10.1.2.3", true),
        ("::ffff:10.1.2.3", true),
        ("::FFFF:10.1.2.3", true),
        ("2001:db8::5", true),
        ("11.1.2.3", false),
        ("::ffff:11.1.2.3", false),
        ("::ffff:nonsense", false),
        ("", false),
    ] {
        assert_eq!(fires(rule, json!({"DestinationIp": address})), wanted, "{address}");
    }
    assert!(fires("  s: {DestinationIp: 10.1.2.3}\n  condition: s", json!({"DestinationIp": "::ffff:10.1.2.3"})));
}

#[test]
fn comparisons_presence_references_and_encodings_hold() {
    assert!(fires("  s: {ProcessId|gte: 5, ProcessId|lt: 9}\n  condition: s", json!({"ProcessId": 5})));
    assert!(!fires("  s: {ProcessId|gte: 5, ProcessId|lt: 9}\n  condition: s", json!({"ProcessId": 9})));
    assert!(fires("  s: {User|exists: false}\n  condition: s", json!({"Image": "x"})));
    assert!(!fires("  s: {User|exists: false}\n  condition: s", json!({"User": "x"})));
    assert!(fires("  s: {Image|fieldref: ParentImage}\n  condition: s", json!({"Image": "/a", "ParentImage": "/a"})));
    let encoded = "  s: {CommandLine|base64offset|contains: /bin/sh}\n  condition: s";
    assert!(fires(encoded, json!({"CommandLine": "echo L2Jpbi9zaCAtaQ== | base64 -d"})));
    assert!(!fires(encoded, json!({"CommandLine": "echo aGVsbG8= | base64 -d"})));
    for prefix in ["", "x", "xy"] {
        use base64::Engine;
        let text = base64::engine::general_purpose::STANDARD.encode(format!("{prefix}/bin/sh -i"));
        assert!(fires(encoded, json!({ "CommandLine": text })), "{prefix}");
    }
    let wide = "  s: {CommandLine|wide|base64offset|contains: ABC}\n  condition: s";
    assert!(fires(wide, json!({"CommandLine": "powershell -enc eABBAEIAQwB5AA=="})));
    assert!(fires("  s: {CommandLine|windash|contains: ' -exec'}\n  condition: s", json!({"CommandLine": "x /exec"})));
    assert!(fires("  s: {Image|endswith|cased: /SH}\n  condition: s", json!({"Image": "/SH"})));
    assert!(!fires("  s: {Image|endswith|cased: /SH}\n  condition: s", json!({"Image": "/sh"})));
}

#[test]
fn conditions_count_their_selections() {
    let rule = "  sel_a: {Image: /a}\n  sel_b: {User: u}\n  filter: {CommandLine: x}\n  condition: all of sel_* and not filter";
    assert!(fires(rule, json!({"Image": "/a", "User": "u"})));
    assert!(!fires(rule, json!({"Image": "/a", "User": "v"})));
    assert!(!fires(rule, json!({"Image": "/a", "User": "u", "CommandLine": "x"})));
    let any = "  a: {Image: /a}\n  b: {User: u}\n  condition: 1 of them";
    assert!(fires(any, json!({"User": "u"})) && !fires(any, json!({"User": "v"})));
}

#[test]
fn keyword_rules_without_category_never_judge_structured_events() {
    let rule = "  k: [curl]\n  condition: k";
    assert!(!fires_on("{product: linux}", rule, with(json!({"CommandLine": "curl"}), "process_creation")));
    assert!(fires_on("{product: linux}", rule, json!({"product": "linux", "service": "cron", "message": "curl"})));
    assert!(!fires_on(
        "{product: linux, service: sshd}",
        rule,
        json!({"product": "linux", "service": "cron", "message": "curl"})
    ));
}

#[test]
fn audit_rules_judge_our_own_events() {
    let audit = "{product: linux, service: auditd}";
    let start = json!({"Image": "/usr/bin/dd", "CommandLine": "dd if=/dev/null", "argv": ["dd", "if=/dev/null"], "ProcessId": 7});
    let execve = "  s: {type: EXECVE, a0|contains: dd, a1|contains: 'if=/dev/null'}\n  condition: s";
    assert!(fires_on(audit, execve, with(start.clone(), "process_creation")));
    let syscall = "  s: {type: SYSCALL, SYSCALL: execve, exe|endswith: /dd, comm: dd, pid: 7}\n  condition: s";
    assert!(fires_on(audit, syscall, with(start.clone(), "process_creation")));
    let path = "  s: {type: PATH, name|startswith: /etc/ld.so.preload}\n  condition: s";
    assert!(fires_on(audit, path, with(json!({"TargetFilename": "/etc/ld.so.preload"}), "file_event")));
    assert!(!fires_on(audit, path, with(json!({"TargetFilename": "/etc/ld.so.cache"}), "file_event")));
    // Fields of one record do not mix with those of another.
    let mixed = "  s: {type: PATH, SYSCALL: execve}\n  condition: s";
    assert!(!fires_on(audit, mixed, with(start, "process_creation")));
}

#[test]
fn a_match_says_which_selections_and_fields_made_it() {
    let text = "title: t\nid: r\nlogsource: {product: linux}\ndetection:\n  word: [secret]\n  host: {Computer: h}\n  condition: word and host\n";
    let (set, _) = RuleSet::from_texts([("t.yml", text)]);
    let event = Event::from_json(&json!({"product": "linux", "message": "a secret", "Computer": "h"}), 0).expect("an event");
    let matches = compile(&set).expect("it compiles").evaluate(&event);
    assert_eq!(matches.len(), 1);
    assert_eq!(matches[0].selections, ["host", "word"]);
    let mut fields: Vec<(&str, &Json)> = matches[0].fields.iter().map(|field| (field.field.as_str(), &field.value)).collect();
    fields.sort_by_key(|(name, _)| *name);
    assert_eq!(fields, [("Computer", &json!("h")), ("keywords", &json!("a secret"))]);
}

#[test]
fn text_that_is_no_utf8_is_judged_and_does_not_panic() {
    use beffroi_schema::{Category, Field, Product};
    let text = "title: t\nid: r\nlogsource: {category: process_creation}\ndetection: {s: {Image|endswith: /sh}, condition: s}\n";
    let (set, _) = RuleSet::from_texts([("t.yml", text)]);
    let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
    event.set(Field::IMAGE, &b"/tmp/\xff\xfe/sh"[..]);
    assert_eq!(compile(&set).expect("it compiles").evaluate(&event).len(), 1);
}
