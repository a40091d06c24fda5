//! Orders that come down: verified, remembered, carried out, answered (design section 4).
//!
//! The uplink hands every envelope to the sensor process over the agent's socket, and here is decided what becomes of it.
//! Nothing that a server says is believed: an envelope counts only by its chain to the root that enrolment has pinned.
//!
//! Owns, from the outside in:
//! - [`OrderDesk::take`]: verify, refuse or accept. An accepted order is on the disk before anything is done for it, so
//!   that it is never carried out twice; a `cancel` wins even when it comes before its order.
//! - the *book* (`sensor/orders.json`): what was accepted, cancelled and revoked, and what is still to be done.
//! - the *runner*: one thread of the lowest priority that carries out one scan after the other in a worker process.
//! - the answers: ordinary events of category `scan`. Refusals are bounded, so that they cannot be used to flood anybody.
//!
//! There is no order that writes, deletes or starts anything: `scan`, `list`, `cancel` is all.

mod answers;
mod blobs;
mod book;
mod desk;
mod judge;
mod priority;
mod refusals;
mod runner;
mod state;
mod status;
mod watcher;

use beffroi_schema::Event;

pub use desk::{Host, OrderDesk, Taken};
pub use runner::Runner;
pub use status::{OrderLine, OrderState, OrdersStatus};

/// Where answers go: the spool of this host.
pub trait Outbox: Send + Sync {
    /// Takes an event in. May block while the spool is busy.
    fn put(&self, event: Event);
    /// Returns when everything put before is on the disk; false when that could not be had.
    fn settle(&self) -> bool;
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
