//! The bytes of segments and records: encoding, decoding, file names. The specification is in the crate's page.
//!
//! Owns every constant of the on-disk format. Decoding never panics and never trusts a length.

use crate::options::HARD_MAX_RECORD_BYTES;

/// Version written into every segment header.
pub(crate) const VERSION: u16 = 1;
/// Bytes before the first record of a segment.
pub(crate) const SEGMENT_HEADER_BYTES: u64 = 40;
/// Bytes before each payload.
pub(crate) const RECORD_HEADER_BYTES: usize = 32;
/// Ending of segment file names.
pub(crate) const SEGMENT_SUFFIX: &str = ".seg";
/// Digits of a base offset in a file name: a `u64` in decimal, so that names sort like numbers.
const NAME_DIGITS: usize = 20;

const SEGMENT_MAGIC: &[u8; 8] = b"BEFFRSEG";
const SEGMENT_CRC_AT: usize = 12;
const RECORD_CRC_AT: usize = 8;
/// Where the bytes covered by a record's checksum begin: after marker and checksum.
const RECORD_COVERED_FROM: usize = 12;

/// Random bytes at the head of every record of one log.
pub(crate) type Marker = [u8; 8];

/// A marker that no record carries: with it, everything in a segment counts as damaged.
pub(crate) const NO_MARKER: Marker = [0; 8];

/// First bytes of a segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub marker: Marker,
    pub base: u64,
    /// Segments whose base lies above `base` and below this are superseded by this one.
    pub replaced_below: u64,
}

/// Outcome of decoding a segment header.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderCheck {
    Valid(SegmentHeader),
    /// Checksum good, version unknown.
    Newer(u16),
    Damaged,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES as usize] {
        let mut out = [0; SEGMENT_HEADER_BYTES as usize];
        out[..8].copy_from_slice(SEGMENT_MAGIC);
        out[8..10].copy_from_slice(&VERSION.to_le_bytes());
        out[16..24].copy_from_slice(&self.marker);
        out[24..32].copy_from_slice(&self.base.to_le_bytes());
        out[32..40].copy_from_slice(&self.replaced_below.to_le_bytes());
        let crc = header_crc(&out);
        out[SEGMENT_CRC_AT..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `base` is the one in the file's name: a header under a foreign name is damage.
    pub(crate) fn decode(bytes: &[u8], base: u64) -> HeaderCheck {
        let Some(bytes) = bytes.get(..SEGMENT_HEADER_BYTES as usize) else {
            return HeaderCheck::Damaged;
        };
        if &bytes[..8] != SEGMENT_MAGIC || header_crc(bytes) != u32_at(bytes, SEGMENT_CRC_AT) {
            return HeaderCheck::Damaged;
        }
        let version = u16::from_le_bytes([bytes[8], bytes[9]]);
        if version != VERSION {
            return HeaderCheck::Newer(version);
        }
        let header = Self { marker: array_at(bytes, 16), base: u64_at(bytes, 24), replaced_below: u64_at(bytes, 32) };
        match header.base == base && header.marker != NO_MARKER {
            true => HeaderCheck::Valid(header),
            false => HeaderCheck::Damaged,
        }
    }
}

/// Checksum of a segment header: everything but the checksum itself.
fn header_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..SEGMENT_CRC_AT]), &bytes[16..SEGMENT_HEADER_BYTES as usize])
}

/// The fields before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RecordHeader {
    pub crc: u32,
    pub length: u32,
    pub offset: u64,
    pub timestamp: i64,
}

impl RecordHeader {
    /// Reads the fields if the marker is right and the length is one that can exist.
    pub(crate) fn decode(bytes: &[u8], marker: &Marker) -> Option<Self> {
        let bytes = bytes.get(..RECORD_HEADER_BYTES)?;
        if &bytes[..8] != marker || *marker == NO_MARKER {
            return None;
        }
        let length = u32_at(bytes, 12);
        (length as usize <= HARD_MAX_RECORD_BYTES).then(|| Self {
            crc: u32_at(bytes, RECORD_CRC_AT),
            length,
            offset: u64_at(bytes, 16),
            timestamp: i64::from_le_bytes(array_at(bytes, 24)),
        })
    }

    /// Bytes of the whole record in the file.
    pub(crate) fn record_bytes(&self) -> usize {
        RECORD_HEADER_BYTES + self.length as usize
    }

    /// True when `record` (header and payload) is what was written.
    pub(crate) fn verifies(&self, record: &[u8]) -> bool {
        record.get(RECORD_COVERED_FROM..).is_some_and(|covered| crc32c::crc32c(covered) == self.crc)
    }
}

/// Adds one record to `out`. The caller has checked that the payload is within the limits.
pub(crate) fn encode_record(out: &mut Vec<u8>, marker: &Marker, offset: u64, timestamp: i64, payload: &[u8]) {
    let mut header = [0; RECORD_HEADER_BYTES];
    header[..8].copy_from_slice(marker);
    header[12..16].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    header[16..24].copy_from_slice(&offset.to_le_bytes());
    header[24..32].copy_from_slice(&timestamp.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header[RECORD_COVERED_FROM..]), payload);
    header[RECORD_CRC_AT..RECORD_COVERED_FROM].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// File name of the segment that begins at `base`.
pub(crate) fn segment_name(base: u64) -> String {
    format!("{base:0width$}{SEGMENT_SUFFIX}", width = NAME_DIGITS)
}

/// Base offset in a segment's file name; `None` for any other file.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    (digits.len() == NAME_DIGITS && digits.bytes().all(|b| b.is_ascii_digit())).then(|| digits.parse().ok())?
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

/// `N` bytes at `at`. Callers have checked that they are there.
pub(crate) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARKER: Marker = *b"marker!!";

    #[test]
    fn a_segment_name_gives_back_its_base_and_sorts_like_the_number() {
        for base in [0, 9, 10, u64::MAX] {
            assert_eq!(parse_segment_name(&segment_name(base)), Some(base));
        }
        assert!(segment_name(9) < segment_name(10));
        assert!(segment_name(10) < segment_name(u64::MAX));
    }

    #[test]
    fn other_file_names_are_no_segments() {
        for name in ["lock", "log.state", "1.seg", "+0000000000000000001.seg", "99999999999999999999.seg", ".seg"] {
            assert_eq!(parse_segment_name(name), None, "{name}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_segment_header_is_noticed() {
        let good = SegmentHeader { marker: MARKER, base: 7, replaced_below: 90 };
        let bytes = good.encode();
        assert_eq!(SegmentHeader::decode(&bytes, 7), HeaderCheck::Valid(good));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad, 7), HeaderCheck::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn an_intact_header_of_a_later_version_is_not_taken_for_damage() {
        let mut bytes = SegmentHeader { marker: MARKER, base: 7, replaced_below: 0 }.encode();
        bytes[8] = 2;
        let crc = header_crc(&bytes);
        bytes[SEGMENT_CRC_AT..16].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(SegmentHeader::decode(&bytes, 7), HeaderCheck::Newer(2));
    }

    #[test]
    fn a_record_is_recognised_only_with_its_own_marker_and_checksum() {
        let mut bytes = Vec::new();
        encode_record(&mut bytes, &MARKER, 5, -9, b"payload");
        let header = RecordHeader::decode(&bytes, &MARKER).expect("own marker");
        assert_eq!((header.offset, header.timestamp, header.length), (5, -9, 7));
        assert!(header.verifies(&bytes));
        assert_eq!(RecordHeader::decode(&bytes, b"another!"), None);
        bytes[RECORD_HEADER_BYTES] ^= 1;
        assert!(!header.verifies(&bytes));
    }
}
