//! Blocks of whole lines.

use std::io::{self, Read};

use crate::block::{Block, Content};
use crate::format::text;
use crate::limits::{BLOCK_BYTES, MAX_RECORD_BYTES};
use crate::trouble::{Code, Trouble, Troubles};

/// Cuts a stream at line breaks.
pub(crate) struct LineBlocks<R> {
    input: R,
    /// The beginning of a line whose end has not been read.
    rest: Vec<u8>,
    /// Number of the next line.
    line: u64,
    is_json: bool,
    /// The line that `rest` would be is too long: its bytes are thrown away up to the next line break.
    skipping: bool,
    done: bool,
}

impl<R: Read> LineBlocks<R> {
    pub(crate) fn new(input: R, is_json: bool) -> Self {
        Self { input, rest: Vec::new(), line: 1, is_json, skipping: false, done: false }
    }

    /// The next block; none at the end. After an error the stream is over, and what was read before it is in the block
    /// that comes with the error.
    pub(crate) fn next(&mut self) -> (Option<Block>, Option<io::Error>) {
        let mut bytes = std::mem::take(&mut self.rest);
        let mut troubles = Troubles::default();
        let mut failed = None;
        while !self.done {
            let before = bytes.len();
            if let Err(error) = self.input.by_ref().take(BLOCK_BYTES as u64).read_to_end(&mut bytes) {
                failed = Some(error);
                self.done = true;
            }
            self.done |= bytes.len() < before + BLOCK_BYTES;
            if self.line == 1 && before == 0 {
                let mark = bytes.len() - text(&bytes).len();
                bytes.drain(..mark);
            }
            let mut from = before.min(bytes.len());
            if self.skipping {
                self.skip(&mut bytes);
                from = 0;
            }
            if let Some(end) = memchr::memrchr(b'\n', &bytes[from..]) {
                self.rest = bytes.split_off(from + end + 1);
                break;
            }
            if bytes.len() > MAX_RECORD_BYTES {
                let what = format!("the line is longer than {MAX_RECORD_BYTES} bytes");
                troubles.push(Trouble::at(Code::TooLong, self.line, what));
                bytes.clear();
                self.skipping = true;
            }
        }
        if self.done {
            bytes.append(&mut self.rest);
        }
        (self.block(bytes, troubles), failed)
    }

    /// Throws away the rest of a line that is too long.
    fn skip(&mut self, bytes: &mut Vec<u8>) {
        match memchr::memchr(b'\n', bytes) {
            Some(end) => {
                bytes.drain(..=end);
                self.skipping = false;
                self.line += 1;
            }
            None => bytes.clear(),
        }
    }

    fn block(&mut self, bytes: Vec<u8>, troubles: Troubles) -> Option<Block> {
        if bytes.is_empty() && troubles.counts.is_empty() {
            return None;
        }
        let first = self.line;
        self.line += memchr::memchr_iter(b'\n', &bytes).count() as u64;
        Some(Block { content: Content::Lines { bytes, first, is_json: self.is_json }, troubles })
    }
}

/// Each line of a block that is not blank, with its number.
pub(crate) fn lines(bytes: &[u8], first: u64) -> impl Iterator<Item = (u64, &[u8])> {
    let ends = memchr::memchr_iter(b'\n', bytes).chain(std::iter::once(bytes.len()));
    let numbered = ends.scan(0, |start, end| Some(&bytes[std::mem::replace(start, end + 1)..end])).zip(first..);
    numbered
        .map(|(line, number)| (number, line.strip_suffix(b"\r").unwrap_or(line)))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &[u8]) -> (Vec<(u64, String)>, Troubles) {
        let mut blocks = LineBlocks::new(text, false);
        let (mut found, mut troubles) = (Vec::new(), Troubles::default());
        while let (Some(block), None) = blocks.next() {
            block.troubles.first.into_iter().for_each(|trouble| troubles.push(trouble));
            let Content::Lines { bytes, first, .. } = block.content else { panic!("lines") };
            found.extend(lines(&bytes, first).map(|(number, line)| (number, String::from_utf8_lossy(line).into_owned())));
        }
        (found, troubles)
    }

    #[test]
    fn every_line_comes_once_with_its_number_whatever_the_blocks() {
        let text: String = (1..=40_000).map(|line| format!("line {line} {}\n", "x".repeat(line % 90))).collect();
        let (found, troubles) = all(text.as_bytes());
        assert_eq!(found.len(), 40_000);
        assert!(found.iter().all(|(number, line)| line.starts_with(&format!("line {number} "))));
        assert!(troubles.counts.is_empty());
    }

    #[test]
    fn blank_lines_count_and_the_last_line_needs_no_end() {
        let (found, _) = all(b"\xef\xbb\xbfa\r\n\n \nb");
        assert_eq!(found, [(1, "a".to_string()), (4, "b".to_string())]);
        assert_eq!(all(b"").0, []);
    }

    #[test]
    fn a_line_longer_than_any_record_is_told_and_the_next_is_read() {
        let text = [b"a\n".to_vec(), vec![b'x'; MAX_RECORD_BYTES + 2 * BLOCK_BYTES], b"\nb\n".to_vec()].concat();
        let (found, troubles) = all(&text);
        assert_eq!(found, [(1, "a".to_string()), (3, "b".to_string())]);
        assert_eq!(
            troubles.first.iter().map(|trouble| (trouble.code, trouble.record)).collect::<Vec<_>>(),
            [(Code::TooLong, Some(2))]
        );
    }
}
