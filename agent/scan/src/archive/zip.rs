//! Zip: the directory at the end names the members.
//!
//! The directory is read entry by entry, never as a whole. Sizes and checksums are claims that are compared with what
//! comes out; members that share their bytes cost the budget each time. Where the headers before the members say something
//! else than the directory, or name members that it does not, the archive is not what it seems and said to be unknown.

use std::io::{BufReader, Read};

use flate2::bufread::DeflateDecoder;
use rawzip::{
    CompressionMethod, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipArchive, ZipArchiveEntryWayfinder, ZipEntry, ZipFileHeaderRecord,
    ZipLocator,
};

use super::purse::Stop;
use super::stray::Extents;
use super::{Source, Visitor};

/// Room for the longest name and extra fields of a member's own header.
const OWN_HEADER_BYTES: usize = 2 * u16::MAX as usize;

/// What the directory says of a member.
struct Claim {
    place: Vec<u8>,
    name: Vec<u8>,
    /// Where its own header lies, and where this record of the directory.
    start: u64,
    record: u64,
    wayfinder: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    crc: u32,
    size: u64,
    is_encrypted: bool,
    is_folder: bool,
}

impl Claim {
    fn of(record: &ZipFileHeaderRecord<'_>, inside: &[u8]) -> Self {
        Self {
            place: Visitor::place(inside, record.file_path().as_bytes()),
            name: record.file_path().as_bytes().to_vec(),
            start: record.local_header_offset(),
            record: record.central_directory_offset(),
            wayfinder: record.wayfinder(),
            method: record.compression_method(),
            crc: record.crc32(),
            size: record.uncompressed_size_hint(),
            is_encrypted: record.flags().is_encrypted() || record.flags().is_masked(),
            is_folder: record.is_dir() && record.compressed_size_hint() == 0,
        }
    }
}

impl Visitor<'_, '_> {
    /// Walks a zip.
    pub(super) fn zip(&mut self, source: &Source<'_>, inside: &[u8], depth: u32) -> Stop {
        let mut buffer = vec![0; MAX_CENTRAL_DIRECTORY_RECORD_SIZE];
        let archive = match ZipLocator::new().locate_in_reader(*source, &mut buffer, source.len()) {
            Ok(archive) => archive,
            Err((_, error)) => return self.damaged(inside, &error.to_string()),
        };
        let mut entries = archive.entries(&mut buffer);
        let (mut extents, mut own) = (Extents::default(), vec![0; OWN_HEADER_BYTES]);
        let (mut seen, mut directory) = (0, archive.directory_offset());
        loop {
            let claim = match entries.next_entry() {
                Ok(Some(record)) => Claim::of(&record, inside),
                Ok(None) => break,
                Err(error) => return self.damaged(inside, &error.to_string()),
            };
            if seen == 0 {
                directory = claim.record;
            }
            seen += 1;
            if !self.purse.take_entry() {
                return self.spent(inside);
            }
            if !claim.is_folder && self.zip_member(&archive, &claim, depth) == Stop::Yes {
                return Stop::Yes;
            }
            if let Ok(entry) = archive.get_entry(claim.wayfinder) {
                extents.add(claim.start, entry.compressed_data_range().1);
                if let Some(reason) = disagreement(&entry, &claim, &mut own) {
                    self.tally.unknown(&claim.place, &reason);
                }
            }
        }
        if let Some(reason) = extents.stray(source, directory, self.purse) {
            if self.purse.is_spent() {
                return self.spent(inside);
            }
            self.tally.unknown(inside, &reason);
        }
        if seen < archive.entries_hint() {
            return self.damaged(inside, &format!("{seen} of {} members are in its directory", archive.entries_hint()));
        }
        Stop::No
    }

    fn zip_member(&mut self, archive: &ZipArchive<Source<'_>>, claim: &Claim, depth: u32) -> Stop {
        if claim.is_encrypted {
            self.tally.unknown(&claim.place, "it is encrypted");
            return Stop::No;
        }
        let entry = match archive.get_entry(claim.wayfinder) {
            Ok(entry) => entry,
            Err(error) => {
                self.tally.unknown(&claim.place, &format!("it is damaged: {error}"));
                return Stop::No;
            }
        };
        let packed = BufReader::new(self.purse.timed(entry.reader()));
        match claim.method {
            CompressionMethod::STORE => self.claimed(packed, claim, depth),
            CompressionMethod::DEFLATE => self.claimed(DeflateDecoder::new(packed), claim, depth),
            other => {
                self.tally.unknown(&claim.place, &format!("its compression method {other} is not known"));
                Stop::No
            }
        }
    }

    /// Reads a member and compares it with what its directory claims.
    fn claimed(&mut self, reader: impl Read, claim: &Claim, depth: u32) -> Stop {
        let (purse, size, crc) = (self.purse, claim.size, claim.crc);
        let check = move |content: &[u8]| {
            let len = content.len() as u64;
            match len == size {
                false => Some(format!("it is damaged: it has {len} bytes, {size} were claimed")),
                true if rawzip::crc32(content) != crc => Some("it is damaged: its checksum differs".into()),
                true => None,
            }
        };
        self.member(purse.metered(reader), &claim.place, depth, check)
    }
}

/// What the header before a member says otherwise than the directory, in words: a reader that goes by it gets another file.
fn disagreement(entry: &ZipEntry<'_, Source<'_>>, claim: &Claim, buffer: &mut [u8]) -> Option<String> {
    let own = match entry.local_header(buffer) {
        Ok(own) => own,
        Err(error) => return Some(format!("its own header is damaged: {error}")),
    };
    let name = own.file_path();
    if name.as_bytes() != claim.name {
        return Some(format!("its own header calls it {:?}", String::from_utf8_lossy(name.as_bytes())));
    }
    let method = own.compression_method();
    // Where the directory is encrypted as well, the headers are masked.
    (method != claim.method && !claim.is_encrypted)
        .then(|| format!("its own header says that it is {method}, the directory {}", claim.method))
}
