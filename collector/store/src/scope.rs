//! Whose rows a question may see. Every query takes a [`TenantScope`]; a statement that reads rows of tenants cannot be
//! built without one (`sql.rs`), so that no query can forget it.

use std::collections::BTreeSet;

use beffroi_schema::ids::is_tenant_name;

/// The tenants that an asker may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantScope(Reach);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    All,
    Only(BTreeSet<String>),
}

impl TenantScope {
    /// Every tenant: for an asker with that right only.
    pub fn all() -> Self {
        Self(Reach::All)
    }

    /// These tenants; names that are no tenant names are dropped, and none at all sees nothing.
    pub fn only<S: Into<String>>(tenants: impl IntoIterator<Item = S>) -> Self {
        Self(Reach::Only(tenants.into_iter().map(Into::into).filter(|name| is_tenant_name(name)).collect()))
    }

    /// The part of this scope that is this tenant: what an asker's filter may narrow it to.
    #[must_use]
    pub fn narrowed(&self, tenant: &str) -> Self {
        if self.allows(tenant) { Self::only([tenant]) } else { Self(Reach::Only(BTreeSet::new())) }
    }

    /// Whether this tenant is in the scope.
    pub fn allows(&self, tenant: &str) -> bool {
        match &self.0 {
            Reach::All => true,
            Reach::Only(tenants) => tenants.contains(tenant),
        }
    }

    /// The names, or `None` for every tenant.
    pub(crate) fn names(&self) -> Option<Vec<&str>> {
        match &self.0 {
            Reach::All => None,
            Reach::Only(tenants) => Some(tenants.iter().map(String::as_str).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_can_be_narrowed_but_not_widened() {
        let scope = TenantScope::only(["a", "b"]);
        assert!(scope.narrowed("a").allows("a") && !scope.narrowed("a").allows("b"));
        assert_eq!(scope.narrowed("c").names(), Some(vec![]));
        assert_eq!(TenantScope::all().narrowed("c"), TenantScope::only(["c"]));
        assert_eq!(TenantScope::all().narrowed("x') OR 1").names(), Some(vec![]));
    }
}
