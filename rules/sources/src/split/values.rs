//! Blocks of JSON objects that stand over several lines, one after the other or in an array. Objects are found by their
//! braces; whether they are JSON is for whoever parses them.

use std::io::{self, Read};

use crate::block::{Block, Content, Piece};
use crate::limits::{BLOCK_BYTES, MAX_RECORD_BYTES};
use crate::trouble::{Code, Trouble, Troubles};

/// Cuts a stream at the end of objects.
pub(crate) struct ValueBlocks<R> {
    input: R,
    bytes: Vec<u8>,
    /// Bytes that were looked at.
    seen: usize,
    line: u64,
    depth: usize,
    in_text: bool,
    escaped: bool,
    /// Where the object that is open begins, and its line.
    open: Option<(usize, u64)>,
    /// Something that is no object stands here and was told.
    in_rubbish: bool,
    done: bool,
}

impl<R: Read> ValueBlocks<R> {
    pub(crate) fn new(input: R) -> Self {
        Self {
            input,
            bytes: Vec::new(),
            seen: 0,
            line: 1,
            depth: 0,
            in_text: false,
            escaped: false,
            open: None,
            in_rubbish: false,
            done: false,
        }
    }

    /// The next block; none at the end. See [`super::lines::LineBlocks::next`].
    pub(crate) fn next(&mut self) -> (Option<Block>, Option<io::Error>) {
        let mut values = Vec::new();
        let mut troubles = Troubles::default();
        let mut failed = None;
        while !self.done && values.is_empty() {
            let before = self.bytes.len();
            if let Err(error) = self.input.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut self.bytes) {
                failed = Some(error);
                self.done = true;
            }
            self.done |= self.bytes.len() < before + BLOCK_BYTES;
            self.scan(&mut values, &mut troubles);
            self.forget(&values, &mut troubles);
        }
        if self.done
            && let Some((_, line)) = self.open.take()
        {
            troubles.push(Trouble::at(Code::Json, line, "the object has no end"));
        }
        (self.block(values, troubles), failed)
    }

    fn scan(&mut self, values: &mut Vec<Piece>, troubles: &mut Troubles) {
        while let Some(byte) = self.bytes.get(self.seen).copied() {
            self.seen += 1;
            self.line += u64::from(byte == b'\n');
            let Some((start, line)) = self.open else {
                self.between(byte, troubles);
                continue;
            };
            if self.closes(byte) {
                values.push(Piece { at: start..self.seen, number: line });
                self.open = None;
            }
        }
    }

    /// Whether this byte of an object ends it.
    fn closes(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' => self.escaped = self.in_text,
            b'"' => self.in_text = !self.in_text,
            _ if self.in_text => {}
            b'{' => self.depth += 1,
            b'}' => self.depth -= 1,
            _ => {}
        }
        self.depth == 0
    }

    fn between(&mut self, byte: u8, troubles: &mut Troubles) {
        match byte {
            b'{' => {
                self.open = Some((self.seen - 1, self.line));
                (self.depth, self.in_text, self.escaped, self.in_rubbish) = (1, false, false, false);
            }
            b'[' | b']' | b',' => self.in_rubbish = false,
            0xef | 0xbb | 0xbf => {}
            byte if byte.is_ascii_whitespace() || self.in_rubbish => {}
            _ => {
                self.in_rubbish = true;
                troubles.push(Trouble::at(Code::Json, self.line, "something that is no object stands between objects"));
            }
        }
    }

    /// Lets go of bytes that no object needs, and of an object that is too long.
    fn forget(&mut self, values: &[Piece], troubles: &mut Troubles) {
        match self.open {
            Some((start, line)) if self.bytes.len() - start > MAX_RECORD_BYTES => {
                let what = format!("the object is longer than {MAX_RECORD_BYTES} bytes, or one of its braces is missing");
                troubles.push(Trouble::at(Code::TooLong, line, what));
                self.open = None;
                self.in_rubbish = true;
                if values.is_empty() {
                    self.drop_before(self.seen);
                }
            }
            Some((start, _)) if values.is_empty() => self.drop_before(start),
            None if values.is_empty() => self.drop_before(self.seen),
            _ => {}
        }
    }

    fn drop_before(&mut self, at: usize) {
        self.bytes.drain(..at);
        self.seen -= at;
        self.open = self.open.map(|(start, line)| (start - at, line));
    }

    fn block(&mut self, values: Vec<Piece>, troubles: Troubles) -> Option<Block> {
        if values.is_empty() && troubles.counts.is_empty() {
            return None;
        }
        let end = values.last().map_or(0, |value| value.at.end);
        let rest = self.bytes.split_off(end);
        let bytes = std::mem::replace(&mut self.bytes, rest);
        self.seen -= end;
        self.open = self.open.map(|(start, line)| (start - end, line));
        Some(Block { content: Content::Values { bytes, values }, troubles })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Found = Vec<(u64, String)>;
    type Troubles = Vec<(Code, Option<u64>)>;

    fn all(text: &str) -> (Found, Troubles) {
        let mut blocks = ValueBlocks::new(text.as_bytes());
        let (mut found, mut troubles) = (Vec::new(), Vec::new());
        while let (Some(block), _) = blocks.next() {
            troubles.extend(block.troubles.first.into_iter().map(|trouble| (trouble.code, trouble.record)));
            let Content::Values { bytes, values } = block.content else { panic!("values") };
            found.extend(
                values.iter().map(|value| (value.number, String::from_utf8_lossy(&bytes[value.at.clone()]).into_owned())),
            );
        }
        (found, troubles)
    }

    #[test]
    fn objects_are_found_by_their_braces_and_numbered_by_their_first_line() {
        let (found, troubles) = all("[\n{\"a\": \"}\\\"{\",\n \"b\": {}},\n  {}\n]\n");
        assert_eq!(found, [(2, "{\"a\": \"}\\\"{\",\n \"b\": {}}".to_string()), (4, "{}".to_string())]);
        assert!(troubles.is_empty(), "{troubles:?}");
    }

    #[test]
    fn every_object_comes_once_whatever_the_blocks() {
        let text: String =
            (0..30_000).map(|at| format!("{{\n  \"at\": {at}, \"x\": \"{}\"\n}}\n", "y".repeat(at % 70))).collect();
        let (found, troubles) = all(&text);
        assert_eq!((found.len(), troubles.len()), (30_000, 0));
        assert!(
            found
                .iter()
                .enumerate()
                .all(|(at, (line, text))| *line == at as u64 * 3 + 1 && text.contains(&format!("\"at\": {at},")))
        );
    }

    #[test]
    fn rubbish_and_an_object_without_an_end_are_told_with_their_lines() {
        let (found, troubles) = all("{}\nrubbish here\n{\"b\": 1}\n{\"c\":\n");
        assert_eq!(found.len(), 2);
        assert_eq!(troubles, [(Code::Json, Some(2)), (Code::Json, Some(4))]);
    }

    #[test]
    fn an_object_longer_than_any_record_is_told_and_the_next_is_read() {
        let text = format!("{{\"a\": \"{}\"}}, {{\"b\": 1}}", "x".repeat(MAX_RECORD_BYTES + 2 * BLOCK_BYTES));
        let (found, troubles) = all(&text);
        assert_eq!(troubles, [(Code::TooLong, Some(1))]);
        assert_eq!(found, [(1, "{\"b\": 1}".to_string())]);
    }
}
