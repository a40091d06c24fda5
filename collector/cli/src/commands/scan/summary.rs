//! What a scan came to, in one sentence, and whether it is over. Written from what the API says of the scan and its hosts.

use serde_json::Value;

use crate::client::rows;
use crate::safe::terminal;

/// Hosts that a sentence names.
const MAX_NAMED: usize = 8;

/// A number as people read it: `48,211`.
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count in an answer; what is absent is 0.
pub fn count(value: &Value, name: &str) -> u64 {
    value[name].as_u64().unwrap_or_default()
}

/// Names of the hosts in these states, safe for a terminal: the first few, and how many more.
fn named(scan: &Value, states: &[&str]) -> String {
    let hosts = rows(scan, "hosts");
    let is_one = |host: &&Value| host["state"].as_str().is_some_and(|state| states.contains(&state));
    let names: Vec<String> = hosts.iter().filter(is_one).map(name_of).collect();
    if names.is_empty() {
        return String::new();
    }
    let more = names.len().saturating_sub(MAX_NAMED);
    let shown = names.iter().take(MAX_NAMED).cloned().collect::<Vec<_>>().join(", ");
    if more > 0 { format!(" ({shown} and {more} more)") } else { format!(" ({shown})") }
}

/// How a host is called: its name, or the beginning of its id.
pub fn name_of(host: &Value) -> String {
    let text = |name: &str| host[name].as_str().unwrap_or_default();
    let name = if text("hostname").is_empty() { text("agent_id") } else { text("hostname") };
    terminal(&name.chars().take(64).collect::<String>())
}

fn in_state(scan: &Value, state: &str) -> u64 {
    rows(scan, "hosts").iter().filter(|host| host["state"] == state).count() as u64
}

/// `asked 12, answered 11, refused 0, offline 1 (pc-14); 48,211 files scanned, 3 matched, ...`
pub fn sentence(scan: &Value) -> String {
    let part = |name: &str, shown: &str| format!("{} {shown}", number(count(scan, name)));
    let mut hosts =
        vec![format!("asked {}", number(count(scan, "asked"))), format!("answered {}", number(count(scan, "answered")))];
    for (shown, counted, states) in [
        ("running", count(scan, "running"), &["accepted", "running"][..]),
        ("waiting", in_state(scan, "asked"), &["asked"]),
        ("cancelled", in_state(scan, "cancelled"), &["cancelled"]),
        ("expired", in_state(scan, "expired"), &["expired"]),
        ("failed", in_state(scan, "failed"), &["failed"]),
    ] {
        if counted > 0 {
            hosts.push(format!("{shown} {}{}", number(counted), named(scan, states)));
        }
    }
    for state in ["refused", "offline"] {
        hosts.push(format!("{state} {}{}", number(count(scan, state)), named(scan, &[state])));
    }
    let files = [
        part("files_scanned", "files scanned"),
        part("files_matched", "matched"),
        part("files_skipped", "skipped"),
        part("files_timed_out", "timed out"),
        part("files_unknown", "unknown"),
    ];
    format!("{}; {}", hosts.join(", "), files.join(", "))
}

/// Whether every host that was asked has answered and come to its end.
pub fn is_complete(scan: &Value) -> bool {
    let ended_early =
        ["cancelled", "expired", "failed"].map(|state| in_state(scan, state)).iter().sum::<u64>() + count(scan, "refused");
    count(scan, "answered") >= count(scan, "asked") && ended_early == 0
}

/// What "nothing was found" rests on: nothing for what was not looked into.
pub fn nothing_found(scan: &Value) -> String {
    let (asked, answered, failed) = (count(scan, "asked"), count(scan, "answered"), in_state(scan, "failed"));
    let (refused, unknown) = (count(scan, "refused"), count(scan, "files_unknown") + count(scan, "files_timed_out"));
    let files = number(count(scan, "files_scanned"));
    let mut text = format!(
        "nothing found in {files} files on {} of {} hosts",
        number(answered.saturating_sub(refused + failed)),
        number(asked)
    );
    let mut open = Vec::new();
    let silent = asked.saturating_sub(answered);
    if silent > 0 {
        open.push(format!("{} without an answer{}", hosts(silent), named(scan, &["offline", "asked", "accepted", "running"])));
    }
    if refused > 0 {
        open.push(format!("{} that refused{}", hosts(refused), named(scan, &["refused"])));
    }
    for (state, how) in
        [("cancelled", "that stopped early"), ("expired", "that did not finish in time"), ("failed", "that could not scan")]
    {
        let ended = in_state(scan, state);
        if ended > 0 {
            open.push(format!("{} {how}{}", hosts(ended), named(scan, &[state])));
        }
    }
    if unknown > 0 {
        open.push(format!("{} that could not be looked into to the end", plural(unknown, "file")));
    }
    if count(scan, "files_skipped") > 0 {
        open.push(format!("{} left out by size or kind", plural(count(scan, "files_skipped"), "file")));
    }
    if !open.is_empty() {
        text.push_str(&format!("; it says nothing of {}", open.join(", ")));
    }
    text
}

fn hosts(count: u64) -> String {
    plural(count, "host")
}

fn plural(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{} {what}s", number(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn scan() -> Value {
        json!({"asked": 12, "answered": 11, "refused": 0, "offline": 1, "running": 0, "files_scanned": 48_211, "files_matched": 3,
            "files_skipped": 17, "files_timed_out": 0, "files_unknown": 2,
            "hosts": [{"hostname": "pc-14", "state": "offline"}, {"hostname": "pc-15", "state": "done"}]})
    }

    #[test]
    fn the_sentence_says_who_answered_and_what_was_looked_into() {
        let said = "asked 12, answered 11, refused 0, offline 1 (pc-14); \
                    48,211 files scanned, 3 matched, 17 skipped, 0 timed out, 2 unknown";
        assert_eq!(sentence(&scan()), said);
        assert!(!is_complete(&scan()));
    }

    #[test]
    fn a_host_that_could_not_scan_is_named_and_says_nothing() {
        let mut failed = scan();
        failed["answered"] = 12.into();
        failed["hosts"][0]["state"] = "failed".into();
        assert!(!is_complete(&failed));
        assert!(sentence(&failed).contains("answered 12, failed 1 (pc-14), refused 0"), "{}", sentence(&failed));
        let nothing = nothing_found(&failed);
        assert!(nothing.contains("on 11 of 12 hosts") && nothing.contains("1 host that could not scan (pc-14)"), "{nothing}");
    }

    #[test]
    fn a_scan_is_complete_only_when_every_host_came_to_its_end() {
        let mut done = scan();
        done["answered"] = 12.into();
        assert!(is_complete(&done));
        done["hosts"][0]["state"] = "asked".into();
        assert!(sentence(&done).contains("answered 12, waiting 1 (pc-14), refused 0"), "{}", sentence(&done));
        done["refused"] = 1.into();
        assert!(!is_complete(&done));
        done["refused"] = 0.into();
        done["hosts"][0]["state"] = "cancelled".into();
        assert!(!is_complete(&done) && sentence(&done).contains("cancelled 1 (pc-14)"));
    }

    #[test]
    fn nothing_found_says_what_it_does_not_say() {
        let text = nothing_found(&scan());
        assert_eq!(
            text,
            "nothing found in 48,211 files on 11 of 12 hosts; it says nothing of 1 host without an answer (pc-14), \
             2 files that could not be looked into to the end, 17 files left out by size or kind"
        );
        let whole = json!({"asked": 1, "answered": 1, "files_scanned": 5});
        assert_eq!(nothing_found(&whole), "nothing found in 5 files on 1 of 1 hosts");
    }

    #[test]
    fn names_of_hosts_are_harmless_and_not_too_many() {
        let hosts: Vec<Value> = (0..10).map(|at| json!({"hostname": format!("h{at}\u{1b}"), "state": "offline"})).collect();
        let text = sentence(&json!({"offline": 10, "hosts": hosts}));
        assert!(text.contains("h7\\u{1b} and 2 more)") && !text.contains('\u{1b}'), "{text}");
        assert_eq!(name_of(&json!({"hostname": "", "agent_id": "aabb"})), "aabb");
    }

    #[test]
    fn numbers_are_grouped() {
        for (count, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (48_211, "48,211"), (1_234_567, "1,234,567")] {
            assert_eq!(number(count), text);
        }
    }
}
