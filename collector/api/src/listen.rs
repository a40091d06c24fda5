//! Connections: plain on loopback or TLS, bounded in number, drained at the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::connect_info::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::Service;

use crate::error::ApiError;
use crate::options::Options;

/// Connections at once: analysts and consoles are few; a flood waits in the backlog.
const MAX_CONNECTIONS: usize = 512;
/// A handshake or the head of a request that takes longer is no analyst's.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long running calls may finish after a stop.
const DRAIN: Duration = Duration::from_secs(5);
/// Wait after an accept that failed (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A certificate with its key, exchanged by its owner while connections come and go.
pub type Certificate = Arc<dyn rustls::server::ResolvesServerCert>;

/// A bound address.
pub(crate) struct Listener {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
}

impl Listener {
    /// Over TLS with the certificate that the server gives, which it exchanges while connections come and go; else plain.
    /// The files of the options are the server's to read, as those of the gateway are.
    pub(crate) async fn bind(options: &Options, certificate: Option<Certificate>) -> Result<Self, ApiError> {
        let tls = match certificate {
            Some(certificate) => Some(acceptor(certificate)?),
            None => options.without_certificate().map_or(Ok(None), Err)?,
        };
        let failed = |source| ApiError::Listen { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, tls })
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until stopped, then drains.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) {
        let graceful = Arc::new(GracefulShutdown::new());
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "the API cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (router, tls, graceful) = (router.clone(), self.tls.clone(), graceful.watcher());
            tokio::spawn(async move {
                let _until_closed = permit;
                connection(stream, peer, tls, router, graceful).await;
            });
        }
        drop(self.listener);
        let Some(graceful) = Arc::into_inner(graceful) else { return };
        if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
            tracing::warn!("calls of the API were still running after {} s and are cut off", DRAIN.as_secs());
        }
    }
}

type Watcher = hyper_util::server::graceful::Watcher;

async fn connection(stream: TcpStream, peer: SocketAddr, tls: Option<TlsAcceptor>, router: Router, watcher: Watcher) {
    match tls {
        None => serve(stream, peer, router, watcher).await,
        Some(tls) => match tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, peer, router, watcher).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "a TLS handshake with the API failed"),
            Err(_) => tracing::debug!(%peer, "a TLS handshake with the API took too long"),
        },
    }
}

async fn serve<S>(stream: S, peer: SocketAddr, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().call(request)
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(64).keep_alive_interval(HEAD_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection.into_owned()).await {
        tracing::debug!(%peer, %error, "a connection to the API ended badly");
    }
}

/// TLS 1.3 only: every browser and tool that may ask here speaks it, and it has no weak options.
fn acceptor(certificate: Certificate) -> Result<TlsAcceptor, ApiError> {
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ApiError::Options { key: "tls", why: format!("TLS 1.3 cannot be set up: {error}") })?;
    let mut config = config.with_no_client_auth().with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
