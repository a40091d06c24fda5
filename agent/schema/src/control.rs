//! Records of `control.v1`: state that needs one winner (design section 4). The first record wins; a writer answers its
//! caller only after it has read its own record back. Kinds that this version does not know are kept and ignored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::HostInfo;
use crate::ids::AgentId;

/// One record: who wrote it, when, and what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControlRecord {
    /// Random id by which the writer finds its own record again.
    pub record_id: String,
    /// Writer's clock, microseconds since 1970.
    pub ts: i64,
    /// Who asked for it: an API user, or the role that wrote it.
    pub by: String,
    /// What.
    #[serde(flatten)]
    pub change: Change,
}

/// A change of control state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// An enrolment token exists.
    TokenCreated(TokenCreated),
    /// An enrolment token is no longer good.
    TokenRevoked {
        /// Which token.
        token_id: String,
    },
    /// A host asks to be enrolled: wins if the token still has uses when this record is read.
    AgentEnrolled(AgentEnrolled),
    /// A host has a new certificate.
    CertificateIssued {
        /// Whose.
        agent_id: AgentId,
        /// Serial number, hex.
        serial: String,
        /// End of its life, microseconds since 1970.
        not_after: i64,
    },
    /// A host is cut off.
    AgentRevoked {
        /// Which host.
        agent_id: AgentId,
        /// Why.
        reason: String,
    },
    /// Somebody may use the API.
    ApiTokenCreated(ApiTokenCreated),
    /// An API token is no longer good.
    ApiTokenRevoked {
        /// Which token.
        token_id: String,
    },
    /// A signed scan order was given to the fleet.
    ScanOrdered(ScanOrdered),
    /// A signed cancellation of a scan was given to the fleet.
    ScanCancelled {
        /// The scan that ends, hex.
        order_id: String,
        /// The order that ends it, hex.
        cancel_id: String,
    },
    /// A kind of a newer version.
    #[serde(other)]
    Unknown,
}

/// An enrolment token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCreated {
    /// Public name.
    pub token_id: String,
    /// [`crate::session::secret_hash`] of the secret.
    pub secret_hash: String,
    /// Tenant of the hosts that use it.
    pub tenant: String,
    /// How many hosts may use it.
    pub uses: u32,
    /// Until when, microseconds since 1970.
    pub expires: i64,
    /// Networks that may use it, in CIDR notation; empty is any.
    #[serde(default)]
    pub cidrs: Vec<String>,
    /// Labels that its hosts get. Set by the server, so that a host cannot relabel itself.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// What an API token may do. Each scope includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApiScope {
    /// Reads: alerts, events, hosts, scans, status of its tenants.
    Analyst,
    /// Gives signed orders to the hosts of its tenants.
    Csirt,
    /// Enrolment, revocation of hosts, API tokens, audit.
    Admin,
}

impl ApiScope {
    /// Every scope, from the narrowest.
    pub const ALL: [Self; 3] = [Self::Analyst, Self::Csirt, Self::Admin];

    /// Name in requests, records and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Analyst => "analyst",
            Self::Csirt => "csirt",
            Self::Admin => "admin",
        }
    }
}

/// A personal API token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiTokenCreated {
    /// Public name, random.
    pub token_id: String,
    /// SHA-256 of the token's text, hex.
    pub secret_hash: String,
    /// Whose it is: the name in the audit.
    pub name: String,
    /// What it may do.
    pub scope: ApiScope,
    /// Tenants it may see; `*` is every tenant.
    pub tenants: Vec<String>,
    /// Until when, microseconds since 1970.
    pub expires: i64,
}

/// A scan as it was ordered: what the signed envelope in `orders.v1` says, and which hosts were asked at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanOrdered {
    /// Id of the order, 32 hex digits.
    pub order_id: String,
    /// Tenant of its hosts.
    pub tenant: String,
    /// The whole tenant was asked: every host that was enrolled and not revoked when the bus took this record, and those
    /// that enrol before the order expires.
    pub whole_tenant: bool,
    /// Hosts that the order names; empty with `whole_tenant`.
    pub asked: Vec<AgentId>,
    /// Paths, bad UTF-8 replaced.
    pub paths: Vec<String>,
    /// SHA-256 of each rule text, hex.
    pub rules: Vec<String>,
    /// Key id of the operator who signed it, hex, as claimed by the envelope: only agents verify.
    pub operator_key: String,
    /// When it was signed (signer's clock, microseconds since 1970).
    pub issued: i64,
    /// Until when it is carried out (microseconds since 1970).
    pub expires: i64,
    /// Ticket of the case.
    #[serde(default)]
    pub ticket: String,
    /// Why.
    #[serde(default)]
    pub purpose: String,
    /// Legal basis.
    #[serde(default)]
    pub legal_basis: String,
    /// Traffic light protocol.
    #[serde(default)]
    pub tlp: String,
    /// Permissible actions protocol.
    #[serde(default)]
    pub pap: String,
    /// For people.
    #[serde(default)]
    pub note: String,
}

/// A host with its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentEnrolled {
    /// Hash of the key.
    pub agent_id: AgentId,
    /// Ed25519 identity key, hex.
    pub public_key: String,
    /// Tenant, from the token.
    pub tenant: String,
    /// The token it used.
    pub token_id: String,
    /// Labels, from the token.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What the host said of itself.
    pub host: HostInfo,
    /// Peer address at enrolment.
    pub remote: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_a_newer_version_is_read_as_unknown() {
        let json = r#"{"record_id":"1","ts":1,"by":"x","kind":"hunt_started","hunt":"h"}"#;
        assert_eq!(serde_json::from_str::<ControlRecord>(json).unwrap().change, Change::Unknown);
    }

    #[test]
    fn a_record_is_flat_json() {
        let record = ControlRecord {
            record_id: "r".into(),
            ts: 1,
            by: "alice".into(),
            change: Change::AgentRevoked { agent_id: AgentId([1; 16]), reason: "lost".into() },
        };
        let json = serde_json::to_value(&record).unwrap();
        assert_eq!(json["kind"], "agent_revoked");
        assert_eq!(json["agent_id"], "01".repeat(16));
        assert_eq!(serde_json::from_value::<ControlRecord>(json).unwrap(), record);
    }
}
