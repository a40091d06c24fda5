//! The records of the kernel probes, byte for byte as `bpf/records.h` lays them out, and their decoding.
//!
//! The sizes are checked when this file is compiled, on both sides. Lengths inside a record are checked against the bytes
//! that came: a record that does not hold together is `None`, counted by the caller, and never a panic.

use std::mem::size_of;

/// The arguments did not fit.
pub const FLAG_ARGS_CUT: u16 = 1;
/// A path was deeper than the probe follows.
pub const FLAG_PATH_CUT: u16 = 2;
/// Some pages of the arguments were not in memory.
pub const FLAG_ARGS_HOLE: u16 = 4;

/// Asked for through io_uring; the outcome is not known.
pub const FLAG_URING: u16 = 8;

const KIND_EXEC: u16 = 1;
const KIND_FORK: u16 = 2;
const KIND_EXIT: u16 = 3;
const KIND_FILE: u16 = 4;
const KIND_NET: u16 = 5;

/// What every record begins with.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct Header {
    /// Bytes of the whole record.
    pub size: u32,
    /// Which record.
    pub kind: u16,
    /// `FLAG_*`.
    pub flags: u16,
    /// CLOCK_BOOTTIME in nanoseconds.
    pub ts: u64,
    /// Start of the process since boot, nanoseconds.
    pub start: u64,
    /// Process in the initial pid namespace.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Real user.
    pub uid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective user.
    pub euid: u32,
    /// Login user; all ones when there is none.
    pub loginuid: u32,
    /// Audit session; all ones when there is none.
    pub sessionid: u32,
    /// Parent process.
    pub ppid: u32,
    /// Start of the parent since boot, nanoseconds.
    pub pstart: u64,
    /// Control group.
    pub cgroup: u64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ExecFixed {
    header: Header,
    comm: [u8; 16],
    exe_len: u32,
    cwd_len: u32,
    given_len: u32,
    cgroup_len: u32,
    args_len: u32,
    args_total: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ForkFixed {
    header: Header,
    comm: [u8; 16],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct ExitFixed {
    header: Header,
    status: u32,
    unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FileFixed {
    header: Header,
    op: u32,
    base_len: u32,
    name_len: u32,
    base2_len: u32,
    name2_len: u32,
    unused: u32,
}

/// A socket that was connected, accepted, bound or set to listen.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct Net {
    /// Who and when.
    pub header: Header,
    /// `NetOp` as a number.
    pub op: u16,
    /// 0 done, 1 failed.
    pub result: u16,
    /// AF_INET or AF_INET6.
    pub family: u16,
    /// IP protocol number.
    pub protocol: u16,
    /// Local port.
    pub sport: u16,
    /// Remote port.
    pub dport: u16,
    /// Keeps the layout free of holes.
    pub unused: u32,
    /// Local address; IPv4 in the first four bytes.
    pub saddr: [u8; 16],
    /// Remote address.
    pub daddr: [u8; 16],
}

const _: () = assert!(size_of::<Header>() == 72);
const _: () = assert!(size_of::<ExecFixed>() == 112);
const _: () = assert!(size_of::<ForkFixed>() == 88);
const _: () = assert!(size_of::<ExitFixed>() == 80);
const _: () = assert!(size_of::<FileFixed>() == 96);
const _: () = assert!(size_of::<Net>() == 120);

/// A type of integers and byte arrays only, without holes: any bytes are a value of it.
///
/// # Safety
/// Every bit pattern must be valid for the type.
unsafe trait Plain: Copy {}
// SAFETY: integers and byte arrays only.
unsafe impl Plain for Header {}
// SAFETY: integers and byte arrays only.
unsafe impl Plain for ExecFixed {}
// SAFETY: integers and byte arrays only.
unsafe impl Plain for ForkFixed {}
// SAFETY: integers and byte arrays only.
unsafe impl Plain for ExitFixed {}
// SAFETY: integers and byte arrays only.
unsafe impl Plain for FileFixed {}
// SAFETY: integers and byte arrays only.
unsafe impl Plain for Net {}

fn fixed<T: Plain>(bytes: &[u8]) -> Option<(T, &[u8])> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>())?;
    // SAFETY: `head` has the size of T, unaligned reads are allowed here, and T is Plain.
    Some((unsafe { head.as_ptr().cast::<T>().read_unaligned() }, rest))
}

/// A process got a new image.
#[derive(Debug, Clone)]
pub struct Exec {
    /// Who and when.
    pub header: Header,
    /// Thread name.
    pub comm: Vec<u8>,
    /// Absolute path of the executable.
    pub exe: Vec<u8>,
    /// Absolute path of the working directory.
    pub cwd: Vec<u8>,
    /// Path as given to execve.
    pub given: Vec<u8>,
    /// Last folder of the control group's path.
    pub cgroup_name: Vec<u8>,
    /// Arguments, each ending in NUL.
    pub args: Vec<u8>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileOp {
    /// Did not exist before.
    Create,
    /// Existed and was emptied at opening.
    Overwrite,
    /// Was open for writing and was closed.
    WriteClose,
    /// Has a new name.
    Rename,
    /// The name is gone.
    Unlink,
    /// The folder is gone.
    Rmdir,
    /// Has a second name.
    Link,
    /// A symbolic link was made.
    Symlink,
}

impl FileOp {
    fn from_number(number: u32) -> Option<Self> {
        const ALL: [FileOp; 8] = [
            FileOp::Create,
            FileOp::Overwrite,
            FileOp::WriteClose,
            FileOp::Rename,
            FileOp::Unlink,
            FileOp::Rmdir,
            FileOp::Link,
            FileOp::Symlink,
        ];
        ALL.get((number as usize).checked_sub(1)?).copied()
    }
}

/// Something happened to a file.
#[derive(Debug, Clone)]
pub struct File {
    /// Who and when.
    pub header: Header,
    /// What.
    pub op: FileOp,
    /// The file: absolute, without `.`, `..` or empty components.
    pub path: Vec<u8>,
    /// Second name of renames and links. For symbolic links, `path` is where it points to.
    pub path2: Option<Vec<u8>>,
}

/// One decoded record.
#[derive(Debug, Clone)]
pub enum Raw {
    /// New image.
    Exec(Box<Exec>),
    /// New process; the header is the child's.
    Fork(Header),
    /// End of a process and its wait(2) status.
    Exit(Header, u32),
    /// End of a process that nobody was told the status of (the fallback source).
    Gone(Header),
    /// File.
    File(Box<File>),
    /// Socket.
    Net(Box<Net>),
}

impl Raw {
    /// Decodes one record; none when it does not hold together.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, _) = fixed::<Header>(bytes)?;
        match header.kind {
            KIND_EXEC => decode_exec(bytes),
            KIND_FORK => fixed::<ForkFixed>(bytes).map(|(fork, _)| Self::Fork(fork.header)),
            KIND_EXIT => fixed::<ExitFixed>(bytes).map(|(exit, _)| Self::Exit(exit.header, exit.status)),
            KIND_FILE => decode_file(bytes),
            KIND_NET => fixed::<Net>(bytes).map(|(net, _)| Self::Net(Box::new(net))),
            _ => None,
        }
    }

    /// Who and when.
    pub fn header(&self) -> &Header {
        match self {
            Self::Exec(exec) => &exec.header,
            Self::Fork(header) | Self::Exit(header, _) | Self::Gone(header) => header,
            Self::File(file) => &file.header,
            Self::Net(net) => &net.header,
        }
    }
}

fn take<'a>(rest: &mut &'a [u8], len: u32) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(len as usize)?;
    *rest = tail;
    Some(head)
}

/// A text up to its NUL.
fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn decode_exec(bytes: &[u8]) -> Option<Raw> {
    let (fixed, mut rest) = fixed::<ExecFixed>(bytes)?;
    Some(Raw::Exec(Box::new(Exec {
        header: fixed.header,
        comm: text(&fixed.comm).to_vec(),
        exe: path_of_walk(take(&mut rest, fixed.exe_len)?),
        cwd: path_of_walk(take(&mut rest, fixed.cwd_len)?),
        given: text(take(&mut rest, fixed.given_len)?).to_vec(),
        cgroup_name: text(take(&mut rest, fixed.cgroup_len)?).to_vec(),
        args: take(&mut rest, fixed.args_len)?.to_vec(),
    })))
}

fn decode_file(bytes: &[u8]) -> Option<Raw> {
    let (fixed, mut rest) = fixed::<FileFixed>(bytes)?;
    let op = FileOp::from_number(fixed.op)?;
    let base = path_of_walk(take(&mut rest, fixed.base_len)?);
    let name = text(take(&mut rest, fixed.name_len)?);
    let base2 = path_of_walk(take(&mut rest, fixed.base2_len)?);
    let name2 = text(take(&mut rest, fixed.name2_len)?);
    let path = match op {
        // Where a symbolic link points to is free text.
        FileOp::Symlink => name.to_vec(),
        _ => join(base, name),
    };
    let path2 = (fixed.name2_len > 0).then(|| join(base2, name2));
    Some(Raw::File(Box::new(File { header: fixed.header, op, path, path2 })))
}

/// The absolute path from components that run from the leaf to the root, each ending in NUL.
fn path_of_walk(walk: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(walk.len() + 1);
    // The root of a file system that is reached from outside of its mount is called `/`.
    for name in walk.split(|byte| *byte == 0).rev().filter(|name| !matches!(*name, b"" | b"/")) {
        path.push(b'/');
        path.extend_from_slice(name);
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// `name` seen from the absolute path `base`, without `.`, `..` and empty components. Symbolic links are not followed.
pub fn join(mut base: Vec<u8>, name: &[u8]) -> Vec<u8> {
    for part in name.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => base.truncate(base.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            part => {
                if base.last() != Some(&b'/') {
                    base.push(b'/');
                }
                base.extend_from_slice(part);
            }
        }
    }
    if base.is_empty() {
        base.push(b'/');
    }
    base
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_walk_from_leaf_to_root_becomes_an_absolute_path() {
        assert_eq!(path_of_walk(b"bash\0bin\0usr\0"), b"/usr/bin/bash");
        assert_eq!(path_of_walk(b""), b"/");
        assert_eq!(path_of_walk(b"/\0"), b"/");
        assert_eq!(path_of_walk(b"memfd:a b\0"), b"/memfd:a b");
    }

    #[test]
    fn names_are_joined_without_dots() {
        let cases: [(&str, &str, &str); 7] = [
            ("/home/u", "a", "/home/u/a"),
            ("/home/u", "./a//b", "/home/u/a/b"),
            ("/home/u", "../x", "/home/x"),
            ("/", "../../etc/passwd", "/etc/passwd"),
            ("/", "/etc/cron.d/x", "/etc/cron.d/x"),
            ("/a", "..", "/"),
            ("/srv/fd", "", "/srv/fd"),
        ];
        for (base, name, path) in cases {
            assert_eq!(join(base.into(), name.as_bytes()), path.as_bytes(), "{base} + {name}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(kind in 0u16..7, mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if bytes.len() > 6 {
                bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            }
            let _ = Raw::decode(&bytes);
        }
    }
}
