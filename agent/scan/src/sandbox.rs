//! The cell of the scan worker: another user, no new privileges, no network, no programs, bounded memory, no files
//! written, gone when its parent is gone.
//!
//! Owns the order in which it is locked. What the operating system refuses is reported as a warning when scanning
//! without it is still safe (it runs unprivileged anyway), and as an error when root could not be given up.

use std::collections::BTreeMap;
use std::io;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{Gid, Uid, getppid, setgroups, setresgid, setresuid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, SeccompRule, apply_filter_all_threads};
use serde::{Deserialize, Serialize};

/// Descriptors of the worker: its socket, standard streams, one file at a time, and some for the libraries.
const MAX_OPEN_FILES: u64 = 64;
/// Address space beyond the memory budget: the rule engine reserves ranges that it never touches.
const RESERVED_ADDRESS_BYTES: u64 = 64 << 30;

/// Numbers of the user that the worker becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The worker could not be locked in.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// Root could not be given up.
    #[error(
        "cannot become user {uid}, group {gid}: {source}; give the sensor CAP_SETUID and CAP_SETGID or start it unprivileged"
    )]
    Identity {
        /// Wanted user.
        uid: u32,
        /// Wanted group.
        gid: u32,
        /// The operating system's own words.
        source: io::Error,
    },
    /// The parent died in between.
    #[error("the parent process is gone")]
    Orphan,
}

/// Locks this process in. Returns what was refused.
///
/// # Errors
/// [`SandboxError`] when going on would be unsafe.
pub(crate) fn enter(identity: Option<Identity>, memory_bytes: u64, parent: i32) -> Result<Vec<String>, SandboxError> {
    let mut warnings = Vec::new();
    let mut note = |what: &str, result: Result<(), String>| {
        if let Err(why) = result {
            warnings.push(format!("{what} is not in force: {why}"));
        }
    };
    note("the memory limit", limit(Resource::RLIMIT_DATA, memory_bytes));
    note("the address space limit", limit(Resource::RLIMIT_AS, memory_bytes.saturating_add(RESERVED_ADDRESS_BYTES)));
    note("the file size limit", limit(Resource::RLIMIT_FSIZE, 0));
    // Writing to a log on a disk then fails instead of killing the process.
    // SAFETY: ignoring a signal runs no code of ours in a handler.
    let ignored = unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) };
    note("ignoring SIGXFSZ", ignored.map(|_| ()).map_err(|error| error.to_string()));
    note("the core dump limit", limit(Resource::RLIMIT_CORE, 0));
    note("the descriptor limit", limit(Resource::RLIMIT_NOFILE, MAX_OPEN_FILES));
    if let Some(identity) = identity {
        become_user(identity)?;
    }
    note("no-new-privileges", nix::sys::prctl::set_no_new_privs().map_err(|error| error.to_string()));
    // Changing the user clears the death signal, hence after it; the parent may have died before it was set.
    note("the death signal", nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| error.to_string()));
    if getppid().as_raw() != parent {
        return Err(SandboxError::Orphan);
    }
    note("the system call filter", filter_calls());
    Ok(warnings)
}

fn limit(resource: Resource, value: u64) -> Result<(), String> {
    setrlimit(resource, value, value).map_err(|error| error.to_string())
}

fn become_user(identity: Identity) -> Result<(), SandboxError> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let changed = setgroups(&[gid]).and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
    changed.map_err(|error| SandboxError::Identity { uid: identity.uid, gid: identity.gid, source: error.into() })
}

/// Calls that a scan never needs. A list of bans, not of permissions: the rule engine compiles code at run time and its
/// needs differ by version, and what matters (network, programs, other processes, kernel) is all here.
fn filter_calls() -> Result<(), String> {
    const BANNED: [libc::c_long; 23] = [
        libc::SYS_socket,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_sendto,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_keyctl,
        libc::SYS_io_uring_setup,
        libc::SYS_userfaultfd,
    ];
    let rules: BTreeMap<i64, Vec<SeccompRule>> = BANNED.iter().map(|call| (*call, Vec::new())).collect();
    let arch = std::env::consts::ARCH.try_into().map_err(|error| format!("{error}"))?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), arch);
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(|error| error.to_string())?;
    apply_filter_all_threads(&program).map_err(|error| error.to_string())
}
