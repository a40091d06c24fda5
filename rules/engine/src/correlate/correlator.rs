//! The correlator: events in, matches out, all state in one place.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::sync::Arc;

use super::CorrelateOptions;
use super::buffer::{Buffer, Held};
use super::fields::{FieldSource, Group, Taken, find, key};
use super::number::Fixed;
use super::overflow::{OverflowKind, Overflows, StateOverflow};
use super::plan::{Kind, Plan};
use super::run::CorrelationMatch;
use super::shape::{Shape, Source};
use super::shelf::Shelf;
use super::window::Brought;
use crate::detector::CompileError;
use crate::limits::MAX_CORRELATIONS;
use crate::rule::RuleSet;

/// How events are named: a line number, an event id. Its order decides between events of the same time, its text goes
/// into the ids of matches, so both must be the same wherever and whenever the events are read.
pub trait EventRef: Clone + Ord + Display {}

impl<R: Clone + Ord + Display> EventRef for R {}

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observed {
    /// No correlation refers to any of its rules.
    Unused,
    /// It waits for the watermark.
    Held,
    /// The watermark had passed it: it is counted and not applied.
    Late,
}

/// What a correlator holds and has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Events that wait for the watermark.
    pub held: usize,
    /// Groups.
    pub groups: usize,
    /// Bytes of both, estimated.
    pub bytes: usize,
    /// Events that came too late, since the start.
    pub late: u64,
    /// Events that were applied, since the start.
    pub applied: u64,
}

/// All correlations of a rule set and their state. See the module's page for what they mean.
#[derive(Debug)]
pub struct Correlator<R> {
    pub(super) shape: Arc<Shape>,
    pub(super) options: CorrelateOptions,
    pub(super) buffer: Buffer<R>,
    pub(super) shelves: HashMap<(Arc<str>, usize), Shelf<R>>,
    /// Every event up to this time was applied.
    pub(super) passed: i64,
    ready: Vec<CorrelationMatch<R>>,
    pub(super) overflows: Overflows,
    pub(super) groups: usize,
    pub(super) bytes: usize,
    late: u64,
    applied: u64,
}

/// Something that a correlation refers to, at the event that is being applied.
struct Hit {
    source: Source,
    /// The group of a correlation; rules have none.
    group: Option<Group>,
    /// Whether it is more than the going on of a run.
    is_match: bool,
}

/// What an event brings to one group.
struct Touch<'a> {
    key: u128,
    values: Vec<Option<&'a str>>,
    brought: Vec<Brought>,
}

impl<R: EventRef> Correlator<R> {
    /// A correlator without any state.
    ///
    /// # Errors
    /// [`CompileError`] when the set holds too many correlations. Single ones cannot fail: they were checked when loaded.
    pub fn new(set: &RuleSet, options: CorrelateOptions) -> Result<Self, CompileError> {
        if set.correlations().len() > MAX_CORRELATIONS {
            return Err(CompileError::TooManyCorrelations(set.correlations().len()));
        }
        Ok(Self::of(Arc::new(Shape::of(set)), options))
    }

    fn of(shape: Arc<Shape>, options: CorrelateOptions) -> Self {
        Self {
            shape,
            options,
            buffer: Buffer::default(),
            shelves: HashMap::new(),
            passed: i64::MIN,
            ready: Vec::new(),
            overflows: Overflows::default(),
            groups: 0,
            bytes: 0,
            late: 0,
            applied: 0,
        }
    }

    /// The same correlations without any state.
    pub fn fresh(&self) -> Self {
        Self::of(self.shape.clone(), self.options.clone())
    }

    /// Whether a correlation refers to this rule, so that its matches are worth observing.
    pub fn refers_to(&self, rule_id: &str) -> bool {
        self.shape.source(rule_id).is_some_and(|source| source < self.shape.rules.len())
    }

    /// Whether there is any correlation.
    pub fn is_empty(&self) -> bool {
        self.shape.nodes.is_empty()
    }

    /// Whether matches of this rule are alerts of their own: not those of rules that correlations refer to, unless one
    /// of them says `generate: true`.
    pub fn alerts_alone(&self, rule_id: &str) -> bool {
        self.shape.alerts_alone(rule_id)
    }

    /// Takes an event and the ids of the rules that it matches. `scope` is the tenant; `time_us` the time of the event in
    /// microseconds since 1970. The same event may be observed again with other rules (another view of it), or again with
    /// the same ones (it was sent twice): it counts once.
    pub fn observe<'a>(
        &mut self,
        scope: &str,
        time_us: i64,
        event: R,
        fields: &dyn FieldSource,
        rule_ids: impl IntoIterator<Item = &'a str>,
    ) -> Observed {
        let shape = self.shape.clone();
        let mut rules =
            rule_ids.into_iter().filter_map(|id| shape.source(id)).filter(|source| *source < shape.rules.len()).peekable();
        if rules.peek().is_none() {
            return Observed::Unused;
        }
        if time_us <= self.passed {
            self.late += 1;
            return Observed::Late;
        }
        let scope: Arc<str> = scope.into();
        self.buffer.push((time_us, event, scope.clone()), &shape, rules, fields);
        while self.buffer.len() > self.options.max_held || self.buffer.bytes() > self.options.max_bytes {
            let Some(first) = self.buffer.first_time() else { break };
            self.overflows.add(OverflowKind::Held, &scope, None, 1);
            self.apply_until(first);
        }
        Observed::Held
    }

    /// Applies every event up to the watermark. What they make is returned, in the order in which it was made.
    pub fn advance(&mut self, watermark_us: i64) -> Vec<CorrelationMatch<R>> {
        if watermark_us > self.passed {
            self.apply_until(watermark_us);
            self.expire(watermark_us);
        }
        std::mem::take(&mut self.ready)
    }

    /// Applies every event there is: the input has ended.
    pub fn finish(&mut self) -> Vec<CorrelationMatch<R>> {
        self.apply_until(i64::MAX);
        std::mem::take(&mut self.ready)
    }

    /// What had to be given up since the last call.
    pub fn take_overflows(&mut self) -> Vec<StateOverflow> {
        let shape = self.shape.clone();
        self.overflows.take(|node| shape.nodes[node].info.clone())
    }

    /// What it holds and has seen.
    pub fn figures(&self) -> Figures {
        Figures {
            held: self.buffer.len(),
            groups: self.groups,
            bytes: self.bytes + self.buffer.bytes(),
            late: self.late,
            applied: self.applied,
        }
    }

    /// Time of the last event that waits for the watermark.
    pub fn last_held(&self) -> Option<i64> {
        self.buffer.last_time()
    }

    fn apply_until(&mut self, until: i64) {
        while let Some(((time, event, scope), held)) = self.buffer.pop(until) {
            self.apply(time, &event, &scope, &held);
            self.passed = self.passed.max(time);
            self.make_room(time);
        }
        // The end of the input is no time: later input may follow.
        if until != i64::MAX {
            self.passed = self.passed.max(until);
        }
    }

    fn apply(&mut self, time: i64, event: &R, scope: &Arc<str>, held: &Held) {
        self.applied += 1;
        let shape = self.shape.clone();
        let hit = |source: &Source| Hit { source: *source, group: None, is_match: true };
        let mut hits: Vec<Hit> = held.rules.iter().map(hit).collect();
        let users = |source: Source| shape.users(source).iter().map(|(node, _)| *node);
        let mut waiting: BTreeSet<usize> = held.rules.iter().flat_map(|source| users(*source)).collect();
        // Correlations stand after what they refer to, so each is judged once, when all that it refers to is known.
        while let Some(node) = waiting.pop_first() {
            let mut made = Vec::new();
            for touch in touches(&shape, node, &hits, &held.fields) {
                made.extend(self.touch(node, scope, (time, event), &touch));
            }
            if !made.is_empty() {
                waiting.extend(users(shape.source_of_node(node)));
                hits.extend(made);
            }
        }
    }

    /// Adds an event to a group; a hit for other correlations where the condition holds.
    fn touch(&mut self, at: usize, scope: &Arc<str>, (time, event): (i64, &R), touch: &Touch<'_>) -> Option<Hit> {
        let shape = self.shape.clone();
        let node = &shape.nodes[at];
        let shelf = self.shelves.entry((scope.clone(), at)).or_default();
        let (groups, bytes) = (shelf.len(), shelf.bytes());
        shelf.expire(time.saturating_sub(node.plan.span));
        let new = || -> Group {
            let names = node.plan.group_by.iter().map(|named| named.name.clone());
            names.zip(&touch.values).map(|(name, value)| (name, value.map(Into::into))).collect()
        };
        let touched = shelf.touch(&node.plan, touch.key, new, (time, event), &touch.brought, self.options.max_entries);
        self.groups = self.groups - groups + shelf.len();
        self.bytes = self.bytes - bytes + shelf.bytes();
        self.overflows.add(OverflowKind::Events, scope, Some(at), touched.crowded_out);
        let measure = touched.holds?;
        let kept = shelf.get(touch.key)?;
        if touched.is_match && node.is_alert {
            let seen = kept.window.seen();
            self.ready.push(CorrelationMatch::new(&node.info, scope, &kept.group, time, measure.to_f64(), seen));
        }
        Some(Hit { source: shape.source_of_node(at), group: Some(kept.group.clone()), is_match: touched.is_match })
    }

    fn expire(&mut self, now: i64) {
        let shape = self.shape.clone();
        self.shelves.retain(|(_, node), shelf| {
            shelf.expire(now.saturating_sub(shape.nodes[*node].plan.span));
            shelf.len() > 0
        });
        self.groups = self.shelves.values().map(Shelf::len).sum();
        self.bytes = self.shelves.values().map(Shelf::bytes).sum();
    }

    /// Forgets groups until the rest is within the limits: the least recently used ones of the correlation and scope that
    /// hold most, so that a flood of groups pushes out itself and nothing else.
    fn make_room(&mut self, now: i64) {
        let is_full =
            |groups: usize, bytes: usize, options: &CorrelateOptions| groups > options.max_groups || bytes > options.max_bytes;
        if !is_full(self.groups, self.bytes, &self.options) {
            return;
        }
        self.expire(now);
        while is_full(self.groups, self.bytes, &self.options) {
            let largest = self.shelves.iter_mut().max_by_key(|((scope, node), shelf)| (shelf.bytes(), scope.clone(), *node));
            let Some(((scope, node), shelf)) = largest else { return };
            let (groups, bytes) = (shelf.len(), shelf.bytes());
            // Many at once: looking for the largest takes a while.
            let gone = shelf.forget(groups / 64);
            self.overflows.add(OverflowKind::Groups, scope, Some(*node), gone);
            self.groups = self.groups - groups + shelf.len();
            self.bytes = self.bytes - bytes + shelf.bytes();
        }
    }
}

/// What the hits of one event bring to the groups of one correlation.
fn touches<'a>(shape: &Shape, node: usize, hits: &'a [Hit], fields: &'a Taken) -> Vec<Touch<'a>> {
    let plan = &shape.nodes[node].plan;
    let mut touches: Vec<Touch<'a>> = Vec::new();
    for hit in hits.iter().filter(|hit| hit.is_match || plan.kind.is_temporal()) {
        let Some((_, positions)) = shape.users(hit.source).iter().find(|(user, _)| *user == node) else { continue };
        let at = positions.trailing_zeros() as usize;
        let value = |name: &str| field(hit, fields, name);
        let Some(brought) = brought(plan, at, *positions, value) else { continue };
        let values: Vec<Option<&str>> = plan.group_by.iter().map(|named| value(&named.by_rule[at])).collect();
        let key = key(values.iter().copied());
        match touches.iter_mut().find(|touch| touch.key == key) {
            None => touches.push(Touch { key, values, brought: vec![brought] }),
            Some(touch) => merge(&mut touch.brought, brought),
        }
    }
    touches
}

/// A field of what was hit: of the group where it is a correlation, else of the event.
fn field<'a>(hit: &'a Hit, fields: &'a Taken, name: &str) -> Option<&'a str> {
    let of_group = hit.group.as_ref().and_then(|group| group.iter().find(|(known, _)| **known == *name));
    match of_group {
        Some((_, value)) => value.as_deref(),
        None => find(fields, name),
    }
}

/// What an event brings to a correlation; nothing where the value that counts is missing.
fn brought<'a>(plan: &Plan, at: usize, positions: u64, value: impl Fn(&str) -> Option<&'a str>) -> Option<Brought> {
    Some(match plan.kind {
        Kind::EventCount => Brought::Event,
        Kind::Temporal | Kind::TemporalOrdered => Brought::Rules(positions),
        Kind::ValueCount => {
            let values = plan.values.iter().map(|named| value(&named.by_rule[at])).collect::<Option<Vec<&str>>>()?;
            Brought::Value(key(values.into_iter().map(Some)))
        }
        Kind::Sum | Kind::Average | Kind::Percentile(_) => {
            Brought::Number(Fixed::parse(value(&plan.values.first()?.by_rule[at])?)?)
        }
    })
}

/// One event counts once, however many rules it matches; different values of it count each.
fn merge(known: &mut Vec<Brought>, new: Brought) {
    if let (Some(Brought::Rules(bits)), Brought::Rules(more)) = (known.first_mut(), new) {
        *bits |= more;
    } else if !known.contains(&new) {
        known.push(new);
    }
}
