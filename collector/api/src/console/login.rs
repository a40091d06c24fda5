//! Signing in with a token, and out. The token is exchanged for a session at once: it never stands in a cookie, a URL or a
//! page.
//!
//! Forms are proven twice: by what the browser says of where they come from (`Sec-Fetch-Site`), and by a random value that
//! only our own page could have put into them. Before there is a session, that value also stands in a cookie that other
//! sites' requests do not carry.

use std::time::Instant;

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::frame::{Frame, Place, Trouble};
use super::query;
use super::session::{LIFE, Secret};
use super::web::{Console, Shared, Stop, Visit, cookie, page, redirect, set_cookie};
use crate::ask::{self, ask};
use crate::error::Refusal;
use crate::routes::operations::{Nothing, Whoami};

/// Longest text of a token that a form may hold.
const MAX_TOKEN: usize = 512;
/// How long a sign-in page may stay open, seconds.
const FORM_LIFE: u32 = 3_600;

/// Name of the session's cookie. Over TLS the prefix binds it to this host and to TLS; on plain loopback no browser would
/// take it.
pub(crate) fn session_cookie(tls: bool) -> &'static str {
    if tls { "__Host-beffroi" } else { "beffroi" }
}

fn form_cookie(tls: bool) -> &'static str {
    if tls { "__Host-beffroi-login" } else { "beffroi-login" }
}

fn cookie_text(tls: bool, name: &str, value: &str, life: u32) -> String {
    let secure = if tls { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={life}{secure}")
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    f: Frame,
    trouble: Option<Trouble>,
    csrf: String,
    next: String,
}

fn no_randomness(error: getrandom::Error) -> Stop {
    tracing::error!(%error, "the console has no randomness for a session");
    Stop::Refused(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server", "no session can begin", "tell the operators"))
}

/// The sign-in page.
pub(crate) async fn form(State(console): State<Shared>, visit: Visit) -> Response {
    let pairs = query::pairs(&visit.query);
    let next = query::own_path(&query::value(&pairs, "next", 1_024));
    match &visit.session {
        Some(session) if console.app.standing(&session.asker).is_ok() => return redirect(&next),
        // Whose token is no longer good: their session is over, or they would be sent back and forth.
        Some(_) => console.sessions.end(cookie(&visit.cookies, session_cookie(console.app.tls)).unwrap_or_default()),
        None => {}
    }
    // Only what is said of tokens that are no longer good: a link must not put words into this page's mouth.
    let why = query::value(&pairs, "why", 32);
    let known = ["token_revoked", "token_expired"].contains(&why.as_str());
    let trouble =
        known.then(|| Trouble { detail: String::new(), ..Trouble::of(visit.lang, &Refusal::unauthorized(&why, "", "")) });
    visit.answer(show(&console, &visit, StatusCode::OK, &next, trouble))
}

fn show(console: &Console, visit: &Visit, status: StatusCode, next: &str, trouble: Option<Trouble>) -> Result<Response, Stop> {
    let tls = console.app.tls;
    let csrf = Secret::new().map_err(no_randomness)?;
    let mut f = visit.frame(Place::Elsewhere, visit.lang.t("login_title"));
    f.who = None;
    let mut response = page(&LoginPage { f, trouble, csrf: csrf.expose().to_owned(), next: next.to_owned() })?;
    *response.status_mut() = status;
    set_cookie(&mut response, &cookie_text(tls, form_cookie(tls), csrf.expose(), FORM_LIFE));
    Ok(response)
}

/// Takes the token.
pub(crate) async fn sign_in(State(console): State<Shared>, visit: Visit, body: Bytes) -> Response {
    let answer = begin(&console, &visit, &body).await;
    visit.answer(answer)
}

async fn begin(console: &Console, visit: &Visit, body: &[u8]) -> Result<Response, Stop> {
    let tls = console.app.tls;
    let pairs = query::pairs(&String::from_utf8_lossy(body));
    let next = query::own_path(&query::value(&pairs, "next", 1_024));
    let proof = cookie(&visit.cookies, form_cookie(tls)).unwrap_or_default();
    if visit.is_foreign() || proof.is_empty() || !is_same(proof, &query::value(&pairs, "csrf", MAX_TOKEN)) {
        let trouble = Trouble::of(visit.lang, &foreign_form());
        return show(console, visit, StatusCode::FORBIDDEN, &next, Some(trouble));
    }
    let asker = match console.app.sign_in(&query::value(&pairs, "token", MAX_TOKEN)) {
        Ok(asker) => asker,
        Err(not_good) => {
            metrics::counter!("beffroi_api_unauthorized_total").increment(1);
            let refusal = match not_good.known {
                Some(known) => ask::refused(&console.app, &visit.caller_as(known), not_good.refusal).await,
                None => not_good.refusal,
            };
            let trouble = Trouble::of(visit.lang, &refusal);
            return show(console, visit, refusal.status, &next, Some(trouble));
        }
    };
    // The sign-in stands in the audit before the session begins.
    ask::<Whoami>(&console.app, &visit.caller_as(asker.clone()), Nothing::default()).await?;
    let value = console.sessions.begin(asker, Instant::now()).map_err(no_randomness)?;
    let mut response = redirect(&next);
    let life = u32::try_from(LIFE.as_secs()).unwrap_or(u32::MAX);
    set_cookie(&mut response, &cookie_text(tls, session_cookie(tls), value.expose(), life));
    set_cookie(&mut response, &cookie_text(tls, form_cookie(tls), "", 0));
    Ok(response)
}

fn is_same(one: &str, other: &str) -> bool {
    use subtle::ConstantTimeEq;
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

fn foreign_form() -> Refusal {
    Refusal::forbidden(
        "csrf",
        "this form does not come from a page of this session",
        "go back, load the page again, send it again",
    )
}

/// Ends the session.
pub(crate) async fn sign_out(State(console): State<Shared>, visit: Visit, body: Bytes) -> Response {
    let tls = console.app.tls;
    let given = query::value(&query::pairs(&String::from_utf8_lossy(&body)), "csrf", MAX_TOKEN);
    match &visit.session {
        None => {}
        Some(session) if visit.is_foreign() || !session.csrf.is(&given) => return visit.error(&foreign_form()),
        Some(_) => console.sessions.end(cookie(&visit.cookies, session_cookie(tls)).unwrap_or_default()),
    }
    let mut response = redirect("/login");
    set_cookie(&mut response, &cookie_text(tls, session_cookie(tls), "", 0));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_tls_the_sessions_cookie_is_bound_to_this_host_and_to_tls() {
        let text = cookie_text(true, session_cookie(true), "v", 5);
        assert!(text.starts_with("__Host-beffroi=v; Path=/; HttpOnly; SameSite=Strict; Max-Age=5"), "{text}");
        assert!(text.ends_with("; Secure") && !text.contains("Domain"), "{text}");
        let plain = cookie_text(false, session_cookie(false), "v", 5);
        assert!(plain.starts_with("beffroi=v;") && plain.contains("SameSite=Strict") && !plain.contains("Secure"), "{plain}");
    }

    #[test]
    fn a_forms_proof_is_the_same_value_or_none() {
        assert!(is_same("abc", "abc") && !is_same("abc", "abd") && !is_same("abc", "") && !is_same("abc", "abcd"));
    }
}
