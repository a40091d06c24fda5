//! `beffroi status`.

use serde_json::{Value, json};

use crate::client::{Client, rows};
use crate::commands::page::{Page, bytes};
use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column, rest};

const ROLES: [Column; 3] = [column("ROLE", "/role", 0), column("READY", "/ready", 0), rest("DETAIL", "/detail", 100)];
const FIGURES: [Column; 3] = [column("ROLE", "/role", 0), column("FIGURE", "/figure", 0), rest("VALUE", "/value", 100)];
const LAG: [Column; 4] = [
    column("TOPIC", "/topic", 0),
    column("GROUP", "/group", 0),
    column("LAG", "/records", 0),
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
    let mut page = Page::new(output);
    let roles = rows(status, "roles");
    page.raw(&output.table(&ROLES, &roles));
    let figures = roles.iter().flat_map(|role| {
        let name = role["role"].as_str().unwrap_or_default();
        role["figures"].as_array().into_iter().flatten().map(move |figure| (name, figure))
    });
    let figures: Vec<Value> =
        figures.map(|(role, figure)| json!({"role": role, "figure": figure[0], "value": figure[1]})).collect();
    if !figures.is_empty() {
        page.raw(&format!("\n{}", output.table(&FIGURES, &figures)));
    }
    page.title("Lag");
    let lag = rows(status, "lag");
    if !lag.is_empty() {
        page.raw(&output.table(&LAG, &lag));
    }
    page.line("NOT KNOWN", status, "/bus_error");
    page.title("Store");
    page.line("NOT KNOWN", status, "/store_error");
    page.lines(status, &[("ClickHouse", "/store/version"), ("Last batch", "/last_batch")]);
    for (name, at) in [("Disk free", "/disk_free_bytes"), ("Disk total", "/disk_total_bytes")] {
        page.named(name, &status.pointer(at).and_then(Value::as_u64).map(bytes).unwrap_or_default());
    }
    page.line("Collector", status, "/version");
    page.finish()
}
