//! The hooks: what each reports, which probes serve it and where they attach.

/// Which compiled object holds a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// `bpf/exec.bpf.c`
    Exec,
    /// `bpf/file.bpf.c`
    File,
    /// `bpf/net.bpf.c`
    Net,
}

/// One attach point.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// Object.
    pub family: Family,
    /// Program in the object.
    pub program: &'static str,
    /// Syscall tracepoint; none for probes that name their own (BTF) tracepoint.
    pub tracepoint: Option<&'static str>,
    /// Without it the hook is off. The others are older or newer forms that not every kernel has.
    pub needed: bool,
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
    Probe { family, program, tracepoint: None, needed: true }
}

const fn call(family: Family, program: &'static str, tracepoint: &'static str, needed: bool) -> Probe {
    Probe { family, program, tracepoint: Some(tracepoint), needed }
}

macro_rules! pair {
    ($name:literal, $needed:literal) => {
        [
            call(Family::File, concat!("enter_", $name), concat!("sys_enter_", $name), $needed),
            call(Family::File, concat!("exit_", $name), concat!("sys_exit_", $name), $needed),
        ]
    };
}

const fn flat<const N: usize, const M: usize>(pairs: [[Probe; 2]; N]) -> [Probe; M] {
    assert!(M == 2 * N);
    let mut out = [pairs[0][0]; M];
    let mut at = 0;
    while at < M {
        out[at] = pairs[at / 2][at % 2];
        at += 1;
    }
    out
}

/// In the order of `enum hook` in `bpf/records.h`: the position is the key of the counters.
pub static HOOKS: [Hook; 11] = [
    Hook { name: "exec", probes: &[trace(Family::Exec, "on_exec")] },
    Hook { name: "fork", probes: &[trace(Family::Exec, "on_fork")] },
    Hook { name: "exit", probes: &[trace(Family::Exec, "on_exit")] },
    Hook {
        name: "file_open",
        probes: &flat::<4, 8>([pair!("openat", true), pair!("open", false), pair!("creat", false), pair!("openat2", false)]),
    },
    Hook {
        name: "file_close",
        probes: &[
            call(Family::File, "enter_close", "sys_enter_close", true),
            trace(Family::File, "exit_closes"),
            call(Family::File, "enter_dup3", "sys_enter_dup3", true),
            call(Family::File, "enter_dup2", "sys_enter_dup2", false),
            call(Family::File, "enter_close_range", "sys_enter_close_range", false),
        ],
    },
    Hook {
        name: "file_rename",
        probes: &flat::<3, 6>([pair!("renameat2", true), pair!("rename", false), pair!("renameat", false)]),
    },
    Hook { name: "file_unlink", probes: &flat::<3, 6>([pair!("unlinkat", true), pair!("unlink", false), pair!("rmdir", false)]) },
    Hook {
        name: "file_link",
        probes: &flat::<4, 8>([pair!("linkat", true), pair!("symlinkat", true), pair!("link", false), pair!("symlink", false)]),
    },
    Hook {
        name: "net_connect",
        probes: &[
            trace(Family::Net, "on_state"),
            call(Family::Net, "enter_connect", "sys_enter_connect", true),
            call(Family::Net, "exit_connect", "sys_exit_connect", true),
        ],
    },
    Hook {
        name: "net_accept",
        probes: &[
            call(Family::Net, "exit_accept4", "sys_exit_accept4", true),
            call(Family::Net, "exit_accept", "sys_exit_accept", true),
        ],
    },
    Hook {
        name: "net_listen",
        probes: &[
            trace(Family::Net, "on_state"),
            call(Family::Net, "enter_bind", "sys_enter_bind", true),
            call(Family::Net, "exit_bind", "sys_exit_bind", true),
        ],
    },
];
