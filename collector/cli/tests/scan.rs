//! `scan`: what is signed and sent, what is refused before anything is sent, how progress and results are told.
#![allow(clippy::unwrap_used, reason = "a scratch folder that cannot be used must end its test")]

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use beffroi_schema::down::{self, Grant, OperatorKey, Order, Signed, SignedKind, order};
use common::{Call, Ran, Stub, host};
use prost::Message;
use serde_json::{Value, json};

const WEB: &str = "aa000001000000000000000000000000";
const PC: &str = "bb000002000000000000000000000000";
const RULE: &str = "rule marker { strings: $a = \"harmless-marker\" condition: $a }\n";

fn now() -> i64 {
    jiff::Timestamp::now().as_microsecond()
}

/// Key and certificate of an operator, good until `not_after`, under a root of its own.
fn operator(folder: &Path, tenants: &[&str], not_after: i64) {
    let root = OperatorKey::generate_ed25519().unwrap();
    let not_before = not_after - 20 * 86_400 * 1_000_000;
    let own = down::root_certificate(&root, "root", not_before, now() + 86_400_000_000 * 30).unwrap();
    let key = OperatorKey::generate_p256().unwrap();
    let grant = Grant {
        name: "Alice".into(),
        tenants: tenants.iter().map(|name| (*name).to_owned()).collect(),
        roles: vec!["scan".into()],
        not_before,
        not_after,
        version: 1,
    };
    let certificate = down::certify(&root, own.encode_to_vec(), &key.public_key(), grant).unwrap();
    write(folder, "root.beffroi", &own);
    write(folder, "alice.beffroi", &certificate);
    std::fs::write(folder.join("alice.key"), key.to_pkcs8_pem().unwrap().as_bytes()).unwrap();
    std::process::Command::new("chmod").arg("600").arg(folder.join("alice.key")).status().unwrap();
}

fn write(folder: &Path, name: &str, signed: &Signed) {
    let body = base64::engine::general_purpose::STANDARD.encode(signed.encode_to_vec());
    std::fs::write(folder.join(name), format!("beffroi-signed-1 certificate\n{body}\n")).unwrap();
}

/// A fleet of two hosts, and an operator who may ask them. `status` is what the API says of the scan, call by call.
fn fleet(statuses: Vec<Value>) -> Stub {
    let asked = AtomicUsize::new(0);
    let stub = Stub::new(move |call: &Call| match (call.method.as_str(), call.path.as_str()) {
        ("GET", "/v1/hosts") => (200, json!({"hosts": hosts()})),
        ("POST", "/v1/scans") => (201, json!({"order_id": "x", "asked": 2})),
        ("POST", _) => (200, json!({"cancelled": true})),
        (_, path) if path.ends_with("/results") => (200, results()),
        _ => (200, statuses[asked.fetch_add(1, Ordering::SeqCst).min(statuses.len() - 1)].clone()),
    });
    operator(stub.home.path(), &["interieur"], now() + 86_400_000_000 * 10);
    std::fs::write(stub.path("marker.yar"), RULE).unwrap();
    for (name, file) in [("operator_key", "alice.key"), ("operator_cert", "alice.beffroi"), ("root_cert", "root.beffroi")] {
        stub.configure(&format!("{name} = {:?}", stub.path(file)));
    }
    stub
}

fn hosts() -> Value {
    let own = |id: &str, name: &str| {
        let mut own = host(name);
        own["agent_id"] = json!(id);
        own["revoked"] = Value::Null;
        own
    };
    json!([own(WEB, "web-01"), own(PC, "pc-14")])
}

/// A scan as the API shows it, with the state of each host.
fn scan(web: (&str, u64, u64), pc: (&str, u64, u64)) -> Value {
    let row = |id: &str, name: &str, (state, files, matched): (&str, u64, u64)| {
        json!({"agent_id": id, "hostname": name, "state": state, "files_scanned": files, "files_matched": matched,
            "files_skipped": 0, "files_timed_out": 0, "files_unknown": 0, "last_ts": "2026-11-21T10:00:05.000000Z",
            "reason": if state == "refused" { "no_root: this host has pinned no root" } else { "" }})
    };
    let is = |state: &str| u64::from(web.0 == state) + u64::from(pc.0 == state);
    let answered = is("done") + is("refused") + is("cancelled") + is("expired") + is("failed");
    json!({"order_id": "00112233445566778899aabbccddeeff", "tenant": "interieur", "issued": "2026-11-21T10:00:00.000000Z",
        "expires": "2026-11-21T10:15:00.000000Z", "by": "alice", "operator_key": "ab".repeat(32), "note": "log4shell",
        "ticket": "T-1", "purpose": "", "legal_basis": "", "tlp": "amber", "pap": "", "paths": ["/opt", "/srv"],
        "rules": ["cd".repeat(32)], "state": if answered == 2 { "done" } else { "running" }, "asked": 2, "accepted": 2,
        "answered": answered, "refused": is("refused"), "running": is("running"), "offline": is("offline"),
        "files_scanned": web.1 + pc.1, "files_matched": web.2 + pc.2, "files_skipped": 17, "files_timed_out": 0,
        "files_unknown": 2, "hosts_matched": 1, "hosts": [row(PC, "pc-14", pc), row(WEB, "web-01", web)]})
}

fn results() -> Value {
    json!({"order_id": "00112233445566778899aabbccddeeff",
        "matches": [{"ts": "2026-11-21T10:00:03.000000Z", "host": "web-01", "agent_id": WEB, "rule": "marker",
            "path": "/opt/app.war!/WEB-INF/lib/log4j-core.jar!/JndiLookup.class", "sha256": "ef".repeat(32), "event_id": "e", "alert": "ab".repeat(32)}],
        "unknown": [{"ts": "2026-11-21T10:00:04.000000Z", "host": "web-01", "agent_id": WEB, "path": "/srv/secret.zip!/a", "reason": "encrypted"}]})
}

fn start(stub: &Stub, extra: &[&str]) -> Ran {
    let rules = stub.path("marker.yar");
    let mut all = vec!["scan", "start", "-r", rules.to_str().unwrap()];
    if !extra.contains(&"--path") {
        all.extend(["--path", "/opt"]);
    }
    if !extra.contains(&"--hosts") {
        all.extend(["--hosts", "web-01,pc-*"]);
    }
    all.extend(extra);
    stub.run(&all)
}

/// The order in what was posted, verified under the operator's own root as a host would.
fn posted(stub: &Stub, body: &Value) -> Order {
    let decode = |value: &Value| base64::engine::general_purpose::STANDARD.decode(value.as_str().unwrap()).unwrap();
    let signed = down::parse(&decode(&body["envelope"])).unwrap();
    let text = std::fs::read_to_string(stub.path("root.beffroi")).unwrap();
    let root = decode(&json!(text.lines().nth(1).unwrap()));
    let (_, key) = down::read_certificate(&root).unwrap();
    let by = down::verify_chain(&signed, SignedKind::Order, &key.key_id(), now(), |_| false).unwrap();
    let order: Order = down::read_body(&signed, SignedKind::Order).unwrap();
    down::rules_of_order(&order, &by, "interieur", WEB.parse().unwrap(), now()).unwrap();
    order
}

#[test]
fn the_order_that_is_sent_is_one_that_the_named_hosts_would_take() {
    let stub = fleet(vec![]);
    let ran = start(
        &stub,
        &["--path", "/srv", "--note", "log4shell", "--ticket", "T-1", "--tlp", "amber", "--max-file-size", "64M", "-o", "json"],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.talk);
    let call = stub.calls().into_iter().find(|call| call.method == "POST").unwrap();
    assert_eq!(call.path, "/v1/scans");
    let blob = base64::engine::general_purpose::STANDARD.encode(RULE);
    assert_eq!(call.body["blobs"], json!([blob]));
    let order = posted(&stub, &call.body);
    let target = order.target.clone().unwrap();
    let asked: Vec<String> = target.agent_ids.iter().map(hex::encode).collect();
    assert_eq!((asked, target.whole_tenant, target.tenant.as_str()), (vec![WEB.into(), PC.into()], false, "interieur"));
    assert_eq!((order.note.as_str(), order.ticket.as_str(), order.tlp.as_str()), ("log4shell", "T-1", "amber"));
    assert_eq!(order.expires - order.issued, 15 * 60 * 1_000_000);
    let Some(order::Action::Scan(asked)) = order.action else { panic!("no scan") };
    assert_eq!((asked.paths, asked.max_file_bytes, asked.recursive), (vec![b"/srv".to_vec()], 64 << 20, true));
    assert_eq!(asked.rules_sha256, [down::blob_name(RULE.as_bytes()).to_vec()]);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&said["order_id"], &said["asked"]), (&json!(hex::encode(&order.order_id)), &json!(2)));
    for shown in ["2 of tenant interieur: web-01, pc-14", "/srv", "1 in 1 file(s)", "Alice (key "] {
        assert!(ran.talk.contains(shown), "{shown}: {}", ran.talk);
    }
}

#[test]
fn a_whole_tenant_is_asked_for_seven_days_and_names_nobody() {
    let stub = fleet(vec![]);
    let ran = start(&stub, &["--hosts", "tenant:*"]);
    assert_eq!(ran.code, Some(0), "{}", ran.talk);
    let body = stub.calls().into_iter().find(|call| call.method == "POST").unwrap().body;
    let order = posted(&stub, &body);
    let target = order.target.unwrap();
    assert!(target.whole_tenant && target.agent_ids.is_empty());
    assert_eq!(order.expires - order.issued, 7 * 86_400 * 1_000_000);
    assert!(ran.talk.contains("every host of tenant interieur"), "{}", ran.talk);
}

#[test]
fn a_dry_run_signs_and_sends_nothing() {
    let stub = fleet(vec![]);
    let ran = start(&stub, &["--dry-run", "--key", "/nonexistent"]);
    assert!(ran.code == Some(0) && ran.out.is_empty() && ran.talk.contains("nothing was signed or sent"), "{ran:?}");
    assert!(stub.calls().iter().all(|call| call.method == "GET"));
}

#[test]
fn a_rule_that_does_not_load_stops_everything_with_its_place() {
    let stub = fleet(vec![]);
    let good = stub.path("marker.yar");
    let bad = stub.path("bad.yar");
    std::fs::write(&bad, "rule a { condition: true }\nrule b { condition: nonsense }\n").unwrap();
    let ran = stub.run(&[
        "scan",
        "start",
        "-r",
        good.to_str().unwrap(),
        "-r",
        bad.to_str().unwrap(),
        "--path",
        "/",
        "--hosts",
        "web-01",
    ]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.talk.contains("bad.yar:2:") && ran.talk.contains("nothing was ordered"), "{}", ran.talk);
    assert!(stub.calls().is_empty());
}

#[test]
fn what_hosts_would_refuse_is_not_sent() {
    let stub = fleet(vec![]);
    let other = tempfile::tempdir().unwrap();
    operator(other.path(), &["justice"], now() + 86_400_000_000);
    let expired = tempfile::tempdir().unwrap();
    operator(expired.path(), &["interieur"], now() - 1_000_000);
    let foreign = tempfile::tempdir().unwrap();
    operator(foreign.path(), &["interieur"], now() + 86_400_000_000);
    let name = |folder: &tempfile::TempDir, file: &str| folder.path().join(file).to_str().unwrap().to_owned();
    let pair = |folder: &tempfile::TempDir| (name(folder, "alice.key"), name(folder, "alice.beffroi"));
    for ((key, cert), word) in [
        (pair(&other), "does not cover tenant interieur"),
        (pair(&expired), "has expired"),
        (pair(&foreign), "hosts would refuse this order"),
        ((name(&other, "alice.key"), name(&foreign, "alice.beffroi")), "is for key"),
        ((name(&other, "alice.beffroi"), name(&other, "alice.beffroi")), "by others"),
        ((name(&other, "alice.key"), name(&other, "alice.key")), "beffroi-signed-1"),
    ] {
        let ran = start(&stub, &["--key", &key, "--cert", &cert]);
        assert!(ran.code == Some(3) && ran.talk.contains(word), "{word}: {}", ran.talk);
    }
    for (extra, word) in [
        (&["--path", "opt"][..], "not absolute"),
        (&["--hosts", "nobody"], "no host fits"),
        (&["--expires", "8d"], "7 days at most"),
        (&["--max-file-size", "lots"], "64M"),
        (&["--tenant", "justice"], "no host fits"),
        (&["--note", &"x".repeat(1025)], "1024 bytes"),
        (&["--tlp", "purple"], "amber"),
        (&["--timeout", "1m"], "--wait"),
    ] {
        let ran = start(&stub, extra);
        assert!(ran.code == Some(3) && ran.talk.contains(word), "{extra:?}: {}", ran.talk);
    }
    assert!(stub.calls().iter().all(|call| call.method == "GET"), "{:?}", stub.calls());
}

#[test]
fn a_wait_tells_each_change_and_ends_with_the_sentence() {
    let stub = fleet(vec![
        scan(("asked", 0, 0), ("asked", 0, 0)),
        scan(("running", 40, 0), ("asked", 0, 0)),
        scan(("done", 48_000, 3), ("running", 10, 0)),
        scan(("done", 48_000, 3), ("done", 211, 0)),
    ]);
    let ran = start(&stub, &["--wait", "--timeout", "60s"]);
    assert_eq!(ran.code, Some(0), "{}", ran.talk);
    let lines: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("order", "scan"));
    let web: Vec<&Value> = lines.iter().filter(|line| line["hostname"] == "web-01").map(|line| &line["state"]).collect();
    assert_eq!(web, [&json!("asked"), &json!("running"), &json!("done")]);
    assert!(lines[lines.len() - 1].get("hosts").is_none() && lines[lines.len() - 1]["answered"] == 2);
    let sentence =
        "asked 2, answered 2, refused 0, offline 0; 48,211 files scanned, 3 matched, 17 skipped, 0 timed out, 2 unknown";
    assert!(ran.talk.contains(sentence), "{}", ran.talk);
    // The same in a table that no terminal shows: progress is talk, the page is data.
    let stub = fleet(vec![scan(("asked", 0, 0), ("asked", 0, 0)), scan(("done", 48_000, 3), ("done", 211, 0))]);
    let ran = start(&stub, &["--wait", "-o", "table"]);
    assert!(
        ran.out.trim_end().ends_with(sentence) && ran.talk.contains("web-01: done, 48,000 files scanned, 3 matched"),
        "{ran:?}"
    );
    assert!(!ran.talk.contains('\u{1b}') && !ran.out.contains('\u{1b}'));
}

#[test]
fn the_exit_code_says_whether_every_host_was_scanned_and_whether_something_was_found() {
    for (states, extra, code) in [
        ((("done", 5, 0), ("done", 5, 0)), &[][..], 0),
        ((("done", 5, 2), ("done", 5, 0)), &[], 0),
        ((("done", 5, 2), ("done", 5, 0)), &["--fail-on-match"], 1),
        ((("done", 5, 0), ("done", 5, 0)), &["--fail-on-match"], 0),
        ((("done", 5, 0), ("offline", 0, 0)), &[], 5),
        ((("done", 5, 0), ("refused", 0, 0)), &[], 5),
        ((("done", 5, 0), ("cancelled", 3, 0)), &[], 5),
        ((("done", 5, 0), ("failed", 0, 0)), &[], 5),
        ((("done", 5, 2), ("offline", 0, 0)), &["--fail-on-match"], 1),
        ((("done", 5, 0), ("running", 1, 0)), &["--timeout", "1s"], 5),
    ] {
        let stub = fleet(vec![scan(states.0, states.1)]);
        let ran = start(&stub, &[&["--wait"], extra].concat());
        assert_eq!(ran.code, Some(code), "{states:?} {extra:?}: {}", ran.talk);
    }
    let stub = fleet(vec![scan(("done", 5, 0), ("offline", 0, 0))]);
    let ran = start(&stub, &["--wait"]);
    assert!(ran.talk.contains("asked 2, answered 1, refused 0, offline 1 (pc-14)"), "{}", ran.talk);
    assert!(ran.talk.contains("asked when they come back, until 2026-11-21 10:15:00.000Z"), "{}", ran.talk);
}

#[test]
fn a_call_that_breaks_off_says_how_to_find_out() {
    let stub = Stub::new(|call| match call.path.as_str() {
        "/v1/hosts" => (200, json!({"hosts": hosts()})),
        _ => (503, json!({"code": "bus", "error": "the bus is away", "hint": "try again"})),
    });
    operator(stub.home.path(), &["*"], now() + 86_400_000_000);
    std::fs::write(stub.path("marker.yar"), RULE).unwrap();
    let (key, cert) = (stub.path("alice.key"), stub.path("alice.beffroi"));
    let ran = start(&stub, &["--key", key.to_str().unwrap(), "--cert", cert.to_str().unwrap()]);
    assert!(
        ran.code == Some(4) && ran.talk.contains("the bus is away") && ran.talk.contains("`beffroi scan status "),
        "{}",
        ran.talk
    );
}

#[test]
fn a_status_is_a_page_that_ends_with_the_sentence() {
    let stub = fleet(vec![scan(("done", 48_000, 3), ("refused", 0, 0))]);
    assert_eq!(
        stub.run(&["scan", "status", "001122", "-o", "table"]).out,
        "  Scan           00112233445566778899aabbccddeeff\n  \
           State          done\n  \
           Tenant         interieur\n  \
           Issued         2026-11-21 10:00:00.000Z\n  \
           Expires        2026-11-21 10:15:00.000Z\n  \
           By             alice\n  \
           Key            abababababababababababababababababababababababababababababababab\n  \
           Paths          /opt, /srv\n  \
           Rules          cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd\n  \
           Note           log4shell\n  \
           Ticket         T-1\n  \
           TLP            amber\n\
         \nHosts\n\
         HOST    STATE    SCANNED  MATCHED  SKIPPED  TIMED OUT  UNKNOWN  LAST WORD                 REASON                                 ID\n\
         pc-14   refused  0        0        0        0          0        2026-11-21 10:00:05.000Z  no_root: this host has pinned no root  bb0000020000\n\
         web-01  done     48000    3        0        0          0        2026-11-21 10:00:05.000Z                                         aa0000010000\n\
         \nasked 2, answered 2, refused 1 (pc-14), offline 0; 48,000 files scanned, 3 matched, 17 skipped, 0 timed out, 2 unknown\n"
    );
    let ran = stub.run(&["scan", "status", "001122", "-o", "csv"]);
    assert!(
        ran.out.starts_with("HOST,STATE,SCANNED") && ran.out.lines().count() == 3 && ran.talk.contains("refused 1 (pc-14)"),
        "{ran:?}"
    );
}

#[test]
fn a_list_of_scans_and_an_empty_one() {
    let mut line = scan(("done", 5, 0), ("offline", 0, 0));
    line.as_object_mut().unwrap().remove("hosts");
    let ran = Stub::saying(json!({"scans": [line]})).run(&["scan", "list", "-o", "table"]);
    assert_eq!(
        ran.out,
        "SCAN          STATE    TENANT     ISSUED                    BY     ASKED  ANSWERED  OFFLINE  FILES  MATCHED  NOTE\n\
         001122334455  running  interieur  2026-11-21 10:00:00.000Z  alice  2      1         1        5      0        log4shell\n"
    );
    let ran = Stub::saying(json!({"scans": []})).run(&["scan", "list", "-o", "json"]);
    assert!(ran.out == "[]\n" && ran.talk.contains("scan start"), "{ran:?}");
}

#[test]
fn results_show_what_was_found_and_what_could_not_be_looked_into() {
    let stub = fleet(vec![scan(("done", 48_000, 1), ("offline", 0, 0))]);
    let ran = stub.run(&["scan", "results", "001122", "-o", "table"]);
    assert_eq!(
        ran.out,
        "Matches (1)\n\
         TIME                      HOST    RULE    PATH                                                        SHA256            ALERT\n\
         2026-11-21 10:00:03.000Z  web-01  marker  /opt/app.war!/WEB-INF/lib/log4j-core.jar!/JndiLookup.class  efefefefefefefe…  abababababab\n\
         \nUnknown (1): not clean, not looked into to the end\n\
         TIME                      HOST    PATH                WHY\n\
         2026-11-21 10:00:04.000Z  web-01  /srv/secret.zip!/a  encrypted\n"
    );
    assert!(ran.talk.contains("asked 2, answered 1") && ran.talk.contains("1 more unknown: counted, not named"), "{}", ran.talk);
    let ran = stub.run(&["scan", "results", "001122", "-o", "ndjson"]);
    let kinds: Vec<Value> = ran.out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["kind"].clone()).collect();
    assert_eq!(kinds, [json!("match"), json!("unknown")]);
}

#[test]
fn nothing_found_says_what_it_rests_on() {
    let status = scan(("done", 48_000, 0), ("offline", 0, 0));
    let stub = Stub::new(move |call| {
        (200, if call.path.ends_with("/results") { json!({"matches": [], "unknown": []}) } else { status.clone() })
    });
    let ran = stub.run(&["scan", "results", "001122", "-o", "table"]);
    assert_eq!(ran.out, "Matches (0)\n");
    let said = "nothing found in 48,000 files on 1 of 2 hosts; it says nothing of 1 host without an answer (pc-14), \
                2 files that could not be looked into to the end, 17 files left out by size or kind\n";
    assert!(ran.talk.contains(said), "{}", ran.talk);
}

#[test]
fn a_cancellation_is_signed_for_the_hosts_that_were_asked() {
    let stub = fleet(vec![scan(("running", 5, 0), ("asked", 0, 0))]);
    let ran = stub.run(&["scan", "cancel", "001122", "-o", "table"]);
    assert_eq!(ran.code, Some(0), "{}", ran.talk);
    assert!(ran.out.contains("ends on 2 host(s)"), "{ran:?}");
    let call = stub.calls().into_iter().find(|call| call.method == "POST").unwrap();
    assert_eq!(call.path, "/v1/scans/00112233445566778899aabbccddeeff/cancel");
    let order = posted(&stub, &call.body);
    assert_eq!(order.target.unwrap().agent_ids.len(), 2);
    let Some(order::Action::Cancel(cancel)) = order.action else { panic!("no cancellation") };
    assert_eq!(hex::encode(cancel.order_id), "00112233445566778899aabbccddeeff");
}
