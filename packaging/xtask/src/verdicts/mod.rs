//! `make verdicts`: the real `beffroi detect` with SigmaHQ's rules over every recorded event that other people's engines
//! judged, verdict by verdict. The corpora lie beside the checkout; where they do not, nothing is compared and that is said.

mod compare;
mod corpora;
mod correlations;
mod detect;
mod sources;

use anyhow::{Result, bail};

use crate::show;
use compare::Tally;
use corpora::Corpora;
use detect::Detect;

/// Compares everything; fails on any verdict that both engines agree on and ours does not share.
pub fn run() -> Result<()> {
    let Some(corpora) = Corpora::find() else {
        show::say("SKIPPED: ../shared/corpora is not beside this checkout, so there are no verdicts to compare with");
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let rules = scratch.path().join("rules");
    let count = corpora.unpack_rules(&rules)?;
    show::step(&format!("{count} rules of SigmaHQ"));
    let detect = Detect::new(rules, scratch.path().to_path_buf())?;
    let mut tallies = sources::compare(&corpora, &detect)?;
    tallies.extend(correlations::compare(&corpora, &detect)?);
    report(&tallies)
}

fn report(tallies: &[Tally]) -> Result<()> {
    for tally in tallies {
        for line in &tally.disputed {
            show::say(&format!("disputed  {line}"));
        }
    }
    for tally in tallies {
        show::say(&tally.line());
        tally.missed.iter().take(20).for_each(|line| show::say(&format!("  missed {line}")));
        tally.extra.iter().take(20).for_each(|line| show::say(&format!("  extra  {line}")));
    }
    let (missed, extra) =
        (tallies.iter().map(|tally| tally.missed.len()).sum::<usize>(), tallies.iter().map(|t| t.extra.len()).sum::<usize>());
    let hit: usize = tallies.iter().map(|tally| tally.hit).sum();
    show::step(&format!("{hit} agreed verdicts hit, {missed} missed, {extra} extra"));
    if missed + extra > 0 { bail!("{missed} verdicts missed and {extra} extra") } else { Ok(()) }
}
