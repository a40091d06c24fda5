//! Where a tail of alerts stands. Several stores may write with clocks a little apart, so a tail looks back a few seconds
//! at each step; its cursor remembers what was shown from those seconds, so that nothing is shown twice.

use beffroi_store::AlertSummary;
use sha2::{Digest, Sha256};

use crate::error::Refusal;

/// How far a tail looks back, microseconds: longer than an insert takes.
pub(crate) const LOOK_BACK_US: i64 = 5_000_000;
/// Alerts that a cursor remembers: with more than this in five seconds some may be shown twice, none is missed.
const MAX_SEEN: usize = 100;
/// Longest cursor that is read.
const MAX_TEXT: usize = 32 + 9 * MAX_SEEN;

/// A place in the stream of alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// Store's clock of the latest alert shown, microseconds.
    pub(crate) at: i64,
    /// Marks of what was shown lately, with their time unknown: all of the look-back.
    seen: Vec<String>,
}

fn mark(alert: &AlertSummary) -> String {
    hex::encode(&Sha256::digest(format!("{}/{}/{}", alert.tenant, alert.alert_id, alert.count))[..4])
}

impl Cursor {
    pub(crate) fn start(at: i64) -> Self {
        Self { at, seen: Vec::new() }
    }

    /// Reads the text form.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::bad("after is no place that an earlier answer has named", "leave it out to begin now");
        if text.len() > MAX_TEXT {
            return Err(wrong());
        }
        let mut parts = text.split('.');
        let at = parts.next().and_then(|at| at.parse().ok()).ok_or_else(wrong)?;
        let seen: Vec<String> = parts.map(str::to_owned).collect();
        if seen.iter().any(|mark| mark.len() != 8 || !mark.bytes().all(|b| b.is_ascii_hexdigit())) {
            return Err(wrong());
        }
        Ok(Self { at, seen })
    }

    /// The text form.
    pub(crate) fn text(&self) -> String {
        std::iter::once(self.at.to_string()).chain(self.seen.iter().cloned()).collect::<Vec<_>>().join(".")
    }

    /// What of this was not shown yet, and the cursor after it. `alerts` is everything since `at` minus the look-back.
    pub(crate) fn advance(&self, alerts: Vec<(i64, AlertSummary)>) -> (Vec<AlertSummary>, Self) {
        let latest = alerts.last().map_or(self.at, |(at, _)| self.at.max(*at));
        let recent = alerts.iter().filter(|(at, _)| *at >= latest - LOOK_BACK_US).map(|(_, alert)| mark(alert));
        let seen: Vec<String> = recent.collect();
        let seen = seen[seen.len().saturating_sub(MAX_SEEN)..].to_vec();
        let new = alerts.into_iter().map(|(_, alert)| alert).filter(|alert| !self.seen.contains(&mark(alert))).collect();
        (new, Self { at: latest, seen })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(id: &str, count: u64) -> AlertSummary {
        serde_json::from_value(serde_json::json!({
            "alert_id": id, "level": "", "tenant": "a", "rule_id": "", "rule_title": "", "hostname": "", "agent_id": "", "user": "",
            "what": "", "count": count, "first_seen": "", "last_seen": "", "event_time": "", "received_at": "", "detected_at": "",
            "stored_at": "", "replayed": false
        }))
        .unwrap()
    }

    #[test]
    fn each_alert_is_shown_once_and_again_when_it_grows() {
        let cursor = Cursor::start(0);
        let (new, cursor) = cursor.advance(vec![(10, alert("x", 1)), (20, alert("y", 1))]);
        assert_eq!(new.len(), 2);
        let cursor = Cursor::parse(&cursor.text()).unwrap();
        let (new, cursor) = cursor.advance(vec![(10, alert("x", 1)), (15, alert("late", 1)), (21, alert("y", 2))]);
        assert_eq!(new.iter().map(|alert| alert.alert_id.as_str()).collect::<Vec<_>>(), ["late", "y"]);
        assert!(cursor.advance(vec![(10, alert("x", 1)), (15, alert("late", 1)), (21, alert("y", 2))]).0.is_empty());
    }

    #[test]
    fn a_cursor_of_someone_else_is_refused() {
        for text in ["", "x", "5.zz", "5.12345678x", &format!("5{}", ".12345678".repeat(300))] {
            assert!(Cursor::parse(text).is_err(), "{text}");
        }
    }
}
