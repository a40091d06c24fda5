//! Recorded events: JSON lines, one flat object with Sigma field names each.
//!
//! Events are marked as replayed; what the lines do not say (category, product, time) comes from the options. Secrets in
//! recorded command lines are masked like live ones. A bad line is counted and named with its number; the rest goes on.

use std::io::BufRead;

use beffroi_schema::event::Text;
use beffroi_schema::limits::MAX_TEXT_BYTES;
use beffroi_schema::{Category, Event, Field, Product, Value};

use crate::clock;
use crate::mask;

/// One line: an event of the longest texts, escaped.
pub const MAX_LINE: usize = 8 * MAX_TEXT_BYTES;
/// Bad lines that are kept with their reason; the others are counted.
pub const MAX_REPORTED: usize = 100;

/// What the lines do not say.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// Category of events that name none. [`Category::None`]: guessed from the fields (process, file, network).
    pub category: Category,
    /// Product of events that name none.
    pub product: Product,
    /// Service of events that name none.
    pub service: Option<String>,
    /// Time of events that have none, microseconds since 1970; none: now.
    pub time: Option<i64>,
}

impl Default for ReplayOptions {
    fn default() -> Self {
        Self { category: Category::None, product: Product::Linux, service: None, time: None }
    }
}

/// A line that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Its number, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
}

/// What a replay came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplayReport {
    /// Events handed over.
    pub events: u64,
    /// Lines that were no events.
    pub bad: u64,
    /// The first of them.
    pub bad_lines: Vec<BadLine>,
}

impl ReplayReport {
    fn bad(&mut self, line: u64, why: String) {
        self.bad += 1;
        if self.bad_lines.len() < MAX_REPORTED {
            self.bad_lines.push(BadLine { line, why });
        }
    }
}

/// Reads JSON lines and hands over their events in the order of the lines. Empty lines are skipped.
///
/// # Errors
/// Only when the input cannot be read any further.
pub fn replay_jsonl(
    mut input: impl BufRead,
    options: &ReplayOptions,
    sink: &mut dyn FnMut(Event),
) -> std::io::Result<ReplayReport> {
    let mut report = ReplayReport::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        match read_line(&mut input, &mut bytes)? {
            Line::End => break,
            Line::TooLong => report.bad(line, format!("longer than {MAX_LINE} bytes")),
            Line::Whole if bytes.trim_ascii().is_empty() => {}
            Line::Whole => match event(&bytes, options) {
                Ok(event) => {
                    report.events += 1;
                    sink(event);
                }
                Err(why) => report.bad(line, why),
            },
        }
    }
    Ok(report)
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads up to the next line end; of a line that is too long, the rest is thrown away.
fn read_line(input: &mut impl BufRead, bytes: &mut Vec<u8>) -> std::io::Result<Line> {
    let mut any = false;
    let mut too_long = false;
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            break;
        }
        any = true;
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let part = &chunk[..end.unwrap_or(chunk.len())];
        too_long |= bytes.len() + part.len() > MAX_LINE;
        if !too_long {
            bytes.extend_from_slice(part);
        }
        let used = end.map_or(chunk.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    Ok(match (any, too_long) {
        (false, _) => Line::End,
        (true, true) => Line::TooLong,
        (true, false) => Line::Whole,
    })
}

fn event(line: &[u8], options: &ReplayOptions) -> Result<Event, String> {
    let json: serde_json::Value = serde_json::from_slice(line).map_err(|error| format!("no JSON: {error}"))?;
    let now = options.time.unwrap_or_else(clock::wall_us);
    let mut event = Event::from_json(&json, now).map_err(|error| error.to_string())?;
    event.replayed = true;
    let guessed = guess(&event);
    let source = &mut event.logsource;
    if source.product == Product::None {
        source.product = options.product;
    }
    if source.service.is_none() {
        source.service = options.service.as_ref().map(|service| service.as_bytes().into());
    }
    if source.category == Category::None && source.service.is_none() {
        source.category = if options.category == Category::None { guessed } else { options.category };
    }
    mask_recorded(&mut event);
    Ok(event)
}

/// The category that an event's fields speak of; none for log lines.
fn guess(event: &Event) -> Category {
    let has = |field| event.get(field).is_some();
    if has(Field::DESTINATION_IP) || has(Field::DESTINATION_PORT) {
        Category::NetworkConnection
    } else if has(Field::QUERY_NAME) {
        Category::DnsQuery
    } else if has(Field::TARGET_FILENAME) {
        Category::FileEvent
    } else if has(Field::COMMAND_LINE) || has(Field::ARGV) {
        Category::ProcessCreation
    } else {
        Category::None
    }
}

fn mask_recorded(event: &mut Event) {
    let mut redacted = false;
    if let Some(Value::List(list)) = event.get(Field::ARGV) {
        let mut argv: Vec<Vec<u8>> = list.iter().map(|arg| arg.to_vec()).collect();
        if mask::mask_argv(&mut argv) {
            redacted = true;
            event.set(Field::COMMAND_LINE, argv.join(&b' '));
            event.set(Field::ARGV, Value::List(argv.into_iter().map(Text::from).collect()));
        }
    }
    for field in [Field::COMMAND_LINE, Field::PARENT_COMMAND_LINE] {
        if let Some(Value::Text(text)) = event.get(field) {
            let mut argv = vec![text.to_vec()];
            if mask::mask_argv(&mut argv) {
                redacted = true;
                event.set(field, argv.remove(0));
            }
        }
    }
    if redacted {
        event.set(Field::REDACTED, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replay(text: &str) -> (Vec<Event>, ReplayReport) {
        let mut events = Vec::new();
        let report = replay_jsonl(text.as_bytes(), &ReplayOptions::default(), &mut |event| events.push(event)).unwrap();
        (events, report)
    }

    #[test]
    fn a_recorded_process_start_is_replayed_with_its_own_time() {
        let (events, report) = replay(
            r#"{"EventTime":"2026-11-21T21:35:47.795052Z","ProcessId":5,"Image":"/usr/bin/apt-get","CommandLine":"apt-get source hello","argv":["apt-get","source","hello"],"CurrentDirectory":"/tmp"}"#,
        );
        assert_eq!(report, ReplayReport { events: 1, ..ReplayReport::default() });
        assert!(events[0].replayed);
        assert_eq!(events[0].logsource.category, Category::ProcessCreation);
        assert_eq!(events[0].logsource.product, Product::Linux);
        assert_eq!(events[0].ts, 1_795_296_947_795_052);
    }

    #[test]
    fn bad_lines_are_named_and_the_rest_goes_on() {
        let long = format!(r#"{{"Image":"{}"}}"#, "x".repeat(MAX_LINE));
        let (events, report) = replay(&format!("{{\"Image\":\"/a\"}}\nnonsense\n\n{long}\n[1]\n{{\"Image\":\"/b\"}}"));
        assert_eq!(events.len(), 2);
        assert_eq!(events[1].text(Field::IMAGE), "/b");
        assert_eq!(report.bad, 3);
        assert_eq!(report.bad_lines.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 4, 5]);
    }

    #[test]
    fn recorded_secrets_are_masked() {
        let (events, _) = replay(
            "{\"argv\":[\"mysql\",\"-phunter2\"]}\n{\"CommandLine\":\"curl --token hunter2 x\",\"ParentCommandLine\":\"sh -c 'PGPASSWORD=hunter2 psql'\"}",
        );
        for event in &events {
            assert!(!serde_json::to_string(&event.to_json()).unwrap().contains("hunter2"), "{event:?}");
            assert_eq!(event.get(Field::REDACTED), Some(&Value::Bool(true)));
        }
    }

    #[test]
    fn many_bad_lines_are_counted_but_not_all_kept() {
        let (_, report) = replay(&"x\n".repeat(MAX_REPORTED + 50));
        assert_eq!(report.bad, MAX_REPORTED as u64 + 50);
        assert_eq!(report.bad_lines.len(), MAX_REPORTED);
    }
}
