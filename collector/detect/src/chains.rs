//! What the detector remembers of every stream: its head, to see a batch that was replaced or taken out.
//!
//! The memory is bounded and may be lost at any time: a stream without a known head is taken as it comes, because the
//! store's ledger, not this memory, is the authority on holes.

use std::collections::{HashMap, VecDeque};

use beffroi_schema::batch::{BatchError, ChainHead, ChainState, Envelope, Record};
use beffroi_schema::{AgentId, Epoch, Stream};

/// Streams whose heads are kept: 10,000 hosts with five streams each and room for restarts; about 150 bytes a stream.
pub const MAX_STREAMS: usize = 100_000;

type Key = (AgentId, Epoch, Stream);

/// Heads of streams, the longest known go first when the memory is full.
#[derive(Debug, Default)]
pub struct Chains {
    heads: HashMap<Key, ChainHead>,
    order: VecDeque<Key>,
}

/// What a batch says about its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It follows what was seen, or is the first that this detector sees.
    Fits,
    /// It was seen before.
    Again,
    /// A closed range of numbers is missing before it.
    Hole {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
    },
}

impl Chains {
    /// Compares a batch with its stream and moves the head. `records` are those that are no events, or all.
    ///
    /// # Errors
    /// [`BatchError::Chain`] when the batch follows in number but names another predecessor. The head moves on all the
    /// same: one replaced batch must not put every later one aside.
    pub fn link(&mut self, envelope: &Envelope, records: &[Record]) -> Result<Link, BatchError> {
        let key = (envelope.header.agent, envelope.header.epoch, envelope.header.stream);
        let known = self.heads.get(&key).copied();
        match envelope.follows(known, records) {
            Ok(ChainState::Seen) => Ok(Link::Again),
            Ok(ChainState::Follows(head)) => {
                self.set(key, head);
                Ok(Link::Fits)
            }
            Ok(ChainState::Hole { from, to, head }) => {
                self.set(key, head);
                Ok(if known.is_some() { Link::Hole { from, to } } else { Link::Fits })
            }
            Err(error) => {
                self.set(key, ChainHead { last: envelope.header.last, hash: envelope.hash() });
                Err(error)
            }
        }
    }

    fn set(&mut self, key: Key, head: ChainHead) {
        if self.heads.insert(key, head).is_none() {
            self.order.push_back(key);
            if self.order.len() > MAX_STREAMS
                && let Some(oldest) = self.order.pop_front()
            {
                self.heads.remove(&oldest);
            }
        }
    }
}
