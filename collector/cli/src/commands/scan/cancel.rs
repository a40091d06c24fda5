//! `scan cancel`: another signed order, to the hosts of the first. A cancellation wins even where it arrives first.

use std::time::Duration;

use beffroi_schema::AgentId;
use beffroi_schema::ids::OrderId;
use beffroi_schema::limits::MAX_ORDER_LIFE_US;
use serde_json::{Value, json};

use super::order;
use super::select::{Host, Selection};
use super::start::base64;
use super::status;
use crate::args::{Papers, Signer};
use crate::client::{Client, rows, segment};
use crate::config::Config;
use crate::errors::{Failure, Outcome};
use crate::output::Output;
use crate::safe::terminal;
use crate::when::now_us;

/// A cancellation lives this much longer than its scan, so that a host with a late clock still hears it.
const MARGIN: Duration = Duration::from_secs(15 * 60);

/// The verb.
pub async fn cancel(client: &Client, output: &Output, config: &Config, id: &str, asked: &Signer) -> Outcome {
    let signer = order::signer(asked, config)?;
    let scan = status::get(client, id).await?;
    let whole = read_id(&scan)?;
    let selection = same_hosts(&scan)?;
    let mut order = order::envelope(&selection, &Papers::default(), life(&scan)?)?;
    order.action = Some(order::cancel(whole));
    let envelope = order::sign(&signer, config, &order)?;
    let body = json!({"envelope": base64(&envelope)});
    let answer = client.post(&format!("/v1/scans/{}/cancel", segment(&whole.to_string())), &body).await?;
    output.page(&answer, |_| {
        let asked = if selection.is_whole_tenant {
            format!("every host of tenant {}", selection.tenant)
        } else {
            format!("{} host(s)", selection.hosts.len())
        };
        terminal(&format!("scan {whole} ends on {asked}; `beffroi scan status {whole}` shows how each host takes it"))
    })
}

fn foreign(what: &str) -> Failure {
    Failure::server(format!("the API says nothing usable of this scan: {what}"), "is the collector of the same version?")
}

fn read_id(scan: &Value) -> Outcome<OrderId> {
    scan["order_id"].as_str().and_then(|id| id.parse().ok()).ok_or_else(|| foreign("no order_id"))
}

/// Those who were asked. A whole tenant is asked again as a whole: hosts may have come since.
fn same_hosts(scan: &Value) -> Outcome<Selection> {
    let tenant = scan["tenant"].as_str().ok_or_else(|| foreign("no tenant"))?.to_owned();
    let is_whole_tenant = scan["whole_tenant"] == true;
    let host = |row: &Value| {
        let id: AgentId = row["agent_id"].as_str()?.parse().ok()?;
        Some(Host { id, name: String::new(), tenant: tenant.clone() })
    };
    let hosts: Vec<Host> = if is_whole_tenant { Vec::new() } else { rows(scan, "hosts").iter().filter_map(host).collect() };
    if hosts.is_empty() && !is_whole_tenant {
        return Err(Failure::usage("this scan asked nobody", "there is nothing to cancel"));
    }
    Ok(Selection { tenant, hosts, is_whole_tenant })
}

/// As long as the scan itself may still be taken up.
fn life(scan: &Value) -> Outcome<i64> {
    let expires: jiff::Timestamp =
        scan["expires"].as_str().and_then(|text| text.parse().ok()).ok_or_else(|| foreign("no expires"))?;
    let margin = i64::try_from(MARGIN.as_micros()).unwrap_or_default();
    Ok((expires.as_microsecond() - now_us()).max(0).saturating_add(margin).min(MAX_ORDER_LIFE_US))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_goes_to_those_who_were_asked_and_outlives_the_scan() {
        let id = "aabbccddeeff00112233445566778899";
        let scan = json!({"tenant": "t", "expires": "2020-01-01T00:00:00Z", "hosts": [{"agent_id": id}, {"agent_id": "zz"}]});
        let selection = same_hosts(&scan).unwrap();
        assert!(selection.hosts.len() == 1 && selection.hosts[0].id.to_string() == id && !selection.is_whole_tenant);
        assert_eq!(life(&scan).unwrap(), 15 * 60 * 1_000_000);
        assert_eq!(life(&json!({"expires": "2999-01-01T00:00:00Z"})).unwrap(), MAX_ORDER_LIFE_US);
        let whole = same_hosts(&json!({"tenant": "t", "whole_tenant": true})).unwrap();
        assert!(whole.is_whole_tenant && whole.hosts.is_empty());
        assert!(same_hosts(&json!({"tenant": "t"})).is_err() && same_hosts(&json!({})).is_err() && life(&json!({})).is_err());
    }
}
