//! A process tree as nested lists: ancestors down to the process, and what it started.

use std::collections::{HashMap, HashSet};

use beffroi_schema::alert::ChainLink;
use beffroi_store::{ProcessNode, ProcessTree};

/// Processes that a page shows; the API's answer holds more.
const MAX_SHOWN: usize = 200;
/// Levels that are nested deeper and deeper; beyond, they stand below each other.
const MAX_NESTING: usize = 24;

/// One process of the tree, in reading order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) image: String,
    pub(crate) command_line: String,
    pub(crate) pid: Option<u64>,
    pub(crate) user: String,
    /// The process of the alert.
    pub(crate) center: bool,
    /// A list of its children follows.
    pub(crate) opens: bool,
    /// Lists that end after it.
    pub(crate) closes: usize,
}

/// A tree for a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) items: Vec<Item>,
    /// Key of the words that say where it comes from.
    pub(crate) origin: &'static str,
    /// There is more than is shown.
    pub(crate) cut: bool,
}

/// The tree of the stored processes.
pub(crate) fn of_processes(tree: &ProcessTree) -> Shown {
    let mut children: HashMap<&str, Vec<&ProcessNode>> = HashMap::new();
    for node in tree.nodes.iter().filter(|node| node.depth > 0) {
        children.entry(&node.parent_guid).or_default().push(node);
    }
    let mut order: Vec<(usize, &ProcessNode)> = Vec::new();
    let upwards = tree.nodes.iter().filter(|node| node.depth <= 0);
    order.extend(upwards.enumerate());
    let center = order.len().saturating_sub(1);
    let mut seen: HashSet<&str> = HashSet::new();
    let mut waiting: Vec<(usize, &ProcessNode)> = Vec::new();
    let push = |waiting: &mut Vec<_>, depth: usize, guid: &str| {
        waiting.extend(children.get(guid).into_iter().flatten().rev().map(|node| (depth, *node)));
    };
    push(&mut waiting, center + 1, &tree.guid);
    while let Some((depth, node)) = waiting.pop() {
        // A guid that names itself among its descendants must not lead in circles.
        if order.len() < MAX_SHOWN && seen.insert(&node.guid) {
            order.push((depth, node));
            push(&mut waiting, depth + 1, &node.guid);
        }
    }
    let cut = tree.truncated || order.len() < tree.nodes.len();
    let rows = order.into_iter().map(|(depth, node)| {
        let item = Item {
            image: node.image.clone(),
            command_line: node.command_line.clone(),
            pid: node.pid,
            user: node.user.clone(),
            center: node.guid == tree.guid,
            opens: false,
            closes: 0,
        };
        (depth, item)
    });
    Shown { items: nested(rows.collect()), origin: "tree_stored", cut }
}

/// The chain that the alert itself holds, which outlives its events.
pub(crate) fn of_chain(chain: &[ChainLink]) -> Shown {
    let rows = chain.iter().take(MAX_SHOWN).enumerate().rev().map(|(distance, link)| Item {
        image: link.image.clone(),
        command_line: link.command_line.clone(),
        pid: link.pid,
        user: link.user.clone(),
        center: distance == 0,
        opens: false,
        closes: 0,
    });
    let shown = rows.filter(|item| !item.image.is_empty() || !item.command_line.is_empty());
    Shown { items: nested(shown.enumerate().collect()), origin: "tree_copied", cut: chain.len() > MAX_SHOWN }
}

/// Rows in reading order with their depths, told where lists begin and end.
fn nested(rows: Vec<(usize, Item)>) -> Vec<Item> {
    let mut depths: Vec<usize> = Vec::with_capacity(rows.len());
    for (depth, _) in &rows {
        // At most one deeper than the row before, so that every list has a row that it belongs to.
        let room = depths.last().map_or(0, |last| last + 1);
        depths.push((*depth).min(room).min(MAX_NESTING));
    }
    let mut items = Vec::with_capacity(rows.len());
    for (at, (_, mut item)) in rows.into_iter().enumerate() {
        let next = depths.get(at + 1).copied().unwrap_or(0);
        item.opens = at + 1 < depths.len() && next > depths[at];
        item.closes = depths[at].saturating_sub(next);
        items.push(item);
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(guid: &str, parent: &str, depth: i32) -> ProcessNode {
        ProcessNode {
            guid: guid.into(),
            parent_guid: parent.into(),
            depth,
            image: format!("/bin/{guid}"),
            command_line: String::new(),
            pid: None,
            user: String::new(),
            ts: String::new(),
            event_id: String::new(),
        }
    }

    fn tree(nodes: Vec<ProcessNode>) -> ProcessTree {
        let (tenant, agent_id, hostname) = (String::new(), String::new(), String::new());
        ProcessTree { tenant, agent_id, hostname, guid: "c".into(), nodes, truncated: false }
    }

    /// The tree as text: what a template's lists would say.
    fn drawn(shown: &Shown) -> String {
        let mut text = String::new();
        for item in &shown.items {
            text.push_str(item.image.rsplit('/').next().unwrap());
            if item.opens {
                text.push('(');
            } else {
                text.push(' ');
                text.push_str(&")".repeat(item.closes));
            }
        }
        text
    }

    #[test]
    fn ancestors_the_process_and_its_descendants_are_nested_in_reading_order() {
        let nodes = vec![
            node("a", "", -2),
            node("b", "a", -1),
            node("c", "b", 0),
            node("d", "c", 1),
            node("e", "c", 1),
            node("f", "d", 2),
            node("g", "e", 2),
        ];
        let shown = of_processes(&tree(nodes));
        assert_eq!(drawn(&shown), "a(b(c(d(f )e(g ))))");
        assert_eq!(shown.items.iter().position(|item| item.center), Some(2));
        assert!(!shown.cut);
    }

    #[test]
    fn lists_are_balanced_whatever_the_depths_are() {
        let row = |depth| (depth, of_processes(&tree(vec![node("c", "", 0)])).items.remove(0));
        for depths in [vec![], vec![0], vec![5, 0, 9, 9, 1], vec![0, 1, 2, 3, 1, 2, 0], vec![0, 100], (0..100).collect()] {
            let items = nested(depths.iter().map(|depth| row(*depth)).collect());
            let opened = items.iter().filter(|item| item.opens).count();
            let closed: usize = items.iter().map(|item| item.closes).sum();
            assert_eq!(opened, closed, "{depths:?}");
            assert!(items.iter().all(|item| !(item.opens && item.closes > 0)));
        }
    }

    #[test]
    fn a_process_that_is_its_own_descendant_is_shown_once() {
        let shown = of_processes(&tree(vec![node("c", "x", 0), node("x", "c", 1), node("x", "x", 2)]));
        assert_eq!(drawn(&shown), "c(x )");
    }

    #[test]
    fn the_chain_of_an_alert_is_drawn_oldest_first() {
        let link = |image: &str| ChainLink { image: image.into(), ..ChainLink::default() };
        let shown = of_chain(&[link("/bin/sh"), link("/usr/bin/java"), link("/sbin/init")]);
        assert_eq!(drawn(&shown), "init(java(sh ))");
        assert!(shown.items[2].center);
        assert!(of_chain(&[ChainLink::default()]).items.is_empty());
    }
}
