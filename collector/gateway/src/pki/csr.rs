//! Certificate signing requests: hostile PEM in, a public key out. Subject and extensions are never looked at.

use rcgen::SubjectPublicKeyInfo;
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

/// A signing request cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CsrError {
    /// No certificate signing request in PEM.
    #[error("the signing request is no PEM `CERTIFICATE REQUEST`")]
    Malformed,
    /// Its signature does not hold: whoever sent it does not have the key.
    #[error("the signing request is not signed by its own key")]
    Signature,
    /// Another kind of key.
    #[error("the signing request has a key of another kind than ECDSA P-256 or Ed25519")]
    KeyKind,
}

/// The public key of a request whose signature holds.
pub(crate) fn public_key(pem: &str) -> Result<SubjectPublicKeyInfo, CsrError> {
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| CsrError::Malformed)?;
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| CsrError::Malformed)?;
    if !rest.is_empty() {
        return Err(CsrError::Malformed);
    }
    let spki = request.certification_request_info.subject_pki.raw;
    let key = SubjectPublicKeyInfo::from_der(spki).map_err(|_| CsrError::KeyKind)?;
    let algorithm = rcgen::PublicKeyData::algorithm(&key);
    if algorithm != &rcgen::PKCS_ECDSA_P256_SHA256 && algorithm != &rcgen::PKCS_ED25519 {
        return Err(CsrError::KeyKind);
    }
    request.verify_signature().map_err(|_| CsrError::Signature)?;
    Ok(key)
}

/// Whether a request would be accepted.
pub(crate) fn check(pem: &str) -> Result<(), CsrError> {
    public_key(pem).map(drop)
}
