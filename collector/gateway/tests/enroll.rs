//! Who gets a certificate, and who does not: tokens, proofs, renewals, revocations.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;

use beffroi_gateway::testing::{FakeAgent, Refused, SECRET, post_json, stranger, token};
use beffroi_gateway::{Identity, Roles};
use beffroi_schema::control::{AgentEnrolled, Change, TokenCreated};
use beffroi_schema::session::{CertificateResponse, EnrollRequest, Hello, OrdersResponse, RenewRequest};
use beffroi_schema::wire;
use common::{Rig, TENANT, now_us};
use rustls_pki_types::pem::PemObject;

const DAY: i64 = 86_400_000_000;

async fn enroll(rig: &Rig, request: &EnrollRequest) -> Result<CertificateResponse, Refused> {
    post_json(&stranger(rig.ca()), rig.address(), wire::PATH_ENROLL, request).await
}

async fn renew(rig: &Rig, request: &RenewRequest) -> Result<CertificateResponse, Refused> {
    post_json(&stranger(rig.ca()), rig.address(), wire::PATH_RENEW, request).await
}

fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Refused>, status: u16, code: &str) -> Refused {
    let refused = answer.unwrap_err();
    assert_eq!((refused.status, refused.body.code.as_str()), (status, code), "{}", refused.body.error);
    assert!(!refused.body.hint.is_empty() && !refused.body.error.is_empty());
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_a_token_gets_a_certificate_in_its_name_and_is_known() {
    let rig = Rig::start().await;
    let agent = FakeAgent::new(1);
    let response = rig.enroll(&agent).await;
    assert_eq!((response.tenant.as_str(), response.agent_id, response.ca.as_str()), (TENANT, agent.id(), rig.ca()));
    assert_eq!(response.labels["site"], "test");
    let der = rustls_pki_types::CertificateDer::from_pem_slice(response.certificate.as_bytes()).unwrap();
    let identity = Identity::of_certificate(&der).unwrap();
    assert_eq!((identity.tenant.as_str(), identity.agent, identity.not_after), (TENANT, agent.id(), response.not_after));
    rig.control.read(|state| {
        let known = state.agent(&agent.id()).unwrap();
        assert_eq!((known.host.hostname.as_str(), known.remote.as_str()), ("pc-1", "127.0.0.1"));
        assert_eq!(known.certificate.as_ref().unwrap().not_after, response.not_after);
    });
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_token_is_refused_with_its_reason_and_never_with_its_secret() {
    let rig = Rig::start().await;
    let refuse = async |id: &str, secret: &str, status, code: &str| {
        let agent = FakeAgent::new(9);
        let refused = assert_refused(enroll(&rig, &agent.enroll_request(id, secret, agent.csr())).await, status, code);
        assert!(!format!("{refused:?}").contains(secret));
    };
    let create = async |made: TokenCreated| rig.submit(Change::TokenCreated(made)).await;
    refuse("t1", "ffeeddccbbaa99887766554433221100", 403, "token_wrong").await;
    refuse("nowhere", SECRET, 403, "token_wrong").await;
    create(TokenCreated { expires: now_us() - 1, ..token("old", TENANT, 1) }).await;
    refuse("old", SECRET, 403, "token_expired").await;
    create(TokenCreated { cidrs: vec!["10.0.0.0/8".into()], ..token("far", TENANT, 1) }).await;
    refuse("far", SECRET, 403, "token_network").await;
    create(token("gone", TENANT, 1)).await;
    rig.submit(Change::TokenRevoked { token_id: "gone".into() }).await;
    refuse("gone", SECRET, 403, "token_revoked").await;
    create(token("once", TENANT, 1)).await;
    FakeAgent::new(8).enroll(rig.address(), rig.ca(), "once").await.unwrap();
    refuse("once", SECRET, 403, "token_used_up").await;
    refuse("old", "0123456789abcdef0123456789abcdef", 403, "token_wrong").await;
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_use_serves_one_host_even_when_many_ask_at_once_and_that_host_may_ask_again() {
    let rig = Rig::start().await;
    rig.submit(Change::TokenCreated(token("once", TENANT, 1))).await;
    let (address, ca) = (rig.address(), rig.ca().to_string());
    let mut tasks = tokio::task::JoinSet::new();
    for seed in 10..18 {
        let ca = ca.clone();
        tasks.spawn(async move { (seed, FakeAgent::new(seed).enroll(address, &ca, "once").await) });
    }
    let answers = tasks.join_all().await;
    let winners: Vec<u8> = answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(seed, _)| *seed).collect();
    let [winner] = winners.as_slice() else { panic!("{} winners", winners.len()) };
    for (_, answer) in answers.iter().filter(|(seed, _)| seed != winner) {
        assert_refused(answer.clone(), 403, "token_used_up");
    }
    FakeAgent::new(*winner).enroll(address, &ca, "once").await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_the_key_owners_or_not_well_formed_is_refused() {
    let rig = Rig::start().await;
    let agent = FakeAgent::new(1);
    let good = agent.enroll_request("t1", SECRET, agent.csr());
    let stolen = EnrollRequest { csr: FakeAgent::new(2).csr(), ..good.clone() };
    assert_refused(enroll(&rig, &stolen).await, 403, "proof_wrong");
    assert_refused(enroll(&rig, &EnrollRequest { public_key: "00".into(), ..good.clone() }).await, 400, "malformed");
    assert_refused(enroll(&rig, &agent.enroll_request("t1", SECRET, "no csr".into())).await, 400, "csr");
    let client = stranger(rig.ca());
    let post = async |body: Vec<u8>| {
        beffroi_gateway::testing::refused(client.post(rig.url(wire::PATH_ENROLL)).body(body).send().await.unwrap()).await
    };
    let refused = post(format!("{{\"secret\": \"{SECRET}\", \"token_id\": 7}}").into_bytes()).await;
    assert_eq!((refused.status, refused.body.code.as_str()), (400, "malformed"));
    assert!(!refused.body.error.contains(SECRET));
    assert_eq!(post(vec![b' '; 16 * 1024 + 1]).await.status, 413);
    rig.control.read(|state| assert_eq!((state.agents().count(), state.token("t1").unwrap().used), (0, 0)));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_enrolments_from_one_address_wait() {
    let rig = Rig::start_with(Roles::ALL, |options| options.quota.enrolments_per_minute = 2).await;
    let agent = FakeAgent::new(1);
    for _ in 0..2 {
        rig.enroll(&agent).await;
    }
    let refused = assert_refused(agent.enroll(rig.address(), rig.ca(), "t1").await, 429, "too_many_enrolments");
    assert!((1..=30).contains(&refused.retry_after.unwrap()));
    rig.stop().await;
}

/// A host that enrolled and whose last certificate ended at this time.
async fn absent_since(rig: &Rig, agent: &FakeAgent, not_after: i64) {
    let enrolled = AgentEnrolled {
        agent_id: agent.id(),
        public_key: hex::encode(agent.key.verifying_key().to_bytes()),
        tenant: TENANT.into(),
        token_id: "t1".into(),
        labels: Default::default(),
        host: agent.host.clone(),
        remote: "127.0.0.1".into(),
    };
    rig.submit(Change::AgentEnrolled(enrolled)).await;
    rig.submit(Change::CertificateIssued { agent_id: agent.id(), serial: "01".into(), not_after }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_back_after_59_days_renews_with_its_identity_key_and_sends() {
    let rig = Rig::start().await;
    let agent = FakeAgent::new(1);
    absent_since(&rig, &agent, now_us() - 59 * DAY).await;
    let response = renew(&rig, &agent.renew_request(now_us())).await.unwrap();
    assert_eq!((response.tenant.as_str(), response.agent_id), (TENANT, agent.id()));
    let client = agent.client(rig.ca(), &response.certificate);
    rig.send(&client, agent.batch(TENANT, 1, 10).bytes).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_too_late_forged_replayed_or_unknown_is_refused() {
    let rig = Rig::start().await;
    let (late, present) = (FakeAgent::new(1), FakeAgent::new(2));
    absent_since(&rig, &late, now_us() - 61 * DAY).await;
    absent_since(&rig, &present, now_us() - DAY).await;
    let refused = assert_refused(renew(&rig, &late.renew_request(now_us())).await, 403, "renewal_too_late");
    assert!(refused.body.error.contains("61 days") && refused.body.hint.contains("token"), "{refused:?}");
    let forged = RenewRequest { agent_id: present.id(), ..late.renew_request(now_us()) };
    assert_refused(renew(&rig, &forged).await, 403, "proof_wrong");
    let redated = RenewRequest { ts: now_us(), ..present.renew_request(now_us() - DAY) };
    assert_refused(renew(&rig, &redated).await, 403, "proof_wrong");
    let old = assert_refused(renew(&rig, &present.renew_request(now_us() - 11 * 60_000_000)).await, 403, "clock_off");
    assert!(old.body.error.contains("11 min behind"), "{}", old.body.error);
    assert_refused(renew(&rig, &FakeAgent::new(3).renew_request(now_us())).await, 403, "agent_unknown");
    // Another host's certificate does not help either.
    let (_, client) = rig.enrolled(4).await;
    let answer: Result<CertificateResponse, _> =
        post_json(&client, rig.address(), wire::PATH_RENEW, &present.renew_request(now_us())).await;
    assert_refused(answer, 403, "identity_mismatch");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_host_gets_no_certificate_any_more() {
    let rig = Rig::start().await;
    let (agent, _) = rig.enrolled(1).await;
    rig.submit(Change::AgentRevoked { agent_id: agent.id(), reason: "stolen".into() }).await;
    assert_refused(renew(&rig, &agent.renew_request(now_us())).await, 403, "agent_revoked");
    assert_refused(agent.enroll(rig.address(), rig.ca(), "t1").await, 403, "agent_revoked");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hello_agrees_or_says_who_must_upgrade_and_orders_come_down_verbatim() {
    use beffroi_schema::down::{OperatorKey, Order, SignedKind, Target, sign};
    use prost::Message;
    let rig = Rig::start().await;
    let (agent, client) = rig.enrolled(1).await;
    let hello = Hello {
        software: "beffroi-agent/0.1.0".into(),
        schema_oldest: 1,
        schema_newest: 1,
        hooks: vec![],
        orders: vec![],
        codecs: vec!["zstd".into()],
        ts: now_us(),
    };
    let ours: Hello = post_json(&client, rig.address(), wire::PATH_HELLO, &hello).await.unwrap();
    assert!(ours.schema_oldest <= 1 && ours.schema_newest >= 1 && ours.orders.contains(&"scan".to_string()));
    let newer = Hello { schema_oldest: 99, schema_newest: 99, ..hello };
    assert_refused(post_json::<Hello>(&client, rig.address(), wire::PATH_HELLO, &newer).await, 426, "schema_too_new");
    let poll = async |after: &str, wait: u32| -> OrdersResponse {
        let url = rig.url(&format!("{}?after={after}&wait={wait}", wire::PATH_ORDERS));
        client.get(url).send().await.unwrap().json().await.unwrap()
    };
    let first = poll("", 0).await;
    assert!(first.orders.is_empty());
    let target = Target { tenant: TENANT.into(), agent_ids: vec![agent.id().0.to_vec()], whole_tenant: false };
    let order = Order { order_id: vec![1; 16], target: Some(target), expires: now_us() + DAY, ..Default::default() };
    let operator = OperatorKey::from_ed25519(FakeAgent::new(77).key);
    let signed = sign(SignedKind::Order, &order, &operator, Vec::new()).unwrap().encode_to_vec();
    let (answer, published) = tokio::join!(
        poll(&first.after, 20),
        rig.bus.publish(beffroi_bus::Topic::Orders, beffroi_bus::Outgoing::new("o", signed.clone()))
    );
    published.unwrap();
    assert_eq!(answer.envelopes().collect::<Vec<_>>(), [Some(signed)]);
    assert!(poll(&answer.after, 0).await.orders.is_empty());
    rig.stop().await;
}
