//! TLS towards the gateway: the server CA is pinned, by fingerprint until the CA itself is stored.
//!
//! Owns the verifier. What an intercepting proxy or a foreign server presents is refused with the issuer that was seen,
//! the fingerprint that was expected and what to do; the system's trust store plays no part.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256};

/// The server is not the one that the token or the stored CA names.
#[derive(Clone, PartialEq, Eq)]
pub struct WrongIssuer {
    /// Issuer that signed the presented certificate.
    pub issuer: String,
    /// Expected fingerprint of the server CA.
    pub expected: String,
    /// Fingerprints of what was presented.
    pub presented: Vec<String>,
}

impl fmt::Display for WrongIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the server's certificate was issued by \"{}\", not by the server CA with SHA-256 {} (presented: {}); a proxy that \
             intercepts TLS or another server stands in between: exempt the gateway's name from interception, or ask for a \
             token of the right collector",
            self.issuer,
            self.expected,
            self.presented.join(", ")
        )
    }
}

/// As shown: rustls prints the cause of a refused certificate by its debug form.
impl fmt::Debug for WrongIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for WrongIssuer {}

/// Trusts one CA.
#[derive(Debug)]
pub struct PinnedCa {
    /// SHA-256 of the CA's certificate (DER), lower-case hex.
    fingerprint: String,
    /// The CA, once enrolment has stored it: then the server need not present it.
    known: Option<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl PinnedCa {
    /// Trusts the CA with this fingerprint. `known` is its certificate, if it is stored already.
    pub fn new(fingerprint: &str, known: Option<CertificateDer<'static>>) -> Self {
        Self { fingerprint: fingerprint.to_ascii_lowercase(), known, provider: Arc::new(ring::default_provider()) }
    }

    fn anchor<'a>(&'a self, chain: &'a [CertificateDer<'a>]) -> Option<&'a CertificateDer<'a>> {
        let matches = |certificate: &&CertificateDer<'_>| fingerprint(certificate) == self.fingerprint;
        self.known.as_ref().filter(|known| matches(known)).or_else(|| chain.iter().find(matches))
    }

    fn wrong_issuer(&self, end_entity: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) -> Error {
        let presented = [end_entity].into_iter().chain(chain).map(fingerprint).collect();
        let wrong = WrongIssuer { issuer: issuer_of(end_entity), expected: self.fingerprint.clone(), presented };
        Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(wrong))))
    }
}

impl ServerCertVerifier for PinnedCa {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(anchor) = self.anchor(intermediates) else { return Err(self.wrong_issuer(end_entity, intermediates)) };
        let mut roots = RootCertStore::empty();
        roots.add(anchor.clone().into_owned())?;
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        match verify_server_cert_signed_by_trust_anchor(&parsed, &roots, intermediates, now, algorithms) {
            Err(Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
                return Err(self.wrong_issuer(end_entity, intermediates));
            }
            other => other?,
        }
        verify_server_name(&parsed, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// The client's own certificate and key, as PEM.
pub struct ClientIdentity<'a> {
    /// Chain, leaf first.
    pub certificate: &'a str,
    /// Private key.
    pub key: &'a str,
}

/// The TLS settings towards the gateway.
///
/// # Errors
/// What is wrong with certificate or key.
pub fn client_config(pinned: PinnedCa, identity: Option<ClientIdentity<'_>>) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(pinned));
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(identity.certificate)?;
            let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).map_err(|error| format!("TLS key: {error}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("TLS certificate and key: {error}"))?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificates in a PEM text.
///
/// # Errors
/// What is wrong with it; none at all is wrong as well.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let all = all.map_err(|error| format!("certificate: {error}"))?;
    if all.is_empty() { Err("no certificate in it".into()) } else { Ok(all) }
}

/// SHA-256 of a certificate, lower-case hex.
pub fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    hex::encode(Sha256::digest(certificate))
}

/// From when to when a certificate (PEM) is valid, microseconds since 1970.
pub fn validity(pem: &str) -> Option<(i64, i64)> {
    let chain = certificates(pem).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    let us = |time: x509_parser::time::ASN1Time| time.timestamp().saturating_mul(1_000_000);
    Some((us(parsed.validity().not_before), us(parsed.validity().not_after)))
}

fn issuer_of(certificate: &CertificateDer<'_>) -> String {
    match x509_parser::parse_x509_certificate(certificate) {
        Ok((_, parsed)) => parsed.issuer().to_string(),
        Err(_) => "a certificate that cannot be read".into(),
    }
}

/// An error with all its causes, for people: the useful part of a TLS failure is the innermost.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
