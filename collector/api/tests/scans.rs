//! Scans over HTTP: what is taken in, what goes onto the bus in which order, how hosts' answers are told.
#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod common;

use beffroi_bus::{Bus, TailFrom, Topic};
use beffroi_schema::{Field, Stream, wire};
use common::orders::{RULE, Signed, answer, base64, matched, revocation};
use common::support::{Agent, Engine, Rig, heartbeat, now};
use common::{Api, records, without_store};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

const POST: Method = Method::POST;

/// Key and content type of every record of `orders.v1`.
async fn down(bus: &Bus) -> Vec<(String, String)> {
    let mut tail = bus.tail(Topic::Orders, TailFrom::Beginning).await.unwrap();
    let mut found = Vec::new();
    while !tail.caught_up().await.unwrap() {
        let record = tail.next().await.unwrap();
        let kind = record.header(wire::HEADER_CONTENT_TYPE).unwrap_or_default();
        found.push((String::from_utf8_lossy(&record.key).into(), String::from_utf8_lossy(kind).into()));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_stand_before_the_order_that_names_them_and_the_same_order_again_changes_nothing() {
    let (api, bus, stop, _folder) = without_store().await;
    let (pc1, pc2) = (Agent::new(1, "a"), Agent::new(2, "a"));
    api.enroll(&pc1).await;
    api.enroll(&pc2).await;
    let (_, csirt) = api.new_token("carol", "csirt", &["a"], 600).await;
    let order = Signed::scan("a", &[pc1.id(), pc2.id()]);
    let (status, made) = api.as_token(&csirt, POST, "/v1/scans", Some(&order.body())).await;
    assert_eq!((status, &made), (StatusCode::CREATED, &json!({"order_id": order.id, "asked": 2})), "{made}");
    let once = down(&bus).await;
    assert_eq!(once.len(), 2);
    assert_eq!(once[0].1, wire::CONTENT_TYPE_BLOB);
    assert_eq!((once[1].0.as_str(), once[1].1.as_str()), (order.id.as_str(), ""));
    let controls = records(&bus, Topic::Control).await.len();
    let (status, again) = api.as_token(&csirt, POST, "/v1/scans", Some(&order.body())).await;
    assert_eq!((status, &again), (StatusCode::OK, &made));
    assert_eq!((down(&bus).await, records(&bus, Topic::Control).await.len()), (once, controls), "nothing doubled");
    let mut other = order.clone();
    other.order.note = "another order under the same id".into();
    assert_eq!(api.as_token(&csirt, POST, "/v1/scans", Some(&other.body())).await.0, StatusCode::CONFLICT);
    let audit = records(&bus, Topic::Audit).await;
    let given = audit.iter().find(|record| record["operation"] == "scans.create").unwrap();
    assert_eq!(
        (&given["asked"]["order_id"], &given["tenant"], &given["asked"]["ticket"]),
        (&json!(order.id), &json!("a"), &json!("T-1"))
    );
    assert!(!given.to_string().contains("envelope"), "{given}");
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_try_left_undone_is_finished_by_the_same_order_again() {
    let (api, bus, stop, _folder) = without_store().await;
    let order = Signed::scan("a", &[]);
    let change = beffroi_schema::control::Change::ScanOrdered(beffroi_schema::control::ScanOrdered {
        order_id: order.id.clone(),
        tenant: "a".into(),
        whole_tenant: true,
        asked: vec![],
        paths: vec!["/opt".into()],
        rules: vec![hex::encode(<sha2::Sha256 as sha2::Digest>::digest(RULE))],
        operator_key: operator_key(&order),
        issued: order.order.issued,
        expires: order.order.expires,
        ticket: "T-1".into(),
        purpose: String::new(),
        legal_basis: String::new(),
        tlp: String::new(),
        pap: String::new(),
        note: "note-of-a".into(),
    });
    api.control.submit("carol", change).await.unwrap();
    assert!(down(&bus).await.is_empty(), "the API went down between the record and the order");
    assert_eq!(api.call(POST, "/v1/scans", Some(order.body())).await.0, StatusCode::OK);
    assert_eq!(down(&bus).await.len(), 2);
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_goes_down_once_and_its_audit_names_the_keys() {
    let (api, bus, stop, _folder) = without_store().await;
    let revocation = json!({"envelope": revocation()});
    let (_, of_one_tenant) = api.new_token("dan", "admin", &["a"], 600).await;
    let refused = api.as_token(&of_one_tenant, POST, "/v1/revocations", Some(&revocation)).await;
    assert_eq!(refused.0, StatusCode::FORBIDDEN, "it stops keys of every tenant");
    for bad in [json!({"envelope": "%"}), json!({"envelope": Signed::scan("a", &[]).envelope()})] {
        assert_eq!(api.call(POST, "/v1/revocations", Some(bad)).await.0, StatusCode::BAD_REQUEST);
    }
    assert!(down(&bus).await.is_empty());
    let (status, made) = api.call(POST, "/v1/revocations", Some(revocation.clone())).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let (status, again) = api.call(POST, "/v1/revocations", Some(revocation)).await;
    assert_eq!((status, &again), (StatusCode::OK, &made));
    assert_eq!(down(&bus).await.len(), 1);
    let audit = records(&bus, Topic::Audit).await;
    let given = audit.iter().find(|record| record["operation"] == "revocations.publish" && record["status"] == 201).unwrap();
    assert_eq!((&given["asked"]["keys"], &given["asked"]["root"]), (&made["keys"], &made["root"]));
    stop.cancel();
}

fn operator_key(order: &Signed) -> String {
    hex::encode(&beffroi_schema::down::parse(&order.bytes()).unwrap().signatures[0].key_id)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_carried_out_is_refused_and_nothing_goes_down() {
    let (api, bus, stop, _folder) = without_store().await;
    let (mine, theirs) = (Agent::new(1, "a"), Agent::new(2, "b"));
    api.enroll(&mine).await;
    api.enroll(&theirs).await;
    let (_, csirt) = api.new_token("carol", "csirt", &["a"], 600).await;
    let good = Signed::scan("a", &[mine.id()]);
    let with = |change: &dyn Fn(&mut Signed)| {
        let mut order = good.clone();
        change(&mut order);
        order.body()
    };
    let mut bodies = vec![
        json!({"envelope": "%", "blobs": []}),
        json!({"envelope": base64("garbage"), "blobs": []}),
        json!({"envelope": good.envelope(), "blobs": []}),
        json!({"envelope": good.envelope(), "blobs": [base64("rule other { condition: true }")]}),
        json!({"envelope": good.envelope(), "blobs": [base64(RULE), base64("more")]}),
        json!({"envelope": good.envelope(), "blobs": [base64("x".repeat(1_000_000))]}),
        json!({"envelope": good.envelope(), "blobs": [base64(RULE)], "asked": 5}),
        with(&|it| it.order.expires = now() - 1),
        with(&|it| it.order.expires = now() + 8 * 86_400_000_000),
        with(&|it| (it.order.issued, it.order.expires) = (now() + 3_600_000_000, now() + 3_700_000_000)),
        with(&|it| it.order.order_id = vec![1; 15]),
        with(&|it| it.order.target.as_mut().unwrap().agent_ids.clear()),
        with(&|it| it.order.target.as_mut().unwrap().whole_tenant = true),
        with(&|it| it.order.target.as_mut().unwrap().agent_ids[0].push(1)),
        with(&|it| it.order.note = "x".repeat(3_000)),
        with(&|it| it.order.action = None),
        Signed::cancel("a", &good.id).body(),
    ];
    bodies.push(Signed::scan("a", &[theirs.id()]).body());
    bodies.push(Signed::scan("a", &[Agent::new(9, "a").id()]).body());
    for body in &bodies {
        let (status, answer) = api.as_token(&csirt, POST, "/v1/scans", Some(body)).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}: {answer}");
    }
    let foreign = api.as_token(&csirt, POST, "/v1/scans", Some(&Signed::scan("b", &[theirs.id()]).body())).await;
    let nobody = api.as_token(&csirt, POST, "/v1/scans", Some(&Signed::scan("c", &[]).body())).await;
    assert_eq!((foreign.0, &foreign), (StatusCode::FORBIDDEN, &nobody));
    assert!(down(&bus).await.is_empty());
    stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_is_told_host_by_host_from_asked_to_cancelled() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    rig.ready().await;
    let api = Api::start(rig.store(), rig.bus.clone(), rig.stop.clone()).await;
    let mut agents: Vec<Agent> = (1..=6).map(|number| Agent::new(number, "a")).collect();
    for agent in &agents {
        api.enroll(agent).await;
    }
    let order = Signed::scan("a", &[]);
    assert_eq!(api.call(POST, "/v1/scans", Some(order.body())).await.1["asked"], 6);
    let id = order.id.as_str();
    let done = [(Field::FILES_SCANNED, 40), (Field::FILES_MATCHED, 1), (Field::FILES_SKIPPED, 2), (Field::FILES_UNKNOWN, 1)];
    let said: [Vec<_>; 6] = [
        vec![
            answer(id, "accepted", &[], &[]),
            answer(id, "progress", &[(Field::FILES_SCANNED, 7)], &[]),
            matched(id, "marker", "/opt/a.war!/WEB-INF/lib/x.jar!/A.class"),
            answer(id, "unknown", &[], &[(Field::TARGET_FILENAME, "/opt/bomb.zip"), (Field::REASON, "larger than the budget")]),
            answer(id, "done", &done, &[]),
        ],
        vec![answer(id, "refused", &[], &[(Field::REASON, "the key is revoked")])],
        vec![answer(id, "accepted", &[], &[]), answer(id, "progress", &[(Field::FILES_SCANNED, 3)], &[])],
        vec![heartbeat(now(), 0, vec![])],
        vec![],
        vec![answer(id, "accepted", &[], &[]), answer(id, "failed", &[], &[(Field::REASON, "nothing was scanned")])],
    ];
    for (agent, answers) in agents.iter_mut().zip(said).filter(|(_, said)| !said.is_empty()) {
        let batch = agent.batch(Stream::Detection, answers);
        // Sent twice, as after a lost acknowledgement: read once.
        agent.send(&rig.bus, &batch, now()).await;
        agent.send(&rig.bus, &batch, now()).await;
    }
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    let status = api.get(&format!("/v1/scans/{}", &id[..8])).await;
    let host = |number: usize| {
        let id = agents[number - 1].id().to_string();
        status["hosts"].as_array().unwrap().iter().find(|host| host["agent_id"] == id.as_str()).unwrap().clone()
    };
    let states: Vec<Value> = (1..=6).map(|number| host(number)["state"].clone()).collect();
    assert_eq!(
        states,
        [json!("done"), json!("refused"), json!("running"), json!("asked"), json!("offline"), json!("failed")],
        "{status}"
    );
    assert_eq!((&host(1)["files_scanned"], &host(2)["reason"]), (&json!(40), &json!("the key is revoked")));
    assert_eq!(host(6)["reason"], "nothing was scanned");
    let figures = |line: &Value| {
        [
            "asked",
            "accepted",
            "answered",
            "refused",
            "running",
            "offline",
            "files_scanned",
            "files_matched",
            "files_unknown",
            "hosts_matched",
        ]
        .map(|name| line[name].as_u64().unwrap())
    };
    assert_eq!(figures(&status), [6, 3, 3, 1, 1, 1, 43, 1, 1, 1], "{status}");
    assert_eq!((&status["state"], &status["note"], &status["by"]), (&json!("running"), &json!("note-of-a"), &json!("admin")));
    let list = api.get("/v1/scans?tenant=a").await;
    assert_eq!(figures(&list["scans"][0]), figures(&status), "the list and the whole agree");
    assert_eq!(api.get("/v1/scans?tenant=b").await["scans"], json!([]));
    let results = api.get(&format!("/v1/scans/{id}/results")).await;
    assert_eq!((results["matches"].as_array().unwrap().len(), results["unknown"].as_array().unwrap().len()), (1, 1), "{results}");
    let found = &results["matches"][0];
    assert_eq!((&found["rule"], &found["path"]), (&json!("marker"), &json!("/opt/a.war!/WEB-INF/lib/x.jar!/A.class")));
    assert_eq!(
        (&results["unknown"][0]["path"], &results["unknown"][0]["reason"]),
        (&json!("/opt/bomb.zip"), &json!("larger than the budget"))
    );
    an_alert_is_named(&rig, &api, id, found).await;
    cancel(&api, &rig.bus, id).await;
    rig.halt().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_was_not_asked_makes_no_scan_look_done() {
    let Some(engine) = Engine::start() else { return };
    let mut rig = Rig::start(engine.options()).await;
    rig.ready().await;
    let api = Api::start(rig.store(), rig.bus.clone(), rig.stop.clone()).await;
    let (asked, mut liar) = (Agent::new(1, "a"), Agent::new(2, "a"));
    api.enroll(&asked).await;
    api.enroll(&liar).await;
    let order = Signed::scan("a", &[asked.id()]);
    assert_eq!(api.call(POST, "/v1/scans", Some(order.body())).await.0, StatusCode::CREATED);
    let figures = [(Field::FILES_SCANNED, 9_999), (Field::FILES_MATCHED, 9)];
    let batch = liar.batch(Stream::Detection, vec![answer(&order.id, "done", &figures, &[])]);
    liar.send(&rig.bus, &batch, now()).await;
    rig.caught_up(Topic::Events, wire::GROUP_STORE).await;
    let whole = api.get(&format!("/v1/scans/{}", order.id)).await;
    let line = api.get("/v1/scans").await["scans"][0].clone();
    for it in [&whole, &line] {
        let figures = ["asked", "answered", "offline", "files_scanned", "hosts_matched"].map(|name| it[name].as_u64().unwrap());
        assert_eq!((figures, &it["state"]), ([1, 0, 1, 0, 0], &json!("running")), "{it}");
    }
    assert_eq!(whole["hosts"].as_array().unwrap().len(), 1);
    rig.halt().await;
}

async fn an_alert_is_named(rig: &Rig, api: &Api, id: &str, found: &Value) {
    let event: beffroi_schema::EventId = found["event_id"].as_str().unwrap().parse().unwrap();
    let mut made = common::support::found("a", event.agent, "yara", 1, now());
    (made.event_ids, made.category) = (vec![event], "antivirus".into());
    rig.bus.publish(Topic::Alerts, common::support::outgoing(&made)).await.unwrap();
    rig.caught_up(Topic::Alerts, "store-alerts").await;
    let results = api.get(&format!("/v1/scans/{id}/results")).await;
    assert_eq!(results["matches"][0]["alert"], made.alert_id.to_string(), "{results}");
}

async fn cancel(api: &Api, bus: &Bus, id: &str) {
    let path = format!("/v1/scans/{}/cancel", &id[..10]);
    let end = Signed::cancel("a", id);
    for wrong in [Signed::cancel("a", &"0".repeat(32)), Signed::cancel("b", id), Signed::scan("a", &[])] {
        let (status, body) = api.call(POST, &path, Some(json!({"envelope": wrong.envelope()}))).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    let before = down(bus).await.len();
    for _twice in 0..2 {
        let (status, body) = api.call(POST, &path, Some(json!({"envelope": end.envelope()}))).await;
        assert_eq!((status, &body["cancel_id"]), (StatusCode::OK, &json!(end.id)), "{body}");
    }
    assert_eq!(down(bus).await.len(), before + 1, "the same cancellation again changes nothing");
    assert_eq!(api.get(&format!("/v1/scans/{id}")).await["state"], "cancelled");
}
