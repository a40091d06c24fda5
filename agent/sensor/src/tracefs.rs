//! Syscall tracepoints: finding their numbers and opening them.
//!
//! The numbers stand in tracefs. Where it is not mounted, a helper thread with a mount namespace of its own mounts it for a
//! moment: the host's mounts stay as they are.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

const MOUNTED: [&str; 2] = ["/sys/kernel/tracing/events/syscalls", "/sys/kernel/debug/tracing/events/syscalls"];
/// A folder that exists on every Linux system, as a place for the private mount.
const PRIVATE_PLACE: &str = "/sys/kernel";

/// Numbers of the syscall tracepoints with these names; a name that this kernel does not have is absent.
///
/// # Errors
/// In words, when tracefs is neither mounted nor mountable.
pub fn numbers(names: &[&'static str]) -> Result<HashMap<&'static str, u64>, String> {
    if let Some(folder) = MOUNTED.iter().map(Path::new).find(|folder| folder.is_dir()) {
        return Ok(read_numbers(folder, names));
    }
    let wanted = names.to_vec();
    let helper = std::thread::Builder::new().name("tracefs".into()).spawn(move || read_privately(&wanted));
    let read = helper.map_err(|error| format!("no helper thread: {error}"))?.join();
    read.unwrap_or_else(|_| Err("the helper thread that mounts tracefs died".into()))
}

fn read_privately(names: &[&'static str]) -> Result<HashMap<&'static str, u64>, String> {
    let why = |step: &str, error: nix::Error| format!("tracefs is not mounted and {step} failed: {error}");
    unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).map_err(|error| why("a private mount namespace", error))?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(|error| why("making it private", error))?;
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tracefs"), PRIVATE_PLACE, Some("tracefs"), flags, none).map_err(|error| why("mounting it", error))?;
    Ok(read_numbers(&Path::new(PRIVATE_PLACE).join("events/syscalls"), names))
}

fn read_numbers(folder: &Path, names: &[&'static str]) -> HashMap<&'static str, u64> {
    let number = |name: &str| fs::read_to_string(folder.join(name).join("id")).ok()?.trim().parse().ok();
    names.iter().filter_map(|name| Some((*name, number(name)?))).collect()
}

/// The head of `struct perf_event_attr` (its first published form, 64 bytes), which is all a tracepoint needs.
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    config1: u64,
}

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 8;
const _: () = assert!(size_of::<PerfEventAttr>() == 64);

/// Opens a tracepoint; a program attached to it runs on every CPU, for every process.
///
/// # Errors
/// What perf_event_open(2) says.
pub fn open(number: u64) -> io::Result<OwnedFd> {
    let attr = PerfEventAttr {
        kind: PERF_TYPE_TRACEPOINT,
        size: u32::try_from(size_of::<PerfEventAttr>()).unwrap_or(u32::MAX),
        config: number,
        ..PerfEventAttr::default()
    };
    // SAFETY: `attr` lives during the call and its size stands in it; -1, 0, -1 mean any process, CPU 0, no group.
    let fd = unsafe { libc::syscall(libc::SYS_perf_event_open, &raw const attr, -1, 0, -1, PERF_FLAG_FD_CLOEXEC) };
    let fd = i32::try_from(fd).map_err(|_| io::Error::other("descriptor out of range"))?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just gave us this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
