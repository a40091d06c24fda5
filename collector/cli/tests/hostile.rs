//! Text of endpoints through every verb and every form: no output may hold what a terminal acts on, no CSV cell what a
//! spreadsheet computes, and JSON must say what the API said.

mod common;

use common::{Ran, Stub};
use serde_json::{Map, Value, json};

/// What hosts may put into names, command lines and paths.
const CORPUS: [&str; 14] = [
    "\u{1b}[2J\u{1b}]0;owned\u{7}",
    "\u{1b}]8;;http://evil.example\u{1b}\\click\u{1b}]8;;\u{1b}\\",
    "\u{9b}31mred\u{9c}",
    "a\r\nError: all is well",
    "tab\there\u{8}\u{8}\u{7f}",
    "\u{202e}gpj.exe",
    "\u{2066}x\u{2069}\u{200f}",
    "zero\u{200b}width\u{feff}\u{2060}\u{ad}",
    "=HYPERLINK(\"http://evil.example\")",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(1)",
    "\t=1+1",
    "\u{e0041}\u{e0042}, \"quoted\", 日本 é ﷽",
];

/// A verb, and the answer of the API with `text` wherever a text can stand.
fn verbs(text: &str) -> Vec<(Vec<&'static str>, Value)> {
    let t = text;
    let event = json!({"ts": t, "category": t, "host": t, "User": t, "Image": t, "CommandLine": t, "TargetFilename": t, "DestinationIp": t, t: t});
    let gap = json!({"from": t, "to": t, "reason": t, "hook": t, "tenant": t, "hostname": t, "agent_id": t, "lost": 1});
    let alert = json!({"alert_id": t, "level": t, "tenant": t, "rule_title": t, "hostname": t, "user": t, "what": t, "count": 2,
        "event_time": t, "first_seen": t, "last_seen": t, "received_at": t, "detected_at": t, "stored_at": t,
        "gaps": [gap.clone()], "match": {"what": t, "user": t, "login_user": t, "image": t, "command_line": t, "process_guid": t,
            "rule": {"title": t, "id": t, "author": t, "description": t, "license": t, "version": t, "sha256": t,
                "references": [t, t], "response": t, "false_positives": [t], "attack": [{"id": t, "name": t}]},
            "host": {"hostname": t, "os": t, "kernel": t, "remote": t, "addresses": [t], "labels": {t: t}},
            "matched_selections": [t], "matched_fields": [{"field": t, "value": t}, {"field": t, "value": [t]}],
            "chain": [{"image": t, "command_line": t, "pid": 1}, {"image": t, "command_line": t}], "event_ids": [t], "ruleset": t,
            "engine": t, "match_id": t}});
    let host = json!({"hostname": t, "tenant": t, "agent_id": "aabbcc", "os": t, "kernel": t, "remote": t, "addresses": [t],
        "labels": {t: t}, "counters": {t: 1}, "last_seen": t, "agent_version": t, "revoked": {"at": t, "by": t, "reason": t},
        "hooks": [{"name": t, "why": t, "on": false, "seen": 1, "dropped": 1}], "gaps": [gap.clone()]});
    let status = json!({"roles": [{"role": t, "ready": true, "detail": t, "figures": [[t, t]]}], "version": t, "bus_error": t,
        "lag": [{"topic": t, "group": t, "records": 1}], "store": {"version": t}, "store_error": t, "last_batch": t});
    let tree = json!({"tenant": t, "hostname": t, "guid": t, "nodes": [{"guid": t, "image": t, "user": t, "ts": t}, {"guid": "x", "parent_guid": t, "command_line": t}]});
    let token = json!({"token_id": t, "tenant": t, "by": t, "created": t, "expires": t, "uses": 1, "used": 0, "revoked": false, "labels": {t: t}});
    vec![
        (vec!["alerts", "list"], json!({"alerts": [alert.clone(), alert.clone()], "total": 5})),
        (vec!["alerts", "show", "ab"], alert),
        (vec!["events", "search", "Image=x"], json!({"events": [event.clone()]})),
        (vec!["events", "search", "--by", "Image"], json!({"groups": [{"value": t, "count": 3}]})),
        (vec!["events", "search", "--count"], json!({"total": t})),
        (vec!["events", "around", "ab"], json!({"events": [event]})),
        (vec!["events", "tree", "ab"], tree),
        (vec!["hosts", "list"], json!({"hosts": [host.clone()]})),
        (vec!["hosts", "show", "ab"], host),
        (vec!["hosts", "revoke", "ab", "--reason", "x"], json!({"agent_id": t, "revoked": true, "reason": t})),
        (vec!["gaps", "list"], json!({"gaps": [gap]})),
        (vec!["enroll", "list"], json!({"tokens": [token]})),
        (vec!["enroll", "revoke", "ab"], json!({"token_id": t, "revoked": true})),
        (vec!["status"], status),
    ]
    .into_iter()
    .chain(issue_of_orders(t))
    .collect()
}

/// Scans, tokens and the audit: what hosts, colleagues and servers may have written.
fn issue_of_orders(t: &str) -> Vec<(Vec<&'static str>, Value)> {
    let own = json!({"agent_id": t, "hostname": t, "state": "offline", "reason": t, "files_scanned": 1, "last_ts": t});
    let scan = json!({"order_id": t, "tenant": t, "issued": t, "expires": t, "by": t, "operator_key": t, "note": t, "ticket": t,
        "purpose": t, "legal_basis": t, "tlp": t, "pap": t, "paths": [t, t], "rules": [t], "state": t, "asked": 2, "answered": 1,
        "refused": 1, "offline": 1, "files_scanned": 3, "hosts": [own.clone(), {"hostname": t, "state": "refused", "reason": t}]});
    let token =
        json!({"token_id": t, "name": t, "scope": t, "tenants": [t, t], "created": t, "by": t, "expires": t, "last_used": t});
    let record = json!({"time": t, "by": t, "remote": t, "door": t, "operation": t, "asked": {t: [t, {"field": t}]}, "tenant": t,
        "status": 200, "rows": 1, "ms": 1, "reason": t});
    vec![
        (vec!["scan", "list"], json!({"scans": [scan.clone()]})),
        (vec!["scan", "status", "ab"], scan),
        (vec!["token", "list"], json!({"tokens": [token]})),
        (vec!["token", "revoke", "ab"], json!({"token_id": t, "revoked": true})),
        (vec!["audit", "list"], json!({"records": [record]})),
        (vec!["whoami"], json!({"name": t, "token_id": t, "scope": t, "tenants": [t], "expires": t})),
    ]
}

/// Written anew here, so that a hole in the terminal's own list is seen.
fn acts(c: char) -> bool {
    let code = u32::from(c);
    (code < 0x20 && c != '\n')
        || (0x7f..=0x9f).contains(&code)
        || (0x200b..=0x200f).contains(&code)
        || (0x2028..=0x202e).contains(&code)
        || (0x2060..=0x206f).contains(&code)
        || (0xe0000..=0xe007f).contains(&code)
        || matches!(code, 0xad | 0x61c | 0xfeff)
}

fn check(verb: &[&str], form: &str, hostile: &str, ran: &Ran) {
    let at = format!("{verb:?} {form} {hostile:?}\n{}", ran.out);
    assert_eq!(ran.code, Some(0), "{at}{}", ran.talk);
    assert!(!ran.out.chars().any(acts), "{at}");
    assert!(!ran.out.lines().any(|line| line.trim_start().starts_with("Error: all is well")), "{at}");
    assert!(!ran.talk.chars().any(acts), "{at}{}", ran.talk);
}

fn is_formula(cell: &str) -> bool {
    cell.starts_with(['=', '+', '@', '\t', '\r']) || (cell.starts_with('-') && cell.parse::<f64>().is_err())
}

#[test]
fn no_form_of_any_verb_lets_a_host_act_on_a_terminal_or_a_spreadsheet() {
    for hostile in CORPUS {
        for (verb, answer) in verbs(hostile) {
            let said = answer.clone();
            let stub = Stub::saying(answer);
            let run = |form: &str| {
                let ran = stub.run(&[verb.as_slice(), &["--output", form]].concat());
                check(&verb, form, hostile, &ran);
                ran.out
            };
            assert!(!run("table").is_empty());
            let text = run("csv");
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
            for record in reader.records() {
                let record = record.unwrap();
                assert!(!record.iter().any(is_formula), "{verb:?} {record:?}");
            }
            let json: Value = serde_json::from_str(&run("json")).unwrap();
            assert!(holds(&json, hostile) && (json == said || is_within(&json, &said)), "{verb:?}: {json} is not of {said}");
            let ndjson = run("ndjson");
            let lines: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(lines.iter().all(|line| holds(line, hostile)), "{verb:?}: {ndjson}");
        }
    }
}

fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(list) => list.iter().any(|value| holds(value, text)),
        Value::Object(object) => object.values().any(|value| holds(value, text)),
        _ => false,
    }
}

/// Whether rows are the rows of an answer, or an object is an answer (with its gaps asked for apart).
fn is_within(shown: &Value, said: &Value) -> bool {
    let without_gaps = |value: &Value| {
        let mut object: Map<String, Value> = value.as_object().cloned().unwrap_or_default();
        object.remove("gaps");
        object
    };
    match shown {
        Value::Array(_) => said.as_object().is_some_and(|said| said.values().any(|rows| rows == shown)),
        _ => without_gaps(shown) == without_gaps(said),
    }
}

/// One answer serves both questions of this verb: the scan, and what it found.
#[test]
fn results_of_a_scan_are_shown_harmlessly_in_every_form() {
    for hostile in CORPUS {
        let row = json!({"ts": hostile, "host": hostile, "agent_id": hostile, "rule": hostile, "path": hostile, "sha256": hostile,
            "reason": hostile, "alert": hostile});
        let answer = json!({"order_id": "ab", "matches": [row.clone()], "unknown": [row], "asked": 1, "offline": 1, "files_unknown": 9,
            "hosts": [{"hostname": hostile, "state": "offline"}]});
        let stub = Stub::saying(answer);
        for form in ["table", "json", "ndjson", "csv"] {
            let verb = ["scan", "results", "ab", "--output", form];
            let ran = stub.run(&verb);
            check(&verb, form, hostile, &ran);
            let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(ran.out.as_bytes());
            let is_safe = |record: csv::StringRecord| !record.iter().any(is_formula);
            assert!(form != "csv" || reader.records().all(|record| is_safe(record.unwrap())), "{}", ran.out);
        }
        let json: Value = serde_json::from_str(&stub.run(&["scan", "results", "ab", "-o", "json"]).out).unwrap();
        assert_eq!((&json[0]["kind"], &json[1]["kind"], &json[0]["path"]), (&json!("match"), &json!("unknown"), &json!(hostile)));
    }
}

/// Progress, the announcement and the last page of a scan, with hosts that are named to do harm.
#[test]
fn a_scan_that_is_waited_for_lets_no_host_act_on_the_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for arguments in [
        &["key", "root", "new", "--out", &at("")][..],
        &["key", "operator", "new", "--out", &at(""), "--name", "o"],
        &["key", "certify", "--root", &at(""), "--operator", &at("o.pub"), "--name", "o", "--tenant", "*"],
    ] {
        assert_eq!(Ran::of(&mut common::beffroi(arguments)).code, Some(0), "{arguments:?}");
    }
    std::fs::write(folder.path().join("r.yar"), "rule r { condition: true }").unwrap();
    for hostile in CORPUS {
        let mut host = common::host(hostile);
        host["revoked"] = Value::Null;
        host["tenant"] = json!("t");
        let done = json!({"agent_id": "aa", "hostname": hostile, "state": "refused", "reason": hostile});
        let scan = json!({"order_id": "ab", "asked": 1, "answered": 1, "refused": 1, "state": hostile, "note": hostile, "hosts": [done]});
        let stub = Stub::new(move |call| match call.path.as_str() {
            "/v1/hosts" => (200, json!({"hosts": [host.clone()]})),
            _ => (200, scan.clone()),
        });
        for form in ["table", "json", "ndjson", "csv"] {
            let ran = stub.run(&[
                "scan",
                "start",
                "-r",
                &at("r.yar"),
                "--path",
                "/opt/\u{1b}]0;x\u{7}",
                "--hosts",
                "*",
                "--key",
                &at("o.key"),
                "--cert",
                &at("o.beffroi"),
                "--wait",
                "-o",
                form,
            ]);
            assert_eq!(ran.code, Some(5), "{}", ran.talk);
            assert!(!ran.out.chars().any(acts) && !ran.talk.chars().any(acts), "{form} {hostile:?}\n{}{}", ran.out, ran.talk);
        }
    }
}

#[test]
fn what_a_server_refuses_with_is_shown_harmlessly() {
    for hostile in CORPUS {
        let answer = json!({"code": "x", "error": hostile, "hint": hostile});
        let stub = Stub::new(move |_| (404, answer.clone()));
        let ran = stub.run(&["alerts", "show", "ab"]);
        assert_eq!((ran.code, ran.out.as_str()), (Some(4), ""));
        assert!(ran.talk.starts_with("error: ") && !ran.talk.chars().any(acts), "{:?}", ran.talk);
        assert_eq!(ran.talk.lines().count(), 2, "{:?}", ran.talk);
    }
}
