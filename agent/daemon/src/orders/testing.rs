//! A root, its operators and their orders, for the tests of this module.

use beffroi_schema::down::{
    Grant, OperatorKey, Order, ROLE_SCAN, Revocation, ScanOrder, SignedKind, Target, certify, order, root_certificate, sign,
};
use beffroi_schema::{AgentId, OrderId, SigningKey};
use prost::Message;

use crate::clock::now_us;

pub(super) const TENANT: &str = "interieur";
pub(super) const AGENT: AgentId = AgentId([7; 16]);
pub(super) const MINUTE: i64 = 60_000_000;

/// A root and one operator.
pub(super) struct Desk {
    pub root: OperatorKey,
    root_certificate: Vec<u8>,
    pub operator: OperatorKey,
}

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_ed25519(SigningKey::from_bytes(&[seed; 32]))
}

impl Desk {
    pub fn new(root: u8, operator: u8) -> Self {
        let root = key(root);
        let life = (now_us() - MINUTE, now_us() + 365 * 24 * 60 * MINUTE);
        let root_certificate = root_certificate(&root, "Racine", life.0, life.1).expect("a root signs itself").encode_to_vec();
        Self { root, root_certificate, operator: key(operator) }
    }

    pub fn certificate(&self, change: impl FnOnce(&mut Grant)) -> Vec<u8> {
        let mut grant = Grant {
            name: "Alice".into(),
            tenants: vec![TENANT.into()],
            roles: vec![ROLE_SCAN.into()],
            not_before: now_us() - MINUTE,
            not_after: now_us() + 60 * MINUTE,
            version: 1,
        };
        change(&mut grant);
        certify(&self.root, self.root_certificate.clone(), &self.operator.public_key(), grant)
            .expect("a root certifies")
            .encode_to_vec()
    }

    pub fn sign(&self, order: &Order) -> Vec<u8> {
        self.sign_as(order, |_| {})
    }

    pub fn sign_as(&self, order: &Order, grant: impl FnOnce(&mut Grant)) -> Vec<u8> {
        sign(SignedKind::Order, order, &self.operator, self.certificate(grant)).expect("an operator signs").encode_to_vec()
    }

    pub fn revoke(&self, version: u64, keys: &[&OperatorKey]) -> Vec<u8> {
        let key_ids = keys.iter().map(|key| key.key_id().0.to_vec()).collect();
        let revocation = Revocation { version, issued: now_us(), key_ids };
        sign(SignedKind::Revocation, &revocation, &self.root, self.root_certificate.clone())
            .expect("a root signs")
            .encode_to_vec()
    }
}

pub(super) fn id(seed: u8) -> OrderId {
    OrderId([seed; 16])
}

pub(super) fn order(seed: u8, action: order::Action) -> Order {
    Order {
        order_id: vec![seed; 16],
        target: Some(Target { tenant: TENANT.into(), agent_ids: vec![AGENT.0.to_vec()], whole_tenant: false }),
        issued: now_us() - MINUTE,
        expires: now_us() + 10 * MINUTE,
        action: Some(action),
        ..Default::default()
    }
}

pub(super) fn scan(seed: u8, rule: &[u8]) -> Order {
    let scan = ScanOrder {
        rules_sha256: vec![beffroi_schema::down::blob_name(rule).to_vec()],
        paths: vec![b"/srv".to_vec()],
        ..Default::default()
    };
    order(seed, order::Action::Scan(scan))
}
