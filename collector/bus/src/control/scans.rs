//! Which scans were ordered and cancelled, and which hosts were asked. Pure, part of the fold. The orders themselves stand
//! signed in `orders.v1`; what the hosts answered stands among the events.

use std::collections::BTreeMap;

use beffroi_schema::control::ScanOrdered;

use super::state::Loss;

/// Who ended a scan, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancellation {
    /// The order that ends it, hex.
    pub cancel_id: String,
    /// Who gave it to the API.
    pub by: String,
    /// When (bus time, microseconds since 1970).
    pub at: i64,
}

/// A scan and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanState {
    /// As it was ordered.
    pub scan: ScanOrdered,
    /// Who gave it to the API.
    pub by: String,
    /// When (bus time, microseconds since 1970).
    pub at: i64,
    /// The first cancellation.
    pub cancelled: Option<Cancellation>,
}

/// All scans.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scans {
    scans: BTreeMap<String, ScanState>,
}

impl Scans {
    /// A scan by the id of its order (hex).
    pub fn get(&self, order_id: &str) -> Option<&ScanState> {
        self.scans.get(order_id)
    }

    /// Every scan, by id.
    pub fn all(&self) -> impl Iterator<Item = &ScanState> {
        self.scans.values()
    }

    pub(super) fn order(&mut self, scan: &ScanOrdered, by: &str, at: i64) -> Result<(), Loss> {
        match self.scans.get(&scan.order_id) {
            // Given twice because an answer was lost: the hosts asked are those of the first time.
            Some(known) if known.scan == *scan => Ok(()),
            Some(_) => Err(Loss::OrderTaken),
            None => {
                let state = ScanState { scan: scan.clone(), by: by.into(), at, cancelled: None };
                self.scans.insert(scan.order_id.clone(), state);
                Ok(())
            }
        }
    }

    pub(super) fn cancel(&mut self, order_id: &str, cancel_id: &str, by: &str, at: i64) -> Result<(), Loss> {
        let scan = self.scans.get_mut(order_id).ok_or(Loss::ScanUnknown)?;
        scan.cancelled.get_or_insert_with(|| Cancellation { cancel_id: cancel_id.into(), by: by.into(), at });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(id: &str, issued: i64) -> ScanOrdered {
        ScanOrdered {
            order_id: id.into(),
            tenant: "interieur".into(),
            whole_tenant: true,
            asked: Vec::new(),
            paths: vec!["/opt".into()],
            rules: Vec::new(),
            operator_key: "k".into(),
            issued,
            expires: 100,
            ticket: String::new(),
            purpose: String::new(),
            legal_basis: String::new(),
            tlp: String::new(),
            pap: String::new(),
            note: String::new(),
        }
    }

    #[test]
    fn the_first_order_with_an_id_wins() {
        let mut scans = Scans::default();
        scans.order(&scan("a", 1), "alice", 1).unwrap();
        scans.order(&scan("a", 1), "alice", 2).unwrap();
        assert_eq!(scans.get("a").unwrap().at, 1);
        assert_eq!(scans.order(&scan("a", 2), "mallory", 3), Err(Loss::OrderTaken));
    }

    #[test]
    fn a_scan_is_cancelled_once_and_an_unknown_one_not_at_all() {
        let mut scans = Scans::default();
        assert_eq!(scans.cancel("a", "c", "alice", 1), Err(Loss::ScanUnknown));
        scans.order(&scan("a", 1), "alice", 1).unwrap();
        scans.cancel("a", "c", "alice", 2).unwrap();
        scans.cancel("a", "d", "bob", 3).unwrap();
        assert_eq!(scans.get("a").unwrap().cancelled.as_ref().unwrap().cancel_id, "c");
    }
}
