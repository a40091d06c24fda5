//! How a record lies in a log: key, headers and value in one payload.
//!
//! Version 1, little endian:
//!
//! | bytes | meaning |
//! |---|---|
//! | 1 | version, 1 |
//! | 4 | length of the key |
//! | 2 | number of headers |
//! | each header: 2 | length of its name |
//! | 4 | length of its value |
//! | n, m | name (UTF-8), value |
//! | k | key |
//! | rest | value |
//!
//! Topic, partition, offset and time are the log's. `tests/fixtures/v1/record.bin` is frozen: later versions must read
//! it. Bytes that break a rule give an error, never a panic; the log has already checked their CRC, so such a record
//! was written by something else.

use bytes::Bytes;

use crate::record::{MAX_HEADERS, MAX_RECORD_BYTES, Outgoing};

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 1 + 4 + 2;
const HEADER_FIXED_BYTES: usize = 2 + 4;
/// Largest payload: the largest record and its frame.
pub(super) const MAX_FRAME_BYTES: usize = MAX_RECORD_BYTES + FIXED_BYTES + MAX_HEADERS * HEADER_FIXED_BYTES;

/// What a payload holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub key: Bytes,
    pub headers: Vec<(String, Bytes)>,
    pub value: Bytes,
}

/// Frames a record whose sizes were checked before.
pub(super) fn encode(record: &Outgoing) -> Vec<u8> {
    let frame = FIXED_BYTES + record.headers.len() * HEADER_FIXED_BYTES;
    let mut out = Vec::with_capacity(frame + record.size());
    out.push(VERSION);
    out.extend_from_slice(&(record.key.len() as u32).to_le_bytes());
    out.extend_from_slice(&(record.headers.len() as u16).to_le_bytes());
    for (name, value) in &record.headers {
        out.extend_from_slice(&(name.len() as u16).to_le_bytes());
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value);
    }
    out.extend_from_slice(&record.key);
    out.extend_from_slice(&record.value);
    out
}

/// Reads a payload; keys and values share its memory.
pub(super) fn decode(mut payload: Bytes) -> Result<Frame, &'static str> {
    let fixed = take(&mut payload, FIXED_BYTES)?;
    if fixed[0] != VERSION {
        return Err("its frame has another version than 1; a newer program wrote it");
    }
    let key_bytes = u32_at(&fixed, 1);
    let count = u16_at(&fixed, 5);
    if count > MAX_HEADERS {
        return Err("it claims more headers than are allowed");
    }
    let mut headers = Vec::with_capacity(count);
    for _ in 0..count {
        let lengths = take(&mut payload, HEADER_FIXED_BYTES)?;
        let name = take(&mut payload, u16_at(&lengths, 0))?;
        let value = take(&mut payload, u32_at(&lengths, 2))?;
        let name = std::str::from_utf8(&name).map_err(|_| "a header name is not UTF-8")?;
        headers.push((name.to_owned(), value));
    }
    let key = take(&mut payload, key_bytes)?;
    Ok(Frame { key, headers, value: payload })
}

fn take(from: &mut Bytes, bytes: usize) -> Result<Bytes, &'static str> {
    match bytes <= from.len() {
        true => Ok(from.split_to(bytes)),
        false => Err("it ends in the middle of a field"),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROZEN: &[u8] = include_bytes!("../../tests/fixtures/v1/record.bin");

    fn sample() -> Outgoing {
        Outgoing::new("agent-1", vec![0u8, 1, 2, 255])
            .header("beffroi-tenant", "interieur")
            .header("binary", vec![0u8, 0xff, 0x80])
            .header("empty", "")
    }

    #[test]
    fn the_frozen_record_is_written_and_read_as_ever() {
        assert_eq!(encode(&sample()), FROZEN);
        let frame = decode(Bytes::from_static(FROZEN)).expect("frozen");
        assert_eq!(frame.key, "agent-1");
        assert_eq!(frame.headers[1], ("binary".into(), Bytes::from_static(&[0, 0xff, 0x80])));
        assert_eq!(frame.value, Bytes::from_static(&[0, 1, 2, 255]));
    }

    #[test]
    fn an_empty_record_survives() {
        let frame = decode(encode(&Outgoing::default()).into()).expect("empty");
        assert_eq!(frame, Frame { key: Bytes::new(), headers: vec![], value: Bytes::new() });
    }

    #[test]
    fn no_cut_and_no_flipped_byte_makes_it_panic() {
        for cut in 0..FROZEN.len() - 4 {
            assert!(decode(Bytes::from_static(&FROZEN[..cut])).is_err(), "cut at {cut}");
        }
        for at in 0..FROZEN.len() {
            for bit in 0..8 {
                let mut bad = FROZEN.to_vec();
                bad[at] ^= 1 << bit;
                let _ = decode(bad.into());
            }
        }
        assert!(decode(Bytes::from_static(&[2; 30])).is_err_and(|e| e.contains("version")));
        assert!(decode(Bytes::from_static(&[1, 0, 0, 0, 0, 255, 255])).is_err_and(|e| e.contains("headers")));
    }

    #[test]
    fn the_largest_record_fits_into_the_largest_frame() {
        let mut record = Outgoing::default();
        for _ in 0..MAX_HEADERS {
            record.headers.push(("n".into(), vec![0; 10]));
        }
        record.value = vec![0; MAX_RECORD_BYTES - record.size()].into();
        assert_eq!(encode(&record).len(), MAX_FRAME_BYTES);
    }
}
