//! Whether what the sensor process began with still holds: the tenant and id in its batches, the root that its orders chain
//! to.
//!
//! Owns the decision to end for a new enrolment. Tenant, epoch and root are settled at the start of a process and nowhere
//! else, so that no batch and no order ever stands between two of them; a new enrolment therefore needs a new process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::enrolled::EnrolmentWatch;
use crate::identity::Enrolment;
use crate::layout::Layout;

/// What whoever brings an order is told meanwhile; it comes again.
pub(super) const OVER: &str = "this host was enrolled again; the sensor is starting anew";

/// What the process stands on.
pub(super) struct Standing {
    began_with: Enrolment,
    watch: Mutex<EnrolmentWatch>,
    over: AtomicBool,
}

impl Standing {
    pub(super) fn new(layout: &Layout, enrolment: &Enrolment) -> Self {
        let watch = Mutex::new(EnrolmentWatch::new(layout, enrolment));
        Self { began_with: enrolment.clone(), watch, over: AtomicBool::new(false) }
    }

    /// Whether this process must make way for one with the new enrolment. Looks each time it is asked.
    pub(super) fn is_over(&self) -> bool {
        // Held throughout, so that nobody is told "no" while another thread is finding out.
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = watch.look()
            && !self.over.load(Ordering::Relaxed)
            && self.is_another(&found)
        {
            tracing::info!(tenant = found.tenant, root = found.root_sha256, "{OVER}");
            self.over.store(true, Ordering::Relaxed);
        }
        self.over.load(Ordering::Relaxed)
    }

    /// Gateway, CA and labels are not the sensor's business.
    fn is_another(&self, found: &Enrolment) -> bool {
        let own = &self.began_with;
        (&found.tenant, found.agent_id, found.root()) != (&own.tenant, own.agent_id, own.root())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::users::User;

    #[test]
    fn another_tenant_or_root_ends_it_for_good_and_another_gateway_does_not() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        layout.prepare(&User::current()).unwrap();
        let first = Enrolment {
            gateway: "https://gateway.example".into(),
            tenant: "interieur".into(),
            agent_id: Default::default(),
            ca_sha256: String::new(),
            root_sha256: "ab".repeat(32),
            enrolled_at: 1,
            labels: Default::default(),
        };
        for (change, is_over) in [
            (Enrolment { gateway: "https://other.example".into(), enrolled_at: 2, ..first.clone() }, false),
            (Enrolment { tenant: "justice".into(), ..first.clone() }, true),
            (Enrolment { root_sha256: "cd".repeat(32), ..first.clone() }, true),
            (Enrolment { root_sha256: String::new(), ..first.clone() }, true),
        ] {
            first.store(&layout).unwrap();
            let standing = Standing::new(&layout, &first);
            assert!(!standing.is_over());
            change.store(&layout).unwrap();
            assert_eq!(standing.is_over(), is_over, "{change:?}");
            first.store(&layout).unwrap();
            assert_eq!(standing.is_over(), is_over, "what began to end ends");
        }
    }
}
