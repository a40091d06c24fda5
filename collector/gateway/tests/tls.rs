//! The door itself: which handshakes succeed, how long a stranger may stand in it, how a revoked host is shown out.

#![allow(clippy::unwrap_used)] // tests may panic

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use beffroi_gateway::testing::{FakeAgent, authority, client, stranger, tls_config};
use beffroi_gateway::{Options, Roles};
use beffroi_schema::control::Change;
use beffroi_schema::wire;
use common::{Rig, TENANT, now_us};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Shakes hands and asks for something; the error is what the client is told.
async fn knock(rig: &Rig, config: rustls::ClientConfig) -> Result<(), String> {
    let stream = TcpStream::connect(rig.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(|error| error.to_string())?;
    // In TLS 1.3 the client is done before the server has judged its certificate: the verdict comes with the first read.
    let said = async {
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await?;
        stream.read_u8().await.map(drop)
    };
    said.await.map_err(|error: std::io::Error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_certificates_of_our_ca_that_are_valid_now_are_let_in() {
    let rig = Rig::start().await;
    let agent = FakeAgent::new(1);
    let good = rig.enroll(&agent).await.certificate;
    knock(&rig, agent.tls_config(rig.ca(), &good)).await.unwrap();
    let ours = authority(&rig.dir.path().join("pki"));
    let issue = |now| ours.issue_agent(&agent.csr(), TENANT, agent.id(), now).unwrap().pem;
    let expired = issue(now_us() - 8 * 86_400_000_000);
    let said = knock(&rig, agent.tls_config(rig.ca(), &expired)).await.unwrap_err();
    assert!(said.contains("CertificateExpired"), "{said}");
    let early = issue(now_us() + 86_400_000_000);
    assert!(knock(&rig, agent.tls_config(rig.ca(), &early)).await.is_err());
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = authority(elsewhere.path()).issue_agent(&agent.csr(), TENANT, agent.id(), now_us()).unwrap().pem;
    let said = knock(&rig, agent.tls_config(rig.ca(), &foreign)).await.unwrap_err();
    assert!(said.contains("UnknownCA") || said.contains("DecryptError"), "{said}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateways_own_certificate_opens_no_door() {
    let rig = Rig::start().await;
    let leaf = authority(&rig.dir.path().join("pki"))
        .issue_gateway(&["localhost".to_string()], Duration::from_secs(3600), now_us())
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject;
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(rig.ca().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(leaf.chain, leaf.key)
        .unwrap();
    assert!(knock(&rig, config).await.is_err());
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_speaks_tls_1_2_only_is_refused() {
    let rig = Rig::start().await;
    let mut roots = rustls::RootCertStore::empty();
    use rustls_pki_types::pem::PemObject;
    roots.add(rustls_pki_types::CertificateDer::from_pem_slice(rig.ca().as_bytes()).unwrap()).unwrap();
    let old = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let said = knock(&rig, old).await.unwrap_err();
    assert!(said.contains("ProtocolVersion"), "{said}");
    knock(&rig, tls_config(rig.ca(), None)).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_a_live_session_within_five_seconds_and_closes_the_door() {
    let rig = Rig::start().await;
    let (agent, live) = rig.enrolled(1).await;
    let (other, other_client) = rig.enrolled(2).await;
    rig.send(&live, agent.batch(TENANT, 1, 10).bytes).await.unwrap();
    // A long poll keeps the session busy: it must end as well.
    let poll = tokio::spawn(live.get(rig.url(wire::PATH_ORDERS)).send());
    let config = agent.tls_config(rig.ca(), &rig.enroll(&agent).await.certificate);
    let stream = TcpStream::connect(rig.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut open = TlsConnector::from(Arc::new(config.clone())).connect(name, stream).await.unwrap();
    open.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    open.read_u8().await.unwrap();
    let started = Instant::now();
    rig.submit(Change::AgentRevoked { agent_id: agent.id(), reason: "stolen".into() }).await;
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(5), open.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the session is still open");
    let polled = tokio::time::timeout(Duration::from_secs(5), poll).await.expect("the poll is still open").unwrap();
    assert!(polled.is_err() || polled.unwrap().status() != 200);
    println!("cut after {:?}", started.elapsed());
    let said = knock(&rig, config).await.unwrap_err();
    assert!(said.contains("CertificateRevoked"), "{said}");
    rig.send(&other_client, other.batch(TENANT, 1, 10).bytes).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_dawdles_is_dropped() {
    let rig = Rig::start_with(Roles::ALL, |options| options.limits.handshake_seconds = 1).await;
    let mut stream = TcpStream::connect(rig.address()).await.unwrap();
    let started = Instant::now();
    let dripping = async {
        // The beginning of a TLS record, one byte at a time.
        for byte in [0x16, 0x03, 0x01, 0x02, 0x00, 0x01].into_iter().cycle() {
            if stream.write_all(&[byte]).await.is_err() {
                return;
            }
            if matches!(tokio::time::timeout(Duration::from_millis(200), stream.read_u8()).await, Ok(Err(_))) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(8), dripping).await.expect("the stream is still open");
    assert!(started.elapsed() >= Duration::from_millis(900));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_have_few_places_and_little_time_and_agents_are_not_kept_out() {
    let rig = Rig::start_with(Roles::ALL, |options: &mut Options| {
        options.limits.unauthenticated = 2;
        options.limits.unauthenticated_seconds = 3;
    })
    .await;
    let (agent, live) = rig.enrolled(1).await;
    rig.send(&live, agent.batch(TENANT, 1, 10).bytes).await.unwrap();
    // The stranger that enrolled may still hold a place: wait until both are free.
    let deadline = Instant::now() + Duration::from_secs(20);
    let occupy = async || {
        let mut stream = TcpStream::connect(rig.address()).await.unwrap();
        match tokio::time::timeout(Duration::from_millis(300), stream.read_u8()).await {
            Ok(_) => None,
            Err(_) => Some(stream),
        }
    };
    let (_first, _second) = loop {
        assert!(Instant::now() < deadline, "places never became free");
        if let (Some(first), Some(second)) = (occupy().await, occupy().await) {
            break (first, second);
        }
    };
    assert!(occupy().await.is_none(), "a third stranger was let in");
    rig.send(&live, agent.batch(TENANT, 2, 10).bytes).await.unwrap();
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_session_is_asked_to_come_again_and_loses_nothing() {
    let rig = Rig::start_with(Roles::ALL, |options| {
        options.limits.session_seconds = 1;
        options.quota.agent_burst_batches = 1_000_000;
    })
    .await;
    let (agent, live) = rig.enrolled(1).await;
    let started = Instant::now();
    let mut sent = 0;
    while started.elapsed() < Duration::from_secs(4) {
        sent += 1;
        rig.send(&live, agent.batch(TENANT, sent, 1_000).bytes).await.unwrap();
    }
    assert_eq!(rig.published().await.len() as u64, sent);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_1_works_too() {
    let rig = Rig::start().await;
    let agent = FakeAgent::new(1);
    let certificate = rig.enroll(&agent).await.certificate;
    let mut config = agent.tls_config(rig.ca(), &certificate);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    rig.send(&client(config), agent.batch(TENANT, 1, 10_000).bytes).await.unwrap();
    assert_eq!(stranger(rig.ca()).get(rig.url("/")).send().await.unwrap().status(), 404);
    rig.stop().await;
}
