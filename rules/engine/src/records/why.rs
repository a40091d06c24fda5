//! Why a rule judges a record as it does: routing first, then the condition node by node.

use serde_json::{Map, Value as Json};

use crate::eval::{Frame, Node, fill_from_json, trace};
use crate::rule::Rule;
use crate::why::Why;

use super::{RecordDetector, RecordView, second_names};

impl RecordDetector {
    /// How the rule at a place of the set that was compiled judges a record: flat objects (one for most) under their views.
    /// Where the rule is for none of the views, the condition is shown all the same, and changes nothing.
    ///
    /// # Panics
    /// When the set holds no rule at this place.
    pub fn why(&self, (place, rule): (usize, &Rule), parts: &[&Map<String, Json>], views: &[RecordView<'_>]) -> Why {
        let bucket = self.buckets.iter().find(|bucket| bucket.rules.contains(&place));
        let accepts = |view: &&RecordView<'_>| bucket.is_some_and(|bucket| bucket.accepts(view));
        // Views that differ in nothing but their names show a rule the same.
        let mut seen: Vec<RecordView<'_>> = views.iter().filter(accepts).copied().collect();
        seen.dedup_by_key(|view| view.renamed);
        let is_for_it = !seen.is_empty();
        if !is_for_it {
            seen.push(RecordView::default());
        }
        let shown = parts.iter().flat_map(|fields| seen.iter().map(|view| self.trace(place, fields, view)));
        let views: Vec<Node> = shown.collect();
        Why { rule: rule.info().clone(), is_for_it, matches: is_for_it && views.iter().any(|view| view.holds), views }
    }

    fn trace(&self, place: usize, fields: &Map<String, Json>, view: &RecordView<'_>) -> Node {
        let (names, second) = (&self.program.names, second_names(fields, view));
        let mut frame = Frame::new(names);
        fill_from_json(&mut frame, names, fields);
        fill_from_json(&mut frame, names, &second);
        trace(&self.program, &self.program.rules[place], &frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::RuleSet;
    use serde_json::json;

    const RULE: &str = "title: r\nid: r\nlogsource: {product: windows, category: process_creation}\n\
                        detection: {s: {Image|endswith: \\x.exe}, condition: s}\n";
    const STARTS: RecordView<'static> = RecordView {
        product: "windows",
        category: "process_creation",
        service: "security",
        renamed: &[("Image", "NewProcessName")],
    };

    fn why(fields: &Json, views: &[RecordView<'_>]) -> (bool, bool, Vec<bool>) {
        let (set, problems) = RuleSet::from_texts([("r.yml", RULE)]);
        assert!(problems.is_empty(), "{problems:?}");
        let detector = RecordDetector::compile(&set).unwrap();
        let fields = fields.as_object().unwrap();
        let why = detector.why((0, &set.rules()[0]), &[fields], views);
        let matches = detector.judge().matches(fields, views).is_some_and(|matches| !matches.is_empty());
        assert_eq!(why.matches, matches, "the tree says what the detector does");
        (why.is_for_it, why.matches, why.views.iter().map(|view| view.holds).collect())
    }

    #[test]
    fn a_record_is_explained_under_the_names_of_its_view() {
        assert_eq!(why(&json!({"NewProcessName": "C:\\x.exe"}), &[STARTS]), (true, true, vec![true]));
        assert_eq!(why(&json!({"NewProcessName": "C:\\y.exe"}), &[STARTS, STARTS]), (true, false, vec![false]));
    }

    #[test]
    fn a_rule_for_other_records_does_not_match_whatever_its_condition_says() {
        let other = RecordView { category: "file_event", ..STARTS };
        assert_eq!(why(&json!({"Image": "C:\\x.exe"}), &[other]), (false, false, vec![true]));
        assert_eq!(why(&json!({"Image": "C:\\x.exe"}), &[]), (false, false, vec![true]));
    }
}
