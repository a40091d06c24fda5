//! A quick look at the text of a record, before it is read whole: nearly all records match no rule, and of those nothing
//! else is ever asked. Whatever may match is read and judged again in full, so a look may say "perhaps" and must never say
//! "no" where judging would say "yes".

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::eval::{FieldId, Frame, Names, Wanted, fill_from_text};
use crate::ways::Way;

use super::{MAX_ROUTES, RecordJudge, RecordView, push_part};

/// Stands between the names of two views; no logsource is called so.
const END_OF_VIEW: &str = "\u{1}";

/// What a look tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Glance {
    /// No rule is meant for any of the views.
    NoRule,
    /// No rule matches.
    NoMatch,
    /// A rule matches, or a look cannot tell.
    Perhaps,
}

/// A flat JSON object as text.
#[derive(Debug, Clone, Copy)]
pub struct FlatText<'a> {
    /// JSON whose members are texts, numbers, truths and nulls, each name once.
    pub text: &'a [u8],
    /// Second names of fields in every view: (new, existing). A field that has the new name already keeps it.
    pub renamed: &'a [(&'a str, &'a str)],
}

/// Where records of some views go, and what of a record is read there.
pub(super) struct Sight {
    way: Arc<Way>,
    wanted: Wanted,
    /// Second names of fields: (new, existing).
    renamed: Vec<(FieldId, FieldId)>,
    /// Its views cannot be looked at all at once.
    is_blind: bool,
}

impl Sight {
    fn new(names: &Names, way: Arc<Way>, views: &[RecordView<'_>], renamed: &[(&str, &str)]) -> Self {
        let mut sight = Self {
            wanted: way.wanted.clone(),
            way,
            renamed: Vec::new(),
            // One view's second names must not be seen by the rules of another.
            is_blind: views.windows(2).any(|pair| pair[0].renamed != pair[1].renamed),
        };
        let of_views = views.first().map_or(&[][..], |view| view.renamed);
        for (new, existing) in renamed.iter().chain(of_views) {
            match (names.find(new), names.find(existing)) {
                (Some(new), Some(existing)) => {
                    sight.wanted.also(existing);
                    sight.renamed.push((new, existing));
                }
                // No number was kept for what a rule reads under another name.
                (Some(_), None) => sight.is_blind = true,
                (None, _) => {}
            }
        }
        sight
    }

    fn name_again(&self, frame: &mut Frame<'_>) {
        for (new, existing) in &self.renamed {
            if let (false, Some(value)) = (frame.has(*new), frame.values(*existing).first().copied()) {
                frame.push(Some(*new), value);
            }
        }
    }
}

impl RecordJudge<'_> {
    /// Looks at a record in its views.
    pub fn glance(&mut self, record: FlatText<'_>, views: &[RecordView<'_>]) -> Glance {
        let sight = self.sight(views, record.renamed);
        if sight.way.choices.is_empty() {
            return Glance::NoRule;
        }
        match self.look(record.text, &sight) {
            Some(false) => Glance::NoMatch,
            Some(true) | None => Glance::Perhaps,
        }
    }

    /// Whether some rule matches; none where the text is not what it should be, or a rule fails over it.
    fn look(&mut self, record: &[u8], sight: &Sight) -> Option<bool> {
        if sight.is_blind {
            return None;
        }
        let detector = self.detector;
        let program = &detector.program;
        let mut frame = std::mem::take(&mut self.frame).recycle_for(&program.names);
        let filled = fill_from_text(&mut frame, &program.names, &sight.wanted, record);
        sight.name_again(&mut frame);
        let scratch = &mut self.scratch;
        // As sound as in `RecordDetector::matches`; the rule that fails is found when the record is judged in full.
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let mut choices = sight.way.choices.iter();
            choices.any(|(judge, choice)| !detector.judges[*judge].matches_of(choice, program, &frame, scratch).is_empty())
        }));
        self.frame = frame.recycle();
        filled.ok().and(judged.ok())
    }

    fn sight(&mut self, views: &[RecordView<'_>], renamed: &[(&str, &str)]) -> Arc<Sight> {
        self.key.clear();
        for view in views {
            view.write_key(&mut self.key);
            view.renamed.iter().for_each(|(new, _)| push_part(&mut self.key, new));
            push_part(&mut self.key, END_OF_VIEW);
        }
        renamed.iter().for_each(|(new, _)| push_part(&mut self.key, new));
        if let Some(known) = self.sights.get(&self.key) {
            return Arc::clone(known);
        }
        if self.sights.len() >= MAX_ROUTES {
            self.sights.clear();
        }
        let way = self.way(views);
        let sight = Arc::new(Sight::new(&self.detector.program.names, way, views, renamed));
        self.sights.insert(self.key.clone(), Arc::clone(&sight));
        sight
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RecordDetector;
    use crate::rule::RuleSet;

    const SECURITY: RecordView<'static> = RecordView {
        product: "windows",
        category: "process_creation",
        service: "security",
        renamed: &[("Image", "NewProcessName")],
    };

    fn set() -> RuleSet {
        let rule = |id: &str, selection: &str| {
            format!(
                "title: {id}\nid: {id}\nlogsource: {{product: windows, category: process_creation}}\n\
                 detection: {{s: {selection}, condition: s}}\n"
            )
        };
        let texts = [("a.yml", rule("a", "{Image: a}")), ("p.yml", rule("p", "{PanicsInTheEvaluator: panics in the evaluator}"))];
        let (set, problems) = RuleSet::from_texts(texts);
        assert!(problems.is_empty(), "{problems:?}");
        set
    }

    fn glance(text: &str, views: &[RecordView<'_>]) -> Glance {
        let detector = RecordDetector::compile(&set()).unwrap();
        detector.judge().glance(FlatText { text: text.as_bytes(), renamed: &[] }, views)
    }

    #[test]
    fn a_look_tells_what_no_rule_is_meant_for_what_none_matches_and_what_one_may() {
        let other = RecordView { product: "cisco", ..SECURITY };
        assert_eq!(glance(r#"{"Image":"a"}"#, &[other]), Glance::NoRule);
        assert_eq!(glance(r#"{"Image":"a"}"#, &[]), Glance::NoRule);
        assert_eq!(glance(r#"{"Image":"b"}"#, &[other, SECURITY]), Glance::NoMatch);
        assert_eq!(glance(r#"{"Image":"a"}"#, &[other, SECURITY]), Glance::Perhaps);
    }

    #[test]
    fn a_second_name_counts_unless_the_record_has_it_already() {
        assert_eq!(glance(r#"{"NewProcessName":"a"}"#, &[SECURITY]), Glance::Perhaps);
        assert_eq!(glance(r#"{"NewProcessName":"a","Image":"b"}"#, &[SECURITY]), Glance::NoMatch);
    }

    #[test]
    fn what_a_look_cannot_judge_is_left_to_judging_in_full() {
        let unknown = RecordView { renamed: &[("Image", "NoRuleKnowsIt")], ..SECURITY };
        assert_eq!(glance(r#"{"NoRuleKnowsIt":"a"}"#, &[unknown]), Glance::Perhaps);
        let plain = RecordView { renamed: &[], ..SECURITY };
        assert_eq!(glance(r#"{"NewProcessName":"a"}"#, &[plain, SECURITY]), Glance::Perhaps);
        assert_eq!(glance("{", &[SECURITY]), Glance::Perhaps);
        assert_eq!(glance(r#"{"PanicsInTheEvaluator":"panics in the evaluator"}"#, &[SECURITY]), Glance::Perhaps);
    }
}
