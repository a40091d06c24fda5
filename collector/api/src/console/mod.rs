//! The console: pages for people, rendered here, at `/` of the API's listener.
//!
//! What holds:
//! - A page asks through the same operations as the HTTP API ([`crate::ask`]), as whoever is signed in: scope, tenants,
//!   rate limits and audit hold for it as they do there. It has no other way to any row.
//! - No script: everything works without JavaScript, and the policy of every answer lets nothing run, load or send
//!   anything elsewhere.
//! - Text from endpoints is hostile; the templates have one escaper ([`visible`]), which shows what would hide.
//! - Sign-in exchanges a token for a session in memory ([`session`]); every form carries a proof ([`login`]).
//! - French and English by tables ([`text`]), times in UTC.
//!
//! With the store away, the status page still answers; other pages say so in words.

mod assets;
mod frame;
mod login;
mod pages;
mod query;
mod session;
mod text;
mod visible;
mod web;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};
use http::{Method, StatusCode, header};
use tower::ServiceExt;

use self::pages::{alert, alerts, hosts, scans, status};
use self::session::Sessions;
use self::web::{Console, Shared, Visit};
use crate::desk::App;
use crate::error::Refusal;

/// Largest form: a token and two short values.
const MAX_FORM: usize = 8 * 1024;

/// The console before the API: pages and assets are answered here, everything else goes on to the API.
pub(crate) fn before(app: Arc<App>, api: Router) -> Router {
    let console: Shared = Arc::new(Console { app, sessions: Sessions::default() });
    let lost = Router::new().fallback(nowhere).layer(from_fn_with_state(Arc::clone(&console), web::guard));
    let beyond = move |request: Request| {
        let next = if wants_page(&request) { lost.clone() } else { api.clone() };
        async move { next.oneshot(request).await.unwrap_or_else(|never| match never {}) }
    };
    pages(console).route("/assets/{mark}/{name}", get(assets::serve)).fallback(beyond)
}

fn pages(console: Shared) -> Router {
    Router::new()
        .route("/", get(alerts::home))
        .route("/login", get(login::form).post(login::sign_in))
        .route("/logout", post(login::sign_out))
        .route("/alerts", get(alerts::list))
        .route("/alerts/{id}", get(alert::show))
        .route("/alerts/{id}/around", get(alert::show_around))
        .route("/hosts", get(hosts::list))
        .route("/hosts/{id}", get(hosts::one))
        .route("/scans", get(scans::list))
        .route("/scans/{id}", get(scans::one))
        .route("/status", get(status::show))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_FORM))
        .layer(from_fn_with_state(Arc::clone(&console), web::guard))
        .with_state(console)
}

/// A person with a browser who followed a wrong link; programs and whoever shows a token get the API's answer.
fn wants_page(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let of_api = ["/v1", "/metrics", "/healthz", "/readyz"].iter().any(|path| request.uri().path().starts_with(path));
    let shows_token = request.headers().contains_key(header::AUTHORIZATION);
    request.method() == Method::GET && accept.contains("text/html") && !of_api && !shows_token
}

async fn nowhere(visit: Visit) -> Response {
    visit.error(&Refusal::new(StatusCode::NOT_FOUND, "no_route", "there is nothing at this path", "begin with /alerts"))
}

async fn wrong_method(visit: Visit) -> Response {
    visit.error(&Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "no_route", "this page does not take this method", "load it again"))
}
