//! The correlations of one partition: detections in, alerts out. Synchronous and without I/O.
//!
//! Events that were recorded elsewhere and sent again have a time of their own, so they get a correlator of their own.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use beffroi_engine::correlate::{CorrelationMatch, Correlator, Figures, Leftover, Observed, Snapshot, Watermark};
use beffroi_schema::alert::Match;
use beffroi_schema::ids::EventId;
use serde::{Deserialize, Serialize};

use super::alert::{Stamp, of_match, of_overflow};
use super::detection::Detection;
use crate::judge::RulesInForce;

/// Events whose evidence is remembered: those of the last windows of alerts; at some KiB each about 30 MB.
const MAX_EVIDENCE: usize = 8_192;

/// One partition's correlations.
#[derive(Debug)]
pub struct Lane {
    live: Clocked,
    replayed: Clocked,
    evidence: Evidence,
    lateness_us: i64,
}

/// A lane's state, as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub struct LaneState {
    live: Snapshot<EventId>,
    replayed: Snapshot<EventId>,
}

/// A correlator and how far its time has come.
#[derive(Debug)]
struct Clocked {
    correlator: Correlator<EventId>,
    watermark: Watermark,
    newest: Option<i64>,
}

impl Clocked {
    fn new(correlator: Correlator<EventId>, lateness_us: i64) -> Self {
        Self { correlator, watermark: Watermark::new(lateness_us), newest: None }
    }

    fn advance(&mut self) -> Vec<CorrelationMatch<EventId>> {
        self.watermark.get().map_or_else(Vec::new, |watermark| self.correlator.advance(watermark))
    }

    fn take(&mut self, detection: &Detection, event: EventId) -> Observed {
        let time = detection.time();
        let rules = detection.rules.iter().map(String::as_str);
        let observed = self.correlator.observe(&detection.evidence.tenant, time, event, detection, rules);
        self.watermark.see(0, detection.tick());
        self.newest = self.newest.max(Some(time));
        observed
    }

    fn settle(&mut self) -> Vec<CorrelationMatch<EventId>> {
        self.newest.map_or_else(Vec::new, |newest| self.correlator.advance(newest))
    }

    fn exchange(&mut self, rules: &RulesInForce) -> Leftover<EventId> {
        let left = self.correlator.exchange(&rules.correlations);
        if left.groups() > 0 {
            tracing::info!(left_out = left.groups(), "windows of correlations that changed or are gone begin anew");
        }
        left
    }
}

fn restore(correlator: &mut Correlator<EventId>, snapshot: Snapshot<EventId>) {
    match correlator.restore(snapshot) {
        Ok(restored) if restored.left_out > 0 => {
            tracing::info!(left_out = restored.left_out, "windows of correlations that changed or are gone begin anew");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the state of correlations is not used"),
    }
}

impl Lane {
    /// A lane without state.
    pub fn new(rules: &RulesInForce, lateness_us: i64) -> Self {
        let clocked = || Clocked::new(rules.correlations.fresh(), lateness_us);
        Self { live: clocked(), replayed: clocked(), evidence: Evidence::default(), lateness_us }
    }

    /// A lane that goes on where another one was written down.
    pub fn restored(rules: &RulesInForce, lateness_us: i64, state: LaneState) -> Self {
        let mut lane = Self::new(rules, lateness_us);
        restore(&mut lane.live.correlator, state.live);
        restore(&mut lane.replayed.correlator, state.replayed);
        for clocked in [&mut lane.live, &mut lane.replayed] {
            clocked.newest = clocked.correlator.last_held();
        }
        lane
    }

    /// Takes a detection; what it completes, or what its time brings to an end, is returned.
    pub fn take(&mut self, detection: Detection, rules: &RulesInForce, now: i64) -> Vec<Match> {
        let Some(event) = detection.evidence.event_ids.first().copied() else { return Vec::new() };
        let clocked = if detection.evidence.replayed { &mut self.replayed } else { &mut self.live };
        let observed = clocked.take(&detection, event);
        let found = clocked.advance();
        match observed {
            Observed::Held => self.evidence.keep(event, detection.evidence),
            Observed::Late => metrics::counter!("beffroi_detect_correlation_late_total").increment(1),
            Observed::Unused => {}
        }
        self.alerts(found, rules, now)
    }

    /// Nothing came for as long as events may be late: what is held is applied.
    pub fn settle(&mut self, rules: &RulesInForce, now: i64) -> Vec<Match> {
        let mut found = self.live.settle();
        found.extend(self.replayed.settle());
        self.alerts(found, rules, now)
    }

    /// Goes on with other rules. Correlations that are the same keep their state; that of others is left over, to be freed
    /// where no event waits for it.
    pub fn exchange(&mut self, rules: &RulesInForce) -> [Leftover<EventId>; 2] {
        [self.live.exchange(rules), self.replayed.exchange(rules)]
    }

    /// Its state.
    pub fn state(&self) -> LaneState {
        LaneState { live: self.live.correlator.snapshot(), replayed: self.replayed.correlator.snapshot() }
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        let figures = self.figures();
        figures.held == 0 && figures.groups == 0
    }

    /// Whether events wait for their time.
    pub fn is_waiting(&self) -> bool {
        self.figures().held > 0
    }

    /// How long it waits for late events, in microseconds.
    pub fn lateness_us(&self) -> i64 {
        self.lateness_us
    }

    /// What it holds and has seen.
    pub fn figures(&self) -> Figures {
        let (live, replayed) = (self.live.correlator.figures(), self.replayed.correlator.figures());
        Figures {
            held: live.held + replayed.held,
            groups: live.groups + replayed.groups,
            bytes: live.bytes + replayed.bytes,
            late: live.late + replayed.late,
            applied: live.applied + replayed.applied,
        }
    }

    fn alerts(&mut self, found: Vec<CorrelationMatch<EventId>>, rules: &RulesInForce, now: i64) -> Vec<Match> {
        let stamp = Stamp { now, ruleset: rules.ruleset.clone(), engine: rules.engine.clone() };
        let mut alerts: Vec<Match> =
            found.iter().map(|found| of_match(found, |event| self.evidence.get(event), &stamp)).collect();
        for clocked in [&mut self.live, &mut self.replayed] {
            for overflow in clocked.correlator.take_overflows() {
                let rule = overflow.rule.as_ref().map_or("", |rule| rule.id.as_str());
                tracing::warn!(rule, tenant = %overflow.scope, kind = ?overflow.kind, count = overflow.count, "the state of correlations is full");
                metrics::counter!("beffroi_detect_correlation_overflow_total").increment(overflow.count);
                alerts.push(of_overflow(&overflow, &stamp));
            }
        }
        metrics::counter!("beffroi_detect_correlation_matches_total").increment(alerts.len() as u64);
        alerts
    }
}

/// Evidence of events, the oldest goes first.
#[derive(Debug, Default)]
struct Evidence {
    known: HashMap<EventId, Arc<Match>>,
    order: VecDeque<EventId>,
}

impl Evidence {
    fn keep(&mut self, event: EventId, evidence: Match) {
        if self.known.insert(event, Arc::new(evidence)).is_none() {
            self.order.push_back(event);
        }
        while self.order.len() > MAX_EVIDENCE {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    fn get(&self, event: &EventId) -> Option<Arc<Match>> {
        self.known.get(event).cloned()
    }
}
