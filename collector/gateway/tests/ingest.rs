//! What the gateway promises about batches: verbatim, from whom the certificate says, bounded, acknowledged when durable.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;

use beffroi_gateway::Roles;
use beffroi_gateway::testing::{FakeAgent, refused, stranger};
use beffroi_schema::limits::MAX_BATCH_BYTES;
use beffroi_schema::wire;
use common::{Rig, TENANT, now_us};

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_batch_lies_on_the_bus_byte_for_byte_with_its_headers() {
    let rig = Rig::start_with(Roles::ALL, |options| options.name = "gw-1".into()).await;
    let (agent, client) = rig.enrolled(1).await;
    let batch = agent.batch(TENANT, 1, 10_000).bytes;
    let before = now_us();
    rig.send(&client, batch.clone()).await.unwrap();
    let records = rig.published().await;
    let [record] = records.as_slice() else { panic!("{} records", records.len()) };
    assert_eq!(record.value, batch);
    assert_eq!(record.key, agent.id().to_string());
    let header = |name| std::str::from_utf8(record.header(name).unwrap()).unwrap();
    let received: i64 = header(wire::HEADER_RECEIVED_AT).parse().unwrap();
    assert!((before..=now_us()).contains(&received));
    assert_eq!(header(wire::HEADER_TENANT), TENANT);
    assert_eq!(header(wire::HEADER_REMOTE), "127.0.0.1");
    assert_eq!(header(wire::HEADER_GATEWAY), "gw-1");
    assert_eq!(header(wire::HEADER_CONTENT_TYPE), wire::CONTENT_TYPE_BATCH);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_batch_of_the_contract_passes() {
    let rig = Rig::start().await;
    let (agent, client) = rig.enrolled(1).await;
    let batch = agent.batch(TENANT, 1, 920_000).bytes;
    assert!(batch.len() > 900 * 1000);
    rig.send(&client, batch).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reaches_no_path_of_agents() {
    let rig = Rig::start().await;
    let client = stranger(rig.ca());
    for path in [wire::PATH_BATCHES, wire::PATH_HELLO] {
        let refusal = refused(client.post(rig.url(path)).body("x").send().await.unwrap()).await;
        assert_eq!((refusal.status, refusal.body.code.as_str()), (401, "certificate_required"), "{path}");
        assert!(!refusal.body.hint.is_empty());
    }
    assert_eq!(client.get(rig.url(wire::PATH_ORDERS)).send().await.unwrap().status(), 401);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_in_anothers_name_is_refused_and_not_published() {
    let rig = Rig::start().await;
    let (agent, client) = rig.enrolled(1).await;
    let other = FakeAgent::new(2);
    // The right agent id over another key: only the enrolled key counts.
    let mut forged = FakeAgent::new(1).header(TENANT);
    forged.agent = agent.id();
    let mut builder = beffroi_schema::batch::BatchBuilder::new(&agent.host);
    let mut event = beffroi_schema::Event::new(beffroi_schema::Category::ProcessCreation, beffroi_schema::Product::Linux, 1);
    event.seq = 1;
    builder.push(&beffroi_schema::batch::Record::Event(event));
    let forged = builder.seal(forged, &other.key).unwrap().bytes;
    for (what, batch) in
        [("tenant", agent.batch("defense", 1, 10).bytes), ("agent id", other.batch(TENANT, 1, 10).bytes), ("public key", forged)]
    {
        let refusal = rig.send(&client, batch).await.unwrap_err();
        assert_eq!((refusal.status, refusal.body.code.as_str()), (403, "identity_mismatch"));
        assert!(refusal.body.error.contains(what), "{}", refusal.body.error);
    }
    assert!(rig.published().await.is_empty());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_batch_is_told_what_is_wrong() {
    let rig = Rig::start().await;
    let (agent, client) = rig.enrolled(1).await;
    let code = |refusal: beffroi_gateway::testing::Refused| (refusal.status, refusal.body.code);
    assert_eq!(code(rig.send(&client, b"garbage".to_vec()).await.unwrap_err()), (400, "malformed".into()));
    assert_eq!(code(rig.send(&client, Vec::new()).await.unwrap_err()), (400, "malformed".into()));
    assert_eq!(code(rig.send(&client, vec![0; MAX_BATCH_BYTES + 1]).await.unwrap_err()), (413, "too_large".into()));
    let typed = client.post(rig.url(wire::PATH_BATCHES)).header("content-type", "application/json");
    let refusal = refused(typed.body(agent.batch(TENANT, 1, 10).bytes).send().await.unwrap()).await;
    assert_eq!(code(refusal), (415, "content_type".into()));
    let missing = refused(client.post(rig.url("/v2/batches")).send().await.unwrap()).await;
    assert_eq!(code(missing), (404, "not_found".into()));
    let method = refused(client.get(rig.url(wire::PATH_BATCHES)).send().await.unwrap()).await;
    assert_eq!(code(method), (405, "method".into()));
    assert!(rig.published().await.is_empty());
    rig.send(&client, agent.batch(TENANT, 1, 10).bytes).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_length_is_cut_off_while_it_streams() {
    let rig = Rig::start().await;
    let (_, client) = rig.enrolled(1).await;
    let endless = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![0u8; 64 * 1024]));
    let request = client.post(rig.url(wire::PATH_BATCHES)).header("content-type", wire::CONTENT_TYPE_BATCH);
    let response = request.body(reqwest::Body::wrap_stream(endless)).send().await.unwrap();
    assert_eq!(refused(response).await.status, 413);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_over_quota_is_told_when_to_come_back_and_others_go_on() {
    let rig = Rig::start_with(Roles::ALL, |options| {
        options.quota.agent_burst_batches = 3;
        options.quota.agent_batches_per_second = 1;
    })
    .await;
    let (loud, loud_client) = rig.enrolled(1).await;
    let (quiet, quiet_client) = rig.enrolled(2).await;
    let mut refusal = None;
    for seq in 1..=10 {
        refusal = refusal.or(rig.send(&loud_client, loud.batch(TENANT, seq, 10).bytes).await.err());
    }
    let refusal = refusal.expect("10 batches at once are more than 3");
    assert_eq!((refusal.status, refusal.body.code.as_str(), refusal.retry_after), (429, "over_quota", Some(1)));
    rig.send(&quiet_client, quiet.batch(TENANT, 1, 10).bytes).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bus_that_is_away_gives_503_and_health_says_so() {
    let rig = Rig::start().await;
    let (agent, client) = rig.enrolled(1).await;
    rig.bus.clone().close().await;
    let refusal = rig.send(&client, agent.batch(TENANT, 1, 10).bytes).await.unwrap_err();
    assert_eq!((refusal.status, refusal.body.code.as_str(), refusal.retry_after), (503, "bus_unavailable", Some(10)));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(15);
    while rig.gateway.health().iter().any(|role| role.ready) {
        assert!(std::time::Instant::now() < deadline, "{:?}", rig.gateway.health());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_served_apart_and_health_names_those_that_are() {
    let enroll = Rig::start_with(Roles { ingest: false, enroll: true }, |_| {}).await;
    let (agent, client) = enroll.enrolled(1).await;
    assert_eq!(enroll.send(&client, agent.batch(TENANT, 1, 10).bytes).await.unwrap_err().status, 404);
    let names: Vec<_> = enroll.gateway.health().into_iter().map(|role| role.role).collect();
    assert_eq!(names, ["enroll"]);
    enroll.stop().await;
    let dir = tempfile::tempdir().unwrap();
    drop(beffroi_gateway::testing::authority(dir.path()));
    let ingest = Rig::start_with(Roles { ingest: true, enroll: false }, |options| options.pki = dir.path().into()).await;
    let refusal = FakeAgent::new(2).enroll(ingest.address(), ingest.ca(), "t1").await.unwrap_err();
    assert_eq!(refusal.status, 404);
    ingest.stop().await;
}

/// Figures for the notes, not a promise: run with `--ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn batches_of_100_kb_per_second() {
    let rig = Rig::start_with(Roles::ALL, |options| {
        options.quota.agent_bytes_per_second = 1 << 40;
        options.quota.agent_batches_per_second = 1_000_000;
        options.quota.agent_burst_bytes = 1 << 40;
        options.quota.agent_burst_batches = 1_000_000;
        options.quota.tenant_burst_bytes = 1 << 40;
    })
    .await;
    let mut tasks = tokio::task::JoinSet::new();
    let (started, each) = (std::time::Instant::now(), 200);
    for seed in 1..=16 {
        let (agent, client) = rig.enrolled(seed).await;
        let (address, batch) = (rig.address(), agent.batch(TENANT, 1, 100_000).bytes);
        tasks.spawn(async move {
            for _ in 0..each {
                beffroi_gateway::testing::post_batch(&client, address, batch.clone()).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let rate = f64::from(16 * each) / started.elapsed().as_secs_f64();
    println!("16 agents: {rate:.0} batches/s of 100 KB, {:.0} MB/s", rate / 10.0);
    rig.stop().await;
}
