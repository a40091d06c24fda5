//! What a zip holds beside what its directory names.
//!
//! Whoever unpacks a zip from its beginning believes the headers before the members, everybody else the directory at its end.
//! A member that only the first see is a way around every scanner that is one of the second. So the bytes that no member and
//! no directory explains are searched for such headers; one that is found makes the archive unknown, because nobody can say
//! how its reader will read it.
//!
//! Owns the extents and the search. Bytes behind the directory are left alone: those who read from the beginning stop at it,
//! and those who read from the end began there.

use std::io::Read;

use rawzip::ReaderAt;

use super::Source;
use super::purse::Purse;

/// Size of the fixed part of a member's own header.
const HEADER_BYTES: usize = 30;
/// What it begins with.
const SIGNATURE: &[u8] = b"PK\x03\x04";
/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 * 1024;
/// Most bytes of one archive that are searched: what is larger cannot be scanned as one piece either.
const MAX_SEARCHED_BYTES: u64 = 128 << 20;
/// Newest version of the format (6.3), which a header names if its member needs it.
const NEWEST_VERSION: u8 = 63;
/// Methods of compression that were ever given a number; 99 stands for one that is hidden by encryption.
const METHODS: [std::ops::RangeInclusive<u16>; 2] = [0..=20, 92..=99];

/// Where the members lie that the directory names.
#[derive(Debug, Default)]
pub(super) struct Extents(Vec<(u64, u64)>);

impl Extents {
    /// A member with its own header lies from `start` to `end`.
    pub fn add(&mut self, start: u64, end: u64) {
        self.0.push((start, end));
    }

    /// What is strange about the bytes before `directory` that no member covers, in words.
    pub fn stray(mut self, source: &Source<'_>, directory: u64, purse: &Purse) -> Option<String> {
        self.0.sort_unstable();
        self.0.push((directory, directory));
        let (mut covered, mut left) = (0_u64, MAX_SEARCHED_BYTES);
        for (start, end) in self.0 {
            let start = start.min(directory);
            if start >= covered.saturating_add(HEADER_BYTES as u64) {
                if start - covered > left {
                    return Some(format!("{} bytes that its directory does not name were not looked into", start - covered));
                }
                left -= start - covered;
                match find_header(source, covered, start, purse) {
                    Ok(Some(at)) => return Some(format!("it holds a member at byte {at} that its directory does not name")),
                    Ok(None) => {}
                    Err(error) => return Some(format!("what its directory does not name cannot be read: {error}")),
                }
            }
            covered = covered.max(end);
        }
        None
    }
}

/// The place of the first header of a member in this stretch. The time runs on meanwhile.
fn find_header(source: &Source<'_>, from: u64, to: u64, purse: &Purse) -> std::io::Result<Option<u64>> {
    let mut stretch = purse.timed(Stretch { source, at: from, end: to });
    let (mut window, mut at) = (Vec::with_capacity(CHUNK_BYTES + HEADER_BYTES), from);
    loop {
        let kept = window.len();
        window.resize(CHUNK_BYTES + HEADER_BYTES, 0);
        let read = stretch.read(&mut window[kept..])?;
        window.truncate(kept + read);
        let mut places = (at..).zip(window.windows(HEADER_BYTES));
        if let Some((place, _)) = places.find(|(place, bytes)| is_header(bytes, to - place)) {
            return Ok(Some(place));
        }
        if read == 0 {
            return Ok(None);
        }
        // A header may lie across two chunks.
        let done = window.len().saturating_sub(HEADER_BYTES - 1);
        window.drain(..done);
        at += done as u64;
    }
}

/// Whether these bytes begin with a header that somebody could unpack a member by. The signature alone stands in every
/// program that reads zips.
fn is_header(bytes: &[u8], room: u64) -> bool {
    let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let names = u64::from(word(26)) + u64::from(word(28));
    bytes.starts_with(SIGNATURE)
        && bytes[4] <= NEWEST_VERSION
        && METHODS.iter().any(|methods| methods.contains(&word(8)))
        && word(26) > 0
        && HEADER_BYTES as u64 + names <= room
}

/// A part of a source.
struct Stretch<'s, 'a> {
    source: &'s Source<'a>,
    at: u64,
    end: u64,
}

impl Read for Stretch<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.source.read_at(&mut buffer[..room], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::protocol::ArchiveLimits;

    fn stray(bytes: &[u8], members: &[(u64, u64)]) -> Option<String> {
        let time = Duration::from_secs(60);
        let purse = Purse::new(ArchiveLimits::default(), Instant::now() + time, time);
        let mut extents = Extents::default();
        members.iter().for_each(|(start, end)| extents.add(*start, *end));
        extents.stray(&Source::bytes(bytes), bytes.len() as u64, &purse)
    }

    fn header(name: &[u8]) -> Vec<u8> {
        let mut header = [SIGNATURE, &[20, 0, 0, 0, 8, 0], &[0; 16], &[name.len() as u8, 0, 0, 0]].concat();
        header.extend_from_slice(name);
        header
    }

    #[test]
    fn a_header_outside_of_every_member_is_found_wherever_it_lies() {
        for before in [0, 1, 40, CHUNK_BYTES - 10, CHUNK_BYTES, CHUNK_BYTES + 17, 3 * CHUNK_BYTES] {
            let bytes = [vec![b'P'; before], header(b"name"), vec![0; 50]].concat();
            assert_eq!(stray(&bytes, &[]), Some(format!("it holds a member at byte {before} that its directory does not name")));
            let own = (before as u64, bytes.len() as u64);
            assert_eq!(stray(&bytes, &[own]), None, "the directory names it");
            assert_eq!(stray(&bytes, &[(0, before as u64), own]), None);
        }
    }

    #[test]
    fn a_signature_alone_and_a_short_rest_are_nothing() {
        let mut nameless = header(b"");
        nameless.extend_from_slice(&[0; 40]);
        let mut later = header(b"name");
        later[4] = 200;
        let mut long = header(b"name");
        long[26..28].copy_from_slice(&[255, 255]);
        for bytes in [SIGNATURE.to_vec(), nameless, later, long, vec![0; 4096], b"PK\x07\x08............".to_vec()] {
            assert_eq!(stray(&bytes, &[]), None, "{bytes:?}");
        }
    }

    #[test]
    fn members_that_overlap_or_reach_beyond_the_directory_do_no_harm() {
        let bytes = [header(b"name"), vec![0; 100]].concat();
        assert_eq!(stray(&bytes, &[(0, u64::MAX), (10, 20), (5, 5)]), None);
        assert!(stray(&bytes, &[(u64::MAX, u64::MAX), (40, 50)]).is_some());
    }
}
