//! Exit codes, errors with advice, and what is the same for every verb.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Ran, Stub, alert, beffroi};
use serde_json::json;

#[test]
fn usage_errors_are_3_and_say_what_to_write() {
    let stub = Stub::saying(json!({}));
    for (arguments, word) in [
        (&["alerts", "lst"][..], "list"),
        (&["alerts", "list", "--level", "grave"], "critical"),
        (&["alerts", "list", "--since", "yesterday"], "24h"),
        (&["alerts", "list", "--tz", "Mars/Olympus"], "Europe/Paris"),
        (&["events", "search", "Image"], "FIELD=VALUE"),
        (&["events", "around", "ab", "--window", "wide"], "10m"),
        (&["hosts", "revoke", "ab"], "--reason"),
        (&["alerts", "list", "--config", "/nonexistent/x.toml"], "--config"),
        (&["alerts", "list", "--api", "ftp://x"], "http://127.0.0.1:8080"),
        (&["alerts", "list", "--token-file", "/nonexistent/token"], "/nonexistent/token"),
        (&["enroll", "token", "--tenant", "t"], "--gateway"),
        (&["rules", "check", "/nonexistent"], "/nonexistent"),
        (&["bus", "topics"], "--config-collector"),
        (&["scan", "start", "--path", "/", "--hosts", "x"], "--rules"),
        (&["scan", "start", "-r", "/nonexistent", "--path", "/", "--hosts", "x"], "/nonexistent"),
        (&["scan", "cancel", "ab"], "operator_key"),
        (&["token", "create", "--name", "a", "--scope", "root", "--tenant", "t"], "analyst"),
        (&["token", "create", "--name", "a", "--scope", "admin", "--tenant", "t", "--expires", "never"], "24h"),
        (&["audit", "list", "--since", "yesterday"], "24h"),
    ] {
        let ran = stub.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{arguments:?}: {}", ran.talk);
        assert!(ran.talk.contains(word), "{arguments:?}: {}", ran.talk);
    }
    assert!(stub.calls().is_empty());
}

#[test]
fn a_refusal_of_the_server_is_4_with_its_own_advice() {
    let stub = Stub::new(|_| {
        (409, json!({"code": "ambiguous", "error": "the alert prefix fits 2 of them", "hint": "write more of the id"}))
    });
    let ran = stub.run(&["alerts", "show", "001122"]);
    assert_eq!(ran.code, Some(4));
    assert_eq!(ran.talk, "error: the alert prefix fits 2 of them\n hint: write more of the id\n");
}

#[test]
fn an_api_that_is_not_there_is_4_and_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stub = Stub::saying(json!({}));
    for verb in [&["alerts", "tail"][..], &["status"]] {
        let ran = stub.run(&[verb, &["--api", &format!("http://{free}")]].concat());
        assert_eq!(ran.code, Some(4));
        assert!(ran.talk.contains(&free.to_string()) && ran.talk.contains("is the collector running"), "{}", ran.talk);
    }
}

#[test]
fn what_is_no_beffroi_api_is_4() {
    let ran = Stub::new(|_| (404, json!("nginx"))).run(&["status"]);
    assert!(ran.code == Some(4) && ran.talk.contains("404") && ran.talk.contains("really a Beffroi API"), "{}", ran.talk);
    let ran = Stub::saying(json!({"alerts": []})).run(&["alerts", "tail"]);
    assert!(ran.code == Some(4) && ran.talk.contains("same version"), "{}", ran.talk);
}

#[test]
fn a_role_that_is_not_ready_is_4_after_the_whole_answer() {
    let ran =
        Stub::saying(json!({"roles": [{"role": "store", "ready": false, "detail": "ClickHouse is away"}]})).run(&["status"]);
    assert_eq!(ran.code, Some(4));
    assert!(ran.out.contains("ClickHouse is away") && ran.talk.contains("not ready: store"), "{ran:?}");
}

#[test]
fn a_pipe_gets_ndjson_and_no_colours_come_with_or_without_no_color() {
    let stub = Stub::saying(json!({"alerts": [alert("ab", "x"), alert("cd", "y")], "total": 2}));
    let plain = stub.run(&["alerts", "list"]);
    assert_eq!(plain.out.lines().count(), 2);
    for (name, value) in [("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")] {
        assert_eq!(Ran::of(stub.command(&["alerts", "list"]).env(name, value)).out, plain.out);
        let help = Ran::of(beffroi(&["--help"]).env(name, value));
        assert!(!help.out.contains('\u{1b}') && help.code == Some(0), "{}", help.out);
    }
}

#[test]
fn every_verb_has_help_that_names_its_purpose_and_a_manual_page() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    assert_eq!(Ran::of(&mut beffroi(&["man", to])).code, Some(0));
    for verb in [
        "alerts list",
        "alerts show",
        "alerts tail",
        "events search",
        "events tree",
        "events around",
        "hosts list",
        "hosts show",
        "hosts revoke",
        "enroll token",
        "enroll list",
        "enroll revoke",
        "gaps list",
        "rules check",
        "rules test",
        "rules inert",
        "rules explain",
        "rules backtest",
        "rules coverage",
        "scan start",
        "scan list",
        "scan status",
        "scan results",
        "scan cancel",
        "key root new",
        "key operator new",
        "key certify",
        "key revoke",
        "key publish",
        "key show",
        "token create",
        "token list",
        "token revoke",
        "audit list",
        "whoami",
        "bus topics",
        "bus lag",
        "bus tail",
        "status",
        "completions",
        "man",
    ] {
        let words: Vec<&str> = verb.split(' ').chain(["--help"]).collect();
        let help = Ran::of(&mut beffroi(&words));
        assert!(help.code == Some(0) && help.talk.is_empty(), "{verb}: {help:?}");
        assert!(help.out.contains(&format!("Usage: beffroi {verb}")) && help.out.contains("--output"), "{verb}: {}", help.out);
        assert!(help.out.lines().next().is_some_and(|line| line.len() > 10), "{verb}: {}", help.out);
        let page = std::fs::read_to_string(folder.path().join(format!("beffroi-{}.1", verb.replace(' ', "-")))).unwrap();
        assert!(page.starts_with(".ie") || page.contains(".TH"), "{verb}");
    }
    let search = Ran::of(&mut beffroi(&["events", "search", "--help"])).out;
    assert!(["FIELD=VALUE", "FIELD~TEXT", "FIELD~base64:TEXT", "FIELD~re:"].iter().all(|form| search.contains(form)), "{search}");
    let exits = Ran::of(&mut beffroi(&["--help"])).out;
    assert!(
        exits.contains("Exit codes: 0 done, 1 found (--fail-on-match, --fail-on-detection)")
            && exits.contains("5 not every host"),
        "{exits}"
    );
    // Nothing that a shell could be pasted is broken over two lines.
    for verb in [&["key", "--help"][..], &["scan", "start", "--help"]] {
        let help = Ran::of(&mut beffroi(verb)).out;
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
}

#[test]
fn completions_know_the_verbs() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = Ran::of(&mut beffroi(&["completions", shell]));
        assert!(
            ran.code == Some(0) && ["revoke", "certify", "whoami", "legal-basis"].iter().all(|word| ran.out.contains(word)),
            "{shell}"
        );
    }
}

#[test]
fn a_reader_that_has_gone_is_no_error_to_tell_of_and_a_full_disk_is() {
    let stub = Stub::saying(json!({"alerts": [alert("ab", "x")], "total": 1}));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ran = Ran::of(stub.command(&["alerts", "list"]).stdout(writer));
    assert_eq!((ran.code, ran.talk.as_str()), (Some(130), ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Ran::of(stub.command(&["alerts", "list"]).stdout(full));
    assert!(ran.code == Some(3) && ran.talk.contains("cannot write the answer"), "{ran:?}");
}

#[test]
fn a_token_goes_into_a_private_file_with_the_operators_gateway_and_ca() {
    let stub = Stub::new(|_| (201, json!({"token_id": "0011223344556677", "secret": "00112233445566778899aabbccddeeff"})));
    std::fs::write(stub.path("ca.pem"), "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n").unwrap();
    let (ca, out) = (stub.path("ca.pem"), stub.path("t"));
    let arguments = [
        "enroll",
        "token",
        "--tenant",
        "interieur",
        "--uses",
        "3",
        "--expires",
        "2h",
        "--cidr",
        "10.0.0.0/8",
        "--label",
        "site=lyon",
        "--gateway",
        "https://gw.example:8443/",
        "--ca-file",
        ca.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ];
    let ran = stub.run(&arguments);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.talk);
    assert_eq!(std::fs::metadata(&out).unwrap().permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&out).unwrap();
    let token = beffroi_schema::session::EnrollToken::parse(text.trim()).unwrap();
    assert_eq!((token.gateway.as_str(), token.tenant.as_str()), ("https://gw.example:8443", "interieur"));
    assert!(!ran.talk.contains(&token.secret));
    let body = &stub.calls()[0].body;
    assert_eq!(
        *body,
        json!({"tenant": "interieur", "uses": 3, "expires_seconds": 7200, "cidrs": ["10.0.0.0/8"], "labels": {"site": "lyon"}})
    );
    // A second time the file is in the way: nothing is made on the server.
    assert_eq!(stub.run(&arguments).code, Some(3));
    assert_eq!(stub.calls().len(), 1);
    // Without --out only the token stands on stdout.
    let ran = stub.run(&arguments[..arguments.len() - 2]);
    assert_eq!(ran.out.trim_end(), text.trim_end());
}

struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_tail_goes_on_where_it_stopped_when_the_api_was_away_and_ends_with_130() {
    let asked = AtomicUsize::new(0);
    let stub = Stub::new(move |call| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => (200, json!({"alerts": [], "next": "1"})),
        1 => (200, json!({"alerts": [alert("aa", "first")], "next": "2"})),
        2 => (503, json!({"code": "x", "error": "the store cannot answer now", "hint": "wait"})),
        3 => (200, json!({"alerts": [alert("bb", "second")], "next": "3"})),
        _ => {
            assert!(call.query.contains("after=3"), "{call:?}");
            std::thread::park();
            (200, json!({}))
        }
    });
    let mut tail = Tail(stub.command(&["alerts", "tail", "--tenant", "interieur"]).spawn().unwrap());
    let mut lines = BufReader::new(tail.0.stdout.take().unwrap()).lines();
    assert!(lines.next().unwrap().unwrap().contains("first"));
    assert!(lines.next().unwrap().unwrap().contains("second"));
    let queries: Vec<String> = stub.calls().into_iter().map(|call| call.query).collect();
    let expected = ["wait=0", "after=1", "after=2", "after=2"];
    assert!(
        queries.iter().zip(expected).all(|(query, part)| query.contains(part) && query.contains("tenant=interieur")),
        "{queries:?}"
    );
    let interrupted = Command::new("sh").args(["-c", &format!("kill -INT {}", tail.0.id())]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(tail.0.wait().unwrap().code(), Some(130));
    let mut talk = String::new();
    tail.0.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
    assert!(talk.contains("the store cannot answer now") && talk.contains("answers again"), "{talk}");
}

#[test]
fn the_embedded_bus_is_left_to_its_owner() {
    let stub = Stub::saying(json!({}));
    let config = stub.path("collector.toml");
    let bus = |text: &str| {
        std::fs::write(&config, text).unwrap();
        stub.run(&["bus", "lag", "--config-collector", config.to_str().unwrap()])
    };
    for text in ["data = \"/var/lib/beffroi\"\n", "[bus]\nkind = \"embedded\"\n"] {
        let ran = bus(text);
        assert!(ran.code == Some(3) && ran.talk.contains("beffroi status"), "{ran:?}");
    }
    let ran = bus("[bus]\nkind = \"kafka\"\nbrokrs = []\n");
    assert!(ran.code == Some(3) && ran.talk.contains("brokrs") && ran.talk.contains("line"), "{ran:?}");
    let ran = bus("[bus]\nkind = \"kafka\"\nbrokers = [\"nowhere\"]\n");
    assert!(ran.code == Some(3) && ran.talk.contains("bus.brokers"), "{ran:?}");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = bus(&format!("[bus]\nkind = \"kafka\"\nbrokers = [\"{free}\"]\n"));
    assert!(ran.code == Some(4) && ran.talk.contains("the bus is not available"), "{ran:?}");
    let tail = stub.run(&["bus", "tail", "dlq", "-o", "csv", "--config-collector", config.to_str().unwrap()]);
    assert!(tail.code == Some(3) && tail.talk.contains("NDJSON"), "{tail:?}");
}
