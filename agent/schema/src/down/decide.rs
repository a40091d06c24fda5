//! May this order be carried out by this host now? One pure decision, with a refusal of its own for every reason.
//!
//! Owns the rules of orders: target, time, role, limits. It is asked after the chain has been verified and before anything
//! is done or remembered; whatever it refuses leaves no trace on the host but the answer.

use super::{Order, ROLE_SCAN, ScanOrder, SignedError, Target, Verified, order};
use crate::ids::AgentId;
use crate::limits::{
    MAX_ARCHIVE_DEPTH, MAX_CLOCK_SKEW_US, MAX_ORDER_BLOBS, MAX_ORDER_LIFE_US, MAX_ORDER_PATH_BYTES, MAX_ORDER_PATHS,
    MAX_ORDER_TEXT_BYTES,
};

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The envelope or its chain.
    #[error(transparent)]
    Envelope(#[from] SignedError),
    /// This host has no root: it takes no orders at all.
    #[error("this host has pinned no root and takes no orders; enrol it again with a token that names one")]
    NoRoot,
    /// The order lacks a part that every order has.
    #[error("the order is incomplete: {0}")]
    Incomplete(&'static str),
    /// The order is for hosts of another tenant.
    #[error("the order is for another tenant")]
    OtherTenant,
    /// The order does not name this host.
    #[error("the order does not name this host")]
    OtherHost,
    /// The operator is not certified for the tenant.
    #[error("operator {operator:?} is not certified for this host's tenant")]
    OperatorTenant {
        /// The operator.
        operator: String,
    },
    /// The operator is not certified for the action.
    #[error("operator {operator:?} is not certified for the role {role}")]
    Role {
        /// The operator.
        operator: String,
        /// What is missing.
        role: &'static str,
    },
    /// It says that it was signed later than this host's clock shows.
    #[error("the order was issued {0} s in the future; is this host's clock right?")]
    Future(i64),
    /// It is over.
    #[error("the order expired {0} s ago")]
    Expired(i64),
    /// It is good for longer than orders may be.
    #[error("the order is good for more than 7 days")]
    Life,
    /// An action that this version does not know.
    #[error("the order asks for something that this agent does not know; it scans, lists and cancels")]
    Action,
    /// It asks for more than an order may.
    #[error("the order is beyond a limit: {0}")]
    Limit(&'static str),
    /// This host already has as many orders as it takes.
    #[error("this host already has {0} orders; cancel some or wait for their end")]
    Full(usize),
    /// This host cannot read what it accepted before, so it cannot tell a new order from an old one.
    #[error("this host cannot keep its record of orders: {0}")]
    NoRecord(String),
    /// This host does not scan.
    #[error("this host cannot scan: {0}")]
    NoScanner(String),
}

impl Refusal {
    /// Stable short code, for counters and for reasons that people search.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Envelope(error) => error.code(),
            Self::NoRoot => "no_root",
            Self::Incomplete(_) => "incomplete",
            Self::OtherTenant => "other_tenant",
            Self::OtherHost => "other_host",
            Self::OperatorTenant { .. } => "operator_tenant",
            Self::Role { .. } => "operator_role",
            Self::Future(_) => "issued_in_future",
            Self::Expired(_) => "expired",
            Self::Life => "life_too_long",
            Self::Action => "unknown_action",
            Self::Limit(_) => "limit",
            Self::Full(_) => "too_many_orders",
            Self::NoRecord(_) => "no_record",
            Self::NoScanner(_) => "no_scanner",
        }
    }

    /// Code and words, as they stand in the answer of a host.
    pub fn reason(&self) -> String {
        format!("{}: {self}", self.code())
    }
}

/// Whether this order, signed by `by`, may be carried out by host `agent` of `tenant` at `now_us` (microseconds since
/// 1970, the host's clock).
///
/// # Errors
/// The first [`Refusal`] that applies.
pub fn rules_of_order(order: &Order, by: &Verified, tenant: &str, agent: AgentId, now_us: i64) -> Result<(), Refusal> {
    if order.order_id.len() != 16 {
        return Err(Refusal::Incomplete("its id is not 16 bytes"));
    }
    let target = order.target.as_ref().ok_or(Refusal::Incomplete("it has no target"))?;
    check_target(target, tenant, agent)?;
    let operator = || by.operator.clone();
    if !by.covers(tenant) {
        return Err(Refusal::OperatorTenant { operator: operator() });
    }
    check_time(order, now_us)?;
    let action = order.action.as_ref().ok_or(Refusal::Action)?;
    if !by.has_role(ROLE_SCAN) {
        return Err(Refusal::Role { operator: operator(), role: ROLE_SCAN });
    }
    check_texts(order)?;
    match action {
        order::Action::Scan(scan) => check_scan(scan),
        order::Action::Cancel(cancel) if cancel.order_id.len() != 16 => Err(Refusal::Incomplete("it cancels no order")),
        order::Action::Cancel(_) | order::Action::List(_) => Ok(()),
    }
}

fn check_target(target: &Target, tenant: &str, agent: AgentId) -> Result<(), Refusal> {
    if target.tenant != tenant {
        return Err(Refusal::OtherTenant);
    }
    if target.whole_tenant || target.agent_ids.iter().any(|id| *id == agent.0) { Ok(()) } else { Err(Refusal::OtherHost) }
}

fn check_time(order: &Order, now_us: i64) -> Result<(), Refusal> {
    if order.expires <= order.issued {
        return Err(Refusal::Incomplete("it ends before it begins"));
    }
    if order.expires.saturating_sub(order.issued) > MAX_ORDER_LIFE_US {
        return Err(Refusal::Life);
    }
    let ahead = order.issued.saturating_sub(now_us);
    if ahead > MAX_CLOCK_SKEW_US {
        return Err(Refusal::Future(ahead / 1_000_000));
    }
    if now_us >= order.expires {
        return Err(Refusal::Expired(now_us.saturating_sub(order.expires) / 1_000_000));
    }
    Ok(())
}

fn check_texts(order: &Order) -> Result<(), Refusal> {
    let texts = [&order.ticket, &order.purpose, &order.legal_basis, &order.tlp, &order.pap, &order.note];
    if texts.iter().any(|text| text.len() > MAX_ORDER_TEXT_BYTES) {
        return Err(Refusal::Limit("ticket, purpose, legal basis, TLP, PAP and note have at most 1024 bytes each"));
    }
    Ok(())
}

fn check_scan(scan: &ScanOrder) -> Result<(), Refusal> {
    if scan.rules_sha256.is_empty() || scan.paths.is_empty() {
        return Err(Refusal::Incomplete("a scan names at least one rule text and one path"));
    }
    if scan.rules_sha256.len() > MAX_ORDER_BLOBS || scan.rules_sha256.iter().any(|name| name.len() != 32) {
        return Err(Refusal::Limit("at most 64 rule texts, each named by its SHA-256"));
    }
    if scan.paths.len() > MAX_ORDER_PATHS {
        return Err(Refusal::Limit("at most 64 paths"));
    }
    if scan.paths.iter().any(|path| !is_absolute(path)) {
        return Err(Refusal::Limit("paths are absolute, of at most 4096 bytes, without NUL"));
    }
    if scan.archive_depth > MAX_ARCHIVE_DEPTH {
        return Err(Refusal::Limit("archives are walked to depth 4"));
    }
    Ok(())
}

fn is_absolute(path: &[u8]) -> bool {
    path.first() == Some(&b'/') && path.len() <= MAX_ORDER_PATH_BYTES && !path.contains(&0)
}
