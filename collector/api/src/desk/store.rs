//! Questions of a desk to the store, all with its tenants; and figures of the collector itself.

use beffroi_bus::{PartitionLag, Topic};
use beffroi_schema::AgentId;
use beffroi_schema::health::RoleHealth;
use beffroi_schema::wire::GROUP_DETECT;
use beffroi_store::{
    Alert, AlertFilter, AlertSummary, Alerts, AuditFilter, Coverage, EventSearch, Figures, Found, HostRow, LastSeen, MIN_PREFIX,
    ProcessTree, Resolved, ScanAnswer, ScanMatch, ScanTotals, ScanUnknown, StoreError,
};

use super::Desk;
use crate::error::Refusal;

/// Candidates that are listed.
const MAX_CANDIDATES: usize = 10;

type Row = serde_json::Map<String, serde_json::Value>;

/// How far a group of readers is behind.
pub(crate) struct GroupLag {
    pub(crate) topic: Topic,
    pub(crate) group: String,
    pub(crate) partitions: Vec<PartitionLag>,
}

impl Desk<'_> {
    fn store(&self) -> &beffroi_store::Store {
        &self.app.sources.store
    }

    pub(crate) async fn alerts(&self, filter: &AlertFilter) -> Result<Alerts, Refusal> {
        Ok(self.store().alerts(&self.tenants, filter).await?)
    }

    pub(crate) async fn alerts_since(&self, after: i64, limit: u64) -> Result<Vec<(i64, AlertSummary)>, Refusal> {
        Ok(self.store().alerts_since(&self.tenants, after, limit).await?.alerts)
    }

    /// One alert, by its id or a prefix of it.
    pub(crate) async fn alert(&self, id: &str) -> Result<Alert, Refusal> {
        let id = one("alert", self.store().resolve_alert(&self.tenants, id).await?)?;
        self.store().alert(&self.tenants, &id).await?.ok_or_else(|| Refusal::unknown("alert"))
    }

    pub(crate) async fn around(&self, agent: &str, time: i64, window: i64, limit: u64) -> Result<Vec<Row>, Refusal> {
        Ok(self.store().around(&self.tenants, agent, time, window, limit).await?)
    }

    pub(crate) async fn search(&self, search: &EventSearch) -> Result<Found, Refusal> {
        Ok(self.store().search(&self.tenants, search).await?)
    }

    pub(crate) async fn process_tree(&self, guid: &str) -> Result<ProcessTree, Refusal> {
        self.store().process_tree(&self.tenants, guid).await?.ok_or_else(|| Refusal::unknown("process"))
    }

    pub(crate) async fn gaps(
        &self,
        host: Option<&str>,
        since: Option<i64>,
        until: Option<i64>,
        limit: u64,
    ) -> Result<Vec<Coverage>, Refusal> {
        Ok(self.store().gaps(&self.tenants, host, since, until, limit).await?)
    }

    pub(crate) async fn host_rows(&self, limit: u64) -> Result<Vec<HostRow>, Refusal> {
        Ok(self.store().hosts(&self.tenants, limit).await?)
    }

    pub(crate) async fn host_row(&self, id: &str) -> Result<Option<HostRow>, Refusal> {
        Ok(self.store().host(&self.tenants, id).await?)
    }

    /// The id of a host, from a name, an id or a prefix. The control state is asked first, so that a host can be revoked
    /// while the store is away.
    pub(crate) async fn host_id(&self, text: &str) -> Result<String, Refusal> {
        match self.enrolled_as(text) {
            Resolved::Nothing => one("host", self.store().resolve_host(&self.tenants, text).await?),
            known => one("host", known),
        }
    }

    fn enrolled_as(&self, text: &str) -> Resolved {
        let lowered = text.to_ascii_lowercase();
        let prefix = lowered.len() >= MIN_PREFIX && lowered.bytes().all(|b| b.is_ascii_hexdigit());
        let fits = |id: &AgentId, hostname: &str| {
            hostname.eq_ignore_ascii_case(text) || (prefix && id.to_string().starts_with(&lowered))
        };
        let mut ids = self.hosts(|look| fits(look.id, &look.agent.host.hostname).then(|| look.id.to_string()));
        ids.truncate(MAX_CANDIDATES);
        match ids.len() {
            0 => Resolved::Nothing,
            1 => Resolved::One(ids.remove(0)),
            _ => Resolved::Several(ids),
        }
    }

    /// When each of the desk's hosts was last heard of.
    pub(crate) async fn last_seen(&self) -> Result<Vec<LastSeen>, Refusal> {
        Ok(self.store().last_seen(&self.tenants).await?)
    }

    pub(crate) async fn scan_totals(&self, orders: &[String], since: i64) -> Result<Vec<ScanTotals>, Refusal> {
        Ok(self.store().scan_totals(&self.tenants, orders, since).await?)
    }

    pub(crate) async fn scan_answers(&self, orders: &[String], since: i64) -> Result<Vec<ScanAnswer>, Refusal> {
        Ok(self.store().scan_answers(&self.tenants, orders, since).await?)
    }

    pub(crate) async fn scan_matches(&self, order: &str, since: i64, limit: u64) -> Result<Vec<ScanMatch>, Refusal> {
        Ok(self.store().scan_matches(&self.tenants, order, since, limit).await?)
    }

    pub(crate) async fn scan_unknowns(&self, order: &str, since: i64, limit: u64) -> Result<Vec<ScanUnknown>, Refusal> {
        Ok(self.store().scan_unknowns(&self.tenants, order, since, limit).await?)
    }

    /// Audit records of askers whose tenants are all among those of this desk.
    pub(crate) async fn audit_records(&self, filter: &AuditFilter) -> Result<Vec<Row>, Refusal> {
        Ok(self.store().audit(&self.tenants, filter).await?)
    }

    /// When each token was used last, by its id, as far as the audit table knows.
    pub(crate) async fn audited_use(&self) -> Result<Vec<(String, i64)>, StoreError> {
        self.store().audited_use(&self.tenants).await
    }

    /// How full the store is.
    pub(crate) async fn figures(&self) -> Result<Figures, StoreError> {
        self.store().figures().await
    }

    /// How far everybody who reads the bus is behind; stops at the first that cannot be asked, and says why.
    pub(crate) async fn lag(&self) -> (Vec<GroupLag>, Option<String>) {
        let mut groups = vec![(Topic::Events, GROUP_DETECT.to_owned())];
        groups.extend(beffroi_store::consumer_groups());
        let mut lag = Vec::new();
        for (topic, group) in groups {
            match self.app.sources.bus.lag(topic, &group).await {
                Ok(partitions) => lag.push(GroupLag { topic, group, partitions }),
                Err(error) => return (lag, Some(error.to_string())),
            }
        }
        (lag, None)
    }

    /// Audit records on the bus that are not in the store yet.
    pub(crate) async fn audit_behind(&self) -> Option<i64> {
        let (topic, group) = beffroi_store::consumer_groups().into_iter().find(|(topic, _)| *topic == Topic::Audit)?;
        let partitions = self.app.sources.bus.lag(topic, &group).await.ok()?;
        Some(partitions.iter().map(PartitionLag::records).sum())
    }

    pub(crate) fn roles(&self) -> Vec<RoleHealth> {
        self.app.roles()
    }

    /// Prometheus text, where it is collected.
    pub(crate) fn metrics(&self) -> Option<String> {
        self.app.sources.metrics.as_ref().map(|metrics| metrics())
    }
}

fn one(what: &str, resolved: Resolved) -> Result<String, Refusal> {
    match resolved {
        Resolved::One(id) => Ok(id),
        Resolved::Nothing => Err(Refusal::unknown(what)),
        Resolved::Several(candidates) => Err(Refusal::ambiguous(what, &candidates)),
    }
}
