//! Random names: record ids, the ids of an embedded bus and its topics.

use crate::error::BusError;

/// 128 random bits as 32 hex digits.
pub(crate) fn hex_id() -> Result<String, BusError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        BusError::unavailable(format!("the system gave no random bytes: {error}"), "check that getrandom(2) is allowed")
    })?;
    Ok(hex::encode(bytes))
}
