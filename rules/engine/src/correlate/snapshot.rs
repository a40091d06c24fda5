//! The state of a correlator as plain values: written down and read back, it goes on as if it had never stopped.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::buffer::Held;
use super::correlator::{Correlator, EventRef};
use super::fields::Group;
use super::number::Fixed;
use super::shelf::Kept;
use super::window::{Brought, Window};

/// Version of the form below. Another one is refused: its windows begin anew.
const VERSION: u16 = 1;

/// A correlator's state. Its form is versioned; see [`Correlator::restore`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot<R> {
    version: u16,
    passed: i64,
    held: Vec<HeldForm<R>>,
    groups: Vec<GroupForm<R>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HeldForm<R> {
    time: i64,
    event: R,
    scope: Arc<str>,
    rules: Vec<Arc<str>>,
    fields: Vec<(Arc<str>, Box<str>)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct GroupForm<R> {
    scope: Arc<str>,
    /// Id of the correlation, and the hash of its text: a changed one begins anew.
    rule: String,
    sha256: String,
    key: Wide,
    group: Vec<(Arc<str>, Option<Box<str>>)>,
    last: i64,
    matched: Option<i64>,
    window: WindowForm<R>,
}

/// 128 bits as two halves: not every format has them.
type Wide = (u64, u64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum WindowForm<R> {
    Counted(Vec<(i64, R)>),
    Valued(Vec<(i64, R, Wide)>),
    Measured(Vec<(i64, R, Wide)>),
    Together(Vec<Option<(i64, R)>>),
    InOrder(Vec<(usize, Vec<(i64, R)>)>),
}

/// What came back of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Groups that go on.
    pub groups: usize,
    /// Groups and held events of rules that are gone or changed.
    pub left_out: usize,
}

/// A snapshot that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the state of correlations has version {0}, this program reads version {VERSION}: windows begin anew")]
pub struct SnapshotError(u16);

fn wide(value: u128) -> Wide {
    ((value >> 64) as u64, value as u64)
}

fn narrow((high, low): Wide) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

impl<R: EventRef> Correlator<R> {
    /// Its state. Matches that were made and not yet returned are not part of it: call [`Correlator::advance`] first.
    pub fn snapshot(&self) -> Snapshot<R> {
        let shape = &self.shape;
        let held = self.buffer.iter().map(|((time, event, scope), held)| HeldForm {
            time: *time,
            event: event.clone(),
            scope: scope.clone(),
            rules: held.rules.iter().map(|source| shape.rules[*source].clone()).collect(),
            fields: held.fields.clone(),
        });
        let mut groups: Vec<GroupForm<R>> = Vec::with_capacity(self.groups);
        for ((scope, node), shelf) in &self.shelves {
            let info = &shape.nodes[*node].info;
            groups.extend(shelf.groups().map(|(key, kept)| GroupForm {
                scope: scope.clone(),
                rule: info.id.clone(),
                sha256: info.sha256.clone(),
                key: wide(*key),
                group: kept.group.to_vec(),
                last: kept.last,
                matched: kept.matched,
                window: WindowForm::of(&kept.window),
            }));
        }
        // Equal states have equal snapshots.
        groups.sort_by(|a, b| (&a.scope, &a.rule, a.key).cmp(&(&b.scope, &b.rule, b.key)));
        Snapshot { version: VERSION, passed: self.passed, held: held.collect(), groups }
    }

    /// Takes a snapshot's state up, beside what there is. Groups of correlations that are gone or have changed are left out.
    ///
    /// # Errors
    /// [`SnapshotError`] when it was written by another version; nothing was taken up.
    pub fn restore(&mut self, snapshot: Snapshot<R>) -> Result<Restored, SnapshotError> {
        if snapshot.version != VERSION {
            return Err(SnapshotError(snapshot.version));
        }
        self.passed = self.passed.max(snapshot.passed);
        let mut restored = Restored::default();
        for form in snapshot.held {
            let count = form.rules.len();
            let mut rules: Vec<usize> = form.rules.iter().filter_map(|id| self.shape.source(id)).collect();
            rules.retain(|source| *source < self.shape.rules.len());
            rules.sort_unstable();
            restored.left_out += usize::from(rules.len() < count);
            if !rules.is_empty() {
                self.buffer.put((form.time, form.event, form.scope), Held { rules, fields: form.fields });
            }
        }
        for form in snapshot.groups {
            match self.restore_group(form) {
                Some(()) => restored.groups += 1,
                None => restored.left_out += 1,
            }
        }
        Ok(restored)
    }

    fn restore_group(&mut self, form: GroupForm<R>) -> Option<()> {
        let node = self.shape.source(&form.rule)?.checked_sub(self.shape.rules.len())?;
        let shape = self.shape.clone();
        let known = &shape.nodes[node];
        if known.info.sha256 != form.sha256 {
            return None;
        }
        let mut window = Window::new(known.plan.kind, known.plan.rules.len());
        form.window.fill(&mut window)?;
        let group: Group = form.group.into();
        let shelf = self.shelves.entry((form.scope, node)).or_default();
        let (groups, bytes) = (shelf.len(), shelf.bytes());
        shelf.put(narrow(form.key), Kept::new(group, window, form.last, form.matched));
        self.groups = self.groups - groups + shelf.len();
        self.bytes = self.bytes - bytes + shelf.bytes();
        Some(())
    }
}

impl<R: EventRef> WindowForm<R> {
    fn of(window: &Window<R>) -> Self {
        let number = |number: Fixed| wide(number.0 as u128);
        match window {
            Window::Count(slide) => {
                Self::Counted(slide.entries().iter().map(|(time, event, ())| (*time, event.clone())).collect())
            }
            Window::Distinct(slide) => {
                Self::Valued(slide.entries().iter().map(|(time, event, value)| (*time, event.clone(), wide(*value))).collect())
            }
            Window::Sum(slide) => Self::Measured(
                slide.entries().iter().map(|(time, event, value)| (*time, event.clone(), number(*value))).collect(),
            ),
            Window::Ranked(slide) => Self::Measured(
                slide.entries().iter().map(|(time, event, value)| (*time, event.clone(), number(*value))).collect(),
            ),
            Window::Together(newest) => Self::Together(newest.clone()),
            Window::InOrder(order) => {
                let chains = order.chains().iter().flat_map(|ends| ends.iter().enumerate());
                Self::InOrder(chains.filter_map(|(position, chain)| Some((position, chain.clone()?))).collect())
            }
        }
    }

    /// Fills an empty window; none when the form is that of another kind of window.
    fn fill(self, window: &mut Window<R>) -> Option<()> {
        match (self, &mut *window) {
            (Self::Counted(entries), Window::Count(_)) => {
                for (time, event) in entries {
                    window.push(time, &event, Brought::Event, usize::MAX);
                }
            }
            (Self::Valued(entries), Window::Distinct(_)) => {
                for (time, event, value) in entries {
                    window.push(time, &event, Brought::Value(narrow(value)), usize::MAX);
                }
            }
            (Self::Measured(entries), Window::Sum(_) | Window::Ranked(_)) => {
                for (time, event, value) in entries {
                    window.push(time, &event, Brought::Number(Fixed(narrow(value) as i128)), usize::MAX);
                }
            }
            (Self::Together(places), Window::Together(newest)) if places.len() == newest.len() => *newest = places,
            (Self::InOrder(chains), Window::InOrder(order)) => {
                chains.into_iter().for_each(|(position, chain)| order.restore(position, chain));
            }
            _ => return None,
        }
        Some(())
    }
}
