//! Which events a rule judges: its logsource against the event's.
//!
//! - A category in the rule must be the event's. A rename makes a file appear at its target, so `file_event` rules
//!   judge `file_rename` events too; else `write elsewhere, rename into place` would pass all of them.
//! - A product in the rule must be the event's; `antivirus` and `dns` rules name none and judge every product.
//! - A service in the rule must be the event's.
//! - A rule with neither category nor service judges log lines only (events without a category): most are keyword
//!   searches that fire on ordinary command lines otherwise.
//! - A rule for `service: auditd` also judges our own events, shown as audit records by the `view` module.

use beffroi_schema::{Category, Logsource, Product};
use serde::Serialize;

/// The logsource of a rule, as written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Default)]
pub struct RuleLogsource {
    /// `category`.
    pub category: Option<String>,
    /// `product`.
    pub product: Option<String>,
    /// `service`.
    pub service: Option<String>,
}

/// A logsource made ready for comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    category: Wanted<Category>,
    product: Wanted<Product>,
    service: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted<T> {
    Any,
    Only(T),
    /// A name that no event can carry.
    Unknown,
}

impl<T: PartialEq> Wanted<T> {
    fn parse(name: Option<&String>, find: impl Fn(&str) -> Option<T>) -> Self {
        match name {
            None => Self::Any,
            Some(name) => find(&name.to_ascii_lowercase()).map_or(Self::Unknown, Self::Only),
        }
    }

    fn accepts(&self, value: &T) -> bool {
        match self {
            Self::Any => true,
            Self::Only(wanted) => wanted == value,
            Self::Unknown => false,
        }
    }
}

impl Route {
    pub(crate) fn of(logsource: &RuleLogsource) -> Self {
        Self {
            category: Wanted::parse(logsource.category.as_ref(), Category::from_name),
            product: Wanted::parse(logsource.product.as_ref(), Product::from_name),
            service: logsource.service.as_ref().map(|service| service.to_ascii_lowercase()),
        }
    }

    /// Whether the rule judges events of this logsource.
    pub(crate) fn accepts(&self, event: &Logsource) -> bool {
        self.product.accepts(&event.product) && self.accepts_category(event.category) && self.accepts_service(event)
    }

    fn accepts_category(&self, category: Category) -> bool {
        match self.category {
            Wanted::Any => self.service.is_some() || category == Category::None,
            Wanted::Only(Category::FileEvent) => matches!(category, Category::FileEvent | Category::FileRename),
            ref wanted => wanted.accepts(&category),
        }
    }

    fn accepts_service(&self, event: &Logsource) -> bool {
        let Some(wanted) = &self.service else { return true };
        event.service.as_ref().is_some_and(|service| service.eq_ignore_ascii_case(wanted.as_bytes()))
    }

    /// Whether the rule reads audit records, which our own events can be shown as.
    pub(crate) fn reads_audit(&self) -> bool {
        self.category == Wanted::Any
            && self.service.as_deref() == Some("auditd")
            && matches!(self.product, Wanted::Any | Wanted::Only(Product::Linux))
    }

    /// The first part of the logsource that no event can ever carry.
    pub(crate) fn unknown(&self) -> Option<&'static str> {
        match (&self.category, &self.product) {
            (Wanted::Unknown, _) => Some("category"),
            (_, Wanted::Unknown) => Some("product"),
            _ => None,
        }
    }

    /// The category, where the rule names one that is known.
    pub(crate) fn category(&self) -> Option<Category> {
        match self.category {
            Wanted::Only(category) => Some(category),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(category: &str, product: &str, service: &str) -> Route {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_string());
        Route::of(&RuleLogsource { category: some(category), product: some(product), service: some(service) })
    }

    fn event(category: Category, product: Product, service: Option<&str>) -> Logsource {
        Logsource { category, product, service: service.map(|text| text.as_bytes().into()) }
    }

    #[test]
    fn a_rule_without_category_and_service_judges_log_lines_only() {
        let rule = route("", "linux", "");
        assert!(rule.accepts(&event(Category::None, Product::Linux, None)));
        assert!(rule.accepts(&event(Category::None, Product::Linux, Some("sshd"))));
        assert!(!rule.accepts(&event(Category::ProcessCreation, Product::Linux, None)));
        assert!(!rule.accepts(&event(Category::None, Product::Windows, None)));
    }

    #[test]
    fn antivirus_rules_judge_every_product() {
        let rule = route("antivirus", "", "");
        for product in Product::ALL {
            assert!(rule.accepts(&event(Category::Antivirus, *product, None)));
        }
        assert!(!rule.accepts(&event(Category::ProcessCreation, Product::Linux, None)));
    }

    #[test]
    fn a_service_must_be_the_same_whatever_its_case() {
        let rule = route("", "linux", "SSHD");
        assert!(rule.accepts(&event(Category::None, Product::Linux, Some("sshd"))));
        assert!(!rule.accepts(&event(Category::None, Product::Linux, Some("cron"))));
        assert!(!rule.accepts(&event(Category::None, Product::Linux, None)));
    }

    #[test]
    fn a_rename_into_place_is_judged_by_file_event_rules() {
        let rule = route("file_event", "linux", "");
        assert!(rule.accepts(&event(Category::FileRename, Product::Linux, None)));
        assert!(!rule.accepts(&event(Category::FileDelete, Product::Linux, None)));
    }

    #[test]
    fn an_unknown_category_or_product_accepts_nothing_and_is_named() {
        assert_eq!(route("no_such", "linux", "").unknown(), Some("category"));
        assert_eq!(route("process_creation", "plan9", "").unknown(), Some("product"));
        assert!(!route("no_such", "", "").accepts(&event(Category::None, Product::Linux, None)));
    }
}
