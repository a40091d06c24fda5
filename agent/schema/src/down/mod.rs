//! What goes down: `Signed` envelopes under the CSIRT's root (design section 4). Servers relay them and hold no key; the
//! sensor process of each host verifies.
//!
//! Owns the contract: which bytes are signed, with which algorithms, how a signature leads to the root that a host has
//! pinned ([`verify_chain`]), and whether an order may be carried out by one host now ([`rules_of_order`]). Both are pure:
//! the caller brings clock, pinned root and revoked keys. Hostile bytes give an error, never a panic; sizes and the number
//! of signatures are checked before any signature is.
//!
//! The chain travels with the envelope: `Signature.certificate` is an encoded `Signed<OperatorCertificate>`, whose own
//! signature carries the encoded self-signed certificate of the root. A host knows nothing but the root's [`KeyId`].

mod chain;
mod decide;
mod issue;
mod keys;

use prost::Message;
use sha2::{Digest, Sha256};

pub use crate::ids::KeyId;
use crate::limits::{MAX_SIGNATURES, MAX_SIGNED_BYTES};
pub use crate::proto::{
    CancelOrder, ListOrder, OperatorCertificate, Order, Policy, Receipt, Revocation, RulePack, ScanOrder, Signed, Target, order,
};

pub use chain::{Verified, read_certificate, verify_chain};
pub use decide::{Refusal, rules_of_order};
pub use issue::{Grant, add_signature, certify, root_certificate, sign, sign_with};
pub use keys::{KeyError, OperatorKey, PublicKey};

/// Signature algorithm number of Ed25519.
pub const ALGORITHM_ED25519: u32 = 1;
/// Signature algorithm number of ECDSA with P-256 and SHA-256; the signature is `r || s`, 32 bytes each.
pub const ALGORITHM_P256: u32 = 2;

/// Role of the root itself: only a self-signed certificate carries it.
pub const ROLE_ROOT: &str = "root";
/// Role that may give scan orders, list them and cancel them.
pub const ROLE_SCAN: &str = "scan";
/// Every tenant, in a certificate.
pub const EVERY_TENANT: &str = "*";
/// The orders that this version understands, as they stand in [`crate::session::Hello`].
pub const VOCABULARY: [&str; 3] = ["scan", "list", "cancel"];

/// What a `Signed` holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum SignedKind {
    /// [`OperatorCertificate`]
    OperatorCertificate = 1,
    /// [`Order`]
    Order = 2,
    /// [`Policy`]
    Policy = 3,
    /// [`RulePack`]
    RulePack = 4,
    /// [`Revocation`]
    Revocation = 5,
}

/// A `Signed` cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignedError {
    /// The bytes are no `Signed`, or are beyond the limits.
    #[error("not a signed envelope: {0}")]
    Malformed(String),
    /// It holds something else than was asked for.
    #[error("the envelope holds kind {got}, kind {expected} was expected")]
    Kind {
        /// What it holds.
        got: u32,
        /// What was expected.
        expected: u32,
    },
    /// Nobody signed it.
    #[error("nobody signed it")]
    Unsigned,
    /// A signature does not hold.
    #[error("the signature of key {0} does not hold: the content was altered, or somebody else signed it")]
    Signature(KeyId),
    /// The signer's certificate does not come from the pinned root.
    #[error("key {0} has no certificate of the root that this host trusts")]
    UnknownOperator(KeyId),
    /// A certificate says what it must not say.
    #[error("the certificate of key {key} is not acceptable: {why}")]
    Certificate {
        /// Whose.
        key: KeyId,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A certificate is not valid yet.
    #[error("the certificate of key {0} is not valid yet; is this host's clock right?")]
    NotYet(KeyId),
    /// A certificate has ended.
    #[error("the certificate of key {0} has expired; the operator needs a new one")]
    CertificateExpired(KeyId),
    /// A certificate is good for longer than operators' certificates may be.
    #[error("the certificate of key {0} is good for more than 30 days")]
    CertificateLife(KeyId),
    /// A key was revoked.
    #[error("key {0} is revoked")]
    Revoked(KeyId),
    /// Fewer operators signed than the envelope asks for.
    #[error("{valid} valid signatures, {needed} are needed")]
    Threshold {
        /// Distinct keys that are needed.
        needed: u32,
        /// Distinct keys whose signature holds.
        valid: u32,
    },
}

impl SignedError {
    /// Stable short code, for counters and for reasons that people search.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Kind { .. } => "wrong_kind",
            Self::Unsigned => "unsigned",
            Self::Signature(_) => "bad_signature",
            Self::UnknownOperator(_) => "unknown_operator",
            Self::Certificate { .. } => "bad_certificate",
            Self::NotYet(_) => "certificate_not_yet",
            Self::CertificateExpired(_) => "certificate_expired",
            Self::CertificateLife(_) => "certificate_life",
            Self::Revoked(_) => "revoked_key",
            Self::Threshold { .. } => "too_few_signatures",
        }
    }
}

/// The 32 bytes that every signature of an envelope is over. The threshold is among them, so that nobody on the way can
/// make an envelope that waits for a second signature look as if one were enough.
pub fn signed_bytes(kind: u32, threshold: u32, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-signed-v1\0");
    hash.update(kind.to_be_bytes());
    hash.update(threshold.to_be_bytes());
    hash.update(Sha256::digest(body));
    hash.finalize().into()
}

/// Reads an envelope within limits. Verifies nothing.
///
/// # Errors
/// [`SignedError::Malformed`].
pub fn parse(bytes: &[u8]) -> Result<Signed, SignedError> {
    if bytes.len() > MAX_SIGNED_BYTES {
        return Err(SignedError::Malformed(format!("{} bytes, the limit is {MAX_SIGNED_BYTES}", bytes.len())));
    }
    let signed = Signed::decode(bytes).map_err(|error| SignedError::Malformed(error.to_string()))?;
    if signed.signatures.len() > MAX_SIGNATURES {
        return Err(SignedError::Malformed(format!("{} signatures, the limit is {MAX_SIGNATURES}", signed.signatures.len())));
    }
    Ok(signed)
}

/// Decodes the body of an envelope of this kind. Verifies nothing: for relays and displays, and after [`verify_chain`].
///
/// # Errors
/// [`SignedError::Kind`] or [`SignedError::Malformed`].
pub fn read_body<M: Message + Default>(signed: &Signed, kind: SignedKind) -> Result<M, SignedError> {
    if signed.kind != kind as u32 {
        return Err(SignedError::Kind { got: signed.kind, expected: kind as u32 });
    }
    M::decode(signed.body.as_slice()).map_err(|error| SignedError::Malformed(error.to_string()))
}

/// SHA-256 of a rule text: its name in orders and in the blob store.
pub fn blob_name(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests;
