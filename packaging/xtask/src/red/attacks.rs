//! What a collector in the attacker's hands can send: everything but a signature under the root that a host has pinned.
//!
//! Owns the kinds of attack and the making of their envelopes. The attacker here has more than a real one would: genuine
//! orders of other hosts and tenants, of operators who lost their rights, and of a key that was revoked.

use anyhow::{Context, Result};
use beffroi_schema::down::{
    Grant, OperatorKey, Order, ROLE_ROOT, ROLE_SCAN, Revocation, ScanOrder, SignedKind, Target, certify, order, root_certificate,
    sign,
};
use beffroi_schema::limits::MAX_SIGNED_BYTES;
use beffroi_schema::{AgentId, OrderId};
use prost::Message;

use crate::bench::random::Random;
use crate::reader::now_us;

/// Tenant of the attacked host.
pub const TENANT: &str = "interieur";
const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// One kind of attack: what it is called, how often it is made, and with which code a host refuses it; none where several
/// codes are right.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// For the table.
    pub name: &'static str,
    /// Envelopes of it.
    pub count: u64,
    /// Expected code.
    pub code: Option<&'static str>,
    make: fn(&mut Attacker) -> Result<Vec<u8>>,
}

const fn kind(name: &'static str, count: u64, code: &'static str, make: fn(&mut Attacker) -> Result<Vec<u8>>) -> Kind {
    Kind { name, count, code: Some(code), make }
}

/// Kinds whose codes differ, so that one round tells them apart.
pub const FIRST_ROUND: &[Kind] = &[
    kind("garbage", 900, "malformed", Attacker::garbage),
    kind("root swapped", 1_400, "unknown_operator", Attacker::root_swapped),
    kind("signed with a stolen certificate", 900, "bad_signature", Attacker::stolen_certificate),
    kind("for another tenant", 900, "other_tenant", Attacker::other_tenant),
    kind("for another host", 900, "other_host", Attacker::other_host),
    kind("expired", 900, "expired", Attacker::expired),
    kind("issued in the future", 200, "issued_in_future", Attacker::future),
    kind("good for too long", 200, "life_too_long", Attacker::too_long),
    kind("by an operator of another tenant", 300, "operator_tenant", Attacker::operator_of_another_tenant),
    kind("by an operator without the role", 200, "operator_role", Attacker::without_role),
    kind("under an expired certificate", 200, "certificate_expired", Attacker::expired_certificate),
    kind("under a certificate of a year", 100, "certificate_life", Attacker::long_certificate),
    kind("by an operator as root", 100, "bad_certificate", Attacker::operator_as_root),
    kind("by a revoked key", 200, "revoked_key", Attacker::revoked),
    kind("of an unknown action", 100, "unknown_action", Attacker::unknown_action),
    kind("with relative paths", 100, "limit", Attacker::relative_path),
    kind("a policy as an order", 100, "wrong_kind", Attacker::wrong_kind),
];

/// Kinds that may be refused for several reasons: a round each.
pub const OTHER_ROUNDS: &[Kind] = &[
    Kind { name: "altered by one bit", count: 1_400, code: None, make: Attacker::altered },
    Kind { name: "cut short", count: 400, code: None, make: Attacker::cut },
    Kind { name: "larger than allowed", count: 20, code: None, make: Attacker::oversized },
    Kind { name: "forged revocation", count: 80, code: None, make: Attacker::forged_revocation },
];

/// Envelopes that repeat the genuine order, once it was obeyed.
pub const REPLAYS: u64 = 400;

/// A root, its certificate and an operator's key.
pub struct Authority {
    root: OperatorKey,
    certificate: Vec<u8>,
    operator: OperatorKey,
}

impl Authority {
    /// New keys.
    pub fn new() -> Result<Self> {
        let root = OperatorKey::generate_p256()?;
        let certificate = root_certificate(&root, "Racine", now_us() - DAY, now_us() + 365 * DAY)?.encode_to_vec();
        Ok(Self { root, certificate, operator: OperatorKey::generate_ed25519()? })
    }

    /// What a host pins.
    pub fn root_id(&self) -> String {
        self.root.key_id().to_string()
    }

    fn certify(&self, operator: &OperatorKey, change: impl FnOnce(&mut Grant)) -> Result<Vec<u8>> {
        let mut grant = Grant {
            name: "Alice".into(),
            tenants: vec![TENANT.into()],
            roles: vec![ROLE_SCAN.into()],
            not_before: now_us() - DAY,
            not_after: now_us() + 20 * DAY,
            version: 1,
        };
        change(&mut grant);
        Ok(certify(&self.root, self.certificate.clone(), &operator.public_key(), grant)?.encode_to_vec())
    }

    /// An order as the operator signs it.
    pub fn sign(&self, order: &Order) -> Result<Vec<u8>> {
        self.sign_as(order, |_| {})
    }

    fn sign_as(&self, order: &Order, change: impl FnOnce(&mut Grant)) -> Result<Vec<u8>> {
        let certificate = self.certify(&self.operator, change)?;
        Ok(sign(SignedKind::Order, order, &self.operator, certificate)?.encode_to_vec())
    }

    fn revocation(&self, keys: &[&OperatorKey]) -> Result<Vec<u8>> {
        let key_ids = keys.iter().map(|key| key.key_id().0.to_vec()).collect();
        let body = Revocation { version: now_us().unsigned_abs(), issued: now_us(), key_ids };
        Ok(sign(SignedKind::Revocation, &body, &self.root, self.certificate.clone())?.encode_to_vec())
    }
}

/// Who makes the attacks.
pub struct Attacker {
    genuine: Authority,
    own: Authority,
    dismissed: OperatorKey,
    agent: AgentId,
    random: Random,
    rule: [u8; 32],
    folder: Vec<u8>,
    round: u8,
}

impl Attacker {
    /// An attacker of this host. `rule` is the SHA-256 of a rule text that the server really has, `folder` a path that
    /// exists, so that an accepted order would really run.
    pub fn new(genuine: Authority, agent: AgentId, rule: [u8; 32], folder: &str) -> Result<Self> {
        Ok(Self {
            genuine,
            own: Authority::new()?,
            dismissed: OperatorKey::generate_ed25519()?,
            agent,
            random: Random::new(7),
            rule,
            folder: folder.into(),
            round: 0,
        })
    }

    /// The genuine revocation of the key that the attacker will use later.
    pub fn dismissal(&self) -> Result<Vec<u8>> {
        self.genuine.revocation(&[&self.dismissed])
    }

    /// A genuine order for this host, with an id that no attack has.
    pub fn genuine_order(&mut self) -> Result<(OrderId, Vec<u8>)> {
        let order = Order { order_id: self.id(0), ..self.order() };
        let id = OrderId::try_from(order.order_id.as_slice())?;
        Ok((id, self.genuine.sign(&order)?))
    }

    /// Every envelope of one kind. Their orders' ids begin with `mark`, which is not 0.
    pub fn make(&mut self, kind: &Kind, mark: u8) -> Result<Vec<Vec<u8>>> {
        self.round = mark;
        (0..kind.count).map(|_| (kind.make)(self).with_context(|| format!("cannot make an attack: {}", kind.name))).collect()
    }

    fn id(&mut self, mark: u8) -> Vec<u8> {
        let (high, low) = (self.random.next(), self.random.next());
        let mut id = [high.to_be_bytes(), low.to_be_bytes()].concat();
        id[0] = mark;
        id
    }

    fn order(&mut self) -> Order {
        let scan = ScanOrder {
            rules_sha256: vec![self.rule.to_vec()],
            paths: vec![self.folder.clone()],
            recursive: true,
            ..Default::default()
        };
        Order {
            order_id: self.id(self.round),
            target: Some(Target { tenant: TENANT.into(), agent_ids: vec![self.agent.0.to_vec()], whole_tenant: false }),
            issued: now_us(),
            expires: now_us() + 15 * MINUTE,
            action: Some(order::Action::Scan(scan)),
            ..Default::default()
        }
    }

    fn changed(&mut self, change: impl FnOnce(&mut Order)) -> Result<Vec<u8>> {
        let mut order = self.order();
        change(&mut order);
        self.genuine.sign(&order)
    }

    fn granted(&mut self, change: impl FnOnce(&mut Grant)) -> Result<Vec<u8>> {
        let order = self.order();
        self.genuine.sign_as(&order, change)
    }

    fn bytes(&mut self, len: u64) -> Vec<u8> {
        (0..len).map(|_| self.random.next().to_be_bytes()[0]).collect()
    }

    fn garbage(&mut self) -> Result<Vec<u8>> {
        let len = 1 + self.random.below(2_000);
        // A field number of 0 is never protobuf, so that this kind is refused for one reason.
        Ok([vec![0], self.bytes(len)].concat())
    }

    fn root_swapped(&mut self) -> Result<Vec<u8>> {
        let order = self.order();
        self.own.sign(&order)
    }

    fn stolen_certificate(&mut self) -> Result<Vec<u8>> {
        let order = self.order();
        let certificate = self.genuine.certify(&self.genuine.operator, |_| {})?;
        let mut signed = sign(SignedKind::Order, &order, &self.own.operator, certificate)?;
        signed.signatures[0].key_id = self.genuine.operator.key_id().0.to_vec();
        Ok(signed.encode_to_vec())
    }

    fn other_tenant(&mut self) -> Result<Vec<u8>> {
        let mut order = self.order();
        order.target = Some(Target { tenant: "justice".into(), agent_ids: vec![], whole_tenant: true });
        self.genuine.sign_as(&order, |grant| grant.tenants = vec!["justice".into()])
    }

    fn other_host(&mut self) -> Result<Vec<u8>> {
        let other = self.bytes(16);
        self.changed(|order| order.target = Some(Target { tenant: TENANT.into(), agent_ids: vec![other], whole_tenant: false }))
    }

    fn expired(&mut self) -> Result<Vec<u8>> {
        let ago = MINUTE + i64::try_from(self.random.below(5 * DAY.unsigned_abs()))?;
        self.changed(|order| (order.issued, order.expires) = (order.issued - ago - 15 * MINUTE, order.issued - ago))
    }

    fn future(&mut self) -> Result<Vec<u8>> {
        self.changed(|order| (order.issued, order.expires) = (order.issued + DAY, order.expires + DAY))
    }

    fn too_long(&mut self) -> Result<Vec<u8>> {
        self.changed(|order| order.expires += 7 * DAY)
    }

    fn operator_of_another_tenant(&mut self) -> Result<Vec<u8>> {
        self.granted(|grant| grant.tenants = vec!["justice".into()])
    }

    fn without_role(&mut self) -> Result<Vec<u8>> {
        self.granted(|grant| grant.roles = vec!["audit".into()])
    }

    fn expired_certificate(&mut self) -> Result<Vec<u8>> {
        self.granted(|grant| grant.not_after = now_us() - 1)
    }

    fn long_certificate(&mut self) -> Result<Vec<u8>> {
        self.granted(|grant| grant.not_after = grant.not_before + 365 * DAY)
    }

    fn operator_as_root(&mut self) -> Result<Vec<u8>> {
        self.granted(|grant| grant.roles.push(ROLE_ROOT.into()))
    }

    fn revoked(&mut self) -> Result<Vec<u8>> {
        let order = self.order();
        let certificate = self.genuine.certify(&self.dismissed, |_| {})?;
        Ok(sign(SignedKind::Order, &order, &self.dismissed, certificate)?.encode_to_vec())
    }

    fn unknown_action(&mut self) -> Result<Vec<u8>> {
        self.changed(|order| order.action = None)
    }

    fn relative_path(&mut self) -> Result<Vec<u8>> {
        self.changed(|order| {
            if let Some(order::Action::Scan(scan)) = &mut order.action {
                scan.paths = vec![b"../../etc".to_vec()];
            }
        })
    }

    /// Signed by the operator, but as a certificate.
    fn wrong_kind(&mut self) -> Result<Vec<u8>> {
        let order = self.order();
        let certificate = self.genuine.certify(&self.genuine.operator, |_| {})?;
        Ok(sign(SignedKind::OperatorCertificate, &order, &self.genuine.operator, certificate)?.encode_to_vec())
    }

    fn altered(&mut self) -> Result<Vec<u8>> {
        let mut bytes = self.changed(|_| {})?;
        let place = usize::try_from(self.random.below(bytes.len() as u64))?;
        bytes[place] ^= 1 << self.random.below(8);
        Ok(bytes)
    }

    fn cut(&mut self) -> Result<Vec<u8>> {
        let mut bytes = self.changed(|_| {})?;
        bytes.truncate(usize::try_from(self.random.below(bytes.len() as u64 - 1))?);
        Ok(bytes)
    }

    fn oversized(&mut self) -> Result<Vec<u8>> {
        self.changed(|order| order.note = "n".repeat(MAX_SIGNED_BYTES))
    }

    fn forged_revocation(&mut self) -> Result<Vec<u8>> {
        self.own.revocation(&[&self.genuine.operator])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_attacks_are_made() {
        let kinds = FIRST_ROUND.iter().chain(OTHER_ROUNDS);
        assert_eq!(kinds.map(|kind| kind.count).sum::<u64>() + REPLAYS, 10_000);
    }

    #[test]
    fn kinds_of_one_round_are_refused_for_different_reasons() {
        let mut codes: Vec<_> = FIRST_ROUND.iter().map(|kind| kind.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), FIRST_ROUND.len());
    }
}
