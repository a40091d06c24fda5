//! What a file holds: named by the caller, or told from its first bytes.

use crate::audit;
use crate::evtx::MAGIC;

/// A form of events that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Windows event log, binary.
    Evtx,
    /// Events of Windows as JSON trees (`Event`, `System`, `EventData`).
    EvtxJson,
    /// Flat JSON objects: forwarders of Windows logs, other products.
    FlatJson,
    /// Our own events: JSON as `beffroi events search` gives it, and batches as stored.
    Events,
    /// Records of the Linux audit daemon.
    Auditd,
    /// Lines of text, for keyword rules.
    Lines,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 6] = [Self::Evtx, Self::EvtxJson, Self::FlatJson, Self::Events, Self::Auditd, Self::Lines];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Evtx => "evtx",
            Self::EvtxJson => "evtx-json",
            Self::FlatJson => "flat-json",
            Self::Events => "events",
            Self::Auditd => "auditd",
            Self::Lines => "lines",
        }
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name)
    }
}

/// How the bytes of a file are cut into records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Evtx,
    /// One JSON object a line.
    JsonLines,
    /// JSON objects over several lines, or in an array.
    JsonValues,
    Batch,
    Auditd,
    Lines,
}

/// The shape of a file by its first bytes, within the format if one is named.
pub(crate) fn shape(head: &[u8], format: Option<Format>) -> Shape {
    match format {
        Some(Format::Evtx) => Shape::Evtx,
        Some(Format::Auditd) => Shape::Auditd,
        Some(Format::Lines) => Shape::Lines,
        Some(Format::EvtxJson | Format::FlatJson) => json_shape(head),
        Some(Format::Events) if is_json(head) || head.is_empty() => json_shape(head),
        Some(Format::Events) => Shape::Batch,
        None => guess(head),
    }
}

fn guess(head: &[u8]) -> Shape {
    if head.starts_with(MAGIC) {
        Shape::Evtx
    } else if is_json(head) {
        json_shape(head)
    } else if first_line(head).is_some_and(audit::is_record) {
        Shape::Auditd
    } else if head.contains(&0) {
        // Zero bytes stand in no log. What is no batch either is refused when it is read whole.
        Shape::Batch
    } else {
        Shape::Lines
    }
}

/// Whether it begins with an object, or with an array of them (many logs begin with a bracket).
fn is_json(head: &[u8]) -> bool {
    let mut bytes = text(head).iter().filter(|byte| !byte.is_ascii_whitespace());
    match bytes.next() {
        Some(b'{') => true,
        Some(b'[') => matches!(bytes.next(), Some(b'{' | b']')),
        _ => false,
    }
}

/// Whether objects stand on a line each, as the first lines say.
fn json_shape(head: &[u8]) -> Shape {
    let mut lines = text(head).split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let Some(line) = lines.next() else { return Shape::JsonLines };
    let next = lines.next();
    if line.starts_with(b"[") {
        return Shape::JsonValues;
    }
    // An object that does not end on its line goes on in the next, unless that begins one (then the first was cut off).
    // A first line longer than the head has no next one.
    let goes_on = serde_json::from_slice::<serde_json::Value>(line).is_err_and(|error| error.is_eof());
    if goes_on && next.is_some_and(|next| !next.starts_with(b"{")) { Shape::JsonValues } else { Shape::JsonLines }
}

fn first_line(head: &[u8]) -> Option<&[u8]> {
    text(head).split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).find(|line| !line.is_empty())
}

/// The bytes without the mark that some tools of Windows write first.
pub(crate) fn text(head: &[u8]) -> &[u8] {
    head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_first_bytes() {
        for (head, wanted) in [
            (&b"ElfFile\0..."[..], Shape::Evtx),
            (b"{\"a\": 1}\n{\"a\": 2}\n", Shape::JsonLines),
            (b"\xef\xbb\xbf{\"a\": 1}\r\n", Shape::JsonLines),
            (b"\n\n{\"a\": 1}", Shape::JsonLines),
            (b"{\n  \"a\": 1\n}\n", Shape::JsonValues),
            (b"{\"Event\": {\n  \"a\": 1\n}}\n", Shape::JsonValues),
            (b"{\"a\": 1, \n{\"a\": 2}\n", Shape::JsonLines),
            (b"[{\"a\": 1},\n{\"a\": 2}]", Shape::JsonValues),
            (b"[]", Shape::JsonValues),
            (b"type=CWD msg=audit(1604994496.155:92733): cwd=\"/\"\n", Shape::Auditd),
            (b"[ssl:error] AH02032: certificate\n", Shape::Lines),
            (b"Nov 21 10:00:00 app-07 sshd[1]: x\n", Shape::Lines),
            (b"", Shape::Lines),
            (b"MZ\0\0\0", Shape::Batch),
        ] {
            assert_eq!(shape(head, None), wanted, "{}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn a_first_line_longer_than_the_head_is_taken_for_a_line() {
        let head = format!("{{\"a\": \"{}", "x".repeat(crate::limits::SNIFFED_BYTES));
        assert_eq!(shape(head.as_bytes(), None), Shape::JsonLines);
    }

    #[test]
    fn a_named_format_is_believed() {
        assert_eq!(shape(b"{\"a\": 1}", Some(Format::Lines)), Shape::Lines);
        assert_eq!(shape(b"\x0a\x05", Some(Format::Events)), Shape::Batch);
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(format));
        }
    }
}
