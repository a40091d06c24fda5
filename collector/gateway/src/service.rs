//! Start, health and end of the gateway and enroll roles.
//!
//! Owns the background tasks: the port, renewal of the gateway's certificate, reading orders, cutting revoked sessions,
//! looking after health. All end on shutdown.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use beffroi_bus::Bus;
use beffroi_bus::control::Control;
use beffroi_schema::health::RoleHealth;
use beffroi_schema::wire;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::enroll::{Enrolment, enroll};
use crate::hello::hello;
use crate::ingest::{EventSink, Ingest, batches};
use crate::options::{OptionError, Options, Roles};
use crate::orders::{Orders, blob, orders};
use crate::pki::{self, Authority, GatewayLeaf, PkiError, Root};
use crate::refuse::Refusal;
use crate::renew::renew;
use crate::serve::{Port, serve};
use crate::sessions::Sessions;
use crate::{clock, tls};

/// How often the bus is asked whether it is there.
const HEALTH_EVERY: Duration = Duration::from_secs(5);
/// A bus that says nothing for this long is not there.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// The gateway cannot start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot be used.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// Neither role was asked for.
    #[error("neither the gateway nor the enroll role was asked for; name at least one")]
    NoRole,
    /// The CA or the gateway's certificate.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The port cannot be opened.
    #[error("{address}: {source}; choose another `gateway.listen` or stop what uses it")]
    Listen {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
}

/// A running gateway.
pub struct Handle {
    address: SocketAddr,
    root: Root,
    health: Arc<Mutex<Vec<RoleHealth>>>,
    tasks: JoinSet<()>,
}

impl Handle {
    /// Where agents connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// SHA-256 of the server CA, hex: what enrolment tokens carry.
    pub fn ca_fingerprint(&self) -> String {
        self.root.fingerprint()
    }

    /// The server CA (PEM).
    pub fn ca_pem(&self) -> &str {
        self.root.pem()
    }

    /// How each role of this process stands, at most a few seconds old.
    pub fn health(&self) -> Vec<RoleHealth> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until all has ended after shutdown: connections are asked to leave, requests in flight are finished.
    pub async fn join(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Starts the roles on one TLS port until `shutdown`.
///
/// # Errors
/// [`StartError`]. A bus that is away is no error: the port opens, agents get 503, health says why.
pub async fn start(
    options: Options,
    roles: Roles,
    bus: Bus,
    control: Control,
    shutdown: CancellationToken,
) -> Result<Handle, StartError> {
    let sink = Arc::new(bus.clone());
    start_with(options, roles, bus, sink, control, shutdown).await
}

/// As [`start`], with another way to the events topic (for tests of a bus that hangs).
pub(crate) async fn start_with(
    options: Options,
    roles: Roles,
    bus: Bus,
    sink: Arc<dyn EventSink>,
    control: Control,
    shutdown: CancellationToken,
) -> Result<Handle, StartError> {
    options.validate()?;
    if !roles.ingest && !roles.enroll {
        return Err(StartError::NoRole);
    }
    let hostname = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut tasks = JoinSet::new();
    let served = serve_identity(&options, roles, &hostname, &mut tasks, &shutdown)?;
    let directory = Directory::new(control);
    let name = if options.name.is_empty() { hostname } else { options.name.clone() };
    let parts = Parts {
        ingest: roles.ingest.then(|| Arc::new(Ingest::new(sink, directory.clone(), &options.limits, &options.quota, name))),
        orders: roles.ingest.then(|| Arc::new(Orders::new(&bus.topic_id(beffroi_bus::Topic::Orders)))),
        enrolment: served
            .authority
            .clone()
            .filter(|_| roles.enroll)
            .map(|authority| Arc::new(Enrolment::new(authority, directory.clone(), &options.quota))),
    };
    let listener =
        TcpListener::bind(options.listen).await.and_then(|listener| listener.local_addr().map(|address| (listener, address)));
    let (listener, address) = listener.map_err(|source| StartError::Listen { address: options.listen, source })?;
    let sessions = Arc::new(Sessions::default());
    let port = port(&options, &served, &parts, &directory, sessions.clone(), &shutdown)?;
    tasks.spawn(serve(Arc::new(port), listener));
    tasks.spawn(cut_revoked(directory.clone(), sessions.clone(), shutdown.clone()));
    if let Some(orders) = parts.orders.clone() {
        let (bus, stop) = (bus.clone(), shutdown.clone());
        tasks.spawn(async move { orders.follow(&bus, &stop).await });
    }
    let health = Arc::new(Mutex::new(roles.names().map(|role| RoleHealth::not_ready(role, "starting")).collect()));
    let watch = Watch { roles, bus, directory, parts, sessions, leaf: served.leaf.clone(), root: served.root.clone() };
    tasks.spawn(watch.run(health.clone(), shutdown));
    tracing::info!(%address, ca = served.root.fingerprint(), ingest = roles.ingest, enroll = roles.enroll, "agents may connect");
    Ok(Handle { address, root: served.root, health, tasks })
}

struct Parts {
    ingest: Option<Arc<Ingest>>,
    orders: Option<Arc<Orders>>,
    enrolment: Option<Arc<Enrolment>>,
}

/// What the port presents and trusts.
struct Served {
    root: Root,
    authority: Option<Arc<Authority>>,
    leaf: Arc<GatewayLeaf>,
}

fn serve_identity(
    options: &Options,
    roles: Roles,
    hostname: &str,
    tasks: &mut JoinSet<()>,
    shutdown: &CancellationToken,
) -> Result<Served, StartError> {
    if let Some(files) = options.tls.clone() {
        let authority = roles.enroll.then(|| Authority::open_or_create(&options.pki)).transpose()?.map(Arc::new);
        let root = authority.as_ref().map_or_else(|| Root::open(&options.pki), |authority| Ok(authority.root().clone()))?;
        let (leaf, watch) = pki::followed(files.certificate, files.key, pki::WATCH_EVERY, shutdown.clone())?;
        tasks.spawn(watch);
        return Ok(Served { root, authority, leaf });
    }
    let open = if roles.enroll { Authority::open_or_create } else { Authority::open };
    let authority = Arc::new(open(&options.pki)?);
    let (names, life) = (options.all_names(hostname), options.certificate_life());
    let leaf = Arc::new(GatewayLeaf::new(authority.issue_gateway(&names, life, clock::now_us())?)?);
    tasks.spawn(pki::keep_renewed(leaf.clone(), authority.clone(), names, life, shutdown.clone()));
    Ok(Served { root: authority.root().clone(), authority: Some(authority), leaf })
}

fn port(
    options: &Options,
    served: &Served,
    parts: &Parts,
    directory: &Directory,
    sessions: Arc<Sessions>,
    shutdown: &CancellationToken,
) -> Result<Port, StartError> {
    let known = directory.clone();
    let is_revoked: tls::IsRevoked = Arc::new(move |identity| known.is_revoked(identity.agent));
    let config = tls::server_config(&served.root, served.leaf.clone(), is_revoked.clone())?;
    Ok(Port {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        router: router(parts),
        limits: options.limits.clone(),
        sessions,
        is_revoked,
        connections: Arc::new(Semaphore::new(options.limits.connections)),
        unauthenticated: Arc::new(Semaphore::new(options.limits.unauthenticated)),
        shutdown: shutdown.clone(),
    })
}

fn router(parts: &Parts) -> Router {
    let mut router = Router::new();
    if let Some(ingest) = parts.ingest.clone() {
        router = router.route(wire::PATH_BATCHES, post(batches).with_state(ingest)).route(wire::PATH_HELLO, post(hello));
    }
    if let Some(parts) = parts.orders.clone() {
        let path = format!("{}/{{sha256}}", wire::PATH_BLOBS);
        router = router.route(wire::PATH_ORDERS, get(orders).with_state(parts.clone())).route(&path, get(blob).with_state(parts));
    }
    if let Some(enrolment) = parts.enrolment.clone() {
        router = router
            .route(wire::PATH_ENROLL, post(enroll).with_state(enrolment.clone()))
            .route(wire::PATH_RENEW, post(renew).with_state(enrolment));
    }
    let nothing = |status, code, error, hint| move || async move { Refusal::new(status, code, error, hint) };
    let hint = "check the address; this process may not serve this role (`beffroi-collector --role`)";
    router
        .fallback(nothing(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path", hint))
        .method_not_allowed_fallback(nothing(StatusCode::METHOD_NOT_ALLOWED, "method", "this path takes another method", hint))
}

/// Cuts sessions as soon as a revocation has been read.
async fn cut_revoked(directory: Directory, sessions: Arc<Sessions>, stop: CancellationToken) {
    let mut changed = directory.changed();
    while let Some(Ok(())) = stop.run_until_cancelled(changed.changed()).await {
        changed.borrow_and_update();
        sessions.cut(|agent| directory.is_revoked(agent));
    }
}

/// Looks after health.
struct Watch {
    roles: Roles,
    bus: Bus,
    directory: Directory,
    parts: Parts,
    sessions: Arc<Sessions>,
    leaf: Arc<GatewayLeaf>,
    root: Root,
}

impl Watch {
    async fn run(self, health: Arc<Mutex<Vec<RoleHealth>>>, stop: CancellationToken) {
        while let Some(now) = stop.run_until_cancelled(self.look()).await {
            *health.lock().unwrap_or_else(PoisonError::into_inner) = now;
            if stop.run_until_cancelled(tokio::time::sleep(HEALTH_EVERY)).await.is_none() {
                break;
            }
        }
        let stopped = self.roles.names().map(|role| RoleHealth::not_ready(role, "stopping")).collect();
        *health.lock().unwrap_or_else(PoisonError::into_inner) = stopped;
    }

    async fn look(&self) -> Vec<RoleHealth> {
        let why_not = match tokio::time::timeout(HEALTH_TIMEOUT, self.bus.check()).await {
            Err(_) => Some(format!("the bus did not answer in {} s", HEALTH_TIMEOUT.as_secs())),
            Ok(Err(error)) => Some(error.to_string()),
            Ok(Ok(())) if !self.directory.ready() => Some("the list of hosts and tokens has not been read yet".into()),
            Ok(Ok(())) => None,
        };
        self.roles.names().map(|role| self.role(role, why_not.clone())).collect()
    }

    fn role(&self, role: &str, why_not: Option<String>) -> RoleHealth {
        let health = match why_not {
            Some(why) => RoleHealth::not_ready(role, why),
            None => RoleHealth::ready(role, "serving"),
        };
        let health = health
            .figure("certificate_expires", clock::text(self.leaf.not_after()))
            .figure("ca_expires", clock::text(self.root.not_after()));
        match &self.parts.ingest {
            Some(ingest) if role == Roles::GATEWAY => {
                health.figure("sessions", self.sessions.count()).figure("free_bytes", ingest.in_flight().free())
            }
            _ => health,
        }
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
