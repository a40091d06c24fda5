//! How many bytes of batches are in memory: being read from agents or waiting for the bus. Bounded for all and for each
//! agent, so that neither a hanging broker nor one slow or greedy host can take more.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beffroi_schema::ids::AgentId;
use beffroi_schema::limits::MAX_BATCH_BYTES;
use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refuse::Refusal;

/// Bytes of one agent: a few of the largest batches, of different streams.
const MAX_PER_AGENT: usize = 4 * MAX_BATCH_BYTES;
/// What an agent waits when the gateway is full: a broker that hangs for a moment is back by then.
const FULL_WAIT: Duration = Duration::from_secs(5);

/// The bytes in memory.
#[derive(Debug, Clone)]
pub(crate) struct InFlight {
    bytes: Arc<Semaphore>,
    agents: Arc<Mutex<HashMap<AgentId, usize>>>,
}

/// A reservation; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    agents: Arc<Mutex<HashMap<AgentId, usize>>>,
    agent: AgentId,
    bytes: usize,
    _permit: OwnedSemaphorePermit,
}

impl InFlight {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { bytes: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))), agents: Arc::default() }
    }

    /// Reserves memory for a batch of at most [`MAX_BATCH_BYTES`].
    pub(crate) fn reserve(&self, agent: AgentId, bytes: usize) -> Result<Place, Refusal> {
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX);
        let permit = self.bytes.clone().try_acquire_many_owned(wanted).map_err(|_| full())?;
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let used = agents.entry(agent).or_default();
        if *used + bytes > MAX_PER_AGENT {
            return Err(too_many());
        }
        *used += bytes;
        Ok(Place { agents: self.agents.clone(), agent, bytes, _permit: permit })
    }

    /// Bytes that are still free.
    pub(crate) fn free(&self) -> usize {
        self.bytes.available_permits()
    }
}

fn full() -> Refusal {
    let error = "the gateway holds as many batches as it may while it waits for the bus";
    let hint = "keep the batch and try again later; if it lasts, an operator should look at the bus (`beffroi status`)";
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "busy", error, hint).after(FULL_WAIT)
}

fn too_many() -> Refusal {
    let error = format!("this host has {MAX_PER_AGENT} bytes of batches under way");
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, "too_many_at_once", error, "wait for answers before sending more")
        .after(Duration::from_secs(1))
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = agents.get_mut(&self.agent) {
            *used = used.saturating_sub(self.bytes);
            if *used == 0 {
                agents.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: AgentId = AgentId([1; 16]);

    #[test]
    fn one_agent_gets_four_batches_and_all_agents_what_is_configured() {
        let bytes = InFlight::new(6 * MAX_BATCH_BYTES);
        let places: Vec<_> = (0..4).map(|_| bytes.reserve(ONE, MAX_BATCH_BYTES).unwrap()).collect();
        assert_eq!(bytes.reserve(ONE, MAX_BATCH_BYTES).unwrap_err().body.code, "too_many_at_once");
        let _others = [2, 3].map(|id| bytes.reserve(AgentId([id; 16]), MAX_BATCH_BYTES).unwrap());
        assert_eq!(bytes.reserve(AgentId([4; 16]), MAX_BATCH_BYTES).unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
        drop(places);
        assert_eq!(bytes.free(), 4 * MAX_BATCH_BYTES);
        bytes.reserve(ONE, MAX_BATCH_BYTES).unwrap();
        assert_eq!(bytes.agents.lock().unwrap().len(), 2);
    }

    #[test]
    fn a_refused_agent_leaves_no_trace() {
        let bytes = InFlight::new(100);
        assert!(bytes.reserve(ONE, 101).is_err());
        drop(bytes.reserve(ONE, 100).unwrap());
        assert!(bytes.agents.lock().unwrap().is_empty());
        assert_eq!(bytes.free(), 100);
    }
}
