//! Where events go: which judges they are put before, which of their rules, and what those rules read.

use std::collections::BTreeMap;
use std::sync::Arc;

use beffroi_schema::batch::{TextRef, ValueRef};
use beffroi_schema::{Category, Logsource, Product};

use crate::eval::{Choice, Datum, Frame, Given, Judge, Program, Scratch, TooMuchText, Wanted};
use crate::logsource::Route;
use crate::view::{self, AuditRecord, Columns};

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
}

/// Where one of the audit records goes that an event is shown as.
pub(crate) struct AuditWay {
    pub(crate) record: AuditRecord,
    pub(crate) way: Way,
    pub(crate) columns: Columns,
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
        let mut known = Frame::new(names);
        record.each_constant(&Columns::new(names, |_| true), |field, text| known.push(field, Datum::Text(text.as_bytes())));
        let open = record.open_fields(names);
        let given = Given { known: &known, open: &open };
        let rules: Vec<usize> = rules.iter().copied().filter(|rule| given.allows(program, *rule)).collect();
        if rules.is_empty() {
            return Ok(None);
        }
        judges.push(Judge::given(program, &rules, Some(given))?);
        let way = Way::new(program, judges, rules.iter().map(|rule| (judges.len() - 1, *rule)));
        let columns = Columns::wanted(names, &way.wanted);
        let (mut scratch, mut may_be_silent) = (Scratch::default(), true);
        record.each_constant(&columns, |field, text| {
            let value = ValueRef::Text(TextRef { bytes: text.as_bytes(), number: None });
            let mut is_silent =
                |(judge, choice): &(usize, Choice)| judges[*judge].is_silent_on(choice, (field, value), &mut scratch);
            may_be_silent = may_be_silent && way.choices.iter().all(&mut is_silent);
        });
        Ok(Some(Self { record, way, columns, may_be_silent }))
    }
}

/// Logsources and ways that are remembered: all of ours, with room for the services of log lines.
const MAX_WAYS: usize = 64;

/// Ways that were gone lately, the first ones of a program's life; a host sends events of a few logsources.
#[derive(Default)]
pub(crate) struct Known {
    logsources: Vec<(Logsource, Arc<Way>)>,
    /// By the buckets they lead through: logsources that no rule tells apart share one.
    ways: Vec<(Vec<u32>, Arc<Way>)>,
}

impl Known {
    /// The way of a logsource.
    pub(crate) fn way(&mut self, logsource: &Logsource, program: &Program, judges: &[Judge], buckets: &[Bucket]) -> Arc<Way> {
        if let Some((_, way)) = self.logsources.iter().find(|(known, _)| known == logsource) {
            return way.clone();
        }
        let accepts = |place: &u32| buckets[*place as usize].route.accepts(logsource);
        let through: Vec<u32> = (0..buckets.len() as u32).filter(accepts).collect();
        let known = self.ways.iter().find(|(known, _)| *known == through).map(|(_, way)| way.clone());
        let way = known.unwrap_or_else(|| {
            let chosen = through.iter().map(|place| &buckets[*place as usize]);
            let rules = chosen.flat_map(|bucket| bucket.rules.iter().map(|rule| (bucket.judge, *rule)));
            let way = Arc::new(Way::new(program, judges, rules));
            if self.ways.len() < MAX_WAYS {
                self.ways.push((through, way.clone()));
            }
            way
        });
        if self.logsources.len() < MAX_WAYS {
            self.logsources.push((logsource.clone(), way.clone()));
        }
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
