//! Scans: how far they are, which hosts answered what, what was found, and of what nothing is known. Reading only: an order
//! is signed by a person's key, which no browser holds.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::Response;
use beffroi_store::{ScanMatch, ScanUnknown};
use http::{HeaderValue, header};

use crate::ask::ask;
use crate::console::frame::{Frame, Place, Trouble};
use crate::console::query;
use crate::console::text::{Lang, Piece};
use crate::console::web::{Console, Shared, Stop, Visit, page};
use crate::routes::scan_status::{ScanHost, ScanStatus, ScanSummary};
use crate::routes::scans::{List, ListInput, Results, ResultsInput, Show, Which};

/// Scans of the list.
const ROWS: u64 = 100;
/// Matches and unknown files of a scan's page; the terminal shows all.
const RESULT_ROWS: u64 = 500;
/// Seconds between two looks at a running scan, for whoever asked for it.
const FOLLOW_SECONDS: &str = "10";
/// Offline hosts that the sentence names; the table names all.
const NAMED: usize = 10;

/// What a template shows of a scan.
struct ScanView {
    title: String,
    state_key: &'static str,
    state: String,
    progress: String,
    order_id: String,
    tenant: String,
    issued: String,
    expires: String,
    by: String,
    operator_key: String,
    note: String,
    ticket: String,
    purpose: String,
    legal_basis: String,
    tlp: String,
    pap: String,
    paths: Vec<String>,
    rules: Vec<String>,
    asked: u64,
    answered: u64,
    files_scanned: u64,
    files_matched: u64,
    files_unknown: u64,
}

fn state_key(state: &str) -> &'static str {
    match state {
        "running" => "state_running",
        "done" => "state_done",
        "cancelled" => "state_cancelled",
        "expired" => "state_expired",
        "failed" => "state_failed",
        "offline" => "state_offline",
        "asked" => "state_asked",
        "accepted" => "state_accepted",
        "refused" => "state_refused",
        _ => "state_unknown",
    }
}

/// What people call it: its note, else its ticket, its purpose, its id.
fn title(scan: &ScanSummary) -> String {
    let named = [&scan.note, &scan.ticket, &scan.purpose].into_iter().find(|text| !text.trim().is_empty());
    named.unwrap_or(&scan.order_id).clone()
}

fn view(lang: Lang, scan: &ScanSummary) -> ScanView {
    let scan = scan.clone();
    ScanView {
        title: title(&scan),
        state_key: state_key(&scan.state),
        progress: lang.fill("progress_of", &[("answered", &lang.number(scan.answered)), ("asked", &lang.number(scan.asked))]),
        state: scan.state,
        order_id: scan.order_id,
        tenant: scan.tenant,
        issued: scan.issued,
        expires: scan.expires,
        by: scan.by,
        operator_key: scan.operator_key,
        note: scan.note,
        ticket: scan.ticket,
        purpose: scan.purpose,
        legal_basis: scan.legal_basis,
        tlp: scan.tlp,
        pap: scan.pap,
        paths: scan.paths,
        rules: scan.rules,
        // An empty scale would be no progress bar but a busy one.
        asked: scan.asked.max(1),
        answered: scan.answered,
        files_scanned: scan.files_scanned,
        files_matched: scan.files_matched,
        files_unknown: scan.files_unknown,
    }
}

#[derive(Template)]
#[template(path = "scans.html")]
struct ListPage {
    f: Frame,
    rows: Vec<ScanView>,
    caption: String,
}

/// `/scans`.
pub(crate) async fn list(State(console): State<Shared>, visit: Visit) -> Response {
    visit.answer(show_list(&console, &visit).await)
}

async fn show_list(console: &Console, visit: &Visit) -> Result<Response, Stop> {
    let input = ListInput { limit: ROWS, ..ListInput::default() };
    let answer = ask::<List>(&console.app, &visit.caller()?, input).await?;
    let lang = visit.lang;
    let rows: Vec<ScanView> = answer.scans.iter().map(|scan| view(lang, scan)).collect();
    let caption = lang.counted("scans_caption", rows.len() as u64);
    page(&ListPage { f: visit.frame(Place::Scans, lang.t("scans")), rows, caption })
}

struct HostLine {
    agent_id: String,
    name: String,
    state: String,
    state_key: &'static str,
    reason: String,
    scanned: u64,
    matched: u64,
    skipped: u64,
    timed_out: u64,
    unknown: u64,
    last_ts: String,
}

struct Follow {
    href: String,
    key: &'static str,
}

#[derive(Template)]
#[template(path = "scan.html")]
struct ScanPage {
    f: Frame,
    s: ScanView,
    sentence: Vec<Piece>,
    follow: Option<Follow>,
    nothing: bool,
    rests_on: Vec<Piece>,
    trouble: Option<Trouble>,
    matches: Vec<ScanMatch>,
    matches_caption: String,
    unknown: Vec<ScanUnknown>,
    unknown_caption: String,
    hosts: Vec<HostLine>,
}

/// `/scans/{id}`.
pub(crate) async fn one(State(console): State<Shared>, visit: Visit, Path(id): Path<String>) -> Response {
    visit.answer(show_one(&console, &visit, id).await)
}

async fn show_one(console: &Console, visit: &Visit, id: String) -> Result<Response, Stop> {
    let caller = visit.caller()?;
    let status = ask::<Show>(&console.app, &caller, Which { id }).await?;
    let input = ResultsInput { id: status.summary.order_id.clone(), limit: RESULT_ROWS };
    let (matches, unknown, trouble) = match ask::<Results>(&console.app, &caller, input).await {
        Ok(found) => (found.matches, found.unknown, None),
        Err(refusal) => (Vec::new(), Vec::new(), Some(Trouble::of(visit.lang, &refusal))),
    };
    let lang = visit.lang;
    let s = view(lang, &status.summary);
    let following = query::value(&query::pairs(&visit.query), "follow", 4) == "on";
    let running = status.summary.state == "running";
    let (found, unclear) = (lang.number(matches.len() as u64), lang.number(unknown.len() as u64));
    let made = page(&ScanPage {
        f: visit.frame(Place::Scans, s.title.clone()),
        sentence: sentence(lang, &status),
        follow: running.then(|| follow(&s.order_id, following)),
        nothing: matches.is_empty() && trouble.is_none() && status.summary.files_matched == 0,
        rests_on: rests_on(lang, &status.summary),
        matches_caption: lang.fill("results_caption", &[("n", &found), ("total", &lang.number(status.summary.files_matched))]),
        unknown_caption: lang.fill("results_caption", &[("n", &unclear), ("total", &lang.number(status.summary.files_unknown))]),
        hosts: status.hosts.iter().map(line).collect(),
        trouble,
        matches,
        unknown,
        s,
    });
    made.map(|response| if running && following { refreshing(response) } else { response })
}

/// Only for whoever asked for it: a page that changes by itself disturbs whoever reads it slowly, or aloud.
fn follow(order_id: &str, following: bool) -> Follow {
    let href = query::url(&format!("/scans/{order_id}"), &[("follow", if following { "" } else { "on" })]);
    Follow { href, key: if following { "follow_off" } else { "follow_on" } }
}

fn refreshing(mut response: Response) -> Response {
    response.headers_mut().insert(header::REFRESH, HeaderValue::from_static(FOLLOW_SECONDS));
    response
}

fn line(host: &ScanHost) -> HostLine {
    HostLine {
        agent_id: host.agent_id.clone(),
        name: if host.hostname.is_empty() { host.agent_id.clone() } else { host.hostname.clone() },
        state: host.state.clone(),
        state_key: state_key(&host.state),
        reason: host.reason.clone(),
        scanned: host.files_scanned,
        matched: host.files_matched,
        skipped: host.files_skipped,
        timed_out: host.files_timed_out,
        unknown: host.files_unknown,
        last_ts: host.last_ts.clone(),
    }
}

/// Who was asked and who answered; who did not is named.
fn sentence(lang: Lang, status: &ScanStatus) -> Vec<Piece> {
    let it = &status.summary;
    let silent: Vec<&str> =
        status.hosts.iter().filter(|host| host.state == "offline").map(|host| host.hostname.as_str()).collect();
    let mut names = silent[..silent.len().min(NAMED)].join(", ");
    if silent.len() > NAMED {
        names.push('…');
    }
    let key = if silent.is_empty() { "scan_sentence" } else { "scan_sentence_offline" };
    let number = |number: u64| lang.number(number);
    let values = [
        ("asked", number(it.asked)),
        ("answered", number(it.answered)),
        ("refused", number(it.refused)),
        ("running", number(it.running)),
        ("offline", number(it.offline)),
        ("names", names),
        ("scanned", number(it.files_scanned)),
        ("matched", number(it.files_matched)),
        ("skipped", number(it.files_skipped)),
        ("timed_out", number(it.files_timed_out)),
        ("unknown", number(it.files_unknown)),
    ];
    lang.pieces(key, &values.each_ref().map(|(name, value)| (*name, value.as_str())))
}

/// What "nothing found" rests on.
fn rests_on(lang: Lang, it: &ScanSummary) -> Vec<Piece> {
    let done = lang.number(it.answered.saturating_sub(it.refused));
    let silent = lang.number(it.asked.saturating_sub(it.answered));
    let (files, unknown) = (lang.number(it.files_scanned), lang.number(it.files_unknown));
    let values =
        [("done", &done), ("asked", &lang.number(it.asked)), ("files", &files), ("silent", &silent), ("unknown", &unknown)];
    lang.pieces("nothing_rests_on", &values.map(|(name, value)| (name, value.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pieces: &[Piece]) -> String {
        pieces.iter().map(|piece| piece.text.as_str()).collect()
    }

    fn host(name: &str, state: &str) -> ScanHost {
        serde_json::from_value::<ScanHostForTest>(serde_json::json!({"hostname": name, "state": state})).unwrap().into()
    }

    #[derive(serde::Deserialize)]
    struct ScanHostForTest {
        hostname: String,
        state: String,
    }

    impl From<ScanHostForTest> for ScanHost {
        fn from(it: ScanHostForTest) -> Self {
            Self {
                agent_id: "a".into(),
                hostname: it.hostname,
                state: it.state,
                reason: String::new(),
                files_scanned: 0,
                files_matched: 0,
                files_skipped: 0,
                files_timed_out: 0,
                files_unknown: 0,
                entries_scanned: 0,
                bytes_scanned: 0,
                last_ts: String::new(),
            }
        }
    }

    #[test]
    fn a_scan_says_who_was_asked_and_names_who_is_offline() {
        let summary = ScanSummary { asked: 12, answered: 11, offline: 1, files_scanned: 48_211, ..ScanSummary::default() };
        let status = ScanStatus { summary, hosts: vec![host("pc-14", "offline"), host("pc-2", "done")] };
        for lang in Lang::ALL {
            let said = text(&sentence(lang, &status));
            assert!(said.contains("12") && said.contains("11") && said.contains("pc-14") && !said.contains("pc-2"), "{said}");
            assert!(said.contains(&lang.number(48_211)), "{said}");
        }
    }

    #[test]
    fn nothing_found_says_what_it_rests_on() {
        let summary =
            ScanSummary { asked: 5, answered: 4, refused: 1, files_unknown: 7, files_scanned: 900, ..ScanSummary::default() };
        let said = text(&rests_on(Lang::En, &summary));
        for figure in ["3", "5", "900", "1", "7"] {
            assert!(said.contains(figure), "{figure} in {said}");
        }
    }

    #[test]
    fn only_whoever_asked_for_it_gets_a_page_that_refreshes() {
        assert_eq!(follow("ab", false).href, "/scans/ab?follow=on");
        assert_eq!(follow("ab", true).href, "/scans/ab");
    }
}
