//! Our verdicts against other people's.

use std::collections::{BTreeMap, BTreeSet};

/// What other engines say of one rule on one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Both engines say that it matches.
    Agreed,
    /// Only one engine can judge it.
    OneEngine,
    /// They differ, and the specification decides that it matches; why.
    Disputed(String),
}

/// Line and rule id.
pub type At = (u64, String);

/// How one source went.
#[derive(Debug, Default)]
pub struct Tally {
    /// Name of the source.
    pub source: String,
    /// Agreed verdicts that we share.
    pub hit: usize,
    /// Agreed verdicts that we do not share.
    pub missed: Vec<String>,
    /// What we say and both engines deny.
    pub extra: Vec<String>,
    /// What is disputed or judged by one engine only, and what we say of it.
    pub disputed: Vec<String>,
}

impl Tally {
    /// Of one source.
    pub fn new(source: &str) -> Self {
        Self { source: source.into(), ..Self::default() }
    }

    /// Counts one file. `both` names the rules that both engines can judge: the silence of one agrees with nothing.
    pub fn count(&mut self, name: &str, ours: &BTreeSet<At>, theirs: &BTreeMap<At, Verdict>, both: &BTreeSet<String>) {
        for (at, verdict) in theirs {
            let (place, says) = (format!("{name} {} {}", at.0, at.1), if ours.contains(at) { "match" } else { "no match" });
            match verdict {
                Verdict::Agreed if ours.contains(at) => self.hit += 1,
                Verdict::Agreed => self.missed.push(place),
                Verdict::OneEngine => {
                    self.disputed.push(format!("{place}: we say {says}; one engine only, and it says match: {ONE_ENGINE}"))
                }
                Verdict::Disputed(why) => {
                    self.disputed.push(format!("{place}: we say {says}; the specification says match: {why}"))
                }
            }
        }
        for at in ours.iter().filter(|at| !theirs.contains_key(*at)) {
            let place = format!("{name} {} {}", at.0, at.1);
            match both.contains(&at.1) {
                true => self.extra.push(place),
                false => {
                    self.disputed.push(format!("{place}: we say match; one engine only, and it says no match: {ONE_ENGINE}"))
                }
            }
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        let Self { source, hit, missed, extra, disputed } = self;
        let (missed, extra, disputed) = (missed.len(), extra.len(), disputed.len());
        format!("{source:<44} {hit:>6} hit {missed:>4} missed {extra:>4} extra {disputed:>4} disputed")
    }
}

/// What the specification says where the other engine refuses value-only searches.
const ONE_ENGINE: &str = "\"it's a matter of searching for keywords across an entire event\" (Keywords search)";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_both_say_is_hit_or_missed_and_what_both_deny_is_extra() {
        let at = |line: u64, rule: &str| (line, rule.to_string());
        let ours = BTreeSet::from([at(1, "a"), at(2, "a"), at(3, "keywords")]);
        let theirs = BTreeMap::from([
            (at(1, "a"), Verdict::Agreed),
            (at(9, "a"), Verdict::Agreed),
            (at(4, "b"), Verdict::Disputed("why".into())),
        ]);
        let mut tally = Tally::new("x");
        tally.count("f", &ours, &theirs, &BTreeSet::from(["a".to_string(), "b".to_string()]));
        assert_eq!((tally.hit, &tally.missed[..], &tally.extra[..]), (1, &["f 9 a".to_string()][..], &["f 2 a".to_string()][..]));
        assert_eq!(tally.disputed.len(), 2);
    }
}
