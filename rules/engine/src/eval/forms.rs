//! The values of one frame in the form in which case does not matter. Each value is brought into it at most once, and
//! only when something looks at it.

use super::fold::push_folded;
use super::frame::{Datum, Frame};
use super::numbered::Numbered;
use super::subject::unmapped;

/// Folded values of one frame; memory is kept from frame to frame.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    /// Of which frame they are; frames are numbered.
    stamp: u64,
    text: Vec<u8>,
    /// By place in the frame.
    known: Vec<Form>,
    /// Which pairs of bytes stand in long values that were asked for often.
    pairs: Vec<PairSet>,
    /// How many of them are in use.
    used: usize,
    /// Forms of the strings of the batch in hand.
    numbered: Numbered<Form>,
    /// Frames are of one batch: `text` is kept from frame to frame.
    is_batch: bool,
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
    /// How often somebody asked whether a text stands in it, and then its place in `pairs`, from [`OFTEN`].
    asked: u32,
}

/// Values of at least so many bytes are long.
const LONG: usize = 192;
/// Questions after which the pairs of a long value are written down.
const OFTEN: u32 = 4;

/// Two bytes that stand side by side, each pair as one of 4,096 bits.
#[derive(Debug, Clone)]
struct PairSet([u64; 64]);

impl PairSet {
    #[inline]
    fn place(pair: [u8; 2]) -> usize {
        (u32::from(u16::from_le_bytes(pair)).wrapping_mul(0x9e37_79b1) >> 20) as usize
    }

    fn fill(&mut self, value: &[u8]) {
        self.0.fill(0);
        for pair in value.array_windows::<2>() {
            let place = Self::place(*pair);
            self.0[place / 64] |= 1 << (place % 64);
        }
    }

    fn may_have(&self, text: &[u8]) -> bool {
        text.array_windows::<2>().all(|pair| {
            let place = Self::place(*pair);
            self.0[place / 64] >> (place % 64) & 1 == 1
        })
    }
}

/// Memory for folded text that is kept from batch to batch.
const KEPT: usize = 1 << 22;
/// Folded text of one batch, twice what its strings can be; then it begins anew.
const MAX_TEXT: usize = 1 << 24;

impl Forms {
    /// Gets ready for frames of one batch, whose strings have at most so many bytes, or for frames of none.
    pub(crate) fn begin_batch(&mut self, is_batch: bool, size: usize) {
        self.numbered.begin();
        self.is_batch = is_batch;
        self.stamp = 0;
        self.text.clear();
        self.text.shrink_to(KEPT);
        if self.text.capacity() < size.min(KEPT) {
            // Nothing of what it held is worth a copy.
            self.text = Vec::with_capacity(size.min(KEPT));
        }
    }

    /// Gets ready for a frame; what is known of the same one is kept. True when it is another one.
    pub(crate) fn begin(&mut self, frame: &Frame<'_>) -> bool {
        let is_new = self.stamp != frame.stamp() || frame.stamp() == 0 || self.known.len() != frame.len();
        if is_new {
            self.make_room();
            self.stamp = frame.stamp();
            self.known.clear();
            self.used = 0;
        }
        self.known.resize(frame.len(), Form::default());
        is_new
    }

    /// The form of the value at this place.
    pub(crate) fn of(&mut self, frame: &Frame<'_>, place: usize) -> Form {
        match self.known.get(place) {
            Some(form) if form.is_known => *form,
            _ => self.find(frame, place),
        }
    }

    /// The form of a value before there is a frame; it stands until there is one. `string` is its number in the batch.
    pub(crate) fn of_value(&mut self, datum: Datum<'_>, string: Option<u32>) -> Form {
        self.make_room();
        self.stamp = 0;
        self.find_string(datum, string)
    }

    fn find_string(&mut self, datum: Datum<'_>, string: Option<u32>) -> Form {
        let string = string.filter(|_| self.is_batch);
        string.and_then(|string| self.numbered.get(string)).unwrap_or_else(|| {
            let form = self.make(datum);
            string.into_iter().for_each(|string| self.numbered.put(string, form));
            form
        })
    }

    /// Makes room for more text, when no form is in use.
    fn make_room(&mut self) {
        if !self.is_batch {
            self.text.clear();
        } else if self.text.len() > MAX_TEXT {
            self.text.clear();
            self.numbered.begin();
        }
    }

    fn find(&mut self, frame: &Frame<'_>, place: usize) -> Form {
        let form = self.find_string(frame.at(place), frame.number(place));
        if let Some(known) = self.known.get_mut(place) {
            *known = form;
        }
        form
    }

    fn make(&mut self, datum: Datum<'_>) -> Form {
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

    /// Whether a text can stand in the value at this place: soon known of long values that many rules ask about.
    pub(crate) fn may_have(&mut self, place: usize, text: &str) -> bool {
        let Some(form) = self.known.get_mut(place) else { return true };
        let length = (form.end - form.start) as usize;
        if length < LONG || form.other.1 > 0 {
            return true;
        }
        if form.asked < OFTEN {
            form.asked += 1;
            if form.asked < OFTEN {
                return true;
            }
            form.asked += self.used as u32;
            let value = form.start as usize..form.end as usize;
            if self.used == self.pairs.len() {
                self.pairs.push(PairSet([0; 64]));
            }
            self.pairs[self.used].fill(&self.text[value]);
            self.used += 1;
        }
        self.pairs[(form.asked - OFTEN) as usize].may_have(text.as_bytes())
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
