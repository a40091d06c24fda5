//! Judging the events of a batch as they were sent: what is found in a string is known to all events that name it, and an
//! event without anything that a rule is chosen by is done with before it is taken apart.

mod plan;
mod verdicts;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use beffroi_schema::batch::{EventRef, ListRef, Packed, ValueRef};

use crate::detector::{RuleMatch, SigmaDetector, Workspace};
use crate::eval::{FieldId, Find, Frame, Scratch};
use crate::view::{self, Part};
use crate::ways::{AuditWay, Way};

pub(crate) use plan::Memory;
use plan::{Asked, Plan, Reader, Readers};
use verdicts::Question;

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
            Some(at) => self.audit[at].form.fill(frame, event),
        }
    }
}

fn fill_columns<'b>(frame: &mut Frame<'b>, columns: &[(usize, Option<FieldId>)], event: EventRef<'b>) {
    columns.iter().for_each(|(column, field)| frame.push_value(*field, event.value(*column)));
}

/// One record of an event, made when somebody has to read it.
struct Sheet<'p, 'b> {
    planned: &'p Planned<'p>,
    event: EventRef<'b>,
    record: u8,
    frame: Frame<'b>,
    is_filled: bool,
}

impl<'b> Sheet<'_, 'b> {
    fn filled(&mut self) -> &Frame<'b> {
        if !self.is_filled {
            self.is_filled = true;
            self.planned.fill(&mut self.frame, self.event, self.record);
        }
        &self.frame
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
        let frame = std::mem::take(&mut workspace.frame).recycle_for(&self.program.names);
        let mut sheet = Sheet { planned, event, record, frame, is_filled: false };
        for at in 0..planned.way(record).choices.len() {
            workspace.places.clear();
            // As sound as where events are judged one by one.
            let judged = catch_unwind(AssertUnwindSafe(|| self.judge_by(&mut sheet, at, workspace)));
            if judged.is_err() {
                let choice = &planned.way(record).choices[at].1;
                workspace.places = self.judge_one_by_one(choice, sheet.filled());
            }
            if !workspace.places.is_empty() {
                let (judge, choice) = &planned.way(record).choices[at];
                self.tell((*judge, choice), sheet.filled(), workspace, matches);
            }
        }
        workspace.frame = sheet.frame.recycle();
    }

    /// Judges it by the rules of one judge; those that match are noted.
    fn judge_by(&self, sheet: &mut Sheet<'_, '_>, at: usize, workspace: &mut Workspace) {
        let Workspace { batches, scratch, places, .. } = workspace;
        let Memory { values, verdicts, .. } = batches;
        let Sheet { planned, event, record, .. } = *sheet;
        let (plan, program) = (&planned.plan, &self.program);
        let (judge, choice) = &planned.way(record).choices[at];
        let judge = &self.judges[*judge];
        let own = values.event.iter().filter(|find| find.record == record && usize::from(find.judge) == at);
        let triggers = own.map(|find| find.trigger);
        judge.candidates(choice, program, triggers.clone(), scratch);
        let candidates = scratch.take_candidates();
        let (columns, numbers, mut is_ready) = (&plan.records[usize::from(record)], event.numbers(), false);
        for rule in candidates.iter().copied() {
            let question = Question { plan: plan.number, record, rule };
            let known = verdicts.ask(question, columns.values(&program.reads[rule as usize], numbers));
            let holds = known.unwrap_or_else(|| {
                let frame = sheet.filled();
                if !is_ready {
                    judge.begin(choice, program, frame, triggers.clone(), scratch);
                    is_ready = true;
                }
                let holds = judge.holds(choice, program, rule, frame, scratch);
                verdicts.answer(holds);
                holds
            });
            places.extend(holds.then_some(rule));
        }
        scratch.give_back(candidates);
        places.sort_unstable();
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
            let Readers { set, readers } = asked.arguments.get(place).map_or(&asked.rest, |readers| readers);
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
