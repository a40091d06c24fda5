//! One alert on a page for a person: a sentence, the fields, the process chain, the rule, what may be missing.

use std::fmt::Write;

use serde_json::Value;

use crate::output::Output;
use crate::safe::terminal;

/// The page.
pub fn page(alert: &Value, output: &Output) -> String {
    let mut page = String::new();
    let newest = &alert["match"];
    let _ = writeln!(page, "{}\n", sentence(alert));
    for (name, at) in [
        ("Alert", "/alert_id"),
        ("Level", "/level"),
        ("Tenant", "/tenant"),
        ("Matches", "/count"),
        ("First", "/first_seen"),
        ("Last", "/last_seen"),
        ("Event time", "/event_time"),
        ("Received", "/received_at"),
        ("Detected", "/detected_at"),
        ("Stored", "/stored_at"),
    ] {
        line(&mut page, output, name, alert.pointer(at));
    }
    if newest["replayed"] == true {
        let _ = writeln!(page, "  Origin         replay: recorded elsewhere and sent again");
    }
    if newest["clock_suspect"] == true {
        let _ = writeln!(page, "  Clock          the host's clock was more than 5 minutes away from the gateway's");
    }
    section(
        &mut page,
        output,
        "Host",
        &newest["host"],
        &[
            ("Name", "/hostname"),
            ("Agent", "/agent_id"),
            ("Address", "/remote"),
            ("Addresses", "/addresses"),
            ("System", "/os"),
            ("Kernel", "/kernel"),
            ("Agent version", "/agent_version"),
        ],
    );
    labels(&mut page, &newest["host"]["labels"]);
    section(
        &mut page,
        output,
        "Process",
        newest,
        &[
            ("Image", "/image"),
            ("Command line", "/command_line"),
            ("User", "/user"),
            ("Login user", "/login_user"),
            ("Guid", "/process_guid"),
        ],
    );
    chain(&mut page, &newest["chain"]);
    fields(&mut page, output, newest);
    rule(&mut page, output, &newest["rule"]);
    gaps(&mut page, output, &alert["gaps"]);
    section(
        &mut page,
        output,
        "Evidence",
        newest,
        &[("Events", "/event_ids"), ("Rule set", "/ruleset"), ("Engine", "/engine"), ("Match", "/match_id")],
    );
    page
}

fn text<'a>(value: &'a Value, at: &str) -> &'a str {
    value.pointer(at).and_then(Value::as_str).unwrap_or_default()
}

/// What happened, in one sentence.
fn sentence(alert: &Value) -> String {
    let newest = &alert["match"];
    let user = text(newest, "/user");
    let by = if user.is_empty() { String::new() } else { format!(" by {user}") };
    let times = match alert["count"].as_u64() {
        Some(count) if count > 1 => format!(" ({count} times)"),
        _ => String::new(),
    };
    let sentence = format!(
        "{}: \"{}\" on {}{by}{times}: {}",
        text(alert, "/level").to_uppercase(),
        text(newest, "/rule/title"),
        text(newest, "/host/hostname"),
        text(newest, "/what")
    );
    terminal(&sentence)
}

fn line(page: &mut String, output: &Output, name: &str, value: Option<&Value>) {
    let shown = value.map(|value| output.text(value)).unwrap_or_default();
    if !shown.is_empty() {
        let _ = writeln!(page, "  {name:<14} {}", terminal(&shown));
    }
}

fn section(page: &mut String, output: &Output, title: &str, value: &Value, lines: &[(&str, &str)]) {
    let _ = writeln!(page, "\n{title}");
    for (name, at) in lines {
        line(page, output, name, value.pointer(at));
    }
}

fn labels(page: &mut String, labels: &Value) {
    let list: Vec<String> = labels
        .as_object()
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    if !list.is_empty() {
        let _ = writeln!(page, "  {:<14} {}", "Labels", terminal(&list.join(" ")));
    }
}

/// The chain, oldest ancestor first, as a tree.
fn chain(page: &mut String, chain: &Value) {
    let links: Vec<&Value> = chain.as_array().into_iter().flatten().collect();
    if links.is_empty() {
        return;
    }
    let _ = writeln!(page, "\nProcess tree");
    for (depth, link) in links.iter().rev().enumerate() {
        let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat(depth - 1)) };
        let pid = link["pid"].as_u64().map_or_else(String::new, |pid| format!(" [{pid}]"));
        let command = text(link, "/command_line");
        let shown = if command.is_empty() { text(link, "/image") } else { command };
        let _ = writeln!(page, "  {branch}{}{pid}  {}", terminal(text(link, "/image")), terminal(shown));
    }
}

fn fields(page: &mut String, output: &Output, newest: &Value) {
    let _ = writeln!(page, "\nWhy it matched");
    line(page, output, "Selections", newest.pointer("/matched_selections"));
    for field in newest["matched_fields"].as_array().into_iter().flatten() {
        line(page, output, text(field, "/field"), field.pointer("/value"));
    }
}

fn rule(page: &mut String, output: &Output, rule: &Value) {
    section(
        page,
        output,
        "Rule",
        rule,
        &[
            ("Title", "/title"),
            ("Id", "/id"),
            ("Version", "/version"),
            ("SHA-256", "/sha256"),
            ("Author", "/author"),
            ("Licence", "/license"),
            ("Description", "/description"),
            ("False pos.", "/false_positives"),
            ("References", "/references"),
        ],
    );
    for attack in rule["attack"].as_array().into_iter().flatten() {
        let _ = writeln!(page, "  {:<14} {} {}", "ATT&CK", terminal(text(attack, "/id")), terminal(text(attack, "/name")));
    }
}

fn gaps(page: &mut String, output: &Output, gaps: &Value) {
    let gaps: Vec<&Value> = gaps.as_array().into_iter().flatten().collect();
    if gaps.is_empty() {
        let _ = writeln!(page, "\nCoverage\n  No gap of this host within 10 minutes of the event is known.");
        return;
    }
    let _ = writeln!(page, "\nCoverage: NOT EVERYTHING WAS SEEN within 10 minutes of the event");
    for gap in gaps {
        let _ =
            writeln!(page, "  {} to {}  {}", output.text(&gap["from"]), output.text(&gap["to"]), terminal(text(gap, "/reason")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Form;
    use serde_json::json;

    #[test]
    fn the_page_tells_what_happened_and_shows_hostile_text_harmlessly() {
        let alert = json!({"alert_id": "ab", "level": "high", "count": 2, "gaps": [], "match": {
            "what": "sh -c \u{1b}[2Jid", "user": "tomcat", "rule": {"title": "Java starts a shell", "author": "Beffroi project", "attack": [{"id": "T1059.004", "name": "Unix Shell"}]},
            "host": {"hostname": "app-07", "labels": {"site": "x"}}, "matched_selections": ["selection"], "matched_fields": [{"field": "ParentImage", "value": "/opt/java"}],
            "chain": [{"image": "/usr/bin/dash", "command_line": "sh -c id", "pid": 5}, {"image": "/opt/java", "command_line": "java -jar a", "pid": 1}]}});
        let page = page(&alert, &Output::new(Some(Form::Table), None).unwrap());
        assert!(page.starts_with("HIGH: \"Java starts a shell\" on app-07 by tomcat (2 times): sh -c \\u{1b}[2Jid"), "{page}");
        assert!(page.contains("/opt/java [1]  java -jar a\n  └─ /usr/bin/dash [5]  sh -c id"), "{page}");
        assert!(page.contains("T1059.004 Unix Shell") && page.contains("site=x") && page.contains("No gap"), "{page}");
        assert!(!page.contains('\u{1b}'));
    }
}
