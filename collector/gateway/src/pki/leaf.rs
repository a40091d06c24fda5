//! The leaf that a gateway presents, exchanged while it serves: at two thirds of its life when our CA issues it, when
//! the files change when an operator provides it. Sessions that are open keep the old one; nothing restarts.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_util::sync::CancellationToken;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Authority, GatewayCertificate, PkiError, files};
use crate::clock;
use crate::options::Options;

/// How soon a failed renewal is tried again: the old leaf has a third of its life left.
const RETRY: Duration = Duration::from_secs(60);
/// How often provided files are looked at.
pub(crate) const WATCH_EVERY: Duration = Duration::from_secs(60);

/// The leaf in use.
#[derive(Debug)]
pub(crate) struct GatewayLeaf {
    current: ArcSwap<CertifiedKey>,
    not_after: AtomicI64,
}

impl ResolvesServerCert for GatewayLeaf {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl GatewayLeaf {
    pub(crate) fn new(certificate: GatewayCertificate) -> Result<Self, PkiError> {
        let not_after = AtomicI64::new(certificate.not_after);
        Ok(Self { current: ArcSwap::from_pointee(usable(certificate)?), not_after })
    }

    fn replace(&self, certificate: GatewayCertificate) -> Result<(), PkiError> {
        let not_after = certificate.not_after;
        self.current.store(Arc::new(usable(certificate)?));
        self.not_after.store(not_after, Ordering::Relaxed);
        Ok(())
    }

    /// End of its life, microseconds since 1970.
    pub(crate) fn not_after(&self) -> i64 {
        self.not_after.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn der(&self) -> Vec<u8> {
        self.current.load().cert[0].to_vec()
    }
}

fn usable(certificate: GatewayCertificate) -> Result<CertifiedKey, PkiError> {
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(certificate.chain, certificate.key, &provider).map_err(|error| PkiError::Make(error.to_string()))
}

/// A leaf of the server CA for another port of this process (the API's), renewed until `stop`. Names are those of the
/// gateway: who may reach the one by a name may reach the other by it.
///
/// # Errors
/// [`PkiError`]: there is no CA with its key here, or it cannot be used.
pub fn own_certificate(options: &Options, stop: CancellationToken) -> Result<Arc<dyn ResolvesServerCert>, PkiError> {
    let authority = Arc::new(Authority::open(&options.pki)?);
    let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let (names, life) = (options.all_names(&hostname), options.certificate_life());
    let leaf = Arc::new(GatewayLeaf::new(authority.issue_gateway(&names, life, clock::now_us())?)?);
    tokio::spawn(keep_renewed(leaf.clone(), authority, names, life, stop));
    Ok(leaf)
}

/// A certificate and its key that an operator provides as PEM files, taken over anew whenever the files change, until
/// `stop`.
///
/// # Errors
/// [`PkiError`]: a file cannot be read, or holds something else.
pub fn provided_certificate(
    chain: PathBuf,
    key: PathBuf,
    stop: CancellationToken,
) -> Result<Arc<dyn ResolvesServerCert>, PkiError> {
    follow_certificate(chain, key, WATCH_EVERY, stop)
}

/// The same with files that are looked at as often as this.
///
/// # Errors
/// As [`provided_certificate`].
pub fn follow_certificate(
    chain: PathBuf,
    key: PathBuf,
    every: Duration,
    stop: CancellationToken,
) -> Result<Arc<dyn ResolvesServerCert>, PkiError> {
    let (leaf, watch) = followed(chain, key, every, stop)?;
    tokio::spawn(watch);
    Ok(leaf)
}

/// The leaf in these files, and the task that takes it over anew whenever they change.
pub(crate) fn followed(
    chain: PathBuf,
    key: PathBuf,
    every: Duration,
    stop: CancellationToken,
) -> Result<(Arc<GatewayLeaf>, impl Future<Output = ()> + Send), PkiError> {
    let seen = changed_at(&chain);
    let leaf = Arc::new(GatewayLeaf::new(read_provided(&chain, &key)?)?);
    Ok((leaf.clone(), watch_files(leaf, (chain, key), (seen, every), stop)))
}

/// Issues a new leaf at two thirds of every leaf's life until `stop`.
pub(crate) async fn keep_renewed(
    leaf: Arc<GatewayLeaf>,
    authority: Arc<Authority>,
    names: Vec<String>,
    life: Duration,
    stop: CancellationToken,
) {
    let mut wait = life * 2 / 3;
    while stop.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        let renewed = authority.issue_gateway(&names, life, clock::now_us()).and_then(|certificate| leaf.replace(certificate));
        match renewed {
            Ok(()) => {
                tracing::info!(not_after = clock::text(leaf.not_after()), "renewed the gateway's certificate");
                wait = life * 2 / 3;
            }
            Err(error) => {
                tracing::error!(%error, "could not renew the gateway's certificate, will try again");
                wait = RETRY.min(life / 6);
            }
        }
    }
}

/// Reads a chain and a key that an operator provides.
pub(super) fn read_provided(chain: &Path, key: &Path) -> Result<GatewayCertificate, PkiError> {
    let broken = |path: &Path, why: String| PkiError::Provided { path: path.to_path_buf(), why };
    let text = std::fs::read(chain).map_err(|source| PkiError::Io { path: chain.to_path_buf(), source })?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| broken(chain, format!("no PEM certificates: {error}")))?;
    let first = certificates.first().ok_or_else(|| broken(chain, "no PEM certificate".into()))?;
    let (_, leaf) = X509Certificate::from_der(first).map_err(|error| broken(chain, error.to_string()))?;
    let not_after = leaf.validity().not_after.timestamp() * 1_000_000;
    if not_after <= clock::now_us() {
        return Err(broken(chain, format!("the certificate expired at {}", clock::text(not_after))));
    }
    let secret = files::read_key(key)?;
    let secret =
        PrivateKeyDer::from_pem_slice(secret.as_bytes()).map_err(|error| broken(key, format!("no private key: {error}")))?;
    Ok(GatewayCertificate { chain: certificates, key: secret, not_after })
}

/// Takes over provided files whenever they change, until `stop`. Broken files are said and the old leaf stays; they are
/// tried again every time, because the key may come after its certificate.
async fn watch_files(
    leaf: Arc<GatewayLeaf>,
    (chain, key): (PathBuf, PathBuf),
    (mut seen, every): (Option<SystemTime>, Duration),
    stop: CancellationToken,
) {
    while stop.run_until_cancelled(tokio::time::sleep(every)).await.is_some() {
        let now = changed_at(&chain);
        if now == seen {
            continue;
        }
        let (path, read) = (chain.display(), read_provided(&chain, &key));
        match read.and_then(|certificate| leaf.replace(certificate)) {
            Ok(()) => {
                tracing::info!(%path, not_after = clock::text(leaf.not_after()), "took over a new certificate");
                seen = now;
            }
            Err(error) => tracing::error!(%path, %error, "the new certificate cannot be used, the old one stays"),
        }
    }
}

fn changed_at(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}
