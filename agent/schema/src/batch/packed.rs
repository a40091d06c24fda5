//! A body as it was sent: every string once, events as numbers. Checked whole when it is opened, so that reading events
//! cannot fail: the bytes come from a host that may be hostile, even though its signature holds.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::{HostInfo, Record};
use crate::event::{Event, Logsource, Text, Value};
use crate::fields::{Field, Kind};

/// An opened batch.
#[derive(Debug, Clone)]
pub struct Packed {
    /// What the host says of itself.
    pub host: HostInfo,
    pub(super) raw: Vec<u8>,
    pub(super) strings: Vec<Piece>,
    pub(super) lists: Vec<List>,
    /// Strings of all lists, one list after the other.
    pub(super) listed: Vec<u32>,
    pub(super) shapes: Vec<Shape>,
    pub(super) rows: Vec<Row>,
    pub(super) values: Vec<u64>,
    /// Records that are no events.
    pub(super) others: Vec<Record>,
}

/// One string of the dictionary.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Made when an event is first unpacked that names it, then shared.
    text: OnceLock<Text>,
}

impl Piece {
    pub(super) fn new(start: u32, end: u32) -> Self {
        Self { start, end, text: OnceLock::new() }
    }

    pub(super) fn len(&self) -> usize {
        (self.end - self.start) as usize
    }
}

/// One list of the dictionary.
#[derive(Debug, Clone)]
pub(super) struct List {
    /// Its strings, in `listed`.
    start: u32,
    end: u32,
    /// Bytes of them all.
    pub(super) bytes: usize,
    texts: OnceLock<Arc<[Text]>>,
}

impl List {
    pub(super) fn new(places: Range<usize>, bytes: usize) -> Self {
        Self { start: places.start as u32, end: places.end as u32, bytes, texts: OnceLock::new() }
    }
}

/// What events of one shape have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Where they come from.
    pub logsource: Logsource,
    pub(super) replayed: bool,
    /// Their fields, those of the table first and in the order of their numbers.
    pub columns: Vec<Column>,
    /// By field number: place in `columns`, from 1.
    pub(super) places: Vec<u8>,
}

/// One field of a shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Which.
    pub name: ColumnName,
    /// What its values are.
    pub kind: Kind,
}

/// By what a column is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnName {
    /// A field of the table.
    Known(Field),
    /// One beyond it.
    Extra(Arc<str>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) shape: u32,
    /// Its first value.
    pub(super) values: u32,
    pub(super) seq: u64,
    pub(super) ts: i64,
}

/// A borrowed value.
#[derive(Debug, Clone, Copy)]
pub enum ValueRef<'a> {
    /// Bytes.
    Text(TextRef<'a>),
    /// Unsigned.
    Uint(u64),
    /// Signed.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// A list of texts.
    List(ListRef<'a>),
}

/// Borrowed bytes, and which string of the batch they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextRef<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Number of the string in its batch; none for text that comes from elsewhere.
    pub number: Option<u32>,
}

/// A borrowed list of texts.
#[derive(Debug, Clone, Copy)]
pub enum ListRef<'a> {
    /// Of an event.
    Shared(&'a [Text]),
    /// Of a batch.
    Packed(&'a Packed, &'a [u32]),
}

impl<'a> ListRef<'a> {
    /// How many texts it has.
    pub fn len(self) -> usize {
        match self {
            Self::Shared(texts) => texts.len(),
            Self::Packed(_, numbers) => numbers.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The text at a place.
    pub fn get(self, place: usize) -> Option<TextRef<'a>> {
        match self {
            Self::Shared(texts) => Some(TextRef { bytes: texts.get(place)?, number: None }),
            Self::Packed(packed, numbers) => Some(packed.text(*numbers.get(place)?)),
        }
    }

    /// Number of the text at a place in its batch; none for texts that come from elsewhere.
    #[inline]
    pub fn number(self, place: usize) -> Option<u32> {
        match self {
            Self::Shared(_) => None,
            Self::Packed(_, numbers) => numbers.get(place).copied(),
        }
    }

    /// Its texts.
    pub fn texts(self) -> impl Iterator<Item = TextRef<'a>> {
        (0..self.len()).filter_map(move |place| self.get(place))
    }
}

impl<'a> From<&'a Value> for ValueRef<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Text(bytes) => Self::Text(TextRef { bytes, number: None }),
            Value::Uint(number) => Self::Uint(*number),
            Value::Int(number) => Self::Int(*number),
            Value::Bool(truth) => Self::Bool(*truth),
            Value::List(list) => Self::List(ListRef::Shared(list)),
        }
    }
}

impl Packed {
    /// Its events, in the order of their numbers.
    pub fn events(&self) -> impl ExactSizeIterator<Item = EventRef<'_>> {
        self.rows.iter().map(|row| EventRef { packed: self, row })
    }

    /// Its records that are no events.
    pub fn others(&self) -> &[Record] {
        &self.others
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.rows.len() + self.others.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The shapes of its events.
    pub fn shapes(&self) -> &[Shape] {
        &self.shapes
    }

    /// How many strings it has; they are numbered from 0.
    pub fn strings(&self) -> usize {
        self.strings.len()
    }

    /// All records, by number, events unpacked.
    pub fn records(&self) -> Vec<Record> {
        let mut records: Vec<Record> = self.events().map(|event| Record::Event(event.unpack())).collect();
        records.extend(self.others.iter().cloned());
        records.sort_by_key(Record::seq);
        records
    }

    pub(super) fn text(&self, number: u32) -> TextRef<'_> {
        let piece = &self.strings[number as usize];
        TextRef { bytes: &self.raw[piece.start as usize..piece.end as usize], number: Some(number) }
    }

    fn strings_of(&self, list: &List) -> &[u32] {
        &self.listed[list.start as usize..list.end as usize]
    }

    /// How many bytes it has, its texts and all that is said of them.
    pub fn size(&self) -> usize {
        self.raw.len()
    }

    /// The string as something that events share.
    pub(super) fn shared(&self, number: u32) -> Text {
        let make = || Text::from(self.text(number).bytes);
        self.strings[number as usize].text.get_or_init(make).clone()
    }
}

/// One event of a batch.
#[derive(Debug, Clone, Copy)]
pub struct EventRef<'a> {
    packed: &'a Packed,
    row: &'a Row,
}

impl<'a> EventRef<'a> {
    /// Number of its shape.
    pub fn shape_number(self) -> usize {
        self.row.shape as usize
    }

    /// Its shape.
    pub fn shape(self) -> &'a Shape {
        &self.packed.shapes[self.shape_number()]
    }

    /// Number in its stream.
    pub fn seq(self) -> u64 {
        self.row.seq
    }

    /// Its values as they were sent, by column: numbers, and which string or list of its batch it is.
    #[inline]
    pub fn numbers(self) -> &'a [u64] {
        &self.packed.values[self.row.values as usize..][..self.shape().columns.len()]
    }

    /// The value of a column of its shape.
    #[inline]
    pub fn value(self, column: usize) -> ValueRef<'a> {
        let value = self.packed.values[self.row.values as usize + column];
        match self.shape().columns[column].kind {
            Kind::Text => ValueRef::Text(self.packed.text(value as u32)),
            Kind::Uint => ValueRef::Uint(value),
            Kind::Int => ValueRef::Int(signed(value)),
            Kind::Bool => ValueRef::Bool(value != 0),
            Kind::List => {
                ValueRef::List(ListRef::Packed(self.packed, self.packed.strings_of(&self.packed.lists[value as usize])))
            }
        }
    }

    /// The value of a field of the table.
    #[inline]
    pub fn get(self, field: Field) -> Option<ValueRef<'a>> {
        let place = *self.shape().places.get(usize::from(field.0))?;
        Some(self.value(usize::from(place.checked_sub(1)?)))
    }

    /// The event by itself.
    pub fn unpack(self) -> Event {
        let shape = self.shape();
        let (mut fields, mut extra) = (Vec::with_capacity(shape.columns.len()), Vec::new());
        for (at, column) in shape.columns.iter().enumerate() {
            let value = self.owned(at, column.kind);
            match &column.name {
                ColumnName::Known(field) => fields.push((*field, value)),
                ColumnName::Extra(name) => extra.push((name.clone(), value)),
            }
        }
        Event::from_sorted(self.row.seq, self.row.ts, shape.logsource.clone(), shape.replayed, fields, extra)
    }

    fn owned(self, column: usize, kind: Kind) -> Value {
        let value = self.packed.values[self.row.values as usize + column];
        match kind {
            Kind::Text => Value::Text(self.packed.shared(value as u32)),
            Kind::Uint => Value::Uint(value),
            Kind::Int => Value::Int(signed(value)),
            Kind::Bool => Value::Bool(value != 0),
            Kind::List => {
                let list = &self.packed.lists[value as usize];
                let make = || self.packed.strings_of(list).iter().map(|number| self.packed.shared(*number)).collect();
                Value::List(list.texts.get_or_init(make).clone())
            }
        }
    }
}

/// Zigzag (Protocol Buffers, "Signed Integers").
pub(super) fn signed(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}
