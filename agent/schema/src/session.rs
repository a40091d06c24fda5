//! What agent and gateway say to each other besides batches: enrolment, renewal, hello. JSON, so that it can be read
//! in a terminal; unknown members are ignored, so that either side may be newer.

use std::collections::BTreeMap;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::batch::HostInfo;
use crate::ids::AgentId;

/// Prefix of the text form of an enrolment token.
pub const TOKEN_PREFIX: &str = "beffroi-enroll-1.";
/// Certificate life in seconds: 7 days (design section 3).
pub const CERTIFICATE_SECONDS: i64 = 7 * 24 * 3600;
/// How long after its expiry a certificate may still be renewed with the identity key: 60 days.
pub const RENEWAL_GRACE_SECONDS: i64 = 60 * 24 * 3600;

/// What an operator hands to a host: where to enrol, whom to trust, the secret. Text form: [`TOKEN_PREFIX`] and base64url
/// of this as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrollToken {
    /// Base URL of the gateway, for example `https://collector.example:8443`.
    pub gateway: String,
    /// Tenant that the host will belong to.
    pub tenant: String,
    /// SHA-256 of the server CA's certificate (DER), hex: written by the operator's CLI from a file of theirs.
    pub ca_sha256: String,
    /// SHA-256 fingerprint of the CSIRT root key that orders must chain to, hex; empty where no root exists yet.
    #[serde(default)]
    pub root_sha256: String,
    /// Public name of the token.
    pub token_id: String,
    /// The secret: 128 bits, hex.
    pub secret: String,
}

impl std::fmt::Debug for EnrollToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnrollToken")
            .field("gateway", &self.gateway)
            .field("tenant", &self.tenant)
            .field("token_id", &self.token_id)
            .finish_non_exhaustive()
    }
}

/// A token's text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no enrolment token: {0}; ask for a new one with `beffroi enroll token`")]
pub struct TokenError(String);

impl EnrollToken {
    /// The text form.
    pub fn to_text(&self) -> String {
        use base64::Engine;
        let json = serde_json::to_vec(self).expect("a struct of strings is always JSON");
        format!("{TOKEN_PREFIX}{}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(json))
    }

    /// Reads the text form.
    ///
    /// # Errors
    /// [`TokenError`] that says which part is wrong, never the secret.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        use base64::Engine;
        let body =
            text.trim().strip_prefix(TOKEN_PREFIX).ok_or_else(|| TokenError(format!("it does not begin with {TOKEN_PREFIX}")))?;
        let json = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(body)
            .map_err(|_| TokenError("it is damaged (base64)".into()))?;
        serde_json::from_slice(&json).map_err(|_| TokenError("it is damaged (content)".into()))
    }
}

/// Hash under which a token's secret is stored.
pub fn secret_hash(token_id: &str, secret: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-token-v1\0");
    hash.update((token_id.len() as u64).to_be_bytes());
    hash.update(token_id);
    hash.update(secret);
    hex::encode(hash.finalize())
}

/// First contact of a host.
#[derive(Clone, Serialize, Deserialize)]
pub struct EnrollRequest {
    /// Which token.
    pub token_id: String,
    /// Its secret.
    pub secret: String,
    /// Ed25519 identity key, hex.
    pub public_key: String,
    /// Certificate signing request (PEM) of the TLS key.
    pub csr: String,
    /// What the host says of itself.
    pub host: HostInfo,
    /// Identity key's signature over [`proof`] of the CSR, hex.
    pub proof: String,
}

/// Answer to enrolment and renewal.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CertificateResponse {
    /// Tenant in the certificate.
    pub tenant: String,
    /// Agent id in the certificate.
    pub agent_id: AgentId,
    /// Certificate chain (PEM), leaf first.
    pub certificate: String,
    /// Server CA (PEM).
    pub ca: String,
    /// End of the certificate's life, microseconds since 1970.
    pub not_after: i64,
    /// Labels of the host, for its own display.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Renewal, also after weeks of absence: the identity key proves who asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RenewRequest {
    /// Who asks.
    pub agent_id: AgentId,
    /// CSR (PEM) of the new TLS key.
    pub csr: String,
    /// Asker's clock, microseconds since 1970; a proof is good for 10 minutes around the server's clock.
    pub ts: i64,
    /// Identity key's signature over [`proof`] of the CSR, hex.
    pub proof: String,
}

/// What is signed to prove that the holder of the identity key made this CSR at this time.
pub fn proof(purpose: &str, csr: &str, ts: i64) -> Vec<u8> {
    let mut bytes = b"beffroi-proof-v1\0".to_vec();
    bytes.extend((purpose.len() as u64).to_be_bytes());
    bytes.extend(purpose.as_bytes());
    bytes.extend(ts.to_be_bytes());
    bytes.extend(Sha256::digest(csr));
    bytes
}

/// Signs a [`proof`].
pub fn sign_proof(key: &SigningKey, purpose: &str, csr: &str, ts: i64) -> String {
    hex::encode(key.sign(&proof(purpose, csr, ts)).to_bytes())
}

/// Whether `signature` (hex) is this key's over the [`proof`].
pub fn verify_proof(public_key: &[u8; 32], purpose: &str, csr: &str, ts: i64, signature: &str) -> bool {
    let mut bytes = [0u8; 64];
    let Ok(key) = VerifyingKey::from_bytes(public_key) else { return false };
    hex::decode_to_slice(signature, &mut bytes).is_ok()
        && key.verify_strict(&proof(purpose, csr, ts), &Signature::from_bytes(&bytes)).is_ok()
}

/// Purpose of the proof in an [`EnrollRequest`] (with time 0).
pub const PURPOSE_ENROLL: &str = "enroll";
/// Purpose of the proof in a [`RenewRequest`].
pub const PURPOSE_RENEW: &str = "renew";

/// First word of a session, from both sides (design section 7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Software and version, for example `beffroi-agent/0.1.0`.
    pub software: String,
    /// Oldest batch contract.
    pub schema_oldest: u32,
    /// Newest batch contract.
    pub schema_newest: u32,
    /// Hooks that the sensor could attach; empty from a gateway.
    #[serde(default)]
    pub hooks: Vec<String>,
    /// Kinds of orders that are understood.
    #[serde(default)]
    pub orders: Vec<String>,
    /// Body codecs.
    pub codecs: Vec<String>,
    /// Speaker's clock, microseconds since 1970.
    pub ts: i64,
}

/// Answer to a long poll of [`crate::wire::PATH_ORDERS`]: what goes down, as it was signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersResponse {
    /// Where to go on: sent back as `?after=`. Opaque; a gateway that does not know it starts at the beginning, so that an
    /// order may come twice but is never missed.
    pub after: String,
    /// Encoded [`crate::down::Signed`] envelopes, base64 (standard alphabet, padded), oldest first; empty when the poll
    /// ended without any.
    pub orders: Vec<String>,
}

impl OrdersResponse {
    /// An answer with these envelopes.
    pub fn new(after: String, orders: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        use base64::Engine;
        let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        Self { after, orders: orders.into_iter().map(|bytes| encode(bytes.as_ref())).collect() }
    }

    /// The envelopes as encoded bytes; one that is no base64 is `None`.
    pub fn envelopes(&self) -> impl Iterator<Item = Option<Vec<u8>>> + '_ {
        use base64::Engine;
        self.orders.iter().map(|text| base64::engine::general_purpose::STANDARD.decode(text).ok())
    }
}

/// Every refusal of the gateway and the API: what, where, what to do next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable short code.
    pub code: String,
    /// What happened.
    pub error: String,
    /// What to do next.
    pub hint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> EnrollToken {
        EnrollToken {
            gateway: "https://c.example:8443".into(),
            tenant: "interieur".into(),
            ca_sha256: "ab".repeat(32),
            root_sha256: String::new(),
            token_id: "t1".into(),
            secret: "00112233445566778899aabbccddeeff".into(),
        }
    }

    #[test]
    fn a_token_survives_its_text_and_hides_its_secret_when_printed() {
        let token = token();
        assert_eq!(EnrollToken::parse(&token.to_text()).unwrap(), token);
        assert!(!format!("{token:?}").contains(&token.secret));
    }

    #[test]
    fn a_broken_token_is_refused_without_repeating_it() {
        for text in ["", "x", "beffroi-enroll-1.%%%", "beffroi-enroll-1.e30"] {
            let error = EnrollToken::parse(text).unwrap_err().to_string();
            assert!(error.contains("beffroi enroll token"), "{error}");
        }
    }

    #[test]
    fn envelopes_survive_the_answer_to_a_long_poll() {
        let response = OrdersResponse::new("7".into(), [vec![1u8, 2, 3], vec![]]);
        let mut read: OrdersResponse = serde_json::from_slice(&serde_json::to_vec(&response).unwrap()).unwrap();
        assert_eq!(read.envelopes().collect::<Vec<_>>(), [Some(vec![1, 2, 3]), Some(vec![])]);
        read.orders.push("%".into());
        assert_eq!(read.envelopes().last(), Some(None));
    }

    #[test]
    fn a_proof_holds_for_one_purpose_csr_time_and_key() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let public = key.verifying_key().to_bytes();
        let signature = sign_proof(&key, PURPOSE_RENEW, "csr", 7);
        assert!(verify_proof(&public, PURPOSE_RENEW, "csr", 7, &signature));
        assert!(!verify_proof(&public, PURPOSE_ENROLL, "csr", 7, &signature));
        assert!(!verify_proof(&public, PURPOSE_RENEW, "csr2", 7, &signature));
        assert!(!verify_proof(&public, PURPOSE_RENEW, "csr", 8, &signature));
        assert!(!verify_proof(&[9; 32], PURPOSE_RENEW, "csr", 7, &signature));
        assert!(!verify_proof(&public, PURPOSE_RENEW, "csr", 7, "zz"));
    }
}
