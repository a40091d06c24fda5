//! The hooks: what each reports, which probes serve it and where they attach.

use crate::calls::{self, Call};

/// Which compiled object holds a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `bpf/calls.bpf.c`
    Calls,
    /// `bpf/exec.bpf.c`
    Exec,
    /// `bpf/file.bpf.c`
    File,
    /// `bpf/net.bpf.c`
    Net,
    /// `bpf/uring.bpf.c`
    Uring,
}

/// Where a probe runs.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// At the kernel tracepoint that it names itself.
    Tracepoint,
    /// On the way into these system calls.
    Enter(&'static [Call]),
    /// On the way out of them.
    Exit(&'static [Call]),
}

/// One attach point.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Object.
    pub family: Family,
    /// Program in the object.
    pub program: &'static str,
    /// Where it runs.
    pub place: Place,
}

/// One hook: counted, switched and reported as a whole.
#[derive(Debug, Clone, Copy)]
pub struct Hook {
    /// Name in `hooks()`, gaps and counters.
    pub name: &'static str,
    /// Its probes.
    pub probes: &'static [Probe],
}

const fn trace(family: Family, program: &'static str) -> Probe {
    Probe { family, program, place: Place::Tracepoint }
}

const fn enter(family: Family, program: &'static str, calls: &'static [Call]) -> Probe {
    Probe { family, program, place: Place::Enter(calls) }
}

const fn exit(family: Family, program: &'static str, calls: &'static [Call]) -> Probe {
    Probe { family, program, place: Place::Exit(calls) }
}

const OPENS: &[Call] = &[calls::OPEN, calls::OPENAT, calls::OPENAT2, calls::CREAT];
const RENAMES: &[Call] = &[calls::RENAME, calls::RENAMEAT, calls::RENAMEAT2];
const UNLINKS: &[Call] = &[calls::UNLINK, calls::UNLINKAT, calls::RMDIR];
const LINKS: &[Call] = &[calls::LINK, calls::LINKAT, calls::SYMLINK, calls::SYMLINKAT];
const SENDS: &[Call] = &[calls::SENDTO, calls::SENDMSG, calls::SENDMMSG];

/// The 32-bit table's call for all socket calls belongs to each of their hooks.
const SOCKETCALL: Probe = enter(Family::Net, "enter_socketcall", &[calls::SOCKETCALL]);
const SOCKETCALL_EXIT: Probe = exit(Family::Net, "exit_socket", &[calls::SOCKETCALL]);

/// In the order of `enum hook` in `bpf/records.h`: the position is the key of the counters.
pub static HOOKS: [Hook; 13] = [
    Hook { name: "exec", probes: &[trace(Family::Exec, "on_exec")] },
    Hook { name: "fork", probes: &[trace(Family::Exec, "on_fork")] },
    Hook { name: "exit", probes: &[trace(Family::Exec, "on_exit")] },
    Hook {
        name: "file_open",
        probes: &[
            enter(Family::File, "enter_open", &[calls::OPEN]),
            enter(Family::File, "enter_openat", &[calls::OPENAT]),
            enter(Family::File, "enter_openat2", &[calls::OPENAT2]),
            enter(Family::File, "enter_creat", &[calls::CREAT]),
            exit(Family::File, "exit_open", OPENS),
        ],
    },
    Hook {
        name: "file_close",
        probes: &[
            enter(Family::File, "enter_close", &[calls::CLOSE]),
            enter(Family::File, "enter_dup", &[calls::DUP2, calls::DUP3]),
            enter(Family::File, "enter_close_range", &[calls::CLOSE_RANGE]),
            trace(Family::File, "exit_closes"),
        ],
    },
    Hook {
        name: "file_rename",
        probes: &[
            enter(Family::File, "enter_rename", &[calls::RENAME]),
            enter(Family::File, "enter_renameat", &[calls::RENAMEAT, calls::RENAMEAT2]),
            exit(Family::File, "exit_path", RENAMES),
        ],
    },
    Hook {
        name: "file_unlink",
        probes: &[
            enter(Family::File, "enter_unlink", &[calls::UNLINK]),
            enter(Family::File, "enter_unlinkat", &[calls::UNLINKAT]),
            enter(Family::File, "enter_rmdir", &[calls::RMDIR]),
            exit(Family::File, "exit_path", UNLINKS),
        ],
    },
    Hook {
        name: "file_link",
        probes: &[
            enter(Family::File, "enter_link", &[calls::LINK]),
            enter(Family::File, "enter_linkat", &[calls::LINKAT]),
            enter(Family::File, "enter_symlink", &[calls::SYMLINK]),
            enter(Family::File, "enter_symlinkat", &[calls::SYMLINKAT]),
            exit(Family::File, "exit_path", LINKS),
        ],
    },
    Hook {
        name: "net_connect",
        probes: &[
            trace(Family::Net, "on_state"),
            enter(Family::Net, "enter_connect", &[calls::CONNECT]),
            exit(Family::Net, "exit_socket", &[calls::CONNECT]),
            SOCKETCALL,
            SOCKETCALL_EXIT,
        ],
    },
    Hook {
        name: "net_accept",
        probes: &[exit(Family::Net, "exit_accept", &[calls::ACCEPT, calls::ACCEPT4]), SOCKETCALL, SOCKETCALL_EXIT],
    },
    Hook {
        name: "net_listen",
        probes: &[
            trace(Family::Net, "on_state"),
            enter(Family::Net, "enter_bind", &[calls::BIND]),
            exit(Family::Net, "exit_socket", &[calls::BIND]),
            SOCKETCALL,
            SOCKETCALL_EXIT,
        ],
    },
    Hook {
        name: "net_send",
        probes: &[
            enter(Family::Net, "enter_sendto", &[calls::SENDTO]),
            enter(Family::Net, "enter_sendmsg", &[calls::SENDMSG, calls::SENDMMSG]),
            exit(Family::Net, "exit_socket", SENDS),
            SOCKETCALL,
            SOCKETCALL_EXIT,
        ],
    },
    Hook { name: "io_uring", probes: &[trace(Family::Uring, "on_submit")] },
];

/// Numbers that some probe waits for, in either table, as the gates in `bpf/calls.bpf.c` read them: 1 for the way in, 2 for
/// the way out.
pub fn wanted_numbers() -> Vec<u8> {
    let mut wanted = vec![0; calls::TABLE as usize];
    for probe in HOOKS.iter().flat_map(|hook| hook.probes) {
        let (way, calls) = match probe.place {
            Place::Tracepoint => continue,
            Place::Enter(calls) => (1, calls),
            Place::Exit(calls) => (2, calls),
        };
        for place in calls.iter().flat_map(|call| call.places()) {
            wanted[(place % calls::TABLE) as usize] |= way;
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_call_is_looked_at_on_the_ways_that_some_probe_waits_for() {
        let wanted = wanted_numbers();
        let of = |call: Call| call.places().map(|place| wanted[(place % calls::TABLE) as usize]).collect::<Vec<_>>();
        // Closing is 3 in the native table and 6 in the other, where the native one has lstat: one byte stands for both.
        assert_eq!((of(calls::CLOSE), of(calls::OPENAT)), (vec![1, 1], vec![3, 3]));
        assert_eq!(of(calls::ACCEPT), [2]);
        assert_eq!(wanted[libc::SYS_getppid as usize], 0);
    }
}
