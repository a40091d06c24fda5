//! The collector in the attacker's hands: the right TLS key and CA, so that the agent really speaks to it, and whatever
//! the attacker wants to send down.
//!
//! Owns one TLS listener on loopback and what the agent sent up. It speaks just enough HTTP for one agent; a request that
//! it does not understand ends the connection.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use beffroi_schema::AgentId;
use beffroi_schema::session::{CertificateResponse, EnrollRequest, EnrollToken, Hello, OrdersResponse};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::attacks::TENANT;
use crate::reader::now_us;

/// Life of the agent's certificate: longer than any attack.
const CERTIFICATE_US: i64 = 24 * 3600 * 1_000_000;
/// Text of envelopes in one answer: the agent reads 2 MiB.
const MAX_ANSWER_BYTES: usize = 1_500_000;
/// How long an empty poll is held.
const HOLD: Duration = Duration::from_secs(2);
const LOOK: Duration = Duration::from_millis(5);
/// Largest request that is read: a batch.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// What goes down and what came up.
#[derive(Default)]
pub struct Book {
    /// Texts of envelopes as they stand in an answer, in order; a cursor is a place in it.
    pub down: Vec<String>,
    /// Whole answers that come before, one each: no answer of the contract.
    pub nonsense: Vec<Vec<u8>>,
    /// How far the agent is in `down`.
    pub reached: usize,
    /// Rule texts by SHA-256 in hex.
    pub texts: HashMap<String, Vec<u8>>,
    /// Batches.
    pub batches: Vec<Vec<u8>>,
}

/// The server.
pub struct Server {
    address: SocketAddr,
    ca_pem: String,
    ca_sha256: String,
    issuer: Issuer<'static, KeyPair>,
    book: Mutex<Book>,
}

impl Server {
    /// Starts it on a free port.
    pub async fn start() -> Result<Arc<Self>> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate()?;
        let ca = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&leaf_key, &issuer)?;
        let ca_der = CertificateDer::from(ca.der().to_vec());
        let acceptor = TlsAcceptor::from(Arc::new(tls(&ca_der, leaf.der().to_vec(), &leaf_key)?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = Arc::new(Self {
            address: listener.local_addr()?,
            ca_pem: ca.pem(),
            ca_sha256: hex(&Sha256::digest(&ca_der)),
            issuer,
            book: Mutex::default(),
        });
        let serving = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (serving, acceptor) = (Arc::clone(&serving), acceptor.clone());
                // One connection's end is no concern of the others.
                tokio::spawn(async move { serving.serve(acceptor, stream).await.ok() });
            }
        });
        Ok(server)
    }

    /// The book.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A token for one host that pins this root.
    pub fn token(&self, root: String) -> EnrollToken {
        EnrollToken {
            gateway: format!("https://{}", self.address),
            tenant: TENANT.into(),
            ca_sha256: self.ca_sha256.clone(),
            root_sha256: root,
            token_id: "red".into(),
            secret: "00".repeat(16),
        }
    }

    async fn serve(&self, acceptor: TlsAcceptor, stream: TcpStream) -> Result<()> {
        let mut stream = acceptor.accept(stream).await?;
        loop {
            let (path, body) = read_request(&mut stream).await?;
            let (status, answer) = self.answer(&path, &body).await?;
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", answer.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(&answer).await?;
        }
    }

    async fn answer(&self, path: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        match path {
            "/v1/enroll" => Ok((200, self.certify(&serde_json::from_slice(body)?)?)),
            "/v1/hello" => {
                let hello: Hello = serde_json::from_slice(body)?;
                Ok((200, serde_json::to_vec(&Hello { software: "red/1".into(), ts: now_us(), ..hello })?))
            }
            "/v1/batches" => {
                self.book().batches.push(body.to_vec());
                Ok((202, b"{}".to_vec()))
            }
            "/v1/orders" => Ok((200, self.poll(query).await?)),
            _ => Ok(match path.strip_prefix("/v1/blobs/").and_then(|name| self.book().texts.get(name).cloned()) {
                Some(text) => (200, text),
                None => (404, b"{}".to_vec()),
            }),
        }
    }

    async fn poll(&self, query: &str) -> Result<Vec<u8>> {
        let after = query.split('&').find_map(|part| part.strip_prefix("after=")).and_then(|after| after.parse().ok());
        let after: usize = after.unwrap_or(0);
        let until = tokio::time::Instant::now() + HOLD;
        loop {
            {
                let mut book = self.book();
                book.reached = book.reached.max(after);
                if !book.nonsense.is_empty() {
                    return Ok(book.nonsense.remove(0));
                }
                let orders = from(&book.down, after);
                if !orders.is_empty() || tokio::time::Instant::now() >= until {
                    let answer = OrdersResponse { after: (after + orders.len()).to_string(), orders };
                    return Ok(serde_json::to_vec(&answer)?);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A certificate for whoever asks, and a root of the server's own wishing beside it.
    fn certify(&self, request: &EnrollRequest) -> Result<Vec<u8>> {
        let key = decode_key(&request.public_key)?;
        let csr = CertificateSigningRequestParams::from_pem(&request.csr)?;
        let response = CertificateResponse {
            tenant: TENANT.into(),
            agent_id: AgentId::of_public_key(&key),
            certificate: csr.signed_by(&self.issuer)?.pem(),
            ca: self.ca_pem.clone(),
            not_after: now_us() + CERTIFICATE_US,
            labels: Default::default(),
        };
        let mut response = serde_json::to_value(response)?;
        response["root_sha256"] = "ab".repeat(32).into();
        Ok(serde_json::to_vec(&response)?)
    }
}

/// What fits into one answer.
fn from(down: &[String], after: usize) -> Vec<String> {
    let mut bytes = 0;
    let fits = |text: &&String| {
        bytes += text.len();
        bytes <= MAX_ANSWER_BYTES || bytes == text.len()
    };
    down.iter().skip(after).take_while(fits).cloned().collect()
}

fn decode_key(text: &str) -> Result<[u8; 32]> {
    let id: beffroi_schema::KeyId = text.parse()?;
    Ok(id.0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn tls(ca: &CertificateDer<'static>, leaf: Vec<u8>, key: &KeyPair) -> Result<rustls::ServerConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.clone())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()?;
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).context("the server's key")?;
    Ok(rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![leaf.into(), ca.clone()], key)?)
}

async fn read_request(stream: &mut (impl AsyncReadExt + Unpin)) -> Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
        anyhow::ensure!(head.len() < 16 * 1024, "a request without an end");
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split_whitespace().nth(1).context("no path")?.to_owned();
    let lower = head.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap_or("0").trim().parse()?;
    anyhow::ensure!(length <= MAX_REQUEST_BYTES, "a request of {length} bytes");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok((path, body))
}
