//! Made-up hosts that enrol and send as real agents do: key, certificate, mTLS, one batch at a time, `Retry-After`
//! honoured. A refusal other than "later" ends the benchmark: then it would measure something else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use beffroi_schema::session::{CertificateResponse, EnrollRequest, EnrollToken, PURPOSE_ENROLL, sign_proof};
use beffroi_schema::wire;
use rcgen::{CertificateParams, KeyPair};
use reqwest::{Client, Response, StatusCode, header};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::mix::Mix;
use super::sender::Sender;
use crate::reader::now_us;

/// Events of one batch: about what a host collects in a busy second.
pub const BATCH_EVENTS: usize = 500;
/// One request: the bus may be slow while the machine is busy.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);
/// Longest `Retry-After` that is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a host has had acknowledged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Events.
    pub events: u64,
    /// Of these, starts that a rule matches.
    pub planted: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// How often the gateway said "later".
    pub refused: u64,
}

impl std::iter::Sum for Sent {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            events: sum.events + one.events,
            planted: sum.planted + one.planted,
            bytes: sum.bytes + one.bytes,
            refused: sum.refused + one.refused,
        })
    }
}

/// One enrolled host.
pub struct FakeHost {
    sender: Sender,
    mix: Mix,
    client: Client,
    url: String,
}

impl FakeHost {
    /// Enrols the host with this number. `ca` is the server CA (PEM).
    pub async fn enroll(token: &EnrollToken, ca: &str, number: u64) -> Result<Self> {
        let sender = Sender::new(&token.tenant, number, now_us());
        let tls = KeyPair::generate().context("cannot make a TLS key")?;
        let csr = CertificateParams::default().serialize_request(&tls)?.pem()?;
        let request = EnrollRequest {
            token_id: token.token_id.clone(),
            secret: token.secret.clone(),
            public_key: sender.key.verifying_key().to_bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
            proof: sign_proof(&sender.key, PURPOSE_ENROLL, &csr, 0),
            csr,
            host: sender.host.clone(),
        };
        let url = format!("{}{}", token.gateway, wire::PATH_ENROLL);
        let answer = client(ca, None)?.post(url).json(&request).send().await.context("enrolment")?;
        if !answer.status().is_success() {
            bail!("the gateway refused to enrol a host: {}", said(answer).await);
        }
        let answer: CertificateResponse = answer.json().await.context("the answer to an enrolment")?;
        let client = client(ca, Some((&answer.certificate, tls.serialize_der())))?;
        let url = format!("{}{}", token.gateway, wire::PATH_BATCHES);
        Ok(Self { sender, mix: Mix::new(number), client, url })
    }

    /// Sends batch after batch, each acknowledged before the next, until the deadline has passed.
    pub async fn send_until(mut self, deadline: Instant) -> Result<Sent> {
        let mut sent = Sent::default();
        while Instant::now() < deadline {
            let stream = self.mix.next_stream();
            let batch = self.sender.seal(stream, self.mix.events(stream, BATCH_EVENTS, now_us()))?;
            sent.bytes += batch.bytes.len() as u64;
            sent.refused += self.deliver(batch.bytes.into()).await?;
            sent.events += BATCH_EVENTS as u64;
        }
        Ok(Sent { planted: self.mix.planted(), ..sent })
    }

    /// Sends one batch until it is taken; returns how often it was put off.
    async fn deliver(&self, batch: bytes::Bytes) -> Result<u64> {
        let mut refused = 0;
        loop {
            let request = self.client.post(&self.url).header(header::CONTENT_TYPE, wire::CONTENT_TYPE_BATCH).body(batch.clone());
            let answer = request.send().await.with_context(|| format!("a batch of {}", self.sender.id()))?;
            match answer.status() {
                StatusCode::ACCEPTED => return Ok(refused),
                StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                    refused += 1;
                    tokio::time::sleep(retry_after(&answer)).await;
                }
                _ => bail!("the gateway refused a batch: {}", said(answer).await),
            }
        }
    }
}

fn retry_after(answer: &Response) -> Duration {
    let seconds = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(1);
    Duration::from_secs(seconds).min(LONGEST_WAIT)
}

async fn said(answer: Response) -> String {
    format!("{}: {}", answer.status(), answer.text().await.unwrap_or_default())
}

/// A client that trusts this CA (PEM) and presents a chain (PEM) with its key (PKCS#8), if any.
fn client(ca: &str, identity: Option<(&str, Vec<u8>)>) -> Result<Client> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).context("the server CA")?)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().context("a certificate")?;
            builder.with_client_auth_cert(chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key)))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Client::builder().tls_backend_preconfigured(config).https_only(true).no_proxy().timeout(REQUEST_LIMIT).build()?)
}
