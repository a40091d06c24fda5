//! Where the records of a chunk stand. What a chunk says of itself is checked, and when it does not hold the records are
//! looked for by their marks.

use std::ops::Range;

/// Size of every chunk.
pub(super) const CHUNK_BYTES: usize = 64 * 1024;
/// Mark, size, id and time before the content of a record.
pub(super) const RECORD_HEADER: usize = 24;
/// The size again, behind the content.
pub(super) const RECORD_TAIL: usize = 4;
/// Offset of the first record: behind the header and the tables of names and templates.
const FIRST_RECORD: usize = 512;
/// First bytes of a chunk.
const CHUNK_MAGIC: &[u8] = b"ElfChnk\0";
/// First bytes of a record.
const RECORD_MAGIC: &[u8] = b"**\0\0";
/// Records begin at multiples of this.
const ALIGNMENT: usize = 8;

/// What stands before a record.
pub(super) struct RecordHeader {
    /// `EventRecordID`.
    pub(super) id: u64,
    /// When it was written, in units of 100 ns since 1601.
    pub(super) written: u64,
}

/// The header of a record that [`spans`] found.
pub(super) fn header(chunk: &[u8], at: usize) -> RecordHeader {
    let number = |at: usize| chunk.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
    RecordHeader { id: number(at + 8), written: number(at + 16) }
}

/// The records of a chunk, in order; none where the chunk was never used. What does not hold is told to `damage`.
pub(super) fn spans(chunk: &[u8], damage: &mut dyn FnMut(&str)) -> Option<Vec<Range<usize>>> {
    if chunk.iter().all(|byte| *byte == 0) {
        return None;
    }
    if chunk.len() < CHUNK_BYTES {
        damage(&format!("cut off after {} of {CHUNK_BYTES} bytes", chunk.len()));
    } else if !chunk.starts_with(CHUNK_MAGIC) {
        damage("it does not begin with `ElfChnk`");
    } else if let Some(what) = wrong_sum(chunk) {
        damage(&what);
    }
    Some(walk(chunk, used(chunk), damage))
}

fn used(chunk: &[u8]) -> usize {
    let free = u32_at(chunk, 48).unwrap_or(0) as usize;
    if chunk.starts_with(CHUNK_MAGIC) && (FIRST_RECORD..=chunk.len()).contains(&free) { free } else { chunk.len() }
}

fn wrong_sum(chunk: &[u8]) -> Option<String> {
    let mut sum = crc32fast::Hasher::new();
    sum.update(chunk.get(..120)?);
    sum.update(chunk.get(128..FIRST_RECORD)?);
    if Some(sum.finalize()) != u32_at(chunk, 124) {
        return Some("the checksum of its header is wrong".into());
    }
    let records = crc32fast::hash(chunk.get(FIRST_RECORD..used(chunk))?);
    (Some(records) != u32_at(chunk, 52)).then(|| "the checksum of its records is wrong".into())
}

fn walk(chunk: &[u8], end: usize, damage: &mut dyn FnMut(&str)) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    let mut at = FIRST_RECORD;
    let mut lost = None;
    while at + RECORD_HEADER + RECORD_TAIL <= end {
        match span(chunk, at, end) {
            Some(span) => {
                if let Some(from) = lost.take() {
                    damage(&format!("the records at {from} to {at} cannot be read"));
                }
                at = span.end;
                spans.push(span);
            }
            None => {
                lost.get_or_insert(at);
                at += ALIGNMENT;
            }
        }
    }
    if let Some(from) = lost.filter(|from| chunk[*from..end].iter().any(|byte| *byte != 0)) {
        damage(&format!("the records from {from} on cannot be read"));
    }
    spans
}

/// The record that begins here, if its sizes before and behind agree.
fn span(chunk: &[u8], at: usize, end: usize) -> Option<Range<usize>> {
    if !chunk.get(at..)?.starts_with(RECORD_MAGIC) {
        return None;
    }
    let size = u32_at(chunk, at + 4)? as usize;
    let span = at..at.checked_add(size)?;
    let is_sound =
        size > RECORD_HEADER + RECORD_TAIL && span.end <= end && u32_at(chunk, span.end - RECORD_TAIL)? as usize == size;
    is_sound.then_some(span)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A chunk with records of these sizes and no content.
    fn chunk(sizes: &[usize]) -> Vec<u8> {
        let mut chunk = vec![0; CHUNK_BYTES];
        chunk[..8].copy_from_slice(CHUNK_MAGIC);
        let mut at = FIRST_RECORD;
        for (index, size) in sizes.iter().enumerate() {
            chunk[at..at + 4].copy_from_slice(RECORD_MAGIC);
            chunk[at + 4..at + 8].copy_from_slice(&(*size as u32).to_le_bytes());
            chunk[at + 8..at + 16].copy_from_slice(&(index as u64 + 100).to_le_bytes());
            chunk[at + size - 4..at + size].copy_from_slice(&(*size as u32).to_le_bytes());
            at += size;
        }
        chunk[48..52].copy_from_slice(&(at as u32).to_le_bytes());
        seal(&mut chunk);
        chunk
    }

    fn seal(chunk: &mut [u8]) {
        let records = crc32fast::hash(&chunk[FIRST_RECORD..used(chunk)]);
        chunk[52..56].copy_from_slice(&records.to_le_bytes());
        let mut sum = crc32fast::Hasher::new();
        sum.update(&chunk[..120]);
        sum.update(&chunk[128..FIRST_RECORD]);
        chunk[124..128].copy_from_slice(&sum.finalize().to_le_bytes());
    }

    fn read(chunk: &[u8]) -> (Vec<u64>, Vec<String>) {
        let mut said = Vec::new();
        let spans = spans(chunk, &mut |what| said.push(what.to_string())).unwrap_or_default();
        (spans.iter().map(|span| header(chunk, span.start).id).collect(), said)
    }

    #[test]
    fn the_records_of_a_sound_chunk_are_found_without_a_word() {
        assert_eq!(read(&chunk(&[40, 64, 48])), (vec![100, 101, 102], vec![]));
        assert_eq!(read(&vec![0; CHUNK_BYTES]), (vec![], vec![]));
    }

    #[test]
    fn a_damaged_record_is_told_and_the_ones_behind_it_are_found() {
        let mut damaged = chunk(&[40, 64, 48]);
        damaged[FIRST_RECORD + 40 + 4] = 0xff;
        let (ids, said) = read(&damaged);
        assert_eq!(ids, [100, 102]);
        assert!(said[0].contains("checksum of its records") && said[1].contains("552 to 616"), "{said:?}");
    }

    #[test]
    fn a_chunk_that_is_cut_off_or_has_lost_its_header_gives_what_it_has() {
        let (ids, said) = read(&chunk(&[40, 64, 48])[..640]);
        assert_eq!(ids, [100, 101]);
        assert!(said[0].contains("cut off after 640"), "{said:?}");
        let mut headless = chunk(&[40, 64, 48]);
        headless[..512].fill(0xaa);
        let (ids, said) = read(&headless);
        assert_eq!((ids.len(), said.len()), (3, 1), "{said:?}");
    }

    #[test]
    fn a_size_that_points_anywhere_is_no_record() {
        for size in [0_u32, 1, 27, 28, 0x7fff_ffff, u32::MAX] {
            let mut hostile = chunk(&[40, 64]);
            hostile[FIRST_RECORD + 4..FIRST_RECORD + 8].copy_from_slice(&size.to_le_bytes());
            assert_eq!(read(&hostile).0, [101], "{size}");
        }
    }
}
