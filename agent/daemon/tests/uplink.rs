//! Enrolment and uplink against a gateway that answers as it is told.

#![allow(clippy::unwrap_used, reason = "a test ends where its set-up fails")]

mod support;

use std::collections::HashMap;
use std::time::Duration;

use beffroi_agent::clock::now_us;
use beffroi_agent::config::{SpoolConfig, UplinkConfig};
use beffroi_agent::enroll::{certificate_validity, enroll};
use beffroi_agent::identity::{Enrolment, load_key};
use beffroi_agent::layout::{Layout, read_json};
use beffroi_agent::spool::{Author, Role, Spool};
use beffroi_agent::uplink::{Signer, Uplink, UplinkState, UplinkStatus};
use beffroi_agent::users::User;
use beffroi_log::{LogReader, read_cursor};
use beffroi_schema::batch::{ChainHead, ChainState, Envelope, Record};
use beffroi_schema::{Category, Event, Product, Stream};
use support::{FakeGateway, Say, say};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A condition that does not come true in this time fails the test.
const PATIENCE: Duration = Duration::from_secs(30);

fn fill(layout: &Layout, enrolment: &Enrolment, rounds: u64) {
    let key = load_key(layout).unwrap();
    let author = Author {
        tenant: enrolment.tenant.clone(),
        agent: enrolment.agent_id,
        epoch: Author::new_epoch(now_us()).unwrap(),
        key,
        host: beffroi_agent::host::info(),
    };
    let mut spool =
        Spool::open(layout, author, &SpoolConfig { keep_free_bytes: 0, ..SpoolConfig::default() }, Role::Replay).unwrap();
    for _ in 0..rounds {
        for category in [Category::Antivirus, Category::ProcessCreation, Category::FileEvent] {
            let event = Event::new(category, Product::Linux, now_us());
            spool.push(event.stream(), Record::Event(event));
        }
        spool.flush();
    }
    assert_eq!(spool.close(), 0);
}

struct Running {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

fn send(layout: &Layout, enrolment: &Enrolment) -> Running {
    let (stop, stopped) = watch::channel(false);
    let signer = Signer::Key(Box::new(load_key(layout).unwrap()));
    let uplink = Uplink::open(layout, &UplinkConfig::default(), enrolment.clone(), signer).unwrap();
    Running { stop, task: tokio::spawn(uplink.run(stopped)) }
}

impl Running {
    async fn end(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn cursor(layout: &Layout, stream: Stream) -> u64 {
    read_cursor(layout.cursor(stream)).unwrap().map_or(0, |cursor| cursor.offset)
}

fn end(layout: &Layout, stream: Stream) -> u64 {
    LogReader::open(layout.spool(stream)).unwrap().end_offset().unwrap().unwrap()
}

fn all_sent(layout: &Layout) -> bool {
    Stream::ALL.iter().all(|stream| cursor(layout, *stream) == end(layout, *stream))
}

/// What the gateway accepted: every batch verified, each stream's chain whole.
fn check_accepted(gateway: &FakeGateway, expected: usize) {
    let book = gateway.book.lock().unwrap();
    let mut heads: HashMap<Stream, ChainHead> = HashMap::new();
    for bytes in &book.accepted {
        let envelope = Envelope::parse(bytes).unwrap();
        envelope.verify().unwrap();
        let stream = envelope.header.stream;
        match envelope.follows(heads.get(&stream).copied(), &envelope.decode().unwrap().records).unwrap() {
            ChainState::Follows(head) => heads.insert(stream, head),
            other => panic!("{stream}: {other:?}"),
        };
    }
    assert_eq!(book.accepted.len(), expected);
}

#[tokio::test]
async fn the_cursor_moves_on_an_acknowledgement_and_on_nothing_else() {
    let gateway = FakeGateway::start("CA").await;
    let dir = tempfile::tempdir().unwrap();
    let (layout, enrolment) = gateway.enrol(dir.path()).await;
    fill(&layout, &enrolment, 4);
    gateway.book.lock().unwrap().always = Some(say(503));
    let running = send(&layout, &enrolment);
    until("some refusals", || gateway.book.lock().unwrap().answered.len() >= 4).await;
    assert!(Stream::ALL.iter().all(|stream| cursor(&layout, *stream) == 0));
    let busy = Say { retry_after: Some(1), ..say(429) };
    {
        let mut book = gateway.book.lock().unwrap();
        // A 200 is no 202: nobody has promised anything.
        book.first = vec![say(500), busy, say(200), say(503), say(404)];
        book.always = None;
    }
    until("everything sent", || all_sent(&layout)).await;
    running.end().await;
    check_accepted(&gateway, 5 + 3 * 4);
}

#[tokio::test]
async fn a_batch_that_is_too_large_for_the_gateway_is_kept_and_delays_no_other_stream() {
    let gateway = FakeGateway::start("CA").await;
    let dir = tempfile::tempdir().unwrap();
    let (layout, enrolment) = gateway.enrol(dir.path()).await;
    fill(&layout, &enrolment, 2);
    gateway.book.lock().unwrap().of_stream.insert(Stream::File, say(413));
    let running = send(&layout, &enrolment);
    let others = [Stream::Detection, Stream::Exec, Stream::Network, Stream::Bulk];
    until("the others", || others.iter().all(|stream| cursor(&layout, *stream) == end(&layout, *stream))).await;
    until("the report", || {
        let status: Option<UplinkStatus> = read_json(&layout.uplink_status()).unwrap();
        status.is_some_and(|status| matches!(status.blocked.as_slice(), [(Stream::File, why)] if why.contains("413")))
    })
    .await;
    assert_eq!(cursor(&layout, Stream::File), 0);
    running.end().await;
    gateway.book.lock().unwrap().of_stream.clear();
    let running = send(&layout, &enrolment);
    until("the kept batch", || all_sent(&layout)).await;
    running.end().await;
    check_accepted(&gateway, 5 + 3 * 2);
}

#[tokio::test]
async fn a_revoked_host_stops_sending_and_says_so() {
    let gateway = FakeGateway::start("CA").await;
    let dir = tempfile::tempdir().unwrap();
    let (layout, enrolment) = gateway.enrol(dir.path()).await;
    fill(&layout, &enrolment, 1);
    gateway.book.lock().unwrap().always = Some(say(403));
    let running = send(&layout, &enrolment);
    until("the stop", || {
        let status: Option<UplinkStatus> = read_json(&layout.uplink_status()).unwrap();
        status.is_some_and(|status| status.state == UplinkState::Stopped && status.detail.contains("403"))
    })
    .await;
    running.end().await;
    let answered = gateway.book.lock().unwrap().answered.len();
    assert!(answered <= 3, "{answered} requests: more than were on the way when the first was refused");
    assert!(Stream::ALL.iter().all(|stream| cursor(&layout, *stream) == 0));
}

#[tokio::test]
async fn a_gateway_that_has_not_heard_of_the_enrolment_yet_is_asked_again() {
    let gateway = FakeGateway::start("CA").await;
    let dir = tempfile::tempdir().unwrap();
    let (layout, enrolment) = gateway.enrol(dir.path()).await;
    fill(&layout, &enrolment, 1);
    gateway.book.lock().unwrap().first = vec![Say { code: "agent_unknown", ..say(403) }];
    let running = send(&layout, &enrolment);
    until("everything sent", || all_sent(&layout)).await;
    running.end().await;
    check_accepted(&gateway, 5 + 3);
}

#[tokio::test]
async fn an_expired_certificate_is_renewed_with_the_identity_key_and_sending_goes_on() {
    let gateway = FakeGateway::start("CA").await;
    gateway.book.lock().unwrap().life = (-8 * 86_400, -86_400);
    let dir = tempfile::tempdir().unwrap();
    let (layout, enrolment) = gateway.enrol(dir.path()).await;
    fill(&layout, &enrolment, 1);
    gateway.book.lock().unwrap().life = (0, 7 * 86_400);
    let running = send(&layout, &enrolment);
    until("everything sent", || all_sent(&layout)).await;
    running.end().await;
    assert_eq!(gateway.book.lock().unwrap().renewals, 1);
    assert!(certificate_validity(&layout).unwrap().1 > now_us());
}

#[tokio::test]
async fn enrolment_stores_what_it_settled_and_keeps_the_identity_when_repeated() {
    let gateway = FakeGateway::start("CA").await;
    let dir = tempfile::tempdir().unwrap();
    let (layout, first) = gateway.enrol(dir.path()).await;
    assert_eq!((first.tenant.as_str(), first.labels["site"].as_str()), ("interieur", "paris"));
    assert_eq!(Enrolment::load(&layout).unwrap(), first);
    let (_, second) = gateway.enrol(dir.path()).await;
    assert_eq!(first.agent_id, second.agent_id);
}

#[tokio::test]
async fn an_intercepted_connection_is_refused_by_name_and_nothing_is_stored() {
    let real = FakeGateway::start("Real CA").await;
    let proxy = FakeGateway::start("Corporate Inspection CA").await;
    let dir = tempfile::tempdir().unwrap();
    let mut token = real.token();
    token.gateway = proxy.url.clone();
    let layout = Layout::new(dir.path());
    let error = enroll(&layout, &token.to_text(), &UplinkConfig::default(), &User::current()).await.unwrap_err().to_string();
    for part in ["Corporate Inspection CA", &real.ca_sha256, &proxy.ca_sha256, "intercepts TLS"] {
        assert!(error.contains(part), "{part} is not in: {error}");
    }
    assert!(!error.contains(&token.secret));
    assert!(Enrolment::load(&layout).is_err());
}

#[tokio::test]
async fn a_damaged_token_is_refused_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("state"));
    for text in ["", "hunter2", "beffroi-enroll-1.%%%"] {
        let error = enroll(&layout, text, &UplinkConfig::default(), &User::current()).await.unwrap_err().to_string();
        assert!(error.contains("beffroi enroll token") && !error.contains("hunter2"), "{error}");
    }
    assert!(!layout.root().exists());
}

#[tokio::test]
async fn a_gateway_that_is_away_is_named_with_its_address() {
    let gateway = FakeGateway::start("CA").await;
    let mut token = gateway.token();
    // A port that was free a moment ago and that nobody listens on.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    token.gateway = format!("https://{free}");
    let dir = tempfile::tempdir().unwrap();
    let error = enroll(&Layout::new(dir.path()), &token.to_text(), &UplinkConfig::default(), &User::current())
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains(&free.to_string()) && error.contains("cannot be reached"), "{error}");
}

/// An HTTP proxy that knows CONNECT; counts the tunnels it made.
async fn connect_proxy() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let tunnels = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = tunnels.clone();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.strip_prefix("CONNECT ").unwrap().split_whitespace().next().unwrap().to_string();
                let mut server = tokio::net::TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (url, tunnels)
}

#[tokio::test]
async fn a_configured_proxy_is_used_and_cannot_look_inside() {
    let gateway = FakeGateway::start("CA").await;
    let (proxy, tunnels) = connect_proxy().await;
    let dir = tempfile::tempdir().unwrap();
    let config = UplinkConfig { proxy: Some(proxy), ..UplinkConfig::default() };
    enroll(&Layout::new(dir.path()), &gateway.token().to_text(), &config, &User::current()).await.unwrap();
    assert_eq!(tunnels.load(std::sync::atomic::Ordering::Relaxed), 1);
}
