//! The window of one group, for every type of correlation.

use super::condition::Present;
use super::number::{Fixed, Measure};
use super::order::{Chain, InOrder};
use super::plan::Kind;
use super::ranked::Ranked;
use super::slide::{Count, Distinct, Slide, Sum, Tally};
use crate::limits::MAX_MATCH_EVENTS;

/// What an event brings into a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Brought {
    /// Itself.
    Event,
    /// A value, by its key.
    Value(u128),
    /// A number.
    Number(Fixed),
    /// The rules it matches, by position.
    Rules(u64),
}

/// The events of a group that are in the window, and what is measured of them.
#[derive(Debug)]
pub(crate) enum Window<R> {
    Count(Slide<R, Count>),
    Distinct(Slide<R, Distinct>),
    Sum(Slide<R, Sum>),
    Ranked(Slide<R, Ranked>),
    /// The newest event of each rule.
    Together(Vec<Option<(i64, R)>>),
    InOrder(InOrder<R>),
}

/// The events behind a measure, for a match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen<R> {
    /// How many there are.
    pub count: usize,
    /// The first and the last of them, in order, at most [`MAX_MATCH_EVENTS`].
    pub sample: Vec<(i64, R)>,
}

impl<R: Clone + Ord> Window<R> {
    pub(crate) fn new(kind: Kind, rules: usize) -> Self {
        match kind {
            Kind::EventCount => Self::Count(Slide::new(Count)),
            Kind::ValueCount => Self::Distinct(Slide::new(Distinct::default())),
            Kind::Sum => Self::Sum(Slide::new(Sum::new(false))),
            Kind::Average => Self::Sum(Slide::new(Sum::new(true))),
            Kind::Percentile(percent) => Self::Ranked(Slide::new(Ranked::new(percent))),
            Kind::Temporal => Self::Together((0..rules).map(|_| None).collect()),
            Kind::TemporalOrdered => Self::InOrder(InOrder::new(rules)),
        }
    }

    /// Adds the newest event. The number of older ones that had to leave early for it is returned.
    pub(crate) fn push(&mut self, time: i64, event: &R, brought: Brought, max: usize) -> usize {
        match (self, brought) {
            (Self::Count(slide), _) => slide.push(time, event.clone(), (), max),
            (Self::Distinct(slide), Brought::Value(value)) => slide.push(time, event.clone(), value, max),
            (Self::Sum(slide), Brought::Number(number)) => slide.push(time, event.clone(), number, max),
            (Self::Ranked(slide), Brought::Number(number)) => slide.push(time, event.clone(), number, max),
            (Self::Together(newest), Brought::Rules(rules)) => {
                for (position, place) in newest.iter_mut().enumerate().filter(|(position, _)| rules >> position & 1 == 1) {
                    debug_assert!(place.as_ref().is_none_or(|(before, _)| *before <= time), "{position} is applied in order");
                    *place = Some((time, event.clone()));
                }
                0
            }
            (Self::InOrder(order), Brought::Rules(rules)) => {
                order.push(time, event, rules);
                0
            }
            // An event brings what its correlation's kind asks for; see `Plan::brought`.
            _ => 0,
        }
    }

    /// Lets events before `start` leave.
    pub(crate) fn evict(&mut self, start: i64) {
        match self {
            Self::Count(slide) => slide.evict(start),
            Self::Distinct(slide) => slide.evict(start),
            Self::Sum(slide) => slide.evict(start),
            Self::Ranked(slide) => slide.evict(start),
            Self::Together(newest) => {
                for place in newest.iter_mut().filter(|place| place.as_ref().is_some_and(|(time, _)| *time < start)) {
                    *place = None;
                }
            }
            Self::InOrder(order) => order.evict(start),
        }
    }

    /// What the condition is compared with; none where there is nothing to measure.
    pub(crate) fn measure(&self) -> Option<Measure> {
        match self {
            Self::Count(slide) => slide.measure(),
            Self::Distinct(slide) => slide.measure(),
            Self::Sum(slide) => slide.measure(),
            Self::Ranked(slide) => slide.measure(),
            Self::Together(newest) => Some(Measure::count(newest.iter().flatten().count())),
            Self::InOrder(order) => Some(Measure::count(order.longest().map_or(0, Vec::len))),
        }
    }

    /// Rules of which an event is in the window.
    pub(crate) fn present(&self) -> Present {
        match self {
            Self::Together(newest) => {
                newest.iter().enumerate().filter(|(_, place)| place.is_some()).fold(0, |bits, (at, _)| bits | 1 << at)
            }
            Self::InOrder(order) => order.present(),
            _ => 0,
        }
    }

    /// The events behind the measure.
    pub(crate) fn seen(&self) -> Seen<R> {
        match self {
            Self::Count(slide) => sample(slide),
            Self::Distinct(slide) => sample(slide),
            Self::Sum(slide) => sample(slide),
            Self::Ranked(slide) => sample(slide),
            Self::Together(newest) => {
                let mut events: Chain<R> = newest.iter().flatten().cloned().collect();
                events.sort();
                // One event may stand for several rules.
                events.dedup();
                Seen { count: events.len(), sample: events }
            }
            Self::InOrder(order) => {
                let sample = order.longest().cloned().unwrap_or_default();
                Seen { count: sample.len(), sample }
            }
        }
    }

    /// Bytes on the heap, estimated.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Count(slide) => slide.bytes(),
            Self::Distinct(slide) => slide.bytes(),
            Self::Sum(slide) => slide.bytes(),
            Self::Ranked(slide) => slide.bytes(),
            Self::Together(newest) => newest.capacity() * size_of::<Option<(i64, R)>>(),
            Self::InOrder(order) => order.bytes(),
        }
    }
}

fn sample<R: Clone, T: Tally>(slide: &Slide<R, T>) -> Seen<R> {
    let entries = slide.entries();
    let head = entries.len().min(MAX_MATCH_EVENTS / 2);
    let tail = entries.len().saturating_sub(MAX_MATCH_EVENTS - MAX_MATCH_EVENTS / 2).max(head);
    let chosen = entries.range(..head).chain(entries.range(tail..));
    Seen { count: entries.len(), sample: chosen.map(|(time, event, _)| (*time, event.clone())).collect() }
}
