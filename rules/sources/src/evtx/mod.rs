//! The event log of Windows, as it lies on disk: a header, then chunks of 64 KiB, each with its own table of names and
//! templates, so that a damaged one takes nothing else with it. Written from Microsoft's description of the format of its
//! events (MS-EVEN6) and Joachim Metz's of the file (libevtx); the trees have the names that other readers give them, so
//! that rules and people find the same fields.
//!
//! A file that was copied from a running machine says of itself that it is open, and its header counts too few chunks:
//! the chunks themselves are believed, never the header.

mod binxml;
mod chunk;
mod tree;
mod value;

use std::io::{self, Read};

use beffroi_engine::windows;
use serde_json::{Map, Value as Json};

use crate::block::{Block, Content, Piece};
use crate::parse::Options;
use crate::record::Record;
use crate::trouble::{Code, Trouble, Troubles};

use chunk::CHUNK_BYTES;

/// First bytes of a file.
pub(crate) const MAGIC: &[u8] = b"ElfFile\0";
/// Bytes before the first chunk.
const HEADER_BYTES: usize = 4_096;
/// Windows counts time from 1601, in units of 100 ns.
const FILETIME_TO_UNIX_US: i64 = 11_644_473_600_000_000;

/// Cuts a file into chunks, and chunks into records.
pub(crate) struct ChunkBlocks<R> {
    input: R,
    /// Number of the next chunk, from 1.
    chunk: u64,
    /// Records of the chunks before.
    records: u64,
    done: bool,
}

impl<R: Read> ChunkBlocks<R> {
    /// Reads the header, which says nothing that is needed.
    pub(crate) fn new(mut input: R) -> Result<Self, Trouble> {
        let mut header = Vec::new();
        let read = input.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header);
        read.map_err(|error| crate::input::trouble_of(&error))?;
        if !header.starts_with(MAGIC) {
            return Err(Trouble::whole(Code::Format, "no event log of Windows: it does not begin with `ElfFile`"));
        }
        Ok(Self { input, chunk: 1, records: 0, done: header.len() < HEADER_BYTES })
    }

    /// The next chunk that holds something; none at the end. See [`crate::split::lines::LineBlocks::next`].
    pub(crate) fn next(&mut self) -> (Option<Block>, Option<io::Error>) {
        while !self.done {
            let mut bytes = Vec::with_capacity(CHUNK_BYTES);
            let failed = self.input.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut bytes).err();
            self.done = failed.is_some() || bytes.len() < CHUNK_BYTES;
            let block = self.block(bytes);
            if block.is_some() || failed.is_some() {
                return (block, failed);
            }
        }
        (None, None)
    }

    fn block(&mut self, bytes: Vec<u8>) -> Option<Block> {
        let number = self.chunk;
        self.chunk += 1;
        let mut troubles = Troubles::default();
        let mut damage =
            |what: &str| troubles.push(Trouble::at(Code::Chunk, self.records + 1, format!("chunk {number}: {what}")));
        let spans = chunk::spans(&bytes, &mut damage)?;
        let first = self.records + 1;
        self.records += spans.len() as u64;
        let records = spans.into_iter().zip(first..).map(|(at, number)| Piece { at, number }).collect();
        Some(Block { content: Content::Chunk { bytes, records }, troubles })
    }
}

/// Gives every record of a chunk to `each`.
pub(crate) fn records(chunk: &[u8], pieces: &[Piece], options: &Options, troubles: &mut Troubles, each: &mut dyn FnMut(Record)) {
    let mut reader = binxml::Reader::new(chunk);
    for Piece { at, number } in pieces {
        match read(&mut reader, chunk, at.clone()) {
            Ok((tree, id, time_us)) => {
                let mut record = Record::of_windows(*number, Some(time_us), windows::flatten(&tree));
                record.event_record_id = Some(id);
                if let Some(view) = &options.logsource {
                    record.views = vec![view.clone()];
                }
                each(record);
            }
            Err(damage) => troubles.push(Trouble::at(Code::EventRecord, *number, damage.to_string())),
        }
    }
}

/// The tree of one record, its id and its time.
fn read(
    reader: &mut binxml::Reader<'_>,
    chunk: &[u8],
    at: std::ops::Range<usize>,
) -> Result<(Map<String, Json>, u64, i64), binxml::Damage> {
    let header = chunk::header(chunk, at.start);
    let nodes = reader.fragment(at.start + chunk::RECORD_HEADER..at.end - chunk::RECORD_TAIL)?;
    let time_us = i64::try_from(header.written / 10).unwrap_or(i64::MAX).saturating_sub(FILETIME_TO_UNIX_US);
    Ok((tree::object(&nodes), header.id, time_us))
}
