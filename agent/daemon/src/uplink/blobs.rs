//! Rule texts on their way to the sensor: one file each, named by its hash.
//!
//! Owns the folder and its size. A text that is not what its name says is not stored; files are written whole, so that the
//! sensor never reads half of one. When the folder is full, the oldest go: what is needed again is fetched again.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::time::SystemTime;

use beffroi_schema::down::blob_name;
use beffroi_schema::limits::{MAX_BLOB_BYTES, MAX_ORDER_BLOBS};

use crate::layout::write_whole;

/// Bytes of the folder: the texts of one order of the largest kind, twice.
const MAX_BYTES: u64 = 2 * (MAX_BLOB_BYTES * MAX_ORDER_BLOBS) as u64;
/// Files in the folder.
const MAX_FILES: usize = 1_024;

/// The folder.
pub(super) struct BlobStore {
    folder: PathBuf,
    limits: (u64, usize),
}

impl BlobStore {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, limits: (MAX_BYTES, MAX_FILES) }
    }

    /// Whether a text is there, whole.
    pub(super) fn has(&self, name: &str) -> bool {
        hex_of(name).is_some_and(|hash| fs::read(self.folder.join(name)).is_ok_and(|text| blob_name(&text) == hash))
    }

    /// Stores a text under its hash.
    pub(super) fn store(&self, name: &str, text: &[u8]) -> io::Result<()> {
        if hex_of(name) != Some(blob_name(text)) || text.len() > MAX_BLOB_BYTES {
            return Err(io::Error::other("what came is not what was asked for"));
        }
        DirBuilder::new().recursive(true).mode(0o755).create(&self.folder)?;
        self.make_room(text.len() as u64)?;
        write_whole(&self.folder.join(name), text, 0o644, None)
    }

    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf, u64)> = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let meta = entry.metadata()?;
            files.push((meta.modified()?, entry.path(), meta.len()));
        }
        files.sort_unstable();
        let mut left = files.iter().map(|(_, _, len)| len).sum::<u64>() + bytes;
        let mut count = files.len() + 1;
        for (_, path, len) in files {
            if left <= self.limits.0 && count <= self.limits.1 {
                break;
            }
            fs::remove_file(path)?;
            left -= len;
            count -= 1;
        }
        Ok(())
    }
}

/// The hash in a name; a name is made of nothing else, so it never becomes another path.
fn hex_of(name: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    (hex::decode_to_slice(name, &mut hash).is_ok() && hex::encode(hash) == name).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &[u8]) -> String {
        hex::encode(blob_name(text))
    }

    #[test]
    fn only_what_its_name_says_is_stored() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::new(dir.path().join("blobs"));
        store.store(&name(b"rule"), b"rule").unwrap();
        assert!(store.has(&name(b"rule")) && !store.has(&name(b"other")));
        assert!(store.store(&name(b"rule"), b"ruse").is_err());
        assert!(store.store("../../x", b"rule").is_err() && !store.has("../blobs"));
        fs::write(dir.path().join("blobs").join(name(b"rule")), b"ru").unwrap();
        assert!(!store.has(&name(b"rule")), "half of it");
    }

    #[test]
    fn the_oldest_go_when_the_folder_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore { folder: dir.path().into(), limits: (10, 3) };
        let texts = [b"aaaa", b"bbbb", b"cccc"];
        for (age, text) in texts.iter().enumerate() {
            store.store(&name(*text), *text).unwrap();
            let file = fs::File::open(dir.path().join(name(*text))).unwrap();
            file.set_modified(SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age as u64)).unwrap();
        }
        assert_eq!(texts.map(|text| store.has(&name(text))), [false, true, true]);
        for text in [b"d", b"e", b"f"] {
            store.store(&name(text), text).unwrap();
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
