//! Which hosts a scan asks: selectors as people type them, resolved against the list of hosts.

use beffroi_schema::AgentId;
use serde_json::Value;

use crate::errors::{Failure, Outcome};
use crate::safe::terminal;

/// The whole tenant, also hosts that come later.
pub const WHOLE_TENANT: &str = "tenant:*";
/// Shortest prefix of an agent id that is taken for one: what the API takes.
const MIN_PREFIX: usize = 6;
/// Names of hosts that an error lists.
const MAX_NAMED: usize = 8;

/// A host that is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Who.
    pub id: AgentId,
    /// Name, as the host gives it: not safe for a terminal.
    pub name: String,
    /// Its tenant.
    pub tenant: String,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// Their tenant.
    pub tenant: String,
    /// Them; empty for a whole tenant.
    pub hosts: Vec<Host>,
    /// Every host of the tenant, now and later.
    pub is_whole_tenant: bool,
}

/// Resolves selectors. `tenant`: what was asked for, if anything; `hosts`: as the API lists them.
pub fn select(selectors: &[String], tenant: Option<&str>, hosts: &[Value]) -> Outcome<Selection> {
    let selectors: Vec<&str> = selectors.iter().map(|text| text.trim()).filter(|text| !text.is_empty()).collect();
    if selectors.contains(&WHOLE_TENANT) {
        return whole(&selectors, tenant, hosts);
    }
    let hosts: Vec<&Value> = hosts.iter().filter(|host| tenant.is_none_or(|tenant| host["tenant"] == tenant)).collect();
    let mut chosen: Vec<Host> = Vec::new();
    for selector in &selectors {
        for host in fitting(selector, &hosts)? {
            if !chosen.iter().any(|known| known.id == host.id) {
                chosen.push(host);
            }
        }
    }
    if chosen.is_empty() {
        return Err(Failure::usage("--hosts names nobody", "`beffroi hosts list` shows who there is"));
    }
    let tenant = only_tenant(chosen.iter().map(|host| host.tenant.as_str()))?;
    Ok(Selection { tenant, hosts: chosen, is_whole_tenant: false })
}

fn whole(selectors: &[&str], tenant: Option<&str>, hosts: &[Value]) -> Outcome<Selection> {
    if selectors.len() > 1 {
        return Err(Failure::usage(format!("{WHOLE_TENANT} is everybody already"), "leave the other selectors out"));
    }
    let tenant = match tenant {
        Some(tenant) => tenant.to_owned(),
        None => only_tenant(hosts.iter().filter_map(|host| host["tenant"].as_str()))?,
    };
    Ok(Selection { tenant, hosts: Vec::new(), is_whole_tenant: true })
}

fn only_tenant<'a>(tenants: impl Iterator<Item = &'a str>) -> Outcome<String> {
    let mut tenants: Vec<&str> = tenants.collect();
    tenants.sort_unstable();
    tenants.dedup();
    match tenants.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Failure::usage("whose hosts?", "name their tenant: --tenant")),
        several => {
            let what = format!("these are hosts of several tenants: {}", terminal(&several.join(", ")));
            Err(Failure::usage(what, "an order speaks to one tenant: name it with --tenant, and order once for each"))
        }
    }
}

/// The hosts that a selector means, revoked ones left out; nobody is an error.
fn fitting(selector: &str, hosts: &[&Value]) -> Outcome<Vec<Host>> {
    let named: Vec<&Value> = hosts.iter().copied().filter(|host| means(selector, host)).collect();
    let prefixed = || hosts.iter().copied().filter(|host| is_prefix(selector, host)).collect::<Vec<_>>();
    let found = if named.is_empty() { one(selector, prefixed())? } else { named };
    let able: Vec<Host> = found.iter().filter(|host| !host["revoked"].is_object()).filter_map(|host| read(host)).collect();
    match (able.is_empty(), found.is_empty()) {
        (false, _) => Ok(able),
        (true, true) => {
            let what = format!("--hosts {}: no host fits", terminal(selector));
            Err(Failure::usage(
                what,
                "`beffroi hosts list` shows who there is; a name, web-*, the beginning of an id, or label=value",
            ))
        }
        (true, false) => {
            let what = format!("--hosts {}: every host that fits is revoked and takes no orders", terminal(selector));
            Err(Failure::usage(what, "`beffroi hosts list` shows who there is"))
        }
    }
}

/// By name, by pattern of names, by label.
fn means(selector: &str, host: &Value) -> bool {
    if let Some((key, value)) = selector.split_once('=') {
        return host["labels"][key] == *value;
    }
    let name = host["hostname"].as_str().unwrap_or_default().to_lowercase();
    if name.is_empty() {
        return false;
    }
    let selector = selector.to_lowercase();
    if selector.contains('*') { fits(&selector, &name) } else { selector == name }
}

/// Whether a name fits a pattern in which `*` is any text. Both are walked once: no pattern is slow.
fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        rest = behind;
    }
    rest.ends_with(last)
}

fn is_prefix(selector: &str, host: &Value) -> bool {
    let is_hex = selector.len() >= MIN_PREFIX && selector.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex && host["agent_id"].as_str().is_some_and(|id| id.starts_with(&selector.to_ascii_lowercase()))
}

/// The beginning of an id means one host.
fn one<'a>(selector: &str, found: Vec<&'a Value>) -> Outcome<Vec<&'a Value>> {
    if found.len() > 1 {
        let names: Vec<&str> = found.iter().take(MAX_NAMED).filter_map(|host| host["hostname"].as_str()).collect();
        let what = format!("--hosts {selector}: {} hosts have such an id ({})", found.len(), terminal(&names.join(", ")));
        return Err(Failure::usage(what, "write more of the id"));
    }
    Ok(found)
}

fn read(host: &Value) -> Option<Host> {
    let text = |name: &str| host[name].as_str().unwrap_or_default().to_owned();
    Some(Host { id: host["agent_id"].as_str()?.parse().ok()?, name: text("hostname"), tenant: text("tenant") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hosts() -> Vec<Value> {
        let host = |id: &str, name: &str, tenant: &str, site: &str| json!({"agent_id": format!("{id:0<32}"), "hostname": name, "tenant": tenant, "labels": {"site": site}, "revoked": null});
        let mut hosts = vec![
            host("aa00001", "web-01", "interieur", "lyon"),
            host("aa00002", "Web-02", "interieur", "lyon"),
            host("bb00003", "pc-14", "interieur", "nantes"),
            host("cc00004", "pc-14", "justice", "lyon"),
            host("dd00005", "old", "interieur", "lyon"),
        ];
        hosts[4]["revoked"] = json!({"at": "x"});
        hosts
    }

    fn names(selectors: &[&str], tenant: Option<&str>) -> Outcome<Vec<String>> {
        let selectors: Vec<String> = selectors.iter().map(|text| (*text).to_owned()).collect();
        select(&selectors, tenant, &hosts()).map(|found| found.hosts.iter().map(|host| host.name.clone()).collect())
    }

    #[test]
    fn hosts_are_found_by_name_pattern_id_and_label_and_asked_once() {
        for (selectors, expected) in [
            (&["web-01"][..], &["web-01"][..]),
            (&["WEB-02"], &["Web-02"]),
            (&["web-*"], &["web-01", "Web-02"]),
            (&["*0*"], &["web-01", "Web-02"]),
            (&["aa00002"], &["Web-02"]),
            (&["site=nantes"], &["pc-14"]),
            (&["site=lyon", "web-01"], &["web-01", "Web-02"]),
            (&[" web-01 ", "", "web-*"], &["web-01", "Web-02"]),
        ] {
            assert_eq!(names(selectors, Some("interieur")).unwrap(), expected, "{selectors:?}");
        }
    }

    #[test]
    fn nobody_a_revoked_host_and_two_of_one_id_are_refused() {
        for (selectors, word) in [
            (&["nobody"][..], "no host fits"),
            (&["web-01", "nobody"], "no host fits"),
            (&["old"], "revoked"),
            (&["aa0000"], "2 hosts"),
            (&["aa00"], "no host fits"),
            (&["=lyon"], "no host fits"),
            (&[""], "nobody"),
            (&["tenant:*", "web-01"], "everybody"),
        ] {
            let refused = names(selectors, Some("interieur")).unwrap_err();
            assert!(refused.what.contains(word), "{selectors:?}: {refused}");
        }
    }

    #[test]
    fn an_order_speaks_to_one_tenant() {
        assert!(names(&["pc-14"], None).unwrap_err().what.contains("interieur, justice"));
        assert_eq!(names(&["pc-14"], Some("justice")).unwrap(), ["pc-14"]);
        assert_eq!(names(&["web-01"], None).unwrap(), ["web-01"]);
        let whole = |tenant: Option<&str>, hosts: &[Value]| select(&[WHOLE_TENANT.into()], tenant, hosts);
        assert!(whole(None, &hosts()).is_err() && whole(None, &[]).is_err());
        let found = whole(Some("justice"), &hosts()).unwrap();
        assert!(found.is_whole_tenant && found.hosts.is_empty() && found.tenant == "justice");
        assert_eq!(whole(None, &hosts()[..3]).unwrap().tenant, "interieur");
    }

    #[test]
    fn a_pattern_fits_whole_names() {
        for (pattern, name, expected) in [
            ("web-*", "web-", true),
            ("web-*", "my-web-1", false),
            ("*-01", "web-01", true),
            ("*-01", "web-012", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "acb", false),
            ("*", "x", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }
}
