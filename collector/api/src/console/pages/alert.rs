//! One alert, whole: what happened, whether all of it was seen, the process tree, why the rule matched, what happened
//! around. And the longer list of events around.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use beffroi_schema::alert::{Attack, Match};
use beffroi_store::Alert;

use super::tree;
use super::values::{EventRow, FieldRow, shown};
use crate::ask::{Caller, ask};
use crate::console::frame::{Choice, Frame, Place, Trouble};
use crate::console::query::{self, AlertQuery};
use crate::console::text::{Lang, Piece};
use crate::console::web::{Console, Shared, Stop, Visit, page};
use crate::routes::alerts::{Around, AroundInput, Show, ShowInput};
use crate::routes::events::{Tree, TreeInput};

/// Events around an alert that its own page shows, and the window.
const INLINE_ROWS: u64 = 60;
const INLINE_WINDOW: &str = "10m";
/// Events of the page of events around.
const AROUND_ROWS: u64 = 500;
/// What that page offers, with its words.
const WINDOWS: [(&str, &str); 4] =
    [("10m", "window_minutes"), ("1h", "window_hour"), ("6h", "window_hours"), ("24h", "window_day")];
/// Longest link of a reference that becomes one.
const MAX_LINK: usize = 2_048;

struct Link {
    text: String,
    href: Option<String>,
}

struct Evidence {
    caption: String,
    fields: Vec<FieldRow>,
}

struct HostTexts {
    addresses: String,
    labels: String,
    agent_id: String,
}

#[derive(Template)]
#[template(path = "alert.html")]
struct Page {
    f: Frame,
    a: Alert,
    back: String,
    sentence: Vec<Piece>,
    times: Vec<Piece>,
    tree: tree::Shown,
    matched: Vec<FieldRow>,
    description: Vec<String>,
    attack: Vec<Link>,
    references: Vec<Link>,
    host: HostTexts,
    match_id: String,
    around: Vec<EventRow>,
    around_caption: String,
    around_trouble: Option<Trouble>,
    evidence: Vec<Evidence>,
}

#[derive(Template)]
#[template(path = "around.html")]
struct AroundPage {
    f: Frame,
    alert_id: String,
    windows: Vec<Choice>,
    events: Vec<EventRow>,
    caption: String,
}

/// `/alerts/{id}`.
pub(crate) async fn show(State(console): State<Shared>, visit: Visit, Path(id): Path<String>) -> Response {
    visit.answer(whole(&console, &visit, id).await)
}

async fn whole(console: &Console, visit: &Visit, id: String) -> Result<Response, Stop> {
    let caller = visit.caller()?;
    let alert = ask::<Show>(&console.app, &caller, ShowInput { id }).await?;
    let tree = process_tree(console, &caller, &alert.newest).await;
    let (around, around_trouble) = match around(console, &caller, &alert, INLINE_WINDOW, INLINE_ROWS).await {
        Ok(rows) => (rows, None),
        // The alert holds its own evidence: it is shown even where the rest cannot be asked.
        Err(refusal) => (Vec::new(), Some(Trouble::of(visit.lang, &refusal))),
    };
    let lang = visit.lang;
    let rule = &alert.newest.rule;
    let title = format!("{} · {}", alert.summary.rule_title, alert.summary.hostname);
    page(&Page {
        f: visit.frame(Place::Alerts, title),
        back: AlertQuery::of_referer(&visit.referer).unwrap_or_default().url(),
        sentence: sentence(lang, &alert.newest),
        times: times(lang, &alert),
        tree,
        matched: alert.newest.matched_fields.iter().map(|field| FieldRow::new(&field.field, &field.value)).collect(),
        description: rule.description.split('\n').map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect(),
        attack: rule.attack.iter().map(attack).collect(),
        references: rule.references.iter().map(|text| reference(text)).collect(),
        host: host(&alert.newest),
        match_id: alert.newest.match_id.to_string(),
        around_caption: lang
            .fill("around_caption", &[("n", &lang.number(around.len() as u64)), ("window", lang.t("window_minutes"))]),
        around,
        around_trouble,
        evidence: evidence(lang, &alert.newest),
        a: alert,
    })
}

/// The stored tree; where the store knows the process no longer, the chain that the alert holds.
async fn process_tree(console: &Console, caller: &Caller, newest: &Match) -> tree::Shown {
    if !newest.process_guid.is_empty() {
        let guid = newest.process_guid.clone();
        if let Ok(stored) = ask::<Tree>(&console.app, caller, TreeInput { guid }).await {
            return tree::of_processes(&stored);
        }
    }
    tree::of_chain(&newest.chain)
}

async fn around(
    console: &Console,
    caller: &Caller,
    alert: &Alert,
    window: &str,
    limit: u64,
) -> Result<Vec<EventRow>, crate::error::Refusal> {
    let input = AroundInput { id: alert.summary.alert_id.clone(), window: Some(window.to_owned()), limit };
    let answer = ask::<Around>(&console.app, caller, input).await?;
    Ok(rows(&answer.events, &alert.newest))
}

fn rows(events: &[serde_json::Map<String, serde_json::Value>], newest: &Match) -> Vec<EventRow> {
    let ours: Vec<String> = newest.event_ids.iter().map(ToString::to_string).collect();
    events.iter().map(|event| EventRow::new(event, &ours)).collect()
}

/// `/alerts/{id}/around`.
pub(crate) async fn show_around(State(console): State<Shared>, visit: Visit, Path(id): Path<String>) -> Response {
    visit.answer(longer(&console, &visit, id).await)
}

async fn longer(console: &Console, visit: &Visit, id: String) -> Result<Response, Stop> {
    let caller = visit.caller()?;
    let pairs = query::pairs(&visit.query);
    let chosen = match query::value(&pairs, "window", 16) {
        window if window.is_empty() => INLINE_WINDOW.to_owned(),
        window => window,
    };
    let alert = ask::<Show>(&console.app, &caller, ShowInput { id }).await?;
    let events = around(console, &caller, &alert, &chosen, AROUND_ROWS).await?;
    let lang = visit.lang;
    let known = WINDOWS.map(|(value, key)| (value, lang.t(key).to_owned()));
    let windows = Choice::list(&known, &chosen);
    let words = windows.iter().find(|choice| choice.chosen).map_or(chosen.as_str(), |choice| choice.text.as_str());
    page(&AroundPage {
        f: visit.frame(Place::Alerts, lang.t("events_around")),
        caption: lang.fill("around_caption", &[("n", &lang.number(events.len() as u64)), ("window", words)]),
        alert_id: alert.summary.alert_id,
        windows,
        events,
    })
}

/// What happened, in one sentence.
fn sentence(lang: Lang, newest: &Match) -> Vec<Piece> {
    let event = newest.events.first();
    let text = |name: &str| event.and_then(|event| event.get(name)).map(shown).unwrap_or_default();
    let name = newest.image.rsplit('/').next().unwrap_or_default();
    let parent = text("ParentImage");
    let parent = parent.rsplit('/').next().unwrap_or_default();
    let command = if newest.command_line.is_empty() { &newest.image } else { &newest.command_line };
    let command = Frame::cut_sentence(command);
    let user = if newest.user.is_empty() { lang.t("somebody") } else { &newest.user };
    let target = match newest.category.as_str() {
        "network_connection" => [text("DestinationIp"), text("DestinationPort")].join(":"),
        "antivirus" => text("Filename"),
        _ => text("TargetFilename"),
    };
    let (key, what) = match newest.category.as_str() {
        "process_creation" if parent.is_empty() => ("happened_start", command),
        "process_creation" => ("happened_start_from", command),
        "file_event" | "file_change" => ("happened_write", target),
        "file_delete" => ("happened_delete", target),
        "file_rename" => ("happened_rename", target),
        "network_connection" if text("Initiated") != "false" => ("happened_connect", target),
        "antivirus" => ("happened_found", target),
        _ => ("happened_other", Frame::cut_sentence(&newest.what)),
    };
    let signature = text("Signature");
    let host = newest.host.info.hostname.as_str();
    let values = [("user", user), ("host", host), ("what", &what), ("name", name), ("parent", parent), ("signature", &signature)];
    lang.pieces(key, &values)
}

fn times(lang: Lang, alert: &Alert) -> Vec<Piece> {
    let clock = |time: &str| {
        time.parse::<jiff::Timestamp>().map_or_else(|_| time.to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S").to_string())
    };
    let (first, last) = (clock(&alert.summary.first_seen), clock(&alert.summary.last_seen));
    let count = lang.number(alert.summary.count);
    let title = alert.summary.rule_title.as_str();
    let key = if alert.summary.count > 1 { "matched_often" } else { "matched_once" };
    lang.pieces(key, &[("rule", title), ("n", &count), ("first", &first), ("last", &last)])
}

/// A technique of ATT&CK with its page; the id is checked, because it becomes part of a link.
fn attack(attack: &Attack) -> Link {
    let text = format!("{} {}", attack.id, attack.name).trim().to_owned();
    let plain = |text: &str| !text.is_empty() && text.len() <= 8 && text.bytes().all(|b| b.is_ascii_alphanumeric());
    let (technique, sub) = attack.id.split_once('.').unwrap_or((&attack.id, ""));
    let href = match (plain(technique), sub) {
        (true, "") if technique.starts_with("TA") => Some(format!("https://attack.mitre.org/tactics/{technique}/")),
        (true, "") => Some(format!("https://attack.mitre.org/techniques/{technique}/")),
        (true, sub) if plain(sub) => Some(format!("https://attack.mitre.org/techniques/{technique}/{sub}/")),
        _ => None,
    };
    Link { text, href }
}

/// A reference; only what is plainly a web address becomes a link.
fn reference(text: &str) -> Link {
    let web = text.starts_with("https://") || text.starts_with("http://");
    let plain = text.len() <= MAX_LINK && text.bytes().all(|b| b.is_ascii_graphic());
    Link { text: text.to_owned(), href: (web && plain).then(|| text.to_owned()) }
}

fn host(newest: &Match) -> HostTexts {
    let labels = newest.host.labels.iter().map(|(name, value)| format!("{name}={value}"));
    HostTexts {
        addresses: newest.host.info.addresses.join(" "),
        labels: labels.collect::<Vec<_>>().join(" "),
        agent_id: newest.host.agent_id.to_string(),
    }
}

fn evidence(lang: Lang, newest: &Match) -> Vec<Evidence> {
    let one = |event: &serde_json::Map<String, serde_json::Value>| {
        let id = event.get("event_id").map(shown).unwrap_or_default();
        Evidence {
            caption: lang.fill("event_caption", &[("id", &id)]),
            fields: event.iter().map(|(name, value)| FieldRow::new(name, value)).collect(),
        }
    };
    newest.events.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_plainly_a_web_address_becomes_a_link() {
        assert_eq!(reference("https://example.org/a?b#c").href.as_deref(), Some("https://example.org/a?b#c"));
        for text in ["javascript:alert(1)", "https://a b", "https://exämple.org", " https://x", "data:text/html,x", "a book"] {
            assert_eq!(reference(text).href, None, "{text}");
        }
        assert_eq!(reference(&format!("https://{}", "a".repeat(MAX_LINK))).href, None);
    }

    #[test]
    fn techniques_link_to_their_own_page_and_odd_ids_to_none() {
        let href = |id: &str| attack(&Attack { id: id.into(), name: "n".into() }).href;
        assert_eq!(href("T1059.004").as_deref(), Some("https://attack.mitre.org/techniques/T1059/004/"));
        assert_eq!(href("T1190").as_deref(), Some("https://attack.mitre.org/techniques/T1190/"));
        assert_eq!(href("TA0002").as_deref(), Some("https://attack.mitre.org/tactics/TA0002/"));
        for odd in ["", "T1/../..", "T1059.", "T1059.0/4", "\"><x", "T1059.004.1"] {
            assert!(href(odd).is_none() || odd == "T1059.", "{odd}: {:?}", href(odd));
        }
    }
}
