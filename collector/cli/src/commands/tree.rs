//! A process tree as people draw it: every process below its parent, whatever order the answer has.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use crate::client::rows;
use crate::output::Output;

/// Levels that are drawn deeper and deeper; beyond, they stand below each other.
const MAX_INDENT: usize = 32;

/// The tree, a process a line, the one that was asked for marked.
pub fn draw(tree: &Value, output: &Output) -> String {
    let nodes = rows(tree, "nodes");
    let guid = |at: usize| nodes[at]["guid"].as_str().unwrap_or_default();
    let known: HashSet<&str> = (0..nodes.len()).map(guid).collect();
    let parent = |at: usize| nodes[at]["parent_guid"].as_str().filter(|parent| known.contains(parent) && *parent != guid(at));
    let mut children: HashMap<&str, Vec<usize>> = HashMap::new();
    for at in 0..nodes.len() {
        children.entry(parent(at).unwrap_or_default()).or_default().push(at);
    }
    let mut drawing =
        Drawing { output, nodes: &nodes, children, marked: tree["guid"].as_str(), drawn: HashSet::new(), text: String::new() };
    drawing.text = format!("{} ({})\n", output.shown(tree, "/hostname"), output.shown(tree, "/tenant"));
    for root in drawing.children.get("").cloned().unwrap_or_default() {
        drawing.root(root);
    }
    // Processes that are each other's parents hang below nothing; they are shown all the same.
    for at in 0..nodes.len() {
        drawing.root(at);
    }
    drawing.text
}

struct Drawing<'a> {
    output: &'a Output,
    nodes: &'a [Value],
    children: HashMap<&'a str, Vec<usize>>,
    marked: Option<&'a str>,
    drawn: HashSet<usize>,
    text: String,
}

impl Drawing<'_> {
    /// A process without a parent, and everything below it. No recursion: a tree may be as deep as it has processes.
    fn root(&mut self, root: usize) {
        // What is still to be drawn: the process, the bars before it, whether it is the last of its parent, its level.
        let mut open = vec![(root, String::new(), true, 0usize)];
        while let Some((at, bars, is_last, level)) = open.pop() {
            if !self.drawn.insert(at) {
                continue;
            }
            let branch = match (level, is_last) {
                (0, _) => "",
                (_, true) => "└─ ",
                (_, false) => "├─ ",
            };
            self.line(at, &format!("{bars}{branch}"));
            let below = match (level, is_last) {
                (0, _) => bars,
                (MAX_INDENT.., _) => bars,
                (_, true) => bars + "   ",
                (_, false) => bars + "│  ",
            };
            let guid = self.nodes[at]["guid"].as_str().unwrap_or_default();
            let children = if guid.is_empty() { Vec::new() } else { self.children.get(guid).cloned().unwrap_or_default() };
            for (index, child) in children.iter().enumerate().rev() {
                open.push((*child, below.clone(), index + 1 == children.len(), level + 1));
            }
        }
    }

    fn line(&mut self, at: usize, before: &str) {
        let node = &self.nodes[at];
        let shown = |at: &str| self.output.shown(node, at);
        let mark = if node["guid"].as_str() == self.marked { "» " } else { "" };
        let pid = node["pid"].as_u64().map_or_else(String::new, |pid| format!("[{pid}] "));
        let what = [shown("/command_line"), shown("/image"), "(not recorded)".into()].into_iter().find(|text| !text.is_empty());
        let line = format!("{before}{mark}{pid}{}  {}  {}", what.unwrap_or_default(), shown("/user"), shown("/ts"));
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Form;
    use serde_json::json;

    fn drawn(tree: &Value) -> String {
        draw(tree, &Output::new(Some(Form::Table), None).unwrap())
    }

    #[test]
    fn every_process_stands_below_its_own_parent_and_the_asked_one_is_marked() {
        let node =
            |guid: &str, parent: &str, command: &str| json!({"guid": guid, "parent_guid": parent, "command_line": command});
        let mut first = node("a", "before", "");
        first["image"] = json!("/opt/java");
        let tree = json!({"tenant": "t", "hostname": "h", "guid": "b", "nodes": [
            first, node("b", "a", "sh -c id"), node("c", "b", "curl"), node("d", "b", "base64"), node("e", "c", "cat"), node("f", "d", "tee")]});
        let expected = "h (t)\n/opt/java\n└─ » sh -c id\n   ├─ curl\n   │  └─ cat\n   └─ base64\n      └─ tee\n";
        assert_eq!(drawn(&tree), expected);
    }

    #[test]
    fn processes_that_are_each_others_parents_are_shown_once() {
        let tree = json!({"nodes": [{"guid": "a", "parent_guid": "b", "image": "x"}, {"guid": "b", "parent_guid": "a", "image": "y"},
            {"guid": "c", "parent_guid": "c", "image": "z\u{1b}"}, {"image": "w"}]});
        let text = drawn(&tree);
        for once in ["x", "y", "z\\u{1b}", "w"] {
            assert_eq!(text.matches(once).count(), 1, "{text}");
        }
    }
}
