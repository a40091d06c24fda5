//! The server CA and what it issues: agent certificates (client auth, 7 days, tenant and agent id and nothing else) and
//! the gateway's own leaf.
//!
//! Owns the CA key while the process runs. Of a certificate signing request only the public key is taken: whoever asks
//! decides nothing else. A CA that cannot be read, is expired or does not fit its key is an error at start, never a
//! reason to make a new one: a new CA would lock the whole fleet out.

mod csr;
mod files;
mod leaf;

use std::path::{Path, PathBuf};

use beffroi_schema::ids::{AgentId, is_tenant_name};
use beffroi_schema::session::CERTIFICATE_SECONDS;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock;

pub use csr::CsrError;
pub(crate) use csr::check as check_csr;
pub(crate) use leaf::{GatewayLeaf, WATCH_EVERY, followed, keep_renewed};
pub use leaf::{follow_certificate, own_certificate, provided_certificate};

/// Life of the server CA: agents pin it, so it outlives several generations of hosts.
const CA_SECONDS: i64 = 10 * 365 * 24 * 3600;
/// How far `not_before` lies back: hosts whose clock is a little slow must be able to use what they just got.
const BACKDATE_SECONDS: i64 = 5 * 60;
/// How far a gateway's `not_before` lies back: a host whose clock is up to a day slow must still reach us to be told so.
const GATEWAY_BACKDATE_SECONDS: i64 = 24 * 3600;
/// 128 bits: cannot collide, and 17 bytes with its leading zero stay under the 20 of RFC 5280.
const SERIAL_BYTES: usize = 16;

/// The PKI cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file could not be read or written.
    #[error("{path}: {source}; check that the folder exists, is on a disk with room and belongs to the collector's user")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A certificate or key that an operator provides cannot be used.
    #[error("{path}: {why}; the chain (leaf first) and its key are expected as PEM files")]
    Provided {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A file holds something else than it should.
    #[error("{path}: {why}; restore it from a backup (a new server CA would lock out every enrolled host)")]
    Broken {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is no CA, and this role may not make one.
    #[error(
        "{path}: no server CA here; start the enroll role once on this data folder, or copy ca.pem here and set tls.certificate and tls.key"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// A name for the gateway's certificate cannot be one.
    #[error("{0:?} is no DNS name and no IP address; correct it in the gateway's `names`")]
    Name(String),
    /// The signing request cannot be accepted.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The library that makes certificates failed.
    #[error("certificate could not be made: {0}")]
    Make(String),
}

impl From<rcgen::Error> for PkiError {
    fn from(error: rcgen::Error) -> Self {
        Self::Make(error.to_string())
    }
}

/// The server CA with its key.
pub struct Authority {
    root: Root,
    issuer: Issuer<'static, KeyPair>,
}

/// The server CA's certificate: what agents pin and what client certificates must chain to.
#[derive(Debug, Clone)]
pub struct Root {
    pub(crate) der: CertificateDer<'static>,
    pem: String,
    not_after: i64,
}

/// A certificate for an agent.
#[derive(Debug, Clone)]
pub struct AgentCertificate {
    /// The certificate (PEM).
    pub pem: String,
    /// The certificate (DER).
    pub der: CertificateDer<'static>,
    /// Serial number, hex.
    pub serial: String,
    /// End of its life, microseconds since 1970.
    pub not_after: i64,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").field("fingerprint", &self.root.fingerprint()).finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the server CA in this folder; makes it if there is none. Several processes may do so at once.
    ///
    /// # Errors
    /// [`PkiError`]: the folder cannot be used, or what is in it is broken or expired.
    pub fn open_or_create(dir: &Path) -> Result<Self, PkiError> {
        let _lock = files::Lock::take(dir)?;
        files::finish(dir)?;
        if files::lost_certificate(dir) {
            return Err(PkiError::Broken { path: dir.join(files::CERTIFICATE), why: "it is missing, its key is there".into() });
        }
        if !files::exists(dir) {
            let (pem, key) = new_ca(clock::now_us())?;
            files::write_both(dir, &pem, &key)?;
            tracing::info!(dir = %dir.display(), "made a new server CA");
        }
        Self::open(dir)
    }

    /// Opens the server CA in this folder.
    ///
    /// # Errors
    /// [`PkiError`]: it is not there, broken or expired.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let root = Root::open(dir)?;
        let path = dir.join(files::KEY);
        let broken = |why: String| PkiError::Broken { path: path.clone(), why };
        let pem = files::read_key(&path)?;
        let key = KeyPair::from_pem(&pem).map_err(|error| broken(format!("no private key: {error}")))?;
        let (_, certificate) = X509Certificate::from_der(&root.der).map_err(|error| broken(error.to_string()))?;
        if certificate.public_key().raw != key.subject_public_key_info() {
            return Err(broken(format!("it is not the key of {}", files::CERTIFICATE)));
        }
        let issuer = Issuer::from_ca_cert_der(&root.der, key)?;
        Ok(Self { root, issuer })
    }

    /// The CA's certificate.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Issues a certificate to an agent for the public key of its signing request (PEM). Names, extensions and dates that
    /// the request asks for are ignored. `now` in microseconds since 1970.
    ///
    /// # Errors
    /// [`PkiError::Csr`] if the request is malformed, not signed by its own key, or of another kind of key than P-256 or
    /// Ed25519.
    pub fn issue_agent(&self, csr: &str, tenant: &str, agent: AgentId, now: i64) -> Result<AgentCertificate, PkiError> {
        assert!(is_tenant_name(tenant), "a tenant of the control state has a checked name");
        let key = csr::public_key(csr)?;
        let not_after = now + CERTIFICATE_SECONDS * 1_000_000;
        let mut params = params(&agent.to_string(), now - BACKDATE_SECONDS * 1_000_000, not_after)?;
        let uri = format!("urn:beffroi:{tenant}:{agent}");
        params.subject_alt_names = vec![SanType::URI(uri.try_into().map_err(|_| PkiError::Name(tenant.into()))?)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let serial = serial_text(&params);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let not_after = not_after / 1_000_000 * 1_000_000;
        Ok(AgentCertificate { pem: certificate.pem(), der: certificate.der().clone(), serial, not_after })
    }

    /// Issues a gateway's leaf (server auth) for these DNS names and addresses with a fresh key.
    ///
    /// # Errors
    /// [`PkiError::Name`].
    pub fn issue_gateway(&self, names: &[String], life: std::time::Duration, now: i64) -> Result<GatewayCertificate, PkiError> {
        let life = i64::try_from(life.as_micros()).unwrap_or(i64::MAX / 4);
        let mut params = params("beffroi gateway", now - GATEWAY_BACKDATE_SECONDS * 1_000_000, now + life)?;
        params.subject_alt_names = names.iter().map(|name| san(name)).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let der = params.signed_by(&key, &self.issuer)?.der().clone();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // The CA goes along: a host that enrols knows only its fingerprint and compares it with what is presented.
        Ok(GatewayCertificate { chain: vec![der, self.root.der.clone()], key, not_after: now + life })
    }
}

/// A gateway's leaf and its key.
pub struct GatewayCertificate {
    /// Chain, leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// Private key.
    pub key: PrivateKeyDer<'static>,
    /// End of the leaf's life, microseconds since 1970.
    pub not_after: i64,
}

impl Root {
    /// Reads the CA's certificate from this folder.
    ///
    /// # Errors
    /// [`PkiError`]: it is not there, broken, expired or no CA.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let path = dir.join(files::CERTIFICATE);
        let broken = |why: String| PkiError::Broken { path: path.clone(), why };
        let pem = match std::fs::read_to_string(&path) {
            Ok(pem) => pem,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(PkiError::Missing { path }),
            Err(source) => return Err(PkiError::Io { path, source }),
        };
        let der = first_certificate(&pem).ok_or_else(|| broken("no PEM certificate".into()))?;
        let not_after = {
            let (_, certificate) = X509Certificate::from_der(&der).map_err(|error| broken(error.to_string()))?;
            if !certificate.is_ca() {
                return Err(broken("the certificate is no CA".into()));
            }
            certificate.validity().not_after.timestamp() * 1_000_000
        };
        if not_after <= clock::now_us() {
            return Err(broken(format!("the server CA expired at {}", clock::text(not_after))));
        }
        Ok(Self { der, pem, not_after })
    }

    /// SHA-256 of the certificate (DER), hex: what enrolment tokens carry and agents pin.
    pub fn fingerprint(&self) -> String {
        hex::encode(Sha256::digest(&self.der))
    }

    /// The certificate (PEM).
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// End of its life, microseconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }
}

fn first_certificate(pem: &str) -> Option<CertificateDer<'static>> {
    use rustls_pki_types::pem::PemObject;
    CertificateDer::from_pem_slice(pem.as_bytes()).ok()
}

fn new_ca(now: i64) -> Result<(String, zeroize::Zeroizing<String>), PkiError> {
    let mut serial = [0u8; 4];
    getrandom::fill(&mut serial).map_err(|error| PkiError::Make(error.to_string()))?;
    // Two collectors of one operator are told apart in tools that show names only.
    let name = format!("Beffroi server CA {}", hex::encode(serial));
    let mut params = params(&name, now - BACKDATE_SECONDS * 1_000_000, now + CA_SECONDS * 1_000_000)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem().into()))
}

fn params(common_name: &str, not_before: i64, not_after: i64) -> Result<CertificateParams, PkiError> {
    let mut serial = [0u8; SERIAL_BYTES];
    getrandom::fill(&mut serial).map_err(|error| PkiError::Make(error.to_string()))?;
    // A serial number is a positive integer in its shortest form. With the top bit set it would need a zero byte before it,
    // with the second clear it might lose bytes: either way it would be another text than the one that is recorded.
    serial[0] = serial[0] & 0x7f | 0x40;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + clock::duration(not_before);
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + clock::duration(not_after);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn serial_text(params: &CertificateParams) -> String {
    params.serial_number.as_ref().map(|serial| hex::encode(serial.to_bytes())).unwrap_or_default()
}

fn san(name: &str) -> Result<SanType, PkiError> {
    let wrong = || PkiError::Name(name.into());
    match rustls_pki_types::ServerName::try_from(name).map_err(|_| wrong())? {
        rustls_pki_types::ServerName::IpAddress(address) => Ok(SanType::IpAddress(std::net::IpAddr::from(address))),
        _ => Ok(SanType::DnsName(name.try_into().map_err(|_| wrong())?)),
    }
}

#[cfg(test)]
mod tests;
