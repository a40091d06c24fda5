//! The values of one frame in the form in which case does not matter. Each value is brought into it at most once, and
//! only when something looks at it.

use super::fold::push_folded;
use super::frame::{Datum, Frame};
use super::subject::unmapped;

/// Folded values of one frame; memory is kept from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    /// Of which frame they are; frames are numbered.
    stamp: u64,
    text: Vec<u8>,
    /// By place in the frame.
    known: Vec<Form>,
}

/// Where a folded value stands.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Form {
    is_known: bool,
    /// The value says nothing.
    pub(crate) is_null: bool,
    /// It is ASCII, so folding changed no length and no meaning.
    pub(crate) is_ascii: bool,
    start: u32,
    end: u32,
    /// The other notation of an address; empty when there is none.
    other: (u32, u32),
}

impl Forms {
    /// Gets ready for a frame; what is known of the same one is kept. True when it is another one.
    pub(crate) fn begin(&mut self, frame: &Frame<'_>) -> bool {
        let is_new = self.stamp != frame.stamp() || frame.stamp() == 0 || self.known.len() != frame.len();
        if is_new {
            self.stamp = frame.stamp();
            self.text.clear();
            self.known.clear();
        }
        self.known.resize(frame.len(), Form::default());
        is_new
    }

    /// The form of the value at this place.
    pub(crate) fn of(&mut self, frame: &Frame<'_>, place: usize) -> Form {
        match self.known.get(place) {
            Some(form) if form.is_known => *form,
            _ => self.make(frame.at(place), place),
        }
    }

    fn make(&mut self, datum: Datum<'_>, place: usize) -> Form {
        let mut form = Form { is_known: true, is_ascii: true, start: self.text.len() as u32, ..Form::default() };
        match datum {
            Datum::Null => form.is_null = true,
            Datum::Text(bytes) => form.is_ascii = push_folded(bytes, false, &mut self.text),
            Datum::Escaped(bytes) => form.is_ascii = push_folded(bytes, true, &mut self.text),
            Datum::Uint(number) => self.push_digits(number),
            Datum::Int(number) if number >= 0 => self.push_digits(number.unsigned_abs()),
            other => self.text.extend_from_slice(other.text().as_bytes()),
        }
        form.end = self.text.len() as u32;
        if datum.is_text()
            && let Some(other) = unmapped(&self.text[form.start as usize..])
        {
            self.text.extend_from_slice(other.as_bytes());
            form.other = (form.end, self.text.len() as u32);
        }
        if let Some(known) = self.known.get_mut(place) {
            *known = form;
        }
        form
    }

    fn push_digits(&mut self, mut number: u64) {
        let mut digits = [b'0'; 20];
        let mut first = digits.len() - 1;
        loop {
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                break;
            }
            first -= 1;
        }
        self.text.extend_from_slice(&digits[first..]);
    }

    /// The folded value, UTF-8.
    pub(crate) fn folded(&self, form: Form) -> &[u8] {
        &self.text[form.start as usize..form.end as usize]
    }

    /// The folded value in the other notation of an address.
    pub(crate) fn other(&self, form: Form) -> Option<&[u8]> {
        (form.other.1 > 0).then(|| &self.text[form.other.0 as usize..form.other.1 as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::super::names::Names;
    use super::*;

    #[test]
    fn a_value_is_folded_once_for_each_frame() {
        let mut names = Names::default();
        let field = names.intern("a");
        let mut frame = Frame::new(&names);
        frame.push(Some(field), Datum::Text("\u{c9}T\u{c9}".as_bytes()));
        frame.push(Some(field), Datum::Uint(1_234_567_890));
        frame.push(None, Datum::Text(b"::FFFF:10.0.0.1"));
        let mut forms = Forms::default();
        forms.begin(&frame);
        let form = forms.of(&frame, 0);
        assert_eq!((forms.folded(form), form.is_ascii), ("\u{e9}t\u{e9}".as_bytes(), false));
        let form = forms.of(&frame, 1);
        assert_eq!(forms.folded(form), b"1234567890");
        let form = forms.of(&frame, 2);
        assert_eq!((forms.folded(form), forms.other(form)), (&b"::ffff:10.0.0.1"[..], Some(&b"10.0.0.1"[..])));
        let mut frame = frame.recycle_for(&names);
        frame.push(Some(field), Datum::Int(-7));
        forms.begin(&frame);
        let form = forms.of(&frame, 0);
        assert_eq!((forms.folded(form), forms.other(form)), (&b"-7"[..], None));
    }
}
