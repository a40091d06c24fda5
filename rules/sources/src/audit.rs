//! Records of the Linux audit daemon, as rules for `service: auditd` name their fields.
//!
//! Values that the kernel could not write between quotes stand in hex and are decoded where the field holds text; numbers
//! of system calls get their names (`SYSCALL`), as the daemon itself writes them in its enriched format. Arguments that
//! were cut into pieces (`a1[0]`, `a1[1]`) are joined. Names and meaning: linux-audit/audit-documentation.

use serde_json::{Map, Value as Json};

use crate::syscalls;

/// Fields whose values may stand in hex: what a user can choose.
const ENCODED: [&str; 17] = [
    "name",
    "cwd",
    "exe",
    "comm",
    "cmd",
    "proctitle",
    "path",
    "key",
    "dir",
    "data",
    "acct",
    "grp",
    "new_group",
    "old",
    "new",
    "watch",
    "vm",
];
/// Stands between what the kernel wrote and what the daemon added.
const ENRICHED: char = '\u{1d}';

/// Whether a line is an audit record.
pub(crate) fn is_record(line: &[u8]) -> bool {
    let begins = line.starts_with(b"type=") || line.starts_with(b"node=");
    begins && event_id(line).is_some()
}

/// Host, time and serial number that all records of one event share.
pub(crate) fn event_id(line: &[u8]) -> Option<&[u8]> {
    const MARK: &[u8] = b"msg=audit(";
    let at = line.windows(MARK.len()).position(|window| window == MARK)?;
    let end = at + line[at..].iter().position(|byte| *byte == b')')?;
    Some(&line[at + MARK.len()..end])
}

/// Whether no record of the same event follows this one: the kernel says so, or the record was made by a program.
pub(crate) fn ends_event(line: &[u8]) -> bool {
    let at = line.windows(5).position(|window| window == b"type=").map_or(0, |at| at + 5);
    let kind = line[at..].split(|byte| *byte == b' ').next().unwrap_or_default();
    // Names of records that programs send (USER_*, SERVICE_*, DAEMON_* ...) and the end of a kernel event.
    kind == b"EOE" || [&b"USER_"[..], b"SERVICE_", b"DAEMON_", b"CRED_"].iter().any(|begin| kind.starts_with(begin))
}

/// Time of an event in microseconds since 1970, from its id.
pub(crate) fn time_us(id: &str) -> Option<i64> {
    let (time, _serial) = id.rsplit_once(':')?;
    let (seconds, millis) = time.split_once('.')?;
    let seconds: i64 = seconds.parse().ok()?;
    let millis: i64 = millis.parse().ok().filter(|millis| (0..1_000).contains(millis))?;
    seconds.checked_mul(1_000_000)?.checked_add(millis * 1_000)
}

/// The fields of one record; none when it is no audit record.
pub(crate) fn fields(line: &str) -> Option<Map<String, Json>> {
    let mut fields = Map::new();
    let (head, rest) = line.split_once("msg=audit(")?;
    let (id, body) = rest.split_once(')')?;
    let body = body.trim_start().strip_prefix(':').unwrap_or(body);
    for (name, value) in pairs(head) {
        fields.insert(name.into(), value.text().into());
    }
    let kind = fields.get("type")?.as_str()?.to_string();
    fields.insert("msg".into(), format!("audit({id})").into());
    for part in body.split(ENRICHED) {
        take(part, &kind, &mut fields);
    }
    join_pieces(&mut fields);
    name_syscall(&kind, &mut fields);
    Some(fields)
}

fn take(text: &str, kind: &str, fields: &mut Map<String, Json>) {
    for (name, value) in pairs(text) {
        match value {
            // What a program says of itself holds fields again.
            Raw::Quoted(inner, '\'') if name == "msg" => take(inner, kind, fields),
            _ => {
                let text = decoded(kind, name, value);
                fields.entry(name).or_insert_with(|| text.into());
            }
        }
    }
}

/// A value as it stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Raw<'a> {
    Plain(&'a str),
    Quoted(&'a str, char),
}

impl<'a> Raw<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Plain(text) | Self::Quoted(text, _) => text,
        }
    }
}

/// `name=value` pairs with blanks between; a quoted value may hold blanks. Words without `=` are passed over.
fn pairs(text: &str) -> impl Iterator<Item = (&str, Raw<'_>)> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            rest = rest.trim_start_matches([' ', ',', '\t']);
            if rest.is_empty() {
                return None;
            }
            let end = rest.find([' ', '=']).unwrap_or(rest.len());
            let name = &rest[..end];
            if !rest[end..].starts_with('=') {
                rest = &rest[end..];
                continue;
            }
            let (value, after) = value(&rest[end + 1..]);
            rest = after;
            return Some((name, value));
        }
    })
}

fn value(text: &str) -> (Raw<'_>, &str) {
    for quote in ['"', '\''] {
        if let Some(inner) = text.strip_prefix(quote)
            && let Some(end) = inner.find(quote)
        {
            return (Raw::Quoted(&inner[..end], quote), &inner[end + 1..]);
        }
    }
    let end = text.find(' ').unwrap_or(text.len());
    (Raw::Plain(&text[..end]), &text[end..])
}

fn decoded(kind: &str, name: &str, value: Raw<'_>) -> String {
    let is_argument =
        kind.eq_ignore_ascii_case("EXECVE") && name.starts_with('a') && name[1..].starts_with(|c: char| c.is_ascii_digit());
    let is_encoded = (is_argument && !name.ends_with("_len")) || ENCODED.contains(&name);
    match value {
        Raw::Plain(text) if is_encoded => from_hex(text).unwrap_or_else(|| text.into()),
        Raw::Plain(text) | Raw::Quoted(text, _) => text.into(),
    }
}

/// Text that stands in hex; zero bytes are what stood between arguments.
fn from_hex(text: &str) -> Option<String> {
    if text.is_empty() || !text.len().is_multiple_of(2) || text.bytes().any(|byte| byte.is_ascii_lowercase()) {
        return None;
    }
    let bytes = hex::decode(text).ok()?;
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    Some(String::from_utf8_lossy(bytes).replace('\0', " "))
}

/// `a1[0]` and `a1[1]` become `a1`.
fn join_pieces(fields: &mut Map<String, Json>) {
    let pieces: Vec<String> = fields.keys().filter(|name| name.ends_with(']')).cloned().collect();
    for piece in pieces {
        let Some((whole, index)) = piece.trim_end_matches(']').split_once('[') else { continue };
        if index.parse::<u32>().is_err() {
            continue;
        }
        let Some(Json::String(text)) = fields.remove(&piece) else { continue };
        match fields.entry(whole).or_insert_with(|| "".into()) {
            Json::String(joined) => joined.push_str(&text),
            other => *other = text.into(),
        }
    }
}

fn name_syscall(kind: &str, fields: &mut Map<String, Json>) {
    if !kind.eq_ignore_ascii_case("SYSCALL") || fields.contains_key("SYSCALL") {
        return;
    }
    let text = |name: &str| fields.get(name).and_then(Json::as_str).unwrap_or_default();
    let number = text("syscall");
    let name = match number.parse::<u32>() {
        Ok(number) => syscalls::name(text("arch"), number).map(ToString::to_string),
        Err(_) => Some(number.to_string()).filter(|name| !name.is_empty()),
    };
    if let Some(name) = name {
        fields.insert("SYSCALL".into(), name.into());
    }
}

/// The field that names the host.
pub(crate) fn host(fields: &Map<String, Json>) -> Option<&str> {
    fields.get("node").and_then(Json::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &str, name: &str) -> String {
        fields(line).unwrap().get(name).and_then(Json::as_str).unwrap_or("-").to_string()
    }

    #[test]
    fn quoted_values_stand_and_hex_is_decoded_where_it_is_text() {
        let line = "type=EXECVE msg=audit(1604994496.155:92733): argc=3 a0=\"sh\" a1=2D63 a2=6563686F2048692074686572650A";
        assert_eq!((text(line, "a0"), text(line, "a1"), text(line, "a2")), ("sh".into(), "-c".into(), "echo Hi there\n".into()));
        let line = "type=SYSCALL msg=audit(1.155:2): arch=c000003e syscall=59 a0=558E251634A0 comm=\"arp\" exe=2F746D702F612062 key=(null)";
        assert_eq!(text(line, "a0"), "558E251634A0");
        assert_eq!(
            (text(line, "exe"), text(line, "SYSCALL"), text(line, "key")),
            ("/tmp/a b".into(), "execve".into(), "(null)".into())
        );
        assert_eq!(text("type=PROCTITLE msg=audit(1.0:1): proctitle=617270002D61", "proctitle"), "arp -a");
    }

    #[test]
    fn what_the_daemon_added_and_what_programs_say_of_themselves_are_fields() {
        let line = "node=app-07 type=SYSCALL msg=audit(1.155:2): arch=c000003e syscall=41 a0=26\u{1d}ARCH=x86_64 SYSCALL=socket AUID=\"alice\"";
        assert_eq!(
            (text(line, "SYSCALL"), text(line, "AUID"), text(line, "node")),
            ("socket".into(), "alice".into(), "app-07".into())
        );
        let line = "type=SERVICE_STOP msg=audit(1.1:2): pid=1 uid=0 msg='unit=firewalld comm=\"systemd\" exe=\"/usr/lib/systemd/systemd\" res=success'";
        assert_eq!(
            (text(line, "unit"), text(line, "type"), text(line, "res")),
            ("firewalld".into(), "SERVICE_STOP".into(), "success".into())
        );
    }

    #[test]
    fn an_argument_in_pieces_is_whole_again() {
        let line = "type=EXECVE msg=audit(1.1:2): argc=2 a0=\"x\" a1_len=8 a1[0]=41424344 a1[1]=\"efgh\"";
        assert_eq!((text(line, "a1"), text(line, "a1_len")), ("ABCDefgh".into(), "8".into()));
    }

    #[test]
    fn the_time_and_the_id_are_read_and_rubbish_is_none() {
        assert_eq!(time_us("1604994496.155:92733"), Some(1_604_994_496_155_000));
        assert_eq!(event_id(b"type=CWD msg=audit(1.5:7): cwd"), Some(&b"1.5:7"[..]));
        assert!(ends_event(b"type=EOE msg=audit(1.5:7):") && !ends_event(b"type=CWD msg=audit(1.5:7):"));
        for rubbish in ["", "type=", "msg=audit(", "type=X msg=audit(1", "hello", "type=X msg=audit(99999999999999999999.1:1): a"]
        {
            assert!(fields(rubbish).is_none_or(|fields| fields.contains_key("type")), "{rubbish}");
        }
        assert_eq!(time_us("99999999999999999999.1:1"), None);
    }
}
