//! How events of one shape are judged: which of their columns hold something that rules are chosen by, and who reads it.

use std::sync::Arc;

use beffroi_schema::batch::{Column, ColumnName, EventRef, Shape};
use beffroi_schema::fields::Kind;
use beffroi_schema::{Category, Field};

use crate::detector::{RuleMatch, SigmaDetector, Workspace};
use crate::eval::{FieldId, Find, Frame, NO_SET, Names, Reads, SetId, Table, Values, mix};
use crate::view::Part;
use crate::ways::{AuditWay, Way};

use super::verdicts::Verdicts;

/// Shapes that are remembered from batch to batch: an agent's batches have some dozens.
const MAX_PLANS: usize = 256;
/// Shapes that have plans at one time. One batch may name 65,536 shapes, all with names of one hash: what they cost must not
/// grow with their square, and a plan has some kilobytes.
const MAX_PLANS_AT_ONCE: usize = 1_024;
/// Sets of readers that are remembered: each shape has one for each column.
const MAX_SETS: usize = 1 << 14;

/// Who reads a value: the record that the event is judged as, from 0, and the judge among those of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reader {
    pub(super) record: u8,
    pub(super) judge: u8,
    /// As what it is read.
    pub(super) field: Option<FieldId>,
    pub(super) part: Part,
}

/// Readers, and by which number they are known as a set.
#[derive(Debug, Default)]
pub(super) struct Readers {
    pub(super) set: SetId,
    pub(super) readers: Vec<Reader>,
}

/// A column that rules are chosen by.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) column: usize,
    /// All that is read of it.
    pub(super) whole: Readers,
    /// Who reads the texts of a list, by their place.
    pub(super) arguments: Vec<Arc<Readers>>,
    /// Who reads those behind.
    pub(super) rest: Readers,
}

/// Which columns the fields of a record come from.
pub(super) struct Columns {
    /// By field number: the column, from 1.
    by_field: Vec<u8>,
    all: Vec<u8>,
}

impl Plan {
    /// Fills a frame with these fields of an event.
    pub(super) fn fill_for<'b>(&self, frame: &mut Frame<'b>, event: EventRef<'b>, fields: impl Iterator<Item = FieldId>) {
        for field in fields {
            let column = usize::from(self.records[0].by_field[field.index()]).checked_sub(1);
            // Two rules may read the same.
            column
                .filter(|_| !frame.has(field))
                .into_iter()
                .for_each(|column| frame.push_value(Some(field), event.value(column)));
        }
    }
}

impl Columns {
    fn new(names: usize, fields: impl Iterator<Item = (usize, Option<FieldId>)>) -> Self {
        let mut columns = Self { by_field: vec![0; names], all: Vec::new() };
        for (column, field) in fields {
            // A shape has at most MAX_FIELDS columns: their places fit one byte.
            let place = column as u8 + 1;
            columns.all.push(place);
            field.into_iter().for_each(|field| columns.by_field[field.index()] = place);
        }
        columns.all.dedup();
        columns
    }

    /// The values that a rule reads of an event with these numbers. What is absent is absent in all events of the shape.
    pub(super) fn values<'n>(&'n self, reads: &'n Reads, numbers: &'n [u64]) -> impl Iterator<Item = u64> + 'n {
        let (fields, all): (&[FieldId], &[u8]) = if reads.everything { (&[], &self.all) } else { (&reads.fields, &[]) };
        let places = fields.iter().map(|field| self.by_field[field.index()]).chain(all.iter().copied());
        places.filter_map(|place| numbers.get(usize::from(place).checked_sub(1)?).copied())
    }
}

/// How events of one shape are judged.
pub(super) struct Plan {
    /// Its number among all that are remembered.
    pub(super) number: u32,
    pub(super) way: Arc<Way>,
    /// Columns that rules read, and by which numbers.
    pub(super) columns: Vec<(usize, Option<FieldId>)>,
    pub(super) asked: Vec<Asked>,
    /// By record: where its fields come from.
    pub(super) records: Vec<Columns>,
    /// A bit for each record that is judged whatever is found.
    pub(super) always: u8,
    /// A bit for each record for which finds in values do not tell enough.
    pub(super) blind: u8,
}

/// Where readers stand: where the way of the event itself lies, its category, which says what records it is shown as, and
/// what the numbers of values count.
type Ground = (usize, Category, Kind);

/// What is remembered for batches.
#[derive(Default)]
pub(crate) struct Memory {
    pub(super) values: Values,
    pub(super) verdicts: Verdicts<RuleMatch>,
    /// What the value in hand tells; kept for its memory.
    pub(super) finds: Vec<Find>,
    plans: Found<Shape, Arc<Plan>>,
    sets: Found<(Ground, Vec<Reader>), ()>,
}

impl Memory {
    /// Forgets what was found, for the next batch. Ways may be told by where they lie because plans hold them.
    pub(super) fn begin(&mut self) {
        self.values.begin();
        self.verdicts.begin();
        if self.plans.things.len() > MAX_PLANS || self.sets.things.len() > MAX_SETS {
            self.plans = Found::default();
            self.sets = Found::default();
        }
    }

    fn readers(&mut self, ground: Ground, readers: Vec<Reader>) -> Readers {
        let hash = readers.iter().fold(hash_of_ground(ground), |hash, reader| reader.mix(hash));
        let is_it = |known: &(Ground, Vec<Reader>)| known.0 == ground && known.1 == readers;
        let place = self.sets.place(hash, is_it).unwrap_or_else(|| self.sets.put(hash, (ground, readers.clone()), ()));
        Readers { set: SetId::try_from(place).unwrap_or(NO_SET), readers }
    }
}

/// Things in the order in which they were put in, found by a hash that the caller makes.
struct Found<K, T> {
    table: Table,
    things: Vec<(K, T)>,
}

impl<K, T> Default for Found<K, T> {
    fn default() -> Self {
        Self { table: Table::default(), things: Vec::new() }
    }
}

impl<K, T> Found<K, T> {
    fn place(&self, hash: u64, is_it: impl Fn(&K) -> bool) -> Option<usize> {
        self.table.find_one(hash, |place| is_it(&self.things[place as usize].0)).map(|place| place as usize)
    }

    fn put(&mut self, hash: u64, key: K, thing: T) -> usize {
        self.table.insert(hash, self.things.len() as u32);
        self.things.push((key, thing));
        self.things.len() - 1
    }
}

fn hash_of_ground((way, category, kind): Ground) -> u64 {
    mix(mix(0, way as u64), u64::from(category.number()) << 8 | kind as u64)
}

impl Reader {
    fn mix(&self, hash: u64) -> u64 {
        let part = match self.part {
            Part::Whole => 0,
            Part::BaseName => 1,
            Part::Count => 2,
            Part::Argument(place) => 3 + place as u64,
        };
        let field = self.field.map_or(u64::from(u32::MAX), |field| field.index() as u64);
        mix(hash, part << 48 ^ u64::from(self.record) << 40 ^ u64::from(self.judge) << 32 ^ field)
    }
}

fn hash_of_shape(shape: &Shape) -> u64 {
    shape.columns.iter().fold(mix(1, shape.logsource.category.number().into()), |hash, column| match &column.name {
        ColumnName::Known(field) => mix(hash, field.0.into()),
        ColumnName::Extra(name) => mix(hash, Names::hash(name.as_bytes())),
    })
}

impl SigmaDetector {
    /// The plan of a shape; none where the batch in hand has too many shapes.
    pub(super) fn plan(&self, shape: &Shape, audit: &[AuditWay], workspace: &mut Workspace) -> Option<Arc<Plan>> {
        if workspace.batches.plans.things.len() >= MAX_PLANS_AT_ONCE {
            return None;
        }
        let hash = hash_of_shape(shape);
        if let Some(place) = workspace.batches.plans.place(hash, |known| known == shape) {
            return Some(workspace.batches.plans.things[place].1.clone());
        }
        let plan = Arc::new(self.new_plan(shape, audit, workspace));
        workspace.batches.plans.put(hash, shape.clone(), plan.clone());
        Some(plan)
    }

    /// Columns that the rules of a way read, and by which numbers.
    pub(super) fn columns(&self, shape: &Shape, way: &Way) -> Vec<(usize, Option<FieldId>)> {
        let field = |column: &Column| match &column.name {
            ColumnName::Known(field) => self.program.names.of_field(*field),
            ColumnName::Extra(name) => self.program.names.find(name),
        };
        let columns = shape.columns.iter().map(field).enumerate();
        columns.filter(|(_, field)| way.wanted.wants(*field)).collect()
    }

    fn new_plan(&self, shape: &Shape, audit: &[AuditWay], workspace: &mut Workspace) -> Plan {
        let way = self.way(&shape.logsource, workspace);
        let columns = self.columns(shape, &way);
        let mut readers = self.readers_of_columns(&way, &columns, shape.columns.len());
        self.add_readers_of_records(shape, audit, &mut readers);
        let asked = readers.into_iter().enumerate().filter(|(_, readers)| !readers.is_empty());
        let ground = |column: usize| (Arc::as_ptr(&way) as usize, shape.logsource.category, shape.columns[column].kind);
        let memory = &mut workspace.batches;
        let asked = asked.map(|(column, readers)| asked_of(column, readers, ground(column), memory)).collect();
        let number = memory.plans.things.len() as u32;
        let records = self.columns_of_records(shape, &columns, audit);
        let mut plan = Plan { number, way, columns, asked, records, always: 0, blind: 0 };
        plan.always = u8::from(!plan.way.may_be_silent());
        // What a second column says under one name counts for nothing: a frame knows.
        let mut names: Vec<FieldId> = plan.columns.iter().filter_map(|(_, field)| *field).collect();
        names.sort_unstable();
        plan.blind = u8::from(names.windows(2).any(|pair| pair[0] == pair[1]));
        for (at, audit) in audit.iter().enumerate() {
            plan.always |= u8::from(!audit.way.may_be_silent()) << (at + 1);
            plan.blind |= u8::from(!audit.may_be_silent) << (at + 1);
        }
        plan
    }

    fn columns_of_records(&self, shape: &Shape, own: &[(usize, Option<FieldId>)], audit: &[AuditWay]) -> Vec<Columns> {
        let names = self.program.names.len();
        let column = |field: Field| shape.columns.iter().position(|column| column.name == ColumnName::Known(field));
        let of_record = |audit: &AuditWay| {
            let parts = audit.form.parts(|field| column(field).is_some());
            Columns::new(names, parts.filter_map(|(field, own, _)| Some((column(own)?, field))))
        };
        [Columns::new(names, own.iter().copied())].into_iter().chain(audit.iter().map(of_record)).collect()
    }

    /// Who reads what an event says itself, by column.
    fn readers_of_columns(&self, way: &Way, columns: &[(usize, Option<FieldId>)], count: usize) -> Vec<Vec<Reader>> {
        let mut all = vec![Vec::new(); count];
        for (column, field) in columns {
            for (at, (judge, choice)) in way.choices.iter().enumerate() {
                if self.judges[*judge].reads(choice, *field) {
                    all[*column].push(Reader { record: 0, judge: at as u8, field: *field, part: Part::Whole });
                }
            }
        }
        all
    }

    /// The same of what its audit records say.
    fn add_readers_of_records(&self, shape: &Shape, audit: &[AuditWay], all: &mut [Vec<Reader>]) {
        let column = |field: Field| shape.columns.iter().position(|column| column.name == ColumnName::Known(field));
        for (record, AuditWay { form, way, .. }) in audit.iter().enumerate() {
            for (field, own, part) in form.parts(|field| column(field).is_some()) {
                let Some(column) = column(own) else { continue };
                for (at, (judge, choice)) in way.choices.iter().enumerate() {
                    if self.judges[*judge].reads(choice, field) {
                        all[column].push(Reader { record: record as u8 + 1, judge: at as u8, field, part });
                    }
                }
            }
        }
    }
}

fn asked_of(column: usize, readers: Vec<Reader>, ground: Ground, memory: &mut Memory) -> Asked {
    let (way, category, kind) = ground;
    // Most columns are no lists: nobody reads texts of theirs.
    if kind != Kind::List {
        return Asked { column, whole: memory.readers(ground, readers), arguments: Vec::new(), rest: Readers::default() };
    }
    let rest: Vec<Reader> = readers.iter().copied().filter(|reader| reader.part == Part::Whole).collect();
    // Of the texts of a list each is read whole.
    let mut by_place: Vec<Vec<Reader>> = Vec::new();
    for reader in &readers {
        if let Part::Argument(place) = reader.part {
            by_place.resize_with(by_place.len().max(place + 1), || rest.clone());
            by_place[place].push(Reader { part: Part::Whole, ..*reader });
        }
    }
    let mut arguments: Vec<Arc<Readers>> = Vec::with_capacity(by_place.len());
    for readers in by_place {
        let same = arguments.last().filter(|last| last.readers == readers).cloned();
        arguments.push(same.unwrap_or_else(|| Arc::new(memory.readers((way, category, Kind::Text), readers))));
    }
    let rest = memory.readers((way, category, Kind::Text), rest);
    Asked { column, whole: memory.readers(ground, readers), arguments, rest }
}
