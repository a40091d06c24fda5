//! What a desk sees of the control state (hosts, tokens, scans), and what it may change there. Whatever belongs to a tenant
//! that is not the desk's does not exist here.

use beffroi_bus::control::{AgentState, ApiTokenState, ControlState, Outcome, Revocation, ScanState, TokenState};
use beffroi_bus::{BusError, Outgoing, TailFrom, Topic};
use beffroi_schema::AgentId;
use beffroi_schema::control::Change;

use super::Desk;
use crate::error::Refusal;

/// A host that is or was enrolled.
pub(crate) struct HostLook<'a> {
    pub(crate) id: &'a AgentId,
    pub(crate) agent: &'a AgentState,
    pub(crate) revoked: Option<&'a Revocation>,
}

/// A scan with the hosts of its tenant.
pub(crate) struct ScanLook<'a> {
    pub(crate) scan: &'a ScanState,
    state: &'a ControlState,
}

impl<'a> ScanLook<'a> {
    /// The hosts that were asked: those that it names, or those of its tenant that were enrolled before it expired and not
    /// cut off before it was given.
    pub(crate) fn asked(&self) -> Vec<(AgentId, &'a AgentState)> {
        let order = &self.scan.scan;
        if !order.whole_tenant {
            let known = order.asked.iter().filter_map(|id| self.state.agent(id).map(|agent| (*id, agent)));
            return known.filter(|(_, agent)| agent.tenant == order.tenant).collect();
        }
        let cut = |id: &AgentId| self.state.revocation(id).is_some_and(|revoked| revoked.at <= self.scan.at);
        let of_tenant =
            self.state.agents().filter(|(id, agent)| agent.tenant == order.tenant && agent.enrolled < order.expires && !cut(id));
        of_tenant.map(|(id, agent)| (*id, agent)).collect()
    }
}

impl Desk<'_> {
    /// Looks at the desk's hosts; keeps what `look` makes of them.
    pub(crate) fn hosts<T>(&self, mut look: impl FnMut(HostLook<'_>) -> Option<T>) -> Vec<T> {
        self.app.sources.control.read(|state| {
            let of_desk = state.agents().filter(|(_, agent)| self.tenants.allows(&agent.tenant));
            of_desk.filter_map(|(id, agent)| look(HostLook { id, agent, revoked: state.revocation(id) })).collect()
        })
    }

    /// Looks at one host.
    pub(crate) fn host<T>(&self, id: &AgentId, look: impl FnOnce(HostLook<'_>) -> T) -> Option<T> {
        self.app.sources.control.read(|state| {
            let agent = state.agent(id).filter(|agent| self.tenants.allows(&agent.tenant))?;
            Some(look(HostLook { id, agent, revoked: state.revocation(id) }))
        })
    }

    /// Why a host is cut off that the store knows as the desk's; it may never have enrolled here.
    pub(crate) fn revocation(&self, id: &AgentId) -> Option<Revocation> {
        self.app.sources.control.read(|state| state.revocation(id).cloned())
    }

    /// Enrolment tokens of the desk's tenants.
    pub(crate) fn enroll_tokens<T>(&self, look: impl Fn(&TokenState) -> T) -> Vec<T> {
        self.app
            .sources
            .control
            .read(|state| state.tokens().filter(|token| self.tenants.allows(&token.token.tenant)).map(look).collect())
    }

    pub(crate) fn enroll_token<T>(&self, id: &str, look: impl FnOnce(&TokenState) -> T) -> Option<T> {
        let sources = &self.app.sources;
        sources.control.read(|state| state.token(id).filter(|token| self.tenants.allows(&token.token.tenant)).map(look))
    }

    /// Personal tokens all of whose tenants are the asker's.
    pub(crate) fn api_tokens<T>(&self, look: impl Fn(&ApiTokenState) -> T) -> Vec<T> {
        let sources = &self.app.sources;
        sources
            .control
            .read(|state| state.access().tokens().filter(|token| self.asker.covers(&token.token.tenants)).map(look).collect())
    }

    pub(crate) fn api_token<T>(&self, id: &str, look: impl FnOnce(&ApiTokenState) -> T) -> Option<T> {
        let sources = &self.app.sources;
        sources.control.read(|state| state.access().token(id).filter(|token| self.asker.covers(&token.token.tenants)).map(look))
    }

    /// When a personal token was used last, as far as this process knows.
    pub(crate) fn last_use(&self, token_id: &str) -> Option<i64> {
        self.app.used().get(token_id).copied()
    }

    /// Scans of the desk's tenants.
    pub(crate) fn scans<T>(&self, look: impl Fn(ScanLook<'_>) -> T) -> Vec<T> {
        self.app.sources.control.read(|state| {
            let of_desk = state.scans().all().filter(|scan| self.tenants.allows(&scan.scan.tenant));
            of_desk.map(|scan| look(ScanLook { scan, state })).collect()
        })
    }

    pub(crate) fn scan<T>(&self, order_id: &str, look: impl FnOnce(ScanLook<'_>) -> T) -> Option<T> {
        self.app.sources.control.read(|state| {
            let scan = state.scans().get(order_id).filter(|scan| self.tenants.allows(&scan.scan.tenant))?;
            Some(look(ScanLook { scan, state }))
        })
    }

    /// Appends a change in the asker's name; answers once every reader would see it.
    pub(crate) async fn submit(&self, change: Change) -> Result<Outcome, Refusal> {
        Ok(self.app.sources.control.submit(&self.asker.name, change).await?)
    }

    /// Puts a signed order, or a rule text that one names, where every gateway reads it.
    pub(crate) async fn publish_down(&self, record: Outgoing) -> Result<(), Refusal> {
        Ok(self.app.sources.bus.publish(Topic::Orders, record).await.map(drop)?)
    }

    /// Whether an order stands there already.
    pub(crate) async fn stands_down(&self, order_id: &str) -> Result<bool, Refusal> {
        Ok(self.find_down(order_id).await?)
    }

    async fn find_down(&self, key: &str) -> Result<bool, BusError> {
        let mut tail = self.app.sources.bus.tail(Topic::Orders, TailFrom::Beginning).await?;
        while !tail.caught_up().await? {
            if tail.next().await?.key.as_ref() == key.as_bytes() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
