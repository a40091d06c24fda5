//! Judging the events of a batch as they were sent: what is found in a string is known to all events that name it, and an
//! event without anything that a rule is chosen by is done with before it is taken apart.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use beffroi_schema::batch::{Column, ColumnName, EventRef, Packed, Shape, ValueRef};

use crate::detector::{RuleMatch, SigmaDetector, Workspace};
use crate::eval::{Choice, FieldId, Frame, Names, Scratch, Wanted};
use crate::view;
use crate::ways::{AuditWay, Way};

/// How events of one shape are judged.
struct Plan<'d> {
    way: Arc<Way>,
    /// Columns that rules read, and by which numbers.
    columns: Vec<(usize, Option<FieldId>)>,
    /// Those of them that rules are chosen by.
    asked: Vec<(usize, Option<FieldId>)>,
    audit: &'d [AuditWay],
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
        let mut plans: Vec<Option<Plan<'_>>> = Vec::new();
        plans.resize_with(batch.shapes().len(), || None);
        for event in batch.events() {
            let plan = plans[event.shape_number()].get_or_insert_with(|| self.plan(event.shape(), workspace));
            let mut matches = Vec::new();
            self.judge_packed(plan, event, workspace, &mut matches);
            workspace.events += 1;
            if !matches.is_empty() {
                tell(event, matches);
            }
        }
        workspace.scratch.end_batch();
    }

    fn plan(&self, shape: &Shape, workspace: &mut Workspace) -> Plan<'_> {
        let way = self.way(&shape.logsource, workspace);
        let columns = columns(shape, &self.program.names, &way.wanted);
        let is_asked = |(_, field): &(usize, Option<FieldId>)| {
            way.choices.iter().any(|(judge, choice)| self.judges[*judge].reads(choice, *field))
        };
        let asked = columns.iter().copied().filter(is_asked).collect();
        Plan { columns, asked, audit: self.audit.of(&shape.logsource), way }
    }

    /// Judges one event: what it says itself, then each audit record that it is shown as.
    fn judge_packed<'b>(&self, plan: &Plan<'_>, event: EventRef<'b>, workspace: &mut Workspace, matches: &mut Vec<RuleMatch>) {
        let Plan { way, columns, asked, audit } = plan;
        let own = asked.iter().map(|(column, field)| (*field, event.value(*column)));
        if !self.is_silent(&way.choices, own, &mut workspace.scratch) {
            let values = |frame: &mut Frame<'b>| {
                columns.iter().for_each(|(column, field)| frame.push_value(*field, event.value(*column)));
            };
            self.judge_filled(way, values, workspace, matches);
        }
        if audit.is_empty() || !view::shows(&event.shape().logsource, event) {
            return;
        }
        for AuditWay { form, way, may_be_silent } in *audit {
            if !(*may_be_silent && self.is_silent(&way.choices, form.of(event), &mut workspace.scratch)) {
                self.judge_filled(way, |frame| form.fill(frame, event), workspace, matches);
            }
        }
    }

    /// Whether no chosen rule can match an event with these values.
    fn is_silent<'v>(
        &self,
        choices: &[(usize, Choice)],
        mut values: impl Iterator<Item = (Option<FieldId>, ValueRef<'v>)>,
        scratch: &mut Scratch,
    ) -> bool {
        if !choices.iter().all(|(_, choice)| choice.is_without_always()) {
            return false;
        }
        // What panicked here is asked again, rule by rule.
        let is_silent = catch_unwind(AssertUnwindSafe(|| {
            values.all(|value| choices.iter().all(|(judge, choice)| self.judges[*judge].is_silent_on(choice, value, scratch)))
        }));
        is_silent.unwrap_or(false)
    }
}

/// The columns of a shape that are wanted.
fn columns(shape: &Shape, names: &Names, wanted: &Wanted) -> Vec<(usize, Option<FieldId>)> {
    let field = |column: &Column| match &column.name {
        ColumnName::Known(field) => names.of_field(*field),
        ColumnName::Extra(name) => names.find(name),
    };
    let columns = shape.columns.iter().map(field).enumerate();
    columns.filter(|(_, field)| wanted.wants(*field)).collect()
}
