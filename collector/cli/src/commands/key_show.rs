//! `beffroi key show`: what a file of keys holds, never the secret. What is signed is checked as a host would check it,
//! under the root that the file itself carries: whose root that is stands beside it, for people to compare.

use std::path::Path;

use beffroi_schema::down::{self, KeyId, Order, PublicKey, Revocation, Signed, SignedKind, order};
use beffroi_schema::json::rfc3339;
use beffroi_schema::limits::MAX_SIGNED_BYTES;
use serde_json::{Value, json};

use super::page::Page;
use crate::args::Passphrase;
use crate::certificate::Certificate;
use crate::envelope;
use crate::errors::{Failure, Outcome};
use crate::keyfile;
use crate::output::Output;
use crate::private_file;
use crate::when::now_us;

/// Largest file that is looked at: the largest envelope in base64.
const MAX_BYTES: u64 = MAX_SIGNED_BYTES as u64 * 2;
const HINT: &str = "name a .key, .pub or .beffroi file of `beffroi key`";

const LINES: [(&str, &str); 20] = [
    ("Kind", "/kind"),
    ("Name", "/name"),
    ("Algorithm", "/algorithm"),
    ("Id", "/key_id"),
    ("Encrypted", "/encrypted"),
    ("Tenants", "/tenants"),
    ("Roles", "/roles"),
    ("Good from", "/not_before"),
    ("Good until", "/not_after"),
    ("Order", "/order_id"),
    ("Action", "/action"),
    ("Tenant", "/tenant"),
    ("Hosts", "/hosts"),
    ("Issued", "/issued"),
    ("Expires", "/expires"),
    ("Version", "/version"),
    ("Keys", "/keys"),
    ("Signed by", "/signed_by"),
    ("Root", "/root"),
    ("Signature", "/signature"),
];

/// The verb.
pub fn show(output: &Output, file: &Path, secret: &Passphrase) -> Outcome {
    let value = describe(file, secret)?;
    output.page(&value, |output| {
        let mut page = Page::new(output);
        page.lines(&value, &LINES);
        page.finish()
    })
}

fn describe(file: &Path, secret: &Passphrase) -> Outcome<Value> {
    let bytes = private_file::read(file, MAX_BYTES, HINT)?;
    if envelope::is_envelope(&bytes) {
        let bad = |why: String| Failure::usage(format!("{}: {why}", file.display()), HINT);
        return envelope::from_text(&bytes).and_then(|signed| signed_file(&signed)).map_err(bad);
    }
    let text = String::from_utf8_lossy(&bytes);
    if keyfile::is_private(&text) {
        let key = keyfile::load(file, secret)?;
        let mut value = key_of("private key", &key.public_key());
        value["encrypted"] = keyfile::is_encrypted(&text).into();
        return Ok(value);
    }
    keyfile::load_public(file).map(|key| key_of("public key", &key))
}

fn key_of(kind: &str, key: &PublicKey) -> Value {
    json!({"kind": kind, "algorithm": key.algorithm_name(), "key_id": key.key_id().to_string()})
}

fn signed_file(signed: &Signed) -> Result<Value, String> {
    if signed.kind == SignedKind::OperatorCertificate as u32 {
        return certificate(signed);
    }
    let mut value = match signed.kind {
        kind if kind == SignedKind::Order as u32 => order_of(signed)?,
        kind if kind == SignedKind::Revocation as u32 => revocation(signed)?,
        kind => json!({"kind": envelope::kind_name(kind)}),
    };
    let root = signed.signatures.first().and_then(|signature| root_of(&signature.certificate));
    value["root"] = root.map(|root| root.to_string()).into();
    let kinds = [SignedKind::Order, SignedKind::Policy, SignedKind::RulePack, SignedKind::Revocation];
    let kind = kinds.into_iter().find(|kind| *kind as u32 == signed.kind).ok_or("it holds a kind that is unknown here")?;
    let verified = root
        .ok_or("its signature names no root".to_string())
        .and_then(|root| down::verify_chain(signed, kind, &root, now_us(), |_| false).map_err(|error| error.to_string()));
    match verified {
        Ok(by) => {
            value["signed_by"] = format!("{} ({})", by.operator, by.key_id).into();
            value["signature"] = "holds".into();
        }
        Err(why) => value["signature"] = format!("DOES NOT HOLD: {why}").into(),
    }
    Ok(value)
}

/// The root at the end of the chain in a certificate.
fn root_of(certificate: &[u8]) -> Option<KeyId> {
    Certificate::of(down::parse(certificate).ok()?).ok()?.root()
}

fn certificate(signed: &Signed) -> Result<Value, String> {
    let certificate = Certificate::of(signed.clone())?;
    let body = &certificate.body;
    let root = certificate.root();
    let is_root = root == Some(certificate.id);
    let issuer = match is_root {
        true => Some(certificate.key),
        false => {
            let issuer = signed.signatures.first().map(|signature| signature.certificate.as_slice()).unwrap_or_default();
            down::read_certificate(issuer).ok().map(|(_, key)| key)
        }
    };
    let holds = issuer.is_some_and(|issuer| certificate.is_signed_by(&issuer));
    let is_over = now_us() >= body.not_after;
    Ok(json!({
        "kind": if is_root { "certificate of a root" } else { "certificate of an operator" },
        "name": body.name, "algorithm": certificate.key.algorithm_name(), "key_id": certificate.id.to_string(),
        "tenants": body.tenants, "roles": body.roles,
        "not_before": rfc3339(body.not_before), "not_after": rfc3339(body.not_after), "expired": is_over,
        "root": root.map(|root| root.to_string()),
        "signature": match (holds, is_over) {
            (true, false) => "holds",
            (true, true) => "holds, but the certificate HAS EXPIRED",
            (false, _) => "DOES NOT HOLD",
        },
    }))
}

fn order_of(signed: &Signed) -> Result<Value, String> {
    let order: Order = down::read_body(signed, SignedKind::Order).map_err(|error| error.to_string())?;
    let target = order.target.unwrap_or_default();
    let action = match order.action {
        Some(order::Action::Scan(_)) => "scan",
        Some(order::Action::List(_)) => "list",
        Some(order::Action::Cancel(_)) => "cancel",
        None => "unknown",
    };
    let hosts = if target.whole_tenant { "every host of the tenant".into() } else { target.agent_ids.len().to_string() };
    Ok(json!({"kind": "order", "order_id": hex::encode(&order.order_id), "action": action, "tenant": target.tenant,
        "hosts": hosts, "issued": rfc3339(order.issued), "expires": rfc3339(order.expires)}))
}

fn revocation(signed: &Signed) -> Result<Value, String> {
    let body: Revocation = down::read_body(signed, SignedKind::Revocation).map_err(|error| error.to_string())?;
    let keys: Vec<String> = body.key_ids.iter().map(hex::encode).collect();
    Ok(json!({"kind": "revocation", "version": body.version, "issued": rfc3339(body.issued), "keys": keys}))
}
