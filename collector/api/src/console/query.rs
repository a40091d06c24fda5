//! What stands in the URL of a page: filters that a colleague can be sent, read back as they were written.

use form_urlencoded::{Serializer, parse};

/// Longest value of a filter, bytes: longer than any host or rule name.
const MAX_VALUE: usize = 256;
/// Pairs of a query string that are looked at.
const MAX_PAIRS: usize = 32;
/// Longest place of a list (`before`), as the store writes it.
const MAX_PLACE: usize = 64;
/// The time that a list begins with when nothing is said.
pub(crate) const DEFAULT_SINCE: &str = "24h";

/// The pairs of a query string or a form, cut to size.
pub(crate) fn pairs(text: &str) -> Vec<(String, String)> {
    let pairs = parse(text.as_bytes()).take(MAX_PAIRS);
    pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect()
}

/// The first value of a name.
pub(crate) fn value(pairs: &[(String, String)], name: &str, max: usize) -> String {
    let found = pairs.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.trim());
    let end = (0..=max.min(found.len())).rev().find(|end| found.is_char_boundary(*end)).unwrap_or(0);
    found[..end].to_owned()
}

/// A URL of this path with the pairs that are not empty.
pub(crate) fn url(path: &str, pairs: &[(&str, &str)]) -> String {
    let mut query = Serializer::new(String::new());
    query.extend_pairs(pairs.iter().filter(|(_, value)| !value.is_empty()));
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// A request's path as it may stand in a link or a redirection of ours: a browser takes `//host` for another host.
pub(crate) fn local(path: &str) -> &str {
    let elsewhere = path.starts_with("//") || path.contains('\\') || !path.starts_with('/');
    if elsewhere { "/" } else { path }
}

/// Which alerts a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct AlertQuery {
    /// How long ago, or a time; empty is [`DEFAULT_SINCE`].
    pub(crate) since: String,
    pub(crate) level: String,
    pub(crate) tenant: String,
    pub(crate) host: String,
    pub(crate) rule: String,
    /// Held by the line that says what happened.
    pub(crate) text: String,
    /// Where an earlier page ended.
    pub(crate) before: String,
}

impl AlertQuery {
    pub(crate) fn read(query: &str) -> Self {
        let pairs = pairs(query);
        let of = |name| value(&pairs, name, MAX_VALUE);
        let since = of("since");
        Self {
            since: if since == DEFAULT_SINCE { String::new() } else { since },
            level: of("level"),
            tenant: of("tenant"),
            host: of("host"),
            rule: of("rule"),
            text: of("text"),
            before: value(&pairs, "before", MAX_PLACE),
        }
    }

    pub(crate) fn url(&self) -> String {
        let Self { since, level, tenant, host, rule, text, before } = self;
        let pairs = [
            ("since", since),
            ("level", level),
            ("tenant", tenant),
            ("host", host),
            ("rule", rule),
            ("text", text),
            ("before", before),
        ];
        url("/alerts", &pairs.map(|(name, value)| (name, value.as_str())))
    }

    /// How long ago the list begins.
    pub(crate) fn since(&self) -> &str {
        if self.since.is_empty() { DEFAULT_SINCE } else { &self.since }
    }

    /// The list that a visitor came from (`Referer`), if it was one: what they chose is written anew, never copied.
    pub(crate) fn of_referer(referer: &str) -> Option<Self> {
        let after_scheme = referer.split_once("://")?.1;
        let path_and_query = &after_scheme[after_scheme.find('/')?..];
        let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
        (path == "/alerts").then(|| Self::read(query))
    }
}

/// Which hosts a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct HostQuery {
    pub(crate) tenant: String,
    pub(crate) name: String,
    pub(crate) state: String,
}

impl HostQuery {
    pub(crate) fn read(query: &str) -> Self {
        let pairs = pairs(query);
        let of = |name| value(&pairs, name, MAX_VALUE);
        Self { tenant: of("tenant"), name: of("name"), state: of("state") }
    }
}

/// A path of this console to go to after signing in; the alerts for anything else, so that no link leads elsewhere.
pub(crate) fn own_path(text: &str) -> String {
    /// Longest path that is kept over a sign-in.
    const MAX: usize = 1_024;
    let page = ["/alerts", "/hosts", "/scans", "/status"].iter().any(|page| {
        text.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || rest.starts_with('?'))
    });
    let plain = text.len() <= MAX && text.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if page && plain { text.to_owned() } else { "/alerts".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_come_back_from_the_url_as_they_were_written() {
        let query = AlertQuery {
            since: "7d".into(),
            level: "high".into(),
            tenant: "interieur".into(),
            host: "pc é&=+% 1".into(),
            rule: "Shell \"from\" <Java>".into(),
            text: "a#b?c/d\u{202e}".into(),
            before: "1795168800000000-0123456789abcdef0123456789abcdef".into(),
        };
        let url = query.url();
        assert!(url.is_ascii() && url.starts_with("/alerts?since=7d&"), "{url}");
        assert_eq!(AlertQuery::read(url.split_once('?').unwrap().1), query);
        assert_eq!(AlertQuery::default().url(), "/alerts");
        assert_eq!(AlertQuery::read("since=24h&level="), AlertQuery::default());
    }

    #[test]
    fn what_is_too_long_is_cut_and_what_is_unknown_is_left_out() {
        let long = format!("host={}&x=1&host=second", "é".repeat(500));
        let query = AlertQuery::read(&long);
        assert!(query.host.len() <= MAX_VALUE && query.host.chars().all(|c| c == 'é'));
        assert!(AlertQuery::read(&"a=b&".repeat(10_000)) == AlertQuery::default());
        assert_eq!(AlertQuery::read("host=%ff%00").host, "\u{fffd}\u{0}");
    }

    #[test]
    fn the_way_back_leads_to_a_list_of_alerts_only() {
        let back = |referer: &str| AlertQuery::of_referer(referer).map(|query| query.url());
        assert_eq!(back("https://console.example/alerts?level=high&evil=1"), Some("/alerts?level=high".into()));
        assert_eq!(back("http://127.0.0.1:8080/alerts"), Some("/alerts".into()));
        for other in ["https://elsewhere.example/", "https://elsewhere.example/alerts/x", "javascript:alert(1)", "", "/alerts"] {
            assert_eq!(back(other), None, "{other}");
        }
    }

    #[test]
    fn no_link_of_ours_leads_to_another_host() {
        assert_eq!(local("/alerts/abc"), "/alerts/abc");
        for path in ["//evil.example/alerts", "/\\evil.example", "///x", "evil", ""] {
            assert_eq!(local(path), "/", "{path}");
        }
    }

    #[test]
    fn after_signing_in_nobody_is_led_elsewhere() {
        for page in ["/alerts", "/alerts?level=high", "/alerts/abc/around?window=1h", "/hosts/x", "/scans", "/status"] {
            assert_eq!(own_path(page), page);
        }
        for elsewhere in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/alertsx",
            "/logout",
            "/alerts/\r\nx",
            "/alerts\\x",
        ] {
            assert_eq!(own_path(elsewhere), "/alerts", "{elsewhere}");
        }
    }
}
