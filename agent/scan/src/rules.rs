//! Rules that come as texts instead of files: those of an order, named by their SHA-256.
//!
//! Owns their way into the worker: one sealed memory file that travels over the socket before the first word, because
//! they do not fit into an argument and must not lie on a disk where somebody could exchange them after the check.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use sha2::{Digest, Sha256};

/// Texts of one worker: as many as an order may name.
const MAX_TEXTS: usize = 64;
/// One text.
const MAX_TEXT_BYTES: usize = 8 << 20;
/// All texts of one worker: 64 of 900 KiB are 57 MiB.
const MAX_TOTAL_BYTES: u64 = 64 << 20;
/// Longest name of a text: the hex form of a SHA-256, or a file's name.
const MAX_NAME_BYTES: usize = 255;

/// The text of one rule file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleText {
    name: String,
    text: Arc<[u8]>,
}

/// A rule text cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RuleTextError {
    /// The bytes are not those that were asked for.
    #[error("the rule text has SHA-256 {got}, {expected} was expected; fetch it again")]
    Hash {
        /// SHA-256 of the bytes, hex.
        got: String,
        /// What was expected, hex.
        expected: String,
    },
    /// More bytes than a rule file may have.
    #[error("a rule text of {0} bytes; the limit is {MAX_TEXT_BYTES}")]
    TooLarge(usize),
}

impl RuleText {
    /// A text that must have this SHA-256, which becomes its name and the namespace of its rules.
    ///
    /// # Errors
    /// [`RuleTextError`] when the bytes are others, or too many.
    pub fn verified(text: Vec<u8>, sha256: &[u8; 32]) -> Result<Self, RuleTextError> {
        let got: [u8; 32] = Sha256::digest(&text).into();
        if got != *sha256 {
            return Err(RuleTextError::Hash { got: hex::encode(got), expected: hex::encode(sha256) });
        }
        Self::named(&hex::encode(sha256), text)
    }

    /// A text under a name of the caller's choice, which becomes the namespace of its rules.
    ///
    /// # Errors
    /// [`RuleTextError::TooLarge`].
    pub fn named(name: &str, text: Vec<u8>) -> Result<Self, RuleTextError> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(RuleTextError::TooLarge(text.len()));
        }
        let mut end = name.len().min(MAX_NAME_BYTES);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        Ok(Self { name: name[..end].into(), text: text.into() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.text
    }
}

/// Writes texts into a memory file that nobody can change any more.
pub(crate) fn seal(texts: &[RuleText]) -> io::Result<OwnedFd> {
    if texts.len() > MAX_TEXTS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{} rule texts, the limit is {MAX_TEXTS}", texts.len())));
    }
    let total: u64 = texts.iter().map(|text| (text.name.len() + text.text.len() + 8) as u64).sum();
    if total > MAX_TOTAL_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{total} bytes of rule texts, the limit is {MAX_TOTAL_BYTES}"),
        ));
    }
    let descriptor = memfd_create(c"beffroi-rules", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
    let mut file = File::from(descriptor);
    for text in texts {
        for part in [text.name.as_bytes(), &text.text] {
            file.write_all(&(part.len() as u32).to_le_bytes())?;
            file.write_all(part)?;
        }
    }
    file.rewind()?;
    let seals = SealFlag::F_SEAL_WRITE | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// Reads them back in the worker.
pub(crate) fn unseal(descriptor: OwnedFd) -> io::Result<Vec<RuleText>> {
    let mut bytes = Vec::new();
    File::from(descriptor).take(MAX_TOTAL_BYTES).read_to_end(&mut bytes)?;
    let mut rest = bytes.as_slice();
    let mut texts = Vec::new();
    while !rest.is_empty() {
        let name = part(&mut rest)?;
        let text = part(&mut rest)?;
        texts.push(RuleText { name: String::from_utf8_lossy(name).into_owned(), text: text.into() });
    }
    Ok(texts)
}

fn part<'a>(rest: &mut &'a [u8]) -> io::Result<&'a [u8]> {
    let cut = || io::Error::new(io::ErrorKind::UnexpectedEof, "the rule texts are cut");
    let (len, after) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let (part, after) = after.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(cut)?;
    *rest = after;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_arrive_as_they_were_and_cannot_be_changed_on_the_way() {
        let texts = [RuleText::named("a", b"rule a".to_vec()).unwrap(), RuleText::named("b", vec![0xff; 300_000]).unwrap()];
        let sealed = seal(&texts).unwrap();
        let written = File::from(sealed.try_clone().unwrap()).write(b"x");
        assert_eq!(written.unwrap_err().raw_os_error(), Some(libc::EPERM));
        assert_eq!(unseal(sealed).unwrap(), texts);
    }

    #[test]
    fn a_text_that_is_not_the_one_that_was_asked_for_is_refused() {
        let hash: [u8; 32] = Sha256::digest(b"rule a").into();
        let text = RuleText::verified(b"rule a".to_vec(), &hash).unwrap();
        assert_eq!(text.name(), hex::encode(hash));
        let error = RuleText::verified(b"rule b".to_vec(), &hash).unwrap_err();
        assert!(matches!(error, RuleTextError::Hash { .. }) && error.to_string().contains("fetch it again"));
        assert_eq!(RuleText::named("n", vec![0; MAX_TEXT_BYTES + 1]), Err(RuleTextError::TooLarge(MAX_TEXT_BYTES + 1)));
    }

    #[test]
    fn cut_texts_are_an_error() {
        let sealed = |bytes: &[u8]| {
            let mut file = File::from(memfd_create(c"test", MFdFlags::MFD_CLOEXEC).unwrap());
            file.write_all(bytes).unwrap();
            file.rewind().unwrap();
            OwnedFd::from(file)
        };
        for bytes in [&[1u8, 0][..], &[9, 0, 0, 0, b'x'], &[1, 0, 0, 0, b'n'], &[255; 64]] {
            assert!(unseal(sealed(bytes)).is_err(), "{bytes:?}");
        }
    }
}
