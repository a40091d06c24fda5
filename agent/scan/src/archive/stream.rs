//! Compressed streams: gzip, xz, Zstandard. Each holds a tar or one member.
//!
//! Owns the memory that a stream may ask for: xz and Zstandard name the size of their window, and a hostile one asks for
//! gigabytes. What asks for more is unknown.

use std::io::{BufReader, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;
use zstd::stream::read::Decoder as ZstdReader;

use super::format::{HEAD_BYTES, Packing, is_tar};
use super::purse::Stop;
use super::{Source, Visitor};

/// Largest window of a Zstandard stream, as a power of two: 128 MiB, what `zstd --long` makes and every reader takes.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Memory of an xz stream (KiB): `xz -9` needs 65 MiB.
const XZ_MEMORY_KIB: u32 = 128 << 10;

/// Enough of a stream to tell a tar, and why there is no more of it, if so.
struct Head {
    bytes: Vec<u8>,
    error: Failure,
}

/// Gives an error that was met before, once: not every reader meets it again.
struct Failure(Option<std::io::Error>);

impl Read for Failure {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

impl Visitor<'_, '_> {
    /// Walks a compressed stream. A tar inside of it is no further level: `a.tar.gz!/b`.
    pub(super) fn packed(&mut self, packing: Packing, source: &Source<'_>, inside: &[u8], depth: u32) -> Stop {
        let packed = BufReader::new(self.purse.timed(source.reader()));
        match packing {
            Packing::Gzip => {
                let mut stream = MultiGzDecoder::new(packed);
                let head = self.head(&mut stream);
                let name = stream.header().and_then(|header| header.filename()).map(<[u8]>::to_vec);
                self.unpacked(head, stream, name, inside, depth)
            }
            Packing::Xz => {
                let mut stream = XzReader::new_mem_limit(packed, true, XZ_MEMORY_KIB);
                let head = self.head(&mut stream);
                self.unpacked(head, stream, None, inside, depth)
            }
            Packing::Zstd => {
                let opened = ZstdReader::with_buffer(packed);
                let opened = opened.and_then(|mut stream| stream.window_log_max(ZSTD_WINDOW_LOG).map(|()| stream));
                match opened {
                    Ok(mut stream) => {
                        let head = self.head(&mut stream);
                        self.unpacked(head, stream, None, inside, depth)
                    }
                    Err(error) => self.damaged(inside, &error.to_string()),
                }
            }
        }
    }

    fn head(&self, stream: &mut impl Read) -> Head {
        let mut bytes = Vec::with_capacity(HEAD_BYTES);
        let read = self.purse.metered(stream).take(HEAD_BYTES as u64).read_to_end(&mut bytes);
        Head { bytes, error: Failure(read.err()) }
    }

    fn unpacked(&mut self, head: Head, rest: impl Read, name: Option<Vec<u8>>, inside: &[u8], depth: u32) -> Stop {
        let (purse, is_tar) = (self.purse, is_tar(&head.bytes));
        let head = Cursor::new(head.bytes).chain(head.error);
        if is_tar {
            return self.tar(head.chain(rest), inside, depth);
        }
        if purse.is_spent() || !purse.take_entry() {
            return self.spent(inside);
        }
        let name = name.filter(|name| !name.is_empty()).unwrap_or_else(|| self.stem(inside).into_bytes());
        let place = Self::place(inside, &name);
        self.member(head.chain(purse.metered(rest)), &place, depth, |_| None)
    }

    /// The archive's own name without its ending.
    fn stem(&self, inside: &[u8]) -> String {
        let whole = format!("{}{}", self.name, String::from_utf8_lossy(inside));
        let last = whole.rsplit('/').next().unwrap_or_default();
        [".gz", ".xz", ".zst"].iter().find_map(|ending| last.strip_suffix(ending)).unwrap_or(last).to_string()
    }
}
