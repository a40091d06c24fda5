//! Hosts: who they are, whether they still speak, what they do not see. And one of them.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use beffroi_store::{AlertSummary, Coverage, Hook};

use super::alerts::of_host;
use crate::ask::ask;
use crate::console::frame::{Choice, Frame, Place};
use crate::console::query::HostQuery;
use crate::console::text::{Lang, Piece};
use crate::console::web::{Console, Shared, Stop, Visit, page};
use crate::routes::alerts::{self, ListInput as AlertInput};
use crate::routes::hosts::{Host, List, ListInput, Show, ShowInput};
use crate::routes::operations::{Gaps, GapsInput};

/// Hosts that are looked through for a page.
const LOOKED_AT: u64 = 10_000;
/// Hosts of a page; more are for filters, or for the terminal.
const SHOWN: usize = 500;
/// A host that was last heard of longer ago than this is silent: a heartbeat comes every few seconds.
const SILENT_US: i64 = 5 * 60 * 1_000_000;
/// How far back a host's page looks.
const WEEK: &str = "7d";
/// Alerts and gaps of a host's page.
const HOST_ROWS: u64 = 50;

/// How a host stands, in the words of style sheet and tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Good,
    Silent,
    Never,
    Revoked,
}

impl Standing {
    const ALL: [Self; 4] = [Self::Good, Self::Silent, Self::Never, Self::Revoked];

    fn of(host: &Host, now: i64) -> Self {
        let heard = host.row.last_seen.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_microsecond);
        match (host.revoked.is_some(), heard) {
            (true, _) => Self::Revoked,
            (false, Err(_)) => Self::Never,
            (false, Ok(heard)) if heard < now - SILENT_US => Self::Silent,
            (false, Ok(_)) => Self::Good,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Silent => "silent",
            Self::Never => "never",
            Self::Revoked => "revoked",
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Good => "state_good",
            Self::Silent => "state_silent",
            Self::Never => "state_never",
            Self::Revoked => "state_revoked",
        }
    }
}

struct Row {
    agent_id: String,
    hostname: String,
    state: &'static str,
    state_key: &'static str,
    tenant: String,
    os: String,
    agent_version: String,
    last_seen: String,
    ago: String,
    hooks: String,
    dropped: u64,
    spool_bytes: u64,
    certificate: String,
}

struct Count {
    state: &'static str,
    key: &'static str,
    count: u64,
}

#[derive(Template)]
#[template(path = "hosts.html")]
struct ListPage {
    f: Frame,
    filters: HostQuery,
    states: Vec<Choice>,
    counts: Vec<Count>,
    rows: Vec<Row>,
    caption: String,
}

/// `/hosts`.
pub(crate) async fn list(State(console): State<Shared>, visit: Visit) -> Response {
    visit.answer(show_list(&console, &visit).await)
}

async fn show_list(console: &Console, visit: &Visit) -> Result<Response, Stop> {
    let filters = HostQuery::read(&visit.query);
    let tenant = (!filters.tenant.is_empty()).then(|| filters.tenant.clone());
    let answer = ask::<List>(&console.app, &visit.caller()?, ListInput { tenant, limit: LOOKED_AT }).await?;
    let lang = visit.lang;
    let f = visit.frame(Place::Hosts, lang.t("hosts"));
    let name = filters.name.to_lowercase();
    let fits = |host: &&Host| host.row.hostname.to_lowercase().contains(&name) || host.row.agent_id.starts_with(&name);
    let named: Vec<&Host> = answer.hosts.iter().filter(fits).collect();
    let counts = Standing::ALL.map(|standing| {
        let count = named.iter().filter(|host| Standing::of(host, f.now) == standing).count() as u64;
        Count { state: standing.name(), key: standing.key(), count }
    });
    let wanted = |host: &&Host| filters.state.is_empty() || Standing::of(host, f.now).name() == filters.state;
    let chosen: Vec<&Host> = named.into_iter().filter(wanted).collect();
    let rows: Vec<Row> = chosen.iter().take(SHOWN).map(|host| row(&f, host)).collect();
    let (shown, total) = (lang.number(rows.len() as u64), lang.number(chosen.len() as u64));
    let mut known = vec![("", lang.t("any_state").to_owned())];
    known.extend(Standing::ALL.map(|standing| (standing.name(), lang.t(standing.key()).to_owned())));
    page(&ListPage {
        states: Choice::list(&known, &filters.state),
        counts: counts.into_iter().filter(|count| count.count > 0).collect(),
        caption: lang.fill("hosts_caption", &[("n", &shown), ("total", &total)]),
        rows,
        filters,
        f,
    })
}

fn row(f: &Frame, host: &Host) -> Row {
    let standing = Standing::of(host, f.now);
    let it = &host.row;
    Row {
        agent_id: it.agent_id.clone(),
        hostname: name_of(host),
        state: standing.name(),
        state_key: standing.key(),
        tenant: it.tenant.clone(),
        os: it.os.clone(),
        agent_version: it.agent_version.clone(),
        ago: f.ago(&it.last_seen),
        last_seen: it.last_seen.clone(),
        hooks: hooks(f.lang, &it.hooks),
        dropped: it.dropped,
        spool_bytes: it.spool_bytes,
        certificate: host.certificate_expires.clone().unwrap_or_default(),
    }
}

/// A host without a name goes by its id, so that its link has a text.
fn name_of(host: &Host) -> String {
    if host.row.hostname.is_empty() { host.row.agent_id.clone() } else { host.row.hostname.clone() }
}

fn hooks(lang: Lang, hooks: &[Hook]) -> String {
    if hooks.is_empty() {
        return lang.t("hooks_unknown").to_owned();
    }
    let on = hooks.iter().filter(|hook| hook.on).count() as u64;
    lang.fill("hooks_on", &[("on", &lang.number(on)), ("n", &lang.number(hooks.len() as u64))])
}

struct HostView {
    state: &'static str,
    state_key: &'static str,
    tenant: String,
    hostname: String,
    agent_id: String,
    os: String,
    kernel: String,
    architecture: String,
    addresses: String,
    remote: String,
    labels: String,
    agent_version: String,
    boot_id: String,
    last_seen: String,
    last_heartbeat: String,
    spool_bytes: u64,
    spool_oldest: String,
    rss_bytes: u64,
    dropped: u64,
    enrolled: String,
    certificate: String,
    hook_rows: Vec<Hook>,
}

#[derive(Template)]
#[template(path = "host.html")]
struct HostPage {
    f: Frame,
    h: HostView,
    sentence: Vec<Piece>,
    revoked: Option<Vec<Piece>>,
    alerts: Vec<AlertSummary>,
    alerts_caption: String,
    alerts_href: String,
    gaps: Vec<Coverage>,
}

/// `/hosts/{id}`.
pub(crate) async fn one(State(console): State<Shared>, visit: Visit, Path(id): Path<String>) -> Response {
    visit.answer(show_one(&console, &visit, id).await)
}

async fn show_one(console: &Console, visit: &Visit, id: String) -> Result<Response, Stop> {
    let caller = visit.caller()?;
    let host = ask::<Show>(&console.app, &caller, ShowInput { id }).await?;
    let agent_id = host.row.agent_id.clone();
    let (since, named) = (Some(WEEK.to_owned()), Some(agent_id.clone()));
    let input = AlertInput { since: since.clone(), host: named.clone(), limit: HOST_ROWS, ..AlertInput::default() };
    let alerts = ask::<alerts::List>(&console.app, &caller, input).await?;
    let input = GapsInput { since, host: named, limit: HOST_ROWS, ..GapsInput::default() };
    let gaps = ask::<Gaps>(&console.app, &caller, input).await?.gaps;
    let lang = visit.lang;
    let f = visit.frame(Place::Hosts, name_of(&host));
    let (shown, total) = (lang.number(alerts.alerts.len() as u64), lang.number(alerts.total));
    page(&HostPage {
        sentence: sentence(&f, &host, alerts.total, gaps.len() as u64),
        revoked: host.revoked.as_ref().map(|it| {
            let at = f.clock(&it.at);
            lang.pieces("revoked_explain", &[("at", &at), ("by", &it.by), ("reason", &it.reason)])
        }),
        alerts_caption: lang.fill("alerts_caption", &[("n", &shown), ("total", &total)]),
        alerts_href: of_host(&agent_id, WEEK),
        alerts: alerts.alerts,
        gaps,
        h: view(&f, host),
        f,
    })
}

fn sentence(f: &Frame, host: &Host, alerts: u64, gaps: u64) -> Vec<Piece> {
    let lang = f.lang;
    let (alerts, gaps) = (lang.counted("alerts_count", alerts), lang.counted("gaps_count", gaps));
    let heard = match f.ago(&host.row.last_seen) {
        ago if ago.is_empty() => lang.t("never_heard").to_owned(),
        ago => ago,
    };
    let hooks = hooks(lang, &host.row.hooks);
    lang.pieces("host_sentence", &[("heard", &heard), ("hooks", &hooks), ("alerts", &alerts), ("gaps", &gaps)])
}

fn view(f: &Frame, host: Host) -> HostView {
    let standing = Standing::of(&host, f.now);
    let hostname = name_of(&host);
    let labels = host.labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ");
    let it = host.row;
    HostView {
        state: standing.name(),
        state_key: standing.key(),
        hostname,
        labels,
        tenant: it.tenant,
        agent_id: it.agent_id,
        os: it.os,
        kernel: it.kernel,
        architecture: it.architecture,
        addresses: it.addresses.join(" "),
        remote: it.remote,
        agent_version: it.agent_version,
        boot_id: it.boot_id,
        last_seen: it.last_seen,
        last_heartbeat: it.last_heartbeat,
        spool_bytes: it.spool_bytes,
        spool_oldest: it.spool_oldest,
        rss_bytes: it.rss_bytes,
        dropped: it.dropped,
        enrolled: host.enrolled.unwrap_or_default(),
        certificate: host.certificate_expires.unwrap_or_default(),
        hook_rows: it.hooks,
    }
}
