//! Gzip: one stream, which is a tar or one member.

use std::io::{BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;

use super::format::{HEAD_BYTES, is_tar};
use super::purse::Stop;
use super::{Source, Visitor};

impl Visitor<'_, '_> {
    /// Walks a gzip. A tar inside of it is no further level: `a.tar.gz!/b`.
    pub(super) fn gzip(&mut self, source: &Source<'_>, inside: &[u8], depth: u32) -> Stop {
        let purse = self.purse;
        let mut stream = MultiGzDecoder::new(BufReader::new(purse.timed(source.reader())));
        let mut head = Vec::with_capacity(HEAD_BYTES);
        // An error comes again with the next read, which reports it.
        let _ = purse.metered(&mut stream).take(HEAD_BYTES as u64).read_to_end(&mut head);
        if is_tar(&head) {
            return self.tar(Cursor::new(head).chain(stream), inside, depth);
        }
        if purse.is_spent() || !purse.take_entry() {
            return self.spent(inside);
        }
        let named = stream.header().and_then(|header| header.filename()).filter(|name| !name.is_empty());
        let place = match named {
            Some(name) => Self::place(inside, name),
            None => Self::place(inside, self.stem(inside).as_bytes()),
        };
        self.member(Cursor::new(head).chain(purse.metered(stream)), &place, depth, |_| None)
    }

    /// The archive's own name without its ending.
    fn stem(&self, inside: &[u8]) -> String {
        let whole = format!("{}{}", self.name, String::from_utf8_lossy(inside));
        let last = whole.rsplit('/').next().unwrap_or_default();
        last.strip_suffix(".gz").unwrap_or(last).to_string()
    }
}
