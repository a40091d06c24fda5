//! Flat JSON text as a frame, without a tree in between: values that no rule reads are passed over, the others are
//! borrowed from the text as they stand there; escapes are undone by whoever looks at them.
//!
//! Read like [`super::fill_from_json`] reads a parsed object: each member is a field, a list its several values, objects
//! are no values. A member that stands twice keeps its first value as the field; the other is found only by searches
//! that name no field. Bytes that are no UTF-8 and raw control characters are taken as they are. Depth is counted, not
//! recursed.

use super::escape::unescaped;
use super::frame::{Datum, Frame};
use super::names::{FieldId, Names};
use super::quotes::{Kind, Quotes};
use super::wanted::Wanted;

/// A text is no JSON object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a JSON object: {what}, {left} bytes before the end of the text")]
pub struct TextError {
    what: &'static str,
    left: usize,
}

/// Fills a frame from the text of one object. Values that are not wanted are left out.
///
/// # Errors
/// [`TextError`] where the text is no JSON object; the frame then holds what stood before.
pub fn fill_from_text<'a>(frame: &mut Frame<'a>, names: &Names, wanted: &Wanted, text: &'a [u8]) -> Result<(), TextError> {
    let has_keywords = wanted.keywords.as_ref().is_none_or(|keywords| !keywords.stand_nowhere_in(text));
    if !wanted.everything || has_keywords {
        return fill(frame, names, |field| wanted.wants(field), text).map(drop);
    }
    // Long escapes can hide a keyword; then everything is read after all.
    let is_odd = fill(frame, names, |field| wanted.wants_itself(field), text)?;
    frame.has_no_keywords(!is_odd);
    if is_odd {
        frame.clear();
        fill(frame, names, |_| true, text)?;
    }
    Ok(())
}

/// Fills a frame with what is wanted; whether the text has escapes that are longer than a letter.
#[inline(always)]
fn fill<'a>(
    frame: &mut Frame<'a>,
    names: &Names,
    wants: impl Fn(Option<FieldId>) -> bool,
    text: &'a [u8],
) -> Result<bool, TextError> {
    let mut reader = Reader { text, at: 0, quotes: Quotes::new(text) };
    reader.expect(b'{', "it does not begin with a brace")?;
    if reader.peek() == Some(b'}') {
        reader.at += 1;
        return reader.end();
    }
    loop {
        reader.peek();
        let (name, kind) = reader.string("a member has no name")?;
        let field = match kind {
            Kind::Plain => names.find_bytes(name),
            _ => unescaped(name).and_then(|name| names.find_bytes(&name)),
        };
        reader.pass(b':', "a name has no value")?;
        if !wants(field) {
            reader.skip()?;
        } else {
            let field = field.filter(|field| !frame.has(*field));
            if reader.text.get(reader.at) == Some(&b'"') {
                frame.push(field, reader.text()?);
            } else {
                reader.value(frame, field)?;
            }
        }
        match reader.next() {
            Some(b',') => {}
            Some(b'}') => break,
            _ => return reader.wrong("a comma or brace is missing"),
        }
    }
    reader.end()
}

/// Where reading stands.
struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    /// Quotes at and after `at`.
    quotes: Quotes<'a>,
}

impl<'a> Reader<'a> {
    #[cold]
    fn wrong<T>(&self, what: &'static str) -> Result<T, TextError> {
        Err(TextError { what, left: self.text.len().saturating_sub(self.at) })
    }

    /// The next byte that is no white space; it stays.
    #[inline(always)]
    fn peek(&mut self) -> Option<u8> {
        match self.text.get(self.at) {
            Some(byte) if *byte <= b' ' => self.peek_behind_space(),
            other => other.copied(),
        }
    }

    #[inline(never)]
    fn peek_behind_space(&mut self) -> Option<u8> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\r' | b'\n') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    /// Passes over one byte, and the white space around it.
    #[inline(always)]
    fn pass(&mut self, wanted: u8, what: &'static str) -> Result<(), TextError> {
        self.expect(wanted, what)?;
        self.peek();
        Ok(())
    }

    /// The next byte that is no white space.
    #[inline(always)]
    fn next(&mut self) -> Option<u8> {
        let byte = self.peek();
        self.at += 1;
        byte
    }

    #[inline]
    fn expect(&mut self, wanted: u8, what: &'static str) -> Result<(), TextError> {
        if self.next() == Some(wanted) { Ok(()) } else { self.wrong(what) }
    }

    /// Nothing may follow; whether there were odd escapes.
    fn end(&mut self) -> Result<bool, TextError> {
        if self.peek().is_none() { Ok(self.quotes.is_odd()) } else { self.wrong("something follows the object") }
    }

    /// The string that begins here, as it stands in the text.
    #[inline(always)]
    fn string(&mut self, otherwise: &'static str) -> Result<(&'a [u8], Kind), TextError> {
        if self.text.get(self.at) != Some(&b'"') {
            return self.wrong(otherwise);
        }
        match self.quotes.string(self.at) {
            Some((end, kind)) => {
                let text = &self.text[self.at + 1..end];
                self.at = end + 1;
                if kind == Kind::Odd && unescaped(text).is_none() { self.wrong("an escape is unknown") } else { Ok((text, kind)) }
            }
            None => self.wrong("a string does not end"),
        }
    }

    /// The string that begins here, as a value.
    #[inline(always)]
    fn text(&mut self) -> Result<Datum<'a>, TextError> {
        let (text, kind) = self.string("a value is no JSON")?;
        Ok(if kind == Kind::Plain { Datum::Text(text) } else { Datum::Escaped(text) })
    }

    /// Adds a value of a field, or the values of a list.
    fn value(&mut self, frame: &mut Frame<'a>, field: Option<FieldId>) -> Result<(), TextError> {
        match self.peek() {
            Some(b'"') => {
                frame.push(field, self.text()?);
                Ok(())
            }
            Some(b'[') => self.list(frame, field),
            Some(b'{') => self.skip(),
            _ => {
                let word = self.word();
                let Some(datum) = plain(word) else { return self.wrong("a value is no JSON") };
                frame.push(field, datum);
                Ok(())
            }
        }
    }

    fn list(&mut self, frame: &mut Frame<'a>, field: Option<FieldId>) -> Result<(), TextError> {
        self.at += 1;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            match self.peek() {
                Some(b'[' | b'{') => self.skip()?,
                _ => self.value(frame, field)?,
            }
            match self.next() {
                Some(b',') => {}
                Some(b']') => return Ok(()),
                _ => return self.wrong("a comma or bracket is missing"),
            }
        }
    }

    /// Bytes up to the next one that ends a number or name.
    fn word(&mut self) -> &'a [u8] {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n' | b'"' | b'{' | b'[' | b':');
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest.iter().position(ends).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// Passes over one value.
    #[inline(always)]
    fn skip(&mut self) -> Result<(), TextError> {
        if self.text.get(self.at) != Some(&b'"') {
            return self.skip_tree();
        }
        match self.quotes.string(self.at) {
            Some((end, _)) => {
                self.at = end + 1;
                Ok(())
            }
            None => self.wrong("a string does not end"),
        }
    }

    /// The same for any value. Inside of lists and objects only strings and brackets are looked at.
    fn skip_tree(&mut self) -> Result<(), TextError> {
        let mut depth = 0usize;
        loop {
            match self.peek() {
                Some(b'"') => match self.quotes.string(self.at) {
                    Some((end, _)) => self.at = end + 1,
                    None => return self.wrong("a string does not end"),
                },
                Some(b'{' | b'[') => {
                    depth += 1;
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ if plain(self.word()).is_some() => {}
                _ => return self.wrong("a value is no JSON"),
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// A number, a truth, or nothing.
fn plain(word: &[u8]) -> Option<Datum<'static>> {
    match word {
        b"null" => return Some(Datum::Null),
        b"true" => return Some(Datum::Bool(true)),
        b"false" => return Some(Datum::Bool(false)),
        _ => {}
    }
    let digits = word.strip_prefix(b"-").unwrap_or(word);
    // Short numbers, which are nearly all, fit without a look at each step.
    if (1..=18).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit) && (digits[0] != b'0' || digits.len() == 1) {
        let number = digits.iter().fold(0i64, |number, digit| number * 10 + i64::from(digit - b'0'));
        return Some(match (digits.len() < word.len(), number) {
            (false, number) => Datum::Int(number),
            (true, 0) => Datum::Float(-0.0),
            (true, number) => Datum::Int(-number),
        });
    }
    match serde_json::from_slice::<serde_json::Number>(word) {
        Ok(number) => Some(match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Datum::Int(number),
            (None, Some(number)) => Datum::Uint(number),
            (None, None) => Datum::Float(number.as_f64().unwrap_or(f64::NAN)),
        }),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
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
        let names = names();
        let mut frame = Frame::new(&names);
        fill_from_text(&mut frame, &names, wanted, text.as_bytes())?;
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

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

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
