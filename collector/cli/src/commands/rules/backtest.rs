//! `rules backtest`: what rules would have found in the events that are stored. The events come through the API, with its
//! tenants, its audit and its limits, and are judged here: a rule that is being written never runs on a server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use beffroi_engine::{Detector, RuleSet, SigmaDetector, compile};
use beffroi_schema::Event;
use beffroi_schema::json::rfc3339;
use serde_json::{Value, json};

use crate::args::Span;
use crate::client::{Client, rows};
use crate::errors::{Failure, Outcome};
use crate::output::{Column, Output, column, rest, say};
use crate::when;

/// Events of one question: some megabytes.
const PAGE: usize = 5_000;
/// First slice of time, and the longest: an empty month is a few questions.
const SLICES: (i64, i64) = (600_000_000, 86_400_000_000);
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(2);

const FOUND: [Column; 7] = [
    column("LEVEL", "/level", 0),
    column("MATCHES", "/matches", 0),
    column("HOSTS", "/hosts", 0),
    column("FIRST", "/first_ts", 0),
    column("LAST", "/last_ts", 0),
    column("RULE", "/title", 48),
    rest("SAMPLE", "/sample", 100),
];

/// What stands beside an event in the store.
const OF_THE_STORE: [&str; 8] =
    ["tenant", "agent_id", "host", "received_at", "stored_at", "clock_suspect", "replayed", "event_id"];

/// What was asked for.
pub struct Backtest<'a> {
    /// Rule files and folders.
    pub paths: &'a [PathBuf],
    /// Which time (of reception).
    pub span: &'a Span,
    /// Only this tenant.
    pub tenant: Option<&'a str>,
    /// Only this host.
    pub host: Option<&'a str>,
    /// Event ids kept for each rule.
    pub samples: usize,
}

/// What one rule found.
#[derive(Default)]
struct Tally {
    matches: u64,
    hosts: BTreeSet<String>,
    times: Option<(i64, i64)>,
    samples: Vec<Value>,
}

#[derive(Default)]
struct Run {
    tallies: BTreeMap<String, Tally>,
    events: u64,
    unreadable: u64,
    incomplete: u64,
}

/// `rules backtest`.
pub async fn backtest(client: &Client, output: &Output, asked: Backtest<'_>) -> Outcome {
    super::exist(asked.paths)?;
    let (set, problems) = RuleSet::load(asked.paths);
    problems.iter().filter(|problem| !problem.loaded).for_each(|problem| say(&problem.to_string()));
    if set.rules().is_empty() {
        return Err(Failure::rules("no rule loads", "`beffroi rules check` says why"));
    }
    let detector = compile(&set).map_err(|error| Failure::rules(error.to_string(), "name fewer rules"))?;
    let (from, to) = span(asked.span)?;
    let run = walk(client, &asked, &detector, (from, to)).await?;
    let rows = found(&detector, &run);
    output.rows(&FOUND, &rows)?;
    say(&format!(
        "{} events from {} to {}: {} of {} rules match; correlations are not part of a backtest",
        run.events,
        rfc3339(from),
        rfc3339(to),
        rows.len(),
        set.rules().len()
    ));
    if run.incomplete + run.unreadable > 0 {
        let what =
            format!("{} events could not be read, {} moments hold more events than one answer", run.unreadable, run.incomplete);
        return Err(Failure::server(what, "narrow it: --host, --tenant"));
    }
    Ok(())
}

fn span(span: &Span) -> Outcome<(i64, i64)> {
    let now = jiff::Timestamp::now();
    let micros = |text: &str| -> Outcome<i64> {
        let moment = when::moment(text, now)?;
        let bad = |error: jiff::Error| Failure::usage(format!("{text:?}: {error}"), "write 7d, or an RFC 3339 time");
        Ok(moment.parse::<jiff::Timestamp>().map_err(bad)?.as_microsecond())
    };
    let from = micros(&span.since)?;
    let to = span.until.as_deref().map_or(Ok(now.as_microsecond()), micros)?;
    if from >= to {
        return Err(Failure::usage("--until is not after --since", "name an earlier --since"));
    }
    Ok((from, to))
}

/// The event as its host sent it: without what store and gateway know beside it, which rules for any value must not see.
fn sensed(stored: &Value) -> Value {
    let mut event = stored.clone();
    if let Some(object) = event.as_object_mut() {
        OF_THE_STORE.iter().for_each(|name| drop(object.remove(*name)));
    }
    event
}

/// Goes through the time slice by slice: halved when an answer is full, doubled when it is nearly empty.
async fn walk(client: &Client, asked: &Backtest<'_>, detector: &SigmaDetector, (from, to): (i64, i64)) -> Outcome<Run> {
    let (mut run, mut at, mut width, mut told) = (Run::default(), from, SLICES.0, Instant::now());
    while at < to {
        let end = at.saturating_add(width).min(to);
        let body = json!({"filters": [], "since": rfc3339(at), "until": rfc3339(end), "tenant": asked.tenant,
            "host": asked.host, "count": false, "limit": PAGE});
        let events = rows(&client.question("/v1/events/search", &body).await?, "events");
        if events.len() >= PAGE && width > 1 {
            width = (end - at) / 2;
            width = width.max(1);
            continue;
        }
        run.incomplete += u64::from(events.len() >= PAGE);
        events.iter().for_each(|event| run.judge(detector, event, asked.samples));
        at = end;
        if events.len() < PAGE / 4 {
            width = (width * 2).min(SLICES.1);
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            say(&format!("{} %: {} events, up to {}", (at - from) * 100 / (to - from).max(1), run.events, rfc3339(at)));
        }
    }
    Ok(run)
}

impl Run {
    fn judge(&mut self, detector: &SigmaDetector, json: &Value, samples: usize) {
        self.events += 1;
        let Ok(event) = Event::from_json(&sensed(json), 0) else {
            self.unreadable += 1;
            return;
        };
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        for found in detector.evaluate(&event) {
            let tally = self.tallies.entry(found.rule.id.clone()).or_default();
            tally.matches += 1;
            tally.hosts.insert(text("agent_id"));
            let (first, last) = tally.times.unwrap_or((event.ts, event.ts));
            tally.times = Some((first.min(event.ts), last.max(event.ts)));
            if tally.samples.len() < samples {
                let what = ["CommandLine", "TargetFilename", "DestinationIp", "Image"].map(&text);
                let what = what.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
                tally.samples.push(json!({"event_id": json["event_id"], "host": json["host"], "ts": json["ts"], "what": what}));
            }
        }
    }
}

/// Rules that matched, the most serious first.
fn found(detector: &SigmaDetector, run: &Run) -> Vec<Value> {
    let mut rules: Vec<_> = detector.rules().iter().filter_map(|rule| Some((rule, run.tallies.get(&rule.id)?))).collect();
    rules.sort_by_key(|(rule, tally)| std::cmp::Reverse((rule.level, tally.matches)));
    let row = |(rule, tally): (&std::sync::Arc<beffroi_schema::alert::RuleInfo>, &Tally)| {
        let (first, last) = tally.times.unwrap_or_default();
        json!({"id": rule.id, "title": rule.title, "level": rule.level, "matches": tally.matches, "hosts": tally.hosts.len(),
            "first_ts": rfc3339(first), "last_ts": rfc3339(last),
            "sample": tally.samples.first().map_or(Value::Null, |sample| sample["what"].clone()), "samples": tally.samples})
    };
    rules.into_iter().map(row).collect()
}
