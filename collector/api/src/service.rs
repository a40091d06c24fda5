//! The API as a role: start, what its handlers share, health.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use beffroi_bus::Bus;
use beffroi_bus::control::Control;
use beffroi_schema::health::RoleHealth;
use beffroi_store::Store;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::Tokens;
use crate::error::ApiError;
use crate::listen::Listener;
use crate::options::Options;
use crate::routes;

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
}

/// What every handler sees.
pub(crate) struct App {
    pub(crate) sources: Sources,
    pub(crate) tokens: Tokens,
    pub(crate) audit_failures: AtomicU64,
    pub(crate) stop: CancellationToken,
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
    start_with(options, Sources { store, bus, control, roles, metrics: None }, shutdown).await
}

/// Starts the API with everything it can show.
///
/// # Errors
/// As [`start`].
pub async fn start_with(options: Options, sources: Sources, shutdown: CancellationToken) -> Result<Handle, ApiError> {
    options.validate()?;
    let tokens = Tokens::load(&options.token_file)?;
    let listener = Listener::bind(&options).await?;
    let address = listener.address();
    let app = Arc::new(App { sources, tokens, audit_failures: AtomicU64::new(0), stop: shutdown.clone() });
    let task = tokio::spawn(listener.serve(routes::router(Arc::clone(&app)), shutdown));
    tracing::info!(%address, tls = options.tls.is_some(), token_file = %options.token_file.display(), "the API listens");
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
        if !self.app.sources.control.ready() {
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
