//! Which file systems hold files of this machine.
//!
//! Owns the two lists of those that do not: pseudo file systems, where reading asks the kernel and may do something, and
//! those whose reads may wait for another machine or program. The mount table is asked first, because a server that
//! hangs hangs everybody who asks the file system itself.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::sys::statfs::fstatfs;

/// Largest mount table that is read: a host with ten thousand containers has about 4 MiB.
const MAX_TABLE_BYTES: u64 = 16 << 20;

/// What a file system is to a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum System {
    /// It holds files.
    Fair,
    /// It shows the kernel's own state.
    Pseudo(&'static str),
    /// It may wait for another machine or program.
    Network(&'static str),
}

/// By the names of the mount table.
const PSEUDO: [&str; 18] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "efivarfs",
    "fusectl",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "sysfs",
    "tracefs",
];
/// As [`PSEUDO`]; FUSE types begin with `fuse`.
const NETWORK: [&str; 16] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "gfs2",
    "glusterfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "smb3",
    "smbfs",
    "virtiofs",
];
/// By the numbers of statfs(2), for file systems that the mount table does not name by device (subvolumes).
const NUMBERS: [(i64, System); 22] = [
    (0x9FA0, System::Pseudo("proc")),
    (0x6265_6572, System::Pseudo("sysfs")),
    (0x0027_E0EB, System::Pseudo("cgroup")),
    (0x6367_7270, System::Pseudo("cgroup2")),
    (0x1CD1, System::Pseudo("devpts")),
    (0x7472_6163, System::Pseudo("tracefs")),
    (0x6462_6720, System::Pseudo("debugfs")),
    (0x7363_6673, System::Pseudo("securityfs")),
    (0xCAFE_4A11, System::Pseudo("bpf")),
    (0x6165_676C, System::Pseudo("pstore")),
    (0x6265_6570, System::Pseudo("configfs")),
    (0x4249_4E4D, System::Pseudo("binfmt_misc")),
    (0xDE5E_81E4, System::Pseudo("efivarfs")),
    (0x0187, System::Pseudo("autofs")),
    (0x1980_0202, System::Pseudo("mqueue")),
    (0x6573_5546, System::Network("fuse")),
    (0x6969, System::Network("nfs")),
    (0xFF53_4D42, System::Network("cifs")),
    (0xFE53_4D42, System::Network("smb2")),
    (0x517B, System::Network("smb")),
    (0x0102_1997, System::Network("9p")),
    (0x7461_636F, System::Network("ocfs2")),
];

/// The mount table, by device number.
#[derive(Debug, Default)]
pub(crate) struct Mounts {
    kinds: HashMap<(u32, u32), System>,
}

impl Mounts {
    /// What the file system is on which an open place with this device number lies.
    pub fn system_of(&mut self, place: impl AsFd, device: (u32, u32)) -> io::Result<System> {
        if let Some(system) = self.kinds.get(&device) {
            return Ok(*system);
        }
        let mut table = String::new();
        // Without a mount table the file system itself is asked.
        if File::open("/proc/self/mountinfo").and_then(|file| file.take(MAX_TABLE_BYTES).read_to_string(&mut table)).is_ok() {
            self.kinds.extend(parse(&table));
        }
        if let Some(system) = self.kinds.get(&device) {
            return Ok(*system);
        }
        let system = system_of(place)?;
        self.kinds.insert(device, system);
        Ok(system)
    }
}

/// What the file system says of itself.
pub(crate) fn system_of(place: impl AsFd) -> io::Result<System> {
    let number = fstatfs(place)?.filesystem_type().0 as i64 & 0xFFFF_FFFF;
    Ok(NUMBERS.iter().find(|(known, _)| *known == number).map_or(System::Fair, |(_, system)| *system))
}

fn parse(table: &str) -> impl Iterator<Item = ((u32, u32), System)> {
    table.lines().filter_map(|line| {
        let (major, minor) = line.split(' ').nth(2)?.split_once(':')?;
        let kind = line.split_once(" - ")?.1.split(' ').next()?;
        Some(((major.parse().ok()?, minor.parse().ok()?), by_name(kind)))
    })
}

fn by_name(kind: &str) -> System {
    let known = |list: &[&'static str]| list.iter().find(|known| **known == kind).copied();
    match (known(&PSEUDO), known(&NETWORK)) {
        (Some(name), _) => System::Pseudo(name),
        (None, Some(name)) => System::Network(name),
        (None, None) if kind.starts_with("fuse") => System::Network("fuse"),
        (None, None) => System::Fair,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_table_tells_files_from_views_and_other_machines() {
        let table = "22 1 254:0 / / rw shared:1 - ext4 /dev/root rw\n\
                     23 22 0:21 / /proc rw - proc proc rw\n\
                     24 22 0:40 / /mnt\\040x rw - nfs4 server:/x rw\n\
                     25 22 0:41 / /run/user/0/doc rw - fuse.portal portal rw\n\
                     nonsense\n26 22 x:y / / rw - ext4 a b\n";
        let kinds: HashMap<_, _> = parse(table).collect();
        assert_eq!(kinds.len(), 4);
        assert_eq!(kinds[&(254, 0)], System::Fair);
        assert_eq!(kinds[&(0, 21)], System::Pseudo("proc"));
        assert_eq!(kinds[&(0, 40)], System::Network("nfs4"));
        assert_eq!(kinds[&(0, 41)], System::Network("fuse"));
    }

    #[test]
    fn proc_is_known_by_table_and_by_number() {
        let proc = File::open("/proc/self").unwrap();
        assert_eq!(system_of(&proc).unwrap(), System::Pseudo("proc"));
        assert_eq!(Mounts::default().system_of(&proc, (u32::MAX, 1)).unwrap(), System::Pseudo("proc"));
    }
}
