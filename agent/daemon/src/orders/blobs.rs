//! Rule texts that the uplink has fetched: read as hostile, believed by their hash alone.
//!
//! Owns the reading. The folder belongs to the uplink, which has no privilege and may be in the attacker's hands: a link,
//! a pipe, a file of the wrong size or content is as good as absent.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use beffroi_scan::RuleText;
use beffroi_schema::limits::MAX_BLOB_BYTES;

use crate::layout::Layout;

/// The uplink's folder of rule texts.
#[derive(Debug, Clone)]
pub(super) struct Blobs(PathBuf);

impl Blobs {
    pub(super) fn new(layout: &Layout) -> Self {
        Self(layout.blobs())
    }

    /// Every text of these names; `None` as long as one is absent or not what its name says.
    pub(super) fn read_all(&self, names: &[String]) -> Option<Vec<RuleText>> {
        names.iter().map(|name| self.read(name)).collect()
    }

    /// Those of these names that are absent.
    pub(super) fn absent<'a>(&self, names: impl Iterator<Item = &'a String>) -> Vec<String> {
        names.filter(|name| self.read(name).is_none()).cloned().collect()
    }

    fn read(&self, name: &str) -> Option<RuleText> {
        // Names come from a verified order, but a path is made of nothing that is not hex.
        let mut sha256 = [0u8; 32];
        hex::decode_to_slice(name, &mut sha256).ok()?;
        let path = self.0.join(hex::encode(sha256));
        let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
        let text = read_regular(file)?;
        RuleText::verified(text, &sha256).ok()
    }
}

fn read_regular(file: File) -> Option<Vec<u8>> {
    let meta = file.metadata().ok()?;
    if !meta.is_file() || meta.len() > MAX_BLOB_BYTES as u64 {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_BLOB_BYTES as u64 + 1).read_to_end(&mut text).ok()?;
    (text.len() <= MAX_BLOB_BYTES).then_some(text)
}

#[cfg(test)]
mod tests {
    use beffroi_schema::down::blob_name;

    use super::*;

    #[test]
    fn a_text_is_believed_by_its_hash_and_links_pipes_and_giants_are_absent() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.blobs()).unwrap();
        let blobs = Blobs::new(&layout);
        let good = hex::encode(blob_name(b"rule a"));
        let file = layout.blobs().join(&good);
        std::fs::write(&file, b"rule a").unwrap();
        assert_eq!(blobs.read_all(std::slice::from_ref(&good)).unwrap()[0].bytes(), b"rule a");
        std::fs::write(&file, b"rule b").unwrap();
        assert!(blobs.read(&good).is_none(), "altered");
        std::fs::remove_file(&file).unwrap();
        assert!(blobs.read(&good).is_none(), "absent");
        let elsewhere = dir.path().join("elsewhere");
        std::fs::write(&elsewhere, b"rule a").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert!(blobs.read(&good).is_none(), "a link");
        std::fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(blobs.read(&good).is_none(), "a pipe");
        let giant = vec![b'x'; MAX_BLOB_BYTES + 1];
        let name = hex::encode(blob_name(&giant));
        std::fs::write(layout.blobs().join(&name), &giant).unwrap();
        assert!(blobs.read(&name).is_none(), "a giant");
        assert!(blobs.read("../../../etc/passwd").is_none());
        let wanted = [good.clone(), name.clone()];
        assert_eq!(blobs.absent(wanted.iter()), wanted);
    }
}
