//! The batch: a clear header, a zstd body of dictionary-encoded records, an Ed25519 signature (design section 2).
//!
//! A batch holds records of one stream, numbered without holes from `first` to `last`. Its hash covers the header as it
//! was encoded and the compressed body; the next batch of the stream names it, so that nothing can be taken out unseen.
//! A batch that was evicted from a full spool is replaced by one with the same numbers that holds a single [`Gap`]
//! carrying the evicted hash.

mod decode;
mod encode;
mod others;
mod packed;
mod reader;
mod sealed;

use crate::event::Event;
use crate::ids::{AgentId, BatchHash, Epoch, IdError, Stream};

pub use decode::Contents;
pub use encode::{BatchBuilder, SealedBatch};
pub use packed::{Column, ColumnName, EventRef, ListRef, Packed, Shape, TextRef, ValueRef};
pub use sealed::{ChainHead, ChainState, Envelope};

/// The clear header of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Tenant that the agent was enrolled for.
    pub tenant: String,
    /// Who recorded it.
    pub agent: AgentId,
    /// In which run of the sensor.
    pub epoch: Epoch,
    /// In which stream.
    pub stream: Stream,
    /// Number of the first record.
    pub first: u64,
    /// Number of the last record, inclusive.
    pub last: u64,
    /// Bytes of the body before compression.
    pub raw_size: u32,
    /// Hash of the stream's previous batch.
    pub previous: BatchHash,
    /// Contract version.
    pub schema_version: u32,
    /// Ed25519 identity key; its hash is the agent id.
    pub public_key: [u8; 32],
}

impl Header {
    /// What is known of a batch before it is sealed; [`BatchBuilder::seal`] fills in the rest.
    pub fn unsealed(tenant: String, agent: AgentId, epoch: Epoch, stream: Stream, previous: BatchHash) -> Self {
        Self { tenant, agent, epoch, stream, first: 0, last: 0, raw_size: 0, previous, schema_version: 0, public_key: [0; 32] }
    }
}

/// What the host says of itself. Shown to people, never trusted as an identity.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct HostInfo {
    /// Host name, bad UTF-8 replaced.
    pub hostname: String,
    /// Operating system, for example `Debian GNU/Linux 12`.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Machine architecture.
    pub architecture: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Kernel boot id.
    pub boot_id: String,
    /// Addresses of the host's interfaces.
    pub addresses: Vec<String>,
}

/// Why records are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The kernel's ring buffer was full.
    KernelDrop,
    /// The spool was full and this class was the lowest.
    SpoolEvicted,
    /// The sensor was not running.
    Stopped,
    /// A record on the spool was damaged.
    SpoolDamaged,
    /// A record was larger than any limit allows.
    Oversize,
    /// A source (hook, file) could not be read for a while.
    SourceLost,
    /// A reason that this version does not know.
    Other(u32),
}

impl GapReason {
    const TABLE: [(u32, GapReason); 6] = [
        (1, Self::KernelDrop),
        (2, Self::SpoolEvicted),
        (3, Self::Stopped),
        (4, Self::SpoolDamaged),
        (5, Self::Oversize),
        (6, Self::SourceLost),
    ];

    /// Number on the wire.
    pub fn number(self) -> u32 {
        match self {
            Self::Other(number) => number,
            known => Self::TABLE.iter().find(|(_, reason)| *reason == known).map_or(0, |(number, _)| *number),
        }
    }

    /// The reason with this number.
    pub fn from_number(number: u32) -> Self {
        Self::TABLE.iter().find(|(known, _)| *known == number).map_or(Self::Other(number), |(_, reason)| *reason)
    }

    /// Name in tables and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::KernelDrop => "kernel_drop",
            Self::SpoolEvicted => "spool_evicted",
            Self::Stopped => "stopped",
            Self::SpoolDamaged => "spool_damaged",
            Self::Oversize => "oversize",
            Self::SourceLost => "source_lost",
            Self::Other(_) => "other",
        }
    }
}

/// A declared loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// Number of the record that declares it.
    pub seq: u64,
    /// When it was declared, microseconds since 1970.
    pub ts: i64,
    /// Why.
    pub reason: GapReason,
    /// What lost it: a kernel hook, `spool`, `sensor`.
    pub hook: String,
    /// Records lost; `None` when it cannot be known.
    pub count: Option<u64>,
    /// From when, microseconds since 1970.
    pub from: i64,
    /// To when.
    pub to: i64,
    /// The evicted numbers and the hash of the last evicted batch.
    pub evicted: Option<Evicted>,
}

/// Which batches a gap stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// First evicted record.
    pub first: u64,
    /// Last evicted record, inclusive.
    pub last: u64,
    /// Hash of the last evicted batch: the next batch of the stream chains to it.
    pub hash: BatchHash,
}

/// How far a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamHead {
    /// Which stream.
    pub stream: Stream,
    /// Number of its last sealed record; 0 when it has none.
    pub last_seq: u64,
    /// Hash of its last sealed batch; zeros when it has none.
    pub last_hash: BatchHash,
}

/// First record of every stream of a new epoch: what came before, and the time in which nobody watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochStart {
    /// Number of the record: 1.
    pub seq: u64,
    /// When sensing began, microseconds since 1970.
    pub ts: i64,
    /// The run before; none on the first start.
    pub previous: Option<PreviousEpoch>,
    /// Kernel boot id.
    pub boot_id: String,
}

/// The run before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PreviousEpoch {
    /// Its id.
    pub epoch: Epoch,
    /// Its last numbers.
    pub heads: Vec<StreamHead>,
    /// Last time it is known to have been sensing, microseconds since 1970.
    pub alive: i64,
    /// Whether it stopped in order.
    pub clean_stop: bool,
}

/// State of one probe or source.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct HookState {
    /// Name of the hook.
    pub name: String,
    /// Whether it is attached.
    pub on: bool,
    /// Why not, in words.
    pub why: String,
    /// Records it produced in this epoch.
    pub seen: u64,
    /// Records it lost in this epoch.
    pub dropped: u64,
}

/// A sign of life: every stream's head, so that a missing tail is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heartbeat {
    /// Number of the record.
    pub seq: u64,
    /// When, microseconds since 1970.
    pub ts: i64,
    /// Every stream's head.
    pub heads: Vec<StreamHead>,
    /// Probes and sources.
    pub hooks: Vec<HookState>,
    /// Named counters since the epoch began.
    pub counters: Vec<(String, u64)>,
    /// Bytes in the spool.
    pub spool_bytes: u64,
    /// Time of the oldest batch that is not acknowledged, microseconds since 1970; 0 when there is none.
    pub spool_oldest: i64,
    /// CPU time of all agent processes since the epoch began, microseconds.
    pub cpu_us: u64,
    /// Resident memory of all agent processes.
    pub rss_bytes: u64,
    /// Version of the policy in force; 0 for the built-in one.
    pub policy_version: u64,
}

/// One record of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Something that happened.
    Event(Event),
    /// A declared loss.
    Gap(Gap),
    /// A new run of the sensor.
    EpochStart(EpochStart),
    /// A sign of life.
    Heartbeat(Heartbeat),
}

impl Record {
    /// Number in the stream.
    pub fn seq(&self) -> u64 {
        match self {
            Self::Event(event) => event.seq,
            Self::Gap(gap) => gap.seq,
            Self::EpochStart(start) => start.seq,
            Self::Heartbeat(heartbeat) => heartbeat.seq,
        }
    }

    /// Gives the record its number.
    pub fn set_seq(&mut self, seq: u64) {
        match self {
            Self::Event(event) => event.seq = seq,
            Self::Gap(gap) => gap.seq = seq,
            Self::EpochStart(start) => start.seq = seq,
            Self::Heartbeat(heartbeat) => heartbeat.seq = seq,
        }
    }

    /// The agent's clock, microseconds since 1970.
    pub fn ts(&self) -> i64 {
        match self {
            Self::Event(event) => event.ts,
            Self::Gap(gap) => gap.ts,
            Self::EpochStart(start) => start.ts,
            Self::Heartbeat(heartbeat) => heartbeat.ts,
        }
    }
}

/// A batch that cannot be accepted. [`BatchError::code`] is stable and goes to metrics and `dlq.v1`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// Not a batch at all.
    #[error("the bytes are no batch: {0}; is the sender a Beffroi agent?")]
    Malformed(String),
    /// Something is larger than its limit.
    #[error("{what} is {got}, the limit is {limit}; the sender must split it")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        got: u64,
        /// The limit.
        limit: u64,
    },
    /// The contract version is outside what this side reads.
    #[error("schema version {got} is not between {oldest} and {newest}; upgrade the older side")]
    Version {
        /// Version of the batch.
        got: u32,
        /// Oldest that is read.
        oldest: u32,
        /// Newest that is read.
        newest: u32,
    },
    /// A header field is missing or impossible.
    #[error("header field {field} is wrong: {why}")]
    Header {
        /// Which field.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// The id is not the hash of the key.
    #[error("the agent id is not the hash of the public key in the header: the header was made by someone else")]
    Identity,
    /// The signature does not hold.
    #[error("the signature does not belong to these bytes and this key: the batch was altered or forged")]
    Signature,
    /// The body does not decompress to what the header says.
    #[error("the body does not decompress to the {raw_size} bytes that the header names: {why}")]
    Compression {
        /// What the header says.
        raw_size: u32,
        /// What happened.
        why: String,
    },
    /// The body's content is inconsistent.
    #[error("record {index} of the body is wrong: {why}")]
    Record {
        /// Position in the body.
        index: usize,
        /// What is wrong.
        why: String,
    },
    /// The batch holds other numbers than its header says.
    #[error("the body holds {got} records, the header says {expected} (numbers {first} to {last})")]
    Numbers {
        /// Records found.
        got: u64,
        /// Records announced.
        expected: u64,
        /// First number.
        first: u64,
        /// Last number.
        last: u64,
    },
    /// The batch does not follow its predecessor.
    #[error("the batch does not follow the stream: it names {named}, the last batch was {known}")]
    Chain {
        /// Hash that the batch names.
        named: BatchHash,
        /// Hash that was expected.
        known: BatchHash,
    },
}

impl BatchError {
    /// Stable short name for metrics and the dead-letter topic.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::Version { .. } => "version",
            Self::Header { .. } => "header",
            Self::Identity => "identity",
            Self::Signature => "signature",
            Self::Compression { .. } => "compression",
            Self::Record { .. } => "record",
            Self::Numbers { .. } => "numbers",
            Self::Chain { .. } => "chain",
        }
    }
}

fn header_error(field: &'static str) -> impl Fn(IdError) -> BatchError {
    move |error| BatchError::Header { field, why: error.to_string() }
}

#[cfg(test)]
mod tests;
