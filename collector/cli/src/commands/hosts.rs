//! `beffroi hosts` and `beffroi gaps`.

use serde_json::{Value, json};

use crate::args::Span;
use crate::client::{Client, rows, segment};
use crate::commands::page::{Page, bytes};
use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column, id, rest, say};
use crate::safe::terminal;
use crate::when;

/// How far back `hosts show` looks for gaps, and how many it shows.
const SHOWN_GAPS: &str = "7d";
const SHOWN_GAPS_ROWS: u64 = 100;

const COLUMNS: [Column; 9] = [
    column("HOST", "/hostname", 24),
    column("TENANT", "/tenant", 16),
    column("LAST SEEN", "/last_seen", 0),
    rest("SYSTEM", "/os", 32),
    column("AGENT", "/agent_version", 0),
    column("ADDRESS", "/remote", 0),
    column("DROPPED", "/dropped", 0),
    column("REVOKED", "/revoked/at", 0),
    id("ID", "/agent_id"),
];
const GAPS: [Column; 8] = [
    column("FROM", "/from", 0),
    column("TO", "/to", 0),
    column("REASON", "/reason", 0),
    column("LOST", "/lost", 0),
    column("HOOK", "/hook", 24),
    column("TENANT", "/tenant", 16),
    column("HOST", "/hostname", 24),
    id("ID", "/agent_id"),
];
/// What a host's page says of it.
const FACTS: [(&str, &str); 19] = [
    ("Host", "/hostname"),
    ("Tenant", "/tenant"),
    ("Agent", "/agent_id"),
    ("Labels", "/labels"),
    ("Enrolled", "/enrolled"),
    ("Certificate", "/certificate_expires"),
    ("Last seen", "/last_seen"),
    ("Heartbeat", "/last_heartbeat"),
    ("System", "/os"),
    ("Kernel", "/kernel"),
    ("Architecture", "/architecture"),
    ("Agent version", "/agent_version"),
    ("Address", "/remote"),
    ("Addresses", "/addresses"),
    ("Run", "/epoch"),
    ("Policy", "/policy_version"),
    ("Unsent since", "/spool_oldest"),
    ("Dropped", "/dropped"),
    ("Counters", "/counters"),
];
const HOOKS: [Column; 5] = [
    column("HOOK", "/name", 40),
    column("ON", "/on", 0),
    column("SEEN", "/seen", 0),
    column("DROPPED", "/dropped", 0),
    rest("WHY", "/why", 60),
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

/// `hosts show`: the host, and its gaps of late.
pub async fn show(client: &Client, output: &Output, id: &str) -> Outcome {
    let mut host = client.get(&format!("/v1/hosts/{}", segment(id)), &[]).await?;
    let agent = host["agent_id"].as_str().unwrap_or(id).to_owned();
    let since = when::moment(SHOWN_GAPS, jiff::Timestamp::now())?;
    let query = [("since", since), ("host", agent), ("limit", SHOWN_GAPS_ROWS.to_string())];
    let gaps = rows(&client.get("/v1/gaps", &query).await?, "gaps");
    if let Some(host) = host.as_object_mut() {
        host.insert("gaps".into(), Value::Array(gaps));
    }
    output.page(&host, |output| page(&host, output))
}

fn page(host: &Value, output: &Output) -> String {
    let mut page = Page::new(output);
    page.lines(host, &FACTS);
    for (name, at) in [("Spool", "/spool_bytes"), ("Memory", "/rss_bytes")] {
        page.named(name, &host.pointer(at).and_then(Value::as_u64).map(bytes).unwrap_or_default());
    }
    if host["revoked"].is_object() {
        let shown = |at: &str| output.shown(&host["revoked"], at);
        page.named("REVOKED", &format!("{} by {}: {}", shown("/at"), shown("/by"), shown("/reason")));
    }
    let hooks = rows(host, "hooks");
    page.title("Probes");
    page.raw(&if hooks.is_empty() { "no sign of life has named any yet".into() } else { output.table(&HOOKS, &hooks) });
    let gaps = rows(host, "gaps");
    page.title(&format!("Gaps of the last {SHOWN_GAPS}"));
    page.raw(&if gaps.is_empty() { "none is known".into() } else { output.table(&GAPS, &gaps) });
    page.finish()
}

/// `hosts revoke`.
pub async fn revoke(client: &Client, output: &Output, id: &str, reason: Option<&str>) -> Outcome {
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    let reason =
        reason.ok_or_else(|| Failure::usage("why is this host revoked?", "say it with --reason; it stands in the audit"))?;
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
