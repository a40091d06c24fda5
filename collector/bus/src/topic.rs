//! The seven topics of Beffroi: their names, how many partitions they have, how long they are kept.
//!
//! Owns nothing but the table. Names come from the contract; a configured prefix is put before them by the transport.

use beffroi_schema::wire;

/// Shortest time that signed orders and revocations are kept, in hours. A host that was away must still find what concerns
/// it: orders live seven days at most, and a revocation is needed as long as the certificates that it stops are good, 30
/// days, and one for clocks that differ.
pub const ORDERS_MIN_RETENTION_HOURS: u32 = 31 * 24;

/// A topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    /// Batches as agents sent them.
    Events,
    /// Matches as JSON.
    Alerts,
    /// What correlations work on: events that single rules matched, by tenant, and the state over them, as JSON.
    Detections,
    /// What could not be processed, as JSON.
    DeadLetters,
    /// Signed orders; every gateway reads all of them. One partition.
    Orders,
    /// State that needs one winner, as JSON. One partition, kept for good.
    Control,
    /// Who did what, as JSON. One partition, kept for good.
    Audit,
}

impl Topic {
    /// Every topic.
    pub const ALL: [Self; 7] =
        [Self::Events, Self::Alerts, Self::Detections, Self::DeadLetters, Self::Orders, Self::Control, Self::Audit];

    /// Name before the configured prefix.
    pub fn name(self) -> &'static str {
        match self {
            Self::Events => wire::TOPIC_EVENTS,
            Self::Alerts => wire::TOPIC_ALERTS,
            Self::Detections => wire::TOPIC_DETECTIONS,
            Self::DeadLetters => wire::TOPIC_DLQ,
            Self::Orders => wire::TOPIC_ORDERS,
            Self::Control => wire::TOPIC_CONTROL,
            Self::Audit => wire::TOPIC_AUDIT,
        }
    }

    /// The topic with this name (without prefix), if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topic| topic.name() == name)
    }

    /// Partitions, when the events topic has `events` of them. Topics that need one order for all have one.
    pub fn partitions(self, events: u32) -> u32 {
        match self {
            Self::Events | Self::Alerts | Self::Detections | Self::DeadLetters => events,
            Self::Orders | Self::Control | Self::Audit => 1,
        }
    }

    /// Whether one order for all records is needed, and so one partition.
    pub fn needs_one_partition(self) -> bool {
        self.partitions(2) == 1
    }

    /// How long records are kept, in hours, when events are kept `hours`; `None` is for good.
    pub fn retention_hours(self, hours: u32) -> Option<u32> {
        match self {
            Self::Events | Self::Alerts | Self::Detections | Self::DeadLetters => Some(hours),
            Self::Orders => Some(hours.max(ORDERS_MIN_RETENTION_HOURS)),
            Self::Control | Self::Audit => None,
        }
    }
}

impl std::fmt::Display for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_is_found_by_its_name() {
        for topic in Topic::ALL {
            assert_eq!(Topic::from_name(topic.name()), Some(topic));
        }
        assert_eq!(Topic::from_name("events.v2"), None);
    }

    #[test]
    fn what_needs_one_order_has_one_partition_and_what_must_last_is_kept_for_good() {
        assert_eq!(Topic::Control.partitions(48), 1);
        assert_eq!(Topic::Audit.retention_hours(72), None);
        assert_eq!(Topic::Orders.retention_hours(72), Some(31 * 24));
        assert_eq!(Topic::Events.retention_hours(72), Some(72));
    }
}
