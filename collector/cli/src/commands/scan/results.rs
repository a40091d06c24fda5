//! `scan results`: what was found, what could not be looked into, and what "nothing found" rests on.

use serde_json::{Value, json};

use super::status;
use super::summary::{count, nothing_found, number, sentence};
use crate::client::{Client, rows, segment};
use crate::commands::page::Page;
use crate::errors::Outcome;
use crate::output::{Column, Form, Output, column, id, rest, say};

const MATCHES: [Column; 6] = [
    column("TIME", "/ts", 0),
    column("HOST", "/host", 24),
    column("RULE", "/rule", 48),
    rest("PATH", "/path", 100),
    column("SHA256", "/sha256", 16),
    id("ALERT", "/alert"),
];
const UNKNOWN: [Column; 4] =
    [column("TIME", "/ts", 0), column("HOST", "/host", 24), rest("PATH", "/path", 100), column("WHY", "/reason", 60)];
/// Both in one spreadsheet.
const BOTH: [Column; 8] = [
    column("KIND", "/kind", 0),
    column("TIME", "/ts", 0),
    column("HOST", "/host", 0),
    column("RULE", "/rule", 0),
    column("PATH", "/path", 0),
    column("SHA256", "/sha256", 0),
    column("ALERT", "/alert", 0),
    column("REASON", "/reason", 0),
];

/// The verb.
pub async fn results(client: &Client, output: &Output, id: &str, limit: u64) -> Outcome {
    let scan = status::get(client, id).await?;
    let whole = scan["order_id"].as_str().unwrap_or(id);
    let answer = client.get(&format!("/v1/scans/{}/results", segment(whole)), &[("limit", limit.to_string())]).await?;
    let (matches, unknown) = (rows(&answer, "matches"), rows(&answer, "unknown"));
    match output.form() {
        Form::Table => output.print(&page(&matches, &unknown, output))?,
        _ => output.rows(&BOTH, &both(&matches, &unknown))?,
    }
    let found = count(&scan, "files_matched").max(matches.len() as u64);
    say(&if found == 0 { nothing_found(&scan) } else { sentence(&scan) });
    if matches.len().max(unknown.len()) as u64 >= limit {
        say(&format!("the first {limit} of a kind; there may be more (--limit)"));
    }
    let named = unknown.len() as u64;
    let counted = count(&scan, "files_unknown");
    if counted > named && named < limit {
        say(&format!("{} more unknown: counted, not named (each host names a thousand at most)", number(counted - named)));
    }
    Ok(())
}

/// Matches, then what is unknown, each with its kind.
fn both(matches: &[Value], unknown: &[Value]) -> Vec<Value> {
    let tagged = |kind: &'static str| {
        move |row: &Value| {
            let mut row = row.clone();
            if let Some(object) = row.as_object_mut() {
                object.insert("kind".into(), json!(kind));
            }
            row
        }
    };
    matches.iter().map(tagged("match")).chain(unknown.iter().map(tagged("unknown"))).collect()
}

fn page(matches: &[Value], unknown: &[Value], output: &Output) -> String {
    let mut page = Page::new(output);
    page.raw(&format!("Matches ({})", matches.len()));
    if !matches.is_empty() {
        page.raw(&output.table(&MATCHES, matches));
    }
    if !unknown.is_empty() {
        page.title(&format!("Unknown ({}): not clean, not looked into to the end", unknown.len()));
        page.raw(&output.table(&UNKNOWN, unknown));
    }
    page.finish().trim_end().to_string()
}
