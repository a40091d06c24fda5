//! A signed order as somebody gives it to the API: read, bounded, compared with what it may ask for. Nothing is verified
//! here, because servers hold no trust: whether the signature leads to a host's root is for that host's sensor to decide.

use std::collections::BTreeSet;

use base64::Engine;
use beffroi_schema::AgentId;
use beffroi_schema::control::ScanOrdered;
use beffroi_schema::down::{self, Order, ScanOrder, SignedKind, order::Action};
use beffroi_schema::ids::is_tenant_name;
use beffroi_schema::json::rfc3339;
use beffroi_schema::limits::{MAX_BLOB_BYTES, MAX_ORDER_BLOBS, MAX_ORDER_LIFE_US};
use prost::Message;
use sha2::{Digest, Sha256};

use crate::error::Refusal;

/// Hosts that one order may name: their ids must fit into one control record.
const MAX_HOSTS: usize = 5_000;
/// Paths of one order, and their bytes together.
const MAX_PATHS: usize = 256;
const MAX_PATHS_BYTES: usize = 32 * 1024;
/// Longest note, ticket, purpose, legal basis.
const MAX_WORDS: usize = 2_000;
/// Bytes of all rule texts of one order.
pub(super) const MAX_RULES_BYTES: usize = 16 * 1024 * 1024;
/// How far ahead of ours the signer's clock may be.
pub(super) const MAX_AHEAD_US: i64 = 5 * 60 * 1_000_000;

/// An order that was read.
pub(super) struct Given {
    /// The envelope's bytes, as they go down.
    pub(super) envelope: Vec<u8>,
    pub(super) order: Order,
    /// Id of the order, hex.
    pub(super) id: String,
    pub(super) tenant: String,
    /// Key id of its first signature, hex: a claim.
    pub(super) operator_key: String,
}

fn refuse<T>(error: impl Into<String>, hint: &str) -> Result<T, Refusal> {
    Err(Refusal::bad(error, hint))
}

/// An envelope of one kind.
pub(super) struct Envelope<M> {
    /// What was signed.
    pub(super) body: M,
    /// Key id of the first signature, hex: a claim.
    pub(super) signer: String,
    /// The envelope's bytes, as they go down.
    pub(super) bytes: Vec<u8>,
}

impl<M: Message + Default> Envelope<M> {
    /// Reads an envelope (base64) of this kind; `hint` says where such a one comes from.
    pub(super) fn read(text: &str, kind: SignedKind, hint: &str) -> Result<Self, Refusal> {
        let Ok(bytes) = base64::engine::general_purpose::STANDARD.decode(text) else {
            return refuse("envelope is no base64", hint);
        };
        let bad = |error: String| Refusal::bad(format!("envelope: {error}"), hint);
        let signed = down::parse(&bytes).map_err(|error| bad(error.to_string()))?;
        let body = down::read_body(&signed, kind).map_err(|error| bad(error.to_string()))?;
        let Some(signature) = signed.signatures.first().filter(|signature| signature.key_id.len() == 32) else {
            return refuse("envelope has no signature", hint);
        };
        Ok(Self { body, signer: hex::encode(&signature.key_id), bytes })
    }
}

impl Given {
    /// Reads an envelope (base64).
    pub(super) fn read(text: &str) -> Result<Self, Refusal> {
        const HINT: &str = "send the signed order as `beffroi scan` makes it";
        let Envelope { body: order, signer, bytes: envelope } = Envelope::<Order>::read(text, SignedKind::Order, HINT)?;
        if order.order_id.len() != 16 {
            return refuse("order_id has not 16 bytes", HINT);
        }
        let tenant = order.target.as_ref().map(|target| target.tenant.clone()).unwrap_or_default();
        Ok(Self { id: hex::encode(&order.order_id), tenant, operator_key: signer, order, envelope })
    }

    /// Whether it is for a tenant, in time, and within limits.
    pub(super) fn check(&self, now: i64) -> Result<(), Refusal> {
        let order = &self.order;
        if !is_tenant_name(&self.tenant) {
            return refuse("the order names no tenant", "sign it for one tenant");
        }
        if order.expires <= now {
            return refuse("the order has expired", "sign a new one; is this machine's clock right?");
        }
        if order.issued > now.saturating_add(MAX_AHEAD_US) {
            return refuse("the order was issued in the future", "set the clock of the machine that signs");
        }
        if order.expires.saturating_sub(order.issued) > MAX_ORDER_LIFE_US {
            return refuse("the order lives longer than seven days", "sign one that lives shorter");
        }
        let words = [&order.ticket, &order.purpose, &order.legal_basis, &order.tlp, &order.pap, &order.note];
        if words.iter().any(|text| text.len() > MAX_WORDS) {
            return refuse("note, ticket, purpose, legal basis, TLP and PAP have at most 2000 bytes each", "write less");
        }
        Ok(())
    }

    /// The scan that it orders.
    pub(super) fn scan(&self) -> Result<&ScanOrder, Refusal> {
        match &self.order.action {
            Some(Action::Scan(scan)) => Ok(scan),
            _ => refuse("the order is no scan", "give cancellations to the scan that they end"),
        }
    }

    /// The order that it cancels, hex.
    pub(super) fn cancels(&self) -> Result<String, Refusal> {
        match &self.order.action {
            Some(Action::Cancel(cancel)) => Ok(hex::encode(&cancel.order_id)),
            _ => refuse("the order is no cancellation", "sign one with `beffroi scan cancel`"),
        }
    }

    /// The hosts that it names; none for the whole tenant.
    fn hosts(&self) -> Result<Vec<AgentId>, Refusal> {
        let target = self.order.target.clone().unwrap_or_default();
        if target.whole_tenant != target.agent_ids.is_empty() {
            return refuse("the order names neither hosts nor the whole tenant, or both", "name the hosts, or tenant:*");
        }
        if target.agent_ids.len() > MAX_HOSTS {
            return refuse(format!("the order names more than {MAX_HOSTS} hosts"), "ask the whole tenant (tenant:*)");
        }
        let ids: Result<BTreeSet<AgentId>, _> = target.agent_ids.iter().map(|id| AgentId::try_from(id.as_slice())).collect();
        match ids {
            Ok(ids) => Ok(ids.into_iter().collect()),
            Err(_) => refuse("the order names something that is no agent id", "take the ids from `beffroi hosts list`"),
        }
    }

    /// The control record of its scan.
    pub(super) fn ordered(&self) -> Result<ScanOrdered, Refusal> {
        let (order, scan, asked) = (&self.order, self.scan()?, self.hosts()?);
        let bytes: usize = scan.paths.iter().map(Vec::len).sum();
        if scan.paths.is_empty() || scan.paths.len() > MAX_PATHS || bytes > MAX_PATHS_BYTES {
            return refuse("an order has 1 to 256 paths of together at most 32 KiB", "name folders instead of files");
        }
        let text = |path: &Vec<u8>| String::from_utf8_lossy(path).into_owned();
        Ok(ScanOrdered {
            order_id: self.id.clone(),
            tenant: self.tenant.clone(),
            whole_tenant: asked.is_empty(),
            asked,
            paths: scan.paths.iter().map(text).collect(),
            rules: scan.rules_sha256.iter().map(hex::encode).collect(),
            operator_key: self.operator_key.clone(),
            issued: order.issued,
            expires: order.expires,
            ticket: order.ticket.clone(),
            purpose: order.purpose.clone(),
            legal_basis: order.legal_basis.clone(),
            tlp: order.tlp.clone(),
            pap: order.pap.clone(),
            note: order.note.clone(),
        })
    }

    /// What the audit keeps.
    pub(super) fn audited(&self) -> serde_json::Value {
        let target = self.order.target.clone().unwrap_or_default();
        serde_json::json!({
            "order_id": self.id, "tenant": self.tenant, "operator_key": self.operator_key, "whole_tenant": target.whole_tenant,
            "hosts": target.agent_ids.len(), "ticket": self.order.ticket, "purpose": self.order.purpose,
            "legal_basis": self.order.legal_basis, "expires": rfc3339(self.order.expires),
        })
    }
}

/// A rule text under its hash.
pub(super) type Blob = (String, Vec<u8>);

/// The rule texts that go with an order: all that it names, and no others.
pub(super) fn blobs(scan: &ScanOrder, given: &[String]) -> Result<Vec<Blob>, Refusal> {
    let named: BTreeSet<String> = scan.rules_sha256.iter().map(hex::encode).collect();
    if named.is_empty() || named.len() > MAX_ORDER_BLOBS || scan.rules_sha256.iter().any(|hash| hash.len() != 32) {
        return refuse(format!("an order names 1 to {MAX_ORDER_BLOBS} rule texts by SHA-256"), "put small rules into one file");
    }
    let (mut found, mut seen, mut bytes) = (Vec::new(), BTreeSet::new(), 0);
    for text in given.iter().take(MAX_ORDER_BLOBS) {
        let Ok(blob) = base64::engine::general_purpose::STANDARD.decode(text) else {
            return refuse("a rule text is no base64", "send the bytes of each rule file in base64");
        };
        bytes += blob.len();
        if blob.len() > MAX_BLOB_BYTES || bytes > MAX_RULES_BYTES {
            return refuse("a rule text has at most 900 KiB, all of an order 16 MiB", "split the rules, or give two orders");
        }
        let hash = hex::encode(Sha256::digest(&blob));
        if !named.contains(&hash) {
            return refuse(format!("the order does not name the rule text {hash}"), "sign the order again with these rules");
        }
        if seen.insert(hash.clone()) {
            found.push((hash, blob));
        }
    }
    match named.difference(&seen).next() {
        Some(missing) => refuse(format!("the rule text {missing} is missing"), "send every rule text that the order names"),
        None => Ok(found),
    }
}
