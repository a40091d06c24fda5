//! Enrolment and renewal: TLS keys and requests made here, the gateway's answer checked before it is stored.
//!
//! Owns the order: key, request, answer, checks, TLS identity, and the enrolment record last, so that a host that was
//! interrupted is simply not enrolled yet. The TLS key and its certificate are one file, replaced as a whole.

use std::io;

use beffroi_schema::session::{
    CertificateResponse, EnrollRequest, EnrollToken, PURPOSE_ENROLL, RenewRequest, TokenError, sign_proof,
};
use beffroi_schema::{AgentId, KeyId, SigningKey};

use crate::clock::now_us;
use crate::config::UplinkConfig;
use crate::gateway::{Gateway, GatewayError};
use crate::identity::{Enrolment, IdentityError, load_or_make_key};
use crate::layout::{Layout, read_small, write_whole};
use crate::tls::{self, ClientIdentity, PinnedCa};
use crate::users::User;

/// File with the TLS key and its certificate chain.
pub const TLS_IDENTITY: &str = "identity.pem";
/// File with the server CA.
pub const TLS_CA: &str = "ca.pem";
/// Longest text of a token that is read (bytes).
pub const MAX_TOKEN_BYTES: u64 = 16 * 1024;

/// Enrolment or renewal failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrollError {
    /// The token is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The identity key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The gateway.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The token names a root that cannot be one.
    #[error("the token cannot be used: {0}")]
    Root(&'static str),
    /// The answer contradicts the token or this host.
    #[error("the gateway's answer is not accepted: {0}; nothing was stored, tell the operator of the collector")]
    Answer(String),
    /// Making the TLS key or its request.
    #[error("the TLS key cannot be made: {0}")]
    Tls(String),
    /// The operating system.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A new TLS key and the request to certify it.
pub struct TlsRequest {
    /// Private key (PEM).
    pub key: String,
    /// Certificate signing request (PEM).
    pub csr: String,
}

impl TlsRequest {
    /// Makes a P-256 key and its request. The gateway chooses every name in the certificate.
    ///
    /// # Errors
    /// [`EnrollError::Tls`].
    pub fn new() -> Result<Self, EnrollError> {
        let made = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).and_then(|key| {
            let csr = rcgen::CertificateParams::new(Vec::<String>::new())?.serialize_request(&key)?.pem()?;
            Ok(Self { key: key.serialize_pem(), csr })
        });
        made.map_err(|error| EnrollError::Tls(error.to_string()))
    }
}

/// Enrols this host with a token. An identity key that exists is kept, and with it the agent's id.
///
/// # Errors
/// [`EnrollError`]; nothing is stored then except a new identity key.
pub async fn enroll(layout: &Layout, token: &str, config: &UplinkConfig, uplink: &User) -> Result<Enrolment, EnrollError> {
    let token = EnrollToken::parse(token)?;
    check_root(&token.root_sha256)?;
    layout.prepare(uplink)?;
    let key = load_or_make_key(layout)?;
    let agent_id = AgentId::of_public_key(&key.verifying_key().to_bytes());
    let tls_config = tls::client_config(PinnedCa::new(&token.ca_sha256, None), None).map_err(EnrollError::Tls)?;
    let gateway = Gateway::new(&token.gateway, tls_config, config)?;
    let request = TlsRequest::new()?;
    let answer = gateway.enroll(&enroll_request(&token, &key, &request)).await?;
    check_answer(&answer, agent_id, &token.tenant, &token.ca_sha256)?;
    store_tls(layout, &request.key, &answer, uplink)?;
    let enrolment = Enrolment {
        gateway: token.gateway,
        tenant: token.tenant,
        agent_id,
        ca_sha256: token.ca_sha256.to_ascii_lowercase(),
        // From the token, which the operator made from a file of theirs; never from what a server answers.
        root_sha256: token.root_sha256.to_ascii_lowercase(),
        enrolled_at: now_us(),
        labels: answer.labels,
    };
    enrolment.store(layout)?;
    Ok(enrolment)
}

fn check_root(root_sha256: &str) -> Result<(), EnrollError> {
    match root_sha256.parse::<KeyId>() {
        Err(_) if !root_sha256.is_empty() => Err(EnrollError::Root(
            "its root_sha256 is no key id of 64 hex digits; have the token made again with `beffroi enroll token`",
        )),
        _ => Ok(()),
    }
}

fn enroll_request(token: &EnrollToken, key: &SigningKey, request: &TlsRequest) -> EnrollRequest {
    EnrollRequest {
        token_id: token.token_id.clone(),
        secret: token.secret.clone(),
        public_key: hex::encode(key.verifying_key().to_bytes()),
        csr: request.csr.clone(),
        host: crate::host::info(),
        proof: sign_proof(key, PURPOSE_ENROLL, &request.csr, 0),
    }
}

/// Asks for a new certificate. `sign` has the request signed by the identity key and says at which time.
///
/// # Errors
/// [`EnrollError`]; the old certificate stays then.
pub async fn renew(
    layout: &Layout,
    enrolment: &Enrolment,
    config: &UplinkConfig,
    sign: impl AsyncFnOnce(&str) -> io::Result<(i64, String)>,
) -> Result<i64, EnrollError> {
    let request = TlsRequest::new()?;
    let (ts, proof) = sign(&request.csr).await?;
    // Without the old certificate: it may have expired, and the proof says all.
    let gateway = Gateway::new(&enrolment.gateway, tls_config(layout, enrolment, false)?, config)?;
    let asked = RenewRequest { agent_id: enrolment.agent_id, csr: request.csr.clone(), ts, proof };
    let answer = gateway.renew(&asked).await?;
    check_answer(&answer, enrolment.agent_id, &enrolment.tenant, &enrolment.ca_sha256)?;
    store_tls(layout, &request.key, &answer, &User::current())?;
    Ok(answer.not_after)
}

/// TLS settings with the stored CA, with or without the stored certificate.
///
/// # Errors
/// [`EnrollError::Tls`] when a stored file is absent or damaged.
pub fn tls_config(layout: &Layout, enrolment: &Enrolment, with_certificate: bool) -> Result<rustls::ClientConfig, EnrollError> {
    let ca = read_pem(layout, TLS_CA)?;
    let known = tls::certificates(&ca).map_err(|why| EnrollError::Tls(format!("{TLS_CA}: {why}")))?.into_iter().next();
    let pinned = PinnedCa::new(&enrolment.ca_sha256, known);
    if !with_certificate {
        return tls::client_config(pinned, None).map_err(EnrollError::Tls);
    }
    let identity = read_pem(layout, TLS_IDENTITY)?;
    let identity = ClientIdentity { certificate: &identity, key: &identity };
    tls::client_config(pinned, Some(identity)).map_err(EnrollError::Tls)
}

/// From when to when the stored certificate is valid, microseconds since 1970; `None` when it cannot be read.
pub fn certificate_validity(layout: &Layout) -> Option<(i64, i64)> {
    tls::validity(&read_pem(layout, TLS_IDENTITY).ok()?)
}

fn read_pem(layout: &Layout, name: &str) -> Result<String, EnrollError> {
    let path = layout.tls(name);
    let absent = || io::Error::new(io::ErrorKind::NotFound, format!("{} is absent; enrol this host again", path.display()));
    let content = read_small(&path)?.ok_or_else(absent)?;
    String::from_utf8(content).map_err(|_| EnrollError::Tls(format!("{} is damaged; enrol this host again", path.display())))
}

fn check_answer(answer: &CertificateResponse, agent: AgentId, tenant: &str, ca_sha256: &str) -> Result<(), EnrollError> {
    let wrong = |what: String| Err(EnrollError::Answer(what));
    if answer.agent_id != agent {
        return wrong(format!("it is for agent {}, this one is {agent}", answer.agent_id));
    }
    if answer.tenant != tenant {
        return wrong(format!("it is for tenant {:?}, the token is for {tenant:?}", answer.tenant));
    }
    let ca = tls::certificates(&answer.ca).map_err(|why| EnrollError::Answer(format!("CA: {why}")))?;
    if !ca.iter().any(|one| tls::fingerprint(one).eq_ignore_ascii_case(ca_sha256)) {
        return wrong("its CA is not the one that the token names".into());
    }
    tls::certificates(&answer.certificate).map_err(|why| EnrollError::Answer(format!("certificate: {why}")))?;
    Ok(())
}

fn store_tls(layout: &Layout, key: &str, answer: &CertificateResponse, owner: &User) -> io::Result<()> {
    let owner = Some((owner.uid, owner.gid));
    let identity = format!("{}\n{}\n", key.trim_end(), answer.certificate.trim_end());
    write_whole(&layout.tls(TLS_CA), answer.ca.as_bytes(), 0o600, owner)?;
    write_whole(&layout.tls(TLS_IDENTITY), identity.as_bytes(), 0o600, owner)
}
