//! A gateway for tests: real TLS with a CA of its own, answers as it is told, keeps what it accepted.

#![allow(dead_code, clippy::unwrap_used)] // Each test file uses its part; a test ends where its set-up fails.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use beffroi_agent::clock::now_us;
use beffroi_agent::enroll::enroll;
use beffroi_agent::layout::Layout;
use beffroi_agent::users::User;
use beffroi_agent::{config::UplinkConfig, identity::Enrolment};
use beffroi_schema::batch::Envelope;
use beffroi_schema::session::{
    CertificateResponse, EnrollRequest, EnrollToken, Hello, OrdersResponse, PURPOSE_ENROLL, PURPOSE_RENEW, RenewRequest,
    verify_proof,
};
use beffroi_schema::{AgentId, Stream};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Longer than anything takes that a test waits for, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until a look finds something.
pub async fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a request for a batch is answered with.
#[derive(Debug, Clone)]
pub struct Say {
    pub status: u16,
    pub retry_after: Option<u64>,
    pub code: &'static str,
}

pub fn say(status: u16) -> Say {
    Say { status, retry_after: None, code: "told" }
}

#[derive(Default)]
pub struct Book {
    /// Answer for every batch, unless its stream has one of its own; 202 when empty.
    pub always: Option<Say>,
    pub of_stream: HashMap<Stream, Say>,
    /// Answers that come first, one each.
    pub first: Vec<Say>,
    /// Status of every request for a batch, in order.
    pub answered: Vec<u16>,
    /// Batches that were answered with 202.
    pub accepted: Vec<Vec<u8>>,
    pub renewals: usize,
    /// Life of certificates (seconds from now): begin and end.
    pub life: (i64, i64),
    pub keys: HashMap<AgentId, [u8; 32]>,
    /// What goes down, in order; a cursor is a place in it.
    pub down: Vec<Vec<u8>>,
    /// Rule texts by SHA-256 in hex.
    pub texts: HashMap<String, Vec<u8>>,
    /// Requests for texts that were not there.
    pub texts_missed: usize,
    /// What the server would like the root to be.
    pub root: String,
}

pub struct FakeGateway {
    pub url: String,
    pub ca_pem: String,
    pub ca_sha256: String,
    pub book: Arc<Mutex<Book>>,
    issuer: Arc<Issuer<'static, KeyPair>>,
}

impl FakeGateway {
    pub async fn start(ca_name: &str) -> Arc<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, ca_name);
        let key = KeyPair::generate().unwrap();
        let ca = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_string()]).unwrap().signed_by(&leaf_key, &issuer).unwrap();
        let ca_der = CertificateDer::from(ca.der().to_vec());
        let config = server_config(&ca_der, leaf.der().to_vec(), &leaf_key);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway = Arc::new(Self {
            url: format!("https://{}", listener.local_addr().unwrap()),
            ca_pem: ca.pem(),
            ca_sha256: beffroi_agent::tls::fingerprint(&ca_der),
            book: Arc::new(Mutex::new(Book { life: (0, 7 * 86_400), ..Book::default() })),
            issuer: Arc::new(issuer),
        });
        let (serving, acceptor) = (Arc::clone(&gateway), TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (gateway, acceptor) = (Arc::clone(&serving), acceptor.clone());
                tokio::spawn(async move { gateway.serve(acceptor, stream).await });
            }
        });
        gateway
    }

    pub fn token(&self) -> EnrollToken {
        EnrollToken {
            gateway: self.url.clone(),
            tenant: "interieur".into(),
            ca_sha256: self.ca_sha256.clone(),
            root_sha256: String::new(),
            token_id: "t1".into(),
            secret: "00112233445566778899aabbccddeeff".into(),
        }
    }

    pub async fn enrol(&self, state: &Path) -> (Layout, Enrolment) {
        self.enrol_under(state, "").await
    }

    /// Enrols with a token that names this root.
    pub async fn enrol_under(&self, state: &Path, root: &str) -> (Layout, Enrolment) {
        let layout = Layout::new(state);
        let user = User::for_process(None, "beffroi-uplink", "uplink.user").unwrap();
        let token = EnrollToken { root_sha256: root.into(), ..self.token() };
        let enrolment = enroll(&layout, &token.to_text(), &UplinkConfig::default(), &user).await.unwrap();
        (layout, enrolment)
    }

    async fn serve(&self, acceptor: TlsAcceptor, stream: TcpStream) {
        let Ok(mut stream) = acceptor.accept(stream).await else { return };
        let has_certificate = stream.get_ref().1.peer_certificates().is_some();
        while let Some((path, body)) = read_request(&mut stream).await {
            let (status, retry_after, answer) = match path.split_once('?') {
                Some(("/v1/orders", query)) if has_certificate => (200, None, self.poll(query).await),
                _ => self.answer(&path, &body, has_certificate),
            };
            let retry = retry_after.map_or(String::new(), |seconds| format!("retry-after: {seconds}\r\n"));
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n{retry}\r\n", answer.len());
            if stream.write_all(head.as_bytes()).await.is_err() || stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str, body: &[u8], has_certificate: bool) -> (u16, Option<u64>, Vec<u8>) {
        match path {
            "/v1/enroll" => {
                let request: EnrollRequest = serde_json::from_slice(body).unwrap();
                let mut key = [0; 32];
                hex::decode_to_slice(&request.public_key, &mut key).unwrap();
                assert!(verify_proof(&key, PURPOSE_ENROLL, &request.csr, 0, &request.proof));
                self.book.lock().unwrap().keys.insert(AgentId::of_public_key(&key), key);
                (200, None, self.certify(AgentId::of_public_key(&key), &request.csr))
            }
            "/v1/renew" => {
                let request: RenewRequest = serde_json::from_slice(body).unwrap();
                let key = self.book.lock().unwrap().keys[&request.agent_id];
                assert!(verify_proof(&key, PURPOSE_RENEW, &request.csr, request.ts, &request.proof));
                self.book.lock().unwrap().renewals += 1;
                (200, None, self.certify(request.agent_id, &request.csr))
            }
            "/v1/hello" if has_certificate => {
                let hello: Hello = serde_json::from_slice(body).unwrap();
                (200, None, serde_json::to_vec(&Hello { software: "fake/1".into(), ts: now_us(), ..hello }).unwrap())
            }
            "/v1/batches" if has_certificate => self.take(body),
            _ if has_certificate && path.starts_with("/v1/blobs/") => self.text(&path["/v1/blobs/".len()..]),
            _ => (401, None, b"{\"code\":\"no_certificate\",\"error\":\"no client certificate\",\"hint\":\"enrol\"}".to_vec()),
        }
    }

    /// The long poll: answers when there is something behind the cursor, or empty after a while.
    async fn poll(&self, query: &str) -> Vec<u8> {
        let after =
            query.split('&').find_map(|part| part.strip_prefix("after=")).and_then(|after| after.parse().ok()).unwrap_or(0);
        for _ in 0..200 {
            let down = self.book.lock().unwrap().down.get(after..).unwrap_or_default().to_vec();
            if !down.is_empty() {
                return serde_json::to_vec(&OrdersResponse::new((after + down.len()).to_string(), down)).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        serde_json::to_vec(&OrdersResponse::new(after.to_string(), Vec::<Vec<u8>>::new())).unwrap()
    }

    fn text(&self, name: &str) -> (u16, Option<u64>, Vec<u8>) {
        let mut book = self.book.lock().unwrap();
        match book.texts.get(name) {
            Some(text) => (200, None, text.clone()),
            None => {
                book.texts_missed += 1;
                (404, None, b"{\"code\":\"blob_unknown\",\"error\":\"no such text\",\"hint\":\"none\"}".to_vec())
            }
        }
    }

    fn take(&self, body: &[u8]) -> (u16, Option<u64>, Vec<u8>) {
        let stream = Envelope::parse(body).unwrap().header.stream;
        let mut book = self.book.lock().unwrap();
        let said = match book.first.is_empty() {
            false => book.first.remove(0),
            true => book.of_stream.get(&stream).cloned().or(book.always.clone()).unwrap_or(say(202)),
        };
        book.answered.push(said.status);
        if said.status == 202 {
            book.accepted.push(body.to_vec());
            return (202, None, b"{\"accepted\":true}".to_vec());
        }
        let error = format!("{{\"code\":\"{}\",\"error\":\"told to say {}\",\"hint\":\"none\"}}", said.code, said.status);
        (said.status, said.retry_after, error.into_bytes())
    }

    fn certify(&self, agent: AgentId, csr: &str) -> Vec<u8> {
        let (begin, end) = self.book.lock().unwrap().life;
        let mut request = CertificateSigningRequestParams::from_pem(csr).unwrap();
        let now = std::time::SystemTime::now();
        let at = |seconds: i64| match u64::try_from(seconds) {
            Ok(after) => now + Duration::from_secs(after),
            Err(_) => now - Duration::from_secs(seconds.unsigned_abs()),
        };
        request.params.not_before = at(begin).into();
        request.params.not_after = at(end).into();
        let certificate = request.signed_by(&self.issuer).unwrap().pem();
        let response = CertificateResponse {
            tenant: "interieur".into(),
            agent_id: agent,
            certificate,
            ca: self.ca_pem.clone(),
            not_after: now_us() + end * 1_000_000,
            labels: [("site".to_string(), "paris".to_string())].into(),
        };
        let mut response = serde_json::to_value(&response).unwrap();
        // No member of the contract: a server that would like to be obeyed by another root can only say so.
        response["root_sha256"] = self.book.lock().unwrap().root.clone().into();
        serde_json::to_vec(&response).unwrap()
    }
}

fn server_config(ca: &CertificateDer<'static>, leaf: Vec<u8>, key: &KeyPair) -> rustls::ServerConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![leaf.into(), ca.clone()], key)
        .unwrap()
}

async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let path = head.split_whitespace().nth(1)?.to_string();
    let length =
        head.lines().find_map(|line| line.strip_prefix("content-length:")).map_or(Some(0), |text| text.trim().parse().ok())?;
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, body))
}
