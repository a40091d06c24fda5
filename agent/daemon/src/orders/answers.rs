//! The answers to orders, as events: category `scan` for what became of an order, `antivirus` for what a rule found.
//!
//! Owns their fields. Numbers of files stand in every answer that ends a scan or tells how far it is.

use beffroi_scan::Hit;
use beffroi_scan::job::{Counters, Found};
use beffroi_schema::event::Text;
use beffroi_schema::{Category, Event, Field, OrderId, Product, Value};

use crate::clock::now_us;

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Accepted,
    Refused,
    Progress,
    Unknown,
    Done,
    Cancelled,
    Expired,
    /// It could not be carried out: nothing was scanned.
    Failed,
    Listed,
}

impl Action {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Progress => "progress",
            Self::Unknown => "unknown",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Failed => "failed",
            Self::Listed => "listed",
        }
    }
}

/// An answer. An order whose id cannot be believed or read has none in its answer.
pub(super) fn answer(action: Action, order: Option<OrderId>, reason: &str) -> Event {
    let mut event = Event::new(Category::Scan, Product::Linux, now_us());
    event.set(Field::ACTION, action.name());
    if let Some(order) = order {
        event.set(Field::ORDER_ID, order.to_string());
    }
    if !reason.is_empty() {
        event.set(Field::REASON, reason);
    }
    event
}

/// An answer with the figures of a scan.
pub(super) fn counted(action: Action, order: OrderId, reason: &str, counters: &Counters) -> Event {
    let mut event = answer(action, Some(order), reason);
    event
        .set(Field::FILES_SCANNED, counters.files_scanned)
        .set(Field::FILES_MATCHED, counters.files_matched)
        .set(Field::FILES_SKIPPED, counters.files_skipped)
        .set(Field::FILES_TIMED_OUT, counters.files_timed_out)
        .set(Field::FILES_UNKNOWN, counters.files_unknown)
        .set(Field::ENTRIES_SCANNED, counters.entries_scanned)
        .set(Field::BYTES_SCANNED, counters.bytes_scanned);
    event
}

/// A file or archive member of which nothing, or not everything, is known.
pub(super) fn unknown(order: OrderId, path: &[u8], reason: &str) -> Event {
    let mut event = answer(Action::Unknown, Some(order), reason);
    event.set(Field::TARGET_FILENAME, path);
    event
}

/// The host's own orders, one text each.
pub(super) fn listed(order: OrderId, lines: impl Iterator<Item = String>) -> Event {
    let lines: Vec<Text> = lines.map(|line| line.into_bytes().into()).collect();
    let mut event = answer(Action::Listed, Some(order), "");
    event.set(Field::ORDERS, Value::List(lines.into()));
    event
}

/// A rule of the order found something.
pub(super) fn matched(order: OrderId, found: &Found, hit: &Hit) -> Event {
    let strings: Vec<Text> = hit.strings.iter().map(|text| text.as_bytes().into()).collect();
    let mut event = Event::new(Category::Antivirus, Product::Linux, now_us());
    event
        .set(Field::ORDER_ID, order.to_string())
        .set(Field::SIGNATURE, hit.rule.as_str())
        .set(Field::FILENAME, found.path.as_slice())
        .set(Field::RULE_NAMESPACE, hit.namespace.as_str())
        .set(Field::MATCHED_STRINGS, Value::List(strings.into()))
        .set(Field::SCAN_OUTCOME, "match")
        .set(Field::FILE_BYTES, found.bytes)
        .set(Field::ACTION, "none");
    if let Some(sha256) = &found.sha256 {
        event.set(Field::SHA256, sha256.as_str()).set(Field::HASHES, format!("SHA256={sha256}"));
    }
    event
}
