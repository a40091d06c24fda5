//! Where events go: which judges they are put before, which of their rules, and what those rules read.

use std::collections::{BTreeMap, HashMap};
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

/// Ways by logsource, and by the buckets that they lead through: logsources that no rule tells apart share one.
#[derive(Default)]
pub(crate) struct Ways {
    by_logsource: HashMap<Logsource, Arc<Way>>,
    by_buckets: HashMap<Vec<u32>, Arc<Way>>,
}

/// What ways are made of.
#[derive(Clone, Copy)]
pub(crate) struct Ground<'d> {
    pub(crate) program: &'d Program,
    pub(crate) judges: &'d [Judge],
    pub(crate) buckets: &'d [Bucket],
}

impl Ways {
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
                if !ways.by_logsource.contains_key(&logsource) {
                    let through = through(ground, &logsource);
                    ways.add(ground, &logsource, through);
                }
            }
        }
        ways
    }

    /// The way of a logsource: the one that `known` has, or its own.
    pub(crate) fn way(&mut self, known: &Self, ground: Ground<'_>, logsource: &Logsource) -> Arc<Way> {
        let found = known.by_logsource.get(logsource).or_else(|| self.by_logsource.get(logsource));
        if let Some(way) = found {
            return way.clone();
        }
        if self.by_logsource.len() >= MAX_WAYS {
            *self = Self::default();
        }
        let through = through(ground, logsource);
        if let Some(way) = known.by_buckets.get(&through) {
            self.by_logsource.insert(logsource.clone(), way.clone());
            return way.clone();
        }
        self.add(ground, logsource, through)
    }

    fn add(&mut self, ground: Ground<'_>, logsource: &Logsource, through: Vec<u32>) -> Arc<Way> {
        let Ground { program, judges, buckets } = ground;
        let make = |through: &Vec<u32>| {
            let chosen = through.iter().map(|place| &buckets[*place as usize]);
            let rules = chosen.flat_map(|bucket| bucket.rules.iter().map(|rule| (bucket.judge, *rule)));
            Arc::new(Way::new(program, judges, rules))
        };
        let way = self.by_buckets.entry(through).or_insert_with_key(make).clone();
        self.by_logsource.insert(logsource.clone(), way.clone());
        way
    }
}

/// The buckets that take events of a logsource.
fn through(ground: Ground<'_>, logsource: &Logsource) -> Vec<u32> {
    (0..ground.buckets.len() as u32).filter(|place| ground.buckets[*place as usize].route.accepts(logsource)).collect()
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
