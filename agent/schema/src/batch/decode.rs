//! Reading a body: decompression and decoding within limits. Every index, count and kind is checked: the bytes come
//! from a host that may be hostile, even though its signature holds.

use std::sync::Arc;

use prost::Message;

use super::others::{gap_in, heartbeat_in, host_in, seq_in, start_in};
use super::packed::{Column, ColumnName, List, Packed, Piece, Row, Shape, signed};
use super::reader::{MAX_VARINT, Member, Reader, malformed};
use super::sealed::{Envelope, announced, check_record_count, limit};
use super::{BatchError, Gap, Header, HostInfo, Record};
use crate::event::{Category, Logsource, Product, Text};
use crate::fields::{FIRST_EXTRA, Field, Kind};
use crate::limits::{MAX_EXPANDED_BYTES, MAX_FIELDS, MAX_LIST, MAX_LISTS, MAX_RECORDS, MAX_TEXT_BYTES, MAX_VALUES};
use crate::proto;

/// What a batch holds.
#[derive(Debug, Clone)]
pub struct Contents {
    /// What the host says of itself.
    pub host: HostInfo,
    /// Its records, by number.
    pub records: Vec<Record>,
}

impl Envelope {
    /// Decompresses and decodes, and makes every event stand by itself. Call [`Envelope::verify`] first.
    ///
    /// # Errors
    /// [`BatchError`] `Compression`, `Malformed`, `TooLarge`, `Record` or `Numbers`.
    pub fn decode(&self) -> Result<Contents, BatchError> {
        let packed = self.open()?;
        let records = packed.records();
        Ok(Contents { host: packed.host, records })
    }

    /// Decompresses and checks, and leaves the events as they were sent. Call [`Envelope::verify`] first.
    ///
    /// # Errors
    /// [`BatchError`] `Compression`, `Malformed`, `TooLarge`, `Record` or `Numbers`.
    pub fn open(&self) -> Result<Packed, BatchError> {
        let raw = decompress(&self.header, &self.body)?;
        let mut parts = Parts::of(&raw)?;
        parts.check()?;
        let mut opener = Opener::new(&raw, &mut parts)?;
        opener.add_events(self.header.first, &parts)?;
        let others = parts.others(self.header.first)?;
        let Opener { strings, lists, listed, shapes, rows, values, .. } = opener;
        let host = parts.host()?;
        let packed = Packed { host, strings, lists, listed, shapes, rows, values, others, raw };
        check_numbers(&self.header, &packed)?;
        Ok(packed)
    }
}

fn decompress(header: &Header, body: &[u8]) -> Result<Vec<u8>, BatchError> {
    let size = header.raw_size as usize;
    let wrong = |why: String| BatchError::Compression { raw_size: header.raw_size, why };
    // `decompress` allocates the capacity given here and stops there: a bomb costs no more than it announced.
    let raw = zstd::bulk::decompress(body, size).map_err(|error| wrong(error.to_string()))?;
    if raw.len() == size { Ok(raw) } else { Err(wrong(format!("it has {} bytes", raw.len()))) }
}

fn check_numbers(header: &Header, packed: &Packed) -> Result<(), BatchError> {
    let count = packed.rows.len() + packed.others.len();
    let wrong = || BatchError::Numbers { got: count as u64, expected: announced(header), first: header.first, last: header.last };
    if let ([], [Record::Gap(Gap { evicted: Some(evicted), .. })]) = (&packed.rows[..], &packed.others[..]) {
        return if (evicted.first, evicted.last) == (header.first, header.last) { Ok(()) } else { Err(wrong()) };
    }
    if count as u64 != announced(header) {
        return Err(wrong());
    }
    // Rows are in the order of their numbers; the others are few.
    let mut others: Vec<u64> = packed.others.iter().map(Record::seq).collect();
    others.sort_unstable();
    let (mut rows, mut others) = (packed.rows.iter().map(|row| row.seq).peekable(), others.into_iter().peekable());
    let mut is_next = |number: u64| rows.next_if_eq(&number).or_else(|| others.next_if_eq(&number)).is_some();
    if (header.first..=header.last).all(&mut is_next) { Ok(()) } else { Err(wrong()) }
}

/// The members of a body, where they stand (see `batch.proto`, message `Body`).
#[derive(Default)]
struct Parts<'a> {
    strings: Vec<Piece>,
    lists: Vec<&'a [u8]>,
    shapes: Vec<&'a [u8]>,
    names: Vec<&'a [u8]>,
    host: Option<&'a [u8]>,
    events: Vec<&'a [u8]>,
    gaps: Vec<&'a [u8]>,
    epoch_starts: Vec<&'a [u8]>,
    heartbeats: Vec<&'a [u8]>,
}

/// Bytes of a body for each string, roughly; few bodies have less.
const BYTES_A_STRING: usize = 32;
/// Bytes of an event for each value, roughly.
const BYTES_A_VALUE: usize = 2;

impl<'a> Parts<'a> {
    fn of(raw: &'a [u8]) -> Result<Self, BatchError> {
        // Most of a body are strings, so that the list of them seldom grows.
        let strings = Vec::with_capacity((raw.len() / BYTES_A_STRING).min(MAX_VALUES));
        let (mut parts, mut reader) = (Self { strings, ..Self::default() }, Reader::new(raw));
        loop {
            while let Some(string) = reader.short(1) {
                let end = (raw.len() - reader.left()) as u32;
                parts.strings.push(Piece::new(end - string.len() as u32, end));
            }
            let Some((number, member)) = reader.member()? else { return Ok(parts) };
            let Member::Bytes(bytes) = member else {
                // Members of a later version may be of any kind, those of this one are not.
                if number <= 9 {
                    return Err(malformed(&format!("member {number} of the body is no message")));
                }
                continue;
            };
            match number {
                1 => {
                    limit("one string", bytes.len(), MAX_TEXT_BYTES)?;
                    let end = raw.len() - reader.left();
                    parts.strings.push(Piece::new((end - bytes.len()) as u32, end as u32));
                }
                2 => parts.lists.push(bytes),
                3 => parts.shapes.push(bytes),
                4 => parts.names.push(bytes),
                5 => parts.host = Some(bytes),
                6 => parts.events.push(bytes),
                7 => parts.gaps.push(bytes),
                8 => parts.epoch_starts.push(bytes),
                9 => parts.heartbeats.push(bytes),
                _ => {}
            }
        }
    }

    /// Counts that bound the memory of what is made of them.
    fn check(&self) -> Result<(), BatchError> {
        check_record_count(self.records())?;
        limit("the strings of the batch", self.strings.len(), MAX_VALUES)?;
        limit("the lists of the batch", self.lists.len(), MAX_LISTS)?;
        limit("the shapes of the batch", self.shapes.len(), MAX_RECORDS)?;
        limit("the names of a batch", self.names.len(), MAX_FIELDS * MAX_FIELDS)
    }

    fn records(&self) -> usize {
        self.events.len() + self.gaps.len() + self.epoch_starts.len() + self.heartbeats.len()
    }

    fn host(&self) -> Result<HostInfo, BatchError> {
        self.host.map(|host| message::<proto::Host>(host).map(host_in)).transpose().map(Option::unwrap_or_default)
    }

    /// The records that are no events.
    fn others(&self, first: u64) -> Result<Vec<Record>, BatchError> {
        let mut records = Vec::new();
        for (index, gap) in self.gaps.iter().enumerate() {
            records.push(Record::Gap(gap_in(message(gap)?, first, index)?));
        }
        for (index, start) in self.epoch_starts.iter().enumerate() {
            records.push(Record::EpochStart(start_in(message(start)?, first, index)?));
        }
        for (index, heartbeat) in self.heartbeats.iter().enumerate() {
            records.push(Record::Heartbeat(heartbeat_in(message(heartbeat)?, first, index)?));
        }
        Ok(records)
    }
}

/// Bytes of messages.
fn size(messages: &[&[u8]]) -> usize {
    messages.iter().map(|message| message.len()).sum()
}

fn message<M: Message + Default>(bytes: &[u8]) -> Result<M, BatchError> {
    M::decode(bytes).map_err(|error| BatchError::Malformed(error.to_string()))
}

/// Makes a [`Packed`] piece by piece.
struct Opener {
    strings: Vec<Piece>,
    lists: Vec<List>,
    shapes: Vec<Shape>,
    rows: Vec<Row>,
    values: Vec<u64>,
    /// Strings of all lists.
    listed: Vec<u32>,
    /// Numbers of the list in hand.
    numbers: Vec<u64>,
    /// Fields of all shapes.
    fields: usize,
    /// By shape.
    bounds: Vec<Bounds>,
    /// Text of all values so far, counted as often as it is named, is not more than this.
    most: usize,
}

/// What values of events of one shape can be.
struct Bounds {
    /// By column: what all numbers are below, or nearly all where any will do.
    ends: Vec<u64>,
    /// Columns of strings and of lists.
    strings: Vec<usize>,
    lists: Vec<usize>,
    /// Text of an event is not more than this.
    most: usize,
}

impl Opener {
    fn new(raw: &[u8], parts: &mut Parts<'_>) -> Result<Self, BatchError> {
        let mut opener = Self {
            strings: std::mem::take(&mut parts.strings),
            lists: Vec::with_capacity(parts.lists.len()),
            shapes: Vec::with_capacity(parts.shapes.len()),
            rows: Vec::with_capacity(parts.events.len()),
            values: Vec::with_capacity((size(&parts.events) / BYTES_A_VALUE).min(MAX_VALUES)),
            listed: Vec::with_capacity(size(&parts.lists).min(MAX_VALUES)),
            numbers: Vec::new(),
            fields: 0,
            bounds: Vec::with_capacity(parts.shapes.len()),
            most: 0,
        };
        for (index, list) in parts.lists.iter().enumerate() {
            let list = opener.list(list, index)?;
            opener.lists.push(list);
        }
        let names = names_in(&parts.names)?;
        for (index, shape) in parts.shapes.iter().enumerate() {
            let shape = opener.shape(raw, &message(shape)?, &names, index)?;
            opener.shapes.push(shape);
        }
        opener.add_bounds();
        Ok(opener)
    }

    fn list(&mut self, list: &[u8], index: usize) -> Result<List, BatchError> {
        let (mut reader, mut numbers) = (Reader::new(list), std::mem::take(&mut self.numbers));
        numbers.clear();
        while let Some(member) = reader.member()? {
            match member {
                (1, Member::Number(number)) => numbers.push(number),
                (1, Member::Bytes(packed)) => {
                    limit("one list", packed.len() / MAX_VARINT, MAX_LIST)?;
                    Reader::new(packed).numbers(&mut numbers)?;
                }
                (1, _) => return Err(malformed("a string of a list is of another kind")),
                _ => {}
            }
        }
        limit("one list", numbers.len(), MAX_LIST)?;
        limit("values of the batch", self.listed.len() + numbers.len(), MAX_VALUES)?;
        let (start, mut bytes) = (self.listed.len(), 0);
        for number in &numbers {
            bytes += self.string(*number, index)?.len();
            self.listed.push(*number as u32);
        }
        self.numbers = numbers;
        Ok(List::new(start..self.listed.len(), bytes))
    }

    fn shape(&mut self, raw: &[u8], shape: &proto::Shape, names: &Names, index: usize) -> Result<Shape, BatchError> {
        limit("the fields of one event", shape.fields.len(), MAX_FIELDS)?;
        self.fields += shape.fields.len();
        limit("values of the batch", self.listed.len() + self.fields, MAX_VALUES)?;
        let service = match shape.service {
            0 => None,
            number => {
                let piece = self.string(u64::from(number) - 1, index)?;
                Some(Text::from(&raw[piece.start as usize..piece.end as usize]))
            }
        };
        let logsource =
            Logsource { category: Category::from_number(shape.category), product: Product::from_number(shape.product), service };
        let wrong = |why: String| BatchError::Record { index, why };
        let (mut columns, mut places, mut latest) = (Vec::with_capacity(shape.fields.len()), Vec::new(), 0);
        for number in &shape.fields {
            let Some((field, kind)) = known(*number) else {
                let at = names.binary_search_by_key(number, |(known, ..)| *known);
                let (_, name, kind) = &names[at.map_err(|_| wrong(format!("field {number} has no name")))?];
                columns.push(Column { name: ColumnName::Extra(name.clone()), kind: *kind });
                continue;
            };
            if field.0 <= latest {
                return Err(wrong("fields are not in the order of their numbers".into()));
            }
            latest = field.0;
            columns.push(Column { name: ColumnName::Known(field), kind });
            places.resize(usize::from(field.0) + 1, 0);
            // At most MAX_FIELDS columns: their places fit one byte.
            places[usize::from(field.0)] = columns.len() as u8;
        }
        Ok(Shape { logsource, replayed: shape.replayed, columns, places })
    }

    fn add_events(&mut self, first: u64, parts: &Parts<'_>) -> Result<(), BatchError> {
        let mut ts = 0i64;
        for (index, event) in parts.events.iter().enumerate() {
            let mut row = Row { shape: 0, values: self.values.len() as u32, seq: 0, ts: 0 };
            let mut reader = Reader::new(event);
            while let Some(member) = reader.member()? {
                match member {
                    (1, Member::Number(number)) => row.shape = u32::try_from(number).unwrap_or(u32::MAX),
                    (2, Member::Number(distance)) => row.seq = distance,
                    (3, Member::Number(number)) => row.ts = signed(number),
                    (4, Member::Bytes(packed)) => {
                        limit("the fields of one event", packed.len() / MAX_VARINT, MAX_FIELDS)?;
                        Reader::new(packed).numbers(&mut self.values)?;
                    }
                    (4, Member::Number(number)) => self.values.push(number),
                    (1..=4, _) => return Err(malformed("a member of an event is of another kind")),
                    _ => {}
                }
            }
            limit("values of the batch", self.values.len() + self.listed.len() + self.fields, MAX_VALUES)?;
            ts = ts.wrapping_add(row.ts);
            self.check(&row, index)?;
            self.rows.push(Row { seq: seq_in(first, row.seq, index)?, ts, ..row });
        }
        if !self.rows.is_sorted_by_key(|row| row.seq) {
            self.rows.sort_by_key(|row| row.seq);
        }
        self.check_expanded()
    }

    fn add_bounds(&mut self) {
        let string = self.strings.iter().map(Piece::len).max().unwrap_or(0);
        let list = self.lists.iter().map(|list| list.bytes).max().unwrap_or(0);
        for shape in &self.shapes {
            let end = |column: &Column| match column.kind {
                Kind::Text => self.strings.len() as u64,
                Kind::List => self.lists.len() as u64,
                Kind::Uint | Kind::Int | Kind::Bool => u64::MAX,
            };
            let of = |kind| (0..shape.columns.len()).filter(move |column| shape.columns[*column].kind == kind);
            let (strings, lists): (Vec<usize>, Vec<usize>) = (of(Kind::Text).collect(), of(Kind::List).collect());
            let most = strings.len().saturating_mul(string).saturating_add(lists.len().saturating_mul(list));
            self.bounds.push(Bounds { ends: shape.columns.iter().map(end).collect(), strings, lists, most });
        }
    }

    /// Checks the values of an event against its shape and the dictionary.
    fn check(&mut self, row: &Row, index: usize) -> Result<(), BatchError> {
        let wrong = |why: String| BatchError::Record { index, why };
        let bounds = self.bounds.get(row.shape as usize).ok_or_else(|| wrong(format!("no shape {}", row.shape)))?;
        let values = &self.values[row.values as usize..];
        if bounds.ends.len() != values.len() {
            return Err(wrong(format!("{} values for {} fields", values.len(), bounds.ends.len())));
        }
        self.most = self.most.saturating_add(bounds.most);
        if values.iter().zip(&bounds.ends).all(|(value, end)| value < end) {
            return Ok(());
        }
        let beyond = |columns: &[usize], end: usize| {
            let mut values = columns.iter().map(|column| values[*column]);
            values.find(|value| *value >= end as u64)
        };
        match (beyond(&bounds.strings, self.strings.len()), beyond(&bounds.lists, self.lists.len())) {
            (Some(number), _) => Err(wrong(format!("no string {number}"))),
            (_, Some(number)) => Err(wrong(format!("no list {number}"))),
            // The highest number of all is one as well.
            (None, None) => Ok(()),
        }
    }

    /// Checks the text of all events. It is counted only where it may be too much.
    fn check_expanded(&self) -> Result<(), BatchError> {
        let mut expanded = 0usize;
        for row in self.rows.iter().take_while(|_| self.most > MAX_EXPANDED_BYTES) {
            let (values, bounds) = (&self.values[row.values as usize..], &self.bounds[row.shape as usize]);
            let strings = bounds.strings.iter().map(|column| self.strings[values[*column] as usize].len());
            let lists = bounds.lists.iter().map(|column| self.lists[values[*column] as usize].bytes);
            expanded = strings.chain(lists).fold(expanded, usize::saturating_add);
            limit("the text of all events of the batch", expanded, MAX_EXPANDED_BYTES)?;
        }
        Ok(())
    }

    fn string(&self, at: u64, index: usize) -> Result<&Piece, BatchError> {
        let piece = usize::try_from(at).ok().and_then(|at| self.strings.get(at));
        piece.ok_or_else(|| BatchError::Record { index, why: format!("no string {at}") })
    }
}

fn known(number: u32) -> Option<(Field, Kind)> {
    if number >= FIRST_EXTRA {
        return None;
    }
    let field = Field(number as u16);
    field.info().map(|info| (field, info.kind))
}

/// Fields that a body names itself, by number.
type Names = Vec<(u32, Arc<str>, Kind)>;

fn names_in(names: &[&[u8]]) -> Result<Names, BatchError> {
    let one = |(index, name): (usize, &&[u8])| {
        let name: proto::FieldName = message(name)?;
        let wrong = |why: &str| BatchError::Record {
            index,
            why: format!("field name {:?}: {why}", name.name.chars().take(80).collect::<String>()),
        };
        if name.name.is_empty() || name.name.len() > 256 {
            return Err(wrong("not 1 to 256 bytes"));
        }
        let kind = Kind::from_number(name.kind).ok_or_else(|| wrong("unknown kind"))?;
        Ok((name.number, Arc::from(name.name.as_str()), kind))
    };
    let mut names = names.iter().enumerate().map(one).collect::<Result<Names, BatchError>>()?;
    // Of two with one number the last one counts, as members of a message do.
    names.reverse();
    names.sort_by_key(|(number, ..)| *number);
    names.dedup_by_key(|(number, ..)| *number);
    Ok(names)
}
