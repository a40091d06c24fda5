//! Whether no rule can match an event, asked before there is a frame: most events have nothing that a rule is chosen by,
//! and what is found in the strings of a batch is known after the first event that names them.

use beffroi_schema::batch::{TextRef, ValueRef};

use super::frame::Datum;
use super::judge::{Choice, Judge, Scans, numbers};
use super::memo::{Key, Kind};
use super::names::FieldId;
use super::scratch::Scratch;

impl Judge {
    /// Whether something is looked for in values of this field.
    pub(crate) fn reads(&self, choice: &Choice, field: Option<FieldId>) -> bool {
        let scans = self.scans_of(choice, field);
        scans.0.is_some() || scans.1.is_some()
    }

    /// Whether a value of this field is none that one of the chosen rules is chosen by. When none of an event's values is,
    /// and no rule is always looked at, none matches.
    pub(crate) fn is_silent_on(
        &self,
        choice: &Choice,
        (field, value): (Option<FieldId>, ValueRef<'_>),
        scratch: &mut Scratch,
    ) -> bool {
        let scans = self.scans_of(choice, field);
        match value {
            ValueRef::Text(text) => self.is_silent_in(choice, scans, text, scratch),
            ValueRef::List(list) => list.texts().all(|text| self.is_silent_in(choice, scans, text, scratch)),
            // Numbers are no texts that a search for anything looks at.
            _ if scans.0.is_none() => true,
            ValueRef::Uint(number) => self.is_silent_at(choice, scans, Datum::Uint(number), number, scratch),
            ValueRef::Int(number) => self.is_silent_at(choice, scans, Datum::Int(number), number as u64, scratch),
            ValueRef::Bool(truth) => self.is_silent_at(choice, scans, Datum::Bool(truth), u64::from(truth), scratch),
        }
    }

    fn is_silent_in(&self, choice: &Choice, scans: Scans<'_>, text: TextRef<'_>, scratch: &mut Scratch) -> bool {
        if scans.0.is_none() && scans.1.is_none() {
            return true;
        }
        let Some(string) = text.number.filter(|_| scratch.is_batch) else {
            let key = Key::of(numbers(scans), text.bytes, Kind::Text);
            return self.is_silent_by(choice, scans, (key, text.bytes), Datum::Text(text.bytes), scratch);
        };
        let row = scratch.dictionary.row(numbers(scans));
        if let Some(triggers) = row.and_then(|row| scratch.dictionary.find(row, string)) {
            return self.is_silent_about(choice, triggers);
        }
        self.tell(scans, Datum::Text(text.bytes), Some(string), scratch);
        row.into_iter().for_each(|row| scratch.dictionary.keep(row, string, &scratch.told));
        self.is_silent_about(choice, &scratch.told)
    }

    fn is_silent_at(&self, choice: &Choice, scans: Scans<'_>, datum: Datum<'_>, number: u64, scratch: &mut Scratch) -> bool {
        let digits = number.to_le_bytes();
        let kind = match datum {
            Datum::Uint(_) => Kind::Unsigned,
            Datum::Bool(_) => Kind::Truth,
            _ => Kind::Number,
        };
        let scans = (scans.0, None);
        self.is_silent_by(choice, scans, (Key::of(numbers(scans), &digits, kind), &digits), datum, scratch)
    }

    /// The same with what is known of values of any origin.
    fn is_silent_by(
        &self,
        choice: &Choice,
        scans: Scans<'_>,
        (key, bytes): (Option<Key>, &[u8]),
        datum: Datum<'_>,
        scratch: &mut Scratch,
    ) -> bool {
        if let Some(triggers) = key.and_then(|key| scratch.memo.find(key, bytes)) {
            return self.is_silent_about(choice, triggers);
        }
        self.tell(scans, datum, None, scratch);
        key.into_iter().for_each(|key| scratch.memo.keep(key, bytes, &scratch.told));
        self.is_silent_about(choice, &scratch.told)
    }

    /// Writes down the triggers that stand in a value.
    fn tell(&self, scans: Scans<'_>, datum: Datum<'_>, string: Option<u32>, scratch: &mut Scratch) {
        let form = scratch.forms.of_value(datum, string);
        let Scratch { forms, told, .. } = scratch;
        told.clear();
        for scan in [scans.0, scans.1].into_iter().flatten() {
            scan.run(forms, form, &mut |trigger| told.push(trigger));
        }
        told.dedup();
    }
}
