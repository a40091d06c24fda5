//! What every page has: language, place, who is signed in, and how values are written.

use std::borrow::Borrow;

use jiff::Timestamp;

use super::text::Lang;
use super::{assets, query};
use crate::auth::Asker;
use crate::error::Refusal;
use crate::params;

/// Characters of a value in a row of a table.
const ROW_CHARS: usize = 240;
/// Characters of a command line in a sentence.
const SENTENCE_CHARS: usize = 160;
/// Characters of a command line in a tree.
const LONG_CHARS: usize = 2_000;

/// A page's place in the navigation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Alerts,
    Hosts,
    Scans,
    Status,
    Elsewhere,
}

/// Whoever is signed in, as the page's head says it.
#[derive(Debug, Clone)]
pub(crate) struct Who {
    pub(crate) name: String,
    pub(crate) scope: &'static str,
    pub(crate) tenants: String,
    pub(crate) csrf: String,
}

impl Who {
    pub(crate) fn new(asker: &Asker, csrf: &str, lang: Lang) -> Self {
        let tenants = if asker.sees_all() { lang.t("every_tenant").to_owned() } else { asker.tenants.join(" ") };
        Self { name: asker.name.clone(), scope: asker.scope.name(), tenants, csrf: csrf.to_owned() }
    }
}

/// What went wrong, for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) title: String,
    pub(crate) hint: String,
    /// The API's own words, in English; empty where ours say it all.
    pub(crate) detail: String,
}

impl Trouble {
    /// Our words for a refusal's code, by its kind where we have none for the code.
    pub(crate) fn of(lang: Lang, refusal: &Refusal) -> Self {
        let body = &refusal.body;
        let own = |code: &str| {
            let (title, hint) = (format!("trouble_{code}_title"), format!("trouble_{code}_hint"));
            let words = (lang.t(&title).to_owned(), lang.t(&hint).to_owned());
            (words.0 != title).then_some(words)
        };
        let general = if refusal.status.is_server_error() { "server" } else { "request" };
        let (title, hint) = own(&body.code).or_else(|| own(general)).unwrap_or_default();
        let said = matches!(body.code.as_str(), "unknown" | "no_route" | "csrf" | "unauthorized");
        let detail = if said { String::new() } else { format!("{}. {}", body.error, body.hint) };
        Self { title, hint, detail }
    }
}

/// A choice of a list in a form.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub(crate) value: String,
    pub(crate) text: String,
    pub(crate) chosen: bool,
}

impl Choice {
    /// A form's choices; a value that is none of them (from a URL) is one as well, so that it is not lost.
    pub(crate) fn list(known: &[(&str, String)], chosen: &str) -> Vec<Self> {
        let mut list: Vec<Self> = known
            .iter()
            .map(|(value, text)| Self { value: (*value).into(), text: text.clone(), chosen: *value == chosen })
            .collect();
        if !list.iter().any(|choice| choice.chosen) {
            list.push(Self { value: chosen.into(), text: chosen.into(), chosen: true });
        }
        list
    }
}

/// An entry of the navigation.
pub(crate) struct Entry {
    pub(crate) key: &'static str,
    pub(crate) href: &'static str,
    pub(crate) current: bool,
}

/// A language that can be chosen.
pub(crate) struct LangChoice {
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
    pub(crate) href: String,
    pub(crate) current: bool,
}

/// What every template knows as `f`.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) lang: Lang,
    pub(crate) title: String,
    pub(crate) place: Place,
    pub(crate) who: Option<Who>,
    /// Path and query of this page.
    pub(crate) path: String,
    pub(crate) query: String,
    /// When the page was made, microseconds since 1970.
    pub(crate) now: i64,
}

impl Frame {
    pub(crate) fn t<'a>(&self, key: &'a str) -> &'a str {
        self.lang.t(key)
    }

    pub(crate) fn asset(&self, name: &str) -> &'static str {
        assets::url(name)
    }

    pub(crate) fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    pub(crate) fn made(&self) -> String {
        beffroi_schema::json::rfc3339(self.now)
    }

    pub(crate) fn entries(&self) -> [Entry; 4] {
        let entry = |place, key, href| Entry { key, href, current: self.place == place };
        [
            entry(Place::Alerts, "alerts", "/alerts"),
            entry(Place::Hosts, "hosts", "/hosts"),
            entry(Place::Scans, "scans", "/scans"),
            entry(Place::Status, "status", "/status"),
        ]
    }

    /// This page in each language.
    pub(crate) fn languages(&self) -> Vec<LangChoice> {
        let pairs = query::pairs(&self.query);
        let rest = pairs.iter().filter(|(name, _)| name != "lang").map(|(name, value)| (name.as_str(), value.as_str()));
        let rest: Vec<(&str, &str)> = rest.collect();
        Lang::ALL
            .into_iter()
            .map(|lang| {
                let href = query::url(&self.path, &[&rest[..], &[("lang", lang.code())]].concat());
                LangChoice { code: lang.code(), name: lang.name(), href, current: lang == self.lang }
            })
            .collect()
    }

    /// A level by its name in the visitor's language.
    pub(crate) fn level(&self, level: &str) -> String {
        let key = format!("level_{level}");
        let words = self.t(&key);
        if words == key { level.to_owned() } else { words.to_owned() }
    }

    pub(crate) fn number(&self, number: impl Borrow<u64>) -> String {
        self.lang.number(*number.borrow())
    }

    pub(crate) fn bytes(&self, bytes: impl Borrow<u64>) -> String {
        self.lang.bytes(*bytes.borrow())
    }

    /// A time as it is read: `2026-11-22 02:16:20`, in UTC, which the page says beside it.
    pub(crate) fn clock(&self, time: impl AsRef<str>) -> String {
        match time.as_ref().parse::<Timestamp>() {
            Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Err(_) => time.as_ref().to_owned(),
        }
    }

    /// How long ago a time (RFC 3339) was; empty for one that is none or lies ahead.
    pub(crate) fn ago(&self, time: &str) -> String {
        let Ok(time) = time.parse::<Timestamp>() else { return String::new() };
        let seconds = (self.now - time.as_microsecond()) / 1_000_000;
        let (key, number) = match seconds {
            i64::MIN..0 => return String::new(),
            0..60 => ("ago_seconds", seconds),
            60..3_600 => ("ago_minutes", seconds / 60),
            3_600..86_400 => ("ago_hours", seconds / 3_600),
            _ => ("ago_days", seconds / 86_400),
        };
        self.lang.fill(key, &[("n", &number.to_string())])
    }

    /// Text cut to what a row of a table holds.
    pub(crate) fn cut(&self, text: impl AsRef<str>) -> String {
        cut(text.as_ref(), ROW_CHARS)
    }

    /// Text cut to what a sentence holds.
    pub(crate) fn cut_sentence(text: &str) -> String {
        cut(text, SENTENCE_CHARS)
    }

    /// Text cut to what a tree holds.
    pub(crate) fn cut_long(&self, text: impl AsRef<str>) -> String {
        cut(text.as_ref(), LONG_CHARS)
    }
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// A frame for tests.
#[cfg(test)]
pub(crate) fn for_tests(lang: Lang) -> Frame {
    let who = Some(Who::new(&Asker::admin(), "c0ffee", lang));
    let now = params::now();
    Frame { lang, title: "t".into(), place: Place::Alerts, who, path: "/alerts".into(), query: String::new(), now }
}

/// This machine's clock, microseconds since 1970.
pub(crate) fn now() -> i64 {
    params::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_utc_and_nonsense_stays_as_it_is() {
        let f = for_tests(Lang::En);
        assert_eq!(f.clock("2026-11-21T06:02:44.4Z"), "2026-11-21 06:02:44");
        assert_eq!(f.clock("2026-11-21T06:02:44+02:00"), "2026-11-21 04:02:44");
        assert_eq!(f.clock("soon"), "soon");
        let before = |seconds: i64| f.ago(&beffroi_schema::json::rfc3339(f.now - seconds * 1_000_000));
        assert!(before(5).contains('5') && before(7_200).contains('2') && before(-600).is_empty());
        assert!(before(400_000).contains('4') && f.ago("x").is_empty());
    }

    #[test]
    fn a_refusal_is_told_in_the_visitors_language_and_what_the_api_said_beside_it() {
        let trouble = Trouble::of(Lang::Fr, &Refusal::unknown("alert"));
        assert!(!trouble.title.is_empty() && !trouble.title.starts_with("trouble_") && trouble.detail.is_empty());
        let trouble = Trouble::of(Lang::Fr, &Refusal::bad("since is no time", "write RFC 3339"));
        assert!(trouble.detail.contains("since is no time") && trouble.detail.contains("RFC 3339"));
        let odd = Refusal::new(http::StatusCode::BAD_GATEWAY, "some_new_code", "x", "y");
        assert_eq!(Trouble::of(Lang::En, &odd).title, Lang::En.t("trouble_server_title"));
    }

    #[test]
    fn the_language_switch_keeps_the_page_and_its_filters() {
        let mut f = for_tests(Lang::En);
        f.query = "level=high&text=a%26b&lang=en".into();
        let links = f.languages();
        assert_eq!(links[1].href, "/alerts?level=high&text=a%26b&lang=fr");
        assert!(links[0].current && !links[1].current);
    }

    #[test]
    fn a_choice_that_only_the_url_knows_is_not_lost() {
        let known = [("24h", "a day".to_owned()), ("7d", "a week".to_owned())];
        let list = Choice::list(&known, "3h");
        assert_eq!(list.iter().filter(|choice| choice.chosen).map(|choice| choice.value.as_str()).collect::<Vec<_>>(), ["3h"]);
        assert_eq!(Choice::list(&known, "7d").len(), 2);
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(cut("été", 2), "ét…");
        assert_eq!(cut("été", 3), "été");
    }
}
