//! Why a rule judges an event as it does: routing first, then the condition node by node.

use std::sync::Arc;

use beffroi_schema::Event;
use beffroi_schema::alert::RuleInfo;
use serde::Serialize;

use crate::detector::SigmaDetector;
use crate::eval::{Frame, Node, fill_from_event, trace};
use crate::view::{self, Form};

/// How one rule judges one event.
#[derive(Debug, Clone, Serialize)]
pub struct Why {
    /// The rule.
    #[serde(skip)]
    pub rule: Arc<RuleInfo>,
    /// The rule is for events of this logsource. Where it is not, the condition is shown all the same, and changes nothing.
    pub is_for_it: bool,
    /// It matches: it is for the event, and the condition holds in one of its views.
    pub matches: bool,
    /// The condition in each view of the event: as it is, or as the audit records that it is shown as.
    pub views: Vec<Node>,
}

impl SigmaDetector {
    /// How every rule with this id judges an event.
    pub fn why(&self, id: &str, event: &Event) -> Vec<Why> {
        let places = (0..self.rules.len()).filter(|place| self.rules[*place].id == id);
        places.map(|place| self.why_at(place, event)).collect()
    }

    fn why_at(&self, place: usize, event: &Event) -> Why {
        let Some(bucket) = self.buckets.iter().find(|bucket| bucket.rules.contains(&place)) else {
            unreachable!("every rule stands in the bucket of its logsource");
        };
        let (names, rule) = (&self.program.names, &self.program.rules[place]);
        let is_shown = bucket.route.reads_audit() && view::shows(&event.logsource, event);
        let records = if is_shown { view::records(&event.logsource) } else { &[] };
        let is_for_it = bucket.route.accepts(&event.logsource) || !records.is_empty();
        let mut views = Vec::new();
        if records.is_empty() || bucket.route.accepts(&event.logsource) {
            let mut frame = Frame::new(names);
            fill_from_event(&mut frame, names, event);
            views.push(trace(&self.program, rule, &frame));
        }
        for record in records {
            let mut frame = Frame::new(names);
            Form::new(*record, names, |_| true).fill(&mut frame, event, |_| true);
            views.push(trace(&self.program, rule, &frame));
        }
        let matches = is_for_it && views.iter().any(|view| view.holds);
        Why { rule: self.rules[place].clone(), is_for_it, matches, views }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::Detector;
    use crate::{RuleSet, compile};
    use beffroi_schema::{Category, Field, Product};

    const RULE: &str = "title: Shell\nid: r1\nlogsource: {category: process_creation, product: linux}\ndetection:\n  \
                        parent: {ParentImage|endswith: [/nginx, /httpd]}\n  shell: {Image|endswith: /sh}\n  \
                        known: {CommandLine|contains: logrotate}\n  condition: parent and shell and not known\n";

    fn event(command_line: &str) -> Event {
        let mut event = Event::new(Category::ProcessCreation, Product::Linux, 0);
        event.set(Field::PARENT_IMAGE, "/usr/sbin/nginx").set(Field::IMAGE, "/bin/sh").set(Field::COMMAND_LINE, command_line);
        event
    }

    fn leaves(node: &Node) -> Vec<&Node> {
        if node.inner.is_empty() { vec![node] } else { node.inner.iter().flat_map(leaves).collect() }
    }

    #[test]
    fn the_tree_says_of_each_test_what_was_asked_what_was_found_and_whether_it_held() {
        let (set, problems) = RuleSet::from_texts([("r.yml", RULE)]);
        assert!(problems.is_empty(), "{problems:?}");
        let detector = compile(&set).unwrap();
        for (command_line, expected) in [("sh -c id", true), ("sh /usr/sbin/logrotate", false)] {
            let event = event(command_line);
            let why = detector.why("r1", &event).remove(0);
            assert_eq!((why.is_for_it, why.matches, why.views.len()), (true, expected, 1));
            assert_eq!(why.matches, !detector.evaluate(&event).is_empty(), "the tree says what the detector does");
            let leaves = leaves(&why.views[0]);
            let nginx = leaves.iter().find(|leaf| leaf.what.contains("/nginx")).unwrap();
            assert!(nginx.holds && nginx.what == "ParentImage ends with \"/nginx\"", "{nginx:?}");
            assert_eq!(nginx.found, ["/usr/sbin/nginx"]);
            let known = leaves.iter().find(|leaf| leaf.what.contains("logrotate")).unwrap();
            assert!(known.holds != expected && known.found == [command_line], "{known:?}");
        }
        assert!(detector.why("unknown", &event("")).is_empty());
    }

    #[test]
    fn an_event_of_another_logsource_is_not_matched_whatever_the_condition_says() {
        let (set, _) = RuleSet::from_texts([("r.yml", RULE)]);
        let mut event = event("sh -c id");
        event.logsource.category = Category::FileEvent;
        let why = compile(&set).unwrap().why("r1", &event).remove(0);
        assert!(!why.is_for_it && !why.matches && why.views[0].holds);
    }
}
