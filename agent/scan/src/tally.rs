//! What the worker reports of an archive while it walks it: a packet for each member that is not clean, up to a limit,
//! and numbers for all of them.
//!
//! Owns the packets and the first error of the socket, which ends the worker after the walk.

use std::io;
use std::os::fd::OwnedFd;

use crate::protocol::{Inner, MAX_MATCHED_MEMBERS, MAX_UNKNOWN_MEMBERS, Outcome, Reply, cut};
use crate::worker::reply;

/// The report of one request.
pub(crate) struct Tally<'a> {
    socket: &'a OwnedFd,
    id: u64,
    broken: io::Result<()>,
    /// The numbers.
    pub inner: Inner,
}

impl<'a> Tally<'a> {
    /// An empty report.
    pub fn new(socket: &'a OwnedFd, id: u64) -> Self {
        Self { socket, id, broken: Ok(()), inner: Inner::default() }
    }

    /// A member matched or is unknown.
    pub fn found(&mut self, inside: &[u8], outcome: Outcome, sha256: Option<String>, bytes: u64) {
        let (count, limit) = match outcome {
            Outcome::Match { .. } => (&mut self.inner.matched, MAX_MATCHED_MEMBERS),
            _ => (&mut self.inner.unknown, MAX_UNKNOWN_MEMBERS),
        };
        *count += 1;
        if *count > limit as u64 || self.broken.is_err() {
            return;
        }
        let found = Reply::Found { id: self.id, inside: hex::encode(inside), outcome, sha256, bytes };
        self.broken = reply(self.socket, &found);
    }

    /// Nothing, or not everything, is known of a member.
    pub fn unknown(&mut self, inside: &[u8], reason: &str) {
        self.found(inside, Outcome::Unknown { reason: cut(reason) }, None, 0);
    }

    /// The numbers.
    ///
    /// # Errors
    /// The socket broke on the way.
    pub fn finish(self) -> io::Result<Inner> {
        self.broken.map(|()| self.inner)
    }
}
