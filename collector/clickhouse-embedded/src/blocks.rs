//! ClickHouse's compressed block framing, as `decompress=1` request bodies and `compress=1` answers use it.
//!
//! A stream of blocks, each: 16 bytes CityHash128 (version 1.0.2, halves swapped) over the rest, one byte method,
//! 4 bytes compressed size including this 9-byte header, 4 bytes raw size (both little-endian), then the data.
//! Owns no state. Hostile input gets a [`BlockError`]; nothing is allocated before the sizes were checked.

/// Checksum in front of each block.
const CHECKSUM_BYTES: usize = 16;
/// Method and the two sizes.
const HEADER_BYTES: usize = 9;
/// The LZ4 method byte.
const METHOD_LZ4: u8 = 0x82;
/// The "not compressed" method byte.
const METHOD_NONE: u8 = 0x02;
/// Raw size of the blocks we write: ClickHouse's own default (`max_compress_block_size`).
const WRITE_BLOCK_BYTES: usize = 1 << 20;

/// Why a compressed body was refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BlockError {
    #[error("the compressed body ends inside a block (block {block}, offset {offset})")]
    Truncated { block: usize, offset: usize },
    #[error("checksum of block {block} at offset {offset} does not match its bytes")]
    Checksum { block: usize, offset: usize },
    #[error("block {block} uses compression method 0x{method:02x}; LZ4 (0x82) and none (0x02) are supported")]
    Method { block: usize, method: u8 },
    #[error("block {block} is not valid LZ4 of the size it declares")]
    Corrupt { block: usize },
    #[error("the body unpacks to more than {limit} bytes")]
    TooLarge { limit: usize },
}

/// Unpacks a whole body; at most `limit` raw bytes.
pub(crate) fn unpack(body: &[u8], limit: usize) -> Result<Vec<u8>, BlockError> {
    let mut raw = Vec::new();
    let (mut offset, mut block) = (0, 0);
    while offset < body.len() {
        offset += unpack_block(&body[offset..], block, offset, limit, &mut raw)?;
        block += 1;
    }
    Ok(raw)
}

/// Unpacks the first block of `rest` onto `raw` and returns how many bytes it took.
fn unpack_block(rest: &[u8], block: usize, offset: usize, limit: usize, raw: &mut Vec<u8>) -> Result<usize, BlockError> {
    let truncated = BlockError::Truncated { block, offset };
    let (checksum, after) = rest.split_first_chunk::<CHECKSUM_BYTES>().ok_or(truncated)?;
    let truncated = BlockError::Truncated { block, offset };
    let header = after.first_chunk::<HEADER_BYTES>().ok_or(truncated)?;
    let size = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]) as usize;
    let (packed_size, raw_size) = (size(1), size(5));
    if packed_size < HEADER_BYTES || packed_size > after.len() {
        return Err(BlockError::Truncated { block, offset });
    }
    if raw.len().saturating_add(raw_size) > limit {
        return Err(BlockError::TooLarge { limit });
    }
    let covered = &after[..packed_size];
    if hash(covered).to_le_bytes() != *checksum {
        return Err(BlockError::Checksum { block, offset });
    }
    let data = &covered[HEADER_BYTES..];
    match header[0] {
        METHOD_NONE if data.len() == raw_size => raw.extend_from_slice(data),
        METHOD_LZ4 => {
            let start = raw.len();
            raw.resize(start + raw_size, 0);
            let written = lz4_flex::block::decompress_into(data, &mut raw[start..]);
            if written.ok() != Some(raw_size) {
                return Err(BlockError::Corrupt { block });
            }
        }
        METHOD_NONE => return Err(BlockError::Corrupt { block }),
        method => return Err(BlockError::Method { block, method }),
    }
    Ok(CHECKSUM_BYTES + packed_size)
}

/// Packs `raw` into LZ4 blocks.
pub(crate) fn pack(raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    for piece in raw.chunks(WRITE_BLOCK_BYTES) {
        let data = lz4_flex::block::compress(piece);
        let mut covered = Vec::with_capacity(HEADER_BYTES + data.len());
        covered.push(METHOD_LZ4);
        for size in [HEADER_BYTES + data.len(), piece.len()] {
            // Pieces are 1 MiB and LZ4 grows data by 0.4 % at most: the sizes fit 32 bits.
            covered.extend_from_slice(&(size as u32).to_le_bytes());
        }
        covered.extend_from_slice(&data);
        body.extend_from_slice(&hash(&covered).to_le_bytes());
        body.extend_from_slice(&covered);
    }
    body
}

fn hash(bytes: &[u8]) -> u128 {
    cityhash_rs::cityhash_102_128(bytes).rotate_right(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_unpacks_to_the_same_bytes() {
        for size in [0, 1, 1000, WRITE_BLOCK_BYTES + 7] {
            let raw: Vec<u8> = (0..size).map(|n| (n % 251) as u8).collect();
            assert_eq!(unpack(&pack(&raw), size).unwrap(), raw);
        }
    }

    #[test]
    fn one_flipped_bit_anywhere_is_refused() {
        let body = pack(b"some rows, some rows, some rows");
        for at in 0..body.len() {
            let mut bad = body.clone();
            bad[at] ^= 1;
            assert!(unpack(&bad, 1 << 20).is_err(), "byte {at}");
        }
    }

    #[test]
    fn a_cut_body_is_refused_at_every_length() {
        let body = pack(b"some rows, some rows, some rows");
        for length in 1..body.len() {
            assert!(unpack(&body[..length], 1 << 20).is_err(), "length {length}");
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let body = pack(&vec![0; 1 << 20]);
        assert!(body.len() < 10_000);
        assert_eq!(unpack(&body, 1 << 19), Err(BlockError::TooLarge { limit: 1 << 19 }));
    }
}
