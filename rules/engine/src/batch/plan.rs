//! How events of one shape are judged: which of their columns hold something that rules are chosen by, and who reads it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use beffroi_schema::batch::{Column, ColumnName, Shape};
use beffroi_schema::fields::Kind;
use beffroi_schema::{Category, Field};

use crate::detector::{SigmaDetector, Workspace};
use crate::eval::{FieldId, NO_SET, SetId, Values};
use crate::view::Part;
use crate::ways::{AuditWay, Way};

/// Shapes that are remembered from batch to batch: an agent's batches have some dozens.
const MAX_PLANS: usize = 256;
/// Sets of readers that are remembered: each shape has one for each column.
const MAX_SETS: usize = 1 << 14;

/// Who reads a value: the record that the event is judged as, from 0, and the judge among those of its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Reader {
    pub(super) record: u8,
    pub(super) judge: u8,
    /// As what it is read.
    pub(super) field: Option<FieldId>,
    pub(super) part: Part,
}

/// Readers, and by which number they are known as a set.
#[derive(Debug)]
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
    pub(super) arguments: Vec<Readers>,
    /// Who reads those behind.
    pub(super) rest: Readers,
}

/// How events of one shape are judged.
pub(super) struct Plan {
    pub(super) way: Arc<Way>,
    /// Columns that rules read, and by which numbers.
    pub(super) columns: Vec<(usize, Option<FieldId>)>,
    pub(super) asked: Vec<Asked>,
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
    plans: HashMap<Shape, Arc<Plan>>,
    sets: HashMap<(Ground, Vec<Reader>), SetId>,
}

impl Memory {
    /// Forgets what was found, for the next batch. Ways may be told by where they lie because plans hold them.
    pub(super) fn begin(&mut self) {
        self.values.begin();
        if self.plans.len() > MAX_PLANS || self.sets.len() > MAX_SETS {
            self.plans.clear();
            self.sets.clear();
        }
    }

    fn readers(&mut self, ground: Ground, readers: Vec<Reader>) -> Readers {
        let next = SetId::try_from(self.sets.len()).unwrap_or(NO_SET);
        let set = if next == NO_SET { NO_SET } else { *self.sets.entry((ground, readers.clone())).or_insert(next) };
        Readers { set, readers }
    }
}

impl SigmaDetector {
    pub(super) fn plan(&self, shape: &Shape, audit: &[AuditWay], workspace: &mut Workspace) -> Arc<Plan> {
        if let Some(plan) = workspace.batches.plans.get(shape) {
            return plan.clone();
        }
        let plan = Arc::new(self.new_plan(shape, audit, workspace));
        workspace.batches.plans.insert(shape.clone(), plan.clone());
        plan
    }

    fn new_plan(&self, shape: &Shape, audit: &[AuditWay], workspace: &mut Workspace) -> Plan {
        let way = self.way(&shape.logsource, workspace);
        let field = |column: &Column| match &column.name {
            ColumnName::Known(field) => self.program.names.of_field(*field),
            ColumnName::Extra(name) => self.program.names.find(name),
        };
        let columns = shape.columns.iter().map(field).enumerate();
        let columns: Vec<(usize, Option<FieldId>)> = columns.filter(|(_, field)| way.wanted.wants(*field)).collect();
        let mut readers = self.readers_of_columns(&way, &columns, shape.columns.len());
        self.add_readers_of_records(shape, audit, &mut readers);
        let asked = readers.into_iter().enumerate().filter(|(_, readers)| !readers.is_empty());
        let ground = |column: usize| (Arc::as_ptr(&way) as usize, shape.logsource.category, shape.columns[column].kind);
        let memory = &mut workspace.batches;
        let asked = asked.map(|(column, readers)| asked_of(column, readers, ground(column), memory)).collect();
        let mut plan = Plan { way, columns, asked, always: 0, blind: 0 };
        plan.always = u8::from(!plan.way.may_be_silent());
        // What a second column says under one name counts for nothing: a frame knows.
        let mut names = HashSet::new();
        plan.blind = u8::from(!plan.columns.iter().flat_map(|(_, field)| field).all(|field| names.insert(*field)));
        for (at, audit) in audit.iter().enumerate() {
            plan.always |= u8::from(!audit.way.may_be_silent()) << (at + 1);
            plan.blind |= u8::from(!audit.may_be_silent) << (at + 1);
        }
        plan
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
    let (way, category, _) = ground;
    let place = |reader: &Reader| if let Part::Argument(place) = reader.part { Some(place) } else { None };
    let places = readers.iter().filter_map(place).max().map_or(0, |last| last + 1);
    let mut of = |wanted: &dyn Fn(&Reader) -> bool| {
        let some =
            readers.iter().filter(|reader| wanted(reader)).map(|reader| Reader { part: text_part(reader.part), ..*reader });
        memory.readers((way, category, Kind::Text), some.collect())
    };
    let arguments = (0..places).map(|at| of(&|reader| reader.part == Part::Argument(at) || reader.part == Part::Whole)).collect();
    let rest = of(&|reader| reader.part == Part::Whole);
    Asked { column, whole: memory.readers(ground, readers), arguments, rest }
}

/// Of the texts of a list each is read whole.
fn text_part(part: Part) -> Part {
    if let Part::Argument(_) = part { Part::Whole } else { part }
}
