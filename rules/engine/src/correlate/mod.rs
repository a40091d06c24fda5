//! Correlations: what several events say together. A pure state machine, without clock and without I/O.
//!
//! [`Correlator::observe`] takes events that single rules matched, in any order; [`Correlator::advance`] applies those that
//! lie behind a watermark, in the order of (time, event), and returns what they make. Equal observations give equal
//! matches, whatever the order in which they arrived, as long as none came after the watermark had passed it.
//!
//! # What a correlation means
//! The Sigma correlation specification (2.1, and 2.0.2 where the text is unchanged) decides; where it is silent, we do:
//! - **Window.** The window of an event at `t` holds the group's events from `t - timespan` to `t`, both included: "the time
//!   frame should not be restricted to boundaries". The condition is judged at each event of the group.
//! - **Group.** "Fields which should be treated as separate event occurrence scope": an absent (or null) field is a scope of
//!   its own. Values are compared byte by byte; a list is one value. The tenant ([`Correlator::observe`]'s `scope`) comes
//!   before every group.
//! - **Events, not matches, are counted.** An event that matches two of the rules counts once ("counts events").
//! - **`value_*`.** An event without the field, or for sums without a number in it, does not count. A percentile lies
//!   between its two neighbours in proportion; the median is the percentile 50.
//! - **`temporal`.** Without a condition every rule is needed; a condition compares "the count of different event types".
//!   A text is a boolean expression over the rules.
//! - **`temporal_ordered`.** Events follow each other by time, then by event id; one event is one step only. A condition
//!   compares the longest run of rules that stand in the listed order.
//! - **One match for a run.** A match is made when the condition becomes true. While it stays true the match is not
//!   repeated, until its event has left the window: whatever lasts gives one match for each timespan, and never silence.
//! - **Chains.** A correlation that holds is an event for others, with the fields of its group and else those of the event
//!   that completed it. `temporal` correlations see it wherever it holds; the others count its matches.
//! - **`generate`.** Rules that a correlation refers to do not alert on their own unless it says `generate: true`.
//!
//! # Limits
//! [`CorrelateOptions`] bounds everything that is kept. What had to be given up is a [`StateOverflow`], never silent.

mod buffer;
mod condition;
mod correlator;
mod exchange;
mod fields;
mod number;
mod order;
mod overflow;
mod plan;
mod ranked;
mod run;
mod shape;
mod shelf;
mod slide;
mod snapshot;
mod watermark;
mod window;
mod written;

pub use correlator::{Correlator, EventRef, Figures, Observed};
pub use exchange::Leftover;
pub use fields::FieldSource;
pub use overflow::{OverflowKind, StateOverflow};
pub(crate) use plan::Plan;
pub use run::CorrelationMatch;
pub use snapshot::{Restored, Snapshot, SnapshotError};
pub use watermark::Watermark;
pub(crate) use written::{Written, readable};

/// What a correlator may keep. Beyond it the least recently used groups of the correlation that holds most are given up,
/// and a [`StateOverflow`] says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelateOptions {
    /// Events held until the watermark passes them. Beyond it the earliest are applied at once.
    pub max_held: usize,
    /// Groups of all correlations and scopes.
    pub max_groups: usize,
    /// Events within one window. Beyond it the oldest leave the window early.
    pub max_entries: usize,
    /// Bytes of groups and held events, estimated.
    pub max_bytes: usize,
}

impl Default for CorrelateOptions {
    /// For a detector: ten seconds of events that match some rule, and a memory that one process can spare.
    fn default() -> Self {
        Self { max_held: 200_000, max_groups: 500_000, max_entries: crate::limits::MAX_WINDOW_EVENTS, max_bytes: 256 << 20 }
    }
}

impl CorrelateOptions {
    /// For input that ends: everything is held until [`Correlator::finish`] sorts it, so that files may come in any order.
    pub fn offline() -> Self {
        Self { max_held: 10_000_000, max_bytes: 2 << 30, ..Self::default() }
    }
}
