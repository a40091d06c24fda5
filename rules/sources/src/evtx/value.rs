//! Values of records: from their bytes to JSON, in the words in which other readers show them.

use beffroi_schema::json::rfc3339;
use serde_json::Value as Json;

use super::FILETIME_TO_UNIX_US;

/// Type of a value that is a fragment of XML.
pub(super) const FRAGMENT: u8 = 0x21;
/// Set in the type of a value that is a list.
const ARRAY: u8 = 0x80;
const STRING: u8 = 0x01;
const ANSI: u8 = 0x02;

/// What the bytes of a value mean.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Read {
    /// One value.
    One(Json),
    /// A list: the element around it stands once for each.
    Many(Vec<Json>),
}

/// Reads a value; none when its bytes are not of its type.
pub(super) fn read(kind: u8, bytes: &[u8]) -> Option<Read> {
    if kind & ARRAY == 0 {
        return one(kind, bytes).map(Read::One);
    }
    let kind = kind & !ARRAY;
    let list: Vec<Json> = match kind {
        STRING => strings(bytes),
        ANSI => bytes.strip_suffix(b"\0").unwrap_or(bytes).split(|byte| *byte == 0).map(|text| ansi(text).into()).collect(),
        _ => bytes.chunks(width(kind)?).map(|bytes| one(kind, bytes)).collect::<Option<_>>()?,
    };
    Some(Read::Many(list))
}

fn one(kind: u8, bytes: &[u8]) -> Option<Json> {
    if kind == 0 || (bytes.is_empty() && !matches!(kind, STRING | ANSI)) {
        return Some(Json::Null);
    }
    Some(match kind {
        STRING => utf16(bytes).into(),
        ANSI => ansi(bytes).into(),
        0x03 => i8::from_le_bytes(bytes.try_into().ok()?).into(),
        0x04 => u8::from_le_bytes(bytes.try_into().ok()?).into(),
        0x05 => i16::from_le_bytes(bytes.try_into().ok()?).into(),
        0x06 => u16::from_le_bytes(bytes.try_into().ok()?).into(),
        0x07 => i32::from_le_bytes(bytes.try_into().ok()?).into(),
        0x08 => u32::from_le_bytes(bytes.try_into().ok()?).into(),
        0x09 => i64::from_le_bytes(bytes.try_into().ok()?).into(),
        0x0a => u64::from_le_bytes(bytes.try_into().ok()?).into(),
        0x0b => f32::from_le_bytes(bytes.try_into().ok()?).to_string().into(),
        0x0c => f64::from_le_bytes(bytes.try_into().ok()?).to_string().into(),
        0x0d => match i32::from_le_bytes(bytes.try_into().ok()?) {
            0 => false.into(),
            1 => true.into(),
            other => other.into(),
        },
        0x0e => hex::encode_upper(bytes).into(),
        0x0f => guid(bytes.try_into().ok()?).into(),
        0x11 => filetime(u64::from_le_bytes(bytes.try_into().ok()?)).into(),
        0x12 => systemtime(bytes.try_into().ok()?).into(),
        0x13 => sid(bytes)?.into(),
        0x10 | 0x14 | 0x15 => match bytes.len() {
            4 => format!("{:#x}", u32::from_le_bytes(bytes.try_into().ok()?)).into(),
            _ => format!("{:#x}", u64::from_le_bytes(bytes.try_into().ok()?)).into(),
        },
        _ => return None,
    })
}

/// Bytes of one element of a list.
fn width(kind: u8) -> Option<usize> {
    Some(match kind {
        0x03 | 0x04 => 1,
        0x05 | 0x06 => 2,
        0x07 | 0x08 | 0x0b | 0x0d | 0x14 => 4,
        0x09 | 0x0a | 0x0c | 0x10 | 0x11 | 0x15 => 8,
        0x0f | 0x12 => 16,
        _ => return None,
    })
}

/// Text of units of sixteen bits, up to the first zero.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]]));
    char::decode_utf16(units.take_while(|unit| *unit != 0)).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

fn strings(bytes: &[u8]) -> Vec<Json> {
    let units: Vec<u16> = bytes.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    let units = units.strip_suffix(&[0]).unwrap_or(&units);
    units.split(|unit| *unit == 0).map(|text| String::from_utf16_lossy(text).into()).collect()
}

/// Text in the code page of its machine. Which one that was is not said; what is no UTF-8 is taken for Latin-1.
fn ansi(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    std::str::from_utf8(bytes).map_or_else(|_| bytes.iter().map(|byte| char::from(*byte)).collect(), ToString::to_string)
}

fn guid(bytes: [u8; 16]) -> String {
    // The first three parts have their lowest byte first.
    let order = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let text = hex::encode_upper(order.map(|at| bytes[at]));
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

fn filetime(units: u64) -> String {
    let since_1601 = i64::try_from(units / 10).unwrap_or(i64::MAX);
    rfc3339(since_1601.saturating_sub(FILETIME_TO_UNIX_US))
}

fn systemtime(bytes: [u8; 16]) -> String {
    let part = |at: usize| u16::from_le_bytes([bytes[at * 2], bytes[at * 2 + 1]]);
    let [year, month, _weekday, day, hour, minute, second, milli] = std::array::from_fn(part);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}000Z")
}

fn sid(bytes: &[u8]) -> Option<String> {
    let (revision, count) = (*bytes.first()?, usize::from(*bytes.get(1)?));
    let authority = bytes.get(2..8)?.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let parts = bytes.get(8..8 + count * 4)?;
    let mut text = format!("S-{revision}-{authority}");
    for part in parts.chunks_exact(4) {
        text.push_str(&format!("-{}", u32::from_le_bytes(part.try_into().ok()?)));
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wide(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn values_are_shown_as_other_readers_show_them() {
        for (kind, bytes, wanted) in [
            (0x01, wide("été\0rest"), json!("été")),
            (0x03, vec![0xff], json!(-1)),
            (0x08, 7_u32.to_le_bytes().to_vec(), json!(7)),
            (0x0b, 0.1_f32.to_le_bytes().to_vec(), json!("0.1")),
            (0x0c, f64::NAN.to_le_bytes().to_vec(), json!("NaN")),
            (0x0d, 1_u32.to_le_bytes().to_vec(), json!(true)),
            (0x0e, vec![0xde, 0xad], json!("DEAD")),
            (0x0f, (0..16).collect(), json!("03020100-0504-0706-0809-0A0B0C0D0E0F")),
            (0x11, 132_816_948_295_660_330_u64.to_le_bytes().to_vec(), json!("2021-11-18T07:40:29.566033Z")),
            (
                0x12,
                [2021_u16, 11, 4, 18, 7, 40, 29, 5].iter().flat_map(|part| part.to_le_bytes()).collect(),
                json!("2021-11-18T07:40:29.005000Z"),
            ),
            (0x13, vec![1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0], json!("S-1-5-18")),
            (0x14, 255_u32.to_le_bytes().to_vec(), json!("0xff")),
            (0x15, 0x8000_0000_0000_0000_u64.to_le_bytes().to_vec(), json!("0x8000000000000000")),
            (0x00, vec![], Json::Null),
        ] {
            assert_eq!(read(kind, &bytes), Some(Read::One(wanted)), "{kind:#x}");
        }
        assert_eq!(read(0x81, &wide("a\0b\0")), Some(Read::Many(vec![json!("a"), json!("b")])));
        assert_eq!(read(0x88, &[1, 0, 0, 0, 2, 0, 0, 0]), Some(Read::Many(vec![json!(1), json!(2)])));
    }

    #[test]
    fn bytes_of_another_size_are_no_value() {
        for (kind, bytes) in [
            (0x08, vec![1, 2]),
            (0x0f, vec![1]),
            (0x13, vec![1, 200, 0, 0]),
            (0x99, vec![1]),
            (0x88, vec![1; 5]),
            (0x50, vec![1]),
        ] {
            assert_eq!(read(kind, &bytes), None, "{kind:#x}");
        }
    }
}
