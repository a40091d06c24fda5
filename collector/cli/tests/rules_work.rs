//! `rules explain|coverage|backtest`: working on a rule before it is put in force.
#![allow(clippy::unwrap_used, reason = "a scratch folder that cannot be used must end its test")]

mod common;

use std::path::{Path, PathBuf};

use common::{Call, Ran, Stub, beffroi};
use serde_json::{Value, json};
use tempfile::TempDir;

const RULE: &str = "title: Shell of a web server\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b01\nstatus: test\ndescription: x\nauthor: x\ndate: 2026-11-01\n\
    references: [https://example.org]\nlogsource: {category: process_creation, product: linux}\ndetection:\n  parent: {ParentImage|endswith: /nginx}\n  \
    shell: {Image|endswith: [/sh, /bash]}\n  condition: parent and shell\nfalsepositives: [none known]\nlevel: high\ntags: [attack.execution, attack.t1059.004]\n\
    license: Apache-2.0\n";

/// A folder with the rule.
fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let rule = folder.path().join("shell.yml");
    std::fs::write(&rule, RULE).unwrap();
    (folder, rule)
}

fn run(arguments: &[&str], paths: &[&Path]) -> Ran {
    Ran::of(beffroi(arguments).args(paths))
}

fn started(parent: &str) -> Value {
    json!({"ts": "2026-11-21T10:00:00Z", "category": "process_creation", "product": "linux", "Image": "/bin/sh",
        "ParentImage": parent, "CommandLine": "sh -c \u{1b}[31mid"})
}

#[test]
fn a_match_and_a_miss_are_explained_node_by_node() {
    let (folder, rule) = folder();
    let events = folder.path().join("events.ndjson");
    std::fs::write(&events, format!("{}\n{}\n", started("/usr/sbin/nginx"), started("/bin/login"))).unwrap();
    let ran = run(&["rules", "explain", "-o", "table"], &[&rule, &events]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let held = [
        "): matches",
        "+ selection parent",
        "+ ParentImage ends with \"/nginx\"   \"/usr/sbin/nginx\"",
        "- Image ends with \"/bash\"",
    ];
    assert!(held.iter().all(|text| ran.out.contains(text)), "{}", ran.out);
    let ran = run(&["rules", "explain", "--record", "2", "-o", "table"], &[&rule, &events]);
    assert!(ran.out.contains("does not match") && ran.out.contains("- ParentImage ends with"), "{}", ran.out);
    let ran = run(&["rules", "explain", "--record", "2", "-o", "json"], &[&rule, &events]);
    let answer: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&answer["rules"][0]["matches"], &answer["rules"][0]["is_for_it"]), (&json!(false), &json!(true)));
}

#[test]
fn an_event_for_other_rules_says_so_and_bad_input_says_what() {
    let (folder, rule) = folder();
    let mut event = started("/usr/sbin/nginx");
    event["category"] = "file_event".into();
    let file = folder.path().join("event.json");
    std::fs::write(&file, event.to_string()).unwrap();
    let ran = run(&["rules", "explain", "-o", "table"], &[&rule, &file]);
    let told = "the rule is for linux process_creation, the event is linux file_event";
    assert!(ran.out.contains("is not for this event") && ran.out.contains(told), "{}", ran.out);
    let ran = run(&["rules", "explain", "--record", "2"], &[&rule, &file]);
    assert!(ran.code == Some(3) && ran.talk.contains("no record 2"), "{ran:?}");
    std::fs::write(&file, "{\"category\": \"no_such\"}").unwrap();
    let ran = run(&["rules", "explain", "--format", "events"], &[&rule, &file]);
    assert!(ran.code == Some(3) && ran.talk.contains("no_such"), "{ran:?}");
    std::fs::write(&file, "").unwrap();
    let ran = run(&["rules", "explain"], &[&rule, &file]);
    assert!(ran.code == Some(3) && ran.talk.contains("it holds no event"), "{ran:?}");
    let ran = run(&["rules", "explain"], &[&rule, &folder.path().join("nowhere")]);
    assert!(ran.code == Some(3) && ran.talk.contains("nowhere"), "{ran:?}");
}

#[test]
fn whatever_detect_reads_is_explained_by_the_number_that_detect_gives_it() {
    let (folder, rule) = folder();
    let text =
        "title: x\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b0X\nlogsource: LOGSOURCE\ndetection: {s: SELECTION, condition: s}\n";
    let tree =
        json!({"Event": {"System": {"EventID": 4688, "Channel": "Security"}, "EventData": {"NewProcessName": "C:\\x.exe"}}});
    let audit = "type=SYSCALL msg=audit(1795255200.155:7): arch=c000003e syscall=59 exe=\"/usr/bin/tar\"\n\
        type=EXECVE msg=audit(1795255200.155:7): argc=3 a0=\"tar\" a1=2D63 a2=\"x\"\ntype=EOE msg=audit(1795255200.155:7):\n";
    let lines = "Nov 21 10:00:00 app-07 cron[1]: x\nNov 21 10:00:00 app-07 sshd[1]: Failed password for bob\n";
    let starts = "{product: windows, category: process_creation}";
    for (options, events, logsource, selection, told) in [
        (&[][..], format!("{tree}\n"), starts, "{Image|endswith: '\\x.exe'}", "): matches"),
        (&["--record", "2"][..], audit.into(), "{product: linux, service: auditd}", "{type: EXECVE, a0: tar}", "): matches"),
        (&["--record", "2"][..], lines.into(), "{product: linux, service: sshd}", "[Failed password]", "): matches"),
        (
            &[][..],
            lines.into(),
            "{product: linux, service: sshd}",
            "[Failed password]",
            "the event is linux cron or linux syslog",
        ),
        (&[][..], "{\"Image\": \"x\"}\n".into(), starts, "{Image: x}", "the event is of no logsource that is known (--logsource"),
        (
            &["--logsource", "product=windows,category=process_creation"][..],
            "{\"Image\": \"x\"}\n".into(),
            starts,
            "{Image: x}",
            "): matches",
        ),
        (
            &["--format", "lines"][..],
            format!("{tree}\n"),
            starts,
            "{Image: x}",
            "the rule is for windows process_creation, the event is linux",
        ),
    ] {
        std::fs::write(&rule, text.replace("LOGSOURCE", logsource).replace("SELECTION", selection)).unwrap();
        let file = folder.path().join("events");
        std::fs::write(&file, &events).unwrap();
        let ran = run(&[&["rules", "explain", "-o", "table"], options].concat(), &[&rule, &file]);
        assert!(ran.code == Some(0) && ran.out.contains(told), "{options:?} {events} {ran:?}");
    }
}

#[test]
fn coverage_tells_proven_from_unproven_and_writes_a_layer() {
    let (folder, _) = folder();
    let layer = folder.path().join("layer.json");
    let ran = run(&["rules", "coverage", "-o", "json", "--navigator"], &[&layer, folder.path()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&rows[0]["technique"], &rows[0]["state"]), (&json!("T1059.004"), &json!("covered")));
    let written: Value = serde_json::from_slice(&std::fs::read(&layer).unwrap()).unwrap();
    assert_eq!((&written["domain"], &written["versions"]["layer"]), (&json!("enterprise-attack"), &json!("4.5")));
    assert_eq!(written["techniques"][0]["techniqueID"], "T1059.004");
    let proof = "fires:\n  - name: a\n    event: {category: process_creation, product: linux, ParentImage: /x/nginx, Image: /bin/sh}\n\
        quiet:\n  - name: b\n    event: {category: process_creation, product: linux, ParentImage: /x/nginx, Image: /x/nginx}\n  \
        - name: c\n    event: {category: process_creation, product: linux, ParentImage: /bin/login, Image: /bin/sh}\n";
    std::fs::write(folder.path().join("shell.proof.yml"), proof).unwrap();
    let ran = run(&["rules", "coverage", "-o", "json"], &[folder.path()]);
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(rows[0]["state"] == "proven" && ran.talk.contains("1 techniques: 1 proven"), "{ran:?}");
}

/// A store with one event each minute, of which every tenth is for the rule.
fn stored(minutes: i64) -> Stub {
    let begin = jiff::Timestamp::now().as_microsecond() - minutes * 60_000_000;
    Stub::new(move |call: &Call| {
        let time = |name: &str| call.body[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let (since, until, limit) = (time("since"), time("until"), call.body["limit"].as_u64().unwrap() as usize);
        let within = (0..minutes).filter(|minute| (since..until).contains(&(begin + minute * 60_000_000)));
        let event = |minute: i64| {
            let mut event = started(if minute % 10 == 0 { "/usr/sbin/nginx" } else { "/bin/login" });
            (event["agent_id"], event["host"]) = (format!("{:032x}", minute % 3).into(), "pc".into());
            event["event_id"] = minute.to_string().into();
            event
        };
        (200, json!({"events": within.take(limit).map(event).collect::<Vec<_>>()}))
    })
}

#[test]
fn a_backtest_judges_every_stored_event_once() {
    let (_folder, rule) = folder();
    // More than fit into one answer, so that slices are halved.
    let stub = stored(12_000);
    let ran = stub.run(&["rules", "backtest", rule.to_str().unwrap(), "--since", "9d", "-o", "json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&rows[0]["matches"], &rows[0]["hosts"]), (&json!(1_200), &json!(3)), "{rows}");
    assert_eq!(rows[0]["samples"].as_array().unwrap().len(), 3);
    assert!(ran.talk.contains("12000 events") && ran.talk.contains("1 of 1 rules and 0 correlations match"), "{}", ran.talk);
    let searches = stub.calls();
    assert!(searches.len() < 60 && searches.iter().all(|call| call.path == "/v1/events/search"), "{}", searches.len());
}

#[test]
fn a_moment_with_more_events_than_one_answer_is_told_and_not_passed_over_in_silence() {
    let (_folder, rule) = folder();
    let full = |call: &Call| {
        let limit = call.body["limit"].as_u64().unwrap() as usize;
        (200, json!({"events": vec![started("/usr/sbin/nginx"); limit]}))
    };
    let stub = Stub::new(full);
    let ran = stub.run(&[
        "rules",
        "backtest",
        rule.to_str().unwrap(),
        "--since",
        "2026-11-21T10:00:00Z",
        "--until",
        "2026-11-21T10:00:00.000002Z",
    ]);
    assert!(ran.code == Some(4) && ran.talk.contains("2 moments hold more events than one answer"), "{ran:?}");
}

#[test]
fn a_backtest_runs_correlations_over_the_hosts_that_the_store_names() {
    let (_folder, rule) = folder();
    let several = "---\ntitle: Shells\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b02\nstatus: test\nlevel: critical\ncorrelation:\n  \
        type: event_count\n  rules: [7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b01]\n  group-by: [Computer]\n  timespan: 1h\n  condition: {gte: 3}\n";
    std::fs::write(&rule, format!("{RULE}{several}")).unwrap();
    // The host with the id ...2 has three shells within an hour, the others have one or two, in whatever order they come.
    let shells = [(2, 50), (1, 10), (2, 10), (0, 0), (1, 59), (2, 30)];
    let stub = Stub::new(move |call: &Call| {
        let time = |name: &str| call.body[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
        let received: jiff::Timestamp = "2026-11-21T12:00:00Z".parse().unwrap();
        let event = |(number, (agent, minute)): (usize, &(u32, u32))| {
            let mut event = started("/usr/sbin/nginx");
            event["ts"] = format!("2026-11-21T10:{minute:02}:00Z").into();
            (event["agent_id"], event["host"]) = (format!("{agent:032x}").into(), "pc".into());
            (event["event_id"], event["tenant"]) = (format!("{agent:032x}-1-1-{number}").into(), "interieur".into());
            event
        };
        let is_asked = (time("since")..time("until")).contains(&received);
        let events: Vec<Value> = if is_asked { shells.iter().enumerate().map(event).collect() } else { Vec::new() };
        (200, json!({ "events": events }))
    });
    let span = ["--since", "2026-11-21T00:00:00Z", "--until", "2026-11-22T00:00:00Z"];
    let ran = stub.run(&[&["rules", "backtest", rule.to_str().unwrap(), "-o", "json"], &span[..]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    // The rule alerts nobody alone: the correlation does not say `generate`.
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert_eq!((&rows[0]["title"], &rows[0]["matches"], &rows[0]["hosts"]), (&json!("Shells"), &json!(1), &json!(1)));
    assert_eq!(
        (&rows[0]["first_ts"], &rows[0]["last_ts"]),
        (&json!("2026-11-21T10:10:00.000000Z"), &json!("2026-11-21T10:50:00.000000Z"))
    );
    assert!(rows[0]["sample"].as_str().unwrap().starts_with("3 events, Computer=pc 0000"), "{rows:?}");
    assert!(ran.talk.contains("1 of 1 rules and 1 correlations match"), "{}", ran.talk);
}

const DEAR: &str = "title: Slow pattern\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b05\nlogsource: {category: process_creation, product: linux}\n\
    detection:\n  s: {ParentImage|endswith: /nginx, CommandLine|re: '(x|y|xy)+z$'}\n  condition: s\n---\n\
    title: Of nobody\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b06\nlogsource: {category: process_creation, product: linux}\n\
    detection:\n  s: {Image: /bin/no_such_program}\n  condition: s\n---\n\
    title: Of flat records\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b07\nlogsource: {category: process_creation, product: windows}\n\
    detection:\n  s: {Image|endswith: '\\cmd.exe'}\n  condition: s\n";

#[test]
fn the_rules_that_take_the_time_are_told_with_every_record_measured() {
    let (folder, rule) = folder();
    std::fs::write(folder.path().join("more.yml"), DEAR).unwrap();
    let events = folder.path().join("events.ndjson");
    let mut long = started("/usr/sbin/nginx");
    long["CommandLine"] = "xy".repeat(3_000).into();
    let flat = json!({"EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "Image": "C:\\cmd.exe"});
    let lines: String = [&long, &long, &long, &started("/bin/login"), &flat].iter().map(|event| format!("{event}\n")).collect();
    std::fs::write(&events, lines).unwrap();
    let ran = run(&["rules", "cost", "-o", "json", "-r"], &[folder.path(), &events]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.talk.contains("5 events of 1 files, all of them measured: 3 of 4 rules were looked at"), "{ran:?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.out).unwrap();
    let of = |title: &str| rows.iter().find(|row| row["rule_title"] == title).unwrap_or_else(|| panic!("{title}: {ran:?}"));
    assert_eq!(rows[0]["rule_title"], "Slow pattern", "the dearest comes first: {rows:?}");
    let counts = |title| (of(title)["looked"].as_u64().unwrap(), of(title)["matches"].as_u64().unwrap());
    assert_eq!((counts("Slow pattern"), counts("Shell of a web server"), counts("Of flat records")), ((3, 0), (3, 3), (1, 1)));
    // Six thousand bytes count ten times under a regular expression, in each of three events.
    assert!(of("Slow pattern")["bytes"].as_u64().unwrap() > 180_000, "{rows:?}");
    assert_eq!(of("Shell of a web server")["rule_path"], rule.display().to_string());
    let shares: f64 = rows.iter().map(|row| row["share_percent"].as_f64().unwrap()).sum();
    assert!((99.0..101.0).contains(&shares), "{rows:?}");
    let per_event = |row: &Value| row["ns_per_event"].as_f64().unwrap() * 5.0 - row["time_ms"].as_f64().unwrap() * 1e6;
    assert!(rows.iter().all(|row| per_event(row).abs() < 1_000.0), "{rows:?}");
}

#[test]
fn costs_come_in_every_form_and_bad_input_is_told_as_detect_does() {
    let (folder, rule) = folder();
    let events = folder.path().join("events.ndjson");
    std::fs::write(&events, format!("{}\n", started("/usr/sbin/nginx"))).unwrap();
    let ran = run(&["rules", "cost", "-o", "csv", "-r"], &[&rule, &events]);
    assert!(ran.out.starts_with("SHARE %,TIME MS,NS/EVENT,LOOKED,NS/LOOK,MATCHES,BYTES,RULE,FILE,RULE ID\n100"), "{ran:?}");
    let ran = run(&["rules", "cost", "-o", "table", "-r"], &[&rule, &events]);
    assert!(ran.code == Some(0) && ran.out.contains("Shell of a web server"), "{ran:?}");
    let ran = run(&["rules", "cost", "-r"], &[&rule, &folder.path().join("nowhere")]);
    assert!(ran.code == Some(3) && ran.talk.contains("nowhere"), "{ran:?}");
    let ran = run(&["rules", "cost", "-r"], &[&folder.path().join("nowhere"), &events]);
    assert!(ran.code == Some(3) && ran.talk.contains("does not exist"), "{ran:?}");
    assert!(run(&["rules", "cost", "--help"], &[]).out.contains("nothing is sampled"));
}
