//! What rules are chosen by, looked for in single values before there is a frame: most events have nothing of it.

use beffroi_schema::batch::{TextRef, ValueRef};

use super::frame::Datum;
use super::judge::{Choice, Judge, Scans, numbers};
use super::names::FieldId;
use super::scratch::Scratch;

impl Judge {
    /// Whether something is looked for in values of this field.
    pub(crate) fn reads(&self, choice: &Choice, field: Option<FieldId>) -> bool {
        let scans = self.scans_of(choice, field);
        scans.0.is_some() || scans.1.is_some()
    }

    /// Tells the triggers in a value of this field that make chosen rules be looked at. An event in whose values there are
    /// none is matched by no chosen rule but those that are always looked at.
    pub(crate) fn find_in(
        &self,
        choice: &Choice,
        (field, value): (Option<FieldId>, ValueRef<'_>),
        scratch: &mut Scratch,
        tell: &mut dyn FnMut(u32),
    ) {
        let scans = self.scans_of(choice, field);
        match value {
            ValueRef::Text(text) => self.find_in_text(choice, scans, text, scratch, tell),
            ValueRef::List(list) => list.texts().for_each(|text| self.find_in_text(choice, scans, text, scratch, tell)),
            // Numbers are no texts that a search for anything looks at.
            ValueRef::Uint(number) => self.find_in_number(choice, scans, Datum::Uint(number), scratch, tell),
            ValueRef::Int(number) => self.find_in_number(choice, scans, Datum::Int(number), scratch, tell),
            ValueRef::Bool(truth) => self.find_in_number(choice, scans, Datum::Bool(truth), scratch, tell),
        }
    }

    fn find_in_text(
        &self,
        choice: &Choice,
        scans: Scans<'_>,
        text: TextRef<'_>,
        scratch: &mut Scratch,
        tell: &mut dyn FnMut(u32),
    ) {
        if scans.0.is_none() && scans.1.is_none() {
            return;
        }
        let string = text.number.filter(|_| scratch.is_batch);
        let numbers = numbers(scans);
        if let Some(triggers) = string.and_then(|string| scratch.dictionary.find(numbers, string)) {
            return self.tell_chosen(choice, triggers, tell);
        }
        self.look_into(scans, Datum::Text(text.bytes), string, scratch);
        string.into_iter().for_each(|string| scratch.dictionary.keep(numbers, string, &scratch.told));
        self.tell_chosen(choice, &scratch.told, tell);
    }

    fn find_in_number(
        &self,
        choice: &Choice,
        scans: Scans<'_>,
        datum: Datum<'_>,
        scratch: &mut Scratch,
        tell: &mut dyn FnMut(u32),
    ) {
        if scans.0.is_some() {
            self.look_into((scans.0, None), datum, None, scratch);
            self.tell_chosen(choice, &scratch.told, tell);
        }
    }

    /// Writes down the triggers that stand in a value.
    fn look_into(&self, scans: Scans<'_>, datum: Datum<'_>, string: Option<u32>, scratch: &mut Scratch) {
        let form = scratch.forms.of_value(datum, string);
        let Scratch { forms, told, .. } = scratch;
        told.clear();
        for scan in [scans.0, scans.1].into_iter().flatten() {
            scan.run(forms, form, &mut |trigger| told.push(trigger));
        }
        told.dedup();
    }
}
