//! One alert on a page for a person: a sentence, the fields, the process chain, the rule, what may be missing.

use serde_json::Value;

use super::page::Page;
use crate::output::Output;
use crate::safe::terminal;

/// Levels of a chain that are drawn deeper and deeper; beyond, they stand below each other.
const MAX_INDENT: usize = 32;

const SUMMARY: [(&str, &str); 10] = [
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
];
const HOST: [(&str, &str); 8] = [
    ("Name", "/hostname"),
    ("Agent", "/agent_id"),
    ("Address", "/remote"),
    ("Addresses", "/addresses"),
    ("System", "/os"),
    ("Kernel", "/kernel"),
    ("Agent version", "/agent_version"),
    ("Labels", "/labels"),
];
const PROCESS: [(&str, &str); 5] = [
    ("Image", "/image"),
    ("Command line", "/command_line"),
    ("User", "/user"),
    ("Login user", "/login_user"),
    ("Guid", "/process_guid"),
];
const RULE: [(&str, &str); 10] = [
    ("Title", "/title"),
    ("Id", "/id"),
    ("Version", "/version"),
    ("SHA-256", "/sha256"),
    ("Author", "/author"),
    ("Licence", "/license"),
    ("Description", "/description"),
    ("Do first", "/response"),
    ("False pos.", "/false_positives"),
    ("References", "/references"),
];

/// The page.
pub fn page(alert: &Value, output: &Output) -> String {
    let newest = &alert["match"];
    let mut page = Page::new(output);
    page.raw(&format!("{}\n", sentence(alert)));
    page.lines(alert, &SUMMARY);
    if newest["replayed"] == true {
        page.named("Origin", "replay: recorded elsewhere and sent again");
    }
    if newest["clock_suspect"] == true {
        page.named("Clock", "the host's clock was more than 5 minutes away from the gateway's");
    }
    page.title("Host");
    page.lines(&newest["host"], &HOST);
    page.title("Process");
    page.lines(newest, &PROCESS);
    chain(&mut page, &newest["chain"]);
    page.title("Why it matched");
    page.line("Selections", newest, "/matched_selections");
    for field in newest["matched_fields"].as_array().into_iter().flatten() {
        page.line(&terminal(text(field, "/field")), field, "/value");
    }
    page.title("Rule");
    page.lines(&newest["rule"], &RULE);
    for attack in newest["rule"]["attack"].as_array().into_iter().flatten() {
        page.named("ATT&CK", &terminal(&format!("{} {}", text(attack, "/id"), text(attack, "/name"))));
    }
    gaps(&mut page, output, &alert["gaps"]);
    page.title("Evidence");
    page.lines(newest, &[("Events", "/event_ids"), ("Rule set", "/ruleset"), ("Engine", "/engine"), ("Match", "/match_id")]);
    page.finish()
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

/// The chain, oldest ancestor first, as a tree.
fn chain(page: &mut Page<'_>, chain: &Value) {
    let links: Vec<&Value> = chain.as_array().into_iter().flatten().collect();
    if links.is_empty() {
        return;
    }
    page.title("Process tree");
    for (depth, link) in links.iter().rev().enumerate() {
        let branch = if depth == 0 { String::new() } else { format!("{}└─ ", "   ".repeat((depth - 1).min(MAX_INDENT))) };
        let pid = link["pid"].as_u64().map_or_else(String::new, |pid| format!(" [{pid}]"));
        let line = format!("  {branch}{}{pid}  {}", terminal(text(link, "/image")), terminal(text(link, "/command_line")));
        page.raw(line.trim_end());
    }
}

fn gaps(page: &mut Page<'_>, output: &Output, gaps: &Value) {
    let gaps: Vec<&Value> = gaps.as_array().into_iter().flatten().collect();
    if gaps.is_empty() {
        page.title("Coverage");
        page.raw("  No gap of this host within 10 minutes of the event is known.");
        return;
    }
    page.title("Coverage: NOT EVERYTHING WAS SEEN within 10 minutes of the event");
    for gap in gaps {
        let shown = |at: &str| output.shown(gap, at);
        let lost = shown("/lost");
        let lost = if lost.is_empty() { String::new() } else { format!(", {lost} records lost") };
        page.raw(&format!("  {} to {}  {}{lost}", shown("/from"), shown("/to"), shown("/reason")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Form;
    use serde_json::json;

    #[test]
    fn the_page_tells_what_happened_and_shows_hostile_text_harmlessly() {
        let alert = json!({"alert_id": "ab", "level": "high", "count": 2, "match": {
            "what": "sh -c \u{1b}[2Jid", "user": "tomcat", "rule": {"title": "Java starts a shell", "author": "Beffroi project", "attack": [{"id": "T1059.004", "name": "Unix Shell"}]},
            "host": {"hostname": "app-07", "labels": {"site": "x"}}, "matched_selections": ["selection"], "matched_fields": [{"field": "ParentImage", "value": "/opt/java"}],
            "chain": [{"image": "/usr/bin/dash", "command_line": "sh -c id", "pid": 5}, {"image": "/opt/java", "command_line": "", "pid": 1}]},
            "gaps": [{"from": "2026-11-21T10:00:00Z", "to": "2026-11-21T10:01:00Z", "reason": "kernel_drop", "lost": 7}]});
        let page = page(&alert, &Output::new(Some(Form::Table), None).unwrap());
        assert!(page.starts_with("HIGH: \"Java starts a shell\" on app-07 by tomcat (2 times): sh -c \\u{1b}[2Jid"), "{page}");
        assert!(page.contains("/opt/java [1]\n  └─ /usr/bin/dash [5]  sh -c id"), "{page}");
        assert!(page.contains("T1059.004 Unix Shell") && page.contains("site=x"), "{page}");
        assert!(page.contains("NOT EVERYTHING WAS SEEN") && page.contains("kernel_drop, 7 records lost"), "{page}");
        assert!(!page.contains('\u{1b}'));
    }
}
