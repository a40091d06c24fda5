//! `beffroi events`: search, tree, around.

use serde_json::{Value, json};

use crate::args::Span;
use crate::client::{Client, rows};
use crate::commands::alerts::segment;
use crate::errors::Outcome;
use crate::filter;
use crate::output::{Column, Output, column, say};
use crate::safe::terminal;
use crate::when;

const COLUMNS: [Column; 8] = [
    column("TIME", "/ts", 0),
    column("CATEGORY", "/category", 0),
    column("HOST", "/host", 20),
    column("USER", "/User", 16),
    column("IMAGE", "/Image", 40),
    column("COMMAND LINE", "/CommandLine", 80),
    column("TARGET", "/TargetFilename", 60),
    column("DESTINATION", "/DestinationIp", 0),
];
const GROUPS: [Column; 2] = [column("COUNT", "/count", 0), column("VALUE", "/value", 120)];

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
        return output.page(&json!({"total": total}), |_| total.to_string());
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

fn draw(tree: &Value, output: &Output) -> String {
    let nodes = rows(tree, "nodes");
    let top = nodes.iter().filter_map(|node| node["depth"].as_i64()).min().unwrap_or(0);
    let mut page = format!(
        "{} ({})\n",
        terminal(tree["hostname"].as_str().unwrap_or_default()),
        tree["tenant"].as_str().unwrap_or_default()
    );
    for node in &nodes {
        let depth = (node["depth"].as_i64().unwrap_or(0) - top).clamp(0, 64) as usize;
        let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
        let mark = if node["guid"] == tree["guid"] { "» " } else { "" };
        let shown = ["command_line", "image"]
            .iter()
            .filter_map(|name| node[*name].as_str())
            .find(|text| !text.is_empty())
            .unwrap_or("(not recorded)");
        let pid = node["pid"].as_u64().map_or_else(String::new, |pid| format!("[{pid}] "));
        page.push_str(&format!("{branch}{mark}{pid}{}  {}\n", terminal(shown), output.text(&node["ts"])));
    }
    page
}

/// `events around`.
pub async fn around(client: &Client, output: &Output, alert: &str, window: &str, limit: u64) -> Outcome {
    let seconds = when::seconds(window)?;
    let query = [("window", format!("{seconds}s")), ("limit", limit.to_string())];
    let answer = client.get(&format!("/v1/alerts/{}/around", segment(alert)), &query).await?;
    output.rows(&COLUMNS, &rows(&answer, "events"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Form;

    #[test]
    fn a_tree_is_drawn_from_its_oldest_ancestor_with_the_asked_process_marked() {
        let tree = json!({"tenant": "t", "hostname": "h", "guid": "b", "nodes": [
            {"guid": "a", "depth": -1, "command_line": "java", "pid": 1, "ts": ""},
            {"guid": "b", "depth": 0, "command_line": "sh -c id", "pid": 2, "ts": ""},
            {"guid": "c", "depth": 1, "command_line": "", "image": "/usr/bin/id", "ts": ""}]});
        let drawn = draw(&tree, &Output::new(Some(Form::Table), None).unwrap());
        let lines: Vec<&str> = drawn.lines().map(str::trim_end).collect();
        assert_eq!(lines, ["h (t)", "[1] java", "└─ » [2] sh -c id", "   └─ /usr/bin/id"]);
    }
}
