//! What goes down: `Signed` envelopes (design section 4). Servers relay them and hold no key; the sensor process verifies.
//!
//! This module holds the contract and the one check that every reader needs: a signature over exactly these bytes.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::limits::{MAX_SIGNATURES, MAX_SIGNED_BYTES};
pub use crate::proto::{
    CancelOrder, ListOrder, OperatorCertificate, Order, Policy, Receipt, Revocation, RulePack, ScanOrder, Signed, Target, order,
};

/// Signature algorithm number of Ed25519.
pub const ALGORITHM_ED25519: u32 = 1;

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
    /// No signature of this key holds.
    #[error("no valid signature of key {0}")]
    Signature(String),
}

/// Key id: SHA-256 of the raw Ed25519 public key.
pub fn key_id(public_key: &[u8; 32]) -> [u8; 32] {
    Sha256::digest(public_key).into()
}

fn signed_bytes(kind: u32, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-signed-v1\0");
    hash.update(kind.to_be_bytes());
    hash.update(Sha256::digest(body));
    hash.finalize().into()
}

/// Puts a body into an envelope with one Ed25519 signature.
pub fn sign(kind: SignedKind, body: &impl Message, key: &SigningKey) -> Signed {
    let body = body.encode_to_vec();
    let signature = crate::proto::Signature {
        key_id: key_id(&key.verifying_key().to_bytes()).to_vec(),
        algorithm: ALGORITHM_ED25519,
        signature: key.sign(&signed_bytes(kind as u32, &body)).to_bytes().to_vec(),
        certificate: Vec::new(),
    };
    Signed { kind: kind as u32, body, signatures: vec![signature], threshold: 1 }
}

/// Reads an envelope within limits.
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

/// Checks that this Ed25519 key signed the envelope and decodes the body.
///
/// # Errors
/// [`SignedError`] `Kind`, `Signature` or `Malformed`.
pub fn open<M: Message + Default>(signed: &Signed, kind: SignedKind, public_key: &[u8; 32]) -> Result<M, SignedError> {
    if signed.kind != kind as u32 {
        return Err(SignedError::Kind { got: signed.kind, expected: kind as u32 });
    }
    let id = key_id(public_key);
    let refused = || SignedError::Signature(hex::encode(id));
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| refused())?;
    let digest = signed_bytes(signed.kind, &signed.body);
    let holds = |signature: &crate::proto::Signature| {
        let bytes: Option<[u8; 64]> = signature.signature.as_slice().try_into().ok();
        signature.algorithm == ALGORITHM_ED25519
            && signature.key_id == id
            && bytes.is_some_and(|bytes| key.verify_strict(&digest, &Signature::from_bytes(&bytes)).is_ok())
    };
    if !signed.signatures.iter().take(MAX_SIGNATURES).any(holds) {
        return Err(refused());
    }
    M::decode(signed.body.as_slice()).map_err(|error| SignedError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            order_id: vec![1; 16],
            issued: 1,
            expires: 2,
            action: Some(order::Action::List(ListOrder {})),
            ..Default::default()
        }
    }

    #[test]
    fn a_signed_order_opens_with_the_key_that_signed_it_only() {
        let key = SigningKey::from_bytes(&[5; 32]);
        let signed = parse(&sign(SignedKind::Order, &order(), &key).encode_to_vec()).unwrap();
        assert_eq!(open::<Order>(&signed, SignedKind::Order, &key.verifying_key().to_bytes()).unwrap(), order());
        let other = SigningKey::from_bytes(&[6; 32]).verifying_key().to_bytes();
        assert!(matches!(open::<Order>(&signed, SignedKind::Order, &other), Err(SignedError::Signature(_))));
    }

    #[test]
    fn a_signature_for_one_kind_does_not_hold_for_another() {
        let key = SigningKey::from_bytes(&[5; 32]);
        let mut signed = sign(SignedKind::Order, &order(), &key);
        signed.kind = SignedKind::Policy as u32;
        let public = key.verifying_key().to_bytes();
        assert!(matches!(open::<Policy>(&signed, SignedKind::Policy, &public), Err(SignedError::Signature(_))));
        assert!(matches!(open::<Order>(&signed, SignedKind::Order, &public), Err(SignedError::Kind { .. })));
    }

    #[test]
    fn an_altered_body_and_too_many_signatures_are_refused() {
        let key = SigningKey::from_bytes(&[5; 32]);
        let mut signed = sign(SignedKind::Order, &order(), &key);
        signed.body.push(0);
        let public = key.verifying_key().to_bytes();
        assert!(matches!(open::<Order>(&signed, SignedKind::Order, &public), Err(SignedError::Signature(_))));
        signed.signatures = vec![signed.signatures[0].clone(); MAX_SIGNATURES + 1];
        assert!(matches!(parse(&signed.encode_to_vec()), Err(SignedError::Malformed(_))));
    }
}
