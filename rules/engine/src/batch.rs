//! Judging the events of a batch as they were sent: what is found in a string is known to all events that name it, and an
//! event without anything that a rule is chosen by is done with before it is taken apart.

mod plan;
mod verdicts;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use beffroi_schema::alert::MatchedField;
use beffroi_schema::batch::{EventRef, ListRef, Packed, ValueRef};

use crate::detector::{RuleMatch, SigmaDetector, Workspace};
use crate::eval::{FieldId, Find, Frame, Program, Scratch};
use crate::view::{self, Part};
use crate::ways::{AuditWay, Way};

pub(crate) use plan::Memory;
use plan::{Asked, Plan, Reader, Readers};
use verdicts::{Answer, Question};

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

    /// Fills a frame with a record.
    fn fill<'b>(&self, frame: &mut Frame<'b>, event: EventRef<'b>, record: u8) {
        match usize::from(record).checked_sub(1) {
            None => fill_columns(frame, &self.plan.columns, event),
            Some(at) => self.audit[at].form.fill(frame, event, |_| true),
        }
    }

    /// A frame with what some rules read of a record: nothing else decides about them.
    fn frame<'b>(&self, kept: Frame<'_>, (event, record): (EventRef<'b>, u8), program: &Program, rules: &[u32]) -> Frame<'b> {
        let mut frame = kept.recycle_for(&program.names);
        let reads = || rules.iter().map(|rule| &program.reads[*rule as usize]);
        let fields = reads().flat_map(|reads| reads.fields.iter().copied());
        match usize::from(record).checked_sub(1) {
            _ if reads().any(|reads| reads.everything) => self.fill(&mut frame, event, record),
            None => self.plan.fill_for(&mut frame, event, fields),
            Some(at) => {
                let is_read = |field: Option<FieldId>| fields.clone().any(|read| Some(read) == field);
                self.audit[at].form.fill(&mut frame, event, is_read);
            }
        }
        frame
    }
}

fn fill_columns<'b>(frame: &mut Frame<'b>, columns: &[(usize, Option<FieldId>)], event: EventRef<'b>) {
    columns.iter().for_each(|(column, field)| frame.push_value(*field, event.value(*column)));
}

/// About how many bytes what is said of a match takes.
fn size_of_reason(reason: &RuleMatch) -> usize {
    let fields = reason.fields.iter().map(|found| found.field.len() + found.value.as_str().map_or(0, str::len));
    size_of::<RuleMatch>() + fields.map(|text| text + size_of::<MatchedField>()).sum::<usize>()
}

impl SigmaDetector {
    /// See [`crate::Detector::evaluate_batch`].
    pub(crate) fn judge_batch<'b>(
        &self,
        batch: &'b Packed,
        workspace: &mut Workspace,
        tell: &mut dyn FnMut(EventRef<'b>, Vec<RuleMatch>),
    ) {
        workspace.scratch.begin_batch(batch.size());
        workspace.batches.begin();
        let mut plans: Vec<Option<Planned<'_>>> = Vec::new();
        plans.resize_with(batch.shapes().len(), || None);
        for event in batch.events() {
            let planned = &mut plans[event.shape_number()];
            if planned.is_none() {
                let audit = self.audit.of(&event.shape().logsource);
                *planned = self.plan(event.shape(), audit, workspace).map(|plan| Planned { plan, audit });
            }
            let mut matches = Vec::new();
            match planned {
                Some(planned) => self.judge_packed(planned, event, workspace, &mut matches),
                None => self.judge_unplanned(event, workspace, &mut matches),
            }
            workspace.events += 1;
            if !matches.is_empty() {
                tell(event, matches);
            }
        }
        workspace.scratch.end_batch();
    }

    /// Judges one event of a shape without a plan, as events are judged that are in no batch.
    fn judge_unplanned<'b>(&self, event: EventRef<'b>, workspace: &mut Workspace, matches: &mut Vec<RuleMatch>) {
        let shape = event.shape();
        let way = self.way(&shape.logsource, workspace);
        let columns = self.columns(shape, &way);
        let fill = |frame: &mut Frame<'b>| fill_columns(frame, &columns, event);
        self.judge_filled(&way, fill, workspace, matches);
        self.judge_records(&shape.logsource, event, workspace, matches);
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
        // Events that are measured are judged whole.
        let blind = if self.is_measured(workspace) { u8::MAX } else { blind };
        let shown = if due > 1 && view::shows(&event.shape().logsource, event) { planned.audit.len() } else { 0 };
        for record in 0..=shown as u8 {
            match (due >> record & 1 != 0, blind >> record & 1 != 0) {
                (false, _) => {}
                (true, true) => {
                    let fill = |frame: &mut Frame<'b>| planned.fill(frame, event, record);
                    self.judge_filled(planned.way(record), fill, workspace, matches);
                }
                (true, false) => self.judge_found(planned, event, record, workspace, matches),
            }
        }
    }

    /// Judges one record of an event by what was found in its values.
    fn judge_found<'b>(
        &self,
        planned: &Planned<'_>,
        event: EventRef<'b>,
        record: u8,
        workspace: &mut Workspace,
        matches: &mut Vec<RuleMatch>,
    ) {
        for (at, (judge, choice)) in planned.way(record).choices.iter().enumerate() {
            let before = matches.len();
            // As sound as where events are judged one by one: what was told of the event begins anew.
            let judged = catch_unwind(AssertUnwindSafe(|| self.judge_by(planned, (event, record), at, workspace, matches)));
            if judged.is_err() {
                matches.truncate(before);
                let mut frame = Frame::new(&self.program.names);
                planned.fill(&mut frame, event, record);
                workspace.places = self.judge_one_by_one(choice, &frame);
                self.tell((*judge, choice), &frame, workspace, matches);
            }
        }
    }

    /// Judges it by the rules of one judge.
    fn judge_by<'b>(
        &self,
        planned: &Planned<'_>,
        (event, record): (EventRef<'b>, u8),
        at: usize,
        workspace: &mut Workspace,
        matches: &mut Vec<RuleMatch>,
    ) {
        let Workspace { batches: Memory { values, verdicts, .. }, scratch, frame: kept, .. } = workspace;
        let (place, choice) = &planned.way(record).choices[at];
        let (judge, program, plan) = (&self.judges[*place], &self.program, &*planned.plan);
        let triggers = values.triggers(record, at);
        judge.candidates(choice, program, triggers.clone(), scratch);
        let mut candidates = scratch.take_candidates();
        candidates.sort_unstable();
        let mut filled: Option<Frame<'b>> = None;
        for rule in candidates.iter().copied() {
            if self.is_told(rule, matches) {
                continue;
            }
            let values = plan.records[usize::from(record)].values(&program.reads[rule as usize], event.numbers());
            let is_known = match verdicts.ask(Question { plan: plan.number, record, rule }, values) {
                Some(Answer::No) => continue,
                Some(Answer::Because(reason)) => {
                    matches.push(reason.clone());
                    continue;
                }
                answer => answer.is_some(),
            };
            let frame = &*filled.get_or_insert_with(|| {
                let frame = planned.frame(std::mem::take(kept), (event, record), program, &candidates);
                judge.begin(choice, program, &frame, triggers.clone(), scratch);
                frame
            });
            if is_known || verdicts.answer(judge.holds(choice, program, rule, frame, scratch)) {
                matches.push(self.reason((*place, choice), rule, frame, scratch));
                matches.last().into_iter().for_each(|reason| verdicts.explain(reason, size_of_reason(reason)));
            }
        }
        filled.into_iter().for_each(|frame| *kept = frame.recycle());
        scratch.give_back(candidates);
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
        let mut finds = std::mem::take(&mut batches.finds);
        finds.clear();
        // Looking changes nothing but what is remembered of values that were looked into whole.
        let looked = catch_unwind(AssertUnwindSafe(|| match event.value(asked.column) {
            ValueRef::List(list) => self.read_list(planned, asked, list, (batches, scratch), &mut finds),
            value => self.read(planned, &asked.whole.readers, value, scratch, &mut finds),
        }));
        looked.ok()?;
        batches.values.put(asked.whole.set, event.numbers()[asked.column], &finds);
        batches.values.event.extend_from_slice(&finds);
        let records = finds.iter().fold(0, |records, find| records | 1 << find.record);
        batches.finds = finds;
        Some(records)
    }

    fn read_list(
        &self,
        planned: &Planned<'_>,
        asked: &Asked,
        list: ListRef<'_>,
        (memory, scratch): (&mut Memory, &mut Scratch),
        finds: &mut Vec<Find>,
    ) {
        for place in 0..list.len() {
            let Readers { set, readers } = asked.arguments.get(place).map_or(&asked.rest, |readers| readers);
            match list.number(place).and_then(|number| memory.values.get(*set, number.into())) {
                Some(told) if told.records == 0 => continue,
                Some(told) => {
                    finds.extend_from_slice(memory.values.finds(told));
                    continue;
                }
                None => {}
            }
            let (first, Some(text)) = (finds.len(), list.get(place)) else { continue };
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
