//! Who may enrol and who is cut off: a fold over the records of `control.v1`.
//!
//! Pure: records in, verdicts out, no clock and no I/O. Every role that folds the same records comes to the same state
//! and the same verdicts, which is what makes the first record win everywhere.
//!
//! **Time** is the time at which the bus took the record, never the writer's `ts`: a writer with a wrong clock can
//! neither stretch a token's life nor cut it short. (On Kafka this needs `message.timestamp.type=LogAppendTime`, which
//! topics get that Beffroi creates and which the command it prints contains.)
//!
//! **Repeats** change nothing: a record whose offset was applied is skipped, and a change that is already so (the same
//! token, the same host with the same token, a second revocation) wins again without using anything up.

use std::collections::BTreeMap;
use std::net::IpAddr;

use beffroi_schema::AgentId;
use beffroi_schema::batch::HostInfo;
use beffroi_schema::control::{AgentEnrolled, Change, ControlRecord, TokenCreated};

use super::access::Access;
use super::scans::Scans;

/// What became of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Won,
    /// It does not hold, because of what stood there before it.
    Lost(Loss),
    /// It was applied before, or is of a kind that this version does not know.
    Ignored,
}

/// Why a change does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Loss {
    /// No such token.
    #[error("the enrolment token is not known; ask for a new one")]
    TokenUnknown,
    /// The token was revoked.
    #[error("the enrolment token was revoked; ask for a new one")]
    TokenRevoked,
    /// The token is too old.
    #[error("the enrolment token has expired; ask for a new one")]
    TokenExpired,
    /// Every use of the token is taken.
    #[error("the enrolment token has no uses left; ask for a new one")]
    TokenUsedUp,
    /// Another token has this name.
    #[error("a different token has this id already")]
    TokenTaken,
    /// The host's address is outside the token's networks.
    #[error("the enrolment token does not allow the address {0}; enrol from an allowed network or ask for a token that names it")]
    NetworkNotAllowed(String),
    /// The tenant is not the token's.
    #[error("the enrolment token belongs to another tenant")]
    WrongTenant,
    /// The host is enrolled in another tenant.
    #[error("this host's key is enrolled in another tenant; let the host make a new key")]
    OtherTenant,
    /// Agent id and public key do not belong together.
    #[error("the agent id is not the hash of the public key")]
    WrongKey,
    /// The host was cut off.
    #[error("this host was revoked; it needs a new key to enrol again")]
    AgentRevoked,
    /// The host is not enrolled.
    #[error("this host is not enrolled")]
    AgentUnknown,
    /// No such API token.
    #[error("the API token is not known; `beffroi token list` shows those that exist")]
    ApiTokenUnknown,
    /// Another API token has this id or this secret.
    #[error("a different API token has this id or secret already; make a new one")]
    ApiTokenTaken,
    /// Another order has this id.
    #[error("a different order has this id already; sign a new one")]
    OrderTaken,
    /// No such scan.
    #[error("the scan is not known; `beffroi scan list` shows those that were ordered")]
    ScanUnknown,
}

/// An enrolment token and what is left of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenState {
    /// As it was created.
    pub token: TokenCreated,
    /// Who created it.
    pub by: String,
    /// When (bus time, microseconds since 1970).
    pub created: i64,
    /// Uses taken.
    pub used: u32,
    /// It was revoked.
    pub revoked: bool,
}

/// A certificate that a host was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number, hex.
    pub serial: String,
    /// End of its life (microseconds since 1970).
    pub not_after: i64,
}

/// Why and when a host was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Why.
    pub reason: String,
    /// Who did it.
    pub by: String,
    /// When (bus time, microseconds since 1970).
    pub at: i64,
}

/// A host that is or was enrolled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentState {
    /// Ed25519 identity key.
    pub public_key: [u8; 32],
    /// Its tenant.
    pub tenant: String,
    /// Its labels, from the token.
    pub labels: BTreeMap<String, String>,
    /// What it said of itself at its last enrolment.
    pub host: HostInfo,
    /// Its address at its last enrolment.
    pub remote: String,
    /// The token of its last enrolment.
    pub token_id: String,
    /// When it enrolled last (bus time, microseconds since 1970).
    pub enrolled: i64,
    /// The certificate that lives longest.
    pub certificate: Option<Certificate>,
}

/// Where and when the bus took a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// Offset in the one partition of the topic.
    pub offset: i64,
    /// Bus time (microseconds since 1970).
    pub timestamp: i64,
}

/// The fold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlState {
    applied: Option<i64>,
    tokens: BTreeMap<String, TokenState>,
    agents: BTreeMap<AgentId, AgentState>,
    revoked: BTreeMap<AgentId, Revocation>,
    access: Access,
    scans: Scans,
}

impl ControlState {
    /// Applies one record and says what became of it.
    pub fn apply(&mut self, taken: Taken, record: &ControlRecord) -> Verdict {
        if self.applied.is_some_and(|applied| taken.offset <= applied) {
            return Verdict::Ignored;
        }
        self.applied = Some(taken.offset);
        let done = match &record.change {
            Change::TokenCreated(token) => self.create_token(token, &record.by, taken.timestamp),
            Change::TokenRevoked { token_id } => self.revoke_token(token_id),
            Change::AgentEnrolled(enrolled) => self.enroll(enrolled, taken.timestamp),
            Change::CertificateIssued { agent_id, serial, not_after } => self.issue(*agent_id, serial, *not_after),
            Change::AgentRevoked { agent_id, reason } => {
                let revocation = Revocation { reason: reason.clone(), by: record.by.clone(), at: taken.timestamp };
                self.revoked.entry(*agent_id).or_insert(revocation);
                Ok(())
            }
            Change::ApiTokenCreated(token) => self.access.create(token, &record.by, taken.timestamp),
            Change::ApiTokenRevoked { token_id } => self.access.revoke(token_id),
            Change::ScanOrdered(scan) => self.scans.order(scan, &record.by, taken.timestamp),
            Change::ScanCancelled { order_id, cancel_id } => self.scans.cancel(order_id, cancel_id, &record.by, taken.timestamp),
            Change::Unknown => return Verdict::Ignored,
        };
        done.map_or_else(Verdict::Lost, |()| Verdict::Won)
    }

    /// Skips a record that is no control record at all; its offset counts as applied.
    pub fn skip(&mut self, taken: Taken) {
        self.applied = self.applied.max(Some(taken.offset));
    }

    /// Offset of the last applied record.
    pub fn applied(&self) -> Option<i64> {
        self.applied
    }

    /// A token by its public name.
    pub fn token(&self, token_id: &str) -> Option<&TokenState> {
        self.tokens.get(token_id)
    }

    /// Every token, by name.
    pub fn tokens(&self) -> impl Iterator<Item = &TokenState> {
        self.tokens.values()
    }

    /// A host; revoked hosts are found as well, see [`ControlState::revocation`].
    pub fn agent(&self, agent_id: &AgentId) -> Option<&AgentState> {
        self.agents.get(agent_id)
    }

    /// Every host that ever enrolled, by id.
    pub fn agents(&self) -> impl Iterator<Item = (&AgentId, &AgentState)> {
        self.agents.iter()
    }

    /// Why a host is cut off, if it is. Hosts that never enrolled can be cut off as well.
    pub fn revocation(&self, agent_id: &AgentId) -> Option<&Revocation> {
        self.revoked.get(agent_id)
    }

    /// Every host that is cut off.
    pub fn revocations(&self) -> impl Iterator<Item = (&AgentId, &Revocation)> {
        self.revoked.iter()
    }

    /// API tokens.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// Scans that were ordered.
    pub fn scans(&self) -> &Scans {
        &self.scans
    }

    /// Whether a token could be used from this address at this time (microseconds since 1970): lets the enroll role
    /// refuse early. Only the verdict on the host's own record decides.
    pub fn check_token(&self, token_id: &str, remote: &str, now: i64) -> Result<&TokenState, Loss> {
        let state = self.tokens.get(token_id).ok_or(Loss::TokenUnknown)?;
        if state.revoked {
            return Err(Loss::TokenRevoked);
        }
        if now >= state.token.expires {
            return Err(Loss::TokenExpired);
        }
        if state.used >= state.token.uses {
            return Err(Loss::TokenUsedUp);
        }
        match allows(&state.token.cidrs, remote) {
            true => Ok(state),
            false => Err(Loss::NetworkNotAllowed(remote.chars().take(80).collect())),
        }
    }

    fn create_token(&mut self, token: &TokenCreated, by: &str, created: i64) -> Result<(), Loss> {
        match self.tokens.get(&token.token_id) {
            Some(known) if known.token == *token => Ok(()),
            Some(_) => Err(Loss::TokenTaken),
            None => {
                let state = TokenState { token: token.clone(), by: by.into(), created, used: 0, revoked: false };
                self.tokens.insert(token.token_id.clone(), state);
                Ok(())
            }
        }
    }

    fn revoke_token(&mut self, token_id: &str) -> Result<(), Loss> {
        self.tokens.get_mut(token_id).ok_or(Loss::TokenUnknown)?.revoked = true;
        Ok(())
    }

    fn enroll(&mut self, asked: &AgentEnrolled, now: i64) -> Result<(), Loss> {
        let public_key = key_of(asked)?;
        if self.revoked.contains_key(&asked.agent_id) {
            return Err(Loss::AgentRevoked);
        }
        if let Some(known) = self.agents.get(&asked.agent_id) {
            if known.tenant != asked.tenant {
                return Err(Loss::OtherTenant);
            }
            // The answer to its first request was lost: nothing more is used up, even when the token is spent now.
            if known.token_id == asked.token_id {
                return Ok(());
            }
        }
        let token = &self.check_token(&asked.token_id, &asked.remote, now)?.token;
        if token.tenant != asked.tenant {
            return Err(Loss::WrongTenant);
        }
        let agent = AgentState {
            public_key,
            tenant: token.tenant.clone(),
            labels: token.labels.clone(),
            host: asked.host.clone(),
            remote: asked.remote.clone(),
            token_id: asked.token_id.clone(),
            enrolled: now,
            certificate: self.agents.get(&asked.agent_id).and_then(|known| known.certificate.clone()),
        };
        if let Some(state) = self.tokens.get_mut(&asked.token_id) {
            state.used += 1;
        }
        self.agents.insert(asked.agent_id, agent);
        Ok(())
    }

    fn issue(&mut self, agent_id: AgentId, serial: &str, not_after: i64) -> Result<(), Loss> {
        if self.revoked.contains_key(&agent_id) {
            return Err(Loss::AgentRevoked);
        }
        let agent = self.agents.get_mut(&agent_id).ok_or(Loss::AgentUnknown)?;
        if agent.certificate.as_ref().is_none_or(|known| known.not_after <= not_after) {
            agent.certificate = Some(Certificate { serial: serial.into(), not_after });
        }
        Ok(())
    }
}

/// The key, if the agent id is its hash.
fn key_of(asked: &AgentEnrolled) -> Result<[u8; 32], Loss> {
    let mut key = [0; 32];
    hex::decode_to_slice(&asked.public_key, &mut key).map_err(|_| Loss::WrongKey)?;
    match AgentId::of_public_key(&key) == asked.agent_id {
        true => Ok(key),
        false => Err(Loss::WrongKey),
    }
}

/// Whether an address (`ip` or `ip:port`) lies in one of the networks; no networks means any. A network or address
/// that cannot be read allows nothing.
fn allows(cidrs: &[String], remote: &str) -> bool {
    if cidrs.is_empty() {
        return true;
    }
    let address = remote.parse::<IpAddr>().or_else(|_| remote.parse::<std::net::SocketAddr>().map(|peer| peer.ip()));
    let Ok(address) = address.map(|ip| ip.to_canonical()) else { return false };
    cidrs.iter().filter_map(|cidr| network(cidr)).any(|net| net.contains(&address))
}

/// A network in CIDR notation, or a single address.
fn network(text: &str) -> Option<ipnet::IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical().into()))
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
