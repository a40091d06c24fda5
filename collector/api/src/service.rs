//! The API as a role: start, what its handlers share, health.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use beffroi_bus::Bus;
use beffroi_bus::control::Control;
use beffroi_schema::health::RoleHealth;
use beffroi_store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::AdminToken;
use crate::console;
use crate::desk::App;
use crate::door;
use crate::error::ApiError;
use crate::listen::{Certificate, Listener};
use crate::options::Options;

/// How all roles of this process stand.
pub type Roles = Arc<dyn Fn() -> Vec<RoleHealth> + Send + Sync>;
/// Prometheus text.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the API asks.
#[derive(Clone)]
pub struct Sources {
    /// The named questions.
    pub store: Store,
    /// For the audit and for lag.
    pub bus: Bus,
    /// Tokens, hosts, revocations.
    pub control: Control,
    /// Health of the roles.
    pub roles: Roles,
    /// `/metrics`; 404 without.
    pub metrics: Option<Metrics>,
    /// Certificate; needed where the options name its files, and where it does not listen on loopback.
    pub certificate: Option<Certificate>,
}

/// The running API.
pub struct Handle {
    address: SocketAddr,
    app: Arc<App>,
    task: JoinHandle<()>,
}

/// Starts the API.
///
/// # Errors
/// [`ApiError`]: settings, token file, certificate, address.
pub async fn start(
    options: Options,
    store: Store,
    bus: Bus,
    control: Control,
    roles: Roles,
    shutdown: CancellationToken,
) -> Result<Handle, ApiError> {
    start_with(options, Sources { store, bus, control, roles, metrics: None, certificate: None }, shutdown).await
}

/// Starts the API with everything it can show.
///
/// # Errors
/// As [`start`].
pub async fn start_with(options: Options, sources: Sources, shutdown: CancellationToken) -> Result<Handle, ApiError> {
    options.validate()?;
    let admin = AdminToken::load(&options.token_file)?;
    let listener = Listener::bind(&options, sources.certificate.clone()).await?;
    let (address, tls) = (listener.address(), listener.is_tls());
    let app = Arc::new(App::new(sources, admin, &options.rates, shutdown.clone(), tls));
    let router = console::before(Arc::clone(&app), door::router(Arc::clone(&app)));
    let task = tokio::spawn(listener.serve(router, shutdown));
    tracing::info!(%address, tls, token_file = %options.token_file.display(), "the API listens");
    Ok(Handle { address, app, task })
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether it can answer and audit.
    pub fn health(&self) -> RoleHealth {
        if self.task.is_finished() {
            return RoleHealth::not_ready("api", "it has stopped listening; restart the collector");
        }
        if !self.app.control_ready() {
            return RoleHealth::not_ready("api", "the control state has not been read from the bus yet");
        }
        let failures = self.app.audit_failures.load(Ordering::Relaxed);
        if failures > 0 {
            return RoleHealth::not_ready("api", format!("the audit cannot be written, {failures} calls in a row were refused"));
        }
        RoleHealth::ready("api", format!("listens on {}", self.address))
    }

    /// Waits until it has drained, after its token was cancelled.
    pub async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the API ended badly");
        }
    }
}
