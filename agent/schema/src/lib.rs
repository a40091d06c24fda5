//! The contract between agent and collector: events, batches, matches, what goes down, ids, limits, field names.
//!
//! No I/O, no clock and no async here: bytes in, values out. Everything that crosses a process boundary is defined in
//! this crate, and a frozen sample of each contract is kept in `tests/fixtures`: later versions must still read it.
//!
//! Reading is hostile by default: sizes are checked before memory is taken, indexes before they are used, and an error
//! says what is wrong and never panics.

#![forbid(unsafe_code)]

pub mod alert;
pub mod batch;
pub mod control;
pub mod down;
pub mod event;
pub mod fields;
pub mod health;
pub mod ids;
pub mod json;
pub mod limits;
pub mod proof;
pub mod session;
pub mod wire;

pub use ed25519_dalek::{SigningKey, VerifyingKey};
pub use event::{Category, Event, Logsource, Product, Text, Value};
pub use fields::Field;
pub use ids::{AgentId, AlertId, BatchHash, Epoch, EventId, KeyId, MatchId, OrderId, Stream};

/// Generated from `proto/`.
#[allow(missing_docs, clippy::all, clippy::pedantic)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/beffroi.v1.rs"));
}
