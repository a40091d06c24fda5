//! Starting the roles of this process, asking them how they are, and stopping them in order. Wiring only.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use beffroi_bus::Bus;
use beffroi_bus::control::Control;
use beffroi_clickhouse_embedded::{Config as EngineConfig, Embedded, State};
use beffroi_detect::DetectHandle;
use beffroi_schema::health::RoleHealth;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Role};

/// How often the bus is asked whether it is there.
const BUS_CHECK_EVERY: Duration = Duration::from_secs(1);

/// Something that says how its roles are.
type Source = Box<dyn Fn() -> Vec<RoleHealth> + Send>;

/// How every role of the process is.
#[derive(Clone, Default)]
pub struct Health {
    sources: Arc<Mutex<Vec<Source>>>,
}

impl Health {
    fn add(&self, source: impl Fn() -> Vec<RoleHealth> + Send + 'static) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// Asks every role.
    pub fn all(&self) -> Vec<RoleHealth> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).iter().flat_map(|source| source()).collect()
    }
}

/// Everything that runs.
pub struct Running {
    bus: Bus,
    engine: Option<Arc<Embedded>>,
    gateway: Option<Arc<beffroi_gateway::Handle>>,
    detect: Option<Arc<DetectHandle>>,
    store: Option<Arc<beffroi_store::Handle>>,
    api: Option<Arc<beffroi_api::Handle>>,
}

impl Running {
    /// Where the gateway listens.
    pub fn gateway_address(&self) -> Option<std::net::SocketAddr> {
        self.gateway.as_ref().map(|gateway| gateway.address())
    }

    /// Where the API listens.
    pub fn api_address(&self) -> Option<std::net::SocketAddr> {
        self.api.as_ref().map(|api| api.address())
    }
}

/// Starts what the configuration names.
///
/// # Errors
/// What the first role that could not start says.
pub async fn start(mut config: Config, health: &Health, metrics: PrometheusHandle, stop: &CancellationToken) -> Result<Running> {
    let started = Arc::new(AtomicBool::new(false));
    let asked = started.clone();
    // Roles join one after the other: those that are there already must not make the process look ready.
    health.add(move || match asked.load(Ordering::Relaxed) {
        true => Vec::new(),
        false => vec![RoleHealth::not_ready("start", "roles are being started")],
    });
    let bus = Bus::open(config.bus.clone()).await?;
    watch_bus(bus.clone(), health, stop);
    let control = Control::start(bus.clone(), stop.clone()).await?;
    let engine = match config.clickhouse.embedded && (config.has(Role::Store) || config.has(Role::Api)) {
        true => Some(start_engine(&mut config, health).await?),
        false => None,
    };
    let mut running = Running { bus: bus.clone(), engine, gateway: None, detect: None, store: None, api: None };
    let roles = beffroi_gateway::Roles { ingest: config.has(Role::Gateway), enroll: config.has(Role::Enroll) };
    if roles.ingest || roles.enroll {
        let gateway = beffroi_gateway::start(config.gateway.clone(), roles, bus.clone(), control.clone(), stop.clone()).await?;
        let gateway = Arc::new(gateway);
        running.gateway = Some(gateway.clone());
        health.add(move || gateway.health());
    }
    if config.has(Role::Detect) {
        let detect = Arc::new(beffroi_detect::start(config.detect.clone(), bus.clone(), control.clone(), stop.clone()).await?);
        running.detect = Some(detect.clone());
        health.add(move || vec![detect.health()]);
    }
    if config.has(Role::Store) {
        let store = Arc::new(beffroi_store::start(config.store.clone(), bus.clone(), stop.clone())?);
        running.store = Some(store.clone());
        health.add(move || vec![store.health()]);
    }
    if config.has(Role::Api) {
        let store = match &running.store {
            Some(store) => store.store(),
            None => beffroi_store::Store::connect(&config.store)?,
        };
        let all = health.clone();
        let asked: Arc<dyn Fn() -> Vec<RoleHealth> + Send + Sync> = Arc::new(move || all.all());
        let certificate = api_certificate(&config, stop)?;
        let metrics: beffroi_api::Metrics = Arc::new(move || metrics.render());
        let sources = beffroi_api::Sources { store, bus, control, roles: asked, metrics: Some(metrics), certificate };
        let api = beffroi_api::start_with(config.api.clone(), sources, stop.clone()).await?;
        running.api = Some(Arc::new(api));
    }
    started.store(true, Ordering::Relaxed);
    Ok(running)
}

/// The certificate of the API: that of its settings, or one of the server CA where it must speak TLS and was given none.
fn api_certificate(config: &Config, stop: &CancellationToken) -> Result<Option<beffroi_api::Certificate>> {
    if let Some(files) = &config.api.tls {
        let read = beffroi_gateway::pki::provided_certificate(files.cert.clone(), files.key.clone(), stop.clone());
        return read.map(Some).context("the certificate of [api.tls] cannot be used");
    }
    if !config.api.needs_tls() {
        return Ok(None);
    }
    let made = beffroi_gateway::pki::own_certificate(&config.gateway, stop.clone());
    made.map(Some).with_context(|| {
        format!(
            "[api] listen = {} is no loopback address, so the API must speak TLS, and it can make no certificate here; set \
             tls = {{ cert, key }} under [api]",
            config.api.listen
        )
    })
}

async fn start_engine(config: &mut Config, health: &Health) -> Result<Arc<Embedded>> {
    let data = config.data.join("clickhouse");
    let secret = config.data.join("clickhouse.secret");
    let settings = EngineConfig {
        secret_file: Some(secret.clone()),
        library: config.clickhouse.library.clone(),
        user: config.clickhouse.user.clone().or_else(unprivileged_user),
        max_memory_mib: config.clickhouse.max_memory_mib,
        ..EngineConfig::new(data)
    };
    let engine = Arc::new(Embedded::spawn(settings).await.context("the embedded ClickHouse does not start")?);
    config.store.url = engine.url();
    config.store.user = engine.user().into();
    config.store.password_file = Some(secret);
    let state = engine.watch();
    health.add(move || vec![engine_health(&state.borrow())]);
    Ok(engine)
}

/// Whom the engine runs as when the collector is root and nobody was named: a user of its own where one exists.
fn unprivileged_user() -> Option<String> {
    if !nix::unistd::Uid::effective().is_root() {
        return None;
    }
    let known = |name: &&str| matches!(nix::unistd::User::from_name(name), Ok(Some(_)));
    ["beffroi-clickhouse", "nobody"].into_iter().find(known).map(str::to_string)
}

fn engine_health(state: &State) -> RoleHealth {
    match state {
        State::Ready { pid, restarts } => {
            RoleHealth::ready("clickhouse", "serving").figure("pid", pid).figure("restarts", restarts)
        }
        State::Starting => RoleHealth::not_ready("clickhouse", "starting"),
        State::Restarting { reason, .. } => {
            RoleHealth::not_ready("clickhouse", format!("it ended and is started again: {reason}"))
        }
        State::Stopped { reason } => RoleHealth::not_ready("clickhouse", reason.clone()),
    }
}

fn watch_bus(bus: Bus, health: &Health, stop: &CancellationToken) {
    let last = Arc::new(Mutex::new(RoleHealth::not_ready("bus", "not asked yet")));
    let said = last.clone();
    health.add(move || vec![said.lock().unwrap_or_else(PoisonError::into_inner).clone()]);
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            let now = match bus.check().await {
                Ok(()) => RoleHealth::ready("bus", "reachable").figure("id", bus.id()),
                Err(error) => RoleHealth::not_ready("bus", error.to_string()),
            };
            *last.lock().unwrap_or_else(PoisonError::into_inner) = now;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(BUS_CHECK_EVERY) => {}
            }
        }
    });
}

impl Running {
    /// Waits until every role has drained, in the way of the event, then stops the engine and closes the bus.
    /// `health` is emptied first: it shares the roles' handles.
    pub async fn join(self, health: &Health) {
        health.sources.lock().unwrap_or_else(PoisonError::into_inner).clear();
        if let Some(gateway) = self.gateway.and_then(Arc::into_inner) {
            gateway.join().await;
        }
        if let Some(detect) = self.detect.and_then(Arc::into_inner) {
            detect.join().await;
        }
        if let Some(api) = self.api.and_then(Arc::into_inner) {
            api.join().await;
        }
        if let Some(store) = self.store.and_then(Arc::into_inner) {
            store.join().await;
        }
        if let Some(engine) = self.engine.and_then(Arc::into_inner) {
            engine.stop().await;
        }
        self.bus.close().await;
    }
}
