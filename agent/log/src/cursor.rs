//! A reader's place in a log, in one small file that survives a power cut.
//!
//! Owns two alternating slots with sequence and checksum: `set` overwrites the older one, so that a torn write
//! falls back to the value before. The file lies outside the log's folder, because the reader runs under another
//! user than the writer and may write nothing of the log.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{self, FILE_MODE};
use crate::format::{u32_at, u64_at};

/// Largest metadata of a cursor (bytes): room for the bounds of a planned insert, no place for records.
pub const MAX_CURSOR_METADATA_BYTES: usize = 4096;

const MAGIC: &[u8; 8] = b"BEFFRCUR";
const HEADER_BYTES: usize = 32;
const CRC_AT: usize = 28;
/// Slots begin on different pages, so that writing one never touches the other.
const SLOT_BYTES: usize = 8192;
const READ_ATTEMPTS: usize = 8;

/// A stored place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorValue {
    /// Offset of the next record wanted.
    pub offset: u64,
    /// Whatever the owner stored with it.
    pub metadata: Vec<u8>,
}

/// What the file looked like when it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CursorHealth {
    /// Absent, empty or whole.
    Clean,
    /// The newest write was torn; the value before it is used. Records since then are read again.
    FellBack,
    /// No slot is readable. The cursor counts as unset; records are read again from the oldest.
    Lost,
}

#[derive(Debug, Clone)]
struct Slot {
    sequence: u64,
    value: CursorValue,
}

impl Slot {
    fn encode(&self) -> Vec<u8> {
        let metadata = &self.value.metadata;
        let mut out = vec![0; HEADER_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.value.offset.to_le_bytes());
        out[24..28].copy_from_slice(&(metadata.len() as u32).to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&out[..CRC_AT]), metadata);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(metadata);
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let header = bytes.get(..HEADER_BYTES)?;
        let length = u32_at(header, 24) as usize;
        if &header[..8] != MAGIC || length > MAX_CURSOR_METADATA_BYTES {
            return None;
        }
        let metadata = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?;
        let crc = crc32c::crc32c_append(crc32c::crc32c(&header[..CRC_AT]), metadata);
        (crc == u32_at(header, CRC_AT)).then(|| Self {
            sequence: u64_at(header, 8),
            value: CursorValue { offset: u64_at(header, 16), metadata: metadata.to_vec() },
        })
    }
}

/// Both slots as read, newest valid one first in line.
fn read_slots(file: &File) -> io::Result<(Option<Slot>, CursorHealth)> {
    let mut bytes = vec![0; 2 * SLOT_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    let (mut newest, mut torn) = (None::<Slot>, false);
    for raw in bytes.chunks(SLOT_BYTES) {
        match Slot::decode(raw) {
            Some(slot) if newest.as_ref().is_none_or(|n| slot.sequence > n.sequence) => newest = Some(slot),
            Some(_) => {}
            None => torn |= raw.iter().any(|b| *b != 0),
        }
    }
    let health = match (&newest, torn) {
        (_, false) => CursorHealth::Clean,
        (Some(_), true) => CursorHealth::FellBack,
        (None, true) => CursorHealth::Lost,
    };
    Ok((newest, health))
}

/// Gives a new file its full size, so that a disk that fills up later cannot stop the cursor.
fn reserve(file: &File, path: &Path) -> Result<()> {
    let length = file.metadata().map_err(|e| Error::io("inspect", path, e))?.len() as usize;
    if length < 2 * SLOT_BYTES {
        let zeroes = vec![0; 2 * SLOT_BYTES - length];
        file.write_all_at(&zeroes, length as u64).map_err(|e| Error::io("write", path, e))?;
    }
    Ok(())
}

/// The owner's handle on a cursor. One process owns it at a time.
#[derive(Debug)]
pub struct CursorFile {
    file: File,
    path: PathBuf,
    slot: Option<Slot>,
    health: CursorHealth,
    durable: bool,
}

impl CursorFile {
    /// Opens or creates the cursor; each `set` is synced before it returns.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), true)
    }

    /// As [`CursorFile::open`], but `set` leaves the write to the operating system: a power cut may set the
    /// cursor back (records are read again), the end of the process does not.
    pub fn open_relaxed(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), false)
    }

    fn open_with(path: &Path, durable: bool) -> Result<Self> {
        let fresh = !path.exists();
        let file = files::open_rw(path, FILE_MODE, false)?;
        files::lock(&file, path)?;
        reserve(&file, path)?;
        if let (true, Some(parent)) = (fresh && durable, path.parent()) {
            files::sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        let (slot, health) = read_slots(&file).map_err(|e| Error::io("read", path, e))?;
        Ok(Self { file, path: path.to_path_buf(), slot, health, durable })
    }

    /// The stored place; `None` when none was ever stored (or both slots are lost, see [`CursorFile::health`]).
    pub fn get(&self) -> Option<&CursorValue> {
        self.slot.as_ref().map(|slot| &slot.value)
    }

    /// What the file looked like when it was opened.
    pub fn health(&self) -> CursorHealth {
        self.health
    }

    /// Stores a place. On error the value before is still in the file.
    pub fn set(&mut self, offset: u64, metadata: &[u8]) -> Result<()> {
        if metadata.len() > MAX_CURSOR_METADATA_BYTES {
            return Err(Error::MetadataTooLarge { bytes: metadata.len() });
        }
        let sequence = self.slot.as_ref().map_or(1, |slot| slot.sequence.wrapping_add(1));
        let slot = Slot { sequence, value: CursorValue { offset, metadata: metadata.to_vec() } };
        let at = (sequence % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&slot.encode(), at).map_err(|e| Error::io("write", &self.path, e))?;
        if self.durable {
            self.file.sync_data().map_err(|e| Error::io("sync", &self.path, e))?;
        }
        self.slot = Some(slot);
        Ok(())
    }
}

/// Reads a cursor that another process (and user) owns, for example to see what may be dropped.
/// `None` when it does not exist, was never set, or is unreadable.
pub fn read_cursor(path: impl AsRef<Path>) -> Result<Option<CursorValue>> {
    let path = path.as_ref();
    let file = match files::open_ro(path) {
        Ok(file) => file,
        Err(e) if e.is_not_found() => return Ok(None),
        Err(e) => return Err(e),
    };
    for _ in 0..READ_ATTEMPTS {
        let (slot, health) = read_slots(&file).map_err(|e| Error::io("read", path, e))?;
        if slot.is_some() || health == CursorHealth::Clean {
            return Ok(slot.map(|slot| slot.value));
        }
        std::thread::yield_now();
    }
    Ok(None)
}

#[cfg(test)]
#[path = "cursor_tests.rs"]
mod tests;
