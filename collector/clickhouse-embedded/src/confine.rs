//! What this process may do once the engine runs: as little as it needs.
//!
//! ClickHouse's SQL can read files (`file()`), call out (`url()`, `s3()`, `remote()`) and run programs
//! (`executable()`), and the embedded engine has no roles to forbid it. So the kernel does: an unprivileged user,
//! no new privileges, no capabilities, Landlock (the engine's folder and nothing else), and a system call filter (no new
//! sockets, no programs, no tracing). Everything here runs on the main thread before any other thread exists, because
//! Landlock binds a thread and those it starts.
//!
//! On failure: what the operator asked for (a user) is an error; what the kernel cannot do is returned as a warning
//! text for the log, because a collector on an old kernel is better than none.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User, chown, geteuid, getppid, setgid, setgroups, setuid};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

/// The newest Landlock we describe; older kernels enforce what they know of it.
const LANDLOCK: ABI = ABI::V6;

/// Files outside its folder that the engine reads, none of them secret. Absent ones are skipped.
const READABLE: &[&str] = &[
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/timezone",
    "/proc/meminfo",
    "/proc/cpuinfo",
    // Per-thread accounting (stat, schedstat, io): the engine does not start a query without it.
    "/proc/self/task",
    "/proc/self/statm",
    "/proc/self/cgroup",
    "/sys/devices/system/cpu",
    "/sys/fs/cgroup",
    "/dev/urandom",
    "/usr/lib/debug",
];

/// Calls the engine has no business making. Sockets: the listener exists already, and accepting needs no new one.
const REFUSED_CALLS: &[libc::c_long] = &[
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_open_by_handle_at,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_kexec_load,
];

/// Gives the data folder and the lock in it to `user`. Only root can, and only root needs to.
pub(crate) fn give_to(user: &str, folder: &Path, lock: &File) -> anyhow::Result<()> {
    if geteuid().is_root() {
        let account = account(user)?;
        let failed = || format!("cannot give {} to user {user}", folder.display());
        chown(folder, Some(account.uid), Some(account.gid)).with_context(failed)?;
        std::os::unix::fs::fchown(lock, Some(account.uid.as_raw()), Some(account.gid.as_raw())).with_context(failed)?;
    }
    Ok(())
}

/// Becomes `user` (when started as root), sheds capabilities and the right to regain any. Returns warnings.
pub(crate) fn drop_privileges(user: Option<&str>) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    match (user, geteuid().is_root()) {
        (Some(user), true) => become_user(&account(user)?).with_context(|| format!("cannot become user {user}"))?,
        (Some(user), false) => {
            let current = User::from_uid(geteuid())?.map(|u| u.name);
            if current.as_deref() != Some(user) {
                bail!("--user {user} needs root to start with; start it as root, or as {user} without --user");
            }
        }
        (None, true) => warnings.push("running the engine as root: name an unprivileged user with --user".to_owned()),
        (None, false) => {}
    }
    nix::sys::prctl::set_no_new_privs().context("prctl(PR_SET_NO_NEW_PRIVS)")?;
    drop_capabilities().context("cannot drop capabilities")?;
    // No core dumps: they would hold the secret and the data.
    setrlimit(Resource::RLIMIT_CORE, 0, 0).context("setrlimit(RLIMIT_CORE)")?;
    let (_, files) = getrlimit(Resource::RLIMIT_NOFILE).context("getrlimit(RLIMIT_NOFILE)")?;
    setrlimit(Resource::RLIMIT_NOFILE, files, files).context("setrlimit(RLIMIT_NOFILE)")?;
    Ok(warnings)
}

/// Asks the kernel for SIGTERM when the parent ends. Call after [`drop_privileges`]: a change of user clears it.
pub(crate) fn end_with_parent(parent: nix::unistd::Pid) -> anyhow::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).context("prctl(PR_SET_PDEATHSIG)")?;
    if getppid() != parent {
        bail!("the parent process ended during start");
    }
    Ok(())
}

fn account(user: &str) -> anyhow::Result<User> {
    let found = User::from_name(user).with_context(|| format!("cannot look up user {user}"))?;
    let account = found.with_context(|| format!("there is no user {user}: create it, or name another with --user"))?;
    if account.uid.is_root() {
        bail!("--user {user} is root; name an unprivileged user");
    }
    Ok(account)
}

fn become_user(account: &User) -> nix::Result<()> {
    setgroups(&[Gid::from_raw(account.gid.as_raw())])?;
    setgid(account.gid)?;
    setuid(Uid::from_raw(account.uid.as_raw()))
}

/// Empties the permitted, effective and inheritable sets (a no-op for an ordinary user).
fn drop_capabilities() -> std::io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3`, then pid 0: this thread.
    const HEADER: [u32; 2] = [0x2008_0522, 0];
    /// Two structures of effective, permitted, inheritable.
    const EMPTY: [u32; 6] = [0; 6];
    // SAFETY: capset(2) reads a header of two 32-bit words and, for version 3, two 12-byte structures; both arrays
    // are of that size and live through the call.
    let outcome = unsafe { libc::syscall(libc::SYS_capset, HEADER.as_ptr(), EMPTY.as_ptr()) };
    if outcome == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Confines this thread and all it will start to `folder`. Returns warnings for what the kernel cannot enforce.
pub(crate) fn confine(folder: &Path, config: &Path) -> anyhow::Result<Vec<String>> {
    let mut warnings = Vec::new();
    match landlock(folder, config) {
        Ok(RulesetStatus::FullyEnforced) => {}
        Ok(RulesetStatus::PartiallyEnforced) => warnings.push(
            "this kernel enforces Landlock only in part: the engine keeps to its folder, network or signals may be open"
                .to_owned(),
        ),
        Ok(RulesetStatus::NotEnforced) => warnings.push(
            "this kernel has no Landlock: SQL can read every file this user can read; use Linux 5.13 or newer with Landlock on"
                .to_owned(),
        ),
        Err(error) => {
            warnings.push(format!("Landlock could not be set up ({error:#}): SQL can read every file this user can read"))
        }
    }
    if let Err(error) = filter_calls() {
        warnings.push(format!("the system call filter could not be set up ({error:#}): SQL may open network connections"));
    }
    Ok(warnings)
}

fn landlock(folder: &Path, config: &Path) -> anyhow::Result<RulesetStatus> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let never = AccessFs::Execute
        | AccessFs::MakeChar
        | AccessFs::MakeBlock
        | AccessFs::MakeSock
        | AccessFs::MakeFifo
        | AccessFs::IoctlDev;
    let own: BitFlags<AccessFs> = AccessFs::from_all(LANDLOCK) & !never;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(folder)?, own))?
        .add_rule(PathBeneath::new(PathFd::new(config)?, AccessFs::ReadFile))?
        .add_rule(PathBeneath::new(PathFd::new("/dev/null")?, AccessFs::ReadFile | AccessFs::WriteFile))?;
    for path in READABLE.iter().map(PathBuf::from).chain(mapped_files()?) {
        let Ok(found) = File::open(path) else { continue };
        let rights = if found.metadata()?.is_dir() { read } else { AccessFs::ReadFile.into() };
        rules = rules.add_rule(PathBeneath::new(&found, rights))?;
        // Kept open for good: a rule names an inode, and procfs makes a new one once nobody holds the entry.
        std::mem::forget(found);
    }
    Ok(rules.restrict_self()?.ruleset)
}

/// This program and the libraries in it. The engine reads their symbols when it makes a stack trace for its first
/// exception, and aborts the process if it may not.
fn mapped_files() -> std::io::Result<BTreeSet<PathBuf>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    Ok(maps.lines().filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..]))).collect())
}

fn filter_calls() -> anyhow::Result<()> {
    let rules: BTreeMap<i64, Vec<_>> = REFUSED_CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EACCES as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

/// How many threads this process has; confinement is only complete when it is one.
pub(crate) fn thread_count() -> std::io::Result<usize> {
    Ok(std::fs::read_dir("/proc/self/task")?.count())
}
