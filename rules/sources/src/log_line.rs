//! Lines of text as records. A line that begins as syslog writes it belongs to the service of the program that it names,
//! and to `syslog`.

use std::borrow::Cow;

use beffroi_schema::json::parse_time;
use serde_json::{Map, Value as Json};

use crate::parse::Options;
use crate::record::{Record, View};
use crate::trouble::{Code, Trouble, Troubles};

/// Product of lines whose logsource nobody named: what reads text logs is a Unix system in nearly all cases.
const PRODUCT: &str = "linux";
/// Longest name of a program in the head of a line.
const MAX_PROGRAM: usize = 48;

/// The record of a line.
pub(crate) fn record(bytes: &[u8], number: u64, options: &Options, troubles: &mut Troubles) -> Record {
    let text = String::from_utf8_lossy(bytes);
    if matches!(text, Cow::Owned(_)) {
        troubles.push(Trouble::at(Code::Encoding, number, "bytes that are no UTF-8 were replaced"));
    }
    let head = Head::of(&text);
    let views = match (&options.logsource, head.program) {
        (Some(view), _) => vec![view.clone()],
        (None, None) => vec![View::named(PRODUCT, "", "")],
        (None, Some(program)) => {
            let service = View { service: program.to_ascii_lowercase().into(), ..View::named(PRODUCT, "", "") };
            vec![service, View::named(PRODUCT, "", "syslog")]
        }
    };
    let (time, host) = (head.time_us, head.host.map(ToString::to_string));
    let mut fields = Map::new();
    fields.insert("message".into(), Json::String(text.into_owned()));
    Record { host, ..Record::flat(number, time, views, fields) }
}

/// What stands before the text of a line: time, host, program.
#[derive(Debug, Default, PartialEq)]
struct Head<'a> {
    time_us: Option<i64>,
    host: Option<&'a str>,
    program: Option<&'a str>,
}

impl<'a> Head<'a> {
    fn of(line: &'a str) -> Self {
        // `<34>` of the wire, where a line was kept as it came.
        let line = line.strip_prefix('<').and_then(|rest| rest.split_once('>')).map_or(line, |(_, rest)| rest);
        let (time_us, rest) = match old_time(line) {
            Some(rest) => (None, rest),
            None => {
                let Some((first, rest)) = line.split_once(' ') else { return Self::default() };
                let Some(time) = rfc3339(first) else { return Self::default() };
                (Some(time), rest)
            }
        };
        let mut words = rest.split(' ').filter(|word| !word.is_empty());
        let (host, tag) = (words.next(), words.next().unwrap_or_default());
        let program = tag.split(['[', ':']).next().filter(|name| is_program(name) && (tag.ends_with(':') || tag.contains('[')));
        Self { time_us, host: host.filter(|_| program.is_some()), program }
    }
}

/// The rest of a line that begins with `Nov 21 10:00:00 `. It names no year, so it is no time that could be compared.
fn old_time(line: &str) -> Option<&str> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (head, rest) = (line.get(..15)?, line.get(15..)?);
    let bytes = head.as_bytes();
    let is_clock = bytes[9] == b':' && bytes[12] == b':' && bytes[6] == b' ' && bytes[14].is_ascii_digit();
    (is_clock && head.get(..3).is_some_and(|month| MONTHS.contains(&month))).then_some(rest)
}

/// A time with a zone; a plain number or date is none in a line of text.
fn rfc3339(word: &str) -> Option<i64> {
    if word.len() < 20 || !word.contains('T') {
        return None;
    }
    parse_time(&Json::String(word.into()))
}

fn is_program(name: &str) -> bool {
    (1..=MAX_PROGRAM).contains(&name.len())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_a_line_names_time_host_and_program() {
        for (line, wanted) in [
            ("Nov 21 10:00:00 app-07 sshd[12]: Accepted", (None, Some("app-07"), Some("sshd"))),
            ("<34>Nov  1 10:00:00 app-07 CRON: x", (None, Some("app-07"), Some("CRON"))),
            ("2026-11-21T10:00:00.000001Z app-07 sudo: alice : x", (Some(1_795_255_200_000_001), Some("app-07"), Some("sudo"))),
            ("2026-11-21T11:00:00+01:00 app-07 just words", (Some(1_795_255_200_000_000), None, None)),
            ("172.16.5.10 6705: Feb 17 13:40:03.673: %PARSER-5-CFGLOG_LOGGEDCMD: User:admin", (None, None, None)),
            ("Nov été 10:00", (None, None, None)),
            ("aéé 21 10:00:00 app-07 sshd: x", (None, None, None)),
            ("", (None, None, None)),
        ] {
            let head = Head::of(line);
            assert_eq!((head.time_us, head.host, head.program), wanted, "{line}");
        }
    }

    #[test]
    fn a_line_is_seen_by_its_service_or_by_rules_for_any_log() {
        let services = |line: &str| {
            let record = record(line.as_bytes(), 1, &Options::default(), &mut Troubles::default());
            record.views.iter().map(|view| format!("{}/{}", view.product, view.service)).collect::<Vec<_>>()
        };
        assert_eq!(services("Nov 21 10:00:00 app-07 SSHD[12]: Accepted"), ["linux/sshd", "linux/syslog"]);
        assert_eq!(services("nothing known"), ["linux/"]);
    }
}
