//! ClickHouse's RowBinary: little-endian numbers, strings with a length in front, arrays and maps with a count.

/// A length or count (LEB128).
pub(crate) fn length(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// `String`, also `LowCardinality(String)`: bytes as they are.
pub(crate) fn text(out: &mut Vec<u8>, bytes: impl AsRef<[u8]>) {
    let bytes = bytes.as_ref();
    length(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// `Array(String)`.
pub(crate) fn texts<T: AsRef<[u8]>>(out: &mut Vec<u8>, list: &[T]) {
    length(out, list.len());
    for bytes in list {
        text(out, bytes);
    }
}

/// `UInt64`.
pub(crate) fn uint(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// `Int64`.
pub(crate) fn int(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&number.to_le_bytes());
}

/// `DateTime64(6)`: microseconds since 1970, brought into its range.
pub(crate) fn time(out: &mut Vec<u8>, micros: i64) {
    int(out, crate::time::clamp(micros));
}

/// `Bool` and `UInt8`.
pub(crate) fn byte(out: &mut Vec<u8>, number: impl Into<u8>) {
    out.push(number.into());
}

/// `Nullable(UInt64)`.
pub(crate) fn uint_or_null(out: &mut Vec<u8>, number: Option<u64>) {
    match number {
        Some(number) => {
            out.push(0);
            uint(out, number);
        }
        None => out.push(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_over_127_takes_two_bytes() {
        let mut out = Vec::new();
        text(&mut out, vec![b'x'; 300]);
        assert_eq!(&out[..2], &[0xac, 0x02]);
        assert_eq!(out.len(), 302);
    }
}
