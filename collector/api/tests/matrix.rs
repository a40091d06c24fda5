//! Every endpoint x every credential x every tenant, against a real store: what is answered, and that nothing of another
//! tenant is. The endpoints come from the API's own document, what they need from the list below: an endpoint that is in
//! one and not in the other fails the test.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod common;

use std::collections::BTreeMap;
use std::io::Write;

use beffroi_bus::Topic;
use beffroi_schema::{Event, Field, Stream, wire};
use common::Api;
use common::orders::{Signed, answer, matched, revocation};
use common::support::{self, Agent, Engine, Rig, now, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Name, least scope, whose rows: written down by hand from the contract, not from the code.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("alerts.around", "analyst", "own"),
    ("alerts.list", "analyst", "own"),
    ("alerts.show", "analyst", "own"),
    ("alerts.tail", "analyst", "own"),
    ("audit.list", "admin", "own"),
    ("enroll.create", "admin", "own"),
    ("enroll.list", "admin", "own"),
    ("enroll.revoke", "admin", "own"),
    ("enroll.show", "admin", "own"),
    ("events.search", "analyst", "own"),
    ("gaps.list", "analyst", "own"),
    ("hosts.list", "analyst", "own"),
    ("hosts.revoke", "admin", "own"),
    ("hosts.show", "analyst", "own"),
    ("metrics", "analyst", "every"),
    ("openapi", "analyst", "none"),
    ("processes.tree", "analyst", "own"),
    ("revocations.publish", "admin", "every"),
    ("scans.cancel", "csirt", "own"),
    ("scans.create", "csirt", "own"),
    ("scans.list", "analyst", "own"),
    ("scans.results", "analyst", "own"),
    ("scans.show", "analyst", "own"),
    ("status", "analyst", "none"),
    ("tokens.create", "admin", "own"),
    ("tokens.list", "admin", "own"),
    ("tokens.revoke", "admin", "own"),
    ("whoami", "analyst", "none"),
];

/// What stands in one tenant, by what names it in a path.
struct Tenant {
    name: &'static str,
    ids: BTreeMap<&'static str, String>,
    /// Texts that must never reach somebody else.
    secrets: Vec<String>,
    cancel: Value,
}

/// Tenant of a call: the asker's own, the other one, or one that nobody has.
#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Own,
    Other,
    Unknown,
}

struct Credential {
    name: String,
    token: String,
    scope: Option<&'static str>,
    every: bool,
}

struct Endpoint {
    method: Method,
    path: String,
    name: String,
}

/// Hosts, events, alerts, tokens and a scan of one tenant.
async fn populate(rig: &Rig, api: &Api, name: &'static str, number: u8) -> Tenant {
    let mut agent = Agent::new(number, name);
    agent.host.hostname = format!("pc-of-{name}");
    api.enroll(&agent).await;
    let guid = format!("guid-of-{name}");
    let mut exec = Event::new(beffroi_schema::Category::ProcessCreation, beffroi_schema::Product::Linux, now());
    exec.set(Field::IMAGE, "/bin/sh").set(Field::COMMAND_LINE, format!("secret-of-{name}").as_str());
    exec.set(Field::PROCESS_GUID, guid.as_str());
    let batch = agent.batch(Stream::Exec, vec![beffroi_schema::batch::Record::Event(exec)]);
    agent.send(&rig.bus, &batch, now()).await;
    let mut found = support::found(name, agent.id(), "r1", 1, now());
    (found.what, found.host.info.hostname) = (format!("what-of-{name}"), agent.host.hostname.clone());
    rig.bus.publish(Topic::Alerts, support::outgoing(&found)).await.unwrap();
    let order = Signed::scan(name, &[]);
    assert_eq!(api.call(Method::POST, "/v1/scans", Some(order.body())).await.0, StatusCode::CREATED);
    let answers = vec![answer(&order.id, "accepted", &[], &[]), matched(&order.id, "marker", &format!("/opt/file-of-{name}"))];
    let batch = agent.batch(Stream::Detection, answers);
    agent.send(&rig.bus, &batch, now()).await;
    let (_, enroll) = api.call(Method::POST, "/v1/enroll/tokens", Some(json!({"tenant": name}))).await;
    let (token, _) = api.new_token(&format!("victim-of-{name}"), "analyst", &[name], 3_600).await;
    let ids = BTreeMap::from([
        ("/v1/alerts/", found.alert_id.to_string()),
        ("/v1/processes/", guid),
        ("/v1/hosts/", agent.id().to_string()),
        ("/v1/scans/", order.id.clone()),
        ("/v1/enroll/tokens/", enroll["token_id"].as_str().unwrap().to_owned()),
        ("/v1/tokens/", token),
    ]);
    let mut secrets: Vec<String> = ids.values().cloned().collect();
    secrets.extend([format!("-of-{name}"), found.match_id.to_string()]);
    Tenant { name, ids, secrets, cancel: Signed::cancel(name, &order.id).envelope() }
}

async fn credentials(api: &Api) -> Vec<Credential> {
    let mut all = vec![
        Credential { name: "none".into(), token: String::new(), scope: None, every: false },
        Credential { name: "forged".into(), token: format!("bft_{}", "A".repeat(43)), scope: None, every: false },
    ];
    let (_, expired) = api.new_token("expired", "admin", &["a"], 1).await;
    let (id, revoked) = api.new_token("revoked", "admin", &["a"], 3_600).await;
    assert_eq!(api.call(Method::DELETE, &format!("/v1/tokens/{id}"), None).await.0, StatusCode::OK);
    let over = || async { api.as_token(&expired, Method::GET, "/v1/whoami", None).await.0 == StatusCode::UNAUTHORIZED };
    until("a token has expired", over).await;
    all.push(Credential { name: "expired".into(), token: expired.clone(), scope: None, every: false });
    all.push(Credential { name: "revoked".into(), token: revoked, scope: None, every: false });
    for (tenants, every) in [(&["a"][..], false), (&["*"], true)] {
        for scope in ["analyst", "csirt", "admin"] {
            let (_, token) = api.new_token(&format!("{scope}-{}", tenants[0].replace('*', "all")), scope, tenants, 3_600).await;
            all.push(Credential { name: format!("{scope}@{}", tenants[0]), token, scope: Some(scope), every });
        }
    }
    all
}

/// The endpoints of the document, each with what the list above expects of it.
fn endpoints(document: &Value) -> Vec<Endpoint> {
    let mut found = Vec::new();
    let mut said = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let text = |name: &str| operation[name].as_str().unwrap().to_owned();
            said.push((text("operationId"), text("x-beffroi-scope"), text("x-beffroi-tenants")));
            let method = method.to_ascii_uppercase().parse().unwrap();
            found.push(Endpoint { method, path: path.clone(), name: text("operationId") });
        }
    }
    said.sort();
    let expected: Vec<_> =
        EXPECTED.iter().map(|(name, scope, tenants)| (name.to_string(), scope.to_string(), tenants.to_string())).collect();
    assert_eq!(said, expected, "an endpoint is not in the list of this test, or needs something else than it says");
    found
}

/// A valid call of an endpoint about what stands in a tenant.
fn request(endpoint: &Endpoint, tenant: Option<&Tenant>) -> (String, Option<Value>) {
    let name = tenant.map_or("nobody", |tenant| tenant.name);
    let prefix = endpoint.path.split('{').next().unwrap_or_default();
    let unknown = "0123456789abcdef0123456789abcdef".to_owned();
    let id = tenant.and_then(|tenant| tenant.ids.get(prefix)).cloned().unwrap_or(unknown);
    let mut path = endpoint.path.replace("{id}", &id).replace("{guid}", &id);
    if matches!(endpoint.name.as_str(), "alerts.list" | "alerts.tail" | "gaps.list" | "hosts.list" | "scans.list") {
        path.push_str(&format!("?tenant={name}"));
    }
    if endpoint.name == "alerts.tail" {
        path.push_str("&wait=0");
    }
    let body = match endpoint.name.as_str() {
        "events.search" => json!({"tenant": name, "filters": []}),
        "hosts.revoke" => json!({"reason": "a test"}),
        "enroll.create" => json!({"tenant": name}),
        "tokens.create" => json!({"name": "made", "scope": "analyst", "tenants": [name]}),
        "scans.create" => Signed::scan(name, &[]).body(),
        "revocations.publish" => json!({"envelope": revocation()}),
        "scans.cancel" => json!({"envelope": tenant.map_or(json!("eA=="), |tenant| tenant.cancel.clone())}),
        _ => return (path, None),
    };
    (path, Some(body))
}

/// What must be answered.
fn expected(endpoint: &Endpoint, who: &Credential, at: At) -> StatusCode {
    let (_, needs, tenants) = EXPECTED.iter().find(|(name, ..)| *name == endpoint.name).unwrap();
    let rank = |scope: &str| ["analyst", "csirt", "admin"].iter().position(|name| *name == scope).unwrap();
    let Some(scope) = who.scope else { return StatusCode::UNAUTHORIZED };
    let creates = matches!(endpoint.name.as_str(), "enroll.create" | "tokens.create" | "scans.create" | "revocations.publish");
    let names_one = endpoint.path.contains('{');
    if rank(scope) < rank(needs) || (*tenants == "every" && !who.every) {
        return StatusCode::FORBIDDEN;
    }
    match (at, who.every) {
        // The metrics of a test are not collected.
        _ if endpoint.name == "metrics" => StatusCode::NOT_FOUND,
        (At::Own, _) | (At::Other, true) if creates => StatusCode::CREATED,
        (At::Own, _) | (At::Other, true) => StatusCode::OK,
        (At::Unknown, true) if creates => StatusCode::CREATED,
        _ if creates => StatusCode::FORBIDDEN,
        _ if names_one => StatusCode::NOT_FOUND,
        _ => StatusCode::OK,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_for_every_credential_and_tenant_answers_its_own_and_nothing_else() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    rig.ready().await;
    let api = Api::start(rig.store(), rig.bus.clone(), rig.stop.clone()).await;
    let (a, b) = (populate(&rig, &api, "a", 1).await, populate(&rig, &api, "b", 2).await);
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    rig.caught_up(Topic::Alerts, "store-alerts").await;
    let (who, endpoints) = (credentials(&api).await, endpoints(&api.get("/v1/openapi.json").await));
    let mut table = vec![header(&who)];
    let mut cells = 0;
    for endpoint in &endpoints {
        let mut line = format!("{:15}", endpoint.name);
        for asker in &who {
            let mut answers = Vec::new();
            for at in [At::Own, At::Other, At::Unknown] {
                let tenant = match at {
                    At::Own => Some(&a),
                    At::Other => Some(&b),
                    At::Unknown => None,
                };
                let (path, body) = request(endpoint, tenant);
                let (status, answer) = api.as_token(&asker.token, endpoint.method.clone(), &path, body.as_ref()).await;
                let cell = format!("{} as {} at {at:?} ({path}): {answer}", endpoint.name, asker.name);
                assert_eq!(status, expected(endpoint, asker, at), "{cell}");
                let text = answer.to_string();
                if endpoint.name == "audit.list" && status == StatusCode::OK {
                    assert!(asker.every || only_of(&answer, "a"), "{cell}");
                } else if !asker.every {
                    assert!(!b.secrets.iter().any(|secret| text.contains(secret)), "another tenant's: {cell}");
                }
                if asker.scope.is_none() {
                    assert!(!a.secrets.iter().any(|secret| text.contains(secret)), "nobody's: {cell}");
                }
                answers.push((status, answer));
                cells += 1;
            }
            let named = endpoint.path.contains('{') || endpoint.name.ends_with(".create");
            if named && !asker.every {
                assert_eq!(answers[1], answers[2], "{} as {}: another tenant's is told from none", endpoint.name, asker.name);
            }
            let codes: Vec<&str> = answers.iter().map(|(status, _)| status.as_str()).collect();
            line.push_str(&format!(" {:13}", codes.join("/")));
        }
        table.push(line);
    }
    assert_eq!(cells, EXPECTED.len() * who.len() * 3);
    show(&table, cells);
    rig.halt().await;
}

/// Whether every record of the audit is of somebody who sees this tenant alone. What they asked for stands in it, even where
/// they asked for what is not theirs.
fn only_of(audit: &Value, tenant: &str) -> bool {
    audit["records"].as_array().unwrap().iter().all(|record| record["tenants"] == json!([tenant]))
}

fn header(who: &[Credential]) -> String {
    let names: Vec<String> = who.iter().map(|asker| format!(" {:13}", asker.name)).collect();
    format!("{:15}{}", "own/other/none", names.concat())
}

/// The table goes where it is seen even when the test passes.
fn show(table: &[String], cells: usize) {
    let mut out = std::io::stdout().lock();
    for line in table {
        writeln!(out, "{}", line.trim_end()).unwrap();
    }
    writeln!(out, "endpoint x scope x tenant: {cells} cells").unwrap();
}
