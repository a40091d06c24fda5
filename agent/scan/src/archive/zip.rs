//! Zip: the directory at the end names the members.
//!
//! The directory is read entry by entry, never as a whole. Sizes and checksums are claims that are compared with what
//! comes out; members that share their bytes cost the budget each time.

use std::io::{BufReader, Read};

use flate2::bufread::DeflateDecoder;
use rawzip::{CompressionMethod, MAX_CENTRAL_DIRECTORY_RECORD_SIZE, ZipArchive, ZipArchiveEntryWayfinder, ZipLocator};

use super::purse::Stop;
use super::{Source, Visitor};

/// What the directory says of a member.
struct Claim {
    place: Vec<u8>,
    wayfinder: ZipArchiveEntryWayfinder,
    method: CompressionMethod,
    crc: u32,
    size: u64,
    is_encrypted: bool,
    is_folder: bool,
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
        let mut seen = 0;
        loop {
            let claim = match entries.next_entry() {
                Ok(Some(entry)) => Claim {
                    place: Self::place(inside, entry.file_path().as_bytes()),
                    wayfinder: entry.wayfinder(),
                    method: entry.compression_method(),
                    crc: entry.crc32(),
                    size: entry.uncompressed_size_hint(),
                    is_encrypted: entry.flags().is_encrypted() || entry.flags().is_masked(),
                    is_folder: entry.is_dir() && entry.compressed_size_hint() == 0,
                },
                Ok(None) => break,
                Err(error) => return self.damaged(inside, &error.to_string()),
            };
            seen += 1;
            if !self.purse.take_entry() {
                return self.spent(inside);
            }
            if !claim.is_folder && self.zip_member(&archive, &claim, depth) == Stop::Yes {
                return Stop::Yes;
            }
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
