//! Waiting for a scan, and showing how far each host is: bars on a terminal, lines elsewhere.
//!
//! The wait ends when every host has come to its end, or when only hosts are left that are offline, or at its deadline. An
//! API that is away for a while is waited for: the scan goes on without it.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::status;
use super::summary::{count, name_of, number};
use crate::client::{Client, rows};
use crate::errors::Outcome;
use crate::output::{Form, Output, say};
use crate::safe;
use crate::when::now_us;

/// First pause between two looks; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two looks: hosts report every ten seconds at most, and at once when they end.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Only after this time a silent host counts as offline: a host that is there takes an order up within seconds.
const SETTLE: Duration = Duration::from_secs(15);
/// Hosts that the line of running ones names.
const MAX_NAMED: usize = 4;

/// Waits, at most `limit`, and gives the last that the API said.
pub async fn wait(client: &Client, output: &Output, id: &str, limit: Duration) -> Outcome<Value> {
    let deadline = Instant::now() + limit;
    let mut board = Board::new(output.form());
    let mut pause = FIRST_PAUSE;
    let mut last = json!({"order_id": id});
    let mut is_away = false;
    loop {
        match status::get(client, id).await {
            Ok(scan) => {
                if std::mem::take(&mut is_away) {
                    board.tell("the API answers again");
                }
                board.show(output, &scan)?;
                let is_over = is_over(&scan, now_us());
                last = scan;
                if is_over {
                    break;
                }
            }
            Err(failure) if failure.is_passing => {
                if !std::mem::replace(&mut is_away, true) {
                    board.tell(&format!("{failure}\nwaiting for it; the scan goes on"));
                }
            }
            Err(failure) => return Err(failure),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            board.tell("the wait is over before every host has answered; the scan goes on until it expires");
            break;
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
    board.finish();
    Ok(last)
}

/// Whether nobody is left who could still answer soon.
fn is_over(scan: &Value, now_us: i64) -> bool {
    let hosts = rows(scan, "hosts");
    let is_open =
        |host: &&Value| !matches!(host["state"].as_str(), Some("done" | "refused" | "cancelled" | "expired" | "failed"));
    let open: Vec<&Value> = hosts.iter().filter(is_open).collect();
    if open.is_empty() && !hosts.is_empty() {
        return true;
    }
    if scan["state"].as_str().is_some_and(|state| state != "running") {
        return true;
    }
    let issued: Option<jiff::Timestamp> = scan["issued"].as_str().and_then(|text| text.parse().ok());
    let age = issued.map_or(0, |issued| now_us.saturating_sub(issued.as_microsecond()));
    let is_settled = u128::try_from(age).is_ok_and(|age| age >= SETTLE.as_micros());
    is_settled && open.iter().all(|host| host["state"] == "offline")
}

/// Where progress is shown.
enum Board {
    /// Lines of NDJSON on stdout: data for a program.
    Lines(Known),
    /// Bars on the terminal of stderr.
    Bars { all: MultiProgress, total: ProgressBar, running: ProgressBar, known: Known },
    /// Lines on stderr, for a log.
    Talk(Known),
}

/// What was last said of each host: its state, and files scanned.
#[derive(Default)]
struct Known(HashMap<String, (String, u64)>);

impl Known {
    /// Whether the state is another than before, and whether anything is.
    fn changed(&mut self, host: &Value) -> (bool, bool) {
        let id = host["agent_id"].as_str().unwrap_or_default().to_owned();
        let now = (host["state"].as_str().unwrap_or_default().to_owned(), count(host, "files_scanned"));
        match self.0.insert(id, now.clone()) {
            None => (true, true),
            Some(before) => (before.0 != now.0, before != now),
        }
    }
}

impl Board {
    fn new(form: Form) -> Self {
        if form == Form::Ndjson {
            return Self::Lines(Known::default());
        }
        if !std::io::stderr().is_terminal() {
            return Self::Talk(Known::default());
        }
        let all = MultiProgress::new();
        let style = |template: &str| ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let total = all.add(ProgressBar::new(0).with_style(style("[{bar:24}] {pos}/{len} hosts answered, {msg} ({elapsed})")));
        let running = all.add(ProgressBar::new_spinner().with_style(style("{wide_msg}")));
        Self::Bars { all, total, running, known: Known::default() }
    }

    fn show(&mut self, output: &Output, scan: &Value) -> Outcome {
        let hosts = rows(scan, "hosts");
        match self {
            Self::Lines(known) => {
                for host in &hosts {
                    if known.changed(host).1 {
                        output.json_line(&line(host))?;
                    }
                }
            }
            Self::Talk(known) => {
                hosts.iter().filter(|host| known.changed(host).0).for_each(|host| say(&told(host)));
            }
            Self::Bars { all, total, running, known } => {
                for host in hosts.iter().filter(|host| known.changed(host).0 && !is_waiting(host)) {
                    let _ = all.println(safe::lines(&told(host)));
                }
                total.set_length(count(scan, "asked"));
                total.set_position(count(scan, "answered"));
                let figures = [("files_scanned", "files"), ("files_matched", "matched"), ("files_unknown", "unknown")];
                total.set_message(figures.map(|(name, shown)| format!("{} {shown}", number(count(scan, name)))).join(", "));
                running.set_message(in_work(&hosts));
            }
        }
        Ok(())
    }

    /// Talk between the bars.
    fn tell(&self, text: &str) {
        match self {
            Self::Bars { all, .. } => {
                let _ = all.println(safe::lines(text));
            }
            _ => say(text),
        }
    }

    fn finish(self) {
        if let Self::Bars { total, running, .. } = self {
            running.finish_and_clear();
            total.finish_and_clear();
        }
    }
}

fn is_waiting(host: &Value) -> bool {
    matches!(host["state"].as_str(), Some("asked" | "offline"))
}

fn line(host: &Value) -> Value {
    let mut line = host.clone();
    if let Some(object) = line.as_object_mut() {
        object.insert("type".into(), json!("host"));
    }
    line
}

/// A host in a line: `web-01: done, 4,021 files scanned, 1 matched`.
fn told(host: &Value) -> String {
    let state = safe::terminal(host["state"].as_str().unwrap_or("?"));
    let mut text = format!("{}: {state}", name_of(host));
    let (scanned, matched) = (count(host, "files_scanned"), count(host, "files_matched"));
    if scanned > 0 || state == "done" {
        text.push_str(&format!(", {} files scanned, {} matched", number(scanned), number(matched)));
    }
    match host["reason"].as_str() {
        Some(reason) if !reason.is_empty() => format!("{text} ({})", safe::terminal(&safe::cut(reason, 200))),
        _ => text,
    }
}

/// Who is at it now.
fn in_work(hosts: &[Value]) -> String {
    let busy: Vec<&Value> = hosts.iter().filter(|host| matches!(host["state"].as_str(), Some("accepted" | "running"))).collect();
    let named: Vec<String> = busy
        .iter()
        .take(MAX_NAMED)
        .map(|host| format!("{} {} files", name_of(host), number(count(host, "files_scanned"))))
        .collect();
    let more = busy.len().saturating_sub(MAX_NAMED);
    match (named.is_empty(), more) {
        (true, _) => "waiting for hosts".into(),
        (false, 0) => named.join(", "),
        (false, more) => format!("{}, and {more} more", named.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(states: &[&str], state: &str) -> Value {
        let hosts: Vec<Value> = states
            .iter()
            .enumerate()
            .map(|(at, state)| json!({"agent_id": at.to_string(), "hostname": format!("h{at}"), "state": state}))
            .collect();
        json!({"state": state, "issued": "2026-11-22T00:00:00Z", "hosts": hosts})
    }

    #[test]
    fn a_wait_ends_when_nobody_is_left_who_could_answer_soon() {
        let issued = "2026-11-22T00:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
        let (early, late) = (issued + 1_000_000, issued + 16_000_000);
        assert!(is_over(&scan(&["done", "refused"], "running"), early));
        assert!(!is_over(&scan(&["done", "running"], "running"), late));
        assert!(!is_over(&scan(&["done", "asked"], "running"), late));
        assert!(!is_over(&scan(&["done", "offline"], "running"), early));
        assert!(is_over(&scan(&["done", "offline"], "running"), late));
        assert!(!is_over(&scan(&[], "running"), early));
        assert!(is_over(&scan(&["asked"], "expired"), early));
    }

    #[test]
    fn a_host_is_told_of_when_its_state_changes() {
        let mut known = Known::default();
        let host = |state: &str, files: u64| json!({"agent_id": "a", "hostname": "h", "state": state, "files_scanned": files});
        assert_eq!(known.changed(&host("running", 1)), (true, true));
        assert_eq!(known.changed(&host("running", 1)), (false, false));
        assert_eq!(known.changed(&host("running", 2)), (false, true));
        assert_eq!(known.changed(&host("done", 2)), (true, true));
        assert_eq!(told(&host("done", 4_021)), "h: done, 4,021 files scanned, 0 matched");
        let refused = json!({"hostname": "h\u{1b}", "state": "refused", "reason": "expired\u{202e}"});
        assert_eq!(told(&refused), "h\\u{1b}: refused (expired\\u{202e})");
        assert_eq!(in_work(&[host("running", 3), host("done", 9)]), "h 3 files");
    }
}
