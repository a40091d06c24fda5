//! `beffroi events`: search, tree, around.

use serde_json::{Value, json};

use crate::args::Span;
use crate::client::{Client, rows, segment};
use crate::commands::tree::draw;
use crate::errors::Outcome;
use crate::filter;
use crate::output::{Column, Output, column, rest, say};
use crate::when;

const COLUMNS: [Column; 8] = [
    column("TIME", "/ts", 0),
    column("CATEGORY", "/category", 0),
    column("HOST", "/host", 20),
    column("USER", "/User", 16),
    column("IMAGE", "/Image", 40),
    rest("COMMAND LINE", "/CommandLine", 80),
    column("TARGET", "/TargetFilename", 60),
    column("DESTINATION", "/DestinationIp", 0),
];
const GROUPS: [Column; 2] = [column("COUNT", "/count", 0), rest("VALUE", "/value", 120)];

/// What `events search` was asked for.
pub struct Search<'a> {
    /// Filters as typed.
    pub filters: &'a [String],
    /// Which time.
    pub span: &'a Span,
    /// Only this tenant.
    pub tenant: Option<&'a str>,
    /// Only this host.
    pub host: Option<&'a str>,
    /// Count by this field.
    pub by: Option<&'a str>,
    /// Only count.
    pub count: bool,
    /// How many at most.
    pub limit: u64,
}

/// `events search`.
pub async fn search(client: &Client, output: &Output, search: Search<'_>) -> Outcome {
    let now = jiff::Timestamp::now();
    let filters = search.filters.iter().map(|text| filter::parse(text)).collect::<Outcome<Vec<Value>>>()?;
    let body = json!({
        "filters": filters,
        "since": when::moment(&search.span.since, now)?,
        "until": search.span.until.as_ref().map(|text| when::moment(text, now)).transpose()?,
        "tenant": search.tenant,
        "host": search.host,
        "by": search.by,
        "count": search.count && search.by.is_none(),
        "limit": search.limit,
    });
    let answer = client.post("/v1/events/search", &body).await?;
    if let Some(total) = answer.get("total") {
        return output.page(&json!({"total": total}), |output| output.shown(&answer, "/total"));
    }
    if answer.get("groups").is_some() {
        return output.rows(&GROUPS, &rows(&answer, "groups"));
    }
    let events = rows(&answer, "events");
    output.rows(&COLUMNS, &events)?;
    if events.len() as u64 >= search.limit {
        say(&format!("the newest {}; there may be more (--limit, --since, --count)", events.len()));
    }
    Ok(())
}

/// `events tree`.
pub async fn tree(client: &Client, output: &Output, guid: &str) -> Outcome {
    let tree = client.get(&format!("/v1/processes/{}/tree", segment(guid)), &[]).await?;
    output.page(&tree, |output| draw(&tree, output))?;
    if tree["truncated"] == true {
        say("the tree is larger than what is shown");
    }
    Ok(())
}

/// `events around`.
pub async fn around(client: &Client, output: &Output, alert: &str, window: &str, limit: u64) -> Outcome {
    let seconds = when::seconds(window)?;
    let query = [("window", format!("{seconds}s")), ("limit", limit.to_string())];
    let answer = client.get(&format!("/v1/alerts/{}/around", segment(alert)), &query).await?;
    let events = rows(&answer, "events");
    output.rows(&COLUMNS, &events)?;
    if events.len() as u64 >= limit {
        say(&format!("the nearest {}; there may be more (--limit, --window)", events.len()));
    }
    Ok(())
}
