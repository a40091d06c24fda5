//! From a signature to the pinned root: who signed an envelope, and what the root lets them do.
//!
//! Owns the checks of certificates. Cheap checks come before signatures, so that garbage costs nothing: at most
//! [`MAX_SIGNATURES`] signatures with three verifications each. Whatever a server puts into an envelope, only the key id
//! that the host has pinned decides; a self-signed certificate of another key is just an unknown operator.

use super::{
    EVERY_TENANT, KeyId, OperatorCertificate, PublicKey, ROLE_ROOT, Signed, SignedError, SignedKind, read_body, signed_bytes,
};
use crate::limits::{
    MAX_CERTIFICATE_BYTES, MAX_CERTIFICATE_ROLES, MAX_CERTIFICATE_TENANTS, MAX_OPERATOR_CERTIFICATE_US, MAX_ORDER_TEXT_BYTES,
    MAX_SIGNATURES,
};
use crate::proto;

/// Who signed an envelope, under the pinned root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Name of the operator as the root certified it; several signers joined by `, `.
    pub operator: String,
    /// Key of the (first) signer.
    pub key_id: KeyId,
    /// Keys of all signers: when one of them is revoked, what they ordered ends.
    pub keys: Vec<KeyId>,
    /// Tenants that every signer is certified for; `*` is every tenant.
    pub tenants: Vec<String>,
    /// Roles that every signer is certified for.
    pub roles: Vec<String>,
    /// When the first of the certificates ends, microseconds since 1970.
    pub not_after: i64,
}

impl Verified {
    /// Whether the signers may speak to this tenant.
    pub fn covers(&self, tenant: &str) -> bool {
        covers(&self.tenants, tenant)
    }

    /// Whether the signers have this role.
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.iter().any(|own| own == role)
    }

    /// What remains when another signer is added: only what both may do.
    fn and(mut self, other: Self) -> Self {
        self.operator = format!("{}, {}", self.operator, other.operator);
        self.tenants = match self.tenants.iter().any(|tenant| tenant == EVERY_TENANT) {
            true => other.tenants,
            false => self.tenants.into_iter().filter(|tenant| covers(&other.tenants, tenant)).collect(),
        };
        self.roles.retain(|role| other.roles.contains(role));
        self.keys.extend(other.keys);
        self.not_after = self.not_after.min(other.not_after);
        self
    }
}

fn covers(tenants: &[String], tenant: &str) -> bool {
    tenants.iter().any(|own| own == EVERY_TENANT || own == tenant)
}

/// A certificate as it came, its key readable.
struct Certificate {
    signed: Signed,
    body: OperatorCertificate,
    key: PublicKey,
    id: KeyId,
}

/// Reads a certificate for display. Verifies nothing.
///
/// # Errors
/// [`SignedError`] when it is no certificate, is too large or has no usable key.
pub fn read_certificate(bytes: &[u8]) -> Result<(OperatorCertificate, PublicKey), SignedError> {
    Certificate::read(bytes).map(|certificate| (certificate.body, certificate.key))
}

impl Certificate {
    fn read(bytes: &[u8]) -> Result<Self, SignedError> {
        if bytes.len() > MAX_CERTIFICATE_BYTES {
            let found = bytes.len();
            return Err(SignedError::Malformed(format!("a certificate of {found} bytes, the limit is {MAX_CERTIFICATE_BYTES}")));
        }
        let signed = super::parse(bytes)?;
        let body: OperatorCertificate = read_body(&signed, SignedKind::OperatorCertificate)?;
        let key = PublicKey::from_certificate(&body).map_err(|error| SignedError::Malformed(error.to_string()))?;
        let certificate = Self { id: key.key_id(), signed, body, key };
        certificate.check_content()?;
        Ok(certificate)
    }

    fn check_content(&self) -> Result<(), SignedError> {
        let why = match &self.body {
            body if body.tenants.len() > MAX_CERTIFICATE_TENANTS => "it names more than 128 tenants",
            body if body.roles.len() > MAX_CERTIFICATE_ROLES => "it names more than 16 roles",
            body if body.name.len() > MAX_ORDER_TEXT_BYTES => "its name is longer than 1024 bytes",
            body if body.not_after <= body.not_before => "it ends before it begins",
            _ => return Ok(()),
        };
        Err(self.unacceptable(why))
    }

    fn unacceptable(&self, why: &'static str) -> SignedError {
        SignedError::Certificate { key: self.id, why }
    }

    fn is_root(&self, root: &KeyId) -> bool {
        self.id == *root
    }

    fn check_time(&self, now_us: i64) -> Result<(), SignedError> {
        if now_us < self.body.not_before {
            return Err(SignedError::NotYet(self.id));
        }
        if now_us >= self.body.not_after {
            return Err(SignedError::CertificateExpired(self.id));
        }
        Ok(())
    }

    /// The one signature of a certificate that is by `issuer`, if it names it.
    fn signature_of(&self, issuer: &KeyId) -> Option<&proto::Signature> {
        self.signed.signatures.iter().take(MAX_SIGNATURES).find(|signature| signature.key_id == issuer.0)
    }

    fn check_signed_by(&self, issuer: &Self) -> Result<(), SignedError> {
        let signature = self.signature_of(&issuer.id).ok_or(SignedError::UnknownOperator(self.id))?;
        check_signature(&self.signed, signature, issuer)
    }

    /// The pinned root's own certificate: self-signed, in time, and carrying the role.
    fn check_root(&self, now_us: i64) -> Result<(), SignedError> {
        if !self.body.roles.iter().any(|role| role == ROLE_ROOT) {
            return Err(self.unacceptable("it is the root's, but has not the role root"));
        }
        self.check_time(now_us)?;
        self.check_signed_by(self)
    }

    /// An operator's certificate under the pinned root.
    fn check_operator(&self, root: &KeyId, now_us: i64, revoked: &impl Fn(&KeyId) -> bool) -> Result<(), SignedError> {
        let by_root = self.signature_of(root).ok_or(SignedError::UnknownOperator(self.id))?;
        let issuer = Self::read(&by_root.certificate)?;
        if !issuer.is_root(root) {
            return Err(SignedError::UnknownOperator(self.id));
        }
        if revoked(&issuer.id) {
            return Err(SignedError::Revoked(issuer.id));
        }
        if self.body.roles.iter().any(|role| role == ROLE_ROOT) {
            return Err(self.unacceptable("an operator cannot have the role root"));
        }
        if self.body.not_after.saturating_sub(self.body.not_before) > MAX_OPERATOR_CERTIFICATE_US {
            return Err(SignedError::CertificateLife(self.id));
        }
        if !self.body.tenants.iter().all(|tenant| covers(&issuer.body.tenants, tenant)) {
            return Err(self.unacceptable("it names a tenant that its root does not have"));
        }
        self.check_time(now_us)?;
        issuer.check_root(now_us)?;
        self.check_signed_by(&issuer)
    }

    fn verified(self) -> Verified {
        Verified {
            operator: self.body.name,
            key_id: self.id,
            keys: vec![self.id],
            tenants: self.body.tenants,
            roles: self.body.roles,
            not_after: self.body.not_after,
        }
    }
}

fn check_signature(signed: &Signed, signature: &proto::Signature, signer: &Certificate) -> Result<(), SignedError> {
    let digest = signed_bytes(signed.kind, signed.threshold, &signed.body);
    let holds = signature.algorithm == signer.key.algorithm() && signer.key.verify(&digest, &signature.signature);
    if holds { Ok(()) } else { Err(SignedError::Signature(signer.id)) }
}

/// Who signed this envelope, if enough operators did whose certificates come from the pinned root.
///
/// `revoked` says which keys are good no more; `now_us` is the reader's clock (microseconds since 1970). An envelope that
/// the root signed itself is accepted as well, with the role [`ROLE_ROOT`] alone: that is how keys are revoked.
///
/// # Errors
/// [`SignedError`]: what is wrong with the first signature when none holds; [`SignedError::Threshold`] when some hold,
/// but fewer distinct keys than `max(threshold, 1)`.
pub fn verify_chain(
    signed: &Signed,
    kind: SignedKind,
    root: &KeyId,
    now_us: i64,
    revoked: impl Fn(&KeyId) -> bool,
) -> Result<Verified, SignedError> {
    if signed.kind != kind as u32 {
        return Err(SignedError::Kind { got: signed.kind, expected: kind as u32 });
    }
    let needed = signed.threshold.max(1);
    let (mut signers, mut first_error): (Vec<Verified>, _) = (Vec::new(), None);
    for signature in signed.signatures.iter().take(MAX_SIGNATURES) {
        match signer(signed, signature, root, now_us, &revoked) {
            Ok(signer) if signers.iter().any(|known| known.key_id == signer.key_id) => {}
            Ok(signer) => signers.push(signer),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    let valid = u32::try_from(signers.len()).unwrap_or(u32::MAX);
    match signers.into_iter().reduce(Verified::and) {
        None => Err(first_error.unwrap_or(SignedError::Unsigned)),
        Some(_) if valid < needed => Err(SignedError::Threshold { needed, valid }),
        Some(verified) => Ok(verified),
    }
}

fn signer(
    signed: &Signed,
    signature: &proto::Signature,
    root: &KeyId,
    now_us: i64,
    revoked: &impl Fn(&KeyId) -> bool,
) -> Result<Verified, SignedError> {
    let certificate = Certificate::read(&signature.certificate)?;
    if signature.key_id != certificate.id.0 {
        return Err(SignedError::Malformed("a signature names another key than its certificate".into()));
    }
    if revoked(&certificate.id) {
        return Err(SignedError::Revoked(certificate.id));
    }
    if certificate.is_root(root) {
        certificate.check_root(now_us)?;
    } else {
        certificate.check_operator(root, now_us, revoked)?;
    }
    check_signature(signed, signature, &certificate)?;
    let is_root = certificate.is_root(root);
    let mut verified = certificate.verified();
    if is_root {
        // The root certifies and revokes; it gives no orders, whatever else its certificate says.
        verified.roles.retain(|role| role == ROLE_ROOT);
    }
    Ok(verified)
}
