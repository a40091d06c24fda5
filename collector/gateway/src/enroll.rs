//! The enroll role: `POST /v1/enroll` (first contact, with a token) and what it shares with `POST /v1/renew`.
//!
//! Owns the CA key. A host gets a certificate only after the record that lets it in has been read back from the control
//! topic and has won; a host whose answer was lost asks again with the same key and token and uses nothing up. Every
//! refusal has a code, says what to do, and spends nothing.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Extension, Request, State};
use beffroi_schema::VerifyingKey;
use beffroi_schema::batch::HostInfo;
use beffroi_schema::control::{AgentEnrolled, Change};
use beffroi_schema::ids::AgentId;
use beffroi_schema::session::{CertificateResponse, EnrollRequest, PURPOSE_ENROLL, secret_hash, verify_proof};
use http::StatusCode;
use serde::de::DeserializeOwned;
use subtle::ConstantTimeEq;

use crate::directory::{Directory, Host};
use crate::options::QuotaOptions;
use crate::pki::{Authority, PkiError};
use crate::quota::{Buckets, Rate};
use crate::refuse::Refusal;
use crate::serve::Peer;
use crate::{body, clock};

/// Largest request: a CSR of 1 KiB, and what a host says of itself.
const MAX_REQUEST_BYTES: usize = 16 * 1024;
/// Longest word that a host says of itself, in characters.
const MAX_WORD: usize = 256;
/// Most addresses that a host may name.
const MAX_ADDRESSES: usize = 32;

/// The enroll role.
pub(crate) struct Enrolment {
    pub(crate) authority: Arc<Authority>,
    pub(crate) directory: Directory,
    remotes: Buckets<IpAddr, 1>,
}

impl Enrolment {
    pub(crate) fn new(authority: Arc<Authority>, directory: Directory, quota: &QuotaOptions) -> Self {
        let minute = quota.enrolments_per_minute as f64;
        Self { authority, directory, remotes: Buckets::new([Rate { per_second: minute / 60.0, burst: minute }]) }
    }

    /// Counts a request of this address and reads its body.
    pub(crate) async fn read<T: DeserializeOwned>(&self, peer: &Peer, request: Request) -> Result<T, Refusal> {
        self.remotes.charge(&network_of(peer.remote), [1.0], Instant::now()).map_err(|wait| {
            let hint = "try again after Retry-After; an operator can raise gateway.quota.enrolments_per_minute";
            Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_enrolments", "too many enrolments from this address", hint)
                .after(wait)
        })?;
        let length = body::announced(request.headers(), MAX_REQUEST_BYTES)?;
        let bytes = body::read(request.into_body(), length, MAX_REQUEST_BYTES).await?;
        // The parser's own words may repeat what was sent, secrets included: only the place is said.
        serde_json::from_slice(&bytes).map_err(|error| {
            let place = format!("no request of this kind as JSON: line {}, column {}", error.line(), error.column());
            Refusal::malformed(place, "send it as agents of this version do")
        })
    }

    /// Certifies the key of a signing request for an enrolled host and records it.
    pub(crate) async fn certify(&self, csr: &str, agent: AgentId, host: Host) -> Result<CertificateResponse, Refusal> {
        let issued = self.authority.issue_agent(csr, &host.tenant, agent, clock::now_us()).map_err(|error| unissued(&error))?;
        let (serial, not_after) = (issued.serial, issued.not_after);
        self.directory.submit(Change::CertificateIssued { agent_id: agent, serial: serial.clone(), not_after }).await?;
        metrics::counter!("beffroi_enroll_certificates_total").increment(1);
        tracing::info!(target: "beffroi::security", %agent, tenant = host.tenant, serial, "issued a certificate");
        let ca = self.authority.root().pem().to_string();
        Ok(CertificateResponse {
            tenant: host.tenant,
            agent_id: agent,
            certificate: issued.pem,
            ca,
            not_after,
            labels: host.labels,
        })
    }
}

/// `POST /v1/enroll`.
pub(crate) async fn enroll(
    State(enrolment): State<Arc<Enrolment>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Json<CertificateResponse>, Refusal> {
    let request: EnrollRequest = enrolment.read(&peer, request).await?;
    enrolment.directory.require_ready()?;
    let enrolled = enrolment.admit(&request, peer.remote).await;
    if let Err(refusal) = &enrolled {
        tracing::warn!(target: "beffroi::security", remote = %peer.remote, code = refusal.body.code, "refused an enrolment");
    }
    let agent = enrolled?;
    let host = enrolment.directory.host(agent).ok_or_else(Refusal::unknown_agent)?;
    Ok(Json(enrolment.certify(&request.csr, agent, host).await?))
}

impl Enrolment {
    /// Decides whether this host is let in, and records it.
    async fn admit(&self, request: &EnrollRequest, remote: IpAddr) -> Result<AgentId, Refusal> {
        let (tenant, labels) = self.open_token(&request.token_id, &request.secret)?;
        let public_key = identity_key(&request.public_key)?;
        if !verify_proof(&public_key, PURPOSE_ENROLL, &request.csr, 0, &request.proof) {
            return Err(wrong_proof());
        }
        crate::pki::check_csr(&request.csr).map_err(|error| unissued(&error.into()))?;
        let agent = AgentId::of_public_key(&public_key);
        if self.directory.is_revoked(agent) {
            return Err(Refusal::revoked());
        }
        let known = self.directory.host(agent);
        if known.is_some_and(|host| host.token_id == request.token_id) {
            // Its answer was lost: it is in, and the token has paid for it.
            return Ok(agent);
        }
        self.directory.check_token(&request.token_id, &remote.to_string(), clock::now_us())?;
        let change = AgentEnrolled {
            agent_id: agent,
            public_key: hex::encode(public_key),
            tenant,
            token_id: request.token_id.clone(),
            labels,
            host: tidy(&request.host),
            remote: remote.to_string(),
        };
        self.directory.submit(Change::AgentEnrolled(change)).await?;
        metrics::counter!("beffroi_enroll_hosts_total").increment(1);
        tracing::info!(target: "beffroi::security", %agent, %remote, token = request.token_id, "enrolled a host");
        Ok(agent)
    }

    /// Tenant and labels of a token whose secret is right.
    fn open_token(&self, token_id: &str, secret: &str) -> Result<(String, std::collections::BTreeMap<String, String>), Refusal> {
        let known = self.directory.token(token_id);
        let given = secret_hash(token_id, secret);
        // An unknown token is compared as well, so that it takes as long as a wrong secret.
        let stored = known.as_ref().map_or("", |(_, _, hash)| hash.as_str());
        let same = bool::from(given.as_bytes().ct_eq(stored.as_bytes()));
        known.filter(|_| same).map(|(tenant, labels, _)| (tenant, labels)).ok_or_else(Refusal::wrong_token)
    }
}

fn identity_key(text: &str) -> Result<[u8; 32], Refusal> {
    let bad = || Refusal::malformed("public_key is no Ed25519 key in hex", "make a new identity key on this host");
    let mut bytes = [0u8; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| bad())?;
    match VerifyingKey::from_bytes(&bytes) {
        // A weak key verifies signatures of others: it would be an identity that anyone can take.
        Ok(key) if !key.is_weak() => Ok(bytes),
        _ => Err(bad()),
    }
}

pub(crate) fn wrong_proof() -> Refusal {
    let hint = "sign the request with this host's identity key; if the key was replaced, enrol anew with a token";
    Refusal::new(StatusCode::FORBIDDEN, "proof_wrong", "the identity key did not sign this request", hint)
}

/// A request that cannot be certified is the host's fault, all else is ours.
pub(crate) fn unissued(error: &PkiError) -> Refusal {
    if let PkiError::Csr(error) = error {
        let hint = "make the request anew with `beffroi-agent enroll`; nothing has been spent";
        return Refusal::new(StatusCode::BAD_REQUEST, "csr", error.to_string(), hint);
    }
    tracing::error!(%error, "a certificate could not be issued");
    let hint = "try again later; an operator should look at the collector's log";
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "certificate", "the certificate could not be made", hint)
}

/// One line per word, bounded: it is shown in terminals.
fn tidy(host: &HostInfo) -> HostInfo {
    let word = |text: &String| text.chars().filter(|c| !c.is_control()).take(MAX_WORD).collect();
    HostInfo {
        hostname: word(&host.hostname),
        os: word(&host.os),
        kernel: word(&host.kernel),
        architecture: word(&host.architecture),
        agent_version: word(&host.agent_version),
        boot_id: word(&host.boot_id),
        addresses: host.addresses.iter().take(MAX_ADDRESSES).map(word).collect(),
    }
}

/// Whom a limit counts for: an IPv4 address, or the /64 of an IPv6 address (one subscriber).
fn network_of(remote: IpAddr) -> IpAddr {
    match remote.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_ipv6_subscriber_counts_as_one() {
        let net = |text: &str| network_of(text.parse().unwrap()).to_string();
        assert_eq!(net("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(net("::ffff:10.0.0.1"), "10.0.0.1");
    }

    #[test]
    fn what_a_host_says_of_itself_is_bounded_and_has_no_control_characters() {
        let host =
            HostInfo { hostname: format!("a\x1b[2J{}", "x".repeat(999)), addresses: vec!["1".into(); 99], ..Default::default() };
        let tidied = tidy(&host);
        assert!(
            tidied.hostname.starts_with("a[2Jx") && tidied.hostname.len() == MAX_WORD && tidied.addresses.len() == MAX_ADDRESSES
        );
    }

    #[test]
    fn weak_and_broken_identity_keys_are_refused() {
        let identity_point = format!("01{}", "00".repeat(31));
        for bad in ["", "zz", &"ab".repeat(31), &identity_point] {
            assert_eq!(identity_key(bad).unwrap_err().status, StatusCode::BAD_REQUEST, "{bad}");
        }
    }
}
