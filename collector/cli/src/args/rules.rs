//! Verbs of `rules`.

use std::path::PathBuf;

use clap::Subcommand;

use super::detect::AFTER_COST;
use super::{Judging, Reading, Span};

/// Verbs of `rules`.
#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Load Sigma and YARA rules and report every bad one.
    Check {
        /// A file or folder.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Run the proofs beside the rules: events that must fire, events that must not.
    Test {
        /// A folder.
        folder: PathBuf,
    },
    /// Why a rule matches an event or does not: its condition node by node, with what the event says there.
    Explain {
        /// A rule file.
        rule: PathBuf,
        /// A file of events, in any form that `detect` reads, or - for standard input.
        event: PathBuf,
        /// Which of them, as `detect` numbers its records: by line, in an event log or batch by ordinal (default: the first).
        #[arg(long, value_name = "N")]
        record: Option<u64>,
        /// How the file is read.
        #[command(flatten)]
        reading: Reading,
    },
    /// What rules would have found in the events that are stored. They are judged here, not on a server.
    Backtest {
        /// A file or folder.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Which time.
        #[command(flatten)]
        span: Span,
        /// Only this tenant.
        #[arg(long)]
        tenant: Option<String>,
        /// Only this host: its name, or the beginning of its id.
        #[arg(long)]
        host: Option<String>,
        /// Events that are kept of each rule, as examples.
        #[arg(long, default_value_t = 3, value_name = "N")]
        samples: usize,
    },
    /// Which rules take the time: those that files of events make the detector look at, the dearest first.
    #[command(after_help = AFTER_COST)]
    Cost(Judging),
    /// Techniques of ATT&CK that the rules look for: proven, covered without proof, or inert on Linux sensors.
    Coverage {
        /// A file or folder.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// Also write a layer for the ATT&CK Navigator.
        #[arg(long, value_name = "FILE")]
        navigator: Option<PathBuf>,
    },
    /// Rules that load and can never fire on what Beffroi's Linux sensor sends.
    Inert {
        /// A file or folder.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}
