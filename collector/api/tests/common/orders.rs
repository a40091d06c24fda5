//! Signed orders as the terminal makes them, and what hosts answer to them.

use base64::Engine;
use beffroi_schema::batch::Record;
use beffroi_schema::down::{self, CancelOrder, OperatorKey, Order, Revocation, ScanOrder, SignedKind, Target, order::Action};
use beffroi_schema::{AgentId, Category, Event, Field, Product, SigningKey};
use prost::Message;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::support::now;

pub const RULE: &str = "rule marker { strings: $a = \"jndi\" condition: $a }";

/// An order and what goes with it.
#[derive(Clone)]
pub struct Signed {
    /// Id, hex.
    pub id: String,
    pub order: Order,
    pub rules: Vec<String>,
}

pub fn base64(bytes: impl AsRef<[u8]>) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn random_id() -> Vec<u8> {
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).unwrap();
    id.to_vec()
}

impl Signed {
    /// A scan of these hosts; of the whole tenant for none.
    pub fn scan(tenant: &str, hosts: &[AgentId]) -> Self {
        let target = Target {
            tenant: tenant.into(),
            agent_ids: hosts.iter().map(|id| id.0.to_vec()).collect(),
            whole_tenant: hosts.is_empty(),
        };
        let scan = ScanOrder {
            rules_sha256: vec![Sha256::digest(RULE).to_vec()],
            paths: vec![b"/opt".to_vec()],
            ..ScanOrder::default()
        };
        let mut order =
            Order { order_id: random_id(), target: Some(target), action: Some(Action::Scan(scan)), ..Order::default() };
        (order.issued, order.expires) = (now(), now() + 900_000_000);
        (order.note, order.ticket) = (format!("note-of-{tenant}"), "T-1".into());
        Self { id: hex::encode(&order.order_id), order, rules: vec![RULE.into()] }
    }

    /// The end of a scan.
    pub fn cancel(tenant: &str, order_id: &str) -> Self {
        let mut cancel = Self::scan(tenant, &[]);
        cancel.order.action = Some(Action::Cancel(CancelOrder { order_id: hex::decode(order_id).unwrap() }));
        cancel
    }

    pub fn bytes(&self) -> Vec<u8> {
        let key = OperatorKey::from_ed25519(SigningKey::from_bytes(&[5; 32]));
        down::sign(SignedKind::Order, &self.order, &key, Vec::new()).unwrap().encode_to_vec()
    }

    pub fn envelope(&self) -> Value {
        base64(self.bytes()).into()
    }

    /// What is posted.
    pub fn body(&self) -> Value {
        let blobs: Vec<String> = self.rules.iter().map(base64).collect();
        json!({"envelope": self.envelope(), "blobs": blobs})
    }
}

/// A revocation of one key, as a root signs it; each is another one.
pub fn revocation() -> Value {
    let root = OperatorKey::from_ed25519(SigningKey::from_bytes(&[6; 32]));
    let body = Revocation { version: now() as u64, issued: now(), key_ids: vec![[random_id(), random_id()].concat()] };
    base64(down::sign(SignedKind::Revocation, &body, &root, Vec::new()).unwrap().encode_to_vec()).into()
}

/// One answer of a host.
pub fn answer(order: &str, action: &str, figures: &[(Field, u64)], words: &[(Field, &str)]) -> Record {
    let mut event = Event::new(Category::Scan, Product::Linux, now());
    event.set(Field::ORDER_ID, order).set(Field::ACTION, action);
    figures.iter().for_each(|(field, number)| {
        event.set(*field, *number);
    });
    words.iter().for_each(|(field, text)| {
        event.set(*field, *text);
    });
    Record::Event(event)
}

/// A rule that matched.
pub fn matched(order: &str, rule: &str, path: &str) -> Record {
    let mut event = Event::new(Category::Antivirus, Product::Linux, now());
    event.set(Field::ORDER_ID, order).set(Field::SIGNATURE, rule).set(Field::FILENAME, path);
    event.set(Field::SHA256, "ab".repeat(32).as_str());
    Record::Event(event)
}
