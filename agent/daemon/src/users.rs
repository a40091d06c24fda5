//! Users of the processes: finding them, becoming them.
//!
//! Owns the drop of privileges: supplementary groups first, then group, then user, and a check that there is no way
//! back. Nothing is dropped when the process is not root.

use std::io;

use nix::unistd::{Gid, Uid, geteuid, setgroups, setresgid, setresuid};

/// A user by name and numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User number.
    pub uid: u32,
    /// Primary group number.
    pub gid: u32,
}

impl User {
    /// Whoever runs this process.
    pub fn current() -> Self {
        let (uid, gid) = (geteuid(), nix::unistd::getegid());
        let name = nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name);
        Self { name, uid: uid.as_raw(), gid: gid.as_raw() }
    }

    /// The user with this name.
    pub fn named(name: &str) -> Option<Self> {
        let user = nix::unistd::User::from_name(name).ok().flatten()?;
        Some(Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
    }

    /// The user of a process: the configured one, else the first that exists of `own` and `nobody`. Without root, whoever
    /// runs this.
    ///
    /// # Errors
    /// The configured user does not exist.
    pub fn for_process(configured: Option<&str>, own: &str, key: &str) -> io::Result<Self> {
        if !geteuid().is_root() {
            return Ok(Self::current());
        }
        if let Some(name) = configured {
            let missing = || io::Error::other(format!("{key} = {name:?}: no such user; create it or change the configuration"));
            return Self::named(name).ok_or_else(missing);
        }
        Self::named(own)
            .or_else(|| Self::named("nobody"))
            .ok_or_else(|| io::Error::other(format!("neither user {own} nor nobody exists; create {own} or set {key}")))
    }

    /// Becomes this user for good. Does nothing when it is this user already.
    ///
    /// # Errors
    /// The operating system refused, or the way back is open.
    pub fn become_for_good(&self) -> io::Result<()> {
        if geteuid().as_raw() == self.uid {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        let changed = setgroups(&[gid]).and_then(|()| setresgid(gid, gid, gid)).and_then(|()| setresuid(uid, uid, uid));
        changed.map_err(|error| io::Error::other(format!("cannot become user {}: {error}", self.name)))?;
        if setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0)).is_ok() {
            return Err(io::Error::other(format!("became user {} but could become root again", self.name)));
        }
        nix::sys::prctl::set_no_new_privs().map_err(io::Error::from)
    }
}
