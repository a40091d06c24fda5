//! The lowest priority for a thread and for the processes that it starts: a scan must not be felt, and sensing comes first.
//!
//! Owns two system calls. A kernel that refuses costs politeness, not correctness: it is logged and the scan goes on.

use std::io;

/// `ioprio_set(2)`: the calling thread.
const IOPRIO_WHO_PROCESS: libc::c_int = 1;
/// `ioprio_set(2)`: class idle (3) in the upper bits, level 0.
const IOPRIO_IDLE: libc::c_int = 3 << 13;
/// The weakest claim to the processor.
const WEAKEST: libc::c_int = 19;

/// Lowers the calling thread; what it starts from now on inherits that.
pub(super) fn lower_this_thread() {
    // SAFETY: setpriority takes numbers only; who 0 is the calling thread on Linux.
    let nice = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, WEAKEST) };
    if nice != 0 {
        tracing::warn!(error = %io::Error::last_os_error(), "scans run at normal processor priority");
    }
    // SAFETY: ioprio_set takes numbers only; who 0 is the calling thread.
    let io = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_IDLE) };
    if io != 0 {
        tracing::warn!(error = %io::Error::last_os_error(), "scans run at normal disk priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lowered_thread_and_its_children_are_the_weakest_and_others_stay() {
        let nice_of_child = || {
            let output = std::process::Command::new("nice").output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse::<i32>().unwrap()
        };
        let before = nice_of_child();
        let lowered = std::thread::spawn(move || {
            lower_this_thread();
            nice_of_child()
        });
        assert_eq!(lowered.join().unwrap(), WEAKEST);
        assert_eq!(nice_of_child(), before);
    }
}
