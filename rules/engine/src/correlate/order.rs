//! Rules that must match in the listed order. For each rule and length the chain that began last is kept: whatever a chain
//! may become, one that begins later stays in the window at least as long.

/// Steps of a chain, first to last: time and event.
pub(crate) type Chain<R> = Vec<(i64, R)>;

/// The chains of one group.
#[derive(Debug)]
pub(crate) struct InOrder<R> {
    /// By length, then by the rule that the chain ends with; shorter ones first.
    chains: Vec<Vec<Option<Chain<R>>>>,
}

impl<R: Clone> InOrder<R> {
    /// For this many rules.
    pub(crate) fn new(rules: usize) -> Self {
        Self { chains: (0..rules).map(|_| (0..rules).map(|_| None).collect()).collect() }
    }

    /// Adds an event that matches the rules at `positions` (bits). It is one step of a chain only.
    pub(crate) fn push(&mut self, time: i64, event: &R, positions: u64) {
        let rules = self.chains.len();
        // Longest first, so that no chain grows twice by the same event.
        for length in (0..rules).rev() {
            for position in (length..rules).filter(|position| positions >> position & 1 == 1) {
                let begun = match length.checked_sub(1) {
                    None => Some(Vec::new()),
                    Some(shorter) => latest(&self.chains[shorter][..position]).cloned(),
                };
                if let Some(mut chain) = begun {
                    chain.push((time, event.clone()));
                    self.chains[length][position] = Some(chain);
                }
            }
        }
    }

    /// Forgets chains that began before `start`.
    pub(crate) fn evict(&mut self, start: i64) {
        for chain in self.chains.iter_mut().flatten() {
            if chain.as_ref().is_some_and(|chain| began(chain) < start) {
                *chain = None;
            }
        }
    }

    /// The longest chain; of several the one that began last.
    pub(crate) fn longest(&self) -> Option<&Chain<R>> {
        self.chains.iter().rev().find_map(|ends| latest(ends))
    }

    /// Rules of which an event is in the window, as bits.
    pub(crate) fn present(&self) -> u64 {
        let single = self.chains.first().into_iter().flatten().enumerate();
        single.filter(|(_, chain)| chain.is_some()).fold(0, |bits, (position, _)| bits | 1 << position)
    }

    pub(crate) fn bytes(&self) -> usize {
        let steps: usize = self.chains.iter().flatten().flatten().map(Vec::capacity).sum();
        self.chains.len() * self.chains.len() * size_of::<Option<Chain<R>>>() + steps * size_of::<(i64, R)>()
    }

    /// All chains, by length and last rule.
    pub(crate) fn chains(&self) -> &[Vec<Option<Chain<R>>>] {
        &self.chains
    }

    /// Puts a chain back; one of no length or for rules that do not exist is left out.
    pub(crate) fn restore(&mut self, position: usize, chain: Chain<R>) {
        let length = chain.len();
        if let Some(place) = length.checked_sub(1).and_then(|at| self.chains.get_mut(at)?.get_mut(position)) {
            *place = Some(chain);
        }
    }
}

fn began<R>(chain: &Chain<R>) -> i64 {
    chain.first().map_or(i64::MIN, |(time, _)| *time)
}

/// The chain that began last; of equals the one that ends with the first rule.
fn latest<R>(chains: &[Option<Chain<R>>]) -> Option<&Chain<R>> {
    let mut best: Option<&Chain<R>> = None;
    for chain in chains.iter().flatten() {
        if best.is_none_or(|best| began(chain) > began(best)) {
            best = Some(chain);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(events: &[(i64, u64)], rules: usize) -> usize {
        let mut order = InOrder::new(rules);
        for (time, positions) in events {
            order.push(*time, &(), *positions);
        }
        order.longest().map_or(0, Vec::len)
    }

    #[test]
    fn only_the_listed_order_counts() {
        assert_eq!(after(&[(1, 0b001), (2, 0b010), (3, 0b100)], 3), 3);
        assert_eq!(after(&[(1, 0b100), (2, 0b010), (3, 0b001)], 3), 1);
        assert_eq!(after(&[(1, 0b001), (2, 0b100), (3, 0b010)], 3), 2);
    }

    #[test]
    fn one_event_is_one_step() {
        assert_eq!(after(&[(1, 0b11)], 2), 1);
        assert_eq!(after(&[(1, 0b11), (1, 0b11)], 2), 2);
    }

    #[test]
    fn the_chain_that_began_last_is_kept() {
        let mut order = InOrder::new(2);
        for (time, positions) in [(0, 0b01), (5, 0b01), (9, 0b10)] {
            order.push(time, &time, positions);
        }
        assert_eq!(order.longest(), Some(&vec![(5, 5), (9, 9)]));
        order.evict(6);
        assert_eq!(order.present(), 0b10);
    }
}
