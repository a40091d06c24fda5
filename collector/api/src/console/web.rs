//! What stands before and after every page: address limit, language, session, strict headers, errors in our words.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use askama::Template;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{Html, IntoResponse, Response};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::frame::{Frame, Place, Trouble, Who, now};
use super::session::{Session, Sessions, VALUE_CHARS};
use super::text::Lang;
use super::{login, query};
use crate::ask::Caller;
use crate::desk::App;
use crate::error::Refusal;

/// Longest path and query of a page.
const MAX_URI: usize = 8 * 1024;
/// Bytes of cookies that are looked at: ours are short, a browser may send those of other services of the same host.
const MAX_COOKIES: usize = 16 * 1024;
/// How long a browser keeps the chosen language, seconds: a year.
const LANG_LIFE: u32 = 31_536_000;
const LANG_COOKIE: &str = "beffroi-lang";

/// Nothing but our own style, images and forms; no script at all, nobody frames us.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'";
const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Links to references must not tell where they were read; our own lists may know where a visitor comes from.
    (header::REFERRER_POLICY, "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (header::VARY, "cookie, accept-language"),
];

/// The console: the application it asks, and who is signed in.
pub(crate) struct Console {
    pub(crate) app: Arc<App>,
    pub(crate) sessions: Sessions,
}

/// What handlers share.
pub(crate) type Shared = Arc<Console>;

/// One request, as pages see it.
#[derive(Debug, Clone)]
pub(crate) struct Visit {
    pub(crate) lang: Lang,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) referer: String,
    pub(crate) cookies: Vec<(String, String)>,
    pub(crate) session: Option<Session>,
    remote: String,
    site: Option<String>,
}

/// Why there is no page.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Nobody is signed in.
    SignIn,
    /// The API refuses.
    Refused(Refusal),
    /// The page cannot be rendered.
    Render(askama::Error),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<askama::Error> for Stop {
    fn from(error: askama::Error) -> Self {
        Self::Render(error)
    }
}

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage {
    f: Frame,
    trouble: Trouble,
}

impl Visit {
    fn read(console: &Console, request: &Request) -> Self {
        let headers = request.headers();
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let cookies = cookies(headers);
        let chosen = cookie(&cookies, LANG_COOKIE).and_then(Lang::from_code);
        let value = cookie(&cookies, login::session_cookie(console.app.tls)).unwrap_or_default();
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        Self {
            lang: chosen.unwrap_or_else(|| Lang::preferred(text(header::ACCEPT_LANGUAGE))),
            method: request.method().clone(),
            path: query::local(request.uri().path()).to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            referer: text(header::REFERER).to_owned(),
            session: console.sessions.find(value, Instant::now()),
            cookies,
            remote: peer.map(|peer| peer.0.to_string()).unwrap_or_default(),
            site: headers.get("sec-fetch-site").and_then(|value| value.to_str().ok()).map(str::to_owned),
        }
    }

    /// The browser says that another site sent this form.
    pub(crate) fn is_foreign(&self) -> bool {
        self.site.as_deref().is_some_and(|site| !matches!(site, "same-origin" | "none"))
    }

    /// Who asks, for a call.
    pub(crate) fn caller(&self) -> Result<Caller, Stop> {
        let session = self.session.as_ref().ok_or(Stop::SignIn)?;
        Ok(self.caller_as(session.asker.clone()))
    }

    /// A call of somebody whose session has not begun yet.
    pub(crate) fn caller_as(&self, asker: crate::auth::Asker) -> Caller {
        Caller {
            asker,
            remote: self.remote.clone(),
            door: "console",
            method: self.method.to_string(),
            path: self.path.clone(),
            query: self.query.clone(),
            reason: String::new(),
        }
    }

    pub(crate) fn frame(&self, place: Place, title: impl Into<String>) -> Frame {
        let who = self.session.as_ref().map(|session| Who::new(&session.asker, session.csrf.expose(), self.lang));
        let (path, query) = (self.path.clone(), self.query.clone());
        Frame { lang: self.lang, title: title.into(), place, who, path, query, now: now() }
    }

    /// The answer to a page that could be made, or not.
    pub(crate) fn answer(&self, page: Result<Response, Stop>) -> Response {
        match page {
            Ok(response) => response,
            Err(Stop::SignIn) => self.to_sign_in(""),
            Err(Stop::Refused(refusal)) if refusal.status == StatusCode::UNAUTHORIZED => self.to_sign_in(&refusal.body.code),
            Err(Stop::Refused(refusal)) => self.error(&refusal),
            Err(Stop::Render(error)) => {
                tracing::error!(%error, path = self.path, "a page of the console could not be rendered");
                let refusal =
                    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "server", "the page cannot be shown", "tell the operators");
                self.error(&refusal)
            }
        }
    }

    /// A page that says what went wrong.
    pub(crate) fn error(&self, refusal: &Refusal) -> Response {
        let trouble = Trouble::of(self.lang, refusal);
        let page = ErrorPage { f: self.frame(Place::Elsewhere, trouble.title.clone()), trouble };
        let mut response = match page.render() {
            Ok(text) => (refusal.status, Html(text)).into_response(),
            Err(_) => refusal.status.into_response(),
        };
        if let Some(seconds) = refusal.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// To the sign-in page, and from there back. A browser keeps our cookie from a visit that another site's link began:
    /// asking for the same page once more from here brings it along, so that links in a chat or a ticket work.
    fn to_sign_in(&self, why: &str) -> Response {
        let here = query::url(&self.path, &[]) + &if self.query.is_empty() { String::new() } else { format!("?{}", self.query) };
        let here = query::own_path(&here);
        if self.method == Method::GET && self.site.as_deref() == Some("cross-site") {
            return again(&here);
        }
        let next = if self.method == Method::GET && here != "/alerts" { here.as_str() } else { "" };
        redirect(&query::url("/login", &[("next", next), ("why", why)]))
    }
}

/// Asks the browser to ask again from our own site.
fn again(here: &str) -> Response {
    let mut response = StatusCode::OK.into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("0;url={here}")) {
        response.headers_mut().insert(header::REFRESH, value);
    }
    response
}

/// 303: the next request is a GET.
pub(crate) fn redirect(to: &str) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    if let Ok(value) = HeaderValue::from_str(to) {
        response.headers_mut().insert(header::LOCATION, value);
    }
    response
}

/// A rendered page.
pub(crate) fn page(template: &impl Template) -> Result<Response, Stop> {
    Ok(Html(template.render()?).into_response())
}

/// Stands around every page.
pub(crate) async fn guard(State(console): State<Shared>, mut request: Request, next: Next) -> Response {
    let visit = Visit::read(&console, &request);
    let mut response = match admitted(&console, &visit, &request) {
        Err(refusal) => visit.error(&refusal),
        Ok(()) => match chosen_language(&visit) {
            Some(redirected) => redirected,
            None => {
                request.extensions_mut().insert(visit);
                next.run(request).await
            }
        },
    };
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if console.app.tls {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    metrics::counter!("beffroi_console_pages_total", "status" => response.status().as_u16().to_string()).increment(1);
    response
}

fn admitted(console: &Console, visit: &Visit, request: &Request) -> Result<(), Refusal> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    console.app.rates().address(peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip()))?;
    if visit.path.len() + visit.query.len() > MAX_URI {
        return Err(Refusal::new(
            StatusCode::URI_TOO_LONG,
            "too_large",
            "path and query are longer than 8 KiB",
            "ask for less at once",
        ));
    }
    Ok(())
}

/// `?lang=` on any page chooses a language for good and shows the same page again.
fn chosen_language(visit: &Visit) -> Option<Response> {
    let pairs = query::pairs(&visit.query);
    let lang = pairs.iter().find(|(name, _)| name == "lang").and_then(|(_, code)| Lang::from_code(code))?;
    let rest = pairs.iter().filter(|(name, _)| name != "lang").map(|(name, value)| (name.as_str(), value.as_str()));
    let mut response = redirect(&query::url(&visit.path, &rest.collect::<Vec<_>>()));
    set_cookie(&mut response, &format!("{LANG_COOKIE}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={LANG_LIFE}", lang.code()));
    Some(response)
}

pub(crate) fn set_cookie(response: &mut Response, cookie: &str) {
    if let Ok(value) = HeaderValue::from_str(cookie) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

fn cookies(headers: &HeaderMap) -> Vec<(String, String)> {
    let mut room = MAX_COOKIES;
    let mut cookies = Vec::new();
    for header in headers.get_all(header::COOKIE) {
        let Some(text) = header.to_str().ok().filter(|text| text.len() <= room) else { continue };
        room -= text.len();
        let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
        let ours = pairs.filter(|(name, value)| name.contains("beffroi") && value.len() <= VALUE_CHARS);
        cookies.extend(ours.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
    cookies
}

pub(crate) fn cookie<'a>(cookies: &'a [(String, String)], name: &str) -> Option<&'a str> {
    cookies.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

impl<S: Sync> axum::extract::FromRequestParts<S> for Visit {
    type Rejection = StatusCode;

    /// There behind [`guard`] only; a page without it would have no session and no headers.
    async fn from_request_parts(parts: &mut http::request::Parts, _state: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
