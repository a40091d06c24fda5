//! Judging the events of a batch as they were sent: what is found in a string is known to all events that name it, and an
//! event without anything that a rule is chosen by is done with before it is taken apart.

mod plan;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use beffroi_schema::batch::{EventRef, ListRef, Packed, ValueRef};

use crate::detector::{RuleMatch, SigmaDetector, Workspace};
use crate::eval::{Find, Frame, Scratch};
use crate::view::{self, Part};
use crate::ways::{AuditWay, Way};

pub(crate) use plan::Memory;
use plan::{Asked, Plan, Reader, Readers};

/// A plan, and the ways of the audit records that events of its shape are shown as.
struct Planned<'d> {
    plan: Arc<Plan>,
    audit: &'d [AuditWay],
}

impl Planned<'_> {
    /// The way of a record: 0 is the event itself.
    fn way(&self, record: u8) -> &Way {
        match usize::from(record).checked_sub(1) {
            None => &self.plan.way,
            Some(at) => &self.audit[at].way,
        }
    }
}

impl SigmaDetector {
    /// See [`crate::Detector::evaluate_batch`].
    pub(crate) fn judge_batch<'b>(
        &self,
        batch: &'b Packed,
        workspace: &mut Workspace,
        tell: &mut dyn FnMut(EventRef<'b>, Vec<RuleMatch>),
    ) {
        workspace.scratch.begin_batch();
        workspace.batches.begin();
        let mut plans: Vec<Option<Planned<'_>>> = Vec::new();
        plans.resize_with(batch.shapes().len(), || None);
        for event in batch.events() {
            let planned = plans[event.shape_number()].get_or_insert_with(|| {
                let audit = self.audit.of(&event.shape().logsource);
                Planned { plan: self.plan(event.shape(), audit, workspace), audit }
            });
            let mut matches = Vec::new();
            self.judge_packed(planned, event, workspace, &mut matches);
            workspace.events += 1;
            if !matches.is_empty() {
                tell(event, matches);
            }
        }
        workspace.scratch.end_batch();
    }

    /// Judges one event: what it says itself, then each audit record that it is shown as.
    fn judge_packed<'b>(
        &self,
        planned: &Planned<'_>,
        event: EventRef<'b>,
        workspace: &mut Workspace,
        matches: &mut Vec<RuleMatch>,
    ) {
        let plan = &*planned.plan;
        // What panics while values are looked into is asked again, rule by rule.
        let (found, blind) = self.look(planned, event, workspace).map_or((0, u8::MAX), |found| (found, plan.blind));
        let due = found | plan.always | blind;
        if due == 0 {
            return;
        }
        let finds = std::mem::take(&mut workspace.batches.values.event);
        let known = |record: u8| (blind >> record & 1 == 0).then_some((&finds[..], record));
        if due & 1 != 0 {
            let values = |frame: &mut Frame<'b>| {
                plan.columns.iter().for_each(|(column, field)| frame.push_value(*field, event.value(*column)));
            };
            self.judge_filled(&plan.way, values, known(0), workspace, matches);
        }
        if due > 1 && !planned.audit.is_empty() && view::shows(&event.shape().logsource, event) {
            for (record, AuditWay { form, way, .. }) in (1..).zip(planned.audit) {
                if due >> record & 1 != 0 {
                    self.judge_filled(way, |frame| form.fill(frame, event), known(record), workspace, matches);
                }
            }
        }
        workspace.batches.values.event = finds;
    }

    /// Looks for what rules are chosen by in the values of an event: a bit for each record that has some, or none when that
    /// failed.
    fn look(&self, planned: &Planned<'_>, event: EventRef<'_>, workspace: &mut Workspace) -> Option<u8> {
        let numbers = event.numbers();
        workspace.batches.values.event.clear();
        let mut records = 0;
        for asked in &planned.plan.asked {
            let values = &mut workspace.batches.values;
            match values.get(asked.whole.set, numbers[asked.column]) {
                Some(told) if told.records == 0 => {}
                Some(told) => {
                    records |= told.records;
                    values.take(told);
                }
                None => records |= self.look_into(planned, asked, event, workspace)?,
            }
        }
        Some(records)
    }

    /// The same for one value of which nothing is known.
    #[cold]
    fn look_into(&self, planned: &Planned<'_>, asked: &Asked, event: EventRef<'_>, workspace: &mut Workspace) -> Option<u8> {
        let Workspace { batches, scratch, .. } = workspace;
        let mut finds = Vec::new();
        // Looking changes nothing but what is remembered of values that were looked into whole.
        let looked = catch_unwind(AssertUnwindSafe(|| match event.value(asked.column) {
            ValueRef::List(list) => self.read_list(planned, asked, list, (batches, scratch), &mut finds),
            value => self.read(planned, &asked.whole.readers, value, scratch, &mut finds),
        }));
        looked.ok()?;
        batches.values.put(asked.whole.set, event.numbers()[asked.column], &finds);
        batches.values.event.extend_from_slice(&finds);
        Some(finds.iter().fold(0, |records, find| records | 1 << find.record))
    }

    fn read_list(
        &self,
        planned: &Planned<'_>,
        asked: &Asked,
        list: ListRef<'_>,
        (memory, scratch): (&mut Memory, &mut Scratch),
        finds: &mut Vec<Find>,
    ) {
        for (place, text) in list.texts().enumerate() {
            let Readers { set, readers } = asked.arguments.get(place).unwrap_or(&asked.rest);
            let known = text.number.and_then(|number| memory.values.get(*set, number.into()));
            if let Some(told) = known {
                finds.extend_from_slice(memory.values.finds(told));
                continue;
            }
            let first = finds.len();
            self.read(planned, readers, ValueRef::Text(text), scratch, finds);
            text.number.into_iter().for_each(|number| memory.values.put(*set, number.into(), &finds[first..]));
        }
        let count = asked.whole.readers.iter().filter(|reader| reader.part == Part::Count);
        count.for_each(|reader| self.read(planned, &[*reader], ValueRef::Uint(list.len() as u64), scratch, finds));
    }

    fn read(&self, planned: &Planned<'_>, readers: &[Reader], value: ValueRef<'_>, scratch: &mut Scratch, finds: &mut Vec<Find>) {
        for Reader { record, judge, field, part } in readers.iter().copied() {
            let value = if part == Part::BaseName { view::base_name(value) } else { value };
            let (place, choice) = &planned.way(record).choices[usize::from(judge)];
            let mut tell = |trigger| finds.push(Find { record, judge, trigger });
            self.judges[*place].find_in(choice, (field, value), scratch, &mut tell);
        }
    }
}
