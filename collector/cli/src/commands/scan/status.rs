//! `scan list` and `scan status`: what was asked, and how far each host is.

use serde_json::Value;

use super::summary::sentence;
use crate::client::{Client, rows, segment};
use crate::commands::page::Page;
use crate::errors::Outcome;
use crate::output::{Column, Form, Output, column, id, rest, say};

const SCANS: [Column; 11] = [
    id("SCAN", "/order_id"),
    column("STATE", "/state", 0),
    column("TENANT", "/tenant", 16),
    column("ISSUED", "/issued", 0),
    column("BY", "/by", 24),
    column("ASKED", "/asked", 0),
    column("ANSWERED", "/answered", 0),
    column("OFFLINE", "/offline", 0),
    column("FILES", "/files_scanned", 0),
    column("MATCHED", "/files_matched", 0),
    rest("NOTE", "/note", 60),
];
const HOSTS: [Column; 10] = [
    column("HOST", "/hostname", 24),
    column("STATE", "/state", 0),
    column("SCANNED", "/files_scanned", 0),
    column("MATCHED", "/files_matched", 0),
    column("SKIPPED", "/files_skipped", 0),
    column("TIMED OUT", "/files_timed_out", 0),
    column("UNKNOWN", "/files_unknown", 0),
    column("LAST WORD", "/last_ts", 0),
    rest("REASON", "/reason", 60),
    id("ID", "/agent_id"),
];
const FACTS: [(&str, &str); 15] = [
    ("Scan", "/order_id"),
    ("State", "/state"),
    ("Tenant", "/tenant"),
    ("Issued", "/issued"),
    ("Expires", "/expires"),
    ("By", "/by"),
    ("Key", "/operator_key"),
    ("Paths", "/paths"),
    ("Rules", "/rules"),
    ("Note", "/note"),
    ("Ticket", "/ticket"),
    ("Purpose", "/purpose"),
    ("Legal basis", "/legal_basis"),
    ("TLP", "/tlp"),
    ("PAP", "/pap"),
];

/// `scan list`.
pub async fn list(client: &Client, output: &Output, tenant: Option<&str>, limit: u64) -> Outcome {
    let query = [("tenant", tenant.unwrap_or_default().to_string()), ("limit", limit.to_string())];
    let scans = rows(&client.get("/v1/scans", &query).await?, "scans");
    output.rows(&SCANS, &scans)?;
    if scans.is_empty() {
        say("no scan was ordered yet; `beffroi scan start` orders one");
    } else if scans.len() as u64 >= limit {
        say(&format!("the newest {}; there may be more (--limit)", scans.len()));
    }
    Ok(())
}

/// `scan status`.
pub async fn status(client: &Client, output: &Output, id: &str) -> Outcome {
    let scan = get(client, id).await?;
    show(output, &scan)
}

/// What the API says of a scan and its hosts.
pub async fn get(client: &Client, id: &str) -> Outcome<Value> {
    client.get(&format!("/v1/scans/{}", segment(id)), &[]).await
}

/// One scan in every form. In a table the sentence ends the page; elsewhere it is talk.
pub fn show(output: &Output, scan: &Value) -> Outcome {
    if output.form() == Form::Csv {
        output.rows(&HOSTS, &rows(scan, "hosts"))?;
    } else {
        output.page(scan, |output| page(scan, output))?;
    }
    if output.form() != Form::Table {
        say(&sentence(scan));
    }
    Ok(())
}

fn page(scan: &Value, output: &Output) -> String {
    let mut page = Page::new(output);
    page.lines(scan, &FACTS);
    let hosts = rows(scan, "hosts");
    page.title("Hosts");
    page.raw(&if hosts.is_empty() { "none was asked yet".into() } else { output.table(&HOSTS, &hosts) });
    page.raw(&format!("\n{}", sentence(scan)));
    page.finish()
}
