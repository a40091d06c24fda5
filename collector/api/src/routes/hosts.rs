//! Hosts: what they say of themselves (store), who they are and whether they are cut off (control state).

use std::collections::{BTreeMap, HashSet};

use beffroi_bus::control::{Outcome, Revocation};
use beffroi_schema::AgentId;
use beffroi_schema::control::Change;
use beffroi_schema::json::rfc3339;
use beffroi_store::HostRow;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Operation;
use crate::desk::{Desk, HostLook, lost};
use crate::error::Refusal;

/// Hosts of a list when no number is asked for.
const DEFAULT_ROWS: u64 = 1_000;
/// Longest reason of a revocation.
const MAX_REASON: usize = 1_000;

/// A host as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Host {
    #[serde(flatten)]
    pub(crate) row: HostRow,
    /// Labels of its enrolment token.
    pub(crate) labels: BTreeMap<String, String>,
    /// When it enrolled last, RFC 3339.
    pub(crate) enrolled: Option<String>,
    /// End of its certificate.
    pub(crate) certificate_expires: Option<String>,
    /// It is cut off.
    pub(crate) revoked: Option<Revoked>,
}

/// That a host is cut off.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HostRevoked")]
pub(crate) struct Revoked {
    /// When, RFC 3339.
    pub(crate) at: String,
    /// By whom.
    pub(crate) by: String,
    /// Why.
    pub(crate) reason: String,
}

fn revoked(it: &Revocation) -> Revoked {
    Revoked { at: rfc3339(it.at), by: it.by.clone(), reason: it.reason.clone() }
}

/// A host that is enrolled and was never heard of.
fn silent_row(look: &HostLook<'_>) -> HostRow {
    let agent = look.agent;
    HostRow {
        tenant: agent.tenant.clone(),
        agent_id: look.id.to_string(),
        hostname: agent.host.hostname.clone(),
        os: agent.host.os.clone(),
        kernel: agent.host.kernel.clone(),
        architecture: agent.host.architecture.clone(),
        agent_version: agent.host.agent_version.clone(),
        addresses: agent.host.addresses.clone(),
        remote: agent.remote.clone(),
        ..HostRow::default()
    }
}

/// A row of the store with what the control state knows of its host.
fn shown(desk: &Desk<'_>, row: HostRow) -> Host {
    let id: Option<AgentId> = row.agent_id.parse().ok();
    let bare = |row, it: Option<Revocation>| Host {
        row,
        labels: BTreeMap::new(),
        enrolled: None,
        certificate_expires: None,
        revoked: it.as_ref().map(revoked),
    };
    let Some(id) = id else { return bare(row, None) };
    let enrolled = desk.host(&id, |look| {
        let certificate = look.agent.certificate.as_ref();
        (look.agent.labels.clone(), look.agent.enrolled, certificate.map(|it| it.not_after), look.revoked.map(revoked))
    });
    match enrolled {
        Some((labels, enrolled, certificate, revoked)) => {
            Host { row, labels, enrolled: Some(rfc3339(enrolled)), certificate_expires: certificate.map(rfc3339), revoked }
        }
        None => bare(row, desk.revocation(&id)),
    }
}

/// Every host.
pub(crate) struct List;

/// Which hosts.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HostListInput")]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListInput {
    /// Only this tenant.
    pub(crate) tenant: Option<String>,
    /// Rows; 0 for 1000, at most 10000.
    pub(crate) limit: u64,
}

/// Hosts, latest heard of first, then those that never were.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Hosts {
    /// Hosts.
    pub(crate) hosts: Vec<Host>,
}

impl Operation for List {
    type Input = ListInput;
    type Answer = Hosts;

    async fn run(desk: &Desk<'_>, p: ListInput) -> Result<Hosts, Refusal> {
        let desk = desk.narrowed(p.tenant.as_deref());
        let limit = if p.limit == 0 { DEFAULT_ROWS } else { p.limit.min(beffroi_store::MAX_ROWS) };
        let rows = desk.host_rows(limit).await?;
        let heard: HashSet<String> = rows.iter().map(|row| row.agent_id.clone()).collect();
        let silent = desk.hosts(|look| (!heard.contains(&look.id.to_string())).then(|| silent_row(&look)));
        let rows = rows.into_iter().chain(silent).take(limit as usize);
        Ok(Hosts { hosts: rows.map(|row| shown(&desk, row)).collect() })
    }

    fn rows(answer: &Hosts) -> u64 {
        answer.hosts.len() as u64
    }
}

/// One host.
pub(crate) struct Show;

/// Which host.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HostShowInput")]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowInput {
    /// Host name, agent id, or a prefix of at least six digits.
    pub(crate) id: String,
}

impl Operation for Show {
    type Input = ShowInput;
    type Answer = Host;

    async fn run(desk: &Desk<'_>, p: ShowInput) -> Result<Host, Refusal> {
        let id = desk.host_id(&p.id).await?;
        let row = desk.host_row(&id).await?;
        let enrolled = || desk.host(&id.parse().ok()?, |look| silent_row(&look));
        let row = row.or_else(enrolled).ok_or_else(|| Refusal::unknown("host"))?;
        Ok(shown(desk, row))
    }

    fn rows(_answer: &Host) -> u64 {
        1
    }
}

/// Cuts a host off.
pub(crate) struct Revoke;

/// Which host, and why.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "HostRevokeInput")]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeInput {
    /// Host name, agent id, or a prefix of at least six digits.
    pub(crate) id: String,
    /// Why: 1 to 1000 bytes.
    pub(crate) reason: String,
}

/// It is cut off.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "HostRevokeAnswer")]
pub(crate) struct RevokeAnswer {
    /// Whole id.
    pub(crate) agent_id: String,
    /// Always true.
    pub(crate) revoked: bool,
    /// Why.
    pub(crate) reason: String,
}

impl Operation for Revoke {
    type Input = RevokeInput;
    type Answer = RevokeAnswer;

    async fn run(desk: &Desk<'_>, asked: RevokeInput) -> Result<RevokeAnswer, Refusal> {
        let reason = asked.reason;
        if reason.trim().is_empty() || reason.len() > MAX_REASON {
            return Err(Refusal::bad(
                "a revocation needs a reason of at most 1000 bytes",
                "say why, for those who read the audit",
            ));
        }
        let id = desk.host_id(&asked.id).await?;
        let agent_id: AgentId = id.parse().map_err(|_| Refusal::unknown("host"))?;
        match desk.submit(Change::AgentRevoked { agent_id, reason: reason.clone() }).await? {
            Outcome::Won => Ok(RevokeAnswer { agent_id: id, revoked: true, reason }),
            Outcome::Lost(why) => Err(lost(&why, "look at the host with `beffroi hosts show`")),
        }
    }

    fn rows(_answer: &RevokeAnswer) -> u64 {
        1
    }
}
