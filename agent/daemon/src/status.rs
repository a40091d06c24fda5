//! What the agent knows of itself, from its files alone: works without the server and without the other processes.
//!
//! Owns the shape of the sensor's status file and the report that `status` prints. What cannot be read is said, not
//! guessed.

use beffroi_log::{LogReader, read_cursor};
use beffroi_schema::batch::HookState;
use beffroi_schema::{AgentId, Epoch, KeyId, Stream};
use serde::{Deserialize, Serialize};

use crate::clock::now_us;
use crate::enroll::certificate_validity;
use crate::host::Cost;
use crate::identity::Enrolment;
use crate::layout::{Layout, read_json};
use crate::orders::OrdersStatus;
use crate::spool::StreamStats;
use crate::uplink::UplinkStatus;

/// A status older than this is not believed (microseconds).
const FRESH_US: i64 = 30_000_000;

/// How scanning stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScanStatus {
    /// Whether files are scanned.
    pub on: bool,
    /// Why not.
    pub detail: String,
    /// Rules in force.
    pub rules: usize,
    /// SHA-256 of the rule set, hex.
    pub ruleset: String,
    /// What could not be loaded or locked down.
    pub warnings: Vec<String>,
    /// Process id of the worker.
    pub pid: Option<u32>,
    /// Files with a match.
    pub matches: u64,
    /// Files without.
    pub clean: u64,
    /// Files of which nothing is known.
    pub unknown: u64,
    /// Workers that had to be replaced.
    pub restarts: u64,
}

impl ScanStatus {
    /// Its figures as named counters.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let named = [("match", self.matches), ("clean", self.clean), ("unknown", self.unknown), ("restarts", self.restarts)];
        named.into_iter().map(|(name, value)| (format!("scan.{name}"), value)).collect()
    }
}

/// The content of the sensor's status file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensorStatus {
    /// Process id.
    pub pid: u32,
    /// False after a stop in order.
    pub running: bool,
    /// When this was written, microseconds since 1970.
    pub updated_at: i64,
    /// When the process began.
    pub started_at: i64,
    /// Its run.
    pub epoch: Epoch,
    /// Probes and sources.
    pub hooks: Vec<HookState>,
    /// Named counters of the sensor.
    pub counters: Vec<(String, u64)>,
    /// Scanning.
    pub scan: ScanStatus,
    /// Signed orders.
    #[serde(default)]
    pub orders: OrdersStatus,
    /// Streams.
    pub streams: Vec<StreamStats>,
    /// CPU and memory of all processes of the agent.
    pub cost: Cost,
}

/// How a stream's spool stands, from the log itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolLine {
    /// Stream.
    pub stream: Stream,
    /// Batches that are not acknowledged.
    pub batches: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Age of the oldest (microseconds); none when there is none.
    pub age_us: Option<i64>,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the agent.
    pub version: String,
    /// State folder.
    pub state: String,
    /// Whether this host is enrolled.
    pub enrolled: bool,
    /// Tenant.
    pub tenant: Option<String>,
    /// Agent id.
    pub agent_id: Option<AgentId>,
    /// Gateway.
    pub gateway: Option<String>,
    /// Key id of the pinned root; none: this host takes no orders.
    #[serde(default)]
    pub root: Option<KeyId>,
    /// End of the certificate's life, microseconds since 1970.
    pub certificate_not_after: Option<i64>,
    /// Whether the sensor process is alive.
    pub sensor_alive: bool,
    /// Its last word.
    pub sensor: Option<SensorStatus>,
    /// Whether the uplink process is alive.
    pub uplink_alive: bool,
    /// Its last word.
    pub uplink: Option<UplinkStatus>,
    /// Spool.
    pub spool: Vec<SpoolLine>,
    /// What could not be read, and why.
    pub unknown: Vec<String>,
}

/// Gathers the report from the state folder.
pub fn gather(layout: &Layout) -> Report {
    let mut unknown = Vec::new();
    let mut note = |error: &dyn std::fmt::Display| unknown.push(error.to_string());
    let enrolment = match Enrolment::load(layout) {
        Ok(enrolment) => Some(enrolment),
        Err(error) => {
            note(&error);
            None
        }
    };
    let sensor = read_json::<SensorStatus>(&layout.sensor_status()).map_err(|error| note(&error)).ok().flatten();
    let uplink = read_json::<UplinkStatus>(&layout.uplink_status()).map_err(|error| note(&error)).ok().flatten();
    let spooled = Stream::ALL.iter().filter(|stream| layout.spool(**stream).exists());
    let spool = spooled.filter_map(|stream| spool_line(layout, *stream).map_err(|error| note(&error)).ok()).collect();
    let alive = |pid: u32, at: i64| now_us() - at < FRESH_US && crate::host::is_ours(pid);
    Report {
        version: crate::host::VERSION.into(),
        state: layout.root().display().to_string(),
        enrolled: enrolment.is_some(),
        certificate_not_after: certificate_validity(layout)
            .map(|(_, not_after)| not_after)
            .or_else(|| uplink.as_ref().and_then(|status| status.certificate_not_after)),
        tenant: enrolment.as_ref().map(|enrolment| enrolment.tenant.clone()),
        agent_id: enrolment.as_ref().map(|enrolment| enrolment.agent_id),
        root: enrolment.as_ref().and_then(Enrolment::root),
        gateway: enrolment.map(|enrolment| enrolment.gateway),
        sensor_alive: sensor.as_ref().is_some_and(|status| status.running && alive(status.pid, status.updated_at)),
        uplink_alive: uplink.as_ref().is_some_and(|status| alive(status.pid, status.updated_at)),
        sensor,
        uplink,
        spool,
        unknown,
    }
}

fn spool_line(layout: &Layout, stream: Stream) -> Result<SpoolLine, beffroi_log::Error> {
    let acknowledged = read_cursor(layout.cursor(stream))?.map_or(0, |cursor| cursor.offset);
    let mut reader = LogReader::open(layout.spool(stream))?;
    reader.seek(acknowledged)?;
    let (mut batches, mut bytes, mut oldest) = (0u64, 0u64, None);
    loop {
        let batch = reader.read_batch(64, 1 << 20)?;
        if batch.is_empty() {
            break;
        }
        oldest = oldest.or(batch.records.first().map(|record| record.timestamp));
        batches += batch.records.len() as u64;
        bytes += batch.records.iter().map(|record| record.payload.len() as u64).sum::<u64>();
    }
    Ok(SpoolLine { stream, batches, bytes, age_us: oldest.map(|oldest| now_us() - oldest) })
}
