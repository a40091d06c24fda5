//! Who may ask, how often, and what stands of it in the audit: personal tokens, scopes, claims, rates.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod common;

use std::collections::BTreeSet;

use beffroi_api::RateOptions;
use beffroi_bus::Topic;
use common::support::{self, Engine, Rig, until};
use common::{Api, open_rates, records, without_store, without_store_at};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const GET: Method = Method::GET;

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_shown_once_and_nothing_that_is_kept_holds_it() {
    let (api, bus, stop, _folder) = without_store().await;
    let (id, token) = api.new_token("alice", "analyst", &["interieur", "interieur"], 600).await;
    assert!(token.starts_with("bft_") && token.len() == 47, "{token}");
    let (status, who) = api.as_token(&token, GET, "/v1/whoami", None).await;
    assert_eq!(status, StatusCode::OK, "{who}");
    assert_eq!((&who["name"], &who["scope"], &who["tenants"]), (&json!("alice"), &json!("analyst"), &json!(["interieur"])));
    assert_eq!((&who["token_id"], who["expires"].as_str().unwrap().ends_with('Z')), (&json!(id), true));
    let list = api.get("/v1/tokens").await;
    assert_eq!((&list["tokens"][0]["token_id"], &list["tokens"][0]["by"]), (&json!(id), &json!("admin")));
    assert!(list["tokens"][0]["last_used"].is_string(), "its own whoami was its last use: {list}");
    let kept = format!("{:?}{:?}{list}", records(&bus, Topic::Control).await, records(&bus, Topic::Audit).await);
    assert!(!kept.contains(&token[4..]), "the secret stands somewhere");
    assert_eq!(api.get("/v1/whoami").await["token_id"], "admin");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_or_expired_token_answers_401_at_once_and_says_why() {
    let (api, bus, stop, _folder) = without_store().await;
    let (id, token) = api.new_token("alice", "analyst", &["a"], 600).await;
    assert_eq!(api.as_token(&token, GET, "/v1/whoami", None).await.0, StatusCode::OK);
    assert_eq!(api.call(Method::DELETE, &format!("/v1/tokens/{id}"), None).await.0, StatusCode::OK);
    let (status, body) = api.as_token(&token, GET, "/v1/whoami", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("token_revoked")), "{body}");
    let (_, short) = api.new_token("bob", "analyst", &["a"], 1).await;
    until("the token has expired", || async { api.as_token(&short, GET, "/v1/whoami", None).await.0 != StatusCode::OK }).await;
    let (status, body) = api.as_token(&short, GET, "/v1/whoami", None).await;
    assert_eq!((status, &body["code"]), (StatusCode::UNAUTHORIZED, &json!("token_expired")), "{body}");
    assert!(body["error"].as_str().unwrap().contains("expired at 20"), "{body}");
    let audited = records(&bus, Topic::Audit).await;
    let codes: BTreeSet<&str> = audited.iter().filter_map(|record| record["code"].as_str()).collect();
    assert_eq!(codes, BTreeSet::from(["token_expired", "token_revoked"]), "whoever had a token once is named: {audited:?}");
    assert_eq!(api.call(Method::DELETE, "/v1/tokens/none", None).await.0, StatusCode::NOT_FOUND);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_makes_no_sense_is_refused_with_what_to_write() {
    let (api, _bus, stop, _folder) = without_store().await;
    let good = json!({"name": "alice", "scope": "analyst", "tenants": ["a"]});
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("admin")),
        ("name", json!("ADMIN")),
        ("name", json!("a b")),
        ("name", json!("\u{202e}ecila")),
        ("name", json!("x".repeat(65))),
        ("scope", json!("root")),
        ("tenants", json!([])),
        ("tenants", json!(["A B"])),
        ("tenants", json!(["a', 'b"])),
        ("expires_seconds", json!(0)),
        ("expires_seconds", json!(367 * 86_400)),
        ("by", json!("mallory")),
    ] {
        let mut body = good.clone();
        body[field] = value;
        let (status, answer) = api.call(Method::POST, "/v1/tokens", Some(body.clone())).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
        assert!(!answer["hint"].as_str().unwrap().is_empty());
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_of_some_tenants_makes_and_sees_no_token_beyond_them() {
    let (api, _bus, stop, _folder) = without_store().await;
    let (_, root_a) = api.new_token("root-a", "admin", &["a"], 600).await;
    let (of_b, _) = api.new_token("bob", "analyst", &["b"], 600).await;
    let (of_both, _) = api.new_token("carol", "analyst", &["a", "b"], 600).await;
    let make = |tenants: Value| json!({"name": "x", "scope": "analyst", "tenants": tenants});
    for tenants in [json!(["b"]), json!(["*"]), json!(["a", "b"]), json!(["nobody-has-this"])] {
        let (status, body) = api.as_token(&root_a, Method::POST, "/v1/tokens", Some(&make(tenants.clone()))).await;
        assert_eq!((status, &body["code"]), (StatusCode::FORBIDDEN, &json!("tenant")), "{tenants}: {body}");
    }
    assert_eq!(api.as_token(&root_a, Method::POST, "/v1/tokens", Some(&make(json!(["a"])))).await.0, StatusCode::CREATED);
    let (_, list) = api.as_token(&root_a, GET, "/v1/tokens", None).await;
    let names: BTreeSet<&str> = list["tokens"].as_array().unwrap().iter().filter_map(|token| token["name"].as_str()).collect();
    assert_eq!(names, BTreeSet::from(["root-a", "x"]));
    for id in [of_b, of_both] {
        let foreign = api.as_token(&root_a, Method::DELETE, &format!("/v1/tokens/{id}"), None).await;
        let unknown = api.as_token(&root_a, Method::DELETE, "/v1/tokens/0000000000000000", None).await;
        assert_eq!((foreign.0, &foreign), (StatusCode::NOT_FOUND, &unknown));
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_claims_another_person_or_tenant_changes_who_asks() {
    let (api, bus, stop, _folder) = without_store().await;
    let (id, token) = api.new_token("alice", "analyst", &["a"], 600).await;
    let claims = [
        ("X-Forwarded-User", "admin"),
        ("X-Remote-User", "admin"),
        ("X-Beffroi-Tenant", "b"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("Forwarded", "for=203.0.113.9;by=admin"),
        ("Cookie", "beffroi=admin; __Host-beffroi=admin; user=admin; tenant=b"),
        ("X-Original-URL", "/v1/tokens"),
        ("X-HTTP-Method-Override", "DELETE"),
    ];
    let plain = api.as_token(&token, GET, "/v1/whoami", None).await;
    let before = records(&bus, Topic::Audit).await.len();
    for (name, value) in claims {
        let answer =
            api.client.get(format!("{}/v1/whoami", api.url)).bearer_auth(&token).header(name, value).send().await.unwrap();
        assert_eq!(answer.json::<Value>().await.unwrap(), plain.1, "{name}");
        let tokens =
            api.client.get(format!("{}/v1/tokens", api.url)).bearer_auth(&token).header(name, value).send().await.unwrap();
        assert_eq!(tokens.status(), StatusCode::FORBIDDEN, "{name}");
        let nobody = api.client.get(format!("{}/v1/whoami", api.url)).header(name, value).send().await.unwrap();
        assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED, "{name}");
    }
    for path in ["/v1/whoami?by=admin", "/v1/whoami?user=admin", "/v1/hosts?scope=admin", "/v1/alerts/abcdef?id=123456"] {
        assert_eq!(api.as_token(&token, GET, path, None).await.0, StatusCode::BAD_REQUEST, "{path}");
    }
    for body in [json!({"by": 1}), json!({"user": "admin"}), json!({"tenants": ["b"]}), json!({"asker": {"name": "admin"}})] {
        let (status, _) = api.as_token(&token, Method::POST, "/v1/events/search", Some(&body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    let audited = records(&bus, Topic::Audit).await.split_off(before);
    assert_eq!(audited.len(), 2 * claims.len() + 8);
    for record in audited {
        assert_eq!((&record["by"], &record["token_id"], &record["tenants"]), (&json!("alice"), &json!(id), &json!(["a"])));
        assert!(record["remote"].as_str().unwrap().starts_with("127.0.0.1:"), "{record}");
    }
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_says_who_asked_for_what_why_and_how_much_came_of_it() {
    let (api, bus, stop, _folder) = without_store().await;
    let (id, token) = api.new_token("alice", "csirt", &["a"], 600).await;
    let secret = "bft_0123456789abcdefghijklmnopqrstuvwxyzABCDEFG";
    let body = json!({"filters": [{"field": "CommandLine", "op": "contains", "value": secret}], "tenant": "a", "since": "24h"});
    let search = api.client.post(format!("{}/v1/events/search", api.url)).bearer_auth(&token).json(&body);
    search.header("X-Beffroi-Reason", "affaire%20n%C2%B0%2012").send().await.unwrap();
    api.as_token(&token, GET, "/v1/scans?limit=3", None).await;
    let bad = api.client.get(format!("{}/v1/scans", api.url)).bearer_auth(&token).header("X-Beffroi-Reason", "%ff").send();
    assert_eq!(bad.await.unwrap().status(), StatusCode::BAD_REQUEST);
    let audited = records(&bus, Topic::Audit).await;
    let [_made, search, scans, bad] = &audited[..] else { panic!("{audited:?}") };
    assert_eq!((&search["by"], &search["token_id"], &search["scope"]), (&json!("alice"), &json!(id), &json!("csirt")));
    assert_eq!((&search["operation"], &search["tenant"], &search["door"]), (&json!("events.search"), &json!("a"), &json!("api")));
    assert_eq!(
        (&search["reason"], &search["status"], &search["code"]),
        (&json!("affaire n° 12"), &json!(503), &json!("store_unavailable"))
    );
    let asked = search["asked"].to_string();
    assert!(asked.contains("CommandLine") && asked.contains("24h") && !asked.contains("0123456789abc"), "{asked}");
    assert_eq!(
        (&scans["operation"], &scans["query"], &scans["asked"]["limit"]),
        (&json!("scans.list"), &json!("limit=3"), &json!(3))
    );
    assert_eq!((&scans["rows"], &scans["status"]), (&json!(0), &json!(200)));
    assert_eq!((&bad["by"], &bad["status"]), (&json!("alice"), &json!(400)));
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_reads_the_audit_of_those_whose_tenants_are_all_theirs() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    rig.ready().await;
    let api = Api::start(rig.store(), rig.bus.clone(), rig.stop.clone()).await;
    let mut tokens = Vec::new();
    for (name, scope, tenants) in [
        ("alice", "analyst", &["a"][..]),
        ("bob", "analyst", &["b"]),
        ("carol", "analyst", &["a", "b"]),
        ("root-a", "admin", &["a"]),
    ] {
        let (id, token) = api.new_token(name, scope, tenants, 600).await;
        assert_eq!(api.as_token(&token, GET, "/v1/hosts", None).await.0, StatusCode::OK);
        tokens.push((id, token));
    }
    let group = beffroi_store::consumer_groups().into_iter().find(|(topic, _)| *topic == Topic::Audit).unwrap().1;
    rig.caught_up(Topic::Audit, &group).await;
    let names = |answer: &Value| -> BTreeSet<String> {
        answer["records"].as_array().unwrap().iter().map(|record| record["by"].as_str().unwrap().to_owned()).collect()
    };
    let all = api.get("/v1/audit?since=1h").await;
    let expected = ["admin", "alice", "bob", "carol", "root-a"].map(str::to_owned);
    assert_eq!(names(&all), BTreeSet::from(expected));
    assert!(all["behind"].is_number() && all["records"][0]["time"].as_str().unwrap().ends_with('Z'), "{all}");
    let (status, own) = api.as_token(&tokens[3].1, GET, "/v1/audit", None).await;
    assert_eq!((status, names(&own)), (StatusCode::OK, BTreeSet::from(["alice".to_owned(), "root-a".to_owned()])));
    let by = api.get("/v1/audit?by=bob").await;
    assert_eq!((names(&by).len(), by["records"][0]["path"].as_str().unwrap()), (1, "/v1/hosts"));
    assert_eq!(api.get(&format!("/v1/audit?by={}", tokens[1].0)).await["records"], by["records"]);
    assert_eq!(api.as_token(&tokens[0].1, GET, "/v1/audit", None).await.0, StatusCode::FORBIDDEN);
    // Another process of the API knows of these uses from the table alone.
    let other = Api::start(rig.store(), rig.bus.clone(), rig.stop.clone()).await;
    let list = other.get("/v1/tokens").await;
    let used = list["tokens"].as_array().unwrap().iter().filter(|token| token["last_used"].is_string()).count();
    assert_eq!(used, 4, "{list}");
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_too_often_is_told_when_to_come_again_and_others_are_answered() {
    let rates = RateOptions { changes: 1, reads: 2, ..open_rates() };
    let (api, bus, stop, _folder) = without_store_at(rates).await;
    let (_, alice) = api.new_token("alice", "analyst", &["a"], 600).await;
    let (_, bob) = api.new_token("bob", "analyst", &["a"], 600).await;
    let refused = loop {
        let answer = api.client.get(format!("{}/v1/whoami", api.url)).bearer_auth(&alice).send().await.unwrap();
        if answer.status() != StatusCode::OK {
            break answer;
        }
    };
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=5).contains(&wait), "{wait}");
    assert_eq!(refused.json::<Value>().await.unwrap()["code"], "too_many");
    assert_eq!(api.as_token(&bob, GET, "/v1/whoami", None).await.0, StatusCode::OK);
    assert_eq!(records(&bus, Topic::Audit).await.last().unwrap()["by"], "bob", "and it stands in the audit");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_guesses_tokens_is_slowed_down_before_anything_else_is_looked_at() {
    let (api, bus, stop, _folder) = without_store_at(RateOptions { address: 2, ..open_rates() }).await;
    let mut answers = Vec::new();
    for guess in 0..30 {
        answers.push(api.as_token(&format!("bft_{guess}"), GET, "/v1/alerts", None).await.0);
    }
    assert_eq!(answers[0], StatusCode::UNAUTHORIZED);
    assert!(answers.contains(&StatusCode::TOO_MANY_REQUESTS), "{answers:?}");
    assert!(records(&bus, Topic::Audit).await.is_empty(), "nobody who is known has asked");
    let _unused = support::now();
    stop.cancel();
}
