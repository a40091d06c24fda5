//! What one thread does with a block: records, matches, rows to show, and what correlations need.

use std::sync::Arc;

use beffroi_engine::correlate::FieldSource;
use beffroi_engine::{CompileError, Detector, Glance, RecordJudge, RecordMatch, RecordView};
use beffroi_schema::batch::EventRef;
use beffroi_sources::{Block, Body, Flat, Record, StoredBatch, Taker, Trouble, Troubles, View};

use super::options::Asked;
use super::place::Place;
use super::row::{Row, of_rule};
use super::rules::Rules;

/// What all threads share.
pub struct Shared {
    /// What was asked for.
    pub asked: Asked,
    /// The rules in force.
    pub rules: Rules,
}

/// A piece of work: a block of an input, or why there are no more of it.
pub struct Work {
    /// Number of the input in the order of the command line.
    pub input: usize,
    /// Its name.
    pub file: Arc<str>,
    /// The block.
    pub block: Result<Block, Trouble>,
}

/// What became of a piece of work.
#[derive(Default)]
pub struct Judged {
    /// Name of the input.
    pub file: Arc<str>,
    /// Records that were judged.
    pub events: u64,
    /// Records of which no rule's logsource is.
    pub unclaimed: u64,
    /// Records that are outside of the time asked for, or without a time where one was asked for.
    pub outside: u64,
    /// Records that a correlation needs and that have no time.
    pub undated: u64,
    /// What could not be read.
    pub troubles: Troubles,
    /// The input could not be read to its end.
    pub ended: Option<Trouble>,
    /// Matches to show, in order.
    pub rows: Vec<Row>,
    /// Matches that correlations need, in order.
    pub seen: Vec<Seen>,
}

/// An event that rules matched which a correlation needs.
pub struct Seen {
    /// Where it stands.
    pub place: Place,
    /// When it happened.
    pub time_us: i64,
    /// The rules.
    pub rules: Vec<usize>,
    /// Its tenant, where it is known.
    pub tenant: String,
    /// Its fields.
    pub fields: Box<dyn FieldSource + Send>,
}

/// Judges, with memory that is used again from block to block.
pub struct Judge<'s> {
    shared: &'s Shared,
    records: RecordJudge<'s>,
}

/// The rules that match a record, each with the part of it that they match; none where no rule is meant for it.
type Matches = Option<Vec<(usize, RecordMatch)>>;

/// A block that is being judged.
struct Taking<'t, 's> {
    judge: &'t mut Judge<'s>,
    input: usize,
    judged: &'t mut Judged,
}

impl Taker for Taking<'_, '_> {
    const GLANCES: bool = true;

    fn glance(&mut self, flat: &Flat<'_>) -> bool {
        let Judge { shared, records, .. } = &mut *self.judge;
        if shared.rules.measures() {
            return true;
        }
        if shared.asked.asks_times() && !shared.asked.covers(flat.time_us()) {
            self.judged.outside += 1;
            return false;
        }
        let views: Vec<RecordView<'_>> = flat.views().iter().map(View::as_engine).collect();
        match records.glance(flat.text(), &views) {
            Glance::Perhaps => return true,
            Glance::NoMatch => {}
            Glance::NoRule => self.judged.unclaimed += 1,
        }
        self.judged.events += 1;
        false
    }

    fn take(&mut self, record: Record) {
        let place = self.place(&record);
        self.judge.record(&record, place, self.judged);
    }

    fn batch(&mut self, batch: &StoredBatch) {
        let Shared { asked, rules } = self.judge.shared;
        // Asking an event for its time costs something, and seldom anybody asks for times.
        let covers = |event: EventRef<'_>| !asked.asks_times() || asked.covers(Some(batch.time_us(event)));
        let covered = batch.packed().events().filter(|event| covers(*event)).count() as u64;
        self.judged.events += covered;
        self.judged.outside += batch.packed().events().len() as u64 - covered;
        if covered == 0 {
            return;
        }
        let own = match rules.own() {
            Ok(own) => own,
            Err(error) => return self.judged.fail(&error),
        };
        own.evaluate_batch(batch.packed(), &mut |event, found| {
            if covers(event) {
                let record = batch.record(event);
                let place = self.place(&record);
                self.judge.take(&record, &place, rules.places_of(found), self.judged);
            }
        });
    }
}

impl Taking<'_, '_> {
    fn place(&self, record: &Record) -> Place {
        Place { input: self.input, record: record.number, file: Arc::clone(&self.judged.file) }
    }
}

impl Judged {
    /// The rules cannot judge what stands in this input.
    fn fail(&mut self, error: &CompileError) {
        self.ended.get_or_insert_with(|| Trouble::internal(error.to_string()));
    }
}

impl<'s> Judge<'s> {
    /// For one thread.
    pub fn new(shared: &'s Shared) -> Self {
        Self { shared, records: shared.rules.records.judge() }
    }

    /// Judges one piece of work.
    pub fn judge(&mut self, work: Work) -> Judged {
        let mut judged = Judged { file: Arc::clone(&work.file), ..Judged::default() };
        let block = match work.block {
            Ok(block) => block,
            Err(trouble) => return Judged { ended: Some(trouble), ..judged },
        };
        let reading = &self.shared.asked.reading;
        judged.troubles = block.records(reading, Taking { judge: self, input: work.input, judged: &mut judged });
        judged
    }

    fn record(&mut self, record: &Record, place: Place, judged: &mut Judged) {
        if !self.shared.asked.covers(record.time_us) {
            judged.outside += 1;
            return;
        }
        judged.events += 1;
        match self.matches(record) {
            Ok(None) => judged.unclaimed += 1,
            Ok(Some(matches)) => self.take(record, &place, matches, judged),
            Err(error) => judged.fail(&error),
        }
    }

    fn take(&self, record: &Record, place: &Place, matches: Vec<(usize, RecordMatch)>, judged: &mut Judged) {
        let Shared { asked, rules } = self.shared;
        if rules.measures() {
            return matches.iter().for_each(|(_, found)| rules.count_match(found.rule));
        }
        let needed: Vec<usize> = matches.iter().map(|(_, found)| found.rule).filter(|rule| rules.is_needed(*rule)).collect();
        if !needed.is_empty() {
            match record.time_us {
                Some(time_us) => {
                    let tenant = record.own().and_then(|own| own.tenant.clone()).unwrap_or_default();
                    let fields = fields(record, &matches);
                    judged.seen.push(Seen { place: place.clone(), time_us, rules: needed, tenant, fields });
                }
                None => judged.undated += 1,
            }
        }
        for (part, found) in matches.into_iter().filter(|(_, found)| rules.is_shown(found.rule)) {
            let number = match &record.body {
                Body::Flat(parts) => parts[part].number,
                Body::Own(_) => record.number,
            };
            judged.rows.push(of_rule(record, place, number, found, rules, asked.include_event));
        }
    }

    fn matches(&mut self, record: &Record) -> Result<Matches, CompileError> {
        let rules = &self.shared.rules;
        let parts = match &record.body {
            Body::Own(own) => return Ok(Some(rules.places_of(rules.own()?.evaluate(&own.event)))),
            Body::Flat(parts) => parts,
        };
        let views: Vec<RecordView<'_>> = record.views.iter().map(|view| view.as_engine()).collect();
        let mut all: Matches = None;
        for (at, part) in parts.iter().enumerate() {
            let Some(found) = self.records.matches(&part.fields, &views) else { continue };
            let all = all.get_or_insert_default();
            for one in found {
                if all.iter().all(|(_, known)| known.rule != one.rule) {
                    all.push((at, one));
                }
            }
        }
        Ok(all)
    }
}

/// The fields of what matched first: those of one audit record, of most records all.
fn fields(record: &Record, matches: &[(usize, RecordMatch)]) -> Box<dyn FieldSource + Send> {
    match &record.body {
        Body::Own(own) => own.clone(),
        Body::Flat(parts) => Box::new(matches.first().map(|(part, _)| parts[*part].fields.clone()).unwrap_or_default()),
    }
}
