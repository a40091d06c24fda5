//! Who asks, how the collector stands, gaps, metrics, the API's own document.

use axum::response::{IntoResponse, Response};
use beffroi_bus::PartitionLag;
use beffroi_schema::json::rfc3339;
use beffroi_store::{Coverage, Figures};
use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Operation;
use crate::desk::Desk;
use crate::error::Refusal;
use crate::params;

/// Gaps of a list when no number is asked for.
const DEFAULT_ROWS: u64 = 500;

/// Nothing to say.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// Who asks.
pub(crate) struct Whoami;

/// Whose token it is.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WhoamiAnswer")]
pub(crate) struct WhoamiAnswer {
    /// Name in the audit.
    pub(crate) name: String,
    /// Public name of the token; `admin` for the admin's file.
    pub(crate) token_id: String,
    /// `analyst`, `csirt` or `admin`.
    pub(crate) scope: String,
    /// Tenants; `*` is every tenant.
    pub(crate) tenants: Vec<String>,
    /// Until when, RFC 3339; none for the admin's file.
    pub(crate) expires: Option<String>,
}

impl Operation for Whoami {
    type Input = Nothing;
    type Answer = WhoamiAnswer;

    async fn run(desk: &Desk<'_>, _p: Nothing) -> Result<WhoamiAnswer, Refusal> {
        let asker = desk.asker();
        Ok(WhoamiAnswer {
            name: asker.name.clone(),
            token_id: asker.proof.id().to_owned(),
            scope: asker.scope.name().to_owned(),
            tenants: asker.tenants.clone(),
            expires: asker.expires.map(rfc3339),
        })
    }

    fn rows(_answer: &WhoamiAnswer) -> u64 {
        1
    }
}

/// How everything stands. What cannot be asked now is null and says why beside it: the rest is shown all the same.
pub(crate) struct Status;

/// How everything stands.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "StatusAnswer")]
pub(crate) struct StatusAnswer {
    /// Version of the collector.
    pub(crate) version: String,
    /// Roles of the process that answers.
    pub(crate) roles: Vec<Role>,
    /// How far each group of readers is behind.
    pub(crate) lag: Vec<Lag>,
    /// Why the rest of `lag` could not be asked.
    pub(crate) bus_error: Option<String>,
    /// When events were last stored, RFC 3339.
    pub(crate) last_batch: Option<String>,
    /// Room left on the store's disk.
    pub(crate) disk_free_bytes: Option<u64>,
    /// Size of the store's disk.
    pub(crate) disk_total_bytes: Option<u64>,
    /// How full the store is.
    pub(crate) store: Option<Figures>,
    /// Why the store's figures could not be asked.
    pub(crate) store_error: Option<String>,
}

/// How a role stands.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Role {
    /// `gateway`, `enroll`, `detect`, `store`, `api`, `bus`, `clickhouse`.
    pub(crate) role: String,
    /// It can do its work now.
    pub(crate) ready: bool,
    /// Why not, or a short word on how it stands.
    pub(crate) detail: String,
    /// Pairs of name and value.
    pub(crate) figures: Vec<(String, String)>,
}

/// How far a group of readers is behind.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Lag {
    /// Topic.
    pub(crate) topic: String,
    /// Who reads.
    pub(crate) group: String,
    /// Records that it has yet to read.
    pub(crate) records: i64,
    /// Partitions of the topic.
    pub(crate) partitions: usize,
}

impl Operation for Status {
    type Input = Nothing;
    type Answer = StatusAnswer;
    const OWN_STATE: bool = true;

    async fn run(desk: &Desk<'_>, _p: Nothing) -> Result<StatusAnswer, Refusal> {
        let (groups, bus_error) = desk.lag().await;
        let (figures, store_error) = match desk.figures().await {
            Ok(figures) => (Some(figures), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let lag = groups.into_iter().map(|it| Lag {
            topic: it.topic.name().to_owned(),
            group: it.group,
            records: it.partitions.iter().map(PartitionLag::records).sum(),
            partitions: it.partitions.len(),
        });
        let role = |it: beffroi_schema::health::RoleHealth| Role {
            role: it.role,
            ready: it.ready,
            detail: it.detail,
            figures: it.figures,
        };
        Ok(StatusAnswer {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            roles: desk.roles().into_iter().map(role).collect(),
            lag: lag.collect(),
            bus_error,
            last_batch: figures.as_ref().map(|figures| figures.last_batch.clone()),
            disk_free_bytes: figures.as_ref().map(|figures| figures.disk_free_bytes),
            disk_total_bytes: figures.as_ref().map(|figures| figures.disk_total_bytes),
            store: figures,
            store_error,
        })
    }

    fn rows(_answer: &StatusAnswer) -> u64 {
        1
    }
}

/// Where nobody watched.
pub(crate) struct Gaps;

/// Which gaps.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "GapsInput")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct GapsInput {
    /// Ends at this time or later: RFC 3339, or how long ago (`30m`, `24h`, `7d`).
    pub(crate) since: Option<String>,
    /// Begins before this time.
    pub(crate) until: Option<String>,
    /// Host name, agent id or a prefix of it.
    pub(crate) host: Option<String>,
    /// Only this tenant.
    pub(crate) tenant: Option<String>,
    /// Rows; 0 for 500, at most 10000.
    pub(crate) limit: u64,
}

/// Gaps, newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "GapsAnswer")]
pub(crate) struct GapsAnswer {
    /// What agents declared, and holes that they did not.
    pub(crate) gaps: Vec<Coverage>,
}

impl Operation for Gaps {
    type Input = GapsInput;
    type Answer = GapsAnswer;

    async fn run(desk: &Desk<'_>, p: GapsInput) -> Result<GapsAnswer, Refusal> {
        let (since, until) = (params::time("since", p.since.as_deref())?, params::time("until", p.until.as_deref())?);
        let limit = if p.limit == 0 { DEFAULT_ROWS } else { p.limit };
        let host = p.host.as_deref().filter(|host| !host.is_empty());
        let gaps = desk.narrowed(p.tenant.as_deref()).gaps(host, since, until, limit).await?;
        Ok(GapsAnswer { gaps })
    }

    fn rows(answer: &GapsAnswer) -> u64 {
        answer.gaps.len() as u64
    }
}

/// Metrics of the process that answers.
pub(crate) struct Metrics;

/// Prometheus text.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(transparent)]
pub(crate) struct MetricsText(String);

impl Operation for Metrics {
    type Input = Nothing;
    type Answer = MetricsText;
    const OWN_STATE: bool = true;

    async fn run(desk: &Desk<'_>, _p: Nothing) -> Result<MetricsText, Refusal> {
        desk.metrics().map(MetricsText).ok_or_else(|| {
            let hint = "ask the server's own endpoint";
            Refusal::new(StatusCode::NOT_FOUND, "no_route", "no metrics are collected here", hint)
        })
    }

    fn rows(_answer: &MetricsText) -> u64 {
        1
    }

    fn respond(answer: MetricsText) -> Response {
        ([(http::header::CONTENT_TYPE, "text/plain; version=0.0.4")], answer.0).into_response()
    }
}

/// The API's own document.
pub(crate) struct Document;

impl Operation for Document {
    type Input = Nothing;
    type Answer = serde_json::Map<String, serde_json::Value>;

    async fn run(_desk: &Desk<'_>, _p: Nothing) -> Result<Self::Answer, Refusal> {
        Ok(crate::openapi::document())
    }

    fn rows(_answer: &Self::Answer) -> u64 {
        1
    }
}
