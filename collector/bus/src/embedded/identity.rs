//! The small files that name an embedded bus and its topics for good.
//!
//! `bus.json` and `<topic>/topic.json` hold a random id, the layout's version and, for a topic, how many partitions it
//! has. They are written once, atomically. A folder with another number of partitions than configured is refused: the
//! partition of a key would change and with it the order of its records.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::BusError;
use crate::random::hex_id;

/// Version of the folder's layout.
const LAYOUT: u32 = 1;
/// Only the collector's user reads what agents have sent.
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Largest identity file that is read (bytes).
const MAX_FILE_BYTES: u64 = 4096;

/// What an identity file says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    pub layout: u32,
    pub id: String,
    /// Number of partitions; 0 for the bus itself.
    #[serde(default)]
    pub partitions: u32,
}

/// Creates a folder and its parents.
pub(super) fn make_dir(dir: &Path) -> Result<(), BusError> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir).map_err(|e| disk("create", dir, &e))
}

/// Reads the identity file of `dir`, or makes one.
pub(super) fn load_or_create(dir: &Path, name: &str, partitions: u32) -> Result<Identity, BusError> {
    make_dir(dir)?;
    let path = dir.join(name);
    if let Some(identity) = read(&path)? {
        return check(identity, &path, partitions);
    }
    let identity = Identity { layout: LAYOUT, id: hex_id()?, partitions };
    let json = serde_json::to_vec(&identity).map_err(|e| BusError::option("bus.dir", e.to_string()))?;
    write(dir, name, &json).map_err(|e| disk("write", &path, &e))?;
    Ok(identity)
}

fn read(path: &Path) -> Result<Option<Identity>, BusError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(disk("read", path, &e)),
    };
    serde_json::from_reader(std::io::Read::take(file, MAX_FILE_BYTES)).map(Some).map_err(|error| {
        let hint = "restore it from a copy; without it consumers cannot tell this bus from another";
        BusError::option("bus.dir", format!("{} is unreadable ({error}); {hint}", path.display()))
    })
}

fn check(identity: Identity, path: &Path, partitions: u32) -> Result<Identity, BusError> {
    if identity.layout != LAYOUT {
        let reason = format!("{} has layout {}, this program knows {LAYOUT}; use the newer one", path.display(), identity.layout);
        return Err(BusError::option("bus.dir", reason));
    }
    if identity.partitions != partitions {
        let reason = format!(
            "{} says {} partitions and the configuration {partitions}; set bus.partitions back, or name a new bus.dir",
            path.display(),
            identity.partitions
        );
        return Err(BusError::option("bus.partitions", reason));
    }
    Ok(identity)
}

/// Writes beside, syncs, renames, syncs the folder.
fn write(dir: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = dir.join(format!("{name}.new"));
    let mut file = File::options().write(true).create(true).truncate(true).mode(FILE_MODE).open(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, dir.join(name))?;
    File::open(dir)?.sync_all()
}

/// An operating-system error on the bus folder.
pub(super) fn disk(action: &str, path: &Path, error: &std::io::Error) -> BusError {
    BusError::unavailable(
        format!("cannot {action} {}: {error}", path.display()),
        "check the disk, its free space and the folder's owner",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_stays_and_another_folder_has_another() {
        let (a, b) = (tempfile::tempdir().expect("folder"), tempfile::tempdir().expect("folder"));
        let first = load_or_create(a.path(), "topic.json", 4).expect("created");
        assert_eq!(load_or_create(a.path(), "topic.json", 4).expect("read"), first);
        assert_ne!(load_or_create(b.path(), "topic.json", 4).expect("created").id, first.id);
    }

    #[test]
    fn another_number_of_partitions_is_refused() {
        let dir = tempfile::tempdir().expect("folder");
        load_or_create(dir.path(), "topic.json", 4).expect("created");
        let error = load_or_create(dir.path(), "topic.json", 8).expect_err("refused").to_string();
        assert!(error.contains("bus.partitions") && error.contains('4') && error.contains('8'), "{error}");
    }

    #[test]
    fn a_damaged_or_newer_file_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().expect("folder");
        for bad in ["", "{", r#"{"layout":2,"id":"x","partitions":4}"#] {
            std::fs::write(dir.path().join("topic.json"), bad).expect("write");
            assert!(load_or_create(dir.path(), "topic.json", 4).is_err());
            assert_eq!(std::fs::read_to_string(dir.path().join("topic.json")).expect("read"), bad);
        }
    }
}
