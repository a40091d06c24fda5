//! `beffroi status`.

use serde_json::Value;

use crate::client::{Client, rows};
use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column};

const ROLES: [Column; 3] = [column("ROLE", "/role", 0), column("READY", "/ready", 0), column("DETAIL", "/detail", 100)];
const LAG: [Column; 4] = [
    column("TOPIC", "/topic", 0),
    column("GROUP", "/group", 0),
    column("LAG", "/lag", 0),
    column("PARTITIONS", "/partitions", 0),
];

/// Roles, lag, storage; fails when a role is not ready, so that scripts can ask.
pub async fn status(client: &Client, output: &Output) -> Outcome {
    let status = client.get("/v1/status", &[]).await?;
    output.page(&status, |output| page(&status, output))?;
    let idle: Vec<String> = rows(&status, "roles")
        .iter()
        .filter(|role| role["ready"] != true)
        .map(|role| role["role"].as_str().unwrap_or("?").to_string())
        .collect();
    if idle.is_empty() {
        Ok(())
    } else {
        Err(Failure::server(format!("not ready: {}", idle.join(", ")), "the DETAIL above says why"))
    }
}

fn page(status: &Value, output: &Output) -> String {
    let mut page = format!("{}\n", output.table(&ROLES, &rows(status, "roles")));
    for role in rows(status, "roles") {
        for figure in role["figures"].as_array().into_iter().flatten() {
            page.push_str(&format!(
                "{:<24}{}\n",
                format!("{} {}", text(&role["role"]), text(&figure[0])),
                crate::safe::terminal(&output.text(&figure[1]))
            ));
        }
    }
    let lag = rows(status, "lag");
    if !lag.is_empty() {
        page.push_str(&format!("\n{}\n", output.table(&LAG, &lag)));
    }
    let store = &status["store"];
    for (name, at) in [
        ("ClickHouse", "version"),
        ("Last batch", "last_batch"),
        ("Disk free", "disk_free_bytes"),
        ("Disk total", "disk_total_bytes"),
    ] {
        if !store[at].is_null() {
            page.push_str(&format!("{name:<24}{}\n", crate::safe::terminal(&output.text(&store[at]))));
        }
    }
    page
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
