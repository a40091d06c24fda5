//! Flat JSON objects, known by a look at their text: most records of log forwarders are flat, and nearly all of them match
//! no rule, so a tree that is thrown away at once is most of what reading them would cost.
//!
//! A look takes only what is plain beyond doubt: valid text, every name once, every value a text, a list of one text, a
//! whole number, a truth or null. Of everything else it says nothing, and the record is read as a tree. What it takes is seen by rules exactly
//! as [`crate::json`] would read it.

use std::collections::HashMap;
use std::ops::Range;

use beffroi_engine::{FlatText, windows};
use beffroi_schema::json::parse_time;
use memchr::memchr2;
use serde_json::{Map, Value as Json};

use crate::format::Format;
use crate::json::TIMES;
use crate::parse::Options;
use crate::record::View;

/// Members that are looked at: records of the event log have some dozens.
const MAX_MEMBERS: usize = 256;
/// Places of the table of names: a power of two, at most a quarter full.
const SLOTS: usize = 1_024;
/// Views that are remembered by what they depend on. Files have some dozens; a hostile one begins anew.
const MAX_KNOWN: usize = 1_024;
/// What the views of a Windows event depend on.
const OF_VIEWS: [&str; 3] = ["Channel", "EventID", "EventType"];

/// Looks at the records of one block.
pub(crate) struct Looker {
    members: Vec<Member>,
    /// By hash of a name: in which record it was seen, and which member it is.
    table: Vec<(u32, u16)>,
    record: u32,
    views: HashMap<Vec<u8>, Vec<View>>,
    key: Vec<u8>,
    named: Option<Vec<View>>,
    is_own: bool,
}

/// Where a member's name and value stand; quotes belong to the value and not to the name.
struct Member {
    name: Range<usize>,
    value: Range<usize>,
}

/// A flat record that was looked at.
pub struct Flat<'a> {
    looker: &'a Looker,
    text: &'a [u8],
    views: &'a [View],
    is_windows: bool,
}

impl Flat<'_> {
    /// Under which logsources rules may see it.
    pub fn views(&self) -> &[View] {
        self.views
    }

    /// As the engine takes it.
    pub fn text(&self) -> FlatText<'_> {
        let renamed = if self.is_windows { &windows::OF_FORWARDERS[..] } else { &[] };
        FlatText { text: self.text, renamed }
    }

    /// When it happened, microseconds since 1970, where it says so.
    pub fn time_us(&self) -> Option<i64> {
        let value = |name: &&str| Some(&self.text[self.looker.find(self.text, name)?.value.clone()]);
        let parsed = TIMES.iter().filter_map(value).filter_map(|value| serde_json::from_slice::<Json>(value).ok());
        parsed.filter_map(|value| parse_time(&value)).next()
    }
}

impl Looker {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            members: Vec::new(),
            table: vec![(0, 0); SLOTS],
            record: 0,
            views: HashMap::new(),
            key: Vec::new(),
            named: options.logsource.clone().map(|view| vec![view]),
            is_own: options.format == Some(Format::Events) && options.logsource.is_none(),
        }
    }

    /// The record in these bytes, if a look can tell.
    pub(crate) fn look<'a>(&'a mut self, text: &'a [u8]) -> Option<Flat<'a>> {
        if self.is_own || !is_plain(text) {
            return None;
        }
        self.read(text)?;
        let has = |name: &str| self.find(text, name).is_some();
        let is_own = has("category") || has("product");
        let is_windows = self.find(text, "Channel").is_some_and(|member| text[member.value.start] == b'"');
        let is_other_windows = has("event_data") || has("log_name");
        let is_respelled = is_windows && self.members.iter().any(|member| text[member.name.clone()].contains(&b' '));
        if is_other_windows || is_respelled || (is_own && self.named.is_none()) {
            return None;
        }
        if self.named.is_none() && is_windows {
            self.know_views(text)?;
        }
        let views = match &self.named {
            Some(named) => named,
            None if is_windows => self.views.get(&self.key)?,
            None => &[][..],
        };
        Some(Flat { looker: self, text, views, is_windows })
    }

    /// Finds the members of an object.
    fn read(&mut self, text: &[u8]) -> Option<()> {
        self.members.clear();
        self.record = self.record.checked_add(1)?;
        let mut cursor = Cursor { text, at: 0 };
        cursor.take(b'{')?;
        loop {
            cursor.take(b'"')?;
            let name = cursor.name()?;
            cursor.take(b':')?;
            let value = cursor.value()?;
            self.add(text, Member { name, value })?;
            match cursor.next()? {
                b',' => {}
                b'}' => break,
                _ => return None,
            }
        }
        cursor.next().is_none().then_some(())
    }

    /// None where the name was there already.
    fn add(&mut self, text: &[u8], member: Member) -> Option<()> {
        let slot = self.slot(text, &text[member.name.clone()])?;
        if self.table[slot].0 == self.record || self.members.len() >= MAX_MEMBERS {
            return None;
        }
        self.table[slot] = (self.record, self.members.len() as u16);
        self.members.push(member);
        Some(())
    }

    fn find(&self, text: &[u8], name: &str) -> Option<&Member> {
        let (record, member) = self.table[self.slot(text, name.as_bytes())?];
        if record == self.record { self.members.get(usize::from(member)) } else { None }
    }

    /// Where a name stands in the table, or would.
    fn slot(&self, text: &[u8], name: &[u8]) -> Option<usize> {
        let first = hash(name);
        let is_it = |slot: &usize| {
            let (record, member) = self.table[*slot];
            record != self.record
                || self.members.get(usize::from(member)).is_some_and(|member| text[member.name.clone()] == *name)
        };
        (0..SLOTS).map(|step| (first + step) % SLOTS).find(is_it)
    }

    /// Makes sure that the views of this event stand in `views` under `key`.
    fn know_views(&mut self, text: &[u8]) -> Option<()> {
        let mut key = std::mem::take(&mut self.key);
        key.clear();
        for name in OF_VIEWS {
            let value = self.find(text, name).map_or(&[][..], |member| &text[member.value.clone()]);
            key.extend_from_slice(value);
            key.push(0);
        }
        self.key = key;
        if self.views.contains_key(&self.key) {
            return Some(());
        }
        let mut fields = Map::new();
        for name in OF_VIEWS {
            if let Some(member) = self.find(text, name) {
                fields.insert(name.into(), serde_json::from_slice(&text[member.value.clone()]).ok()?);
            }
        }
        if self.views.len() >= MAX_KNOWN {
            self.views.clear();
        }
        self.views.insert(self.key.clone(), View::all_of_windows(&fields));
        Some(())
    }
}

/// Text without control characters.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |is_plain, byte| is_plain & (*byte >= b' ')) && std::str::from_utf8(text).is_ok()
}

/// A place for a name, from its length and both its ends.
fn hash(name: &[u8]) -> usize {
    let word = |bytes: &[u8]| bytes.iter().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
    let (head, tail) = (&name[..name.len().min(8)], &name[name.len().saturating_sub(8)..]);
    let mixed = (word(head) ^ word(tail).rotate_left(29) ^ name.len() as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 54) as usize % SLOTS
}

/// A place in a text.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    /// The next byte that is no blank. Other white space was ruled out.
    fn next(&mut self) -> Option<u8> {
        while self.text.get(self.at) == Some(&b' ') {
            self.at += 1;
        }
        let byte = self.text.get(self.at).copied();
        self.at += 1;
        byte
    }

    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    /// A name whose opening quote was read; none where it holds escapes.
    fn name(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let end = start + memchr2(b'"', b'\\', self.text.get(start..)?)?;
        self.at = end + 1;
        (self.text[end] == b'"').then_some(start..end)
    }

    fn value(&mut self) -> Option<Range<usize>> {
        let first = self.next()?;
        let start = self.at - 1;
        match first {
            b'"' => self.string()?,
            b'[' => {
                self.take(b'"')?;
                self.string()?;
                self.take(b']')?;
            }
            _ => self.word(start)?,
        }
        Some(start..self.at)
    }

    /// Passes over a number or name that begins at a place.
    fn word(&mut self, start: usize) -> Option<()> {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b' ');
        self.at = start + self.text[start..].iter().position(ends)?;
        let word = &self.text[start..self.at];
        (matches!(word, b"null" | b"true" | b"false") || is_whole_number(word)).then_some(())
    }

    /// Passes over a string whose opening quote was read, if a reader of JSON would.
    fn string(&mut self) -> Option<()> {
        loop {
            let at = self.at + memchr2(b'"', b'\\', self.text.get(self.at..)?)?;
            if self.text[at] == b'"' {
                self.at = at + 1;
                return Some(());
            }
            self.at = at + escape_length(&self.text[at..])?;
        }
    }
}

/// Length of an escape; none for half of a surrogate pair, which a look leaves to others.
fn escape_length(text: &[u8]) -> Option<usize> {
    match text.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => {
            let digits = text.get(2..6)?;
            (digits.iter().all(u8::is_ascii_hexdigit) && !digits[0].eq_ignore_ascii_case(&b'd')).then_some(6)
        }
        _ => None,
    }
}

/// A number that everybody reads alike: whole, and of 64 bits.
fn is_whole_number(word: &[u8]) -> bool {
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    let is_written_so = digits.iter().all(u8::is_ascii_digit) && (digits.first() != Some(&b'0') || word == b"0");
    // Eighteen digits always fit; longer ones are masks, such as the event log's keywords.
    is_written_so && !digits.is_empty() && (digits.len() <= 18 || fits_64_bits(word))
}

fn fits_64_bits(word: &[u8]) -> bool {
    std::str::from_utf8(word).is_ok_and(|word| word.parse::<i64>().is_ok() || word.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::record::Record;
    use crate::trouble::Troubles;
    use beffroi_engine::{Glance, RecordDetector, RecordView, RuleSet};
    use proptest::prelude::*;

    fn record(text: &str, options: &Options) -> (Option<Record>, Troubles) {
        let mut troubles = Troubles::default();
        (json::record(text.as_bytes(), 1, options, &mut troubles), troubles)
    }

    /// Views and time that a look finds, or none.
    fn looked(text: &str, options: &Options) -> Option<(Vec<View>, Option<i64>)> {
        let mut looker = Looker::new(options);
        let flat = looker.look(text.as_bytes())?;
        Some((flat.views().to_vec(), flat.time_us()))
    }

    #[test]
    fn what_a_look_takes_is_the_record_that_a_tree_would_be() {
        let options = Options::default();
        for text in [
            r#"{"Channel":"Security","EventID":4688,"Keywords":-9214364837600034816,"EventTime":"2021-11-18 07:40:29"}"#,
            r#"{ "Channel" : "Microsoft-Windows-Sysmon\/Operational" , "EventID":"13", "tags":["x"], "UtcTime":"no time","ts":5}"#,
            r#"{"a b":null,"b":true,"c":"\u00e9\\","timestamp":1637221229}"#,
        ] {
            let (record, troubles) = record(text, &options);
            let record = record.unwrap();
            assert!(troubles.counts.is_empty());
            assert_eq!(looked(text, &options), Some((record.views, record.time_us)), "{text}");
        }
    }

    #[test]
    fn what_is_not_plain_beyond_doubt_is_left_to_others() {
        for text in [
            "",
            "{}",
            "{",
            "1",
            r#"{"a":1"#,
            r#"{"a":1}x"#,
            r#"{"a":1,}"#,
            r#"{"a":01}"#,
            r#"{"a":-}"#,
            r#"{"a":-0}"#,
            r#"{"a":1.5}"#,
            r#"{"a":18446744073709551616}"#,
            r#"{"a":nul}"#,
            r#"{"a":{}}"#,
            r#"{"a":[]}"#,
            r#"{"a":["x","y"]}"#,
            r#"{"a":[1]}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a\n":1}"#,
            "{\"a\":\"\t\"}",
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"Channel":"Security","Threat Name":"x"}"#,
            r#"{"log_name":"Security","event_id":1}"#,
            r#"{"ts":1,"category":"file_event"}"#,
        ] {
            assert_eq!(looked(text, &Options::default()), None, "{text}");
        }
        let many: Vec<String> = (0..=MAX_MEMBERS).map(|at| format!("\"{at}\":1")).collect();
        assert_eq!(looked(&format!("{{{}}}", many.join(",")), &Options::default()), None);
        let mut looker = Looker::new(&Options::default());
        assert!(looker.look(b"{\"a\":\"\xff\"}").is_none());
        let own = Options { format: Some(Format::Events), ..Options::default() };
        assert_eq!(looked(r#"{"a":1}"#, &own), None);
    }

    const RULES: &str = "title: a\nid: a\nlogsource: {product: windows, category: process_creation}\ndetection: {s: {Image|endswith: x}, condition: s}\n---\n\
        title: b\nid: b\nlogsource: {product: windows}\ndetection: {s: ['yy'], condition: s}\n---\n\
        title: c\nid: c\nlogsource: {product: windows, service: security}\ndetection: {s: {Provider_Name: x}, n: {Computer: null}, condition: s and n}\n---\n\
        title: d\nid: d\nlogsource: {product: windows, service: sysmon}\ndetection: {s: {Keywords: -9214364837600034816}, n: {Image|exists: true}, condition: s and not n}\n";

    proptest! {
        #[test]
        fn a_look_never_says_no_where_judging_says_yes(
            members in proptest::collection::vec((
                prop::sample::select(vec!["Channel", "EventID", "Image", "NewProcessName", "SourceName", "Provider_Name", "Hostname",
                    "Computer", "Keywords", "other", "ts", "category", "a b", "log_name"]),
                prop::sample::select(vec!["\"Security\"", "\"microsoft-windows-sysmon\\/operational\"", "4688", "1", "\"4688\"", "\"x\"",
                    "\"C:\\\\x\"", "\"yy\"", "\"\\u0079y\"", "null", "true", "-9214364837600034816", "1.5", "[\"x\"]", "[\"x\",\"yy\"]",
                    "{\"x\":\"yy\"}", "\"\\ud800\"", "rubbish", "\"2021-11-18 07:40:29\""]),
            ), 0..9),
        ) {
            let (set, _) = RuleSet::from_texts([("r.yml", RULES)]);
            let detector = RecordDetector::compile(&set).unwrap();
            let text = format!("{{{}}}", members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect::<Vec<_>>().join(","));
            let options = Options::default();
            let mut looker = Looker::new(&options);
            if let Some(flat) = looker.look(text.as_bytes()) {
                let views: Vec<RecordView<'_>> = flat.views().iter().map(View::as_engine).collect();
                let told = detector.judge().glance(flat.text(), &views);
                let record = record(&text, &options).0.expect("a record");
                let fields = record.to_json();
                let views: Vec<RecordView<'_>> = record.views.iter().map(View::as_engine).collect();
                let judged = detector.judge().matches(fields.as_object().unwrap(), &views);
                let wanted = match &judged {
                    None => Glance::NoRule,
                    Some(matches) if matches.is_empty() => Glance::NoMatch,
                    Some(_) => Glance::Perhaps,
                };
                prop_assert_eq!(told, wanted, "{}", text);
            }
        }
    }
}
