//! What /proc tells about processes that started before the sensor did, and, where there are no probes, about all others.
//!
//! Everything here is read while the process may end: each reader gives `None` then, and nothing fails.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Bytes read of one /proc file: arguments are cut at what an event may hold, the others are far shorter.
const MAX_READ: u64 = beffroi_schema::limits::MAX_TEXT_BYTES as u64;

/// A process as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Process number.
    pub tgid: u32,
    /// Parent process.
    pub ppid: u32,
    /// Start since boot in ticks of 10 ms.
    pub start_ticks: u64,
    /// Thread name.
    pub comm: Vec<u8>,
    /// Absolute path of the executable; empty for kernel threads and where it may not be read.
    pub exe: Vec<u8>,
    /// Working directory; empty where it may not be read.
    pub cwd: Vec<u8>,
    /// Arguments, each ending in NUL.
    pub args: Vec<u8>,
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Login user; all ones when there is none.
    pub loginuid: u32,
    /// Audit session; all ones when there is none.
    pub sessionid: u32,
    /// Text of /proc/PID/cgroup.
    pub cgroup: Vec<u8>,
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).ok()?.take(MAX_READ).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn link(path: &Path) -> Vec<u8> {
    let target = fs::read_link(path).map(|target| target.into_os_string().into_vec()).unwrap_or_default();
    target.strip_suffix(b" (deleted)").map(<[u8]>::to_vec).unwrap_or(target)
}

fn number(bytes: Option<Vec<u8>>) -> u32 {
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    text.and_then(|text| text.parse().ok()).unwrap_or(u32::MAX)
}

fn folder(tgid: u32) -> PathBuf {
    Path::new("/proc").join(tgid.to_string())
}

/// Parent and start time from the text of /proc/PID/stat; the name in it may hold anything, parentheses too.
fn parse_stat(stat: &[u8]) -> Option<(u32, u64)> {
    let after = stat.get(stat.iter().rposition(|byte| *byte == b')')? + 1..)?;
    let text = std::str::from_utf8(after).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let ppid = fields.nth(1)?.parse().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    Some((ppid, start))
}

/// Real user, effective user, real group from the text of /proc/PID/status.
fn parse_status(status: &[u8]) -> (u32, u32, u32) {
    let text = String::from_utf8_lossy(status);
    let column = |name: &str, at: usize| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_ascii_whitespace().nth(at)?.parse().ok()).unwrap_or(u32::MAX)
    };
    (column("Uid:", 0), column("Uid:", 1), column("Gid:", 0))
}

/// Start of a process since boot in ticks of 10 ms; none when it has ended.
pub fn start_ticks(tgid: u32) -> Option<u64> {
    parse_stat(&read(&folder(tgid).join("stat"))?).map(|(_, start)| start)
}

/// Control groups of a process, as text; empty when it has ended.
pub fn cgroup(tgid: u32) -> Vec<u8> {
    read(&folder(tgid).join("cgroup")).unwrap_or_default()
}

/// One process; none when it ended meanwhile.
pub fn snapshot(tgid: u32) -> Option<Snapshot> {
    let folder = folder(tgid);
    let (ppid, start_ticks) = parse_stat(&read(&folder.join("stat"))?)?;
    let (uid, euid, gid) = parse_status(&read(&folder.join("status"))?);
    let mut comm = read(&folder.join("comm")).unwrap_or_default();
    comm.truncate(comm.trim_ascii_end().len());
    Some(Snapshot {
        tgid,
        ppid,
        start_ticks,
        comm,
        exe: link(&folder.join("exe")),
        cwd: link(&folder.join("cwd")),
        args: read(&folder.join("cmdline")).unwrap_or_default(),
        uid,
        euid,
        gid,
        loginuid: number(read(&folder.join("loginuid"))),
        sessionid: number(read(&folder.join("sessionid"))),
        cgroup: read(&folder.join("cgroup")).unwrap_or_default(),
    })
}

/// Numbers of all processes, in no order.
pub fn all_tgids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields_of_stat() {
        let stat = b"77 (a) R (b) S 5 77 77 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 0 0";
        assert_eq!(parse_stat(stat), Some((5, 4242)));
        assert_eq!(parse_stat(b"77 (x"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn this_test_finds_itself() {
        let me = snapshot(std::process::id()).unwrap();
        assert_eq!(me.exe, std::env::current_exe().unwrap().into_os_string().into_vec());
        assert_eq!(me.uid, nix::unistd::getuid().as_raw());
        assert!(all_tgids().contains(&me.tgid));
        assert_eq!(start_ticks(me.tgid), Some(me.start_ticks));
    }
}
