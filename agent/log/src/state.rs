//! The state file: how far the log is durable, told by the writer to every reader.
//!
//! Owns two alternating slots with sequence and checksum, so that a reader in another process (and a start after a
//! power cut) always finds one whole slot. Losing the file loses no record: it is made anew from the segments.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::files::{self, FILE_MODE, STATE_NAME};
use crate::format::{Marker, NO_MARKER, array_at, u32_at, u64_at};

const MAGIC: &[u8; 8] = b"BEFFRSTA";
const SLOT_BYTES: usize = 64;
/// Slots lie in different disk sectors, so that a torn write hurts one of them only.
const SLOT_DISTANCE: usize = 512;
const FILE_BYTES: usize = SLOT_DISTANCE + SLOT_BYTES;
const CRC_AT: usize = 60;
/// How often a reader tries again when the writer was writing both slots while it read.
const READ_ATTEMPTS: usize = 8;

/// What the writer has published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    pub sequence: u64,
    pub marker: Marker,
    /// Changes whenever segment files were replaced or deleted.
    pub generation: u64,
    /// Every record below this offset is durable.
    pub end_offset: u64,
    /// Segment in which the durable part ends.
    pub segment_base: u64,
    /// Byte at which it ends.
    pub position: u64,
}

impl State {
    fn encode(&self) -> [u8; SLOT_BYTES] {
        let mut out = [0; SLOT_BYTES];
        out[..8].copy_from_slice(MAGIC);
        out[8..16].copy_from_slice(&self.sequence.to_le_bytes());
        out[16..24].copy_from_slice(&self.marker);
        out[24..32].copy_from_slice(&self.generation.to_le_bytes());
        out[32..40].copy_from_slice(&self.end_offset.to_le_bytes());
        out[40..48].copy_from_slice(&self.segment_base.to_le_bytes());
        out[48..56].copy_from_slice(&self.position.to_le_bytes());
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let whole = &bytes[..8] == MAGIC && crc32c::crc32c(&bytes[..CRC_AT]) == u32_at(bytes, CRC_AT);
        whole
            .then(|| Self {
                sequence: u64_at(bytes, 8),
                marker: array_at(bytes, 16),
                generation: u64_at(bytes, 24),
                end_offset: u64_at(bytes, 32),
                segment_base: u64_at(bytes, 40),
                position: u64_at(bytes, 48),
            })
            .filter(|state| state.marker != NO_MARKER)
    }
}

/// The newest whole slot, if there is one.
fn read_slots(file: &File) -> io::Result<Option<State>> {
    let mut bytes = [0; FILE_BYTES];
    let mut filled = 0;
    while filled < FILE_BYTES {
        match file.read_at(&mut bytes[filled..], filled as u64)? {
            0 => break,
            n => filled += n,
        }
    }
    let slots = [State::decode(&bytes[..SLOT_BYTES]), State::decode(&bytes[SLOT_DISTANCE..])];
    Ok(slots.into_iter().flatten().max_by_key(|state| state.sequence))
}

/// The writer's side.
#[derive(Debug)]
pub(crate) struct StateFile {
    file: File,
    path: PathBuf,
}

impl StateFile {
    /// Opens or creates the file and returns what it says.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Option<State>)> {
        let path = dir.join(STATE_NAME);
        let file = files::open_rw(&path, FILE_MODE, false)?;
        let state = read_slots(&file).map_err(|e| Error::io("read", &path, e))?;
        Ok((Self { file, path }, state))
    }

    /// Publishes. Not synced: after a power cut an older slot only means that recovery reads a little more.
    pub(crate) fn publish(&self, state: &State) -> Result<()> {
        let at = (state.sequence % 2) * SLOT_DISTANCE as u64;
        self.file.write_all_at(&state.encode(), at).map_err(|e| Error::io("write", &self.path, e))
    }
}

/// A reader's side.
#[derive(Debug)]
pub(crate) struct StateReader {
    path: PathBuf,
    /// The open file and what tells it from another one at the same path.
    file: Option<(File, (u64, u64))>,
}

impl StateReader {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: dir.join(STATE_NAME), file: None }
    }

    /// The newest published state; `None` when there is no file or no whole slot in it.
    pub(crate) fn read(&mut self) -> Result<Option<State>> {
        if !self.is_in_place()? {
            match files::open_ro(&self.path) {
                Ok(file) => {
                    let meta = file.metadata().map_err(|e| Error::io("inspect", &self.path, e))?;
                    self.file = Some((file, files::identity(&meta)));
                }
                Err(e) if e.is_not_found() => self.file = None,
                Err(e) => return Err(e),
            }
        }
        let Some((file, _)) = &self.file else { return Ok(None) };
        for _ in 0..READ_ATTEMPTS {
            if let Some(state) = read_slots(file).map_err(|e| Error::io("read", &self.path, e))? {
                return Ok(Some(state));
            }
            std::thread::yield_now();
        }
        Ok(None)
    }

    /// False when nothing is open, or when the whole log was removed and made anew under the reader's feet.
    fn is_in_place(&self) -> Result<bool> {
        let Some((_, identity)) = &self.file else { return Ok(false) };
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) => Ok(files::identity(&meta) == *identity),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("inspect", &self.path, e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(sequence: u64) -> State {
        let marker = *b"marker!!";
        State { sequence, marker, generation: 3, end_offset: sequence * 10, segment_base: 5, position: 77 }
    }

    #[test]
    fn the_newest_slot_wins_and_a_torn_one_falls_back_to_the_one_before() {
        let dir = tempfile::tempdir().expect("folder");
        let (file, found) = StateFile::open(dir.path()).expect("open");
        assert_eq!(found, None);
        for sequence in 1..=4 {
            file.publish(&state(sequence)).expect("publish");
            assert_eq!(StateReader::new(dir.path()).read().expect("read"), Some(state(sequence)));
        }
        file.file.write_all_at(&[0xff; 20], 10).expect("tear the slot of sequence 4");
        assert_eq!(StateReader::new(dir.path()).read().expect("read"), Some(state(3)));
    }

    #[test]
    fn a_file_of_noise_is_no_state_and_no_error() {
        let dir = tempfile::tempdir().expect("folder");
        std::fs::write(dir.path().join(STATE_NAME), vec![0xa5; 4000]).expect("write");
        assert_eq!(StateReader::new(dir.path()).read().expect("read"), None);
    }
}
