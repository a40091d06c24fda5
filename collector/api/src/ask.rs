//! The one way to ask: every call of the HTTP API and of the console goes through [`ask`].
//!
//! ```text
//! ask::<operation>(&app, &caller, input) -> Result<answer, Refusal>
//!     standing -> scope -> rate -> input -> the operation at a desk bound to the caller's tenants -> audit -> answer
//! ```
//!
//! What holds for every operation, because none can be run otherwise: whoever asks is known and still good, may do this,
//! does not do it too often; the operation sees a [`Desk`] and so only rows of the caller's tenants; the audit record is
//! durable before the answer goes out (no audit, no answer; except for the collector's own state, see [`OWN_AUDIT_WAIT`]).

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::response::{IntoResponse, Response};
use beffroi_schema::control::ApiScope;
use http::StatusCode;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit;
use crate::auth::Asker;
use crate::desk::{App, Desk};
use crate::error::Refusal;
use crate::params;
use crate::rate::Class;

/// Longest call: a question may take 25 s, a long poll as long.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);
/// How long an answer about the collector itself waits for its audit. It shows nothing of any host, and it is needed most
/// when the bus is away.
const OWN_AUDIT_WAIT: Duration = Duration::from_secs(1);

/// Which tenants' rows an operation touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Rows of the asker's tenants, and no others.
    Tenants,
    /// No rows of any tenant: the asker, or the collector itself.
    Nobody,
    /// Figures over all tenants: only for askers who see every tenant.
    Every,
}

impl Reach {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tenants => "own",
            Self::Nobody => "none",
            Self::Every => "every",
        }
    }
}

/// HTTP method of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// One line of the table of routes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    pub(crate) verb: Verb,
    /// Path with its parameters in braces.
    pub(crate) path: &'static str,
    /// Name in the audit and in the API's document.
    pub(crate) name: &'static str,
    /// Least scope.
    pub(crate) scope: ApiScope,
    pub(crate) reach: Reach,
    pub(crate) class: Class,
    pub(crate) summary: &'static str,
}

/// Its line in the table; written by the table alone.
pub(crate) trait Declared {
    const ROUTE: Route;
}

/// Something that can be asked for.
pub(crate) trait Operation: Declared + 'static {
    /// What it takes: parameters of path and query, and the body, as one.
    type Input: DeserializeOwned + Serialize + JsonSchema + Send;
    /// What it answers.
    type Answer: Serialize + JsonSchema + Send;
    /// Largest body.
    const MAX_BODY: usize = 300 * 1024;
    /// About the collector itself: answered even when the audit cannot be written.
    const OWN_STATE: bool = false;

    /// Does it.
    fn run(desk: &Desk<'_>, input: Self::Input) -> impl Future<Output = Result<Self::Answer, Refusal>> + Send;

    /// Rows in an answer, for the audit.
    fn rows(answer: &Self::Answer) -> u64;

    /// Status of an answer.
    fn status(_answer: &Self::Answer) -> StatusCode {
        StatusCode::OK
    }

    /// What the audit keeps of the input.
    fn audited(input: &Self::Input) -> serde_json::Value {
        serde_json::to_value(input).unwrap_or_default()
    }

    /// The answer over HTTP.
    fn respond(answer: Self::Answer) -> Response {
        (Self::status(&answer), axum::Json(answer)).into_response()
    }
}

/// One call: who asks, from where, through which door, why.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) asker: Asker,
    /// Peer address.
    pub(crate) remote: String,
    /// `api` or `console`.
    pub(crate) door: &'static str,
    /// HTTP method, path and query string as they came.
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    /// Why, in the asker's words; empty where nothing was said.
    pub(crate) reason: String,
}

impl Caller {
    /// The beginning of the call's audit record.
    pub(crate) fn record(&self, operation: &str) -> audit::Record {
        audit::Record {
            ts: params::now(),
            by: self.asker.name.clone(),
            token_id: self.asker.proof.id().to_owned(),
            scope: self.asker.scope.name(),
            tenants: self.asker.tenants.clone(),
            remote: self.remote.clone(),
            door: self.door,
            operation: operation.to_owned(),
            method: self.method.clone(),
            path: audit::text(&self.path),
            query: audit::text(&self.query),
            reason: audit::text(&self.reason),
            ..audit::Record::default()
        }
    }
}

/// Asks.
///
/// # Errors
/// The refusal that whoever asks is to see; it stands in the audit as well.
pub(crate) async fn ask<O: Operation>(app: &App, caller: &Caller, input: O::Input) -> Result<O::Answer, Refusal> {
    ask_reading::<O>(app, caller, async { Ok(input) }).await
}

/// Asks with an input that is read only once it is clear that the caller may ask.
pub(crate) async fn ask_reading<O: Operation>(
    app: &App,
    caller: &Caller,
    reading: impl Future<Output = Result<O::Input, Refusal>>,
) -> Result<O::Answer, Refusal> {
    let started = Instant::now();
    let mut record = caller.record(O::ROUTE.name);
    let work = async {
        admit(app, &caller.asker, &O::ROUTE)?;
        let input = reading.await?;
        let asked = O::audited(&input);
        record.tenant = asked.get("tenant").and_then(|tenant| tenant.as_str()).map(audit::text).unwrap_or_default();
        record.asked = audit::asked(asked);
        O::run(&Desk::new(app, &caller.asker), input).await
    };
    let answer = match tokio::time::timeout(CALL_TIMEOUT, work).await {
        Ok(answer) => answer,
        Err(_) => {
            let hint = "ask for a shorter time or fewer hosts";
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the call took longer than 40 s", hint))
        }
    };
    match &answer {
        Ok(answer) => (record.status, record.rows) = (O::status(answer).as_u16(), O::rows(answer)),
        Err(refusal) => (record.status, record.code) = (refusal.status.as_u16(), refusal.body.code.clone()),
    }
    finish(app, record, O::ROUTE.path, started, O::OWN_STATE).await.and(answer)
}

/// Whether this asker may do this, now.
fn admit(app: &App, asker: &Asker, route: &Route) -> Result<(), Refusal> {
    app.standing(asker)?;
    app.rates().person(asker.proof.id(), route.class)?;
    if asker.scope < route.scope {
        let error = format!("your token has the scope {}, this needs {}", asker.scope.name(), route.scope.name());
        return Err(Refusal::forbidden("scope", error, "ask somebody who may, or an admin for another token"));
    }
    if route.reach == Reach::Every && !asker.sees_all() {
        let error = "this shows figures over all tenants, and your token does not see all of them";
        return Err(Refusal::forbidden("tenant", error, "use a token for every tenant (*)"));
    }
    Ok(())
}

/// Audits a call that came to no operation: a path that is none, a token that is no longer good.
pub(crate) async fn refused(app: &App, caller: &Caller, refusal: Refusal) -> Refusal {
    let mut record = caller.record("");
    (record.status, record.code) = (refusal.status.as_u16(), refusal.body.code.clone());
    match finish(app, record, "none", Instant::now(), false).await {
        Ok(()) => refusal,
        Err(withheld) => withheld,
    }
}

/// Measures and audits.
async fn finish(
    app: &App,
    mut record: audit::Record,
    route: &'static str,
    started: Instant,
    own_state: bool,
) -> Result<(), Refusal> {
    record.ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    metrics::histogram!("beffroi_api_request_seconds", "route" => route).record(started.elapsed().as_secs_f64());
    metrics::counter!("beffroi_api_requests_total", "route" => route, "status" => record.status.to_string()).increment(1);
    if own_state {
        audit_if_possible(app, &record).await;
        return Ok(());
    }
    match app.audit(&record).await {
        Ok(()) => {
            app.audit_failures.store(0, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => {
            app.audit_failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "a call could not be audited: its answer is withheld");
            let hint = "try again; a change may have been made all the same: look before you repeat it";
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "audit", "the call could not be audited", hint))
        }
    }
}

/// Audits a call that is answered either way.
async fn audit_if_possible(app: &App, record: &audit::Record) {
    let why = match tokio::time::timeout(OWN_AUDIT_WAIT, app.audit(record)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", OWN_AUDIT_WAIT.as_secs()),
    };
    tracing::warn!(path = record.path, by = record.by, why, "a question about the collector itself stands in no audit");
}
