//! JSON objects known by a look at their text: nearly all records match no rule, so a tree that is thrown away at once is
//! most of what reading them would cost. Flat ones are taken as they stand there; trees of the event log are written flat.
//!
//! A look takes only what is plain beyond doubt: valid text, every name once, every value of a flat record a text, a list of
//! one text, a whole number, a truth or null. Of everything else it says nothing, and the record is read as a tree. What it
//! takes is seen by rules exactly as [`crate::json`] would read it.

use std::collections::HashMap;
use std::ops::Range;

use beffroi_engine::eval::Reader;
use beffroi_engine::{FlatText, windows};
use beffroi_schema::json::parse_time;
use serde_json::{Map, Value as Json};

use crate::format::Format;
use crate::json::{TIMES, created_us};
use crate::members::{Member, Members};
use crate::parse::Options;
use crate::plain::{Scalar, elements, join, members, one};
use crate::record::View;
use crate::tree::Tree;

/// Views that are remembered by what they depend on. Files have some dozens; a hostile one begins anew.
const MAX_KNOWN: usize = 1_024;
/// What the views of a Windows event depend on.
const OF_VIEWS: [&str; 3] = ["Channel", "EventID", "EventType"];

/// Looks at the records of one block.
pub(crate) struct Looker {
    members: Members,
    tree: Tree,
    /// The tree in hand, written flat.
    written: Vec<u8>,
    views: HashMap<Vec<u8>, Vec<View>>,
    key: Vec<u8>,
    named: Option<Vec<View>>,
    is_own: bool,
}

/// A record that was looked at, flat.
pub struct Flat<'a> {
    members: &'a Members,
    text: &'a [u8],
    views: &'a [View],
    form: Form<'a>,
}

/// How a record was written before it was flat.
#[derive(Clone, Copy)]
enum Form<'a> {
    /// As it is.
    Flat { is_windows: bool },
    /// As a tree of the event log; what it says of its time.
    Tree(Option<&'a [u8]>),
}

impl Flat<'_> {
    /// Under which logsources rules may see it.
    pub fn views(&self) -> &[View] {
        self.views
    }

    /// As the engine takes it.
    pub fn text(&self) -> FlatText<'_> {
        let is_forwarded = matches!(self.form, Form::Flat { is_windows: true });
        FlatText { text: self.text, renamed: if is_forwarded { &windows::OF_FORWARDERS } else { &[] } }
    }

    /// When it happened, microseconds since 1970, where it says so.
    pub fn time_us(&self) -> Option<i64> {
        let read = |value: &[u8]| serde_json::from_slice::<Json>(value).ok();
        match self.form {
            Form::Tree(created) => created_us(&read(created?)?),
            Form::Flat { .. } => {
                let values = TIMES.iter().filter_map(|name| read(self.members.value(self.text, name)?));
                values.filter_map(|value| parse_time(&value)).next()
            }
        }
    }
}

impl Looker {
    pub(crate) fn new(options: &Options) -> Self {
        Self {
            members: Members::new(),
            tree: Tree::default(),
            written: Vec::new(),
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
        if self.read(text).is_some() { self.look_at_flat(text) } else { self.look_at_tree(text) }
    }

    fn look_at_flat<'a>(&'a mut self, text: &'a [u8]) -> Option<Flat<'a>> {
        let value = |name: &str| self.members.value(text, name);
        let is_own = value("category").or(value("product")).is_some();
        let is_windows = value("Channel").is_some_and(|value| value[0] == b'"');
        let is_other_windows = value("event_data").or(value("log_name")).is_some();
        let is_respelled = is_windows && self.members.list().iter().any(|member| text[member.name.clone()].contains(&b' '));
        if is_other_windows || is_respelled || (is_own && self.named.is_none()) {
            return None;
        }
        if is_windows {
            self.know_views(text)?;
        }
        let views = if is_windows || self.named.is_some() { self.known_views()? } else { &[] };
        Some(Flat { members: &self.members, text, views, form: Form::Flat { is_windows } })
    }

    fn look_at_tree<'a>(&'a mut self, text: &'a [u8]) -> Option<Flat<'a>> {
        let mut written = std::mem::take(&mut self.written);
        let known = self.write_flat(text, &mut written).and_then(|()| self.know_views(&written));
        self.written = written;
        known?;
        let created = self.tree.created.clone().map(|at| &text[at]);
        Some(Flat { members: &self.members, text: &self.written, views: self.known_views()?, form: Form::Tree(created) })
    }

    /// Writes a tree as a flat object, and finds the members of that.
    fn write_flat(&mut self, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let Self { tree, members, .. } = self;
        tree.read(text)?;
        members.begin()?;
        out.clear();
        tree.each(text, |name, value| {
            out.extend_from_slice(if out.is_empty() { b"{\"" } else { b",\"" });
            let start = out.len();
            out.extend_from_slice(name);
            let name = start..out.len();
            out.extend_from_slice(b"\":");
            let start = out.len();
            match value {
                Scalar::One(at) => out.extend_from_slice(&text[at.clone()]),
                Scalar::List(at) => join(text, at.clone(), out)?,
                Scalar::Nothing => return None,
            }
            members.add(out, Member { name, value: start..out.len() })
        })?;
        out.push(b'}');
        (!members.list().is_empty()).then_some(())
    }

    /// Finds the members of an object.
    fn read(&mut self, text: &[u8]) -> Option<()> {
        let found = &mut self.members;
        found.begin()?;
        let mut reader = Reader::new(text);
        members(&mut reader, |reader, name| found.add(text, Member { name, value: value(reader)? }))?;
        (reader.peek().is_none() && !found.list().is_empty()).then_some(())
    }

    fn known_views(&self) -> Option<&[View]> {
        self.named.as_ref().or_else(|| self.views.get(&self.key)).map(Vec::as_slice)
    }

    /// Makes sure that the views of this event of Windows stand in `views` under `key`, where they are not named.
    fn know_views(&mut self, text: &[u8]) -> Option<()> {
        if self.named.is_some() {
            return Some(());
        }
        self.key.clear();
        for name in OF_VIEWS {
            self.key.extend_from_slice(self.members.value(text, name).unwrap_or_default());
            self.key.push(0);
        }
        if self.views.contains_key(&self.key) {
            return Some(());
        }
        let mut fields = Map::new();
        for name in OF_VIEWS {
            if let Some(value) = self.members.value(text, name) {
                fields.insert(name.into(), serde_json::from_slice(value).ok()?);
            }
        }
        if self.views.len() >= MAX_KNOWN {
            self.views.clear();
        }
        self.views.insert(self.key.clone(), View::all_of_windows(&fields));
        Some(())
    }
}

/// The value of a member of a flat object; none where it is not plain.
fn value(reader: &mut Reader<'_>) -> Option<Range<usize>> {
    if reader.peek()? != b'[' {
        return one(reader);
    }
    let (start, mut texts) = (reader.at(), 0);
    elements(reader, |reader| {
        texts += 1;
        (reader.peek()? == b'"').then_some(())?;
        one(reader).map(drop)
    })?;
    (texts == 1).then(|| start..reader.at())
}

/// Text without control characters.
fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |is_plain, byte| is_plain & (*byte >= b' ')) && std::str::from_utf8(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;
    use crate::members::MAX_MEMBERS;
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
