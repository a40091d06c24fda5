//! The list of alerts, with filters that live in the URL.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use beffroi_schema::alert::Level;
use beffroi_store::{AlertSummary, Alerts};

use crate::ask::ask;
use crate::console::frame::{Choice, Frame, Place, Trouble};
use crate::console::query::{self, AlertQuery};
use crate::console::text::Lang;
use crate::console::web::{Console, Shared, Stop, Visit, page, redirect};
use crate::routes::alerts::{List, ListInput};

/// Rows of a page.
const ROWS: u64 = 100;
/// What the form offers to begin with, with its words.
const SINCES: [(&str, &str); 6] = [
    ("1h", "since_hour"),
    ("8h", "since_shift"),
    ("24h", "since_day"),
    ("7d", "since_week"),
    ("30d", "since_month"),
    ("365d", "since_year"),
];

#[derive(Template)]
#[template(path = "alerts.html")]
struct Page {
    f: Frame,
    filters: AlertQuery,
    sinces: Vec<Choice>,
    levels: Vec<Choice>,
    trouble: Option<Trouble>,
    list: Option<Listed>,
    total_text: String,
    caption: String,
}

struct Listed {
    alerts: Vec<AlertSummary>,
    total: u64,
    levels: Vec<LevelCount>,
    newest: Option<String>,
    older: Option<String>,
}

struct LevelCount {
    level: String,
    count: u64,
    href: String,
    current: bool,
}

/// `/`.
pub(crate) async fn home() -> Response {
    redirect("/alerts")
}

/// `/alerts`.
pub(crate) async fn list(State(console): State<Shared>, visit: Visit) -> Response {
    visit.answer(show(&console, &visit).await)
}

async fn show(console: &Console, visit: &Visit) -> Result<Response, Stop> {
    let filters = AlertQuery::read(&visit.query);
    let caller = visit.caller()?;
    // A filter that the API does not take is told beside the form, so that it can be mended there.
    let (answer, trouble) = match ask::<List>(&console.app, &caller, input(&filters)).await {
        Ok(answer) => (Some(answer), None),
        Err(refusal) if refusal.status == http::StatusCode::BAD_REQUEST => (None, Some(Trouble::of(visit.lang, &refusal))),
        Err(refusal) => return Err(refusal.into()),
    };
    let lang = visit.lang;
    let (shown, total) = answer.as_ref().map_or((0, 0), |answer| (answer.alerts.len() as u64, answer.total));
    let key = if filters.before.is_empty() { "alerts_total" } else { "alerts_from_here" };
    let mut f = visit.frame(Place::Alerts, lang.t("alerts"));
    f.title = if total > 0 { format!("{} ({})", f.title, lang.number(total)) } else { f.title };
    page(&Page {
        f,
        sinces: Choice::list(&SINCES.map(|(value, key)| (value, lang.t(key).to_owned())), filters.since()),
        levels: level_choices(lang, &filters.level),
        trouble,
        total_text: lang.t(&lang.plural(key, total)).to_owned(),
        caption: lang.fill("alerts_caption", &[("n", &lang.number(shown)), ("total", &lang.number(total))]),
        list: answer.map(|answer| listed(&filters, answer)),
        filters,
    })
}

fn input(filters: &AlertQuery) -> ListInput {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    ListInput {
        since: some(filters.since()),
        tenant: some(&filters.tenant),
        host: some(&filters.host),
        level: some(&filters.level),
        rule: some(&filters.rule),
        text: some(&filters.text),
        before: some(&filters.before),
        limit: ROWS,
        ..ListInput::default()
    }
}

fn level_choices(lang: Lang, chosen: &str) -> Vec<Choice> {
    let mut known = vec![("", lang.t("any_level").to_owned())];
    known.extend(Level::ALL.iter().rev().map(|level| (level.name(), lang.t(level_key(*level)).to_owned())));
    Choice::list(&known, chosen)
}

pub(super) fn level_key(level: Level) -> &'static str {
    match level {
        Level::Informational => "level_informational",
        Level::Low => "level_low",
        Level::Medium => "level_medium",
        Level::High => "level_high",
        Level::Critical => "level_critical",
    }
}

fn listed(filters: &AlertQuery, answer: Alerts) -> Listed {
    let first = AlertQuery { before: String::new(), ..filters.clone() };
    let level = |it: beffroi_store::LevelCount| LevelCount {
        href: AlertQuery { level: it.level.clone(), ..first.clone() }.url(),
        current: it.level == filters.level,
        level: it.level,
        count: it.count,
    };
    Listed {
        total: answer.total,
        levels: answer.levels.into_iter().map(level).collect(),
        newest: (!filters.before.is_empty()).then(|| first.url()),
        older: answer.next.map(|place| AlertQuery { before: place, ..filters.clone() }.url()),
        alerts: answer.alerts,
    }
}

/// The list of a host's alerts.
pub(super) fn of_host(agent_id: &str, since: &str) -> String {
    query::url("/alerts", &[("since", since), ("host", agent_id)])
}
