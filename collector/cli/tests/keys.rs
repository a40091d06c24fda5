//! `key`: what is made, what is refused, and that no secret gets out. No test here needs a server.
#![allow(clippy::unwrap_used, reason = "a scratch folder that cannot be used must end its test")]

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use beffroi_schema::down::{self, KeyId, OperatorKey, Order, SignedKind};
use common::{Ran, Stub, beffroi};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A folder with a root and an operator called alice, whose certificate covers `interieur`.
struct Keys(TempDir);

impl Keys {
    fn new(algorithm: &str) -> Self {
        let keys = Self(tempfile::tempdir().unwrap());
        keys.good(&["key", "root", "new", "--out", &keys.name(""), "--algorithm", algorithm]);
        keys.good(&["key", "operator", "new", "--out", &keys.name(""), "--name", "alice", "--algorithm", algorithm]);
        keys.good(&[
            "key",
            "certify",
            "--root",
            &keys.name(""),
            "--operator",
            &keys.name("alice.pub"),
            "--name",
            "Alice",
            "--tenant",
            "interieur",
        ]);
        keys
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut beffroi(arguments))
    }

    fn good(&self, arguments: &[&str]) -> Ran {
        let ran = self.run(arguments);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.talk);
        ran
    }

    fn show(&self, name: &str) -> Value {
        serde_json::from_str(&self.good(&["key", "show", &self.name(name), "-o", "json"]).out).unwrap()
    }

    fn id(&self, name: &str) -> String {
        self.show(name)["key_id"].as_str().unwrap().to_owned()
    }

    fn refused(&self, arguments: &[&str], word: &str) {
        let ran = self.run(arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(3), ""), "{arguments:?}: {}", ran.talk);
        assert!(ran.talk.contains(word) && ran.talk.contains(" hint: "), "{arguments:?}: {}", ran.talk);
    }
}

/// In a session of its own, which has no terminal to ask on, wherever the tests run.
fn without_terminal(arguments: &[&str]) -> Ran {
    let mut command = Command::new("/usr/bin/setsid");
    command.args(["--wait", env!("CARGO_BIN_EXE_beffroi")]).args(arguments).env_clear().stdin(Stdio::null());
    Ran::of(&mut command)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// The envelope in a file, as the contract reads it.
fn envelope(path: &Path) -> Vec<u8> {
    use base64::Engine;
    let text = text(path);
    let body: String = text.lines().skip(1).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

#[test]
fn an_operators_order_leads_to_the_root_whatever_the_algorithm() {
    for algorithm in ["ed25519", "p256"] {
        let keys = Keys::new(algorithm);
        let root: KeyId = keys.id("root.beffroi").parse().unwrap();
        let key = OperatorKey::from_pkcs8_pem(&text(&keys.path("alice.key"))).unwrap();
        let order = Order { order_id: vec![1; 16], ..Order::default() };
        let signed = down::sign(SignedKind::Order, &order, &key, envelope(&keys.path("alice.beffroi"))).unwrap();
        let now = jiff::Timestamp::now().as_microsecond();
        let by = down::verify_chain(&signed, SignedKind::Order, &root, now, |_| false).unwrap();
        assert_eq!((by.operator.as_str(), by.tenants.as_slice()), ("Alice", &["interieur".to_owned()][..]));
        assert!(by.has_role(down::ROLE_SCAN) && by.not_after > now + 29 * 86_400 * 1_000_000);
    }
}

#[test]
fn private_keys_are_private_and_nothing_is_ever_overwritten() {
    let keys = Keys::new("ed25519");
    for name in ["root.key", "alice.key"] {
        assert_eq!(mode(&keys.path(name)), 0o600, "{name}");
    }
    let before = text(&keys.path("root.key"));
    keys.refused(&["key", "root", "new", "--out", &keys.name("")], "root.key");
    keys.refused(&["key", "operator", "new", "--out", &keys.name("root.key")], "root.key");
    keys.refused(
        &["key", "certify", "--root", &keys.name(""), "--operator", &keys.name("alice.pub"), "--name", "x", "--tenant", "t"],
        "alice.beffroi",
    );
    assert_eq!(text(&keys.path("root.key")), before);
    // A second name that cannot be had leaves no first file behind.
    std::fs::write(keys.path("bob.pub"), "mine").unwrap();
    keys.refused(&["key", "operator", "new", "--out", &keys.name(""), "--name", "bob"], "bob.pub");
    assert!(!keys.path("bob.key").exists() && text(&keys.path("bob.pub")) == "mine");
    let folder = keys.path("new/folder");
    keys.good(&["key", "root", "new", "--out", folder.to_str().unwrap()]);
    assert_eq!(mode(&folder), 0o700);
}

#[test]
fn a_private_key_that_others_can_read_is_refused() {
    let keys = Keys::new("ed25519");
    for bits in [0o640, 0o604, 0o620] {
        std::fs::set_permissions(keys.path("root.key"), std::fs::Permissions::from_mode(bits)).unwrap();
        keys.refused(&["key", "show", &keys.name("root.key")], "by others");
        keys.refused(&["key", "revoke", "--root", &keys.name(""), &"ab".repeat(32), "--out", &keys.name("r")], "by others");
    }
    assert!(!keys.path("r").exists());
}

#[test]
fn every_file_says_what_it_holds_and_no_form_shows_a_secret() {
    let keys = Keys::new("p256");
    let id = keys.id("alice.pub");
    for (name, kind) in
        [("alice.key", "private key"), ("alice.pub", "public key"), ("alice.beffroi", "certificate of an operator")]
    {
        let shown = keys.show(name);
        assert_eq!((&shown["kind"], &shown["key_id"], &shown["algorithm"]), (&json!(kind), &json!(id), &json!("p256")));
    }
    let certificate = keys.show("alice.beffroi");
    assert_eq!((&certificate["signature"], &certificate["root"]), (&json!("holds"), &json!(keys.id("root.key"))));
    assert_eq!((&certificate["tenants"], &certificate["roles"]), (&json!(["interieur"]), &json!(["scan"])));
    let secret: Vec<String> =
        text(&keys.path("alice.key")).lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
    for form in ["table", "json", "ndjson", "csv"] {
        let ran = keys.good(&["key", "show", &keys.name("alice.key"), "-o", form]);
        assert!(!secret.iter().any(|line| ran.out.contains(line) || ran.talk.contains(line)), "{form}");
    }
}

#[test]
fn what_is_altered_is_said_not_to_hold() {
    let keys = Keys::new("ed25519");
    for (name, line) in [("alice.beffroi", 1), ("root.beffroi", 1)] {
        let text = text(&keys.path(name));
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // A letter of the operator's name, well inside the body.
        let place = lines[line].len() - 12;
        let other = if lines[line].as_bytes()[place] == b'A' { "B" } else { "A" };
        lines[line].replace_range(place..=place, other);
        let path = keys.path("altered.beffroi");
        std::fs::write(&path, lines.join("\n")).unwrap();
        let ran = keys.run(&["key", "show", path.to_str().unwrap(), "-o", "json"]);
        // Either it can no longer be read, or it is said that the signature does not hold.
        assert!(ran.code == Some(3) || ran.out.contains("DOES NOT HOLD"), "{ran:?}");
    }
    let lying = text(&keys.path("alice.beffroi")).replace(" certificate", " order");
    for (bad, word) in [
        ("", "no PEM"),
        (lying.as_str(), "another kind"),
        ("beffroi-signed-1 order\nAAAA\n", "not a signed envelope"),
        ("beffroi-signed-1 certificate\n%%%\n", "damaged"),
    ] {
        std::fs::write(keys.path("bad.beffroi"), bad).unwrap();
        keys.refused(&["key", "show", &keys.name("bad.beffroi")], word);
    }
}

#[test]
fn a_certificate_says_nothing_that_a_host_would_refuse() {
    let keys = Keys::new("ed25519");
    let certify = |extra: &[&str]| {
        let (root, out, public) = (keys.name(""), keys.name("x.beffroi"), keys.name("alice.pub"));
        let mut all = vec!["key", "certify", "--root", &root, "--out", &out, "--name", "a"];
        if !extra.contains(&"--operator") {
            all.extend(["--operator", &public]);
        }
        all.extend(extra);
        keys.run(&all)
    };
    let root_public = keys.name("root.pub");
    let root_key = OperatorKey::from_pkcs8_pem(&text(&keys.path("root.key"))).unwrap();
    std::fs::write(&root_public, root_key.public_key().to_pem().unwrap()).unwrap();
    for (extra, word) in [
        (&["--tenant", "interieur", "--expires", "31d"][..], "30 days"),
        (&["--tenant", "Interieur"], "no name of a tenant"),
        (&["--tenant", "a/b"], "no name of a tenant"),
        (&["--tenant", "interieur", "--role", "root"], "possible values"),
        (&[], "--tenant"),
        (&["--tenant", "interieur", "--operator", &root_public], "root's own key"),
        (&["--tenant", "interieur", "--operator", "/nonexistent.pub"], "/nonexistent.pub"),
    ] {
        let ran = certify(extra);
        assert!(ran.code == Some(3) && ran.talk.contains(word), "{extra:?}: {ran:?}");
    }
    assert!(!keys.path("x.beffroi").exists());
    // Another key beside the root's certificate is no root.
    std::fs::copy(keys.path("alice.key"), keys.path("other.key")).unwrap();
    std::fs::copy(keys.path("root.beffroi"), keys.path("other.beffroi")).unwrap();
    keys.refused(
        &["key", "revoke", "--root", &keys.name("other.key"), &"ab".repeat(32), "--out", &keys.name("r")],
        "not the certificate",
    );
    std::fs::copy(keys.path("alice.beffroi"), keys.path("other2.beffroi")).unwrap();
    std::fs::copy(keys.path("alice.key"), keys.path("other2.key")).unwrap();
    keys.refused(&["key", "revoke", "--root", &keys.name("other2.key"), &"ab".repeat(32), "--out", &keys.name("r")], "no root's");
}

#[test]
fn a_revocation_keeps_what_was_revoked_before_and_grows() {
    let keys = Keys::new("ed25519");
    let (alice, other) = (keys.id("alice.pub"), "cd".repeat(32));
    keys.good(&["key", "revoke", "--root", &keys.name(""), &alice, "--out", &keys.name("r1.beffroi")]);
    keys.good(&[
        "key",
        "revoke",
        "--root",
        &keys.name("root.key"),
        &other,
        &other,
        "--previous",
        &keys.name("r1.beffroi"),
        "--out",
        &keys.name("r2.beffroi"),
    ]);
    let (first, second) = (keys.show("r1.beffroi"), keys.show("r2.beffroi"));
    assert_eq!(first["keys"], json!([alice]));
    let mut both = [alice, other];
    both.sort_unstable();
    assert_eq!((&second["keys"], &second["signature"]), (&json!(both), &json!("holds")));
    assert!(second["version"].as_u64() > first["version"].as_u64());
    for id in ["abc", "zz", &keys.id("root.key")] {
        keys.refused(
            &["key", "revoke", "--root", &keys.name(""), id, "--out", &keys.name("r3")],
            if id.len() == 64 { "itself" } else { "key id" },
        );
    }
    // The list of another root is not carried on.
    let foreign = Keys::new("ed25519");
    let previous = keys.name("r1.beffroi");
    foreign.refused(
        &["key", "revoke", "--root", &foreign.name(""), &"ab".repeat(32), "--previous", &previous, "--out", &foreign.name("r")],
        "no certificate of the root",
    );
}

#[test]
fn a_revocation_is_published_as_it_was_signed_and_nothing_else_is() {
    let keys = Keys::new("ed25519");
    let alice = keys.id("alice.pub");
    let made = keys.good(&["key", "revoke", "--root", &keys.name(""), &alice, "--out", &keys.name("r1.beffroi")]);
    assert!(made.talk.contains("beffroi key publish"), "{made:?}");
    let (root, said) = (keys.id("root.key"), alice.clone());
    let stub = Stub::new(move |_| (201, json!({"version": 1, "root": root, "keys": [said]})));
    let ran = stub.run(&["key", "publish", &keys.name("r1.beffroi"), "-o", "table"]);
    assert!(ran.code == Some(0) && ran.out.contains("1 key(s) stop") && ran.out.contains(&keys.id("root.key")), "{ran:?}");
    let calls = stub.calls();
    assert_eq!((calls.len(), calls[0].path.as_str()), (1, "/v1/revocations"));
    let sent = base64::engine::general_purpose::STANDARD.decode(calls[0].body["envelope"].as_str().unwrap()).unwrap();
    let root = KeyId::try_from(hex::decode(keys.id("root.key")).unwrap().as_slice()).unwrap();
    let now = jiff::Timestamp::now().as_microsecond();
    assert!(down::verify_chain(&down::parse(&sent).unwrap(), SignedKind::Revocation, &root, now, |_| false).is_ok());
    let ran = stub.run(&["key", "publish", &keys.name("alice.beffroi")]);
    assert!(ran.code == Some(3) && ran.talk.contains("not a revocation") && stub.calls().len() == 1, "{ran:?}");
}

#[test]
fn a_passphrase_comes_from_a_terminal_or_a_private_file_only() {
    let keys = Keys::new("ed25519");
    let ran = without_terminal(&["key", "operator", "new", "--out", &keys.name("b.key"), "--passphrase"]);
    assert!(ran.code == Some(3) && ran.talk.contains("--passphrase-file") && !keys.path("b.key").exists(), "{ran:?}");
    assert_eq!(keys.run(&["key", "operator", "new", "--out", &keys.name("b.key"), "--passphrase=secret"]).code, Some(3));
    std::fs::write(keys.path("pp"), "correct horse battery\n").unwrap();
    std::fs::set_permissions(keys.path("pp"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let new =
        |keys: &Keys| keys.run(&["key", "operator", "new", "--out", &keys.name("b.key"), "--passphrase-file", &keys.name("pp")]);
    let ran = new(&keys);
    assert!(ran.code == Some(3) && ran.talk.contains("by others") && !keys.path("b.key").exists(), "{ran:?}");
    std::fs::set_permissions(keys.path("pp"), std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(new(&keys).code, Some(0));
    assert!(text(&keys.path("b.key")).starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    let ran = without_terminal(&["key", "show", &keys.name("b.key")]);
    assert!(ran.code == Some(3) && ran.talk.contains("passphrase is needed"), "{ran:?}");
    let ran = keys.good(&["key", "show", &keys.name("b.key"), "--passphrase-file", &keys.name("pp"), "-o", "ndjson"]);
    assert!(ran.out.contains("\"encrypted\":true") && !ran.out.contains("correct"), "{ran:?}");
}

#[test]
fn hosts_are_told_the_root_of_the_operators_own_file() {
    let keys = Keys::new("ed25519");
    let stub = Stub::new(|_| {
        (201, json!({"token_id": "0011223344556677", "secret": "00112233445566778899aabbccddeeff", "root_sha256": "ff"}))
    });
    std::fs::write(stub.path("ca.pem"), "-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n").unwrap();
    stub.configure(&format!("gateway = \"https://gw.example:8443\"\nca_file = {:?}", stub.path("ca.pem")));
    let token = |ran: &Ran| beffroi_schema::session::EnrollToken::parse(ran.out.trim()).unwrap();
    let ran = stub.run(&["enroll", "token", "--tenant", "interieur"]);
    assert!(token(&ran).root_sha256.is_empty() && ran.talk.contains("will take no orders"), "{ran:?}");
    let ran = stub.run(&["enroll", "token", "--tenant", "interieur", "--root-cert", &keys.name("root.beffroi")]);
    assert!(token(&ran).root_sha256 == keys.id("root.key") && !ran.talk.contains("warning"), "{ran:?}");
    stub.configure(&format!("root_cert = {:?}", keys.path("root.beffroi")));
    assert_eq!(token(&stub.run(&["enroll", "token", "--tenant", "interieur"])).root_sha256, keys.id("root.key"));
    // An operator's certificate is no root: nothing is asked of the server.
    let asked = stub.calls().len();
    let ran = stub.run(&["enroll", "token", "--tenant", "interieur", "--root-cert", &keys.name("alice.beffroi")]);
    assert!(ran.code == Some(3) && ran.talk.contains("no root's certificate") && stub.calls().len() == asked, "{ran:?}");
}
