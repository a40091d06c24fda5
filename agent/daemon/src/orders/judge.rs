//! One envelope, one judgement: what it asks for, or why it is refused.
//!
//! Owns the order of the checks: form, root, chain, rules, memory. Pure but for what it is given; nothing is remembered
//! and nothing is done here.

use beffroi_schema::OrderId;
use beffroi_schema::down::{
    self, Order, ROLE_ROOT, Refusal, Revocation, Signed, SignedError, SignedKind, Verified, order, rules_of_order, verify_chain,
};

use super::book::{Book, Pending, ScanTask};
use super::desk::Host;

/// What an acceptable envelope asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    Scan(Box<Pending>),
    Cancel {
        own: OrderId,
        expires: i64,
        target: OrderId,
        by: String,
    },
    List {
        own: OrderId,
        expires: i64,
    },
    Revoke(Revocation),
    /// It was accepted before.
    Repeated,
    /// Nothing for this version to do.
    Nothing,
}

/// Why an envelope is refused. The order is what it claims to be, as far as that can be read and no accepted order has
/// that id: a forgery must not speak in the name of an order that is being carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub order: Option<OrderId>,
    pub refusal: Refusal,
}

/// Judges an envelope.
pub(super) fn judge(envelope: &[u8], host: &Host, book: &Book, now_us: i64) -> Result<Task, Refused> {
    let nameless = |refusal: Refusal| Refused { order: None, refusal };
    let signed = down::parse(envelope).map_err(|error| nameless(error.into()))?;
    if signed.kind == SignedKind::Revocation as u32 {
        return revocation(&signed, host, book, now_us).map_err(nameless);
    }
    // Meant for agents that know more; a gateway hands them down to everybody.
    if [SignedKind::Policy as u32, SignedKind::RulePack as u32].contains(&signed.kind) {
        return Ok(Task::Nothing);
    }
    let order: Order = down::read_body(&signed, SignedKind::Order).map_err(|error| nameless(error.into()))?;
    let id = OrderId::try_from(order.order_id.as_slice()).ok();
    accept(&signed, order, host, book, now_us).map_err(|refusal| Refused { order: id.filter(|id| !book.is_seen(id)), refusal })
}

fn chain(signed: &Signed, kind: SignedKind, host: &Host, book: &Book, now_us: i64) -> Result<Verified, Refusal> {
    let root = host.root.as_ref().ok_or(Refusal::NoRoot)?;
    Ok(verify_chain(signed, kind, root, now_us, |key| book.is_revoked(key))?)
}

fn accept(signed: &Signed, order: Order, host: &Host, book: &Book, now_us: i64) -> Result<Task, Refusal> {
    let by = chain(signed, SignedKind::Order, host, book, now_us)?;
    let own = OrderId::try_from(order.order_id.as_slice()).map_err(|_| Refusal::Incomplete("its id is not 16 bytes"))?;
    if book.is_seen(&own) {
        return Ok(Task::Repeated);
    }
    rules_of_order(&order, &by, &host.tenant, host.agent, now_us)?;
    let expires = order.expires;
    match order.action.ok_or(Refusal::Action)? {
        order::Action::Scan(scan) => Ok(Task::Scan(Box::new(Pending {
            id: own,
            operator: by.operator,
            keys: by.keys,
            received: now_us,
            expires,
            answered: false,
            scan: ScanTask::of(&scan),
        }))),
        order::Action::List(_) => Ok(Task::List { own, expires }),
        order::Action::Cancel(cancel) => {
            let target = OrderId::try_from(cancel.order_id.as_slice()).map_err(|_| Refusal::Incomplete("it cancels no order"))?;
            Ok(Task::Cancel { own, expires, target, by: by.operator })
        }
    }
}

fn revocation(signed: &Signed, host: &Host, book: &Book, now_us: i64) -> Result<Task, Refusal> {
    let by = chain(signed, SignedKind::Revocation, host, book, now_us)?;
    if !by.has_role(ROLE_ROOT) {
        return Err(Refusal::Role { operator: by.operator, role: ROLE_ROOT });
    }
    let revocation: Revocation = down::read_body(signed, SignedKind::Revocation)?;
    if revocation.key_ids.iter().any(|id| id.len() != 32) {
        return Err(SignedError::Malformed("a revoked key is no key id".into()).into());
    }
    // Only upward: an old list that is given again changes nothing.
    if revocation.version <= book.revocation_version() { Ok(Task::Repeated) } else { Ok(Task::Revoke(revocation)) }
}
