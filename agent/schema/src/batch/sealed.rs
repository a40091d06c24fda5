//! Reading a batch from outside in: envelope and header first (all the gateway does), then identity and signature,
//! then the chain. Nothing is decompressed here.

use std::sync::OnceLock;

use ed25519_dalek::{Signature, VerifyingKey};
use prost::Message;
use sha2::{Digest, Sha256};

use super::{BatchError, Header, Record, header_error};
use crate::ids::{AgentId, BatchHash, Epoch, Stream, is_tenant_name};
use crate::limits::{
    MAX_BATCH_BYTES, MAX_BODY_BYTES, MAX_HEADER_BYTES, MAX_RAW_BYTES, MAX_RECORDS, NEWEST_SCHEMA, OLDEST_SCHEMA,
};
use crate::proto;

/// A batch whose envelope and header could be read; its signature has not been checked yet.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// The clear header.
    pub header: Header,
    /// The header as it was encoded.
    encoded: Vec<u8>,
    pub(super) body: Vec<u8>,
    hash: OnceLock<BatchHash>,
    signature: [u8; 64],
}

/// Hash of a batch: SHA-256 over a domain mark, the header as encoded, and the SHA-256 of the compressed body.
pub(super) fn batch_hash(header: &[u8], body: &[u8]) -> BatchHash {
    let mut hash = Sha256::new();
    hash.update(b"beffroi-batch-v1\0");
    hash.update((header.len() as u64).to_be_bytes());
    hash.update(header);
    hash.update(Sha256::digest(body));
    BatchHash(hash.finalize().into())
}

impl Envelope {
    /// Reads envelope and header and checks every size, without decompressing and without checking the signature.
    ///
    /// # Errors
    /// [`BatchError`] `Malformed`, `TooLarge`, `Version` or `Header`.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        limit("the batch", bytes.len(), MAX_BATCH_BYTES)?;
        let batch = proto::Batch::decode(bytes).map_err(|error| BatchError::Malformed(error.to_string()))?;
        limit("the header", batch.header.len(), MAX_HEADER_BYTES)?;
        limit("the compressed body", batch.body.len(), MAX_BODY_BYTES)?;
        let signature = batch.signature.as_slice().try_into().map_err(|_| BatchError::Header {
            field: "signature",
            why: format!("{} bytes instead of 64", batch.signature.len()),
        })?;
        let header =
            proto::BatchHeader::decode(batch.header.as_slice()).map_err(|error| BatchError::Malformed(error.to_string()))?;
        Ok(Self { header: header_in(header)?, encoded: batch.header, body: batch.body, hash: OnceLock::new(), signature })
    }

    /// The hash that its successor must name, made when it is first asked for.
    pub fn hash(&self) -> BatchHash {
        *self.hash.get_or_init(|| batch_hash(&self.encoded, &self.body))
    }

    /// Checks that the agent id is the hash of the key and that the key signed these bytes.
    ///
    /// # Errors
    /// [`BatchError::Identity`] or [`BatchError::Signature`].
    pub fn verify(&self) -> Result<(), BatchError> {
        if AgentId::of_public_key(&self.header.public_key) != self.header.agent {
            return Err(BatchError::Identity);
        }
        let key = VerifyingKey::from_bytes(&self.header.public_key).map_err(|_| BatchError::Identity)?;
        key.verify_strict(&self.hash().0, &Signature::from_bytes(&self.signature)).map_err(|_| BatchError::Signature)
    }

    /// Bytes of the compressed body.
    pub fn body_bytes(&self) -> usize {
        self.body.len()
    }
}

pub(super) fn limit(what: &'static str, got: usize, limit: usize) -> Result<(), BatchError> {
    if got > limit { Err(BatchError::TooLarge { what, got: got as u64, limit: limit as u64 }) } else { Ok(()) }
}

fn header_in(header: proto::BatchHeader) -> Result<Header, BatchError> {
    if !(OLDEST_SCHEMA..=NEWEST_SCHEMA).contains(&header.schema_version) {
        return Err(BatchError::Version { got: header.schema_version, oldest: OLDEST_SCHEMA, newest: NEWEST_SCHEMA });
    }
    if !is_tenant_name(&header.tenant) {
        return Err(BatchError::Header { field: "tenant", why: "not 1 to 63 of a-z, 0-9 and -".into() });
    }
    if header.first == 0 || header.last < header.first {
        return Err(BatchError::Header {
            field: "first, last",
            why: format!("{} to {} is no range from 1", header.first, header.last),
        });
    }
    limit("the body before compression", header.raw_size as usize, MAX_RAW_BYTES)?;
    let stream = Stream::from_number(header.stream)
        .ok_or_else(|| BatchError::Header { field: "stream", why: format!("no stream has number {}", header.stream) })?;
    let public_key = header.public_key.as_slice().try_into().map_err(|_| BatchError::Header {
        field: "public_key",
        why: format!("{} bytes instead of 32", header.public_key.len()),
    })?;
    Ok(Header {
        agent: AgentId::try_from(header.agent_id.as_slice()).map_err(header_error("agent_id"))?,
        epoch: Epoch::try_from(header.epoch.as_slice()).map_err(header_error("epoch"))?,
        previous: BatchHash::try_from(header.previous_hash.as_slice()).map_err(header_error("previous_hash"))?,
        tenant: header.tenant,
        stream,
        first: header.first,
        last: header.last,
        raw_size: header.raw_size,
        schema_version: header.schema_version,
        public_key,
    })
}

/// Where a stream of one epoch stands, for whoever checks its chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ChainHead {
    /// Last number seen.
    pub last: u64,
    /// What the next batch must name.
    pub hash: BatchHash,
}

/// How a batch stands to what was seen of its stream before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainState {
    /// It follows. The head after it.
    Follows(ChainHead),
    /// It was seen before (a resend): nothing new.
    Seen,
    /// Numbers are missing before it, and no batch declared them: `missing` is a closed range. The head after it.
    Hole {
        /// First missing number.
        from: u64,
        /// Last missing number.
        to: u64,
        /// The head after this batch.
        head: ChainHead,
    },
}

impl Envelope {
    /// Compares the batch with the head of its stream. `records` are those of its records that are no events, or all: a
    /// batch that stands for evicted ones passes on the evicted hash.
    ///
    /// A collector that has no head yet (its state was lost, or the stream began before it) starts at this batch.
    ///
    /// # Errors
    /// [`BatchError::Chain`] when numbers follow but the named hash is another: something was replaced.
    pub fn follows(&self, head: Option<ChainHead>, records: &[Record]) -> Result<ChainState, BatchError> {
        let evicted = records.iter().find_map(|record| match record {
            Record::Gap(gap) => gap.evicted.filter(|evicted| evicted.last == self.header.last),
            _ => None,
        });
        let next = ChainHead { last: self.header.last, hash: evicted.map_or(self.hash(), |evicted| evicted.hash) };
        let Some(head) = head else {
            return Ok(if self.header.first == 1 {
                ChainState::Follows(next)
            } else {
                ChainState::Hole { from: 1, to: self.header.first - 1, head: next }
            });
        };
        if self.header.last <= head.last {
            return Ok(ChainState::Seen);
        }
        if self.header.first > head.last + 1 {
            return Ok(ChainState::Hole { from: head.last + 1, to: self.header.first - 1, head: next });
        }
        if self.header.first == head.last + 1 && self.header.previous != head.hash {
            return Err(BatchError::Chain { named: self.header.previous, known: head.hash });
        }
        Ok(ChainState::Follows(next))
    }
}

/// How many records the header announces, if that is possible at all.
///
/// A batch that stands for evicted ones announces their numbers but holds one gap, so the range may exceed [`MAX_RECORDS`].
pub(super) fn announced(header: &Header) -> u64 {
    header.last - header.first + 1
}

pub(super) fn check_record_count(got: usize) -> Result<(), BatchError> {
    limit("the number of records", got, MAX_RECORDS)
}
