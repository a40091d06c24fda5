//! `/metrics`, `/healthz` and `/readyz` of this process. Ready means that every role can do its work now.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Json;
use axum::routing::get;
use beffroi_schema::health::RoleHealth;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::roles::Health;

/// Between two looks at the roles, and between two drains of the summaries' samples: until they are drained they grow with every
/// record, whether somebody scrapes or not.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Shared {
    metrics: PrometheusHandle,
    health: Health,
}

/// Installs the metrics recorder; call once, before any role starts.
///
/// # Errors
/// When a recorder is installed already.
pub fn install() -> Result<PrometheusHandle> {
    PrometheusBuilder::new().install_recorder().context("the metrics recorder")
}

/// Serves until `stop`; returns the bound address.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(listen: SocketAddr, metrics: PrometheusHandle, health: Health, stop: CancellationToken) -> Result<SocketAddr> {
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("[observe] listen = {listen}: cannot listen there"))?;
    let address = listener.local_addr()?;
    tokio::spawn(upkeep(metrics.clone(), health.clone(), stop.clone()));
    let routes = axum::Router::new()
        .route("/metrics", get(|State(shared): State<Shared>| async move { shared.metrics.render() }))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .with_state(Shared { metrics, health });
    tokio::spawn(async move {
        let served = axum::serve(listener, routes).with_graceful_shutdown(async move { stop.cancelled().await });
        if let Err(error) = served.await {
            tracing::error!(%error, "metrics and health are no longer served");
        }
    });
    Ok(address)
}

/// Keeps the metrics in bounds, and tells them how the roles are.
async fn upkeep(metrics: PrometheusHandle, health: Health, stop: CancellationToken) {
    loop {
        for role in health.all() {
            let ready = if role.ready { 1.0 } else { 0.0 };
            metrics::gauge!("beffroi_role_ready", "role" => role.role).set(ready);
        }
        metrics.run_upkeep();
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPKEEP_EVERY) => {}
        }
    }
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, Json<Vec<RoleHealth>>) {
    let roles = shared.health.all();
    let status = if roles.iter().all(|role| role.ready) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(roles))
}
