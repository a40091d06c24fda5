//! System calls by number: the native table of this processor and, on x86-64, the 32-bit table beside it, which every
//! program may use (`int $0x80`) and which a sensor that looks at one table only does not see.

/// Numbers of one table in the probes' jump tables (`TABLE` in `bpf/calls.bpf.c`): the 32-bit ones follow the native ones.
pub const TABLE: u32 = 1_024;

/// A system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call {
    native: Option<u32>,
    compat: Option<u32>,
}

impl Call {
    /// Its places in the jump tables; none when this processor does not have it.
    pub fn places(self) -> impl Iterator<Item = u32> {
        self.native.into_iter().chain(self.compat.map(|number| TABLE + number))
    }
}

const fn number(number: libc::c_long) -> u32 {
    assert!(number >= 0 && number < TABLE as libc::c_long);
    number as u32
}

/// A call that every processor has.
macro_rules! common {
    ($name:ident, $native:ident, $compat:literal) => {
        #[doc = concat!("`", stringify!($native), "`")]
        pub const $name: Call =
            Call { native: Some(number(libc::$native)), compat: if cfg!(target_arch = "x86_64") { Some($compat) } else { None } };
    };
}

/// A call that only x86-64 still has.
macro_rules! old {
    ($name:ident, $native:ident, $compat:literal) => {
        #[doc = concat!("`", stringify!($native), "`")]
        #[cfg(target_arch = "x86_64")]
        pub const $name: Call = Call { native: Some(number(libc::$native)), compat: Some($compat) };
        #[doc = concat!("`", stringify!($native), "`, which this processor does not have")]
        #[cfg(not(target_arch = "x86_64"))]
        pub const $name: Call = Call { native: None, compat: None };
    };
}

old!(OPEN, SYS_open, 5);
old!(CREAT, SYS_creat, 8);
common!(OPENAT, SYS_openat, 295);
common!(OPENAT2, SYS_openat2, 437);
common!(CLOSE, SYS_close, 6);
common!(CLOSE_RANGE, SYS_close_range, 436);
old!(DUP2, SYS_dup2, 63);
common!(DUP3, SYS_dup3, 330);
old!(RENAME, SYS_rename, 38);
common!(RENAMEAT, SYS_renameat, 302);
common!(RENAMEAT2, SYS_renameat2, 353);
old!(UNLINK, SYS_unlink, 10);
common!(UNLINKAT, SYS_unlinkat, 301);
old!(RMDIR, SYS_rmdir, 40);
old!(LINK, SYS_link, 9);
common!(LINKAT, SYS_linkat, 303);
old!(SYMLINK, SYS_symlink, 83);
common!(SYMLINKAT, SYS_symlinkat, 304);
common!(CONNECT, SYS_connect, 362);
common!(BIND, SYS_bind, 361);
common!(SENDTO, SYS_sendto, 369);
common!(SENDMSG, SYS_sendmsg, 370);
common!(SENDMMSG, SYS_sendmmsg, 345);
common!(ACCEPT4, SYS_accept4, 364);

/// `SYS_accept`; the 32-bit table has it as a form of [`SOCKETCALL`] only.
pub const ACCEPT: Call = Call { native: Some(number(libc::SYS_accept)), compat: None };
/// All socket calls in one, in the 32-bit table only.
pub const SOCKETCALL: Call = Call { native: None, compat: if cfg!(target_arch = "x86_64") { Some(102) } else { None } };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn a_call_has_a_place_in_each_table_that_knows_it() {
        assert_eq!(OPEN.places().collect::<Vec<_>>(), [2, TABLE + 5]);
        assert_eq!(ACCEPT.places().collect::<Vec<_>>(), [43]);
        assert_eq!(SOCKETCALL.places().collect::<Vec<_>>(), [TABLE + 102]);
    }
}
