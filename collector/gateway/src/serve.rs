//! The port: accepts connections, bounds them, speaks TLS and HTTP, and ends them in order.
//!
//! Before a peer has shown a certificate it gets one of a few places, a deadline and a byte allowance. After that it has
//! a session that ends at its maximal age (with a GOAWAY, so that nothing in flight is lost), when its certificate
//! expires, or at once when the host is revoked. On shutdown everyone is asked to leave and given [`DRAIN`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::clock;
use crate::identity::Identity;
use crate::options::LimitOptions;
use crate::sessions::{Session, Sessions};
use crate::stream::{Allowance, MeteredStream};
use crate::tls::IsRevoked;

/// How long requests in flight may take to end once a connection is asked to leave: longer than a publish may take.
pub(crate) const DRAIN: Duration = Duration::from_secs(40);
/// Until the head of an HTTP/1 request must be there, also the idle time between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(90);
/// Silent HTTP/2 peers are asked for a sign of life this often, and dropped when none comes.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on one connection: a few batches, one long poll.
const MAX_STREAMS: u32 = 16;
/// Unread bytes of one request and of all requests of a connection: one batch flows without a stop.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Request heads are small: a path and a few headers.
const MAX_HEAD_BYTES: u32 = 16 * 1024;
/// After a failed accept (out of descriptors) the port rests this long instead of spinning.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The peer of a request.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// Its address.
    pub(crate) remote: IpAddr,
    /// Who it is, if it has shown a certificate.
    pub(crate) identity: Option<Arc<Identity>>,
    /// Cancelled when the connection should end: long polls answer at once.
    pub(crate) leaving: CancellationToken,
}

/// What every connection needs.
pub(crate) struct Port {
    pub(crate) acceptor: TlsAcceptor,
    pub(crate) router: Router,
    pub(crate) limits: LimitOptions,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) is_revoked: IsRevoked,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) unauthenticated: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
}

struct Places {
    _connection: OwnedSemaphorePermit,
    unauthenticated: Option<OwnedSemaphorePermit>,
}

/// Serves until shutdown, then drains.
pub(crate) async fn serve(port: Arc<Port>, listener: TcpListener) {
    let tasks = TaskTracker::new();
    while let Some(accepted) = port.shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, remote)) => accept(&port, &tasks, stream, remote),
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if timeout(DRAIN + PING_TIMEOUT, tasks.wait()).await.is_err() {
        tracing::warn!(abandoned = tasks.len(), "connections did not end in time");
    }
}

fn accept(port: &Arc<Port>, tasks: &TaskTracker, stream: TcpStream, remote: SocketAddr) {
    let Ok(connection) = port.connections.clone().try_acquire_owned() else {
        return dropped("connections");
    };
    let Ok(unauthenticated) = port.unauthenticated.clone().try_acquire_owned() else {
        return dropped("unauthenticated");
    };
    let places = Places { _connection: connection, unauthenticated: Some(unauthenticated) };
    let port = port.clone();
    tasks.spawn(async move { port.connection(stream, remote, places).await });
}

fn dropped(limit: &'static str) {
    metrics::counter!("beffroi_gateway_connections_dropped_total", "limit" => limit).increment(1);
    tracing::warn!(limit, "dropped a connection: the limit is reached");
}

impl Port {
    async fn connection(&self, stream: TcpStream, remote: SocketAddr, mut places: Places) {
        let remote = remote.ip().to_canonical();
        let allowance = Allowance::default();
        let Some(stream) = self.handshake(stream, remote, allowance.clone()).await else { return };
        let identity = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        // The verifier has read the same certificate: this cannot fail for another reason than a bug, and then it ends here.
        let Ok(identity) = identity.map(|leaf| Identity::of_certificate(leaf)).transpose() else { return };
        let Some(identity) = identity.map(Arc::new) else {
            let age = Duration::from_secs(self.limits.unauthenticated_seconds);
            return self.http(stream, Peer { remote, identity: None, leaving: CancellationToken::new() }, age, None).await;
        };
        let session = self.sessions.register(identity.agent);
        // Registered first, asked second: a revocation in between is seen by one of the two.
        if (self.is_revoked)(&identity) {
            return;
        }
        allowance.lift();
        places.unauthenticated = None;
        metrics::gauge!("beffroi_gateway_sessions").increment(1.0);
        let age = self.session_age(&identity);
        let peer = Peer { remote, identity: Some(identity), leaving: CancellationToken::new() };
        self.http(stream, peer, age, Some(&session)).await;
        metrics::gauge!("beffroi_gateway_sessions").decrement(1.0);
    }

    async fn handshake(
        &self,
        stream: TcpStream,
        remote: IpAddr,
        allowance: Allowance,
    ) -> Option<TlsStream<MeteredStream<TcpStream>>> {
        let failed = |why: String| {
            metrics::counter!("beffroi_gateway_handshakes_failed_total").increment(1);
            tracing::info!(target: "beffroi::security", %remote, why, "TLS handshake failed");
            None
        };
        if let Err(error) = stream.set_nodelay(true) {
            return failed(error.to_string());
        }
        let stream = MeteredStream::new(stream, allowance);
        let limit = Duration::from_secs(self.limits.handshake_seconds);
        match self.shutdown.run_until_cancelled(timeout(limit, self.acceptor.accept(stream))).await? {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => failed(error.to_string()),
            Err(_) => failed(format!("not done after {} s", limit.as_secs())),
        }
    }

    /// The age at which a session ends: jittered, so that agents which came together do not come back together.
    fn session_age(&self, identity: &Identity) -> Duration {
        let mut random = [0u8; 2];
        // Without randomness there is no jitter, and nothing else is lost.
        let _ = getrandom::fill(&mut random);
        let longest = Duration::from_secs(self.limits.session_seconds);
        let jitter = longest.mul_f64(0.25 * f64::from(u16::from_be_bytes(random)) / f64::from(u16::MAX));
        (longest - jitter).min(clock::duration(identity.not_after - clock::now_us()))
    }

    async fn http(&self, stream: TlsStream<MeteredStream<TcpStream>>, peer: Peer, age: Duration, session: Option<&Session<'_>>) {
        let never = CancellationToken::new();
        let cut = session.map_or(&never, |session| &session.cut);
        let (leaving, router) = (peer.leaving.clone(), self.router.clone());
        let builder = builder(stream.get_ref().1.alpn_protocol() == Some(b"h2"));
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(peer.clone());
            router.clone().oneshot(request)
        });
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let deadline = tokio::time::sleep_until(Instant::now() + age);
        tokio::select! {
            biased;
            () = cut.cancelled() => return leaving.cancel(),
            () = self.shutdown.cancelled() => {}
            () = deadline => {}
            ended = connection.as_mut() => return closed(ended),
        }
        leaving.cancel();
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            biased;
            () = cut.cancelled() => {}
            ended = timeout(DRAIN, connection) => if let Ok(ended) = ended { closed(ended) },
        }
    }
}

fn closed(ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended");
    }
}

fn builder(http2: bool) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(64 * 1024).max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD_BYTES);
    if http2 { builder.http2_only() } else { builder.http1_only() }
}
