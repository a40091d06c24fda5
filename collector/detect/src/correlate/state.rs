//! The state of a lane as records: compressed, in pieces that fit onto the bus, named by the commit that it covers.

use beffroi_bus::{Outgoing, Record as BusRecord};
use beffroi_schema::wire::HEADER_STATE;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::lane::LaneState;

/// Bytes of one piece: with its headers well below the largest record.
const PIECE_BYTES: usize = 768 * 1024;
/// Bytes of a whole state, unpacked: more than the limits of two correlators make.
const MAX_STATE_BYTES: u64 = 2 << 30;
/// Pieces of one state.
const MAX_PIECES: usize = 4_096;
/// Quick, and a fifth of the size.
const LEVEL: i32 = 1;

/// What a commit says of the state that covers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Covered {
    /// Offset of the first piece.
    pub offset: i64,
    /// Beginning of the SHA-256 of the packed state, hex.
    pub id: String,
    /// How many pieces follow, others between them.
    pub pieces: usize,
}

/// A state that cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum StateError {
    #[error("the state of correlations cannot be packed: {0}")]
    Pack(String),
    #[error("the state of correlations cannot be unpacked: {0}")]
    Unpack(String),
}

/// The records of a state, and its id. `key` leads them to the partition.
pub(super) fn pack(state: &LaneState, key: &[u8]) -> Result<(String, Vec<Outgoing>), StateError> {
    let failed = |error: &dyn std::fmt::Display| StateError::Pack(error.to_string());
    let mut encoder = zstd::Encoder::new(Vec::new(), LEVEL).map_err(|error| failed(&error))?;
    serde_json::to_writer(&mut encoder, state).map_err(|error| failed(&error))?;
    let packed = encoder.finish().map_err(|error| failed(&error))?;
    let pieces = packed.len().div_ceil(PIECE_BYTES);
    if pieces > MAX_PIECES {
        return Err(StateError::Pack(format!("{} bytes are more than {MAX_PIECES} records hold", packed.len())));
    }
    let id = hex::encode(&Sha256::digest(&packed)[..8]);
    let records = packed.chunks(PIECE_BYTES).enumerate().map(|(index, piece)| {
        Outgoing::new(key, Bytes::copy_from_slice(piece)).header(HEADER_STATE, format!("{id}/{index}/{pieces}"))
    });
    Ok((id.clone(), records.collect()))
}

/// Whether a record is a piece of some state.
pub(super) fn is_piece(record: &BusRecord) -> bool {
    record.header(HEADER_STATE).is_some()
}

/// Gathers the pieces of a state.
pub(super) struct Gathering {
    wanted: Covered,
    pieces: Vec<Option<Bytes>>,
}

impl Gathering {
    pub(super) fn new(wanted: Covered) -> Self {
        let pieces = vec![None; wanted.pieces.min(MAX_PIECES)];
        Self { wanted, pieces }
    }

    /// Takes a record; others than pieces of this state are left.
    pub(super) fn take(&mut self, record: &BusRecord) {
        let header = record.header(HEADER_STATE).and_then(|header| std::str::from_utf8(header).ok());
        let Some((id, rest)) = header.and_then(|header| header.split_once('/')) else { return };
        let index = rest.split('/').next().and_then(|index| index.parse::<usize>().ok());
        if id == self.wanted.id
            && let Some(place) = index.and_then(|index| self.pieces.get_mut(index))
        {
            *place = Some(record.value.clone());
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.pieces.iter().all(Option::is_some)
    }

    /// The state, once it is complete.
    pub(super) fn unpack(self) -> Result<LaneState, StateError> {
        let failed = |error: &dyn std::fmt::Display| StateError::Unpack(error.to_string());
        let packed: Vec<u8> = self.pieces.into_iter().flatten().flatten().collect();
        if !hex::encode(&Sha256::digest(&packed)[..8]).eq(&self.wanted.id) {
            return Err(StateError::Unpack("it was altered".into()));
        }
        let decoder = zstd::Decoder::new(packed.as_slice()).map_err(|error| failed(&error))?;
        let bounded = std::io::Read::take(decoder, MAX_STATE_BYTES);
        serde_json::from_reader(std::io::BufReader::new(bounded)).map_err(|error| failed(&error))
    }
}
