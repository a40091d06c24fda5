//! `detect` on every format: what matches, where, in which form, and with which exit code.
#![allow(clippy::unwrap_used, reason = "a scratch folder that cannot be used must end its test")]

mod common;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Ran, beffroi};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with rules and events.
struct Desk {
    folder: TempDir,
}

const RULES: &str = "title: Shell of a web server\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b01\nstatus: test\nauthor: Alice\nreferences: [https://example.org]\n\
    logsource: {category: process_creation, product: linux}\ndetection:\n  selection: {Image|endswith: /sh, ParentImage|endswith: /nginx}\n  \
    condition: selection\nlevel: high\ntags: [attack.execution, attack.t1059.004]\n---\n\
    title: Encoded PowerShell\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b02\nstatus: stable\nlogsource: {category: process_creation, product: windows}\n\
    detection:\n  selection: {Image|endswith: '\\powershell.exe', CommandLine|contains: ' -enc'}\n  condition: selection\nlevel: medium\n---\n\
    title: Refused login\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b03\nstatus: experimental\nlogsource: {product: linux, service: sshd}\n\
    detection:\n  keywords: [Failed password]\n  condition: keywords\nlevel: low\n---\n\
    title: Archive\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b04\nstatus: test\nlogsource: {product: linux, service: auditd}\n\
    detection:\n  selection: {type: EXECVE, a0: tar, a1|contains: '-c'}\n  condition: selection\nlevel: medium\n";

impl Desk {
    fn new() -> Self {
        let desk = Self { folder: tempfile::tempdir().unwrap() };
        desk.write("rules/all.yml", RULES);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let rules = self.path("rules");
        Ran::of(&mut beffroi(&[&["detect", "-r", rules.to_str().unwrap()], arguments].concat()))
    }

    /// The matches of a run that ends well.
    fn rows(&self, arguments: &[&str]) -> Vec<Value> {
        let ran = self.run(&[arguments, &["-o", "ndjson"]].concat());
        assert_eq!(ran.code, Some(0), "{ran:?}");
        rows(&ran.out)
    }
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn places(rows: &[Value]) -> Vec<(u64, &str)> {
    rows.iter().map(|row| (row["record"].as_u64().unwrap(), row["rule_title"].as_str().unwrap())).collect()
}

fn tree(second: u32, command_line: &str) -> Value {
    json!({"Event": {"System": {"EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "Computer": "pc-1", "EventRecordID": 900 + second,
        "TimeCreated": {"#attributes": {"SystemTime": format!("2026-11-21T10:00:{second:02}.000000Z")}}},
        "EventData": {"Image": "C:\\Windows\\System32\\powershell.exe", "CommandLine": command_line}}})
}

fn flat(second: u32, command_line: &str) -> Value {
    json!({"EventID": 1, "Channel": "Microsoft-Windows-Sysmon/Operational", "Hostname": "pc-1", "EventTime": format!("2026-11-21 10:00:{second:02}"),
        "Image": "C:\\Windows\\System32\\powershell.exe", "CommandLine": command_line})
}

fn start(second: u32) -> Value {
    json!({"ts": format!("2026-11-21T10:00:{second:02}Z"), "category": "process_creation", "product": "linux", "host": "app-07",
        "Image": "/bin/sh", "ParentImage": "/usr/sbin/nginx"})
}

fn ndjson(events: &[Value]) -> String {
    events.iter().map(|event| format!("{event}\n")).collect()
}

#[test]
fn a_match_says_where_what_and_why() {
    let desk = Desk::new();
    let file = desk.write("events.jsonl", ndjson(&[tree(1, "powershell"), tree(2, "powershell -enc AAAA")]));
    let rows = desk.rows(&[&file]);
    assert_eq!(
        rows,
        [json!({"file": file, "record": 2, "event_record_id": 902, "rule_id": "7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b02",
            "rule_title": "Encoded PowerShell", "rule_path": desk.path("rules/all.yml"), "level": "medium", "tags": [], "author": "",
            "references": [], "event_time": "2026-11-21T10:00:02.000000Z", "computer": "pc-1",
            "channel": "Microsoft-Windows-Sysmon/Operational", "event_id": 1, "kind": "rule", "matched_selections": ["selection"],
            "matched_fields": [{"field": "Image", "value": "C:\\Windows\\System32\\powershell.exe"},
                {"field": "CommandLine", "value": "powershell -enc AAAA"}]})]
    );
    let with_event = desk.rows(&["--include-event", &file]);
    assert_eq!(with_event[0]["event"]["CommandLine"], "powershell -enc AAAA");
}

#[test]
fn every_text_format_is_told_by_its_first_bytes() {
    let desk = Desk::new();
    let audit = "type=SYSCALL msg=audit(1795255200.155:7): arch=c000003e syscall=59 exe=\"/usr/bin/tar\"\n\
        type=EXECVE msg=audit(1795255200.155:7): argc=3 a0=\"tar\" a1=2D63 a2=\"x\"\ntype=EOE msg=audit(1795255200.155:7):\n";
    let pretty = serde_json::to_string_pretty(&json!([start(1), start(2)])).unwrap();
    for (name, text, wanted) in [
        ("flat.json", ndjson(&[flat(1, "x -enc y")]), vec![(1, "Encoded PowerShell")]),
        ("events.ndjson", ndjson(&[start(1)]), vec![(1, "Shell of a web server")]),
        ("array.json", pretty, vec![(2, "Shell of a web server"), (10, "Shell of a web server")]),
        ("audit.log", audit.to_string(), vec![(2, "Archive")]),
        (
            "auth.log",
            "Nov 21 10:00:00 app-07 sshd[1]: Failed password for bob\nNov 21 10:00:00 app-07 cron[1]: Failed password\n".into(),
            vec![(1, "Refused login")],
        ),
    ] {
        let file = desk.write(name, text);
        assert_eq!(places(&desk.rows(&[&file])), wanted, "{name}");
    }
}

#[test]
fn a_logsource_that_is_named_serves_events_that_do_not_say_theirs() {
    let desk = Desk::new();
    let file = desk.write("starts.json", "{\"Image\": \"/bin/sh\", \"ParentImage\": \"/usr/sbin/nginx\"}\n");
    let ran = desk.run(&[&file, "-o", "ndjson"]);
    assert!(ran.code == Some(0) && ran.out.is_empty() && ran.talk.contains("1 events are of no logsource"), "{ran:?}");
    let rows = desk.rows(&["--logsource", "product=linux,category=process_creation", "--format", "flat-json", &file]);
    assert_eq!(places(&rows), [(1, "Shell of a web server")]);
}

#[test]
fn packed_files_folders_and_standard_input_are_read_in_order() {
    let desk = Desk::new();
    desk.write("in/b.json.zst", zstd::bulk::compress(ndjson(&[start(1), start(2)]).as_bytes(), 3).unwrap());
    desk.write("in/a/c.log", "Nov 21 10:00:00 app-07 sshd[1]: Failed password\n");
    desk.write("in/picture.png", b"\x89PNG\0");
    let folder = desk.path("in");
    let ran = desk.run(&[folder.to_str().unwrap(), "-o", "ndjson"]);
    assert_eq!(places(&rows(&ran.out)), [(1, "Refused login"), (1, "Shell of a web server"), (2, "Shell of a web server")]);
    assert!(ran.code == Some(0) && ran.talk.contains("1 files of folders were passed over"), "{ran:?}");
    assert!(ran.talk.contains("3 events of 2 files judged by 4 rules") && ran.talk.contains("events/s"), "{ran:?}");
    let mut command = beffroi(&["eval", "-r", desk.path("rules").to_str().unwrap(), "-o", "ndjson", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(ndjson(&[start(1)]).as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    assert_eq!(rows(&String::from_utf8(out.stdout).unwrap())[0]["file"], "-");
}

#[test]
fn matches_come_in_the_order_of_the_input_whatever_the_threads() {
    let desk = Desk::new();
    let events: Vec<Value> =
        (0..20_000).map(|number| if number % 10 == 0 { start(number % 60) } else { flat(number % 60, "x") }).collect();
    let file = desk.write("many.json", ndjson(&events));
    let alone = desk.rows(&["--threads", "1", &file]);
    assert_eq!(alone.len(), 2_000);
    assert!(alone.windows(2).all(|pair| pair[0]["record"].as_u64() < pair[1]["record"].as_u64()));
    assert_eq!(desk.rows(&["--threads", "7", &file]), alone);
}

#[test]
fn a_timeline_is_sorted_by_time_and_json_is_one_document() {
    let desk = Desk::new();
    let file = desk.write("events.json", ndjson(&[start(30), start(10), flat(20, "-enc"), start(5)]));
    let ran = desk.run(&[&file, "-o", "csv"]);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert!(lines[0].starts_with("TIME,LEVEL,RULE,COMPUTER,CHANNEL,EVENT,KIND,FILE,RECORD,"), "{ran:?}");
    let seconds: Vec<&str> = lines[1..].iter().map(|line| &line[17..19]).collect();
    assert_eq!(seconds, ["05", "10", "30"], "{ran:?}");
    let ran = desk.run(&[&file, "-o", "json"]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&ran.out).unwrap().len(), 3);
    assert_eq!(desk.run(&[&desk.write("none.json", "{}\n"), "-o", "json"]).out, "[\n]\n");
    assert!(desk.run(&[&file, "-o", "table"]).out.contains("Shell of a web server"));
}

#[test]
fn rules_and_times_can_be_chosen() {
    let desk = Desk::new();
    let file = desk.write("events.json", ndjson(&[start(10), flat(20, " -enc"), start(30)]));
    let titles = |arguments: &[&str]| {
        desk.rows(&[arguments, &[&file]].concat()).iter().map(|row| row["record"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(titles(&[]), [1, 2, 3]);
    assert_eq!(titles(&["--min-level", "high"]), [1, 3]);
    assert_eq!(titles(&["--status", "stable"]), [2]);
    assert_eq!(titles(&["--status", "stable", "--status", "test"]), [1, 2, 3]);
    assert_eq!(titles(&["--exclude-rule", "7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b01"]), [2]);
    assert_eq!(titles(&["--since", "2026-11-21T10:00:20Z"]), [2, 3]);
    assert_eq!(titles(&["--until", "2026-11-21T10:00:20Z"]), [1]);
}

#[test]
fn exit_codes_tell_found_bad_rules_and_bad_input_apart() {
    let desk = Desk::new();
    let (hit, clean) =
        (desk.write("hit.json", ndjson(&[start(1)])), desk.write("clean.json", "{\"ts\": 1, \"category\": \"file_event\"}\n"));
    assert_eq!(desk.run(&[&hit]).code, Some(0));
    assert_eq!(desk.run(&["--fail-on-detection", &hit]).code, Some(1));
    assert_eq!(desk.run(&["--fail-on-detection", &clean]).code, Some(0));
    let ran = desk.run(&["/nonexistent/x.evtx", &hit, "-o", "ndjson"]);
    assert!(ran.code == Some(3) && ran.out.lines().count() == 1 && ran.talk.contains("/nonexistent/x.evtx"), "{ran:?}");
    for arguments in [&["--format", "xml", &hit][..], &["--logsource", "host=x", &hit], &["--since", "soon", &hit], &[]] {
        assert_eq!(desk.run(arguments).code, Some(3), "{arguments:?}");
    }
    assert_eq!(Ran::of(&mut beffroi(&["detect", "-r", "/nonexistent", &hit])).code, Some(3));
    desk.write("rules/bad.yml", "title: [\n");
    let ran = desk.run(&[&hit]);
    assert!(ran.code == Some(0) && ran.talk.contains("bad.yml"), "{ran:?}");
    assert_eq!(desk.run(&["--strict", &hit]).code, Some(2));
    desk.write("rules/all.yml", "title: [\n");
    assert_eq!(desk.run(&[&hit]).code, Some(2));
}

#[test]
fn what_cannot_be_read_is_told_with_file_and_record_and_the_rest_is_judged() {
    let desk = Desk::new();
    let deep = "{\"a\":".repeat(200_000);
    let text =
        [b"rubbish\n".to_vec(), deep.into_bytes(), b"\n{\"ts\": \"\xff\"}\n".to_vec(), ndjson(&[start(1)]).into_bytes()].concat();
    let file = desk.write("mixed.json", [b"{}\n".to_vec(), text].concat());
    let ran = desk.run(&[&file, "-o", "ndjson"]);
    assert_eq!((ran.code, places(&rows(&ran.out))), (Some(0), vec![(5, "Shell of a web server")]), "{ran:?}");
    for told in [":2: json", ":3: json", ":4: encoding", "skipped: 2 json, 1 encoding"] {
        assert!(ran.talk.contains(told), "{told}: {ran:?}");
    }
    let ran = desk.run(&["--format", "flat-json", &desk.write("rubbish.json", "rubbish\nmore\n")]);
    assert_eq!(ran.code, Some(3), "nothing of it is an event: {ran:?}");
    let ran = desk.run(&[&desk.write("program.log", b"MZ\0\0\x01"), &file, "-o", "ndjson"]);
    assert!(ran.code == Some(3) && ran.talk.contains("program.log: format") && ran.out.lines().count() == 1, "{ran:?}");
}

#[test]
fn a_cut_off_or_bursting_packed_file_is_bad_input_and_what_came_before_is_judged() {
    let desk = Desk::new();
    let events: Vec<Value> = (0..5_000).map(|number| start(number % 60)).collect();
    let packed = zstd::bulk::compress(ndjson(&events).as_bytes(), 1).unwrap();
    let ran = desk.run(&[&desk.write("cut.json.zst", &packed[..packed.len() / 2]), "-o", "ndjson"]);
    assert!(ran.code == Some(3) && ran.talk.contains("compression"), "{ran:?}");
    let mut bomb = zstd::Encoder::new(Vec::new(), 19).unwrap();
    let zeros = vec![b' '; 1 << 20];
    (0..400).for_each(|_| bomb.write_all(&zeros).unwrap());
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let good = desk.write("good.json", ndjson(&[start(1)]));
    let ran = desk.run(&[&desk.write("bomb.json.zst", bomb), &good, "-o", "ndjson"]);
    assert!(ran.code == Some(3) && ran.talk.contains("bomb.json.zst"), "{ran:?}");
    assert_eq!(rows(&ran.out).len(), 1, "{ran:?}");
}

#[test]
fn correlations_count_over_files_and_their_rules_stay_silent() {
    let desk = Desk::new();
    desk.write(
        "rules/burst.yml",
        "title: Burst of shells\nid: 7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b09\nlevel: critical\ncorrelation:\n  type: event_count\n  \
         rules: [7f3f3c5e-8a8e-4a57-9c56-0d8f6f3a1b01]\n  group-by: [Computer]\n  timespan: 1m\n  condition: {gte: 3}\n",
    );
    let one = desk.write("1.json", ndjson(&[start(30), start(10)]));
    let two = desk.write("2.json", ndjson(&[start(20), flat(1, "x -enc y")]));
    let found = desk.rows(&[&one, &two]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0]["kind"], "rule", "only the rule that no correlation refers to alerts on its own");
    let burst = &found[1];
    assert_eq!(
        (&burst["kind"], &burst["group"], &burst["level"]),
        (&json!("correlation"), &json!({"Computer": "app-07"}), &json!("critical"))
    );
    assert_eq!(
        (&burst["file"], &burst["record"], &burst["event_time"]),
        (&json!(one), &json!(1), &json!("2026-11-21T10:00:30.000000Z"))
    );
    assert!(desk.rows(&["--min-level", "critical", &one, &two]).len() == 1, "the rule beneath is judged all the same");
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_what_was_found_and_is_no_success() {
    use std::io::{BufRead, BufReader};
    let desk = Desk::new();
    let mut command = beffroi(&["detect", "-r", desk.path("rules").to_str().unwrap(), "-o", "ndjson", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than one block, so that the first matches are written while the input stays open.
    let events: Vec<Value> = (0..5_000).map(|number| start(number % 60)).collect();
    stdin.write_all(ndjson(&events).as_bytes()).unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("Shell of a web server"), "{line}");
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let rest = out.lines().map(Result::unwrap).filter(|line| !line.is_empty()).count();
    assert!(rest > 100, "{rest}");
    let mut talk = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut talk).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{talk}");
    assert!(talk.contains("interrupted"), "{talk}");
    drop(stdin);
}

/// A recorded event log and the one of its records that can be spared.
fn event_log() -> Option<Vec<u8>> {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/evtx/yamato/raw-evtx.tar.zst");
    if !archive.is_file() {
        eprintln!("SKIPPED: ../shared/corpora is not beside this checkout");
        return None;
    }
    let mut decoder = zstd::Decoder::new(std::fs::File::open(archive).unwrap()).unwrap();
    decoder.window_log_max(27).unwrap();
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut decoder, &mut bytes).unwrap();
    let at = bytes.windows(8).position(|window| window == b"ElfFile\0").unwrap();
    Some(bytes[at..at + 4_096 + 65_536].to_vec())
}

#[test]
fn a_damaged_event_log_is_told_and_the_rest_of_it_is_judged() {
    let Some(mut log) = event_log() else { return };
    let desk = Desk::new();
    desk.write(
        "rules/all.yml",
        "title: Any\nid: any\nlogsource: {product: windows}\ndetection: {s: {EventID|exists: true}, condition: s}\n",
    );
    let sound = desk.rows(&[&desk.write("sound.evtx", &log)]);
    assert!(sound.len() >= 3 && sound.iter().all(|row| row["event_record_id"].is_u64()), "{sound:?}");
    let first = u32::from_le_bytes(log[4_612..4_616].try_into().unwrap()) as usize;
    log[4_096 + 512 + first + 5] ^= 0x7f;
    let ran = desk.run(&[&desk.write("damaged.evtx", &log), "-o", "ndjson"]);
    assert!(ran.code == Some(0) && ran.talk.contains("evtx_chunk"), "{ran:?}");
    assert_eq!(rows(&ran.out).len(), sound.len() - 1);
    let ran = desk.run(&["--format", "evtx", &desk.write("none.evtx", "no event log")]);
    assert!(ran.code == Some(3) && ran.talk.contains("ElfFile"), "{ran:?}");
}
