//! The one budget of an outermost file: members, unpacked bytes, time.
//!
//! Owns the counting. A reader that is metered fails once the budget is spent, whatever decompressor sits on top of it;
//! whoever sees an error asks the purse first.

use std::cell::Cell;
use std::io::{self, Read};
use std::time::{Duration, Instant};

use crate::protocol::ArchiveLimits;

/// Whether a walk goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Stop {
    /// It does.
    No,
    /// The budget is spent, and that was reported.
    Yes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spent {
    Entries,
    Bytes,
    Time,
}

/// The budget.
pub(crate) struct Purse {
    limits: ArchiveLimits,
    entries: Cell<u64>,
    bytes: Cell<u64>,
    until: Instant,
    time: Duration,
    spent: Cell<Option<Spent>>,
}

impl Purse {
    /// A full purse; `time` is what `until` was computed from, for people.
    pub fn new(limits: ArchiveLimits, until: Instant, time: Duration) -> Self {
        Self { limits, entries: Cell::new(0), bytes: Cell::new(0), until, time, spent: Cell::new(None) }
    }

    /// The limits.
    pub fn limits(&self) -> &ArchiveLimits {
        &self.limits
    }

    /// Members that were looked at.
    pub fn entries(&self) -> u64 {
        self.entries.get()
    }

    /// Bytes that were unpacked.
    pub fn bytes(&self) -> u64 {
        self.bytes.get()
    }

    /// Time that is left.
    pub fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Whether nothing may be looked at any more.
    pub fn is_spent(&self) -> bool {
        self.spent.get().is_some()
    }

    /// Whether it ended because of the time.
    pub fn is_out_of_time(&self) -> bool {
        self.spent.get() == Some(Spent::Time)
    }

    /// Which limit was reached, in words.
    pub fn why(&self) -> String {
        match self.spent.get() {
            Some(Spent::Entries) => format!("the budget of {} members for its outermost file is spent", self.limits.entries),
            Some(Spent::Bytes) => format!("the budget of {} unpacked bytes for its outermost file is spent", self.limits.bytes),
            Some(Spent::Time) => format!("the budget of {} ms for its outermost file is spent", self.time.as_millis()),
            None => String::new(),
        }
    }

    /// Pays for one more member; false when it cannot be paid.
    pub fn take_entry(&self) -> bool {
        if self.entries.get() >= self.limits.entries {
            self.spent.set(Some(Spent::Entries));
            return false;
        }
        self.entries.set(self.entries.get() + 1);
        self.has_time()
    }

    fn has_time(&self) -> bool {
        if !self.is_spent() && Instant::now() >= self.until {
            self.spent.set(Some(Spent::Time));
        }
        !self.is_spent()
    }

    fn take_bytes(&self, bytes: u64) -> bool {
        self.bytes.set(self.bytes.get().saturating_add(bytes));
        if self.bytes.get() > self.limits.bytes {
            self.spent.set(Some(Spent::Bytes));
        }
        !self.is_spent()
    }

    /// A reader whose bytes are paid for.
    pub fn metered<R: Read>(&self, reader: R) -> Metered<'_, R> {
        Metered { reader, purse: self, is_free: false }
    }

    /// A reader that only ends with the time: for compressed bytes, of which endless many may give none.
    pub fn timed<R: Read>(&self, reader: R) -> Metered<'_, R> {
        Metered { reader, purse: self, is_free: true }
    }
}

/// See [`Purse::metered`].
pub(crate) struct Metered<'a, R> {
    reader: R,
    purse: &'a Purse,
    is_free: bool,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let spent = || io::Error::other("the budget is spent");
        if !self.purse.has_time() {
            return Err(spent());
        }
        let read = self.reader.read(buffer)?;
        if self.is_free || self.purse.take_bytes(read as u64) { Ok(read) } else { Err(spent()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn purse(entries: u64, bytes: u64, time: Duration) -> Purse {
        let limits = ArchiveLimits { depth: 4, entries, bytes, member_bytes: 100 };
        Purse::new(limits, Instant::now() + time, time)
    }

    #[test]
    fn each_limit_ends_it_and_is_named() {
        let long = Duration::from_secs(60);
        let members = purse(2, 10, long);
        assert!(members.take_entry() && members.take_entry() && !members.take_entry());
        assert!(members.why().contains("2 members"), "{}", members.why());
        let bytes = purse(2, 10, long);
        let error = io::copy(&mut bytes.metered(io::repeat(0).take(11)), &mut io::sink()).unwrap_err();
        assert!(bytes.is_spent() && bytes.why().contains("10 unpacked bytes"), "{error} {}", bytes.why());
        let time = purse(2, 10, Duration::ZERO);
        assert!(!time.take_entry() && time.is_out_of_time() && time.why().contains("0 ms"));
        assert!(time.timed(io::repeat(0)).read(&mut [0]).is_err());
    }

    #[test]
    fn compressed_bytes_cost_time_only() {
        let purse = purse(2, 10, Duration::from_secs(60));
        assert_eq!(io::copy(&mut purse.timed(io::repeat(0).take(1000)), &mut io::sink()).unwrap(), 1000);
        assert!(!purse.is_spent() && purse.bytes() == 0);
    }
}
