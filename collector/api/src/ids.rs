//! From what an asker writes to one id: whole ids, prefixes of at least six digits, host names. Hosts are looked up in the
//! control state first, so that a host can be revoked while the store is away.

use beffroi_bus::control::Control;
use beffroi_schema::AgentId;
use beffroi_store::{MIN_PREFIX, Resolved, Store, TenantScope};

use crate::error::Refusal;

/// Candidates that are listed.
const MAX_CANDIDATES: usize = 10;

pub(crate) fn one(what: &str, resolved: Resolved) -> Result<String, Refusal> {
    match resolved {
        Resolved::One(id) => Ok(id),
        Resolved::Nothing => Err(Refusal::unknown(what)),
        Resolved::Several(candidates) => Err(Refusal::ambiguous(what, &candidates)),
    }
}

/// The id of an alert.
pub(crate) async fn alert(store: &Store, scope: &TenantScope, text: &str) -> Result<String, Refusal> {
    one("alert", store.resolve_alert(scope, text).await?)
}

/// The id of a host.
pub(crate) async fn host(store: &Store, control: &Control, scope: &TenantScope, text: &str) -> Result<String, Refusal> {
    match enrolled(control, scope, text) {
        Resolved::Nothing => one("host", store.resolve_host(scope, text).await?),
        known => one("host", known),
    }
}

fn enrolled(control: &Control, scope: &TenantScope, text: &str) -> Resolved {
    let lowered = text.to_ascii_lowercase();
    let prefix = lowered.len() >= MIN_PREFIX && lowered.bytes().all(|b| b.is_ascii_hexdigit());
    let mut ids: Vec<String> = control.read(|state| {
        let fits = |id: &AgentId, hostname: &str| {
            hostname.eq_ignore_ascii_case(text) || (prefix && id.to_string().starts_with(&lowered))
        };
        let agents = state.agents().filter(|(id, agent)| scope.allows(&agent.tenant) && fits(id, &agent.host.hostname));
        agents.map(|(id, _)| id.to_string()).take(MAX_CANDIDATES).collect()
    });
    match ids.len() {
        0 => Resolved::Nothing,
        1 => Resolved::One(ids.remove(0)),
        _ => Resolved::Several(ids),
    }
}
