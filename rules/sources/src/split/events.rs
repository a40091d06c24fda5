//! Blocks of whole audit events. The kernel writes several records for one event, and those of events that happen at the
//! same time stand mixed; they carry the same time and serial number.

use std::collections::VecDeque;
use std::io::{self, Read};

use crate::audit;
use crate::block::{Block, Content, Piece};
use crate::limits::{BLOCK_BYTES, MAX_GROUP_RECORDS, MAX_OPEN_GROUPS};
use crate::split::lines::{LineBlocks, lines};
use crate::trouble::Troubles;

/// Cuts a stream between audit events.
pub(crate) struct EventBlocks<R> {
    lines: LineBlocks<R>,
    /// Events that may go on, oldest first.
    open: VecDeque<Open>,
    done: bool,
}

/// An event whose last record may not have been read.
struct Open {
    id: Vec<u8>,
    lines: Vec<(u64, Vec<u8>)>,
    is_whole: bool,
}

/// A block that grows.
#[derive(Default)]
struct Growing {
    bytes: Vec<u8>,
    lines: Vec<Piece>,
    events: Vec<std::ops::Range<usize>>,
}

impl<R: Read> EventBlocks<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { lines: LineBlocks::new(input, false), open: VecDeque::new(), done: false }
    }

    /// The next block; none at the end. See [`LineBlocks::next`].
    pub(crate) fn next(&mut self) -> (Option<Block>, Option<io::Error>) {
        let mut block = Growing::default();
        let mut troubles = Troubles::default();
        let mut failed = None;
        while !self.done && block.bytes.len() < BLOCK_BYTES {
            let (read, error) = self.lines.next();
            self.done = read.is_none() || error.is_some();
            failed = error;
            if let Some(Block { content: Content::Lines { bytes, first, .. }, troubles: found }) = read {
                found.first.into_iter().for_each(|trouble| troubles.push(trouble));
                lines(&bytes, first).for_each(|(number, line)| self.take(number, line, &mut block));
            }
            if self.done {
                self.open.drain(..).for_each(|event| block.add(event));
            }
        }
        let Growing { bytes, lines, events } = block;
        let is_empty = events.is_empty() && troubles.counts.is_empty();
        ((!is_empty).then_some(Block { content: Content::Audit { bytes, lines, events }, troubles }), failed)
    }

    fn take(&mut self, number: u64, line: &[u8], block: &mut Growing) {
        let line = (number, line.to_vec());
        let Some(id) = audit::event_id(&line.1).map(<[u8]>::to_vec) else {
            // Whatever has no id stands alone; the one who parses it says what is wrong.
            self.open.push_back(Open { id: Vec::new(), lines: vec![line], is_whole: true });
            return self.release(block);
        };
        let is_last = audit::ends_event(&line.1);
        match self.open.iter_mut().find(|event| !event.is_whole && event.id == id) {
            Some(event) => {
                event.lines.push(line);
                event.is_whole = is_last || event.lines.len() >= MAX_GROUP_RECORDS;
            }
            None => self.open.push_back(Open { id, lines: vec![line], is_whole: is_last }),
        }
        self.release(block);
    }

    /// Lets whole events go, in the order of their first lines.
    fn release(&mut self, block: &mut Growing) {
        while self.open.front().is_some_and(|event| event.is_whole) || self.open.len() > MAX_OPEN_GROUPS {
            let Some(event) = self.open.pop_front() else { return };
            block.add(event);
        }
    }
}

impl Growing {
    fn add(&mut self, event: Open) {
        let first = self.lines.len();
        for (number, line) in event.lines {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(&line);
            self.lines.push(Piece { at: start..self.bytes.len(), number });
        }
        self.events.push(first..self.lines.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(text: &str) -> Vec<Vec<u64>> {
        let mut blocks = EventBlocks::new(text.as_bytes());
        let mut found = Vec::new();
        while let (Some(block), _) = blocks.next() {
            let Content::Audit { lines, events, .. } = block.content else { panic!("audit") };
            found.extend(events.into_iter().map(|event| lines[event].iter().map(|line| line.number).collect::<Vec<_>>()));
        }
        found
    }

    #[test]
    fn records_of_one_event_come_together_in_the_order_of_their_first_lines() {
        let text = "type=SYSCALL msg=audit(1.0:1): a=1\ntype=SYSCALL msg=audit(1.0:2): a=1\ntype=CWD msg=audit(1.0:1): cwd=\"/\"\n\
                    type=EOE msg=audit(1.0:1): \ntype=EOE msg=audit(1.0:2):\nrubbish\ntype=LOGIN msg=audit(1.0:3): pid=1\n";
        assert_eq!(events(text), [vec![1, 3, 4], vec![2, 5], vec![6], vec![7]]);
    }

    #[test]
    fn an_event_without_an_end_is_let_go_after_others() {
        let text: String = (0..1_000).map(|serial| format!("type=SYSCALL msg=audit(1.0:{serial}): a=1\n")).collect();
        let found = events(&text);
        assert_eq!(found.len(), 1_000);
        assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
