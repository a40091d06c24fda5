//! Making envelopes: what the operator's terminal does, and what the tests do to play operator and attacker.
//!
//! Owns the encoding of what is signed. Nothing here decides whether it should be signed.

use prost::Message;

use super::{EVERY_TENANT, KeyError, OperatorCertificate, OperatorKey, PublicKey, ROLE_ROOT, Signed, SignedKind, signed_bytes};
use crate::limits::MAX_SIGNATURES;
use crate::proto;

/// Puts a body into an envelope with one signature. `certificate` is the signer's, encoded; empty in a root's own.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn sign(kind: SignedKind, body: &impl Message, key: &OperatorKey, certificate: Vec<u8>) -> Result<Signed, KeyError> {
    sign_with(kind, body, &key.public_key(), certificate, |digest| key.sign(digest))
}

/// As [`sign`], with a signer that holds the key elsewhere (a smart card). It is given the 32 bytes of [`signed_bytes`] as
/// the message and answers 64 bytes; ECDSA hashes the message with SHA-256 as usual and answers `r || s`.
///
/// # Errors
/// The signer's.
pub fn sign_with(
    kind: SignedKind,
    body: &impl Message,
    key: &PublicKey,
    certificate: Vec<u8>,
    signer: impl FnOnce(&[u8; 32]) -> Result<[u8; 64], KeyError>,
) -> Result<Signed, KeyError> {
    let mut signed = Signed { kind: kind as u32, body: body.encode_to_vec(), signatures: Vec::new(), threshold: 1 };
    add_signature(&mut signed, key, certificate, signer)?;
    Ok(signed)
}

/// Adds another operator's signature to an envelope. The threshold is part of what is signed: set it before the first.
///
/// # Errors
/// [`KeyError::Full`] when it has as many as are read, or this key's already; the signer's own.
pub fn add_signature(
    signed: &mut Signed,
    key: &PublicKey,
    certificate: Vec<u8>,
    signer: impl FnOnce(&[u8; 32]) -> Result<[u8; 64], KeyError>,
) -> Result<(), KeyError> {
    let key_id = key.key_id();
    if signed.signatures.len() >= MAX_SIGNATURES {
        return Err(KeyError::Full("it has 8 already"));
    }
    if signed.signatures.iter().any(|signature| signature.key_id == key_id.0) {
        return Err(KeyError::Full("this key has signed it already"));
    }
    let signature = signer(&signed_bytes(signed.kind, signed.threshold, &signed.body))?;
    signed.signatures.push(proto::Signature {
        key_id: key_id.0.to_vec(),
        algorithm: key.algorithm(),
        signature: signature.to_vec(),
        certificate,
    });
    Ok(())
}

/// What the root grants to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Name of the operator.
    pub name: String,
    /// Tenants whose hosts they may speak to; `*` is every tenant.
    pub tenants: Vec<String>,
    /// What they may do, for example [`super::ROLE_SCAN`].
    pub roles: Vec<String>,
    /// From when, microseconds since 1970.
    pub not_before: i64,
    /// Until when; at most 30 days later.
    pub not_after: i64,
    /// Grows with each certificate of this operator.
    pub version: u64,
}

/// The self-signed certificate of a root: what every chain ends in.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn root_certificate(root: &OperatorKey, name: &str, not_before: i64, not_after: i64) -> Result<Signed, KeyError> {
    let grant = Grant {
        name: name.to_owned(),
        tenants: vec![EVERY_TENANT.to_owned()],
        roles: vec![ROLE_ROOT.to_owned()],
        not_before,
        not_after,
        version: 1,
    };
    certify(root, Vec::new(), &root.public_key(), grant)
}

/// A certificate by this root for an operator's key. `root_certificate` is the root's own, encoded.
///
/// # Errors
/// [`KeyError::Randomness`].
pub fn certify(root: &OperatorKey, root_certificate: Vec<u8>, operator: &PublicKey, grant: Grant) -> Result<Signed, KeyError> {
    let body = OperatorCertificate {
        public_key: operator.raw().to_vec(),
        algorithm: operator.algorithm(),
        name: grant.name,
        tenants: grant.tenants,
        roles: grant.roles,
        not_before: grant.not_before,
        not_after: grant.not_after,
        version: grant.version,
    };
    sign(SignedKind::OperatorCertificate, &body, root, root_certificate)
}
