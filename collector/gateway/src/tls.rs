//! TLS of the agents' port: TLS 1.3 only, client certificates of our CA only, no resumption, no early data.
//!
//! TLS 1.3 only because both ends are ours: it encrypts client certificates (tenant and agent id) and has no weak
//! options. A client certificate is optional here, since a host without one must be able to enrol; what it may reach then
//! is decided per path. Resumption is off: a session must not outlive its certificate or a revocation. A bad, expired,
//! foreign or revoked certificate ends the handshake with the alert that says so.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

use crate::identity::Identity;
use crate::pki::{GatewayLeaf, Root};

/// Says whether an agent has been revoked.
pub(crate) type IsRevoked = Arc<dyn Fn(&Identity) -> bool + Send + Sync>;

/// The configuration of the port.
pub(crate) fn server_config(root: &Root, leaf: Arc<GatewayLeaf>, is_revoked: IsRevoked) -> Result<ServerConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = AgentVerifier::new(root, provider.clone(), is_revoked)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(leaf);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

/// Verifies chain and dates, then that the certificate names an agent, then that it has not been revoked.
struct AgentVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    is_revoked: IsRevoked,
}

impl AgentVerifier {
    fn new(root: &Root, provider: Arc<CryptoProvider>, is_revoked: IsRevoked) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        roots.add(root.der.clone())?;
        let chain = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .allow_unauthenticated()
            .build()
            .map_err(|error| Error::General(error.to_string()))?;
        Ok(Self { chain, is_revoked })
    }
}

impl std::fmt::Debug for AgentVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AgentVerifier").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        let identity = Identity::of_certificate(end_entity).map_err(|error| {
            tracing::warn!(target: "beffroi::security", %error, "a certificate of our CA was refused");
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure)
        })?;
        if (self.is_revoked)(&identity) {
            return Err(Error::InvalidCertificate(CertificateError::Revoked));
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
