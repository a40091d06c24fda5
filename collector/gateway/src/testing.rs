//! For tests of this and other crates: agents that are keys and an HTTP client, tokens, batches. Not part of the
//! product (feature `testing`); fails by panicking, as tests do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use beffroi_schema::batch::{BatchBuilder, Header, HostInfo, Record, SealedBatch};
use beffroi_schema::control::{Change, TokenCreated};
use beffroi_schema::event::{Category, Event, Product};
use beffroi_schema::fields::Field;
use beffroi_schema::ids::{AgentId, BatchHash, Epoch, Stream};
use beffroi_schema::session::{
    CertificateResponse, EnrollRequest, ErrorBody, PURPOSE_ENROLL, PURPOSE_RENEW, RenewRequest, secret_hash, sign_proof,
};
use beffroi_schema::{SigningKey, wire};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::pki::Authority;

/// Secret of every token of [`token`].
pub const SECRET: &str = "00112233445566778899aabbccddeeff";

/// A server CA in this folder.
///
/// # Panics
/// If it cannot be made.
pub fn authority(dir: &Path) -> Authority {
    Authority::open_or_create(dir).expect("a CA in a test folder")
}

/// A token with [`SECRET`], to be submitted to the control state.
pub fn token(token_id: &str, tenant: &str, uses: u32) -> TokenCreated {
    TokenCreated {
        token_id: token_id.into(),
        secret_hash: secret_hash(token_id, SECRET),
        tenant: tenant.into(),
        uses,
        expires: crate::clock::now_us() + 3_600_000_000,
        cidrs: Vec::new(),
        labels: BTreeMap::from([("site".to_string(), "test".to_string())]),
    }
}

/// The change that makes [`token`] known.
pub fn token_created(token_id: &str, tenant: &str, uses: u32) -> Change {
    Change::TokenCreated(token(token_id, tenant, uses))
}

/// A host that is an identity key and a TLS key.
pub struct FakeAgent {
    /// Identity key.
    pub key: SigningKey,
    /// TLS key.
    pub tls: KeyPair,
    /// What it says of itself.
    pub host: HostInfo,
}

/// What a gateway answered instead of a success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` in seconds.
    pub retry_after: Option<u64>,
    /// The body.
    pub body: ErrorBody,
}

impl FakeAgent {
    /// The agent whose identity key comes from this seed; its TLS key is new.
    pub fn new(seed: u8) -> Self {
        let host = HostInfo { hostname: format!("pc-{seed}"), os: "Debian GNU/Linux 12".into(), ..Default::default() };
        Self { key: SigningKey::from_bytes(&[seed; 32]), tls: KeyPair::generate().expect("a P-256 key"), host }
    }

    /// Its id.
    pub fn id(&self) -> AgentId {
        AgentId::of_public_key(&self.key.verifying_key().to_bytes())
    }

    /// A plain signing request (PEM) of its TLS key.
    pub fn csr(&self) -> String {
        self.csr_with(CertificateParams::default())
    }

    /// A signing request that asks for all this.
    pub fn csr_with(&self, params: CertificateParams) -> String {
        params.serialize_request(&self.tls).and_then(|request| request.pem()).expect("a signing request")
    }

    /// First contact.
    pub fn enroll_request(&self, token_id: &str, secret: &str, csr: String) -> EnrollRequest {
        EnrollRequest {
            token_id: token_id.into(),
            secret: secret.into(),
            public_key: hex::encode(self.key.verifying_key().to_bytes()),
            proof: sign_proof(&self.key, PURPOSE_ENROLL, &csr, 0),
            csr,
            host: self.host.clone(),
        }
    }

    /// Renewal at this time by the agent's clock, microseconds since 1970.
    pub fn renew_request(&self, ts: i64) -> RenewRequest {
        let csr = self.csr();
        RenewRequest { agent_id: self.id(), ts, proof: sign_proof(&self.key, PURPOSE_RENEW, &csr, ts), csr }
    }

    /// Enrols with a token of [`token`].
    ///
    /// # Errors
    /// What the gateway answered.
    pub async fn enroll(&self, gateway: SocketAddr, ca: &str, token_id: &str) -> Result<CertificateResponse, Refused> {
        let request = self.enroll_request(token_id, SECRET, self.csr());
        post_json(&stranger(ca), gateway, wire::PATH_ENROLL, &request).await
    }

    /// TLS configuration that presents this certificate (PEM).
    pub fn tls_config(&self, ca: &str, certificate: &str) -> ClientConfig {
        tls_config(ca, Some((certificate, self.tls.serialize_der())))
    }

    /// An mTLS client that presents this certificate (PEM).
    pub fn client(&self, ca: &str, certificate: &str) -> reqwest::Client {
        client(self.tls_config(ca, certificate))
    }

    /// A signed batch that holds one event of about `bytes` bytes that do not compress.
    pub fn batch(&self, tenant: &str, seq: u64, bytes: usize) -> SealedBatch {
        let mut builder = BatchBuilder::new(&self.host);
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, crate::clock::now_us());
        event.seq = seq;
        event.set(Field::IMAGE, "/usr/bin/sh");
        let mut left = bytes;
        for name in 0.. {
            // One text holds at most 128 KiB.
            let mut noise = vec![0u8; left.min(100_000)];
            getrandom::fill(&mut noise).expect("randomness");
            left -= noise.len();
            event.set_named(&format!("Noise{name}"), noise.into());
            if left == 0 {
                break;
            }
        }
        builder.push(&Record::Event(event));
        builder.seal(self.header(tenant), &self.key).expect("a batch within the limits")
    }

    /// The header of a batch of this agent.
    pub fn header(&self, tenant: &str) -> Header {
        Header::unsealed(tenant.into(), self.id(), Epoch::new(1_795_000_000_000_000, 1), Stream::Exec, BatchHash::default())
    }
}

/// TLS configuration that trusts this CA (PEM) and presents a chain (PEM) with its key (PKCS#8), if any.
pub fn tls_config(ca: &str, identity: Option<(&str, Vec<u8>)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("a CA in PEM")).expect("a CA");
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring speaks TLS")
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().expect("a chain in PEM");
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key));
            builder.with_client_auth_cert(chain, key).expect("a key that fits its certificate")
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// An HTTP client over this TLS configuration.
pub fn client(config: ClientConfig) -> reqwest::Client {
    reqwest::Client::builder().tls_backend_preconfigured(config).no_proxy().build().expect("an HTTP client")
}

/// A client without certificate.
pub fn stranger(ca: &str) -> reqwest::Client {
    client(tls_config(ca, None))
}

/// Sends a batch.
///
/// # Errors
/// What the gateway answered instead of 202.
pub async fn post_batch(client: &reqwest::Client, gateway: SocketAddr, batch: Vec<u8>) -> Result<(), Refused> {
    let request =
        client.post(format!("https://{gateway}{}", wire::PATH_BATCHES)).header("content-type", wire::CONTENT_TYPE_BATCH);
    let response = request.body(batch).send().await.expect("an answer");
    if response.status() == 202 { Ok(()) } else { Err(refused(response).await) }
}

/// Sends JSON and reads JSON.
///
/// # Errors
/// What the gateway answered instead of a success.
pub async fn post_json<T: serde::de::DeserializeOwned>(
    client: &reqwest::Client,
    gateway: SocketAddr,
    path: &str,
    body: &impl serde::Serialize,
) -> Result<T, Refused> {
    let response = client.post(format!("https://{gateway}{path}")).json(body).send().await.expect("an answer");
    if response.status().is_success() { Ok(response.json().await.expect("JSON")) } else { Err(refused(response).await) }
}

/// Reads a refusal.
pub async fn refused(response: reqwest::Response) -> Refused {
    let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
    let status = response.status().as_u16();
    Refused { status, retry_after, body: response.json().await.expect("every refusal is an ErrorBody") }
}
