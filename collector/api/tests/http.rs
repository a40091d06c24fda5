//! The API over real HTTP, with a real engine and a real bus.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beffroi_api::{Options, Sources, start_with};
use beffroi_bus::control::{Control, Outcome};
use beffroi_bus::{Bus, TailFrom, Topic};
use beffroi_schema::control::{AgentEnrolled, Change};
use beffroi_schema::{Stream, wire};
use beffroi_store::{Options as StoreOptions, Store};
use common::support::{self, Agent, Engine, Rig, execs, now};
use common::{Api, records, without_store};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_there_is_nothing_but_health() {
    let (api, _bus, stop, _folder) = without_store().await;
    for path in ["/v1/alerts", "/v1/hosts", "/v1/status", "/metrics", "/v1/enroll/tokens", "/nothing", "/v1/alerts/aaaaaa"] {
        for token in [None, Some("wrong"), Some("")] {
            let mut request = api.client.get(format!("{}{path}", api.url));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path} {token:?}");
            assert_eq!(answer.json::<Value>().await.unwrap()["code"], "unauthorized");
        }
    }
    let alive = api.client.get(format!("{}/healthz", api.url)).send().await.unwrap();
    assert_eq!(alive.status(), StatusCode::OK);
    let ready = api.client.get(format!("{}/readyz", api.url)).send().await.unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE, "a role is not ready");
    let text = ready.text().await.unwrap();
    assert!(text.contains("gateway") && !text.contains("a reason inside"), "{text}");
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), api.handle.join()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_the_store_away_questions_answer_503_and_tokens_still_work() {
    let (api, _bus, stop, _folder) = without_store().await;
    let (status, body) = api.call(Method::GET, "/v1/alerts", None).await;
    assert_eq!((status, body["code"].as_str()), (StatusCode::SERVICE_UNAVAILABLE, Some("store_unavailable")));
    assert!(!body.to_string().contains("127.0.0.1"), "nothing of the inside leaves: {body}");
    let asked =
        json!({"tenant": "interieur", "uses": 3, "expires_seconds": 600, "cidrs": ["192.0.2.0/24"], "labels": {"site": "paris"}});
    let (status, made) = api.call(Method::POST, "/v1/enroll/tokens", Some(asked)).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    assert_eq!(made["secret"].as_str().unwrap().len(), 32);
    let list = api.get("/v1/enroll/tokens").await;
    assert_eq!(list["tokens"][0]["token_id"], made["token_id"]);
    assert!(!list.to_string().contains(made["secret"].as_str().unwrap()) && !list.to_string().contains("secret_hash"));
    let path = format!("/v1/enroll/tokens/{}", made["token_id"].as_str().unwrap());
    assert_eq!(api.call(Method::DELETE, &path, None).await.0, StatusCode::OK);
    assert_eq!(api.get(&path).await["revoked"], true);
    assert_eq!(api.call(Method::DELETE, "/v1/enroll/tokens/none", None).await.0, StatusCode::NOT_FOUND);
    let status = api.get("/v1/status").await;
    assert!(
        status["store"].is_null() && status["store_error"].is_string() && status["lag"].as_array().unwrap().len() >= 5,
        "{status}"
    );
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_with_what_to_do() {
    let (api, _bus, stop, _folder) = without_store().await;
    let token = |change: Value| {
        let mut body = json!({"tenant": "a"});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        body
    };
    for body in [
        token(json!({"tenant": "A B"})),
        token(json!({"uses": 0})),
        token(json!({"uses": 1_000_000})),
        token(json!({"expires_seconds": -1})),
        token(json!({"cidrs": ["everywhere"]})),
        token(json!({"labels": {"": "x"}})),
        token(json!({"surprise": 1})),
        json!([]),
    ] {
        let (status, answer) = api.call(Method::POST, "/v1/enroll/tokens", Some(body.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert!(answer["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{answer}");
    }
    for path in [
        "/v1/alerts?since=yesterday",
        "/v1/alerts?level=urgent",
        "/v1/alerts?limit=-1",
        "/v1/alerts?surprise=1",
        "/v1/alerts/tail?after=x",
        "/v1/gaps?since=5y",
        "/v1/alerts/abcdef/around?window=ever",
        "/v1/alerts/%ff",
    ] {
        let (status, answer) = api.call(Method::GET, path, None).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}: {answer}");
    }
    let (status, _) = api.call(Method::GET, &format!("/v1/alerts?rule={}", "x".repeat(9_000)), None).await;
    assert_eq!(status, StatusCode::URI_TOO_LONG);
    let large = json!({"filters": [], "host": "x".repeat(400 * 1024)});
    assert_eq!(api.call(Method::POST, "/v1/events/search", Some(large)).await.0, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(api.call(Method::GET, "/v1/nothing", None).await.0, StatusCode::NOT_FOUND);
    assert_eq!(api.call(Method::DELETE, "/v1/alerts", None).await.0, StatusCode::METHOD_NOT_ALLOWED);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_with_a_token_stands_in_the_audit_before_its_answer() {
    let (api, bus, stop, _folder) = without_store().await;
    api.call(Method::GET, "/v1/hosts?tenant=a", None).await;
    api.call(Method::POST, "/v1/enroll/tokens", Some(json!({"tenant": "a"}))).await;
    let records = records(&bus, Topic::Audit).await;
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(
        (&records[0]["by"], &records[0]["path"], &records[0]["query"]),
        (&json!("admin"), &json!("/v1/hosts"), &json!("tenant=a"))
    );
    assert_eq!(records[0]["status"], 503);
    assert_eq!((&records[1]["method"], &records[1]["status"]), (&json!("POST"), &json!(201)));
    assert!(records[1]["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(!format!("{records:?}").contains(&api.token));
    bus.close().await;
    let (status, body) = api.call(Method::GET, "/v1/enroll/tokens", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("audit")), "no audit, no answer");
    let status = api.get("/v1/status").await;
    assert!(status["bus_error"].is_string(), "what is broken is said without an audit: {status}");
    assert!(!api.handle.health().ready);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_analyst_finds_hosts_events_gaps_and_status() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    let api = Api::start(rig.store(), rig.bus.clone(), rig.stop.clone()).await;
    let (mut a, mut b) = (Agent::new(1, "a"), Agent::new(2, "b"));
    for agent in [&mut a, &mut b] {
        let batch = agent.batch(Stream::Exec, execs(3));
        agent.send(&rig.bus, &batch, now()).await;
    }
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    let hosts = api.get("/v1/hosts").await;
    assert_eq!(hosts["hosts"].as_array().unwrap().len(), 2);
    let only = api.get("/v1/hosts?tenant=a").await;
    assert_eq!(only["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(only["hosts"][0]["hostname"], "host-1");
    let id = a.id().to_string();
    assert_eq!(api.get(&format!("/v1/hosts/{}", &id[..8])).await["agent_id"], id.as_str());
    assert_eq!(api.get("/v1/hosts/HOST-1").await["agent_id"], id.as_str());
    assert_eq!(api.call(Method::GET, &format!("/v1/hosts/{}", &id[..5]), None).await.0, StatusCode::NOT_FOUND);
    let search = |body: Value| api.call(Method::POST, "/v1/events/search", Some(body));
    let filters = json!([{"field": "CommandLine", "op": "contains", "value": "ID -U 1"}]);
    let (_, found) = search(json!({"filters": filters, "since": "1h"})).await;
    assert_eq!(found["events"].as_array().unwrap().len(), 2, "{found}");
    let (_, found) = search(json!({"filters": filters, "tenant": "b", "count": true})).await;
    assert_eq!(found, json!({"total": 1}));
    let (_, found) = search(json!({"by": "Image"})).await;
    assert_eq!(found, json!({"groups": [{"value": "/usr/bin/id", "count": 6}]}));
    let (status, found) = search(json!({"filters": [{"field": "Image", "op": "regex", "value": "("}]})).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{found}");
    let status = api.get("/v1/status").await;
    assert!(status["disk_free_bytes"].as_u64().unwrap() > 0 && status["last_batch"].as_str().unwrap().ends_with('Z'), "{status}");
    assert!(api.get("/v1/gaps?since=24h").await["gaps"].as_array().unwrap().is_empty());
    let unknown = "00".repeat(16);
    for path in [format!("/v1/alerts/{unknown}"), "/v1/processes/none/tree".into(), format!("/v1/hosts/{unknown}")] {
        assert_eq!(api.call(Method::GET, &path, None).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tail_answers_as_soon_as_an_alert_can_be_read_and_shows_it_once() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    rig.ready().await;
    let api = Api::start(rig.store(), rig.bus.clone(), rig.stop.clone()).await;
    let start = api.get("/v1/alerts/tail?wait=0").await;
    assert_eq!(start["alerts"], json!([]));
    let path = format!("/v1/alerts/tail?wait=20&after={}", start["next"].as_str().unwrap());
    let publish = async {
        let agent = Agent::new(3, "a");
        let record = support::alert("a", agent.id(), "r1", 1, now());
        rig.bus.publish(Topic::Alerts, record).await.unwrap();
    };
    let started = std::time::Instant::now();
    let (found, ()) = tokio::join!(api.get(&path), publish);
    assert_eq!(found["alerts"].as_array().unwrap().len(), 1, "{found}");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let again = api.get(&format!("/v1/alerts/tail?wait=0&after={}", found["next"].as_str().unwrap())).await;
    assert_eq!(again["alerts"], json!([]));
    let id = found["alerts"][0]["alert_id"].as_str().unwrap();
    let whole = api.get(&format!("/v1/alerts/{}", &id[..8])).await;
    assert_eq!((&whole["alert_id"], &whole["match"]["rule"]["id"]), (&json!(id), &json!("r1")));
    assert!(api.get(&format!("/v1/alerts/{id}/around")).await["events"].is_array());
    let list = api.get("/v1/alerts?since=1h&level=high").await;
    assert_eq!(list["total"], 1);
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_can_be_revoked_while_the_store_is_away_and_only_with_a_reason() {
    let (api, bus, stop, _folder) = without_store().await;
    let (_, token) = api.call(Method::POST, "/v1/enroll/tokens", Some(json!({"tenant": "a", "labels": {"site": "paris"}}))).await;
    let agent = Agent::new(7, "a");
    let control = Control::start(bus.clone(), stop.clone()).await.unwrap();
    assert!(control.wait_ready().await);
    let enrolled = Change::AgentEnrolled(AgentEnrolled {
        agent_id: agent.id(),
        public_key: agent.public_key(),
        tenant: "a".into(),
        token_id: token["token_id"].as_str().unwrap().into(),
        labels: Default::default(),
        host: agent.host.clone(),
        remote: "192.0.2.7".into(),
    });
    assert_eq!(control.submit("enroll", enrolled).await.unwrap(), Outcome::Won);
    let id = agent.id().to_string();
    let mut tail = bus.tail(Topic::Control, TailFrom::Now).await.unwrap();
    support::until("the API has read the enrolment", || async { api.get("/v1/enroll/tokens").await["tokens"][0]["used"] == 1 })
        .await;
    let path = format!("/v1/hosts/{}/revoke", &id[..10]);
    for body in [json!({"reason": " "}), json!({}), json!({"reason": "x".repeat(2_000)})] {
        assert_eq!(api.call(Method::POST, &path, Some(body)).await.0, StatusCode::BAD_REQUEST);
    }
    let (status, answer) = api.call(Method::POST, &path, Some(json!({"reason": "stolen"}))).await;
    assert_eq!((status, &answer["agent_id"]), (StatusCode::OK, &json!(id)), "{answer}");
    let record: Value = serde_json::from_slice(&tail.next().await.unwrap().value).unwrap();
    assert_eq!((&record["kind"], &record["by"], &record["reason"]), (&json!("agent_revoked"), &json!("admin"), &json!("stolen")));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let bus = support::bus(&folder.path().join("bus")).await;
    let stop = CancellationToken::new();
    support::provider();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        token_file: folder.path().join("admin.token"),
        tls: Some(beffroi_api::TlsOptions { cert: cert.clone(), key: key.clone() }),
        ..Options::default()
    };
    let sources = sources(&bus, &stop).await;
    let read = |key: &Path| beffroi_gateway::pki::provided_certificate(cert.clone(), key.into(), stop.clone());
    let with = Sources { certificate: Some(read(&key).unwrap()), ..sources.clone() };
    let handle = start_with(options.clone(), with, stop.clone()).await.unwrap();
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let port = handle.address().port();
    let answer = client.get(format!("https://localhost:{port}/healthz")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert!(!old_tls_is_taken(made.cert.der().clone(), handle.address()).await, "TLS 1.2 must be refused");
    assert!(client.get(format!("http://localhost:{port}/healthz")).send().await.is_err());
    assert!(read(&cert).err().unwrap().to_string().contains("private key"), "a certificate is no key");
    let Err(error) = start_with(options, sources, stop.clone()).await else { panic!("nobody read its files") };
    assert!(error.to_string().contains("tls"), "{error}");
    stop.cancel();
}

/// Whether the API lets somebody in who speaks nothing newer than TLS 1.2.
async fn old_tls_is_taken(root: rustls_pki_types::CertificateDer<'static>, address: std::net::SocketAddr) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(root).unwrap();
    let config = rustls::ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS12])
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_address_is_listened_on_only_over_tls() {
    let folder = tempfile::tempdir().unwrap();
    let bus = support::bus(&folder.path().join("bus")).await;
    let stop = CancellationToken::new();
    support::provider();
    let token_file = folder.path().join("admin.token");
    let options = Options { listen: "0.0.0.0:0".parse().unwrap(), token_file, ..Options::default() };
    let sources = sources(&bus, &stop).await;
    let Err(error) = start_with(options.clone(), sources.clone(), stop.clone()).await else { panic!("in the clear") };
    assert!(error.to_string().contains("tls.cert"), "{error}");
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let provider = rustls::crypto::ring::default_provider();
    let certified = rustls::sign::CertifiedKey::from_der(vec![made.cert.der().clone()], key, &provider).unwrap();
    let certificate: beffroi_api::Certificate = Arc::new(rustls::sign::SingleCertAndKey::from(certified));
    let handle = start_with(options, Sources { certificate: Some(certificate), ..sources }, stop.clone()).await.unwrap();
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let answer = client.get(format!("https://localhost:{}/healthz", handle.address().port())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    stop.cancel();
}

async fn sources(bus: &Bus, stop: &CancellationToken) -> Sources {
    let control = Control::start(bus.clone(), stop.clone()).await.unwrap();
    let store = Store::connect(&StoreOptions::default()).unwrap();
    Sources { store, bus: bus.clone(), control, roles: Arc::new(Vec::new), metrics: None, certificate: None }
}

/// A certificate of `localhost`, in files; what a client is shown of it.
fn write_certificate(cert: &Path, key: &Path) -> rustls_pki_types::CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(cert, made.cert.pem()).unwrap();
    std::fs::write(key, made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}

/// The certificate that a new client of the API is shown, if it is one of these.
async fn shown(
    known: &[rustls_pki_types::CertificateDer<'static>],
    address: std::net::SocketAddr,
) -> Option<rustls_pki_types::CertificateDer<'static>> {
    let mut roots = rustls::RootCertStore::empty();
    known.iter().for_each(|one| roots.add(one.clone()).unwrap());
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await.ok()?;
    Some(stream.get_ref().1.peer_certificates()?[0].clone().into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_never() {
    let folder = tempfile::tempdir().unwrap();
    let bus = support::bus(&folder.path().join("bus")).await;
    let stop = CancellationToken::new();
    support::provider();
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let first = write_certificate(&cert, &key);
    let often = Duration::from_millis(20);
    let certificate = beffroi_gateway::pki::follow_certificate(cert.clone(), key.clone(), often, stop.clone()).unwrap();
    let options = Options {
        listen: "127.0.0.1:0".parse().unwrap(),
        token_file: folder.path().join("admin.token"),
        tls: Some(beffroi_api::TlsOptions { cert: cert.clone(), key: key.clone() }),
        ..Options::default()
    };
    let sources = Sources { certificate: Some(certificate), ..sources(&bus, &stop).await };
    let address = start_with(options, sources, stop.clone()).await.unwrap().address();
    assert_eq!(shown(std::slice::from_ref(&first), address).await.as_ref(), Some(&first));
    for broken in [&b"-----BEGIN CERTIFICATE-----\ncut off"[..], b"", &std::fs::read(&key).unwrap()] {
        std::fs::write(&cert, broken).unwrap();
        tokio::time::sleep(often * 5).await;
        assert_eq!(shown(std::slice::from_ref(&first), address).await.as_ref(), Some(&first), "the old one stays");
    }
    let second = write_certificate(&cert, &key);
    let (known, begun) = ([first, second], Instant::now());
    while shown(&known, address).await.as_ref() != Some(&known[1]) {
        assert!(begun.elapsed() < Duration::from_secs(10), "never taken over");
        tokio::time::sleep(often).await;
    }
    stop.cancel();
}
