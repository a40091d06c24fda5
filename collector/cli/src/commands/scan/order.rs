//! Orders as the operator signs them, and the check that every host will make, made here first.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use beffroi_schema::down::{self, CancelOrder, Order, Refusal, ScanOrder, Signed, SignedKind, Target, order};
use beffroi_schema::ids::{AgentId, OrderId};
use beffroi_schema::limits::{MAX_ORDER_LIFE_US, MAX_SIGNED_BYTES};
use prost::Message;

use super::select::Selection;
use crate::args::Papers;
use crate::args::Signer as SignerArgs;
use crate::certificate::{Certificate, Signer};
use crate::config::Config;
use crate::errors::{Failure, Outcome};
use crate::keyfile;
use crate::output::say;
use crate::when::{self, now_us};

/// Life of an order to named hosts: they are there now, or the operator asks again.
const NAMED_LIFE_US: i64 = 15 * 60 * 1_000_000;
/// Life of an order to a whole tenant: laptops come back within a week.
const TENANT_LIFE_US: i64 = MAX_ORDER_LIFE_US;

/// A new id.
pub fn new_id() -> Outcome<OrderId> {
    let mut id = [0u8; 16];
    getrandom::fill(&mut id).map_err(|_| Failure::usage("the operating system gave no randomness", "nothing was ordered"))?;
    Ok(OrderId(id))
}

/// Everything of an order but its action.
pub fn envelope(selection: &Selection, papers: &Papers, life_us: i64) -> Outcome<Order> {
    let issued = now_us();
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok(Order {
        order_id: new_id()?.0.to_vec(),
        target: Some(Target {
            tenant: selection.tenant.clone(),
            agent_ids: selection.hosts.iter().map(|host| host.id.0.to_vec()).collect(),
            whole_tenant: selection.is_whole_tenant,
        }),
        issued,
        expires: issued.saturating_add(life_us),
        ticket: text(&papers.ticket),
        purpose: text(&papers.purpose),
        legal_basis: text(&papers.legal_basis),
        tlp: text(&papers.tlp),
        pap: text(&papers.pap),
        note: text(&papers.note),
        action: None,
    })
}

/// How long an order is good for, microseconds: as asked, or by whom it asks.
pub fn life(asked: Option<&str>, selection: &Selection) -> Outcome<i64> {
    let Some(text) = asked else {
        return Ok(if selection.is_whole_tenant { TENANT_LIFE_US } else { NAMED_LIFE_US });
    };
    let life = when::seconds(text)?.saturating_mul(1_000_000);
    if life > MAX_ORDER_LIFE_US {
        return Err(Failure::usage(
            format!("--expires {text}: an order is good for 7 days at most"),
            "order again when it is over",
        ));
    }
    Ok(life)
}

/// The scan of these paths.
pub fn scan(rules: Vec<Vec<u8>>, paths: &[PathBuf], max_file_bytes: u64, max_seconds: u32) -> Outcome<order::Action> {
    let paths = paths.iter().map(|path| absolute(path)).collect::<Outcome<Vec<_>>>()?;
    Ok(order::Action::Scan(ScanOrder {
        rules_sha256: rules,
        paths,
        max_file_bytes,
        max_seconds,
        recursive: true,
        // The host's own limits.
        max_total_bytes: 0,
        archive_depth: 0,
    }))
}

/// The end of another order.
pub fn cancel(id: OrderId) -> order::Action {
    order::Action::Cancel(CancelOrder { order_id: id.0.to_vec() })
}

fn absolute(path: &Path) -> Outcome<Vec<u8>> {
    if !path.is_absolute() {
        let what = format!("--path {} is not absolute", path.display());
        return Err(Failure::usage(what, "hosts have no folder of yours to begin in: write it from / on"));
    }
    Ok(path.as_os_str().as_bytes().to_vec())
}

/// Who signs, from options and configuration.
pub fn signer(asked: &SignerArgs, config: &Config) -> Outcome<Signer> {
    let missing = |what: &str, option: &str| {
        let hint =
            format!("use --{option}, or set operator_{option} in the configuration; `beffroi key --help` says how to make one");
        Failure::usage(format!("which {what} signs?"), hint)
    };
    let key = asked.key.as_ref().or(config.operator_key.as_ref()).ok_or_else(|| missing("key", "key"))?;
    let cert = asked.cert.as_ref().or(config.operator_cert.as_ref()).ok_or_else(|| missing("certificate", "cert"))?;
    let certificate = Certificate::read(cert)?;
    Signer::new(keyfile::load(key, &asked.passphrase)?, certificate, now_us())
}

/// Signs an order, and checks it as its hosts will: what they would refuse is not sent.
pub fn sign(signer: &Signer, config: &Config, order: &Order) -> Outcome<Vec<u8>> {
    let certificate = &signer.certificate;
    let tenant = order.target.as_ref().map(|target| target.tenant.as_str()).unwrap_or_default();
    if !certificate.covers(tenant) {
        let what = format!("the certificate of {:?} does not cover tenant {tenant}", certificate.body.name);
        return Err(Failure::usage(what, "whoever holds the root can make one that does: `beffroi key certify --tenant`"));
    }
    let signed = signer.sign(SignedKind::Order, order)?;
    would_be_taken(&signed, order, certificate, config)?;
    if certificate.body.not_after < order.expires {
        say("warning: the certificate ends before the order: hosts that come after that will refuse it");
    }
    let bytes = signed.encode_to_vec();
    if bytes.len() > MAX_SIGNED_BYTES {
        let what = format!("the order has {} bytes, the limit is {MAX_SIGNED_BYTES}", bytes.len());
        return Err(Failure::usage(what, "ask fewer hosts at once, or all of them with --hosts 'tenant:*'"));
    }
    Ok(bytes)
}

/// The hosts' own check, for one of them.
fn would_be_taken(signed: &Signed, order: &Order, certificate: &Certificate, config: &Config) -> Outcome {
    let refused = |refusal: Refusal| {
        Failure::usage(
            format!("hosts would refuse this order: {refusal}"),
            "nothing was sent; `beffroi key show` tells what a key may",
        )
    };
    let root = match &config.root_cert {
        Some(path) => Some(Certificate::read_root(path, now_us())?.id),
        None => certificate.root(),
    };
    let root =
        root.ok_or_else(|| Failure::usage("the certificate names no root", "name the one that `beffroi key certify` wrote"))?;
    let by = down::verify_chain(signed, SignedKind::Order, &root, now_us(), |_| false).map_err(|error| refused(error.into()))?;
    let target = order.target.clone().unwrap_or_default();
    let agent = target.agent_ids.first().and_then(|id| AgentId::try_from(id.as_slice()).ok()).unwrap_or_default();
    down::rules_of_order(order, &by, &target.tenant, agent, now_us()).map_err(refused)
}

/// A size such as `64M` in bytes (K, M, G are powers of 1024).
pub fn size(text: &str) -> Outcome<u64> {
    let bad = || Failure::usage(format!("{text:?} is no size"), "write a number of bytes, or with K, M or G behind it: 64M");
    let upper = text.trim().to_ascii_uppercase();
    let upper = upper.strip_suffix("IB").or_else(|| upper.strip_suffix('B')).unwrap_or(&upper);
    let (digits, unit) = match upper.chars().last() {
        Some('K') => (&upper[..upper.len() - 1], 1 << 10),
        Some('M') => (&upper[..upper.len() - 1], 1 << 20),
        Some('G') => (&upper[..upper.len() - 1], 1 << 30),
        _ => (upper, 1u64),
    };
    let number: u64 = digits.trim().parse().map_err(|_| bad())?;
    number.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("1", 1), ("64M", 64 << 20), ("64MiB", 64 << 20), ("2 k", 2048), ("1GB", 1 << 30)] {
            assert_eq!(size(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "M", "-1", "0", "1.5M", "99999999999G", "x", "é"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn named_hosts_are_asked_for_minutes_and_a_tenant_for_days() {
        let selection = |is_whole_tenant| Selection { tenant: "t".into(), hosts: Vec::new(), is_whole_tenant };
        assert_eq!(life(None, &selection(false)).unwrap(), 15 * 60 * 1_000_000);
        assert_eq!(life(None, &selection(true)).unwrap(), 7 * 86_400 * 1_000_000);
        assert_eq!(life(Some("2h"), &selection(true)).unwrap(), 7_200_000_000);
        assert!(life(Some("8d"), &selection(true)).is_err() && life(Some("soon"), &selection(true)).is_err());
    }
}
