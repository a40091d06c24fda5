//! Tokens, audit, reasons, pauses and https: how the terminal speaks to the API.
#![allow(clippy::unwrap_used, reason = "a stub that cannot work must end its test")]

mod common;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Call, Stub, serve_on};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};

const TOKEN: &str = "bft_0123456789abcdef0123456789abcdef0123456789a";

fn created() -> Value {
    json!({"token_id": "0011223344556677", "token": TOKEN, "name": "alice", "scope": "analyst", "tenants": ["interieur"],
        "expires": "2026-12-22T10:00:00.000000Z"})
}

#[test]
fn a_token_is_shown_once_on_stdout_or_kept_in_a_private_file() {
    let stub = Stub::new(|_| (201, created()));
    let arguments = ["token", "create", "--name", "alice", "--scope", "analyst", "--tenant", "interieur", "--tenant", "justice"];
    for form in ["table", "json", "ndjson", "csv"] {
        let ran = stub.run(&[&arguments[..], &["-o", form]].concat());
        assert_eq!((ran.code, ran.out.trim_end()), (Some(0), TOKEN), "{}", ran.talk);
        assert!(!ran.talk.contains(TOKEN) && ran.talk.contains("0011223344556677"), "{}", ran.talk);
    }
    let body = json!({"name": "alice", "scope": "analyst", "tenants": ["interieur", "justice"], "expires_seconds": 30 * 86_400});
    assert_eq!((stub.calls()[0].path.as_str(), &stub.calls()[0].body), ("/v1/tokens", &body));
    let path = stub.path("alice.token");
    let out = ["--expires", "12h", "--out", path.to_str().unwrap()];
    let ran = stub.run(&[&arguments[..], &out].concat());
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{}", ran.talk);
    assert!(!ran.talk.contains(TOKEN), "{}", ran.talk);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{TOKEN}\n"));
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // A second time the file is in the way: no token is made that nobody would have.
    let asked = stub.calls().len();
    assert_eq!(stub.run(&[&arguments[..], &out].concat()).code, Some(3));
    assert_eq!(stub.calls().len(), asked);
}

#[test]
fn tokens_and_who_one_is_as_tables() {
    let token = json!({"token_id": "0011223344556677", "name": "alice", "scope": "csirt", "tenants": ["interieur", "justice"],
        "created": "2026-11-22T10:00:00.000000Z", "by": "admin", "expires": "2026-12-22T10:00:00.000000Z", "expired": false,
        "revoked": false, "last_used": "2026-11-22T11:00:00.000000Z"});
    assert_eq!(
        Stub::saying(json!({"tokens": [token]})).run(&["token", "list", "-o", "table"]).out,
        "TOKEN             NAME   SCOPE  TENANTS             CREATED                   BY     EXPIRES                   EXPIRED  REVOKED  LAST USED\n\
         0011223344556677  alice  csirt  interieur, justice  2026-11-22 10:00:00.000Z  admin  2026-12-22 10:00:00.000Z  false    false    2026-11-22 11:00:00.000Z\n"
    );
    let me = json!({"name": "alice", "token_id": "0011223344556677", "scope": "csirt", "tenants": ["*"], "expires": "2026-12-22T10:00:00.000000Z"});
    assert_eq!(
        Stub::saying(me).run(&["whoami", "-o", "table"]).out,
        "  Name           alice\n  Token          0011223344556677\n  Scope          csirt\n  Tenants        *\n  \
           Expires        2026-12-22 10:00:00.000Z\n  May            read, and give signed orders to hosts\n"
    );
    let stub = Stub::saying(json!({"token_id": "0011223344556677", "revoked": true}));
    let ran = stub.run(&["token", "revoke", "00/11", "-o", "table"]);
    assert_eq!(ran.out, "token 00/11 can no longer be used\n");
    assert_eq!((stub.calls()[0].method.as_str(), stub.calls()[0].path.as_str()), ("DELETE", "/v1/tokens/00%2F11"));
}

#[test]
fn the_audit_is_read_newest_first_and_says_what_it_lacks() {
    let record = json!({"ts": 1, "time": "2026-11-22T10:00:00.000000Z", "by": "alice", "token_id": "00", "scope": "analyst", "tenants": ["*"],
        "remote": "192.0.2.7:1234", "door": "api", "operation": "events.search", "method": "POST", "path": "/v1/events/search",
        "asked": {"filters": [{"field": "User", "op": "ne", "value": "root"}]}, "tenant": "interieur", "reason": "case 12", "rows": 7, "status": 200, "ms": 12});
    let stub = Stub::saying(json!({"records": [record], "behind": 3}));
    let ran = stub.run(&["audit", "list", "--since", "7d", "--by", "alice", "-o", "table"]);
    assert_eq!(
        ran.out,
        "TIME                      BY     FROM            DOOR  WHAT           ASKED         TENANT     STATUS  ROWS  MS  REASON\n\
         2026-11-22 10:00:00.000Z  alice  192.0.2.7:1234  api   events.search  User ne root  interieur  200     7     12  case 12\n"
    );
    assert!(ran.talk.contains("3 newer calls"), "{}", ran.talk);
    assert!(stub.calls()[0].query.contains("by=alice") && stub.calls()[0].query.contains("limit=100"), "{:?}", stub.calls());
}

#[test]
fn a_reason_goes_with_every_call_and_cannot_end_its_header() {
    let stub = Stub::saying(json!({"alerts": [], "total": 0}));
    stub.run(&["alerts", "list", "--reason", "étage 2\r\nX-Other: y"]);
    stub.run(&["--reason", "case 12", "events", "search", "User!=root"]);
    stub.run(&["alerts", "list"]);
    let calls = stub.calls();
    let reasons: Vec<&str> = calls.iter().map(|call| call.reason.as_str()).collect();
    assert_eq!(reasons, ["%C3%A9tage%202%0D%0AX-Other%3A%20y", "case%2012", ""]);
    assert_eq!(calls[1].body["filters"], json!([{"field": "User", "op": "ne", "value": "root"}]));
    let ran = stub.run(&["alerts", "list", "--reason", &"x".repeat(1_001)]);
    assert!(ran.code == Some(3) && stub.calls().len() == 3, "{ran:?}");
    // A host is revoked for a reason that stands in the call as well.
    let ran = stub.run(&["hosts", "revoke", "ab", "--reason", "stolen"]);
    let call = stub.calls().pop().unwrap();
    assert_eq!((ran.code, call.reason.as_str(), &call.body), (Some(0), "stolen", &json!({"reason": "stolen"})));
}

#[test]
fn refusals_say_what_the_reader_can_do_here() {
    for (status, error, hint, words) in [
        (
            401,
            "this token has expired",
            "send the header Authorization",
            &["this token has expired", "--token-file", "token create"][..],
        ),
        (403, "your token is for analysts", "ask an admin", &["your token is for analysts", "ask an admin", "beffroi whoami"]),
        (403, "your token is for analysts", "", &["beffroi whoami"]),
    ] {
        let stub = Stub::new(move |_| (status, json!({"code": "x", "error": error, "hint": hint})));
        let ran = stub.run(&["scan", "list"]);
        assert!(ran.code == Some(4) && words.iter().all(|word| ran.talk.contains(word)), "{}", ran.talk);
        assert!(!ran.talk.contains("Authorization"), "{}", ran.talk);
    }
}

/// A stub that asks for a pause `times` times, then answers.
fn busy(times: usize, seconds: u64) -> Stub {
    let asked = AtomicUsize::new(0);
    Stub::new(move |_| match asked.fetch_add(1, Ordering::SeqCst) < times {
        true => (429, json!({"code": "rate", "error": "too many calls", "hint": "later", "retry_after": seconds})),
        false => (200, json!({"alerts": [], "total": 0, "token_id": "x", "token": TOKEN})),
    })
}

#[test]
fn a_question_waits_as_long_as_the_server_asks_and_a_change_is_never_repeated() {
    let stub = busy(2, 0);
    assert_eq!(stub.run(&["alerts", "list"]).code, Some(0));
    assert_eq!(stub.calls().len(), 3);
    let stub = busy(usize::MAX, 0);
    let ran = stub.run(&["alerts", "list"]);
    assert!(ran.code == Some(4) && ran.talk.contains("too many calls") && stub.calls().len() == 4, "{ran:?}");
    // Longer than anybody waits without being told.
    let stub = busy(usize::MAX, 3_600);
    let ran = stub.run(&["alerts", "list"]);
    assert!(ran.code == Some(4) && ran.talk.contains("3600 s") && stub.calls().len() == 1, "{ran:?}");
    let stub = busy(1, 0);
    let ran = stub.run(&["token", "create", "--name", "a", "--scope", "analyst", "--tenant", "t"]);
    assert!(ran.code == Some(4) && ran.out.is_empty() && stub.calls().len() == 1, "{ran:?}");
}

/// An https API on loopback whose certificate is under a CA of its own, and that CA in PEM.
fn https() -> (String, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let answer = |_: &Call| (200, json!({"alerts": [], "total": 0}));
            serve_on(rustls::StreamOwned::new(session, connection), &Mutex::new(Vec::new()), &answer);
        }
    });
    (format!("https://{address}"), ca_pem)
}

#[test]
fn an_https_api_is_trusted_under_the_ca_file_and_nothing_else() {
    let (api, ca) = https();
    let stub = Stub::saying(json!({}));
    let (own, foreign) = (stub.path("ca.pem"), stub.path("foreign.pem"));
    std::fs::write(&own, &ca).unwrap();
    std::fs::write(&foreign, https().1).unwrap();
    let run = |file: &std::path::Path| {
        let config = format!("api = {api:?}\ntoken_file = {:?}\nca_file = {file:?}\n", stub.path("token"));
        std::fs::write(stub.path("https.toml"), config).unwrap();
        stub.run(&["alerts", "list", "-o", "json", "--config", stub.path("https.toml").to_str().unwrap()])
    };
    let ran = run(&own);
    assert_eq!((ran.code, ran.out.as_str()), (Some(0), "[]\n"), "{}", ran.talk);
    // Several certificates in one file: any of them will do.
    std::fs::write(&foreign, format!("{}{ca}", https().1)).unwrap();
    assert_eq!(run(&foreign).code, Some(0));
    std::fs::write(&foreign, https().1).unwrap();
    let ran = run(&foreign);
    assert!(ran.code == Some(4) && ran.talk.contains("certificate") && ran.talk.contains("ca_file"), "{}", ran.talk);
    for text in ["", "hello"] {
        std::fs::write(&foreign, text).unwrap();
        let ran = run(&foreign);
        assert!(ran.code == Some(3) && ran.talk.contains("foreign.pem"), "{}", ran.talk);
    }
}
