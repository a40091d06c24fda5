//! What an operation may see: a [`Desk`], bound to the tenants of whoever asks.
//!
//! [`App`] owns store, bus and control state, and its fields are private to this module: an operation gets a `Desk` and
//! nothing else, every question of a `Desk` takes its tenants along, and so no operation can forget them.

mod state;
mod store;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use beffroi_bus::BusError;
use beffroi_bus::control::Loss;
use beffroi_schema::json::rfc3339;
use beffroi_store::TenantScope;
use http::StatusCode;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

pub(crate) use state::{HostLook, ScanLook};

use crate::audit;
use crate::auth::{AdminToken, Asker, Proof, TOKEN_PREFIX, token_hash};
use crate::error::Refusal;
use crate::params;
use crate::rate::{RateOptions, Rates};
use crate::service::Sources;

/// Large bodies that are read at once: each may take some 80 MiB until its order is given.
const LARGE_BODIES: usize = 2;

/// What all calls share.
pub(crate) struct App {
    sources: Sources,
    admin: AdminToken,
    rates: Rates,
    /// The control state has been read to its end at least once: revocations are known, not only creations.
    read_once: AtomicBool,
    /// When each personal token was used last; at most one entry for each that exists.
    used: Mutex<HashMap<String, i64>>,
    /// Held while an order is given: the same order twice at once must not go down twice.
    giving: tokio::sync::Mutex<()>,
    large: Semaphore,
    /// Calls in a row whose audit could not be written.
    pub(crate) audit_failures: AtomicU64,
    pub(crate) stop: CancellationToken,
    /// Answers go out over TLS of our own.
    pub(crate) tls: bool,
}

/// Nobody who is good now; whose token it was, where that is known.
#[derive(Debug)]
pub(crate) struct NotGood {
    pub(crate) refusal: Refusal,
    pub(crate) known: Option<Asker>,
}

impl App {
    pub(crate) fn new(sources: Sources, admin: AdminToken, rates: &RateOptions, stop: CancellationToken, tls: bool) -> Self {
        Self {
            sources,
            admin,
            rates: Rates::new(rates),
            read_once: AtomicBool::new(false),
            used: Mutex::default(),
            giving: tokio::sync::Mutex::default(),
            large: Semaphore::new(LARGE_BODIES),
            audit_failures: AtomicU64::new(0),
            stop,
            tls,
        }
    }

    /// Who holds this token.
    pub(crate) fn sign_in(&self, token: &str) -> Result<Asker, Box<NotGood>> {
        let nobody = |refusal| Box::new(NotGood { refusal, known: None });
        if self.admin.is(token) {
            return Ok(Asker::admin());
        }
        if !token.starts_with(TOKEN_PREFIX) {
            return Err(nobody(unknown_token()));
        }
        if !self.tokens_are_known() {
            return Err(nobody(not_read_yet()));
        }
        let hash = token_hash(token);
        let known = self.sources.control.read(|state| state.access().by_hash(&hash).map(Asker::of_token));
        let Some(asker) = known else { return Err(nobody(unknown_token())) };
        match self.standing(&asker) {
            Ok(()) => Ok(asker),
            Err(refusal) => Err(Box::new(NotGood { refusal, known: Some(asker) })),
        }
    }

    /// Whether somebody who was known is still good: a revocation acts at once, in open sessions as well.
    pub(crate) fn standing(&self, asker: &Asker) -> Result<(), Refusal> {
        let Proof::Token(id) = &asker.proof else { return Ok(()) };
        let now = params::now();
        let state = self.sources.control.read(|state| state.access().token(id).map(|token| (token.revoked, token.token.expires)));
        match state {
            None => Err(unknown_token()),
            Some((true, _)) => {
                let hint = "ask an admin why, or for a new one (`beffroi token create`)";
                Err(Refusal::unauthorized("token_revoked", "this token was revoked", hint))
            }
            Some((false, expires)) if now >= expires => {
                let error = format!("this token expired at {}", rfc3339(expires));
                Err(Refusal::unauthorized("token_expired", error, "ask an admin for a new one (`beffroi token create`)"))
            }
            Some(_) => {
                self.used().insert(id.clone(), now);
                Ok(())
            }
        }
    }

    fn tokens_are_known(&self) -> bool {
        if !self.read_once.load(Ordering::Relaxed) && self.sources.control.ready() {
            self.read_once.store(true, Ordering::Relaxed);
        }
        self.read_once.load(Ordering::Relaxed)
    }

    fn used(&self) -> std::sync::MutexGuard<'_, HashMap<String, i64>> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rates(&self) -> &Rates {
        &self.rates
    }

    /// Writes an audit record; returns once it is durable.
    pub(crate) async fn audit(&self, record: &audit::Record) -> Result<(), BusError> {
        audit::write(&self.sources.bus, record).await
    }

    /// Waits until there is room for a large body.
    pub(crate) async fn large_body(&self) -> Option<SemaphorePermit<'_>> {
        self.large.acquire().await.ok()
    }

    /// How the roles of this process stand.
    pub(crate) fn roles(&self) -> Vec<beffroi_schema::health::RoleHealth> {
        (self.sources.roles)()
    }

    /// Whether the control state is being read.
    pub(crate) fn control_ready(&self) -> bool {
        self.sources.control.ready()
    }
}

fn unknown_token() -> Refusal {
    let hint =
        "send the header Authorization: Bearer TOKEN; the admin token stands in the file that the server names at its start";
    Refusal::unauthorized("unauthorized", "no token that is known", hint)
}

fn not_read_yet() -> Refusal {
    let hint = "try again; `beffroi status` shows how the bus stands";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "the tokens have not been read from the bus yet", hint)
}

/// Where an operation does its work: bound to the tenants of whoever asks.
pub(crate) struct Desk<'a> {
    app: &'a App,
    asker: &'a Asker,
    tenants: TenantScope,
}

impl<'a> Desk<'a> {
    pub(crate) fn new(app: &'a App, asker: &'a Asker) -> Self {
        Self { app, asker, tenants: asker.reach() }
    }

    /// The same desk for one of its tenants; for another tenant it sees nothing. No name changes nothing.
    #[must_use]
    pub(crate) fn narrowed(&self, tenant: Option<&str>) -> Self {
        let tenants = match tenant.filter(|tenant| !tenant.is_empty()) {
            Some(tenant) => self.tenants.narrowed(tenant),
            None => self.tenants.clone(),
        };
        Self { app: self.app, asker: self.asker, tenants }
    }

    /// Who asks.
    pub(crate) fn asker(&self) -> &Asker {
        self.asker
    }

    /// Whether this tenant is one of the asker's.
    pub(crate) fn allows(&self, tenant: &str) -> bool {
        self.tenants.allows(tenant)
    }

    /// Waits until nobody else gives an order; until the guard is dropped nobody else can.
    pub(crate) async fn giving(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.app.giving.lock().await
    }

    /// The API stops.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.app.stop
    }
}

/// What a change that did not win is answered with.
pub(crate) fn lost(why: &Loss, hint: &str) -> Refusal {
    Refusal::lost(why, hint)
}
