//! `POST /v1/batches`: one batch from an agent to the bus, verbatim, acknowledged when the bus has it.
//!
//! Who sends is known from the certificate; the batch's clear header must say the same, else the batch is refused and
//! nothing is published. Signature, chain and body are not looked at here. On failure the agent keeps its batch and
//! sends it again: a batch may reach the bus twice, never not at all after a 202.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Extension, Request, State};
use axum::response::{IntoResponse, Response};
use beffroi_bus::{Bus, BusError, Outgoing, Topic};
use beffroi_schema::batch::{BatchError, Envelope, Header};
use beffroi_schema::ids::AgentId;
use beffroi_schema::limits::MAX_BATCH_BYTES;
use beffroi_schema::wire;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, StatusCode, header};

use crate::directory::{Directory, Standing};
use crate::identity::Identity;
use crate::inflight::{InFlight, Place};
use crate::options::{LimitOptions, QuotaOptions};
use crate::quota::{Buckets, Rate};
use crate::refuse::Refusal;
use crate::serve::Peer;
use crate::{body, clock};

/// Until the bus must have taken a batch: longer than its own deadline, so that this one only catches a hang.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);
/// What an agent waits while the bus is away.
const BUS_WAIT: Duration = Duration::from_secs(10);

/// Where batches go.
pub(crate) trait EventSink: Send + Sync {
    fn publish(&self, record: Outgoing) -> BoxFuture<'static, Result<(), BusError>>;
}

impl EventSink for Bus {
    fn publish(&self, record: Outgoing) -> BoxFuture<'static, Result<(), BusError>> {
        let bus = self.clone();
        Box::pin(async move { Bus::publish(&bus, Topic::Events, record).await.map(drop) })
    }
}

/// The ingest role.
pub(crate) struct Ingest {
    sink: Arc<dyn EventSink>,
    directory: Directory,
    agents: Buckets<AgentId, 2>,
    tenants: Buckets<String, 2>,
    in_flight: InFlight,
    gateway: String,
}

impl Ingest {
    pub(crate) fn new(
        sink: Arc<dyn EventSink>,
        directory: Directory,
        limits: &LimitOptions,
        quota: &QuotaOptions,
        gateway: String,
    ) -> Self {
        let rate = |per_second: u64, burst: u64| Rate { per_second: per_second as f64, burst: burst as f64 };
        Self {
            sink,
            directory,
            agents: Buckets::new([
                rate(quota.agent_bytes_per_second, quota.agent_burst_bytes),
                rate(quota.agent_batches_per_second, quota.agent_burst_batches),
            ]),
            tenants: Buckets::new([
                rate(quota.tenant_bytes_per_second, quota.tenant_burst_bytes),
                rate(quota.tenant_batches_per_second, quota.tenant_burst_batches),
            ]),
            in_flight: InFlight::new(limits.in_flight_bytes),
            gateway,
        }
    }

    pub(crate) fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The key that this agent was enrolled with.
    fn enrolled_key(&self, identity: &Identity) -> Result<[u8; 32], Refusal> {
        match self.directory.standing(identity.agent)? {
            Standing::Unknown => Err(Refusal::unknown_agent()),
            Standing::Revoked => Err(Refusal::revoked()),
            Standing::Enrolled { public_key } => Ok(public_key),
        }
    }

    fn charge(&self, identity: &Identity, bytes: usize) -> Result<(), Refusal> {
        let (cost, now) = ([bytes as f64, 1.0], Instant::now());
        self.agents.charge(&identity.agent, cost, now).map_err(|wait| over_quota("this host sends", wait))?;
        self.tenants.charge(&identity.tenant, cost, now).map_err(|wait| {
            self.agents.refund(&identity.agent, cost);
            over_quota("this host's tenant sends", wait)
        })
    }

    /// Publishes in a task of its own: the memory is given back when the bus is done with it, not when the agent hangs up.
    async fn publish(&self, record: Outgoing, place: Place) -> Result<(), Refusal> {
        let published = self.sink.publish(record);
        let task = tokio::spawn(async move {
            let published = published.await;
            drop(place);
            published
        });
        let why = match tokio::time::timeout(PUBLISH_TIMEOUT, task).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(error)) => format!("the publishing task ended: {error}"),
            Err(_) => format!("no answer in {} s", PUBLISH_TIMEOUT.as_secs()),
        };
        tracing::error!(error = why, "a batch could not be published");
        let hint = "keep the batch and try again later; an operator should look at the bus (`beffroi status`)";
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "bus_unavailable", "the bus does not take batches now", hint)
            .after(BUS_WAIT))
    }
}

/// The handler.
pub(crate) async fn batches(
    State(ingest): State<Arc<Ingest>>,
    Extension(peer): Extension<Peer>,
    request: Request,
) -> Result<Response, Refusal> {
    let identity = peer.identity.clone().ok_or_else(Refusal::no_certificate)?;
    let public_key = ingest.enrolled_key(&identity)?;
    check_content_type(request.headers())?;
    let announced = body::announced(request.headers(), MAX_BATCH_BYTES)?;
    let place = ingest.in_flight.reserve(identity.agent, announced)?;
    ingest.charge(&identity, announced)?;
    let batch = body::read(request.into_body(), announced, MAX_BATCH_BYTES).await?;
    let header = Envelope::parse(&batch).map_err(|error| unreadable(&error))?.header;
    check_header(&header, &identity, &public_key, &peer)?;
    let bytes = batch.len();
    let started = Instant::now();
    ingest.publish(record(batch, &identity, &peer, &ingest.gateway), place).await?;
    metrics::histogram!("beffroi_gateway_publish_seconds").record(started.elapsed().as_secs_f64());
    metrics::counter!("beffroi_gateway_batches_total", "stream" => header.stream.name()).increment(1);
    metrics::counter!("beffroi_gateway_bytes_total").increment(bytes as u64);
    Ok((StatusCode::ACCEPTED, axum::Json(serde_json::json!({"accepted": true}))).into_response())
}

fn record(batch: Bytes, identity: &Identity, peer: &Peer, gateway: &str) -> Outgoing {
    Outgoing::new(identity.agent.to_string(), batch)
        .header(wire::HEADER_RECEIVED_AT, clock::now_us().to_string())
        .header(wire::HEADER_TENANT, identity.tenant.as_str())
        .header(wire::HEADER_REMOTE, peer.remote.to_string())
        .header(wire::HEADER_GATEWAY, gateway)
        .header(wire::HEADER_CONTENT_TYPE, wire::CONTENT_TYPE_BATCH)
}

fn check_content_type(headers: &HeaderMap) -> Result<(), Refusal> {
    if headers.get(header::CONTENT_TYPE).is_some_and(|value| value == wire::CONTENT_TYPE_BATCH) {
        return Ok(());
    }
    let hint = format!("send batches as {}", wire::CONTENT_TYPE_BATCH);
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "content_type", "another content type was expected", hint))
}

fn unreadable(error: &BatchError) -> Refusal {
    match error {
        BatchError::TooLarge { .. } => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", error.to_string(), "split the batch and send the parts")
        }
        BatchError::Version { .. } => {
            let hint = "upgrade the older of the two: the collector reads two versions back and one ahead";
            Refusal::new(StatusCode::BAD_REQUEST, error.code(), error.to_string(), hint)
        }
        _ => Refusal::malformed(error.to_string(), "the batch is damaged: put it aside and send the next"),
    }
}

/// The clear header must name whom the certificate names; anything else is an attack or a badly broken agent.
fn check_header(header: &Header, identity: &Identity, public_key: &[u8; 32], peer: &Peer) -> Result<(), Refusal> {
    let differs = if header.tenant != identity.tenant {
        "tenant"
    } else if header.agent != identity.agent {
        "agent id"
    } else if header.public_key != *public_key {
        "public key"
    } else {
        return Ok(());
    };
    metrics::counter!("beffroi_gateway_identity_mismatch_total").increment(1);
    tracing::warn!(
        target: "beffroi::security",
        agent = %identity.agent, tenant = identity.tenant, remote = %peer.remote,
        header_agent = %header.agent, header_tenant = header.tenant, differs,
        "a batch names another than its sender"
    );
    let error = format!("the batch's {differs} is not that of the certificate and its enrolment");
    let hint = "the batch is not taken; check that identity key, spool and certificate belong to the same host";
    Err(Refusal::new(StatusCode::FORBIDDEN, "identity_mismatch", error, hint))
}

fn over_quota(who: &str, wait: Duration) -> Refusal {
    let error = format!("{who} more than its quota");
    let hint = "keep the batch and send it after Retry-After; an operator can raise gateway.quota";
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "over_quota", error, hint).after(wait)
}
