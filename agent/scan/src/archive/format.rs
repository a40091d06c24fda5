//! Which archive some bytes are, whatever their name says.

use rawzip::ReaderAt;

use super::Source;

/// A kind of archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Zip, and so jar, war and ear.
    Zip,
    /// Tar, with or without a signature.
    Tar,
    /// A compressed stream; what it holds may be a tar.
    Packed(Packing),
    /// Known, but not opened.
    Closed(&'static str),
}

/// A way to compress a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Gzip,
    Xz,
    Zstd,
}

/// Size of a tar header, and enough for every signature.
pub(super) const HEAD_BYTES: usize = 512;
/// Size of the record that ends a zip without comment.
const ZIP_END_BYTES: u64 = 22;
/// Where a zip's last record can begin: a comment has at most 65,535 bytes.
const ZIP_SEARCH_BYTES: u64 = ZIP_END_BYTES + 65_535;

/// Compressed streams, by their first bytes.
const PACKED: [(&[u8], Packing); 3] =
    [(b"\x1f\x8b\x08", Packing::Gzip), (b"\xfd7zXZ\0", Packing::Xz), (b"\x28\xb5\x2f\xfd", Packing::Zstd)];

/// Formats that are recognised only, by their first bytes.
const CLOSED: [(&[u8], &str); 7] = [
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"Rar!\x1a\x07", "RAR"),
    (b"BZh", "bzip2"),
    (b"MSCF\0\0\0\0", "cabinet"),
    (b"!<arch>\ndebian-binary", "Debian package"),
    (b"\xed\xab\xee\xdb", "RPM package"),
    (b"\x1f\x9d", "compress"),
];

/// The format of a source; `None` for everything that is no archive.
pub(super) fn of(source: &Source<'_>) -> Option<Format> {
    let mut buffer = [0; HEAD_BYTES];
    let head = source.head(&mut buffer);
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") || head.starts_with(b"PK\x07\x08PK\x03\x04") {
        return Some(Format::Zip);
    }
    if let Some((_, packing)) = PACKED.iter().find(|(signature, _)| head.starts_with(signature)) {
        return Some(Format::Packed(*packing));
    }
    if is_tar(head) {
        return Some(Format::Tar);
    }
    let is = |signature: &[u8], name: &str| {
        // Three letters alone begin many a text: bzip2 has a digit and a block behind them.
        head.starts_with(signature) && (name != "bzip2" || head.get(4..10).is_some_and(|block| block == b"1AY&SY"))
    };
    if let Some((_, name)) = CLOSED.iter().find(|(signature, name)| is(signature, name)) {
        return Some(Format::Closed(name));
    }
    ends_like_zip(source).then_some(Format::Zip)
}

/// Whether these bytes begin with a tar header: its checksum holds.
pub(super) fn is_tar(head: &[u8]) -> bool {
    let Some(block) = head.first_chunk::<HEAD_BYTES>() else { return false };
    let mut header = tar::Header::new_old();
    *header.as_mut_bytes() = *block;
    let sum = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * u32::from(b' ');
    // A block of zeros, and a text whose sum happens to be right, have no name and size.
    block[0] != 0 && header.cksum().is_ok_and(|told| told == sum) && header.entry_size().is_ok()
}

/// A program or a script with a zip behind it (an executable jar): its last record ends where the file ends, and the
/// directory that it points to begins like one.
fn ends_like_zip(source: &Source<'_>) -> bool {
    let search = ZIP_SEARCH_BYTES.min(source.len());
    if search < ZIP_END_BYTES {
        return false;
    }
    let start = source.len() - search;
    let mut tail = vec![0; search as usize];
    if source.read_exact_at(&mut tail, start).is_err() {
        return false;
    }
    let ends = tail.windows(ZIP_END_BYTES as usize).enumerate().rev();
    let mut ends = ends.filter(|(at, end)| {
        let comment = u64::from(u16::from_le_bytes([end[20], end[21]]));
        end.starts_with(b"PK\x05\x06") && *at as u64 + ZIP_END_BYTES + comment == search
    });
    ends.any(|(at, end)| {
        let size = u64::from(u32::from_le_bytes([end[12], end[13], end[14], end[15]]));
        let mut directory = [0; 4];
        let place = (start + at as u64).checked_sub(size);
        place.is_some_and(|place| source.read_exact_at(&mut directory, place).is_ok() && &directory == b"PK\x01\x02")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bytes(bytes: &[u8]) -> Option<Format> {
        of(&Source::bytes(bytes))
    }

    #[test]
    fn archives_are_known_by_their_bytes() {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(1);
        header.set_cksum();
        tar.append_data(&mut header, "a", &b"x"[..]).unwrap();
        assert_eq!(of_bytes(&tar.into_inner().unwrap()), Some(Format::Tar));
        assert_eq!(of_bytes(b"PK\x05\x06"), Some(Format::Zip));
        assert_eq!(of_bytes(b"\x1f\x8b\x08\0"), Some(Format::Packed(Packing::Gzip)));
        assert_eq!(of_bytes(b"\xfd7zXZ\0\0"), Some(Format::Packed(Packing::Xz)));
        assert_eq!(of_bytes(b"BZh91AY&SY..."), Some(Format::Closed("bzip2")));
        assert_eq!(of_bytes(b"7z\xbc\xaf\x27\x1c"), Some(Format::Closed("7-Zip")));
    }

    #[test]
    fn ordinary_files_are_no_archives() {
        for bytes in [&b""[..], b"PK", b"BZhello world", &[0; 2048], b"#!/bin/sh\n", &[b'7'; 600]] {
            assert_eq!(of_bytes(bytes), None, "{bytes:?}");
        }
        // The signature alone, as in any program that reads zips, is no end of one.
        let mut program = vec![b'x'; 100];
        program.extend_from_slice(b"PK\x05\x06");
        program.extend_from_slice(&[0; 18]);
        assert_eq!(of_bytes(&program), None);
    }
}
