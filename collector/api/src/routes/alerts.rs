//! Alerts: list, one whole, what comes, what stood around.

use std::time::Duration;

use beffroi_store::{Alert, AlertFilter, AlertSummary, Alerts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ask::Operation;
use crate::cursor::{Cursor, LOOK_BACK_US};
use crate::desk::Desk;
use crate::error::Refusal;
use crate::params;

/// Longest wait of a tail, seconds: below what proxies cut.
const MAX_WAIT: u64 = 25;
/// How often a waiting tail looks.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Alerts of one answer of a tail.
const TAIL_ROWS: u64 = 1_000;
/// Window around an alert when none is asked for, and the widest.
const WINDOW: &str = "10m";
const MAX_WINDOW_US: i64 = 24 * 3_600_000_000;
/// Events around an alert when no number is asked for.
const AROUND_ROWS: u64 = 500;

/// A list of alerts, newest first.
pub(crate) struct List;

/// Which alerts.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListInput {
    /// Last received at this time or later: RFC 3339, or how long ago (`30m`, `24h`, `7d`).
    pub(crate) since: Option<String>,
    /// Last received before this time.
    pub(crate) until: Option<String>,
    /// Only this tenant.
    pub(crate) tenant: Option<String>,
    /// Host name, agent id or a prefix of it.
    pub(crate) host: Option<String>,
    /// This level or a graver one: informational, low, medium, high, critical.
    pub(crate) level: Option<String>,
    /// Rule id, or text in the rule's title.
    pub(crate) rule: Option<String>,
    /// Text in the line that says what happened, or in the command line.
    pub(crate) text: Option<String>,
    /// Go on after this place of an earlier list (`next`).
    pub(crate) before: Option<String>,
    /// Rows; 0 for 50, at most 10000.
    pub(crate) limit: u64,
}

impl Operation for List {
    type Input = ListInput;
    type Answer = Alerts;

    async fn run(desk: &Desk<'_>, p: ListInput) -> Result<Alerts, Refusal> {
        let filter = AlertFilter {
            since: params::time("since", p.since.as_deref())?,
            until: params::time("until", p.until.as_deref())?,
            host: p.host.filter(|host| !host.is_empty()),
            level: params::level(p.level.as_deref())?,
            rule: p.rule.filter(|rule| !rule.is_empty()),
            text: p.text.filter(|text| !text.is_empty()),
            before: p.before.filter(|place| !place.is_empty()),
            limit: p.limit,
        };
        desk.narrowed(p.tenant.as_deref()).alerts(&filter).await
    }

    fn rows(answer: &Alerts) -> u64 {
        answer.alerts.len() as u64
    }
}

/// What is new: a long poll.
pub(crate) struct Tail;

/// Where to go on.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TailInput {
    /// `next` of the answer before; left out, the tail begins now.
    pub(crate) after: Option<String>,
    /// Only this tenant.
    pub(crate) tenant: Option<String>,
    /// Seconds to wait for something new, at most 25.
    pub(crate) wait: Option<u64>,
}

/// What is new, and where to go on.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct Tailed {
    /// Oldest change first.
    pub(crate) alerts: Vec<AlertSummary>,
    /// Goes into `after`.
    pub(crate) next: String,
}

impl Operation for Tail {
    type Input = TailInput;
    type Answer = Tailed;

    async fn run(desk: &Desk<'_>, p: TailInput) -> Result<Tailed, Refusal> {
        let desk = desk.narrowed(p.tenant.as_deref());
        let mut cursor = match p.after.as_deref().filter(|after| !after.is_empty()) {
            Some(text) => Cursor::parse(text)?,
            None => {
                // What stands already is not new: it is marked as seen.
                let start = Cursor::start(params::now());
                start.advance(desk.alerts_since(start.at - LOOK_BACK_US, TAIL_ROWS).await?).1
            }
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(p.wait.unwrap_or(MAX_WAIT).min(MAX_WAIT));
        loop {
            let found = desk.alerts_since(cursor.at.saturating_sub(LOOK_BACK_US), TAIL_ROWS).await?;
            let (alerts, next) = cursor.advance(found);
            cursor = next;
            if !alerts.is_empty() || tokio::time::Instant::now() >= deadline || desk.stop().is_cancelled() {
                return Ok(Tailed { alerts, next: cursor.text() });
            }
            let _stopped = desk.stop().run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await;
        }
    }

    fn rows(answer: &Tailed) -> u64 {
        answer.alerts.len() as u64
    }
}

/// One alert, whole.
pub(crate) struct Show;

/// Which alert.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShowInput {
    /// Its id, or a prefix of at least six digits.
    pub(crate) id: String,
}

impl Operation for Show {
    type Input = ShowInput;
    type Answer = Alert;

    async fn run(desk: &Desk<'_>, p: ShowInput) -> Result<Alert, Refusal> {
        desk.alert(&p.id).await
    }

    fn rows(_answer: &Alert) -> u64 {
        1
    }
}

/// Events of the alert's host around its time.
pub(crate) struct Around;

/// Which alert, how far around.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AroundInput {
    /// The alert's id, or a prefix of at least six digits.
    pub(crate) id: String,
    /// How far before and after, `10m` when left out, at most `24h`.
    pub(crate) window: Option<String>,
    /// Rows; 0 for 500, at most 10000.
    pub(crate) limit: u64,
}

/// Events around an alert.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct AroundAnswer {
    /// Whole id of the alert.
    pub(crate) alert_id: String,
    /// Time of its newest event.
    pub(crate) event_time: String,
    /// Events as flat objects, oldest first.
    pub(crate) events: Vec<serde_json::Map<String, serde_json::Value>>,
}

impl Operation for Around {
    type Input = AroundInput;
    type Answer = AroundAnswer;

    async fn run(desk: &Desk<'_>, p: AroundInput) -> Result<AroundAnswer, Refusal> {
        let window = params::duration("window", p.window.as_deref().filter(|text| !text.is_empty()).unwrap_or(WINDOW))?;
        if window > MAX_WINDOW_US {
            return Err(Refusal::bad("window is wider than 24h", "search events instead"));
        }
        let alert = desk.alert(&p.id).await?;
        let (agent, time) = (alert.newest.host.agent_id.to_string(), alert.newest.event_time);
        let limit = if p.limit == 0 { AROUND_ROWS } else { p.limit };
        let events = desk.around(&agent, time, window, limit).await?;
        Ok(AroundAnswer { alert_id: alert.summary.alert_id, event_time: alert.summary.event_time, events })
    }

    fn rows(answer: &AroundAnswer) -> u64 {
        answer.events.len() as u64
    }
}
