//! Where events go: which judges they are put before, which of their rules, and what those rules read.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::Arc;

use beffroi_schema::batch::{TextRef, ValueRef};
use beffroi_schema::{Category, Logsource, Product, Text};

use crate::eval::{Choice, Given, Judge, Program, Scratch, TooMuchText, Wanted};
use crate::logsource::{Route, RuleLogsource};
use crate::view::{self, AuditRecord, Form};

/// The rules of one logsource.
pub(crate) struct Bucket {
    pub(crate) route: Route,
    /// Place of the judge of its product.
    pub(crate) judge: usize,
    pub(crate) rules: Vec<usize>,
}

/// Where events of one logsource go.
pub(crate) struct Way {
    /// Which judges, and which of their rules.
    pub(crate) choices: Vec<(usize, Choice)>,
    /// What those rules read.
    pub(crate) wanted: Wanted,
}

impl Way {
    /// To these rules, each with the place of its judge.
    pub(crate) fn new(program: &Program, judges: &[Judge], rules: impl Iterator<Item = (usize, usize)>) -> Self {
        let mut by_judge: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        rules.for_each(|(judge, rule)| by_judge.entry(judge).or_default().push(rule));
        let choose = |(judge, rules): (usize, Vec<usize>)| (judge, judges[judge].choose(program, rules));
        let choices: Vec<(usize, Choice)> = by_judge.into_iter().map(choose).collect();
        let wanted = Wanted::union(choices.iter().map(|(_, choice)| choice.wanted()));
        Self { choices, wanted }
    }

    /// Whether none of its rules is looked at for every event.
    pub(crate) fn may_be_silent(&self) -> bool {
        self.choices.iter().all(|(_, choice)| choice.is_without_always())
    }
}

/// Where one of the audit records goes that an event is shown as.
pub(crate) struct AuditWay {
    pub(crate) form: Form,
    pub(crate) way: Way,
    /// No rule is chosen by what every such record says.
    pub(crate) may_be_silent: bool,
}

/// Where audit records go, by category of the event. A record that no rule can match goes nowhere: most rules name a type
/// of record or a system call, and what those fields say is known before there is an event.
pub(crate) struct AuditWays(Vec<(Category, Vec<AuditWay>)>);

impl AuditWays {
    /// The ways of audit records to the rules of these buckets that read them. Each kind of record has a judge of its own,
    /// which is added: what says of one kind whether a rule can match says nothing of another.
    ///
    /// # Errors
    /// The rules hold more text than one search can address.
    pub(crate) fn new(program: &Program, judges: &mut Vec<Judge>, buckets: &[Bucket]) -> Result<Self, TooMuchText> {
        let readers = buckets.iter().filter(|bucket| bucket.route.reads_audit());
        let rules: Vec<usize> = readers.flat_map(|bucket| bucket.rules.iter().copied()).collect();
        let mut all = Vec::new();
        for category in Category::ALL {
            let logsource = Logsource { category: *category, product: Product::Linux, service: None };
            let records = view::records(&logsource).iter();
            let ways = records.map(|record| AuditWay::new(program, judges, &rules, *record));
            let ways: Vec<AuditWay> = ways.filter_map(Result::transpose).collect::<Result<_, _>>()?;
            all.extend((!ways.is_empty()).then_some((*category, ways)));
        }
        Ok(Self(all))
    }

    /// Where the records of events of this logsource go.
    pub(crate) fn of(&self, logsource: &Logsource) -> &[AuditWay] {
        let ways = self.0.iter().find(|(category, _)| *category == logsource.category);
        ways.filter(|_| view::serves(logsource)).map_or(&[], |(_, ways)| ways)
    }
}

impl AuditWay {
    /// None where no rule can match such a record.
    fn new(
        program: &Program,
        judges: &mut Vec<Judge>,
        rules: &[usize],
        record: AuditRecord,
    ) -> Result<Option<Self>, TooMuchText> {
        let names = &program.names;
        let (known, open) = (record.known(names), record.open_fields(names));
        let given = Given { known: &known, open: &open };
        let rules: Vec<usize> = rules.iter().copied().filter(|rule| given.allows(program, *rule)).collect();
        if rules.is_empty() {
            return Ok(None);
        }
        judges.push(Judge::given(program, &rules, Some(given))?);
        let way = Way::new(program, judges, rules.iter().map(|rule| (judges.len() - 1, *rule)));
        let form = Form::new(record, names, |field| way.wanted.wants(field));
        let (mut scratch, mut may_be_silent) = (Scratch::default(), true);
        for (field, text) in form.constants() {
            let value = ValueRef::Text(TextRef { bytes: text.as_bytes(), number: None });
            for (judge, choice) in &way.choices {
                judges[*judge].find_in(choice, (field, value), &mut scratch, &mut |_| may_be_silent = false);
            }
        }
        Ok(Some(Self { form, way, may_be_silent }))
    }
}

/// Ways of logsources that no rule names, kept by one thread: some services of log lines. Others are made again.
const MAX_WAYS: usize = 64;

/// Ways by what names the source of an event, and by the buckets that they lead through: sources that no rule tells apart
/// share one.
pub(crate) struct Ways<K> {
    by_source: HashMap<K, Arc<Way>>,
    by_buckets: HashMap<Vec<u32>, Arc<Way>>,
}

impl<K> Default for Ways<K> {
    fn default() -> Self {
        Self { by_source: HashMap::new(), by_buckets: HashMap::new() }
    }
}

impl<K: Eq + Hash> Ways<K> {
    /// The way of a source, if it is known.
    pub(crate) fn of<Q: Eq + Hash + ?Sized>(&self, source: &Q) -> Option<&Arc<Way>>
    where
        K: Borrow<Q>,
    {
        self.by_source.get(source)
    }

    /// Remembers the way of a source.
    pub(crate) fn put(&mut self, source: K, way: &Arc<Way>) {
        self.by_source.insert(source, Arc::clone(way));
    }

    /// The way through these buckets, made where it is not known.
    pub(crate) fn through(&mut self, buckets: Vec<u32>, make: impl FnOnce(&[u32]) -> Way) -> Arc<Way> {
        let way = self.by_buckets.entry(buckets).or_insert_with_key(|buckets| Arc::new(make(buckets)));
        Arc::clone(way)
    }

    /// Makes room for one more, so that there are at most so many sources and so many ways.
    pub(crate) fn make_room(&mut self, sources: usize, ways: usize) {
        if self.by_source.len() >= sources {
            self.by_source.clear();
        }
        if self.by_buckets.len() >= ways {
            self.by_buckets.clear();
        }
    }
}

/// What ways are made of.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'d> {
    pub(crate) program: &'d Program,
    pub(crate) judges: &'d [Judge],
    pub(crate) buckets: &'d [Bucket],
}

impl Ground<'_> {
    /// The buckets that take events of a logsource.
    fn accepting(self, logsource: &Logsource) -> Vec<u32> {
        (0..self.buckets.len() as u32).filter(|place| self.buckets[*place as usize].route.accepts(logsource)).collect()
    }

    fn way(self, through: &[u32]) -> Way {
        let chosen = through.iter().map(|place| &self.buckets[*place as usize]);
        let rules = chosen.flat_map(|bucket| bucket.rules.iter().map(|rule| (bucket.judge, *rule)));
        Way::new(self.program, self.judges, rules)
    }
}

impl Ways<Logsource> {
    /// The ways of all logsources that rules name, made before there is an event.
    pub(crate) fn of_rules<'r>(ground: Ground<'_>, rules: impl Iterator<Item = &'r RuleLogsource>) -> Self {
        let mut ways = Self::default();
        for rule in rules {
            let lower = |name: &Option<String>| name.as_deref().unwrap_or_default().to_ascii_lowercase();
            let service = rule.service.as_ref().map(|service| Text::from(service.to_ascii_lowercase().as_bytes()));
            let (category, product) = (Category::from_name(&lower(&rule.category)), Product::from_name(&lower(&rule.product)));
            if let (Some(category), Some(product)) = (category, product) {
                let logsource = Logsource { category, product, service };
                // Thousands of rules name some hundred logsources.
                if ways.of(&logsource).is_none() {
                    let way = ways.through(ground.accepting(&logsource), |through| ground.way(through));
                    ways.put(logsource, &way);
                }
            }
        }
        ways
    }

    /// The way of a logsource: the one that `known` has, or its own.
    pub(crate) fn way(&mut self, known: &Self, ground: Ground<'_>, logsource: &Logsource) -> Arc<Way> {
        if let Some(way) = known.of(logsource).or_else(|| self.of(logsource)) {
            return way.clone();
        }
        self.make_room(MAX_WAYS, MAX_WAYS);
        let through = ground.accepting(logsource);
        let known = known.by_buckets.get(&through).cloned();
        let way = known.unwrap_or_else(|| self.through(through, |through| ground.way(through)));
        self.put(logsource.clone(), &way);
        way
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::compile;
    use crate::rule::RuleSet;

    fn rule(id: usize, detection: &str) -> String {
        format!(
            "title: rule {id}\nid: r{id}\nlogsource: {{product: linux, service: auditd}}\n\
             detection: {{s: {detection}, condition: s}}\n"
        )
    }

    #[test]
    fn an_audit_record_goes_to_the_rules_that_its_type_and_its_fields_leave_possible() {
        let detections = ["{type: PATH, name: /x}", "{type: EXECVE, a1: x}", "{syscall: openat, exe: /x}", "{type: USER_AUTH}"];
        let texts = detections.iter().enumerate().map(|(id, detection)| (format!("{id}.yml"), rule(id, detection)));
        let (set, problems) = RuleSet::from_texts(texts);
        assert!(problems.is_empty(), "{problems:?}");
        let detector = compile(&set).unwrap();
        let rules = |category| {
            let logsource = Logsource { category, product: Product::Linux, service: None };
            let ways = detector.audit.of(&logsource).iter();
            ways.map(|audit| audit.way.choices.iter().flat_map(|(_, choice)| choice.rules()).collect::<Vec<_>>())
                .collect::<Vec<_>>()
        };
        assert_eq!(rules(Category::ProcessCreation), [[1], [0]]);
        assert_eq!(rules(Category::FileEvent), [[2], [0]]);
        assert_eq!(rules(Category::NetworkConnection), Vec::<Vec<usize>>::new());
    }
}
