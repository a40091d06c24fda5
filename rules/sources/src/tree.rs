//! Trees of the event log as text, taken apart where they stand: the members that the flat event has, as
//! [`beffroi_engine::windows::flatten`] makes it. A tree that is not plain beyond doubt is left to that.

use std::ops::Range;

use beffroi_engine::eval::Reader;

use crate::json::TIMES;
use crate::plain::{Scalar, members, pass, put, scalar};

/// Names of the System block that become fields, the first of them whatever the data say.
const FROM_SYSTEM: [&str; 9] =
    ["EventID", "Channel", "Computer", "Level", "Task", "Opcode", "Keywords", "EventRecordID", "Version"];
/// How many of [`FROM_SYSTEM`] always come from the System block.
const ALWAYS_FROM_SYSTEM: usize = 3;
/// Elements of the System block of which an attribute becomes a field: element, attribute, field.
const FROM_ATTRIBUTES: [(&str, &str, &str); 2] = [("Provider", "Name", "Provider_Name"), ("Security", "UserID", "UserID")];
/// Names beside the blocks that make another record of it.
const OF_OTHERS: [&str; 2] = ["category", "product"];

/// A tree that was taken apart, by places in its text.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    /// Members of EventData and UserData.
    data: Vec<(Range<usize>, Scalar)>,
    /// By place in [`FROM_SYSTEM`].
    system: [Option<Scalar>; FROM_SYSTEM.len()],
    /// By place in [`FROM_ATTRIBUTES`].
    attributes: [Option<Scalar>; FROM_ATTRIBUTES.len()],
    /// Its time, as it stands there.
    pub(crate) created: Option<Range<usize>>,
    /// Which blocks were met: a second one of a name is left to others.
    met: [Option<()>; Block::COUNT],
}

/// What stands once in a tree.
#[derive(Clone, Copy)]
enum Block {
    Event,
    System,
    Data,
    User,
    UserElement,
}

impl Block {
    const COUNT: usize = 5;
}

impl Tree {
    /// Takes a text apart; none where it is no tree, or not a plain one.
    pub(crate) fn read(&mut self, text: &[u8]) -> Option<()> {
        let data = std::mem::take(&mut self.data);
        *self = Self { data, ..Self::default() };
        self.data.clear();
        let (mut reader, mut has_top) = (Reader::new(text), false);
        members(&mut reader, |reader, name| {
            if &text[name.clone()] == b"Event" {
                self.meet(Block::Event)?;
                return members(reader, |reader, name| self.block(text, reader, &text[name]));
            }
            has_top |= [&b"System"[..], b"EventData", b"UserData"].contains(&&text[name.clone()]);
            self.block(text, reader, &text[name])
        })?;
        let is_wrapped = self.met[Block::Event as usize].is_some();
        let is_tree = self.met[Block::System as usize].is_some() && !(is_wrapped && has_top);
        (is_tree && reader.peek().is_none()).then_some(())
    }

    fn meet(&mut self, block: Block) -> Option<()> {
        put(&mut self.met[block as usize], ())
    }

    /// What stands in the event.
    fn block(&mut self, text: &[u8], reader: &mut Reader<'_>, name: &[u8]) -> Option<()> {
        let is_object = reader.peek()? == b'{';
        match name {
            b"System" => {
                self.meet(Block::System)?;
                members(reader, |reader, name| self.of_system(text, reader, &text[name]))
            }
            b"EventData" => {
                self.meet(Block::Data)?;
                if is_object { self.take_data(text, reader) } else { pass(reader).map(drop) }
            }
            b"UserData" => {
                self.meet(Block::User)?;
                if is_object { members(reader, |reader, _| self.of_user(text, reader)) } else { pass(reader).map(drop) }
            }
            _ if TIMES.iter().chain(&OF_OTHERS).any(|other| other.as_bytes() == name) => None,
            _ => pass(reader).map(drop),
        }
    }

    /// An element of UserData.
    fn of_user(&mut self, text: &[u8], reader: &mut Reader<'_>) -> Option<()> {
        if reader.peek()? != b'{' {
            return pass(reader).map(drop);
        }
        self.meet(Block::UserElement)?;
        self.take_data(text, reader)
    }

    fn take_data(&mut self, text: &[u8], reader: &mut Reader<'_>) -> Option<()> {
        members(reader, |reader, name| {
            if &text[name.clone()] == b"#attributes" {
                return pass(reader).map(drop);
            }
            self.data.push((name, scalar(text, reader)?));
            Some(())
        })
    }

    fn of_system(&mut self, text: &[u8], reader: &mut Reader<'_>, name: &[u8]) -> Option<()> {
        if let Some(at) = FROM_SYSTEM.iter().position(|known| known.as_bytes() == name) {
            return put(&mut self.system[at], scalar(text, reader)?);
        }
        if let Some(at) = FROM_ATTRIBUTES.iter().position(|(element, ..)| element.as_bytes() == name) {
            return put(&mut self.attributes[at], attribute(text, reader, FROM_ATTRIBUTES[at].1)?);
        }
        let at = pass(reader)?;
        if name == b"TimeCreated" { put(&mut self.created, at) } else { Some(()) }
    }

    /// Gives the name and value of each member of the flat event. A name that comes twice was twice in the text.
    pub(crate) fn each(&self, text: &[u8], mut give: impl FnMut(&[u8], &Scalar) -> Option<()>) -> Option<()> {
        let has = |name: &[u8]| self.data.iter().any(|(at, value)| text[at.clone()] == *name && *value != Scalar::Nothing);
        for (name, value) in &self.data {
            let name = &text[name.clone()];
            match value {
                // What says nothing is not there, unless it hides one of the same name or is hidden by it.
                Scalar::Nothing if has(name) => return None,
                Scalar::Nothing => continue,
                value => give(name, value)?,
            }
            if name.contains(&b' ') {
                let spaceless: Vec<u8> = name.iter().copied().filter(|byte| *byte != b' ').collect();
                give(&spaceless, value)?;
            }
        }
        let system = FROM_SYSTEM.iter().zip(&self.system).enumerate();
        let system = system.map(|(at, (name, value))| (*name, value, at < ALWAYS_FROM_SYSTEM));
        let attributes = FROM_ATTRIBUTES.iter().zip(&self.attributes).map(|((.., name), value)| (*name, value, false));
        for (name, value, is_sure) in system.chain(attributes) {
            match value {
                Some(value) if *value != Scalar::Nothing && (is_sure || !has(name.as_bytes())) => give(name.as_bytes(), value)?,
                _ => {}
            }
        }
        Some(())
    }
}

/// An attribute of the element that begins here.
fn attribute(text: &[u8], reader: &mut Reader<'_>, wanted: &str) -> Option<Scalar> {
    if reader.peek()? != b'{' {
        return pass(reader).map(|_| Scalar::Nothing);
    }
    let (mut found, mut is_met) = (None, None);
    members(reader, |reader, name| {
        if &text[name] != b"#attributes" {
            return pass(reader).map(drop);
        }
        put(&mut is_met, ())?;
        if reader.peek()? != b'{' {
            return pass(reader).map(drop);
        }
        members(reader, |reader, name| {
            if &text[name] == wanted.as_bytes() { put(&mut found, scalar(text, reader)?) } else { pass(reader).map(drop) }
        })
    })?;
    Some(found.unwrap_or(Scalar::Nothing))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::strategy::ValueTree;
    use serde_json::{Map, Value as Json};

    use crate::flat::Looker;
    use crate::json;
    use crate::parse::Options;
    use crate::record::View;
    use crate::trouble::Troubles;

    /// What rules see of a record, under which views, and when it was.
    type Seen = (Map<String, Json>, Vec<View>, Option<i64>);

    fn looked(text: &str) -> Option<Seen> {
        let mut looker = Looker::new(&Options::default());
        let flat = looker.look(text.as_bytes())?;
        Some((serde_json::from_slice(flat.text().text).unwrap(), flat.views().to_vec(), flat.time_us()))
    }

    fn read(text: &str) -> Option<Seen> {
        let mut troubles = Troubles::default();
        let record = json::record(text.as_bytes(), 1, &Options::default(), &mut troubles)?;
        assert!(troubles.counts.is_empty() && record.own().is_none(), "{text}");
        let Json::Object(fields) = record.to_json() else { panic!("{text}") };
        Some((fields, record.views, record.time_us))
    }

    const SYSTEM: &str = r##""Provider":{"#attributes":{"Name":"P","Guid":"{0}"}},"EventID":{"#text":4688,"#attributes":{"Qualifiers":""}},
        "Level":4,"Keywords":"0x8020","TimeCreated":{"#attributes":{"SystemTime":"2021-11-18T07:40:29.566033Z"}},"EventRecordID":7,
        "Execution":{"#attributes":{"ProcessID":4,"ThreadID":8}},"Channel":"Security","Computer":"pc","Security":null"##;

    #[test]
    fn a_tree_is_written_as_it_is_made_flat() {
        for (event, data) in [
            (r#""EventData":{"NewProcessName":"C:\\x.exe","Level":"own","Null":null,"Threat Name":"T\u00e9"}"#, "ThreatName"),
            (r##""EventData":{"Data":[{"#attributes":{"Name":"a"},"#text":"x"},{"#attributes":{}},null,5,"y\n"]}"##, "Data"),
            (r##""UserData":{"Log":{"#attributes":{"xmlns":"x"},"File":{"#text":"f"},"Empty":{}}},"EventData":null"##, "File"),
            (r#""EventData":{"Many":["a","b"],"None":[]},"RenderingInfo":{"Message":["m",{"a":[1]}]}"#, "Many"),
        ] {
            for text in [
                format!(r#"{{"Event":{{"System":{{{SYSTEM}}},{event}}},"more":[1]}}"#),
                format!(r#"{{{event},"System":{{{SYSTEM}}}}}"#),
            ] {
                let text = text.replace('\n', "");
                let seen = looked(&text).expect(&text);
                assert_eq!((seen.2, seen.0.contains_key(data)), (Some(1_637_221_229_566_033), true), "{seen:?}");
                assert_eq!(Some(seen), read(&text), "{text}");
            }
        }
    }

    #[test]
    fn a_tree_that_could_be_read_otherwise_is_left_to_others() {
        for text in [
            r#"{"Event":{"EventData":{"a":1}}}"#,
            r#"{"Event":{"System":"x","EventData":{"a":1}}}"#,
            r#"{"Event":{"System":{"EventID":1}},"Event":"x"}"#,
            r#"{"Event":{"System":{"EventID":1}},"System":{"EventID":2}}"#,
            r#"{"Event":{"System":{"EventID":1},"System":{"EventID":2}}}"#,
            r#"{"Event":{"System":{"EventID":1,"EventID":2}}}"#,
            r#"{"Event":{"System":{"EventID":1},"EventData":{"EventID":2}}}"#,
            r#"{"Event":{"System":{"EventID":1},"EventData":{"a":1,"a":2}}}"#,
            r#"{"Event":{"System":{"EventID":1},"EventData":{"a":1,"a":{}}}}"#,
            r#"{"Event":{"System":{"EventID":1},"EventData":{"a b":1,"ab":2}}}"#,
            r#"{"Event":{"System":{"EventID":1},"EventData":{"a":1},"EventData":null}}"#,
            r#"{"Event":{"System":{"EventID":1},"UserData":{"a":{"x":1}},"UserData":null}}"#,
            r#"{"Event":{"System":{"EventID":1},"UserData":{"a":{"x":1},"b":{"y":1}}}}"#,
            r##"{"Event":{"System":{"EventID":{"#text":1,"#text":2}}}}"##,
            r#"{"Event":{"System":{"EventID":1},"EventData":{"a":1.5}}}"#,
            r#"{"Event":{"System":{"EventID":1},"EventData":{"a":[["x"]]}}}"#,
            r#"{"Event":{"System":{"EventID":1},"EventData":{"\u0061":1}}}"#,
            r#"{"Event":{"System":{"EventID":1},"EventTime":"2021-11-18 07:40:29"}}"#,
            r#"{"System":{"EventID":1},"category":"process_creation","product":"linux"}"#,
            r#"{"Event":{"System":{"EventID":1}}}x"#,
            r#"{"Event":{"System":{}}}"#,
        ] {
            assert_eq!(looked(text), None, "{text}");
        }
        let deep = format!(r#"{{"Event":{{"System":{{"EventID":1,"x":{}1{}}}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(looked(&deep), None);
    }

    fn object(names: &'static [&'static str], value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
        let member = (select(names), value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
        proptest::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    fn value() -> impl Strategy<Value = String> {
        let plain = select(&["1", "\"x\"", "null", "true", "-7", "\"\\\\\\u00e9\"", "\"\"", "18446744073709551615"][..]);
        let odd = select(&["1.5", "\"\\ud800\"", "[[1]]", "{}", "[]", "-0"][..]);
        let leaf = prop_oneof![12 => plain, 1 => odd].prop_map(str::to_string);
        leaf.prop_recursive(2, 8, 3, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..3).prop_map(|list| format!("[{}]", list.join(",")));
            prop_oneof![2 => list, 3 => object(&["#text", "#attributes", "Name", "UserID", "SystemTime", "x"], inner)]
        })
    }

    fn tree() -> impl Strategy<Value = String> {
        const OF_SYSTEM: &[&str] = &[
            "EventID",
            "Channel",
            "Computer",
            "Level",
            "Version",
            "Provider",
            "Security",
            "TimeCreated",
            "Execution",
            "Keywords",
        ];
        let known = [
            "\"Security\"",
            "\"Microsoft-Windows-Sysmon/Operational\"",
            "4688",
            "{\"#attributes\":{\"SystemTime\":\"2021-11-18T07:40:29Z\",\"Name\":\"P\",\"UserID\":\"S-1\"}}",
            "\"2021-11-18T07:40:29Z\"",
        ];
        let of_system = prop_oneof![select(known.to_vec()).prop_map(str::to_string), value()];
        let data = || object(&["Image", "a b", "ab", "Level", "EventID", "#attributes", "Provider_Name", "Key words"], value());
        let blocks = (object(OF_SYSTEM, of_system), data(), object(&["Log", "#attributes"], data()), value(), 0..64_u8);
        blocks.prop_map(|(system, data, user, other, which)| {
            let all = [
                Some(format!("\"System\":{system}")),
                (which & 1 == 0).then(|| format!("\"EventData\":{data}")),
                (which & 2 == 0).then(|| format!("\"UserData\":{user}")),
                (which & 12 == 0).then(|| format!("\"Other\":{other}")),
                (which & 60 == 4).then(|| "\"EventTime\":\"2021-11-18 07:40:29\"".to_string()),
            ];
            let event = all.into_iter().flatten().collect::<Vec<_>>().join(",");
            if which & 32 == 0 { format!("{{\"Event\":{{{event}}}}}") } else { format!("{{{event}}}") }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn what_a_look_takes_of_a_tree_is_the_record_that_it_is(text in tree()) {
            if let Some(seen) = looked(&text) {
                prop_assert_eq!(Some(seen), read(&text), "{}", text);
            }
        }
    }

    #[test]
    fn many_trees_of_the_property_are_taken() {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let taken = (0..1_000).filter(|_| looked(&tree().new_tree(&mut runner).unwrap().current()).is_some()).count();
        assert!(taken > 100, "{taken}");
    }
}
