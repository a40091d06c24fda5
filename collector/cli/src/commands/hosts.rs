//! `beffroi hosts` and `beffroi gaps`.

use serde_json::{Value, json};

use crate::args::Span;
use crate::client::{Client, rows};
use crate::commands::alerts::segment;
use crate::errors::Outcome;
use crate::output::{Column, Output, column, say};
use crate::safe::terminal;
use crate::when;

const COLUMNS: [Column; 9] = [
    column("HOST", "/hostname", 24),
    column("TENANT", "/tenant", 16),
    column("LAST SEEN", "/last_seen", 0),
    column("SYSTEM", "/os", 32),
    column("AGENT", "/agent_version", 0),
    column("ADDRESS", "/remote", 0),
    column("DROPPED", "/dropped", 0),
    column("REVOKED", "/revoked", 0),
    column("ID", "/agent_id", 12),
];
const GAPS: [Column; 8] = [
    column("FROM", "/from", 0),
    column("TO", "/to", 0),
    column("REASON", "/reason", 0),
    column("LOST", "/lost", 0),
    column("HOOK", "/hook", 24),
    column("TENANT", "/tenant", 16),
    column("HOST", "/hostname", 24),
    column("ID", "/agent_id", 12),
];
const HOOKS: [Column; 5] = [
    column("HOOK", "/name", 40),
    column("ON", "/on", 0),
    column("SEEN", "/seen", 0),
    column("DROPPED", "/dropped", 0),
    column("WHY", "/why", 60),
];

/// `hosts list`.
pub async fn list(client: &Client, output: &Output, tenant: Option<&str>, limit: u64) -> Outcome {
    let query = [("tenant", tenant.unwrap_or_default().to_string()), ("limit", limit.to_string())];
    let hosts = rows(&client.get("/v1/hosts", &query).await?, "hosts");
    output.rows(&COLUMNS, &hosts)?;
    if hosts.is_empty() {
        say("no host is enrolled yet; `beffroi enroll token` makes a token for one");
    }
    Ok(())
}

/// `hosts show`.
pub async fn show(client: &Client, output: &Output, id: &str) -> Outcome {
    let host = client.get(&format!("/v1/hosts/{}", segment(id)), &[]).await?;
    output.page(&host, |output| page(&host, output))
}

fn page(host: &Value, output: &Output) -> String {
    let mut page = String::new();
    for (name, at) in [
        ("Host", "/hostname"),
        ("Tenant", "/tenant"),
        ("Agent", "/agent_id"),
        ("Last seen", "/last_seen"),
        ("Heartbeat", "/last_heartbeat"),
        ("System", "/os"),
        ("Kernel", "/kernel"),
        ("Agent version", "/agent_version"),
        ("Address", "/remote"),
        ("Addresses", "/addresses"),
        ("Spool bytes", "/spool_bytes"),
        ("Memory", "/rss_bytes"),
        ("Dropped", "/dropped"),
        ("Revoked", "/revoked"),
    ] {
        let shown = host.pointer(at).map(|value| output.text(value)).unwrap_or_default();
        if !shown.is_empty() {
            page.push_str(&format!("{name:<15}{}\n", terminal(&shown)));
        }
    }
    let hooks = rows(host, "hooks");
    if !hooks.is_empty() {
        page.push_str(&format!("\n{}\n", output.table(&HOOKS, &hooks)));
    }
    let gaps = rows(host, "gaps");
    if gaps.is_empty() {
        page.push_str("\nno gap is known\n");
    } else {
        page.push_str(&format!("\n{}\n", output.table(&GAPS, &gaps)));
    }
    page
}

/// `hosts revoke`.
pub async fn revoke(client: &Client, output: &Output, id: &str, reason: &str) -> Outcome {
    let answer = client.post(&format!("/v1/hosts/{}/revoke", segment(id)), &json!({"reason": reason})).await?;
    output.page(&answer, |_| {
        format!(
            "{} is cut off: its sessions end within seconds, and it cannot renew",
            terminal(answer["agent_id"].as_str().unwrap_or(id))
        )
    })
}

/// `gaps list`.
pub async fn gaps(client: &Client, output: &Output, span: &Span, host: Option<&str>, limit: u64) -> Outcome {
    let now = jiff::Timestamp::now();
    let until = span.until.as_ref().map(|text| when::moment(text, now)).transpose()?;
    let query = [
        ("since", when::moment(&span.since, now)?),
        ("until", until.unwrap_or_default()),
        ("host", host.unwrap_or_default().to_string()),
        ("limit", limit.to_string()),
    ];
    let gaps = rows(&client.get("/v1/gaps", &query).await?, "gaps");
    output.rows(&GAPS, &gaps)?;
    if gaps.is_empty() {
        say("no gap is known in this time");
    }
    Ok(())
}
