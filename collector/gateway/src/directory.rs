//! What the gateway knows of tokens and hosts: a view on the control state, and the one place that writes to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use beffroi_bus::BusError;
use beffroi_bus::control::{Control, Loss, Outcome};
use beffroi_schema::control::Change;
use beffroi_schema::ids::AgentId;
use http::StatusCode;
use tokio::sync::watch;

use crate::refuse::Refusal;

/// Who writes the records of this role.
const WRITER: &str = "enroll";
/// What a host waits while the control state cannot be written.
const BUS_WAIT: Duration = Duration::from_secs(10);

/// A host as the control state has it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) tenant: String,
    pub(crate) public_key: [u8; 32],
    pub(crate) token_id: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// End of its newest certificate, or when it was enrolled if none was recorded; microseconds since 1970.
    pub(crate) valid_until: i64,
}

/// How a host stands, without the parts that only enrolment needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    Unknown,
    Revoked,
    Enrolled { public_key: [u8; 32] },
}

/// The view.
#[derive(Clone)]
pub(crate) struct Directory {
    control: Arc<Control>,
}

impl Directory {
    pub(crate) fn new(control: Control) -> Self {
        Self { control: Arc::new(control) }
    }

    pub(crate) fn ready(&self) -> bool {
        self.control.ready()
    }

    pub(crate) fn changed(&self) -> watch::Receiver<u64> {
        self.control.changed()
    }

    /// Whether a host is cut off, as far as is known now.
    pub(crate) fn is_revoked(&self, agent: AgentId) -> bool {
        self.control.read(|state| state.revocation(&agent).is_some())
    }

    /// How a host stands. An unknown host is unknown only once everything has been read.
    pub(crate) fn standing(&self, agent: AgentId) -> Result<Standing, Refusal> {
        let standing = self.control.read(|state| match state.agent(&agent) {
            _ if state.revocation(&agent).is_some() => Standing::Revoked,
            Some(host) => Standing::Enrolled { public_key: host.public_key },
            None => Standing::Unknown,
        });
        if standing == Standing::Unknown { self.require_ready().map(|()| standing) } else { Ok(standing) }
    }

    pub(crate) fn require_ready(&self) -> Result<(), Refusal> {
        if self.ready() { Ok(()) } else { Err(Refusal::not_ready("the collector has not read its list of hosts and tokens yet")) }
    }

    pub(crate) fn host(&self, agent: AgentId) -> Option<Host> {
        self.control.read(|state| {
            state.agent(&agent).map(|host| Host {
                tenant: host.tenant.clone(),
                public_key: host.public_key,
                token_id: host.token_id.clone(),
                labels: host.labels.clone(),
                valid_until: host.certificate.as_ref().map_or(host.enrolled, |certificate| certificate.not_after),
            })
        })
    }

    /// Tenant, labels and secret hash of a token.
    pub(crate) fn token(&self, token_id: &str) -> Option<(String, BTreeMap<String, String>, String)> {
        self.control.read(|state| {
            let token = &state.token(token_id)?.token;
            Some((token.tenant.clone(), token.labels.clone(), token.secret_hash.clone()))
        })
    }

    /// Whether a token could be used now; the fold decides when the record is read.
    pub(crate) fn check_token(&self, token_id: &str, remote: &str, now: i64) -> Result<(), Refusal> {
        self.control.read(|state| state.check_token(token_id, remote, now).map(drop)).map_err(|loss| lost(&loss))
    }

    /// Writes a change and waits until it holds.
    pub(crate) async fn submit(&self, change: Change) -> Result<(), Refusal> {
        match self.control.submit(WRITER, change).await {
            Ok(Outcome::Won) => Ok(()),
            Ok(Outcome::Lost(loss)) => Err(lost(&loss)),
            Err(error) => Err(unwritten(&error)),
        }
    }
}

fn unwritten(error: &BusError) -> Refusal {
    tracing::error!(%error, "a change of the control state could not be written");
    let hint = "try again later with the same key and token; an operator should look at the bus (`beffroi status`)";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "bus_unavailable", "the collector cannot record this now", hint).after(BUS_WAIT)
}

/// The refusal that belongs to a lost change.
fn lost(loss: &Loss) -> Refusal {
    let (code, hint) = match loss {
        Loss::TokenUnknown => return Refusal::wrong_token(),
        Loss::AgentRevoked => return Refusal::revoked(),
        Loss::AgentUnknown => return Refusal::unknown_agent(),
        Loss::TokenRevoked => ("token_revoked", "ask an operator for a new token (`beffroi enroll token`)"),
        Loss::TokenExpired => ("token_expired", "ask an operator for a new token (`beffroi enroll token`)"),
        Loss::TokenUsedUp => ("token_used_up", "ask an operator for a token with more uses (`beffroi enroll token --uses`)"),
        Loss::NetworkNotAllowed(_) => {
            ("token_network", "enrol from a network that the token names, or ask for a token with `--cidr` of this one")
        }
        Loss::OtherTenant | Loss::WrongTenant => {
            ("other_tenant", "a host belongs to one tenant: reinstall the agent to give it a new key")
        }
        _ => ("refused", "ask an operator"),
    };
    Refusal::new(StatusCode::FORBIDDEN, code, loss.to_string(), hint)
}
