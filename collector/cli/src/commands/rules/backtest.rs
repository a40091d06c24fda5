//! `rules backtest`: what rules would have found in the events that are stored. The events come through the API, with its
//! tenants, its audit and its limits, and are judged here: a rule that is being written never runs on a server. What
//! correlations need is kept until the last event was read, so events may come in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use beffroi_engine::correlate::{CorrelateOptions, CorrelationMatch, Correlator};
use beffroi_engine::{CompileError, Detector, RuleSet, SigmaDetector, compile};
use beffroi_schema::alert::RuleInfo;
use beffroi_schema::json::rfc3339;
use beffroi_sources::OwnEvent;
use serde_json::{Value, json};

use crate::args::Span;
use crate::client::{Client, rows};
use crate::commands::detect::overflow;
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

/// How correlations know an event.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Known {
    event_id: String,
    agent: String,
}

impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.event_id)
    }
}

struct Run {
    detector: SigmaDetector,
    correlator: Correlator<Known>,
    /// Event ids kept for each rule.
    samples: usize,
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
    let mut run = Run::new(&set, asked.samples).map_err(|error| Failure::rules(error.to_string(), "name fewer rules"))?;
    let (from, to) = span(asked.span)?;
    run.walk(client, &asked, (from, to)).await?;
    run.correlate();
    let rows = run.found(&set);
    output.rows(&FOUND, &rows)?;
    say(&format!(
        "{} events from {} to {}: {} of {} rules and {} correlations match",
        run.events,
        rfc3339(from),
        rfc3339(to),
        rows.len(),
        set.rules().len(),
        set.correlations().len()
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

impl Tally {
    /// Counts a match; the first ones are kept as examples.
    fn add(
        &mut self,
        (first, last): (i64, i64),
        agents: impl IntoIterator<Item = String>,
        samples: usize,
        sample: impl FnOnce() -> Value,
    ) {
        self.matches += 1;
        self.hosts.extend(agents);
        let (earliest, latest) = self.times.unwrap_or((first, last));
        self.times = Some((earliest.min(first), latest.max(last)));
        if self.samples.len() < samples {
            self.samples.push(sample());
        }
    }
}

impl Run {
    fn new(set: &RuleSet, samples: usize) -> Result<Self, CompileError> {
        Ok(Self {
            detector: compile(set)?,
            correlator: Correlator::new(set, CorrelateOptions::offline())?,
            samples,
            tallies: BTreeMap::new(),
            events: 0,
            unreadable: 0,
            incomplete: 0,
        })
    }

    /// Goes through the time slice by slice: halved when an answer is full, doubled when it is nearly empty.
    async fn walk(&mut self, client: &Client, asked: &Backtest<'_>, (from, to): (i64, i64)) -> Outcome {
        let (mut at, mut width, mut told) = (from, SLICES.0, Instant::now());
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
            self.incomplete += u64::from(events.len() >= PAGE);
            let count = events.len();
            events.into_iter().for_each(|event| self.judge(event));
            at = end;
            if count < PAGE / 4 {
                width = (width * 2).min(SLICES.1);
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                say(&format!("{} %: {} events, up to {}", (at - from) * 100 / (to - from).max(1), self.events, rfc3339(at)));
            }
        }
        Ok(())
    }

    fn judge(&mut self, json: Value) {
        self.events += 1;
        let Some(own) = json.as_object().cloned().and_then(|object| OwnEvent::from_json(object).ok()) else {
            self.unreadable += 1;
            return;
        };
        let (time, agent) = (own.event.ts, own.agent.as_deref().unwrap_or_default());
        let matches = self.detector.evaluate(&own.event);
        for found in matches.iter().filter(|found| self.correlator.alerts_alone(&found.rule.id)) {
            let tally = self.tallies.entry(found.rule.id.clone()).or_default();
            tally.add((time, time), [agent.to_owned()], self.samples, || sample(&json));
        }
        let known = Known { event_id: own.event_id.clone().unwrap_or_default(), agent: agent.to_owned() };
        let rules = matches.iter().map(|found| found.rule.id.as_str());
        self.correlator.observe(own.tenant.as_deref().unwrap_or_default(), time, known, &own, rules);
    }

    /// What several events say together, now that all are there.
    fn correlate(&mut self) {
        for found in self.correlator.finish() {
            let tally = self.tallies.entry(found.rule.id.clone()).or_default();
            let agents = found.events.iter().map(|known| known.agent.clone());
            tally.add((found.first_us, found.last_us), agents, self.samples, || sample_of(&found));
        }
        self.correlator.take_overflows().iter().for_each(|one| say(&overflow(one)));
    }

    /// Rules and correlations that matched, the most serious first.
    fn found(&self, set: &RuleSet) -> Vec<Value> {
        let all = set.rules().iter().map(|rule| rule.info()).chain(set.correlations().iter().map(|one| one.info()));
        let mut found: Vec<(&RuleInfo, &Tally)> =
            all.filter_map(|rule| Some((rule.as_ref(), self.tallies.get(&rule.id)?))).collect();
        found.sort_by_key(|(rule, tally)| std::cmp::Reverse((rule.level, tally.matches)));
        found.into_iter().map(|(rule, tally)| row(rule, tally)).collect()
    }
}

/// An event that a rule matched, as an example.
fn sample(json: &Value) -> Value {
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    let what = ["CommandLine", "TargetFilename", "DestinationIp", "Image"].map(&text);
    let what = what.into_iter().find(|text| !text.is_empty()).unwrap_or_default();
    json!({"event_id": json["event_id"], "host": json["host"], "ts": json["ts"], "what": what})
}

/// Events that a correlation matched, as an example: their group, and the one that completed it.
fn sample_of(found: &CorrelationMatch<Known>) -> Value {
    let group = found.group.iter().map(|(name, value)| format!("{name}={}", value.as_deref().unwrap_or("(none)")));
    let what = format!("{} events, {}", found.count, group.collect::<Vec<_>>().join(", "));
    json!({"event_id": found.events.last().map(|known| &known.event_id), "host": found.group.iter().find(|(name, _)| name == "Computer")
        .and_then(|(_, value)| value.as_deref()), "ts": rfc3339(found.last_us), "what": what.trim_end_matches(", ")})
}

fn row(rule: &RuleInfo, tally: &Tally) -> Value {
    let (first, last) = tally.times.unwrap_or_default();
    json!({"id": rule.id, "title": rule.title, "level": rule.level, "matches": tally.matches, "hosts": tally.hosts.len(),
        "first_ts": rfc3339(first), "last_ts": rfc3339(last),
        "sample": tally.samples.first().map_or(Value::Null, |sample| sample["what"].clone()), "samples": tally.samples})
}
