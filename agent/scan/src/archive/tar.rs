//! Tar: a stream of headers and contents.
//!
//! Only plain files have contents; links, devices and folders are counted and left alone. Long names (GNU, pax) are
//! read within a limit. Sizes in pax records are refused: readers differ about them, which hides members.

use std::io::Read;

use tar::EntryType;

use super::purse::Stop;
use super::{MAX_MEMBER_NAME_BYTES, Visitor};

/// Names and pax records of one member: longer ones are an attack.
const MAX_EXTENSION_BYTES: u64 = 64 * 1024;

/// What the headers before a member say of it.
#[derive(Default)]
struct Ahead {
    name: Option<Vec<u8>>,
    flaw: Option<String>,
}

impl Visitor<'_, '_> {
    /// Walks a tar.
    pub(super) fn tar(&mut self, stream: impl Read, inside: &[u8], depth: u32) -> Stop {
        let purse = self.purse;
        let mut archive = tar::Archive::new(purse.metered(stream));
        let entries = match archive.entries() {
            Ok(entries) => entries.raw(true),
            Err(error) => return self.damaged(inside, &error.to_string()),
        };
        let mut ahead = Ahead::default();
        for entry in entries {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.damaged(inside, &error.to_string()),
            };
            if !purse.take_entry() {
                return self.spent(inside);
            }
            let kind = entry.header().entry_type();
            let size = entry.size();
            if is_extension(kind) {
                read_extension(&mut entry, kind, size, &mut ahead);
                continue;
            }
            let Ahead { name, flaw } = std::mem::take(&mut ahead);
            let name = name.unwrap_or_else(|| entry.header().path_bytes().into_owned());
            let place = Self::place(inside, &name);
            if has_content(kind) {
                let check = |content: &[u8]| {
                    let cut = (content.len() as u64) < size;
                    flaw.or_else(|| cut.then(|| "it is damaged: the archive ends before it does".into()))
                };
                if self.member(&mut entry, &place, depth, check) == Stop::Yes {
                    return Stop::Yes;
                }
            } else if kind.is_gnu_sparse() || size > 0 {
                self.tally.unknown(&place, "it is a sparse or special member, which is not read");
            }
        }
        Stop::No
    }

    /// An archive that cannot be read further; a spent budget looks like damage to every reader.
    pub(super) fn damaged(&mut self, inside: &[u8], error: &str) -> Stop {
        if self.purse.is_spent() {
            return self.spent(inside);
        }
        self.tally.unknown(inside, &format!("the archive is damaged: {error}; the rest of it was not looked at"));
        Stop::No
    }
}

fn has_content(kind: EntryType) -> bool {
    kind.is_file() || kind.is_contiguous()
}

fn is_extension(kind: EntryType) -> bool {
    kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions() || kind.is_pax_global_extensions()
}

fn read_extension(entry: &mut impl Read, kind: EntryType, size: u64, ahead: &mut Ahead) {
    let mut bytes = Vec::new();
    // What is missing here is missing for the archive's reader as well, which reports it.
    let _ = entry.take(MAX_EXTENSION_BYTES).read_to_end(&mut bytes);
    if size > MAX_EXTENSION_BYTES {
        ahead.flaw = Some(format!("its header has {size} bytes, the limit is {MAX_EXTENSION_BYTES}"));
    }
    if kind.is_gnu_longname() {
        bytes.truncate(bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len()).min(MAX_MEMBER_NAME_BYTES));
        ahead.name = Some(bytes);
    } else if kind.is_pax_local_extensions() || kind.is_pax_global_extensions() {
        for record in tar::PaxExtensions::new(&bytes).flatten() {
            match record.key_bytes() {
                b"path" => ahead.name = Some(record.value_bytes().to_vec()),
                b"size" => ahead.flaw = Some("its size stands in a pax record, which readers disagree about".into()),
                key if key.starts_with(b"GNU.sparse.") => ahead.flaw = Some("it is a sparse member".into()),
                _ => {}
            }
        }
    }
}
