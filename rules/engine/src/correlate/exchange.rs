//! Other correlations take over the state of those before, while events wait. Windows go over whole, so this takes no longer
//! with a full state than with an empty one; what is not used any more is handed out, to be freed where nobody waits.

use super::correlator::{Correlator, EventRef};
use super::shape::{Shape, Source};
use super::shelf::Shelf;

/// State that is not used any more. Freeing it takes time in proportion to it.
#[derive(Debug)]
pub struct Leftover<R>(Vec<Shelf<R>>);

impl<R: Clone + Ord> Leftover<R> {
    /// Groups of correlations that are gone or have changed.
    pub fn groups(&self) -> usize {
        self.0.iter().map(Shelf::len).sum()
    }
}

impl<R: EventRef> Correlator<R> {
    /// Goes on with the correlations of `other`, whose own state is not looked at: what [`Correlator::restore`] does with a
    /// snapshot, without making one. Groups of correlations that are gone or have changed are left over.
    #[must_use = "freeing it takes time"]
    pub fn exchange(&mut self, other: &Self) -> Leftover<R> {
        let old = std::mem::replace(&mut self.shape, other.shape.clone());
        let new = other.shape.clone();
        self.options = other.options.clone();
        let rules: Vec<Option<Source>> = old.rules.iter().map(|id| rule(&new, id)).collect();
        if rules.iter().enumerate().any(|(at, rule)| *rule != Some(at)) {
            self.buffer.rename(&rules);
        }
        let nodes: Vec<Option<usize>> = (0..old.nodes.len()).map(|at| same_node(&old, at, &new)).collect();
        self.overflows.rename(&nodes);
        let mut left = Vec::new();
        for ((scope, node), shelf) in std::mem::take(&mut self.shelves) {
            match nodes[node] {
                Some(node) => _ = self.shelves.insert((scope, node), shelf),
                None => {
                    self.groups -= shelf.len();
                    self.bytes -= shelf.bytes();
                    left.push(shelf);
                }
            }
        }
        Leftover(left)
    }
}

fn rule(shape: &Shape, id: &str) -> Option<Source> {
    shape.source(id).filter(|source| *source < shape.rules.len())
}

/// The place of a correlation in another shape, if its text is the same there.
fn same_node(old: &Shape, at: usize, new: &Shape) -> Option<usize> {
    let info = &old.nodes[at].info;
    let node = new.source(&info.id)?.checked_sub(new.rules.len())?;
    (new.nodes[node].info.sha256 == info.sha256).then_some(node)
}
