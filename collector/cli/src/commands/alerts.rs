//! `beffroi alerts`: list, show, tail.

use std::time::Duration;

use beffroi_schema::alert::Level;
use serde_json::Value;

use crate::args::{AlertFilter, Span};
use crate::client::{Client, rows, segment};
use crate::commands::alert_page;
use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column, id, rest, say};
use crate::when;

/// How long the API may let `tail` wait for news, seconds: what it allows at most.
const TAIL_WAIT: u64 = 25;
/// Pause of `tail` while the API is away.
const AWAY_PAUSE: Duration = Duration::from_secs(2);
/// Shortest prefix of an agent id that the API takes for one.
const MIN_PREFIX: usize = 6;

const COLUMNS: [Column; 9] = [
    column("TIME", "/event_time", 0),
    column("LEVEL", "/level", 0),
    column("TENANT", "/tenant", 16),
    column("RULE", "/rule_title", 44),
    column("HOST", "/hostname", 20),
    column("USER", "/user", 16),
    rest("WHAT", "/what", 80),
    column("COUNT", "/count", 0),
    id("ID", "/alert_id"),
];

/// The same, for lines that cannot know how wide the next ones are.
const TAIL: [Column; 9] = [
    column("TIME                    ", "/event_time", 0),
    column("LEVEL", "/level", 13),
    column("TENANT", "/tenant", 16),
    column("RULE", "/rule_title", 44),
    column("HOST", "/hostname", 20),
    column("USER", "/user", 16),
    column("WHAT", "/what", 80),
    column("COUNT", "/count", 5),
    id("ID", "/alert_id"),
];

fn query(span: &Span, filter: &AlertFilter, limit: u64) -> Outcome<Vec<(&'static str, String)>> {
    let now = jiff::Timestamp::now();
    let until = span.until.as_ref().map(|text| when::moment(text, now)).transpose()?;
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    Ok(vec![
        ("since", when::moment(&span.since, now)?),
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
    let answer = client.get("/v1/alerts", &query(span, filter, limit)?).await?;
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

/// `alerts tail`: every alert that is new or whose count has grown, until Ctrl-C. Once it has begun, it waits for an API
/// that is away and goes on where it stopped.
pub async fn tail(client: &Client, output: &Output, filter: &AlertFilter) -> Outcome {
    // The first answer comes at once and only says where the end is now.
    let mut after = next(&ask(client, filter, "", 0).await?)?;
    output.heads(&TAIL)?;
    let mut is_away = false;
    loop {
        let answer = match ask(client, filter, &after, TAIL_WAIT).await {
            Ok(answer) => answer,
            Err(failure) if failure.is_passing => {
                if !std::mem::replace(&mut is_away, true) {
                    say(&format!("{failure}\nwaiting for it; Ctrl-C ends"));
                }
                tokio::time::sleep(AWAY_PAUSE).await;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if std::mem::take(&mut is_away) {
            say("the API answers again; going on where it stopped");
        }
        after = next(&answer)?;
        rows(&answer, "alerts").iter().filter(|alert| fits(filter, alert)).try_for_each(|alert| output.row(&TAIL, alert))?;
    }
}

async fn ask(client: &Client, filter: &AlertFilter, after: &str, wait: u64) -> Outcome<Value> {
    let tenant = filter.tenant.clone().unwrap_or_default();
    client.get("/v1/alerts/tail", &[("after", after.into()), ("tenant", tenant), ("wait", wait.to_string())]).await
}

fn next(answer: &Value) -> Outcome<String> {
    let next = answer["next"].as_str().filter(|next| !next.is_empty());
    next.map(str::to_owned).ok_or_else(|| Failure::server("the answer has no next", "is the collector of the same version?"))
}

/// What the API filters in a list, for a tail, which it does not filter. A level that is unknown here is never hidden.
fn fits(filter: &AlertFilter, alert: &Value) -> bool {
    let text = |name: &str| alert[name].as_str().unwrap_or_default();
    let level = filter.level.as_deref().and_then(Level::from_name);
    let is_grave = level.is_none_or(|least| Level::from_name(text("level")).is_none_or(|level| level >= least));
    let is_rule = filter.rule.as_deref().is_none_or(|rule| rule == text("rule_id"));
    let is_host = filter.host.as_deref().is_none_or(|host| {
        let is_prefix = host.len() >= MIN_PREFIX && text("agent_id").starts_with(&host.to_ascii_lowercase());
        is_prefix || text("hostname").eq_ignore_ascii_case(host)
    });
    is_grave && is_rule && is_host
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_tail_is_filtered_as_a_list_is() {
        let none = || AlertFilter { tenant: None, host: None, level: None, rule: None };
        let alert = json!({"level": "high", "rule_id": "r1", "hostname": "App-07", "agent_id": "aabbccdd00"});
        let with = |level: Option<&str>, rule: Option<&str>, host: Option<&str>| {
            let own = |text: Option<&str>| text.map(str::to_owned);
            fits(&AlertFilter { level: own(level), rule: own(rule), host: own(host), ..none() }, &alert)
        };
        assert!(fits(&none(), &alert) && fits(&none(), &json!({})));
        assert!(with(Some("medium"), Some("r1"), Some("app-07")) && with(Some("high"), None, Some("AABBCC")));
        assert!(!with(Some("critical"), None, None) && !with(None, Some("r2"), None));
        assert!(!with(None, None, Some("app-08")) && !with(None, None, Some("aabbc")));
        assert!(fits(&AlertFilter { level: Some("critical".into()), ..none() }, &json!({"level": "apocalyptic"})));
    }
}
