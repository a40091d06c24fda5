//! `xtask noise`: what our rules say of machines that nobody attacks.
//!
//! `trim` keeps of a sensor's events those of one throwaway machine and writes them as a recording (called by
//! `tests/noise/record.sh`); `judge` puts the rules in force, judges every recording and says per rule how many alerts
//! there were and how many there may be in 100 host-days. What is recorded is named with its host time, and what could not
//! be done with its reason: a rate is worth no more than the hours behind it.

mod baseline;
mod expect;
mod judge;
mod rate;
mod report;
mod trim;
mod work;

use anyhow::Result;
use clap::Subcommand;

/// The two halves.
#[derive(Debug, Subcommand)]
pub enum Step {
    /// Keep the events of one machine from standard input and write them as a recording.
    Trim(trim::Options),
    /// Judge recordings: exit 1 when a rule of level high or critical fires on one, or one lacks what it should hold.
    Judge(judge::Options),
}

/// Runs one half.
///
/// # Errors
/// Trim: when input or output cannot be used. Judge: when nothing could be judged, or a high or critical rule fired.
pub fn run(step: &Step) -> Result<()> {
    match step {
        Step::Trim(options) => trim::run(options, std::io::stdin().lock()),
        Step::Judge(options) => judge::run(options),
    }
}
