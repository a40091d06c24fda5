//! Our side: events from JSON text, and our own batches as they are sent and stored.

use std::collections::BTreeMap;

use beffroi_engine::eval::{Builder, Choice, Frame, Judge, Program, Scratch, Wanted, fill_from_text};
use beffroi_engine::limits::MAX_MATCHED_FIELDS;
use beffroi_engine::{Detector, SigmaDetector};
use beffroi_schema::batch::{BatchBuilder, Envelope, Header, HostInfo, Packed, Record};
use beffroi_schema::{AgentId, BatchHash, Epoch, Event, SigningKey, Stream};

use rsigma_parser::SigmaRule;
use serde_json::Value as Json;

use crate::lanes::{Item, Source};

/// Events of one batch, about what a busy agent sends at once.
const BATCH: usize = 500;

/// Our evaluator, asked by the names of a logsource.
pub struct Ours {
    program: Program,
    ids: Vec<String>,
    /// Rules by logsource, and the place of their product's judge.
    buckets: BTreeMap<Source, (usize, Vec<usize>)>,
    judges: Vec<Judge>,
}

/// What one thread keeps.
#[derive(Default)]
pub struct Memory {
    scratch: Scratch,
    frame: Frame<'static>,
    matches: Vec<u32>,
}

impl Ours {
    /// Compiles; rules that cannot be judged are left out.
    #[inline(never)]
    pub fn compile(rules: &[SigmaRule]) -> Self {
        let mut builder = Builder::default();
        let mut ids = Vec::new();
        let mut groups: BTreeMap<Source, Vec<usize>> = BTreeMap::new();
        for rule in rules {
            let Ok(place) = builder.add(rule) else { continue };
            ids.push(rule.id.clone().unwrap_or_default());
            let lower = |text: &Option<String>| text.as_deref().unwrap_or_default().to_lowercase();
            let source = Source {
                product: lower(&rule.logsource.product),
                category: lower(&rule.logsource.category),
                service: lower(&rule.logsource.service),
            };
            groups.entry(source).or_default().push(place);
        }
        let program = builder.finish();
        let mut products: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        groups.iter().for_each(|(source, rules)| products.entry(source.product.clone()).or_default().extend(rules));
        let judges = products.values().map(|rules| Judge::new(&program, rules).expect("it compiles")).collect();
        let place = |source: &Source| products.keys().position(|product| *product == source.product).expect("it was put in");
        let buckets = groups.into_iter().map(|(source, rules)| (source.clone(), (place(&source), rules))).collect();
        Self { program, ids, buckets, judges }
    }

    /// The judges that an event of this logsource is put before: what a rule's logsource says must be the event's, and
    /// rules that say neither category nor service search logs.
    pub fn route(&self, source: &Source) -> Route<'_> {
        let fits = |rule: &str, event: &str| rule.is_empty() || rule == event;
        let is_log = source.category.is_empty() || source.product == "windows";
        let asked = self.buckets.iter().filter(|(rule, _)| {
            fits(&rule.product, &source.product)
                && fits(&rule.category, &source.category)
                && fits(&rule.service, &source.service)
                && (is_log || !rule.category.is_empty() || !rule.service.is_empty())
        });
        let mut rules: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        asked.for_each(|(_, (judge, more))| rules.entry(*judge).or_default().extend(more));
        let choose = |(judge, rules): (usize, Vec<usize>)| (&self.judges[judge], self.judges[judge].choose(&self.program, rules));
        let choices: Vec<(&Judge, Choice)> = rules.into_iter().map(choose).collect();
        Route { wanted: Wanted::union(choices.iter().map(|(_, choice)| choice.wanted())), choices }
    }

    /// The routes of all events, each logsource's once.
    pub fn routes(&self, items: &[Item]) -> Routes<'_> {
        let mut routes = Routes::default();
        let mut known: BTreeMap<&Source, usize> = BTreeMap::new();
        for item in items {
            let place = *known.entry(&item.source).or_insert_with(|| {
                routes.routes.push(self.route(&item.source));
                routes.routes.len() - 1
            });
            routes.places.push(place);
        }
        routes
    }

    /// Judges one event from its text; rule ids are appended.
    pub fn judge<'o>(&'o self, item: &Item, route: &Route<'_>, memory: &mut Memory, ids: &mut Vec<&'o str>) -> usize {
        let mut frame = std::mem::take(&mut memory.frame).recycle_for(&self.program.names);
        fill_from_text(&mut frame, &self.program.names, &route.wanted, item.text.as_bytes()).expect("JSON");
        let mut count = 0;
        for (judge, choice) in &route.choices {
            memory.matches.clear();
            memory.matches.extend_from_slice(judge.matches_of(choice, &self.program, &frame, &mut memory.scratch));
            for place in &memory.matches {
                let rule = *place as usize;
                let found = judge.explain(choice, &self.program, rule, &frame, &mut memory.scratch, MAX_MATCHED_FIELDS);
                std::hint::black_box(found);
                ids.push(&self.ids[rule]);
                count += 1;
            }
        }
        memory.frame = frame.recycle();
        count
    }
}

/// Whom an event is put before, and what of it they read.
pub struct Route<'o> {
    choices: Vec<(&'o Judge, Choice)>,
    wanted: Wanted,
}

/// The routes of a lane.
#[derive(Default)]
pub struct Routes<'o> {
    routes: Vec<Route<'o>>,
    places: Vec<usize>,
}

impl<'o> Routes<'o> {
    /// The route of one event.
    pub fn of(&self, event: usize) -> &Route<'o> {
        &self.routes[self.places[event]]
    }
}

/// A lane as our own batches.
pub fn batches(items: &[Item]) -> Vec<Vec<u8>> {
    let key = SigningKey::from_bytes(&[7; 32]);
    items.chunks(BATCH).map(|chunk| seal(chunk, &key)).collect()
}

fn seal(items: &[Item], key: &SigningKey) -> Vec<u8> {
    let mut builder = BatchBuilder::new(&HostInfo::default());
    for (index, item) in items.iter().enumerate() {
        let mut json: Json = serde_json::from_str(&item.text).expect("JSON");
        json["category"] = item.source.category.as_str().into();
        json["product"] = item.source.product.as_str().into();
        if !item.source.service.is_empty() {
            json["service"] = item.source.service.as_str().into();
        }
        let mut event = Event::from_json(&json, 1_795_000_000_000_000).expect("an event");
        event.seq = index as u64 + 1;
        builder.push(&Record::Event(event));
    }
    let header = Header::unsealed(
        "interieur".into(),
        AgentId::of_public_key(&key.verifying_key().to_bytes()),
        Epoch::new(1_795_000_000_000_000, 1),
        Stream::Exec,
        BatchHash::default(),
    );
    builder.seal(header, key).expect("it is small enough").bytes
}

/// Opens one batch.
pub fn open_batch(bytes: &[u8]) -> Packed {
    Envelope::parse(bytes).and_then(|envelope| envelope.open()).expect("a batch of ours")
}

/// Opens and judges one batch.
pub fn judge_batch(detector: &SigmaDetector, bytes: &[u8]) -> usize {
    let batch = open_batch(bytes);
    let mut count = 0;
    detector.evaluate_batch(&batch, &mut |_, matches| count += matches.len());
    count
}
