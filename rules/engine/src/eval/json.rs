//! Flat JSON text as a frame, without a tree in between: values that no rule reads are passed over, the others are
//! borrowed from the text as they stand there; escapes are undone by whoever looks at them.
//!
//! Read like [`super::fill_from_json`] reads a parsed object: each member is a field, a list its several values, objects
//! are no values. A member that stands twice keeps its first value as the field; the other is found only by searches
//! that name no field. Bytes that are no UTF-8 and raw control characters are taken as they are.
//!
//! Where keywords are searched for in every value, that is done here, so that values which no rule names need not be
//! kept; and of members that stand as they last did ([`Recall`]) it is known.

use super::frame::Frame;
use super::members::{Known, Reading, Search};
use super::names::{FieldId, Names};
use super::reader::{Reader, TextError};
use super::recall::Recall;
use super::wanted::Wanted;

/// Fills a frame from the text of one object. Values that are not wanted are left out.
///
/// # Errors
/// [`TextError`] where the text is no JSON object; the frame then holds what stood before.
pub fn fill_from_text<'a>(frame: &mut Frame<'a>, names: &Names, wanted: &Wanted, text: &'a [u8]) -> Result<(), TextError> {
    // Whoever walked the text just before, as files are looked at, loses 60 instructions by this; to others it comes from far.
    beffroi_simd::fetch(text);
    let mut recall = frame.recall.take().unwrap_or_default();
    recall.begin(names);
    let filled = fill_with(&mut recall, frame, names, wanted, text);
    frame.recall = Some(recall);
    filled
}

fn fill_with<'a>(
    recall: &mut Recall,
    frame: &mut Frame<'a>,
    names: &Names,
    wanted: &Wanted,
    text: &'a [u8],
) -> Result<(), TextError> {
    let keywords = wanted.keywords.as_ref().filter(|_| wanted.everything);
    if let Some(keywords) = keywords {
        let number = recall.number(keywords);
        let mut search = Search { keywords: Some((keywords, number)), is_found: false };
        let is_odd = fill(recall, frame, names, |field| wanted.wants_itself(field), &mut search, text)?;
        // Long escapes can hide a keyword.
        if !is_odd && !search.is_found {
            frame.has_no_keywords(true);
            return Ok(());
        }
        frame.clear();
    }
    let mut search = Search { keywords: None, is_found: false };
    fill(recall, frame, names, |field| wanted.wants(field), &mut search, text).map(drop)
}

/// Fills a frame with what is wanted; whether values have escapes that are longer than a letter.
#[inline(always)]
fn fill<'a>(
    recall: &mut Recall,
    frame: &mut Frame<'a>,
    names: &Names,
    wants: impl Fn(Option<FieldId>) -> bool,
    search: &mut Search<'_>,
    text: &'a [u8],
) -> Result<bool, TextError> {
    let mut reader = Reader::new(text);
    reader.expect(b'{', "it does not begin with a brace")?;
    if reader.peek() == Some(b'}') {
        reader.at += 1;
        return end(reader);
    }
    let mut last = Recall::BEFORE_ALL;
    loop {
        let mut known = Known { recall, frame, search, wants: &wants };
        let reached = known.members(text, last, reader.at);
        reader.at = reached.at;
        if reached.is_end {
            return end(reader);
        }
        let mut reading = Reading { reader: &mut reader, recall, frame, names, search };
        match reading.member(reached.last, reached.is_named, &wants)? {
            Some(place) => last = place,
            None => return end(reader),
        }
    }
}

/// Nothing may follow; whether there were odd escapes.
fn end(mut reader: Reader<'_>) -> Result<bool, TextError> {
    if reader.peek().is_none() { Ok(reader.is_odd) } else { reader.wrong("something follows the object") }
}

#[cfg(test)]
mod tests {
    use super::super::frame::Datum;
    use super::super::subject::fill_from_json;
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value as Json};

    const NAMES: [&str; 3] = ["a", "b c", "\u{e9}"];

    fn names() -> Names {
        let mut names = Names::default();
        NAMES.iter().for_each(|name| _ = names.intern(name));
        names
    }

    fn everything() -> Wanted {
        Wanted { everything: true, ..Wanted::default() }
    }

    /// What a frame holds, by field, and all of its texts.
    type Held = (Vec<Vec<String>>, Vec<String>);

    fn held(frame: &Frame<'_>, names: &Names) -> Held {
        let show = |datum: &Datum<'_>| match datum {
            text if text.is_text() => format!("text {:?}", text.text()),
            other => format!("{other:?}"),
        };
        let values = |name: &&str| frame.values(names.find(name).unwrap()).iter().map(show).collect();
        (NAMES.iter().map(values).collect(), frame.texts().map(|datum| show(&datum)).collect())
    }

    fn read(text: &str, wanted: &Wanted) -> Result<Held, TextError> {
        read_after(&[], text.as_bytes(), wanted)
    }

    /// What is read of a text by a frame that read others before.
    fn read_after(before: &[&[u8]], text: &[u8], wanted: &Wanted) -> Result<Held, TextError> {
        let names = names();
        let mut kept: Frame<'static> = Frame::new(&names);
        for text in before {
            let mut frame = kept.recycle_for(&names);
            let _some_are_refused = fill_from_text(&mut frame, &names, wanted, text);
            kept = frame.recycle();
        }
        let mut frame = kept.recycle();
        fill_from_text(&mut frame, &names, wanted, text)?;
        Ok(held(&frame, &names))
    }

    fn parsed(text: &str) -> Option<Held> {
        let names = names();
        let object: Map<String, Json> = serde_json::from_str(text).ok()?;
        let mut frame = Frame::new(&names);
        fill_from_json(&mut frame, &names, &object);
        Some(held(&frame, &names))
    }

    #[test]
    fn a_text_is_read_as_a_parsed_object_is() {
        for text in [
            r#"{}"#,
            r#" { "a" : "C:\\Windows\\x\n\u00e9\ud83d\ude00\/" , "b c":[1,-2,"x",null,true,[9],{"z":1}], "other":{"a":["]}"]} } "#,
            r#"{"é":1.5e3,"a":18446744073709551615,"b c":-0}"#,
            r#"{"a":9223372036854775808,"b c":123456789012345678901234567890,"\u00e9":0}"#,
        ] {
            assert_eq!(read(text, &everything()).ok(), parsed(text), "{text}");
        }
    }

    #[test]
    fn what_no_rule_reads_is_left_out() {
        let names = names();
        let mut wanted = Wanted::default();
        wanted.also(names.find("a").unwrap());
        let (fields, texts) = read(r#"{"b c":"x","a":"y","z":{"q":"\"}"},"é":[1,{}]}"#, &wanted).unwrap();
        assert_eq!(fields, [vec![r#"text "y""#.to_string()], vec![], vec![]]);
        assert_eq!(texts.len(), 1);
    }

    #[test]
    fn what_is_no_object_is_refused() {
        // An escape inside of a value that nobody reads is not looked at.
        assert!(read(r#"{"a":"\x"}"#, &everything()).is_err() && read(r#"{"a":"\x"}"#, &Wanted::default()).is_ok());
        for text in ["", "1", "[]", "{", r#"{"a"}"#, r#"{"a":}"#, r#"{"a":1"#, r#"{"a":01}"#, r#"{"a":"x}"#] {
            assert!(read(text, &everything()).is_err(), "{text}");
            assert!(read(text, &Wanted::default()).is_err(), "{text}");
        }
        assert!(read("{} x", &everything()).is_err() && read(r#"{"a":1}}"#, &everything()).is_err());
        assert!(read(r#"{"a":[1,]}"#, &everything()).is_err());
        let deep = format!(r#"{{"z":{}1{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(read(&deep, &Wanted::default()).is_ok());
    }

    #[test]
    fn half_of_a_pair_is_replaced_and_a_second_member_is_no_field() {
        let (fields, texts) = read(r#"{"a":"\ud800x","a":"second"}"#, &everything()).unwrap();
        assert_eq!(fields[0], ["text \"\u{fffd}x\""]);
        assert_eq!(texts.len(), 2);
    }

    #[test]
    fn a_text_that_differs_in_one_byte_from_the_one_before_is_read_as_if_it_were_the_first() {
        let text =
            r#"{"a":"C:\\x","b c" : 12345 ,"other":[1,"a"],"é":"a longer one, of more than thirty-two bytes", "z":"","a":null}"#;
        let (once, twice) = ([text.as_bytes()], [text.as_bytes(), text.as_bytes()]);
        let mut seen = std::collections::BTreeSet::new();
        for wanted in [everything(), Wanted::default()] {
            for (at, byte) in (0..text.len()).flat_map(|at| b"\",:}\\ 0]\0n".iter().map(move |byte| (at, *byte))) {
                let mut changed = text.as_bytes().to_vec();
                changed[at] = byte;
                let (cut, without) = (text.as_bytes()[..at].to_vec(), [&changed[..at], &text.as_bytes()[at + 1..]].concat());
                for changed in [changed, cut, without] {
                    let fresh = read_after(&[], &changed, &wanted);
                    seen.insert(fresh.is_ok());
                    assert_eq!(read_after(&once, &changed, &wanted), fresh, "{}", String::from_utf8_lossy(&changed));
                    assert_eq!(read_after(&twice, &changed, &wanted), fresh, "{}", String::from_utf8_lossy(&changed));
                }
            }
        }
        assert_eq!(seen.len(), 2, "some are refused, some are not");
    }

    #[test]
    fn numbers_of_fields_are_those_of_the_names_that_a_text_is_read_with() {
        let (names, mut others) = (names(), Names::default());
        ["z", "b c", "a"].iter().for_each(|name| _ = others.intern(name));
        let text = br#"{"a":"x","b c":"y"}"#;
        let mut frame = Frame::new(&names);
        for names in [&names, &others, &names, &others] {
            fill_from_text(&mut frame, names, &everything(), text).unwrap();
            assert_eq!(frame.values(names.find("a").unwrap()), [Datum::Text(b"x")]);
            frame = frame.recycle_for(names);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn what_was_read_before_changes_nothing(
            texts in proptest::collection::vec(proptest::collection::vec(("[ab]|b c", prop_oneof![
                Just("1"), Just("12"), Just("\"\""), Just("\"x\""), Just("\"x\\\\\""), Just("\"\\u00e9\""), Just("[\"x\",2]"),
                Just("{\"a\":1}"), Just("null"), Just("\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""), Just("-1.5"),
            ]), 0..5), 2..6),
            separator in prop_oneof![Just(","), Just(", "), Just(" ,\n")],
        ) {
            let text = |members: &Vec<(String, &str)>| {
                let members: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(separator))
            };
            let texts: Vec<String> = texts.iter().map(text).collect();
            let bytes: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            for wanted in [everything(), Wanted::default()] {
                for (number, text) in bytes.iter().enumerate() {
                    prop_assert_eq!(read_after(&bytes[..number], text, &wanted), read_after(&[], text, &wanted), "{:?}", texts);
                }
            }
        }

        #[test]
        fn any_object_is_read_as_it_was_written(members in proptest::collection::btree_map("[ab c\u{e9}]{1,3}", value(), 0..6)) {
            let text = Json::Object(members.into_iter().collect()).to_string();
            prop_assert_eq!(read(&text, &everything()).ok(), parsed(&text));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(prop_oneof![Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'),
            Just(b'['), Just(b']'), Just(b','), Just(b':'), Just(b'u'), Just(b'd'), Just(b'8'), Just(b'a'), any::<u8>()], 0..60)) {
            let names = names();
            for wanted in [everything(), Wanted::default()] {
                let _refused = fill_from_text(&mut Frame::new(&names), &names, &wanted, &bytes);
                let text = [b"{\"a\":".to_vec(), bytes.clone(), b"}".to_vec()].concat();
                let _refused = fill_from_text(&mut Frame::new(&names), &names, &wanted, &text);
            }
        }
    }

    fn value() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            (-1.0e9..1.0e9).prop_map(Json::from),
            "[a-z\\\\\"/\n\t\u{1}\u{e9}\u{1f600} ]{0,12}".prop_map(Json::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                proptest::collection::btree_map("[ab]{1,2}", inner, 0..3).prop_map(|map| Json::Object(map.into_iter().collect())),
            ]
        })
    }
}
