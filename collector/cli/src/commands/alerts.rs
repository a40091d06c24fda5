//! `beffroi alerts`: list, show, tail.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::args::{AlertFilter, Span};
use crate::client::{Client, rows};
use crate::commands::alert_page;
use crate::errors::Outcome;
use crate::output::{Column, Output, column, say};
use crate::when;

/// How often `tail` asks.
const TAIL_EVERY: Duration = Duration::from_millis(500);
/// How far back the first look of `tail` goes, and how many it takes.
const TAIL_SINCE: &str = "10m";

const COLUMNS: [Column; 9] = [
    column("TIME", "/event_time", 0),
    column("LEVEL", "/level", 0),
    column("TENANT", "/tenant", 16),
    column("RULE", "/rule_title", 44),
    column("HOST", "/hostname", 20),
    column("USER", "/user", 16),
    column("WHAT", "/what", 80),
    column("COUNT", "/count", 0),
    column("ID", "/alert_id", 12),
];

fn query(span: Option<&Span>, filter: &AlertFilter, limit: u64) -> Outcome<Vec<(&'static str, String)>> {
    let now = jiff::Timestamp::now();
    let since = when::moment(span.map_or(TAIL_SINCE, |span| span.since.as_str()), now)?;
    let until = span.and_then(|span| span.until.as_ref()).map(|text| when::moment(text, now)).transpose()?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok(vec![
        ("since", since),
        ("until", until.unwrap_or_default()),
        ("tenant", text(&filter.tenant)),
        ("host", text(&filter.host)),
        ("level", text(&filter.level)),
        ("rule", text(&filter.rule)),
        ("limit", limit.to_string()),
    ])
}

/// `alerts list`.
pub async fn list(client: &Client, output: &Output, span: &Span, filter: &AlertFilter, limit: u64) -> Outcome {
    let answer = client.get("/v1/alerts", &query(Some(span), filter, limit)?).await?;
    let alerts = rows(&answer, "alerts");
    output.rows(&COLUMNS, &alerts)?;
    let total = answer["total"].as_u64().unwrap_or(0);
    let more = total.saturating_sub(alerts.len() as u64);
    if more > 0 {
        say(&format!("and {more} more (--limit, --since, --level)"));
    } else if alerts.is_empty() {
        say(&format!("no alert since {}", span.since));
    }
    Ok(())
}

/// `alerts show`.
pub async fn show(client: &Client, output: &Output, id: &str) -> Outcome {
    let alert = client.get(&format!("/v1/alerts/{}", segment(id)), &[]).await?;
    output.page(&alert, |output| alert_page::page(&alert, output))
}

/// `alerts tail`: every alert that is new or whose count has grown, until Ctrl-C.
pub async fn tail(client: &Client, output: &Output, filter: &AlertFilter) -> Outcome {
    let mut known: HashMap<String, u64> = HashMap::new();
    let mut first = true;
    loop {
        let answer = client.get("/v1/alerts", &query(None, filter, 500)?).await?;
        let mut fresh: Vec<Value> = rows(&answer, "alerts").into_iter().filter(|alert| is_news(alert, &mut known)).collect();
        fresh.reverse();
        if first {
            output.rows(&COLUMNS, &fresh)?;
            first = false;
        } else {
            output.more_rows(&COLUMNS, &fresh)?;
        }
        tokio::time::sleep(TAIL_EVERY).await;
    }
}

fn is_news(alert: &Value, known: &mut HashMap<String, u64>) -> bool {
    let id = alert["alert_id"].as_str().unwrap_or_default().to_string();
    let count = alert["count"].as_u64().unwrap_or(0);
    known.insert(id, count).is_none_or(|before| count > before)
}

/// Text as one segment of a path: everything that could end it is percent-encoded.
pub fn segment(text: &str) -> String {
    let mut safe = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => safe.push(byte as char),
            other => safe.push_str(&format!("%{other:02X}")),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_id_cannot_leave_its_segment_of_the_path() {
        assert_eq!(segment("ab12"), "ab12");
        assert_eq!(segment("../v1/x?y#z"), "..%2Fv1%2Fx%3Fy%23z");
    }

    #[test]
    fn tail_shows_an_alert_again_only_when_it_has_grown() {
        let mut known = HashMap::new();
        assert!(is_news(&json!({"alert_id": "a", "count": 1}), &mut known));
        assert!(!is_news(&json!({"alert_id": "a", "count": 1}), &mut known));
        assert!(is_news(&json!({"alert_id": "a", "count": 2}), &mut known));
    }
}
