//! Live sessions by agent, so that a revocation cuts them, and so that one agent holds only a few.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use beffroi_schema::ids::AgentId;
use tokio_util::sync::CancellationToken;

/// Sessions of one agent. A healthy one has one; a host that changed networks leaves old ones behind until they time
/// out: the newest win.
const MAX_PER_AGENT: usize = 4;

/// All live sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    by_agent: HashMap<AgentId, Vec<(u64, CancellationToken)>>,
}

/// A registered session; forgotten when dropped.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    sessions: &'a Sessions,
    agent: AgentId,
    number: u64,
    /// Cancelled when the session must end now.
    pub(crate) cut: CancellationToken,
}

impl Sessions {
    /// Registers a session. The oldest one of the agent is cut when it has too many.
    pub(crate) fn register(&self, agent: AgentId) -> Session<'_> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.next += 1;
        let (number, cut) = (table.next, CancellationToken::new());
        let live = table.by_agent.entry(agent).or_default();
        if live.len() >= MAX_PER_AGENT {
            live.remove(0).1.cancel();
            metrics::counter!("beffroi_gateway_sessions_cut_total", "why" => "too_many").increment(1);
        }
        live.push((number, cut.clone()));
        Session { sessions: self, agent, number, cut }
    }

    /// Cuts the sessions of every agent for which `is_revoked` holds, and says how many.
    pub(crate) fn cut(&self, is_revoked: impl Fn(AgentId) -> bool) -> usize {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        for (agent, live) in table.by_agent.iter().filter(|(agent, _)| is_revoked(**agent)) {
            tracing::warn!(target: "beffroi::security", %agent, sessions = live.len(), "cut the sessions of a revoked host");
            live.iter().for_each(|(_, cut)| cut.cancel());
            count += live.len();
        }
        metrics::counter!("beffroi_gateway_sessions_cut_total", "why" => "revoked").increment(count as u64);
        count
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).by_agent.values().map(Vec::len).sum()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        let mut table = self.sessions.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = table.by_agent.get_mut(&self.agent) {
            live.retain(|(number, _)| *number != self.number);
            if live.is_empty() {
                table.by_agent.remove(&self.agent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: AgentId = AgentId([1; 16]);
    const TWO: AgentId = AgentId([2; 16]);

    #[test]
    fn a_revocation_cuts_every_session_of_that_agent_only() {
        let sessions = Sessions::default();
        let (first, second, other) = (sessions.register(ONE), sessions.register(ONE), sessions.register(TWO));
        assert_eq!(sessions.cut(|agent| agent == ONE), 2);
        assert!(first.cut.is_cancelled() && second.cut.is_cancelled() && !other.cut.is_cancelled());
        drop((first, second, other));
        assert_eq!(sessions.count(), 0);
    }

    #[test]
    fn the_newest_sessions_of_an_agent_win() {
        let sessions = Sessions::default();
        let live: Vec<_> = (0..MAX_PER_AGENT + 1).map(|_| sessions.register(ONE)).collect();
        assert_eq!(live.iter().map(|session| session.cut.is_cancelled()).collect::<Vec<_>>(), [true, false, false, false, false]);
        assert_eq!(sessions.count(), MAX_PER_AGENT);
    }
}
