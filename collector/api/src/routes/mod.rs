//! The routes, and what stands before every one of them: token, limits, audit.

mod alerts;
mod enroll;
mod events;
mod hosts;
mod operations;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, FromRequestParts, MatchedPath, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use beffroi_store::TenantScope;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::audit;
use crate::auth::Asker;
use crate::error::Refusal;
use crate::params;
use crate::service::App;

/// Largest body: 32 filters of 8 KiB each are the most that a search takes.
const MAX_BODY_BYTES: usize = 300 * 1024;
/// Longest path and query.
const MAX_URI_BYTES: usize = 8 * 1024;
/// Longest call: a question may take 25 s, a long poll as long.
const CALL_TIMEOUT: Duration = Duration::from_secs(40);

/// How long an answer about the collector itself waits for its audit.
const OWN_AUDIT_WAIT: Duration = Duration::from_secs(1);
/// Calls about the collector itself. They show nothing of any host, and they are needed most when the bus is away.
const OWN_STATE: [&str; 2] = ["/v1/status", "/metrics"];

type Shared = Arc<App>;

pub(crate) fn router(app: Shared) -> Router {
    let asked = Router::new()
        .route("/v1/alerts", get(alerts::list))
        .route("/v1/alerts/tail", get(alerts::tail))
        .route("/v1/alerts/{id}", get(alerts::show))
        .route("/v1/alerts/{id}/around", get(alerts::around))
        .route("/v1/events/search", post(events::search))
        .route("/v1/processes/{guid}/tree", get(events::tree))
        .route("/v1/hosts", get(hosts::list))
        .route("/v1/hosts/{id}", get(hosts::show))
        .route("/v1/hosts/{id}/revoke", post(hosts::revoke))
        .route("/v1/enroll/tokens", post(enroll::create).get(enroll::list))
        .route("/v1/enroll/tokens/{id}", delete(enroll::revoke).get(enroll::show))
        .route("/v1/gaps", get(operations::gaps))
        .route("/v1/status", get(operations::status))
        .route("/metrics", get(operations::metrics))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), guard));
    Router::new().route("/healthz", get(operations::alive)).route("/readyz", get(operations::ready)).merge(asked).with_state(app)
}

async fn unknown() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "no_route", "there is nothing at this path", "see the API's documentation for the paths")
}

async fn wrong_method() -> Refusal {
    let hint = "see the API's documentation for the methods";
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this path does not take this method", hint)
}

/// Token first, then limits, then the call, then the audit, then the answer. Only questions about the collector itself are
/// answered without their audit when the bus does not take it.
async fn guard(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let Some(asker) = app.tokens.asker(request.headers()).cloned() else {
        metrics::counter!("beffroi_api_unauthorized_total").increment(1);
        let hint =
            "send the header Authorization: Bearer TOKEN; the admin token stands in the file that the server names at its start";
        return Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "no token that is known", hint).into_response();
    };
    let mut record = audit::Record {
        ts: params::now(),
        by: asker.name.clone(),
        remote: request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.to_string()).unwrap_or_default(),
        method: request.method().to_string(),
        path: audit::query(Some(request.uri().path())),
        query: audit::query(request.uri().query()),
        body: String::new(),
        status: 0,
        ms: 0,
    };
    let route = request.extensions().get::<MatchedPath>().map_or("none".to_owned(), |path| path.as_str().to_owned());
    let own_state = OWN_STATE.contains(&route.as_str());
    let response = call(asker, request, next, &mut record.body).await;
    record.status = response.status().as_u16();
    record.ms = started.elapsed().as_millis() as u64;
    metrics::counter!("beffroi_api_requests_total", "route" => route.clone(), "status" => record.status.to_string()).increment(1);
    metrics::histogram!("beffroi_api_request_seconds", "route" => route).record(started.elapsed().as_secs_f64());
    if own_state {
        audit_if_possible(&app, &record).await;
        return response;
    }
    match audit::write(&app.sources.bus, &record).await {
        Ok(()) => {
            app.audit_failures.store(0, Ordering::Relaxed);
            response
        }
        Err(error) => {
            app.audit_failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!(%error, "a call could not be audited: its answer is withheld");
            let hint = "try again; a change may have been made all the same: look before you repeat it";
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "audit", "the call could not be audited", hint).into_response()
        }
    }
}

/// Audits a call that is answered either way.
async fn audit_if_possible(app: &App, record: &audit::Record) {
    let why = match tokio::time::timeout(OWN_AUDIT_WAIT, audit::write(&app.sources.bus, record)).await {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {} s", OWN_AUDIT_WAIT.as_secs()),
    };
    tracing::warn!(path = record.path, by = record.by, why, "a question about the collector itself stands in no audit");
}

async fn call(asker: Asker, request: Request, next: Next, audited: &mut String) -> Response {
    if request.uri().path_and_query().is_some_and(|text| text.as_str().len() > MAX_URI_BYTES) {
        let refusal =
            Refusal::new(StatusCode::URI_TOO_LONG, "too_large", "path and query are longer than 8 KiB", "ask for less at once");
        return refusal.into_response();
    }
    let work = async {
        let (mut parts, body) = request.into_parts();
        let body = match collect(body).await {
            Ok(body) => body,
            Err(refusal) => return refusal.into_response(),
        };
        *audited = audit::body(&body);
        parts.extensions.insert(asker);
        next.run(Request::from_parts(parts, Body::from(body))).await
    };
    match tokio::time::timeout(CALL_TIMEOUT, work).await {
        Ok(response) => response,
        Err(_) => {
            let hint = "ask for a shorter time or fewer hosts";
            Refusal::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "the call took longer than 40 s", hint).into_response()
        }
    }
}

async fn collect(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let error = format!("the body is larger than {MAX_BODY_BYTES} bytes");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error, "ask with fewer or shorter filters"))
        }
        Err(_) => Err(Refusal::bad("the body broke off", "send it again")),
    }
}

/// Who asks, for handlers. There only behind [`guard`]; elsewhere a call is refused rather than answered unscoped.
pub(crate) struct By(pub(crate) Asker);

impl By {
    /// The asker's scope, narrowed to a tenant when one is named.
    fn scope(&self, tenant: Option<&str>) -> TenantScope {
        match tenant.filter(|tenant| !tenant.is_empty()) {
            Some(tenant) => self.0.scope.narrowed(tenant),
            None => self.0.scope.clone(),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for By {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut http::request::Parts, _state: &S) -> Result<Self, Refusal> {
        let asker = parts.extensions.get::<Asker>().cloned().map(By);
        asker.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", "nobody asks", "send a token"))
    }
}

/// A query string, refused in our words.
struct Params<T>(T);

impl<S: Sync, T: serde::de::DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut http::request::Parts, _state: &S) -> Result<Self, Refusal> {
        let read = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        read.map(|query| Self(query.0))
            .map_err(|error| Refusal::bad(format!("a parameter is wrong: {}", error.body_text()), "see the API's documentation"))
    }
}

/// A JSON body, refused in our words.
fn body<T: serde::de::DeserializeOwned>(bytes: &Bytes) -> Result<T, Refusal> {
    serde_json::from_slice(bytes)
        .map_err(|error| Refusal::bad(format!("the body is not what this call takes: {error}"), "send JSON"))
}
