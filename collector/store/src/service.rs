//! The store as a role: connects, migrates, runs one pipeline a topic, looks for holes, tells how it stands.
//!
//! ClickHouse absent at start is no failure: the role stays not ready and keeps trying; the bus keeps what comes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beffroi_bus::Bus;
use beffroi_schema::health::RoleHealth;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::database::Database;
use crate::error::StoreError;
use crate::feeds::Feed;
use crate::migrate::migrate;
use crate::options::Options;
use crate::pipeline::Pipeline;
use crate::query::Store;
use crate::scope::TenantScope;
use crate::status::FeedStatus;

/// Longest wait between attempts to reach ClickHouse at start.
const CONNECT_LAST: Duration = Duration::from_secs(5);
/// How often holes are looked for. With the grace of a hole (30 s) one is found within 60 s.
const HOLES_EVERY: Duration = Duration::from_secs(15);
/// Every how many of these rounds conflicting identities are looked for: a minute.
const CONFLICTS_EVERY: u64 = 4;
/// How often ClickHouse is asked whether it is there, so that health tells the truth also when nothing is to be stored.
const PING_EVERY: Duration = Duration::from_secs(2);

/// What the start has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Connecting(String),
    Refused(String),
    Running,
}

struct Shared {
    phase: Mutex<Phase>,
    feeds: Vec<(Feed, Arc<FeedStatus>)>,
    holes: Mutex<Option<usize>>,
    /// Why ClickHouse does not answer.
    away: Mutex<Option<String>>,
}

/// The running role.
pub struct Handle {
    shared: Arc<Shared>,
    store: Store,
    task: tokio::task::JoinHandle<()>,
}

/// Starts the role. Returns at once: ClickHouse may come later.
///
/// # Errors
/// [`StoreError::Options`] or [`StoreError::Password`].
pub fn start(options: Options, bus: Bus, shutdown: CancellationToken) -> Result<Handle, StoreError> {
    let store = Store::connect(&options)?;
    let feeds = Feed::ALL.iter().map(|feed| (*feed, Arc::default())).collect();
    let phase = Mutex::new(Phase::Connecting("not asked yet".into()));
    let shared = Arc::new(Shared { phase, feeds, holes: Mutex::new(None), away: Mutex::new(None) });
    let task = tokio::spawn(run(options, bus, store.clone(), Arc::clone(&shared), shutdown));
    Ok(Handle { shared, store, task })
}

async fn run(options: Options, bus: Bus, store: Store, shared: Arc<Shared>, stop: CancellationToken) {
    if !connect(&options, store.database(), &shared, &stop).await {
        return;
    }
    shared.set(Phase::Running);
    let mut tasks = JoinSet::new();
    for (feed, status) in &shared.feeds {
        let pipeline = Pipeline {
            feed: *feed,
            bus: bus.clone(),
            database: store.database().clone(),
            options: options.clone(),
            status: Arc::clone(status),
            stop: stop.clone(),
        };
        tasks.spawn(pipeline.run());
    }
    tasks.spawn(watch_clickhouse(store.clone(), Arc::clone(&shared), stop.clone()));
    tasks.spawn(watch_holes(store, Arc::clone(&shared), stop));
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a task of the store ended: health says not ready until a restart");
            shared.set(Phase::Refused(format!("a task ended: {error}; restart the collector and report this")));
        }
    }
}

/// Reaches ClickHouse and migrates; false when stopped before.
async fn connect(options: &Options, database: &Database, shared: &Shared, stop: &CancellationToken) -> bool {
    let mut wait = Duration::from_millis(100);
    loop {
        match migrate(database, options).await {
            Ok(()) => return true,
            Err(error @ StoreError::Migration { .. }) => {
                tracing::error!(%error, "the store cannot use this database");
                shared.set(Phase::Refused(error.to_string()));
            }
            Err(error) => {
                tracing::warn!(%error, wait_ms = wait.as_millis() as u64, "the store waits for ClickHouse");
                shared.set(Phase::Connecting(error.to_string()));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(CONNECT_LAST),
            () = stop.cancelled() => return false,
        }
    }
}

async fn watch_clickhouse(store: Store, shared: Arc<Shared>, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let away = store.check().await.err().map(|error| error.to_string());
        *shared.away.lock().unwrap_or_else(PoisonError::into_inner) = away;
        tokio::select! {
            () = tokio::time::sleep(PING_EVERY) => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn watch_holes(store: Store, shared: Arc<Shared>, stop: CancellationToken) {
    for round in 0u64.. {
        tokio::select! {
            () = tokio::time::sleep(HOLES_EVERY) => {}
            () = stop.cancelled() => return,
        }
        match store.holes(&TenantScope::all(), None, None).await {
            Ok(holes) => {
                metrics::gauge!("beffroi_store_undeclared_holes").set(holes.len() as f64);
                let before = shared.holes.lock().unwrap_or_else(PoisonError::into_inner).replace(holes.len());
                if holes.len() > before.unwrap_or(0) {
                    let first = &holes[0];
                    tracing::error!(
                        holes = holes.len(),
                        agent = first.agent_id,
                        stream = first.stream,
                        from = first.first_seq,
                        to = first.last_seq,
                        "records are missing that no agent declared lost"
                    );
                }
            }
            Err(error) => tracing::debug!(%error, "cannot look for holes now"),
        }
        if round % CONFLICTS_EVERY == 0 {
            watch_conflicts(&store).await;
        }
    }
}

async fn watch_conflicts(store: &Store) {
    match store.conflicts(&TenantScope::all()).await {
        Ok(conflicts) => {
            metrics::gauge!("beffroi_store_identity_conflicts").set(conflicts.len() as f64);
            if let Some(first) = conflicts.first() {
                tracing::error!(
                    conflicts = conflicts.len(),
                    event_id = first.event_id,
                    "one event id stands for different contents"
                );
            }
        }
        Err(error) => tracing::debug!(%error, "cannot look for conflicting identities now"),
    }
}

impl Shared {
    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

impl Handle {
    /// The named questions.
    pub fn store(&self) -> Store {
        self.store.clone()
    }

    /// Whether rows can be stored now, and why not.
    pub fn health(&self) -> RoleHealth {
        let phase = self.shared.phase.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let health = match phase {
            Phase::Connecting(why) | Phase::Refused(why) => return RoleHealth::not_ready("store", why),
            Phase::Running => self.running(),
        };
        let holes = *self.shared.holes.lock().unwrap_or_else(PoisonError::into_inner);
        health.figure("undeclared_holes", holes.map_or("not looked yet".into(), |holes| holes.to_string()))
    }

    fn running(&self) -> RoleHealth {
        let mut troubles: Vec<String> = self.shared.away.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let mut figures = Vec::new();
        for (feed, status) in &self.shared.feeds {
            let standing = status.standing();
            let topic = feed.topic().name();
            troubles.extend(standing.bus.map(|why| format!("{topic}: {why}")));
            troubles.extend(standing.clickhouse.map(|why| format!("{topic}: {why}")));
            figures.push((format!("{topic}_rows"), standing.rows.to_string()));
            if standing.last_batch > 0 {
                figures.push((format!("{topic}_last_batch"), beffroi_schema::json::rfc3339(standing.last_batch)));
                figures.push((format!("{topic}_last_batch_ms"), standing.last_took.as_millis().to_string()));
            }
        }
        let mut health = match troubles.is_empty() {
            true => RoleHealth::ready("store", "rows stand"),
            false => RoleHealth::not_ready("store", troubles.join("; ")),
        };
        health.figures = figures;
        health
    }

    /// Waits until the role has stopped, after its token was cancelled.
    pub async fn join(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the store ended badly");
        }
    }
}
