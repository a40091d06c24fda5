//! Files of signed envelopes (`*.beffroi`): certificates, revocations, orders, as text that survives mail and paper.
//!
//! First line `beffroi-signed-1 KIND` (KIND: certificate, order, policy, rule-pack, revocation), then base64 (standard
//! alphabet, padded, lines of 64) of the encoded `Signed`. Blank lines count for nothing. A file whose first line names
//! another kind than its envelope is refused: what people read there must be true.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use beffroi_schema::down::{self, Signed, SignedKind};
use beffroi_schema::limits::MAX_SIGNED_BYTES;
use prost::Message;

use crate::errors::{Failure, Outcome};
use crate::private_file::{self, NewFile};

/// First word of every such file; the digit is the version of this form.
pub const HEADER: &str = "beffroi-signed-1";
/// Characters of a line.
const LINE: usize = 64;
/// Longest file: base64 of the largest envelope with its line ends, and some room for the first line.
const MAX_TEXT_BYTES: u64 = (MAX_SIGNED_BYTES as u64 * 4 / 3) + (MAX_SIGNED_BYTES as u64 / 32) + 1024;
const HINT: &str = "it should be a .beffroi file, as `beffroi key` writes them";

/// Name of a kind in the first line.
pub fn kind_name(kind: u32) -> &'static str {
    const NAMES: [(SignedKind, &str); 5] = [
        (SignedKind::OperatorCertificate, "certificate"),
        (SignedKind::Order, "order"),
        (SignedKind::Policy, "policy"),
        (SignedKind::RulePack, "rule-pack"),
        (SignedKind::Revocation, "revocation"),
    ];
    NAMES.iter().find(|(known, _)| *known as u32 == kind).map_or("unknown", |(_, name)| name)
}

/// The text form.
pub fn to_text(signed: &Signed) -> String {
    let mut text = format!("{HEADER} {}\n", kind_name(signed.kind));
    for line in STANDARD.encode(signed.encode_to_vec()).as_bytes().chunks(LINE) {
        text.push_str(&String::from_utf8_lossy(line));
        text.push('\n');
    }
    text
}

/// Whether this is the text of an envelope, rather than a key.
pub fn is_envelope(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER.as_bytes())
}

/// Reads the text form; why not, in a few words. Verifies no signature.
pub fn from_text(bytes: &[u8]) -> Result<Signed, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is no text".to_string())?;
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let named = first.trim_end().strip_prefix(HEADER).and_then(|rest| rest.strip_prefix(' '));
    let named = named.ok_or_else(|| format!("its first line is not `{HEADER} KIND`"))?;
    let body: String = rest.split_ascii_whitespace().collect();
    let bytes = STANDARD.decode(body).map_err(|_| "it is damaged (base64)".to_string())?;
    let signed = down::parse(&bytes).map_err(|error| error.to_string())?;
    if kind_name(signed.kind) != named {
        return Err(format!("its first line names another kind than it holds ({})", kind_name(signed.kind)));
    }
    Ok(signed)
}

/// Reads a file.
pub fn read(path: &Path) -> Outcome<Signed> {
    let bytes = private_file::read(path, MAX_TEXT_BYTES, HINT)?;
    from_text(&bytes).map_err(|why| Failure::usage(format!("{}: {why}", path.display()), HINT))
}

/// Writes a new file.
pub fn write(path: &Path, signed: &Signed) -> Outcome {
    NewFile::public(path)?.write(&to_text(signed), "is there room?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed() -> Signed {
        Signed { kind: SignedKind::Revocation as u32, body: vec![7; 200], signatures: Vec::new(), threshold: 1 }
    }

    #[test]
    fn an_envelope_survives_its_text_and_a_mail_program() {
        let text = to_text(&signed());
        assert!(text.starts_with("beffroi-signed-1 revocation\n") && text.lines().all(|line| line.len() <= 64), "{text}");
        assert_eq!(from_text(text.as_bytes()).unwrap(), signed());
        assert_eq!(from_text(text.replace('\n', "\r\n").as_bytes()).unwrap(), signed());
        assert_eq!(from_text(format!("{text}\n\n").as_bytes()).unwrap(), signed());
    }

    #[test]
    fn a_first_line_that_lies_and_damage_are_refused() {
        let text = to_text(&signed());
        for bad in [
            text.replace("revocation", "certificate"),
            text.replace("signed-1", "signed-2"),
            text.replace(" revocation", ""),
            text[..60].to_string(),
            text.replace("\n", "\n%"),
            String::new(),
        ] {
            assert!(from_text(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(from_text(&[0xff, 0xfe]).is_err());
    }
}
